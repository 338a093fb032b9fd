//! Searches: those that wait are ranked in one pass over the gallery.

use std::sync::Arc;

use hebbian_search::{Hit, Matrix, Subset, Vectors, search};

use crate::filter::Passing;
use crate::problem::Problem;
use crate::queue::Queue;
use crate::snapshot::Snapshot;

/// Most searches ranked at once.
const BATCH: usize = 64;

/// What to search for.
pub(crate) struct Search {
    pub(crate) snapshot: Arc<Snapshot>,
    /// The vector, as long as those of the gallery.
    pub(crate) query: Vec<f32>,
    /// Neighbours.
    pub(crate) k: usize,
    /// Which images may be found.
    pub(crate) passing: Passing,
    /// Rows that may not, such as the query's own.
    pub(crate) exclude: Vec<usize>,
}

/// The way to the thread that searches.
pub(crate) type SearchQueue = Queue<Search, Vec<Hit>>;

/// Starts the thread; it ends when what is returned is dropped.
pub(crate) fn start(bound: usize) -> std::io::Result<SearchQueue> {
    Queue::start("hebbian-serve-search", (bound, BATCH), answer)
}

fn answer(searches: Vec<Search>) -> Vec<Result<Vec<Hit>, Problem>> {
    // Those among the same images can be ranked together.
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (i, search) in searches.iter().enumerate() {
        let alike = |group: &&mut Vec<usize>| {
            let first = &searches[group[0]];
            Arc::ptr_eq(&first.snapshot, &search.snapshot) && first.passing.is_like(&search.passing)
        };
        match groups.iter_mut().find(alike) {
            Some(group) => group.push(i),
            None => groups.push(vec![i]),
        }
    }
    let mut answers: Vec<_> = searches.iter().map(|_| Ok(Vec::new())).collect();
    for group in groups {
        let members: Vec<&Search> = group.iter().map(|&i| &searches[i]).collect();
        match rank(&members) {
            Ok(rankings) => group.iter().zip(rankings).for_each(|(&i, hits)| answers[i] = Ok(hits)),
            Err(problem) => group.iter().for_each(|&i| answers[i] = Err(problem.clone())),
        }
    }
    answers
}

/// The rankings of searches among the same images.
fn rank(searches: &[&Search]) -> Result<Vec<Vec<Hit>>, Problem> {
    let Search { snapshot, passing, .. } = searches[0];
    let gallery = &snapshot.gallery;
    let values = searches.iter().flat_map(|search| search.query.iter().copied()).collect();
    let queries = Matrix::new(gallery.dim(), values)?;
    let k = searches.iter().map(|search| search.k + search.exclude.len()).max().unwrap_or(0);
    let mut rankings = if passing.is_empty() {
        search(gallery, &queries, k)?
    } else {
        let rows = gallery.items().enumerate().filter(|(_, item)| passing.matches(item));
        let subset = Subset::new(gallery, rows.map(|(row, _)| row).collect())?;
        let mut rankings = search(&subset, &queries, k)?;
        for hit in rankings.iter_mut().flatten() {
            hit.index = subset.row(hit.index).unwrap_or(hit.index);
        }
        rankings
    };
    for (hits, search) in rankings.iter_mut().zip(searches) {
        hits.retain(|hit| !search.exclude.contains(&hit.index));
        hits.truncate(search.k);
    }
    Ok(rankings)
}
