//! The images of the gallery.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hebbian_search::Item;
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::filter::Passing;
use crate::labels::Table;
use crate::problem::{self, Problem};
use crate::query::Query;

/// Items of a page where no number is asked for.
const LIMIT: usize = 60;

/// An image as the interface shows it.
#[derive(Serialize)]
pub(super) struct Shown {
    id: String,
    label: Option<String>,
    /// Given on the page.
    assigned: Option<String>,
}

impl Shown {
    pub(super) fn of(item: &Item, given: &Table) -> Self {
        let assigned = given.get(&item.id).cloned();
        Self { id: item.id.clone(), label: item.label.clone(), assigned }
    }
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = Query::parse(query.as_deref(), &["label", "path", "offset", "limit"])?;
    app.blocking(move |app| {
        let snapshot = app.current.get();
        let given = app.labels.table();
        let filter = Passing::new(&query.filter, Arc::clone(&given));
        let passing = || snapshot.gallery.items().filter(|item| filter.matches(item));
        let page = passing().skip(query.offset).take(query.limit.unwrap_or(LIMIT));
        let items: Vec<Shown> = page.map(|item| Shown::of(item, &given)).collect();
        Ok(problem::json(&json!({
            "total": passing().count(),
            "offset": query.offset,
            "generation": snapshot.gallery.manifest().generation,
            "items": items,
        })))
    })
    .await
}

fn find(app: &App, id: &str) -> Result<Item, Problem> {
    let snapshot = app.current.get();
    let item = snapshot.gallery.item(snapshot.find(id)?).cloned();
    item.ok_or_else(|| Problem::failed("a row is gone"))
}

pub(super) async fn item(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    Ok(problem::json(&Shown::of(&find(&app, &id)?, &app.labels.table())))
}

pub(super) async fn picture(
    State(app): State<Arc<App>>,
    Path((id, form)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let item = find(&app, &id)?;
    let picture = match &*form {
        "image" => app.blocking(move |app| app.pictures.image(&item)).await?,
        "thumbnail" => app.blocking(move |app| app.pictures.thumbnail(&item)).await?,
        _ => return Err(Problem::missing("an item has image and thumbnail")),
    };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
    let same = known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == picture.etag));
    let headers = [
        (header::ETAG, picture.etag),
        (header::CACHE_CONTROL, "private, max-age=60".to_owned()),
        (header::CONTENT_TYPE, picture.mime.to_owned()),
    ];
    Ok(match same {
        true => (StatusCode::NOT_MODIFIED, headers).into_response(),
        false => (headers, picture.bytes).into_response(),
    })
}
