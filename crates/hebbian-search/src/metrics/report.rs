//! Retrieval quality over a set of queries.

use std::collections::HashMap;

use serde::Serialize;

use super::average_precision::{ApDenominator, ranking_prefixes};
use super::ties::{expected_prefixes, tie_groups};
use crate::exact::for_each_ranking;
use crate::vectors::Vectors;
use crate::{Error, Result};

/// How retrieval is evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvaluateOptions {
    /// Depths at which precision and average precision are reported, beside the whole ranking.
    pub ks: Vec<usize>,
    /// Length at which every ranking is cut; `None` ranks the whole gallery. The published
    /// protocol cuts at the number of training images of a class (CIFAR-10: 4,000).
    pub truncate: Option<usize>,
    /// Whether gallery and queries are the same vectors, so that each query's own entry is left
    /// out of its ranking and of the count of relevant items.
    pub exclude_self: bool,
}

/// Mean average precision at one depth, in every definition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeanAveragePrecision {
    /// Depth.
    pub k: usize,
    /// Whether that is the whole gallery, where all definitions agree.
    pub whole_gallery: bool,
    /// [`ApDenominator::Retrieved`]: divided by the relevant items retrieved in the top k.
    pub retrieved: f64,
    /// [`ApDenominator::Truncated`]: divided by the smaller of k and the relevant items in the
    /// gallery.
    pub truncated: f64,
    /// [`ApDenominator::Relevant`]: divided by the relevant items in the gallery (standard).
    pub relevant: f64,
}

impl MeanAveragePrecision {
    /// The value for one definition.
    #[must_use]
    pub fn get(&self, denominator: ApDenominator) -> f64 {
        match denominator {
            ApDenominator::Retrieved => self.retrieved,
            ApDenominator::Truncated => self.truncated,
            ApDenominator::Relevant => self.relevant,
        }
    }
}

/// Mean precision at one depth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrecisionAt {
    /// Depth.
    pub k: usize,
    /// Mean share of the first `k` ranks that is relevant.
    pub precision: f64,
}

/// Retrieval quality, with all that is needed to say which mean average precision it is.
///
/// An item is relevant to a query if both have the same label; an item without a label is relevant
/// to none. Means are over the evaluated queries: those with a label and at least one relevant item
/// in the gallery, for without one average precision is not defined. The published code counts
/// such a query as 0 instead: multiply a mean by `evaluated / (evaluated + without_relevant)` to
/// get its value. All values lie between 0 and 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RetrievalReport {
    /// Number of vectors searched.
    pub gallery: usize,
    /// How many of them have no label.
    pub gallery_without_label: usize,
    /// Number of queries asked.
    pub queries: usize,
    /// Queries that the means are over.
    pub evaluated: usize,
    /// Queries left out because they have no label.
    pub without_label: usize,
    /// Queries left out because the gallery holds nothing relevant to them.
    pub without_relevant: usize,
    /// Length of the rankings.
    pub ranked: usize,
    /// Whether a query's own gallery entry was left out.
    pub self_excluded: bool,
    /// How vectors are compared.
    pub distance: &'static str,
    /// How equal distances are ordered.
    pub ties: &'static str,
    /// What each definition of average precision divides by, in words.
    pub definitions: Definitions,
    /// At every depth asked for, then for the rankings as long as they are.
    pub mean_average_precision: Vec<MeanAveragePrecision>,
    /// At every depth asked for.
    pub precision: Vec<PrecisionAt>,
    /// The same in expectation over the orders of equal distances; none where rankings were
    /// truncated, which hides what lies beyond.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_over_ties: Option<ExpectedOverTies>,
}

/// Means that do not depend on how equal distances are ordered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExpectedOverTies {
    /// What they are, in words.
    pub definition: &'static str,
    /// Mean share of a ranking that has its distance in common with another rank.
    pub tied: f64,
    /// At every depth asked for, then for the whole gallery.
    pub mean_average_precision: Vec<MeanAveragePrecision>,
    /// At every depth asked for.
    pub precision: Vec<PrecisionAt>,
}

const EXPECTED_OVER_TIES: &str = "expectation over all orders of equal distances, each as likely \
                                  (McSherry & Najork 2008)";

/// The definitions of average precision, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Definitions {
    /// Of the field `retrieved`.
    pub retrieved: &'static str,
    /// Of the field `truncated`.
    pub truncated: &'static str,
    /// Of the field `relevant`.
    pub relevant: &'static str,
}

const DEFINITIONS: Definitions = Definitions {
    retrieved: ApDenominator::Retrieved.words(),
    truncated: ApDenominator::Truncated.words(),
    relevant: ApDenominator::Relevant.words(),
};

/// Searches `gallery` for every query and sums up how good the rankings are.
///
/// `progress(done, queries)` is called after every query.
///
/// # Shapes
/// `gallery`: `[n, dim]`, `gallery_labels`: `n`, `queries`: `[m, dim]`, `query_labels`: `m`.
///
/// # Errors
/// [`Error::Length`] if labels and vectors do not go together, or gallery and queries with
/// `exclude_self`; [`Error::Option`] if a depth is 0 or beyond `truncate`; the errors of
/// [`for_each_ranking`].
pub fn evaluate(
    gallery: &dyn Vectors,
    gallery_labels: &[Option<u32>],
    queries: &dyn Vectors,
    query_labels: &[Option<u32>],
    options: &EvaluateOptions,
    mut progress: impl FnMut(usize, usize),
) -> Result<RetrievalReport> {
    same_length("gallery labels", gallery.len(), gallery_labels.len())?;
    same_length("query labels", queries.len(), query_labels.len())?;
    if options.exclude_self {
        same_length("queries", gallery.len(), queries.len())?;
    }
    let searched = gallery.len() - usize::from(options.exclude_self && !gallery.is_empty());
    let ranked = options.truncate.unwrap_or(searched).min(searched);
    let ks = depths(options)?;
    // The depths asked for, and last the rankings as they are; one pass needs them in order.
    let mut order: Vec<usize> = ks.iter().copied().chain([ranked]).collect();
    order.sort_unstable();
    order.dedup();

    let mut relevant_of: HashMap<u32, usize> = HashMap::new();
    for label in gallery_labels.iter().flatten() {
        *relevant_of.entry(*label).or_default() += 1;
    }
    let whole = ranked == searched;
    let mut sums = Sums::new(&order);
    let mut expected = Sums::new(&order);
    let (mut evaluated, mut without_label, mut without_relevant, mut tied) = (0, 0, 0, 0);
    // One more than is ranked, because the query itself may be among them.
    let limit = ranked + usize::from(options.exclude_self);
    for_each_ranking(gallery, queries, Some(limit), |query, hits| {
        progress(query + 1, queries.len());
        let Some(label) = query_labels[query] else {
            without_label += 1;
            return;
        };
        let own = options.exclude_self.then_some(query);
        let same = |index: usize| gallery_labels[index] == Some(label);
        let relevant =
            relevant_of.get(&label).copied().unwrap_or(0) - usize::from(own.is_some_and(same));
        if relevant == 0 {
            without_relevant += 1;
            return;
        }
        evaluated += 1;
        let others = || hits.iter().filter(|hit| Some(hit.index) != own).take(ranked);
        let prefixes = ranking_prefixes(others().map(|hit| same(hit.index)), &order);
        sums.add(
            prefixes.iter().map(|p| (p.precision(), move |d| p.average_precision(relevant, d))),
        );
        if whole {
            let groups = tie_groups(others().map(|hit| (hit.distance, same(hit.index))));
            tied += groups.iter().map(|g| if g.len > 1 { g.len } else { 0 }).sum::<usize>();
            let prefixes = expected_prefixes(&groups, &order);
            let values = prefixes.iter();
            expected.add(values.map(|p| (p.precision, move |d| p.average_precision(relevant, d))));
        }
    })?;

    let (mean_average_precision, precision) = sums.means(&ks, [ranked, searched], evaluated);
    let expected_over_ties = whole.then(|| {
        let (mean_average_precision, precision) =
            expected.means(&ks, [ranked, searched], evaluated);
        let tied = tied as f64 / ((evaluated * ranked) as f64).max(1.0);
        let definition = EXPECTED_OVER_TIES;
        ExpectedOverTies { definition, tied, mean_average_precision, precision }
    });
    Ok(RetrievalReport {
        gallery: gallery.len(),
        gallery_without_label: gallery_labels.iter().filter(|label| label.is_none()).count(),
        queries: queries.len(),
        evaluated,
        without_label,
        without_relevant,
        ranked,
        self_excluded: options.exclude_self,
        distance: "euclidean",
        ties: "by index in the gallery",
        definitions: DEFINITIONS,
        mean_average_precision,
        precision,
        expected_over_ties,
    })
}

/// Sums over the queries, at every depth of a list in ascending order.
struct Sums<'a> {
    order: &'a [usize],
    /// Average precision in the order of [`ApDenominator::ALL`], then precision.
    sums: Vec<[f64; 4]>,
}

impl<'a> Sums<'a> {
    fn new(order: &'a [usize]) -> Self {
        Self { order, sums: vec![[0.0; 4]; order.len()] }
    }

    /// Adds a query: at each depth, precision and average precision by definition.
    fn add<A: Fn(ApDenominator) -> f64>(&mut self, query: impl Iterator<Item = (f64, A)>) {
        for (sums, (precision, average_precision)) in self.sums.iter_mut().zip(query) {
            for (sum, denominator) in sums.iter_mut().zip(ApDenominator::ALL) {
                *sum += average_precision(denominator);
            }
            sums[3] += precision;
        }
    }

    /// Means over `evaluated` queries: at `ks` and at the length of the rankings, and at `ks`.
    fn means(
        &self,
        ks: &[usize],
        [ranked, searched]: [usize; 2],
        evaluated: usize,
    ) -> (Vec<MeanAveragePrecision>, Vec<PrecisionAt>) {
        let mean = |k: usize| -> [f64; 4] {
            let at = self.order.binary_search(&k).map_or([0.0; 4], |at| self.sums[at]);
            at.map(|sum| sum / (evaluated as f64).max(1.0))
        };
        let depths = ks.iter().copied().filter(|&k| k != ranked).chain([ranked]);
        let mean_average_precision = depths.map(|k| {
            let [retrieved, truncated, relevant, _] = mean(k);
            let whole_gallery = k >= searched;
            MeanAveragePrecision { k, whole_gallery, retrieved, truncated, relevant }
        });
        let precision = ks.iter().map(|&k| PrecisionAt { k, precision: mean(k)[3] });
        (mean_average_precision.collect(), precision.collect())
    }
}

/// The depths asked for, ascending, once each.
fn depths(options: &EvaluateOptions) -> Result<Vec<usize>> {
    let mut ks = options.ks.clone();
    ks.sort_unstable();
    ks.dedup();
    let wrong = |value, rule| Err(Error::Option { option: "k", value, rule });
    match (ks.first(), ks.last(), options.truncate) {
        (Some(0), _, _) => wrong(0, "precision needs at least one rank"),
        (_, Some(&last), Some(truncate)) if last > truncate => {
            wrong(last, "it can't exceed the length at which rankings are truncated")
        }
        _ => Ok(ks),
    }
}

fn same_length(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}

#[cfg(test)]
mod tests;
