//! Finding what is like an image.

use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::response::Response;
use hebbian_search::{Hit, Matrix, Vectors, collapse};
use serde::Serialize;

use super::items::Shown;
use crate::app::App;
use crate::filter::Passing;
use crate::labels::Table;
use crate::problem::{self, Problem};
use crate::query::Query;
use crate::searches::Search;
use crate::snapshot::Snapshot;
use crate::upload;

/// Neighbours where no number is asked for.
const K: usize = 60;
const KNOWN: [&str; 5] = ["id", "k", "label", "path", "threshold"];

#[derive(Serialize)]
struct Found {
    #[serde(flatten)]
    item: Shown,
    /// True Euclidean distance to the query.
    distance: f32,
    /// Images within the threshold of this one, or of one that is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    duplicates: Vec<Found>,
}

#[derive(Serialize)]
struct Ranking {
    generation: u64,
    /// Vectors that were averaged.
    queries: usize,
    threshold: Option<f32>,
    /// Nearest first.
    hits: Vec<Found>,
}

pub(super) async fn by_id(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = Query::parse(query.as_deref(), &KNOWN)?;
    if query.ids.is_empty() {
        return Err(Problem::bad("say what to search with: id=..., or send an image by POST"));
    }
    let _place = app.admit()?;
    search(&app, query, Vec::new()).await
}

pub(super) async fn by_upload(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    let query = Query::parse(query.as_deref(), &KNOWN)?;
    // Before the body is read: what waits takes no memory.
    let _place = app.admit()?;
    let vectors = upload::vectors(&app, request).await?;
    search(&app, query, vectors).await
}

/// Searches with the mean of `vectors` and of the images named in the query, which are not found.
async fn search(app: &Arc<App>, query: Query, vectors: Vec<Vec<f32>>) -> Result<Response, Problem> {
    let snapshot = app.current.get();
    let given = app.labels.table();
    let queries = query.ids.len() + vectors.len();
    let threshold = query.threshold;
    let (gallery, labels) = (Arc::clone(&snapshot), Arc::clone(&given));
    let asked = app.blocking(move |_| asked(gallery, labels, &query, vectors)).await?;
    let hits = app.searches.ask(asked).await?;
    app.blocking(move |_| {
        let gallery = &snapshot.gallery;
        let groups = match threshold {
            Some(threshold) => collapse(&hits, gallery, threshold)?,
            None => hits.into_iter().map(|hit| vec![hit]).collect(),
        };
        let shown = |hit: Hit| {
            let item = Shown::of(gallery.item(hit.index)?, &given);
            Some(Found { item, distance: hit.distance, duplicates: Vec::new() })
        };
        let hits = groups.into_iter().filter_map(|group| {
            let mut group = group.into_iter().filter_map(shown);
            let first = group.next()?;
            Some(Found { duplicates: group.collect(), ..first })
        });
        let generation = gallery.manifest().generation;
        let hits = hits.collect();
        Ok(problem::json(&Ranking { generation, queries, threshold, hits }))
    })
    .await
}

/// What is asked of the thread that searches.
fn asked(
    snapshot: Arc<Snapshot>,
    given: Arc<Table>,
    query: &Query,
    vectors: Vec<Vec<f32>>,
) -> Result<Search, Problem> {
    let gallery = &snapshot.gallery;
    let dim = gallery.dim();
    let mut values = Vec::new();
    for vector in vectors {
        if vector.len() != dim {
            let found = vector.len();
            let problem = format!("the vector has {found} dimensions; the gallery has {dim}");
            return Err(Problem::unusable(problem));
        }
        values.extend(vector);
    }
    let exclude: Vec<usize> =
        query.ids.iter().map(|id| snapshot.find(id)).collect::<Result<_, _>>()?;
    let mut vector = Vec::new();
    for &row in &exclude {
        gallery.read(row, 1, &mut vector)?;
        values.extend_from_slice(&vector);
    }
    let mean = Matrix::new(dim, values)?.mean();
    let mean = mean.ok_or_else(|| Problem::bad("there is nothing to search with"))?;
    let passing = Passing::new(&query.filter, given);
    let (query, k) = (mean.as_slice().to_vec(), query.k.unwrap_or(K));
    Ok(Search { snapshot, query, k, passing, exclude })
}
