//! Labels given by people, for fine-tuning.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::problem::Problem;

pub(super) async fn set(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Problem> {
    // What a form of another site can't send.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("application/json")) {
        let problem = "send application/json: {\"id\": \"label\"}";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem));
    }
    let body = body.map_err(|refusal| Problem::new(refusal.status(), refusal.body_text()))?;
    let changes: BTreeMap<String, Option<String>> =
        serde_json::from_slice(&body).map_err(|error| {
            Problem::bad(format!("the body must be {{\"id\": \"label\"}}: {error}"))
        })?;
    app.blocking(move |app| {
        let snapshot = app.current.get();
        changes.keys().try_for_each(|id| snapshot.find(id).map(|_| ()))?;
        app.labels.set(changes)?;
        Ok(table(app))
    })
    .await
}

pub(super) async fn csv(State(app): State<Arc<App>>) -> Response {
    table(&app)
}

fn table(app: &App) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"labels.csv\""),
    ];
    (headers, app.labels.csv()).into_response()
}
