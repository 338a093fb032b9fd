//! For those who look after the server.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hebbian_search::Vectors;

use crate::app::App;

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let snapshot = app.current.get();
    let generation = snapshot.gallery.manifest().generation;
    let mut text = app.metrics.text();
    text.gauge("gallery_images", "Images of the gallery.", snapshot.gallery.len() as u64);
    text.gauge("gallery_generation", "Its generation.", generation);
    let model = app.model.as_ref().map(|model| ("model", model.queue.counts()));
    for (name, counts) in model.into_iter().chain([("search", app.searches.counts())]) {
        text.queue(name, counts);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.finish())
        .into_response()
}
