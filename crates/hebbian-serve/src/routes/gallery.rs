//! What is searched, and by which model.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hebbian_search::Vectors;
use serde_json::{Value, json};

use crate::app::App;
use crate::problem::{self, Problem};

pub(super) async fn gallery(State(app): State<Arc<App>>) -> Response {
    let snapshot = app.current.get();
    let (gallery, info) = (&snapshot.gallery, snapshot.gallery.info());
    let labels =
        snapshot.labels.iter().map(|(label, count)| json!({"label": label, "count": count}));
    let model = app.model.as_ref().map(|model| {
        let fact = |(name, value): &(String, String)| json!({"name": name, "value": value});
        json!({
            "facts": model.card.facts.iter().map(fact).collect::<Vec<Value>>(),
            "filters": model.card.filters.is_some(),
        })
    });
    problem::json(&json!({
        "images": gallery.len(),
        "dim": info.dim,
        "layer": info.layer,
        "distance": "euclidean",
        "created": info.created,
        "generation": gallery.manifest().generation,
        "labels": labels.collect::<Vec<Value>>(),
        "model": model,
    }))
}

pub(super) async fn filters(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let filters = app.model.as_ref().and_then(|model| model.card.filters.clone());
    let filters = filters.ok_or_else(|| Problem::missing("no filters can be drawn"))?;
    Ok(([(header::CONTENT_TYPE, "image/png")], filters).into_response())
}
