//! For those who look after the server.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hebbian_search::Vectors;

use crate::app::App;
use crate::model::ModelQueue;

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let snapshot = app.current.get();
    let waiting = app.model.as_ref().map_or(0, ModelQueue::waiting);
    let text = app.metrics.text(&[
        ("queue_length", "Images that wait for the model.", waiting as u64),
        ("gallery_images", "Images of the gallery.", snapshot.gallery.len() as u64),
        ("gallery_generation", "Its generation.", snapshot.gallery.manifest().generation),
    ]);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
