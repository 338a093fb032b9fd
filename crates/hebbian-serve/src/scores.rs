//! How good the features are at finding images of the same label.

use std::collections::HashMap;
use std::sync::Arc;

use hebbian_search::{Subset, Vectors, search};
use serde::Serialize;

use crate::filter;
use crate::labels::Table;
use crate::problem::Problem;
use crate::snapshot::Snapshot;

/// Most images that are searched with.
const QUERIES: usize = 400;
/// Nearest images that are looked at.
const K: usize = 10;

/// Precision over images of the gallery that have a label, each searched with and itself left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Scores {
    /// Images searched with, spread evenly over those whose label another image has too.
    queries: usize,
    /// Of how many there are.
    labelled: usize,
    /// Share of queries whose nearest other image has the same label.
    precision_at_1: f64,
    /// Mean share of the ten nearest other images with the same label.
    precision_at_10: f64,
    /// What a ranking by chance would give.
    chance: f64,
}

impl Scores {
    /// Nothing where no two images have a label in common.
    pub(crate) fn of(snapshot: &Snapshot, given: &Table) -> Result<Option<Self>, Problem> {
        let gallery = &snapshot.gallery;
        let labels: Vec<Option<&str>> =
            gallery.items().map(|item| filter::label(given, item)).collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        labels.iter().flatten().for_each(|&label| *counts.entry(label).or_default() += 1);
        // Other images with the label of a row.
        let twins = |row: usize| labels[row].map_or(0, |label| counts[label] - 1);
        let labelled: Vec<usize> = (0..labels.len()).filter(|&row| twins(row) > 0).collect();
        if labelled.is_empty() {
            return Ok(None);
        }
        let queries = labelled.len().min(QUERIES);
        let rows: Vec<usize> =
            (0..queries).map(|i| labelled[i * labelled.len() / queries]).collect();
        let rankings = search(gallery, &Subset::new(gallery, rows.clone())?, K + 1)?;
        let (mut first, mut ten, mut chance) = (0.0, 0.0, 0.0);
        for (&row, hits) in rows.iter().zip(&rankings) {
            let others = hits.iter().map(|hit| hit.index).filter(|&other| other != row).take(K);
            let right: Vec<bool> = others.map(|other| labels[other] == labels[row]).collect();
            let share = |right: &[bool]| {
                right.iter().filter(|&&right| right).count() as f64 / right.len().max(1) as f64
            };
            first += share(&right[..right.len().min(1)]);
            ten += share(&right);
            chance += twins(row) as f64 / (gallery.len() - 1) as f64;
        }
        let mean = |sum: f64| sum / queries as f64;
        Ok(Some(Self {
            queries,
            labelled: labelled.len(),
            precision_at_1: mean(first),
            precision_at_10: mean(ten),
            chance: mean(chance),
        }))
    }
}

/// Scores and what they are of.
struct Scored {
    snapshot: Arc<Snapshot>,
    given: Arc<Table>,
    scores: Option<Scores>,
}

/// The scores of a gallery and its labels as they were when last asked for.
#[derive(Default)]
pub(crate) struct Known(tokio::sync::Mutex<Option<Scored>>);

impl Known {
    /// The scores, computed by `compute` where gallery or labels have changed. Who asks meanwhile
    /// waits for them.
    pub(crate) async fn get<F>(
        &self,
        snapshot: Arc<Snapshot>,
        given: Arc<Table>,
        compute: impl FnOnce(Arc<Snapshot>, Arc<Table>) -> F,
    ) -> Result<Option<Scores>, Problem>
    where
        F: Future<Output = Result<Option<Scores>, Problem>>,
    {
        let mut known = self.0.lock().await;
        if let Some(known) = &*known
            && Arc::ptr_eq(&known.snapshot, &snapshot)
            && Arc::ptr_eq(&known.given, &given)
        {
            return Ok(known.scores.clone());
        }
        let scores = compute(Arc::clone(&snapshot), Arc::clone(&given)).await?;
        *known = Some(Scored { snapshot, given, scores: scores.clone() });
        Ok(scores)
    }
}
