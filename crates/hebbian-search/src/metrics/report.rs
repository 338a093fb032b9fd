//! Retrieval quality over a set of queries.

use serde::Serialize;

use super::average_precision::ApDenominator;
use super::sums::RetrievalSums;
use crate::Result;
use crate::vectors::Vectors;

/// How retrieval is evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvaluateOptions {
    /// Depths at which precision and average precision are reported, beside the whole ranking.
    pub ks: Vec<usize>,
    /// Length at which every ranking is cut; `None` ranks the whole gallery. The published
    /// protocol cuts at the number of training images of a class (CIFAR-10: 4,000).
    pub truncate: Option<usize>,
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
    /// Share of the relevant items, over all queries, that have their distance in common with
    /// another item.
    pub tied: f64,
    /// At every depth asked for, then for the whole gallery.
    pub mean_average_precision: Vec<MeanAveragePrecision>,
    /// At every depth asked for.
    pub precision: Vec<PrecisionAt>,
}

pub(super) const EXPECTED_OVER_TIES: &str = "expectation over all orders of equal distances, each as likely \
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

pub(super) const DEFINITIONS: Definitions = Definitions {
    retrieved: ApDenominator::Retrieved.words(),
    truncated: ApDenominator::Truncated.words(),
    relevant: ApDenominator::Relevant.words(),
};

/// Searches `gallery` for every query and sums up how good the rankings are.
///
/// Where queries are vectors of the gallery themselves, `own` has the row of each: it is left out
/// of the query's ranking and of the count of what is relevant to it.
///
/// `progress(done, queries)` is called now and then, and at the end.
///
/// # Shapes
/// `gallery`: `[n, dim]`, `gallery_labels`: `n`, `queries`: `[m, dim]`, `query_labels`: `m`,
/// `own`: `m`.
///
/// # Errors
/// Those of [`RetrievalSums::over`].
pub fn evaluate(
    gallery: &dyn Vectors,
    gallery_labels: &[Option<u32>],
    queries: &dyn Vectors,
    query_labels: &[Option<u32>],
    own: Option<&[usize]>,
    options: &EvaluateOptions,
    progress: impl FnMut(usize, usize),
) -> Result<RetrievalReport> {
    let known = (gallery, gallery_labels);
    let asked = (queries, query_labels);
    Ok(RetrievalSums::over(known, asked, own, options, progress)?.report())
}

#[cfg(test)]
mod tests;
