//! What is searched, and by which model.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hebbian_search::Vectors;
use serde_json::{Value, json};

use crate::app::App;
use crate::filter;
use crate::labels::Table;
use crate::problem::{self, Problem};
use crate::scores::Scores;
use crate::snapshot::Snapshot;

pub(super) async fn gallery(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    app.blocking(|app| {
        let snapshot = app.current.get();
        let (gallery, info) = (&snapshot.gallery, snapshot.gallery.info());
        let given = app.labels.table();
        let (mut labels, mut unlabelled) = (BTreeMap::new(), 0);
        for item in gallery.items() {
            match filter::label(&given, item) {
                Some(label) => *labels.entry(label).or_default() += 1,
                None => unlabelled += 1,
            }
        }
        let count = |(label, count): (&str, usize)| json!({"label": label, "count": count});
        let model = app.model.as_ref().map(|model| {
            let fact = |(name, value): &(String, String)| json!({"name": name, "value": value});
            json!({
                "facts": model.card.facts.iter().map(fact).collect::<Vec<Value>>(),
                "filters": model.card.filters.is_some(),
            })
        });
        Ok(problem::json(&json!({
            "images": gallery.len(),
            "dim": info.dim,
            "layer": info.layer,
            "distance": "euclidean",
            "created": info.created,
            "generation": gallery.manifest().generation,
            "labels": labels.into_iter().map(count).collect::<Vec<Value>>(),
            "unlabelled": unlabelled,
            "given": given.len(),
            "model": model,
        })))
    })
    .await
}

pub(super) async fn scores(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let (snapshot, given) = (app.current.get(), app.labels.table());
    let compute = |snapshot: Arc<Snapshot>, given: Arc<Table>| {
        app.blocking(move |_| Scores::of(&snapshot, &given))
    };
    Ok(problem::json(&app.scores.get(snapshot, given, compute).await?))
}

pub(super) async fn filters(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let filters = app.model.as_ref().and_then(|model| model.card.filters.clone());
    let filters = filters.ok_or_else(|| Problem::missing("no filters can be drawn"))?;
    Ok(([(header::CONTENT_TYPE, "image/png")], filters).into_response())
}
