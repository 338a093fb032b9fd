//! What a report is made of: sums over queries, to which parts of the queries add up.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::average_precision::{ApDenominator, prefixes_of_ranks};
use super::report::{
    DEFINITIONS, EXPECTED_OVER_TIES, EvaluateOptions, ExpectedOverTies, MeanAveragePrecision,
    PrecisionAt, RetrievalReport,
};
use super::ties::{TieGroup, expected_prefixes};
use crate::exact::{Equals, Standing, for_each_ranking, for_each_standing};
use crate::vectors::Vectors;
use crate::{Error, Result};

/// Sums over the rankings of some queries.
///
/// Large sets of queries are evaluated in parts, by several processes or with stops between them:
/// the sums of parts add up to those of the whole, and can be kept on disk (serde).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrievalSums {
    asked: Asked,
    queries: usize,
    evaluated: usize,
    without_label: usize,
    without_relevant: usize,
    /// Relevant items that were ranked over the whole gallery.
    found: usize,
    /// Of those, how many have their distance in common with another item.
    tied: usize,
    /// At each of [`Asked::order`]: average precision in the order of [`ApDenominator::ALL`],
    /// then precision.
    by_index: Vec<[f64; 4]>,
    /// The same in expectation over ties; zeros where rankings are truncated.
    expected: Vec<[f64; 4]>,
}

/// What every part of an evaluation has in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    gallery: usize,
    gallery_without_label: usize,
    /// Vectors that a query is compared with.
    searched: usize,
    /// Length of the rankings.
    ranked: usize,
    self_excluded: bool,
    /// Depths, ascending, once each.
    ks: Vec<usize>,
}

impl Asked {
    /// The depths asked for and the rankings as they are, ascending: one pass needs them in order.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = self.ks.iter().copied().chain([self.ranked]).collect();
        order.sort_unstable();
        order.dedup();
        order
    }

    fn whole(&self) -> bool {
        self.ranked == self.searched
    }
}

impl RetrievalSums {
    /// Ranks a gallery, its vectors and their labels, for every query; see
    /// [`evaluate`](super::evaluate()). Of whole rankings only the relevant items are kept.
    ///
    /// # Errors
    /// [`Error::Length`] if labels or `own` and vectors do not go together, [`Error::Rows`] if
    /// the gallery has no such row as `own` says; [`Error::Option`] if a depth is 0 or beyond
    /// `truncate`; the errors of [`for_each_ranking`].
    pub fn over(
        (gallery, gallery_labels): (&dyn Vectors, &[Option<u32>]),
        (queries, query_labels): (&dyn Vectors, &[Option<u32>]),
        own: Option<&[usize]>,
        options: &EvaluateOptions,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let len = gallery.len();
        same_length("gallery labels", len, gallery_labels.len())?;
        same_length("query labels", queries.len(), query_labels.len())?;
        if let Some(own) = own {
            same_length("own rows", queries.len(), own.len())?;
            if let Some(&start) = own.iter().find(|&&row| row >= len) {
                return Err(Error::Rows { start, n: 1, len });
            }
        }
        let searched = len.saturating_sub(usize::from(own.is_some()));
        let ranked = options.truncate.unwrap_or(searched).min(searched);
        let ks = depths(options)?;
        let gallery_without_label = gallery_labels.iter().filter(|label| label.is_none()).count();
        let self_excluded = own.is_some();
        let asked =
            Asked { gallery: len, gallery_without_label, searched, ranked, self_excluded, ks };
        let order = asked.order();
        let mut sums = Self {
            asked,
            queries: queries.len(),
            evaluated: 0,
            without_label: 0,
            without_relevant: 0,
            found: 0,
            tied: 0,
            by_index: vec![[0.0; 4]; order.len()],
            expected: vec![[0.0; 4]; order.len()],
        };
        if sums.asked.whole() {
            let mut add = |query: usize, standing: &Standing| {
                let relevant = query_labels[query].map(|_| standing.len());
                if sums.count(relevant) {
                    sums.add_whole(standing, &order);
                }
            };
            let (known, asked) = ((gallery, gallery_labels), (queries, query_labels));
            for_each_standing(known, asked, own, &mut add, progress)?;
            return Ok(sums);
        }
        let mut relevant_of: HashMap<u32, usize> = HashMap::new();
        for label in gallery_labels.iter().flatten() {
            *relevant_of.entry(*label).or_default() += 1;
        }
        // One more than is ranked, because the query itself may be among them.
        let limit = ranked + usize::from(self_excluded);
        for_each_ranking(gallery, queries, Some(limit), |query, hits| {
            let (label, own) = (query_labels[query], own.map(|own| own[query]));
            let same = |index: usize| gallery_labels[index] == label;
            let of_class = |label| relevant_of.get(&label).copied().unwrap_or(0);
            let relevant = label.map(|label| of_class(label) - usize::from(own.is_some_and(same)));
            if sums.count(relevant) {
                let others = hits.iter().filter(|hit| Some(hit.index) != own).take(ranked);
                let ranks = (1..).zip(others).filter(|(_, hit)| same(hit.index));
                sums.add_ranks(ranks.map(|(rank, _)| rank), relevant.unwrap_or(0), &order);
            }
            progress(query + 1, queries.len());
        })?;
        Ok(sums)
    }

    /// Counts a query with so many relevant items, or without a label; whether there is something
    /// to average.
    fn count(&mut self, relevant: Option<usize>) -> bool {
        match relevant {
            None => self.without_label += 1,
            Some(0) => self.without_relevant += 1,
            Some(_) => self.evaluated += 1,
        }
        relevant.is_some_and(|relevant| relevant > 0)
    }

    /// Adds a query by the ranks of what is relevant to it, from 1, ascending.
    fn add_ranks(&mut self, ranks: impl Iterator<Item = usize>, relevant: usize, order: &[usize]) {
        let prefixes = prefixes_of_ranks(ranks, order);
        let values = prefixes.iter();
        let values = values.map(|p| (p.precision(), move |d| p.average_precision(relevant, d)));
        add_query(&mut self.by_index, values);
    }

    /// Adds a query by where what is relevant to it stands in the whole gallery.
    fn add_whole(&mut self, standing: &Standing, order: &[usize]) {
        let relevant = standing.len();
        self.add_ranks(standing.ranks(), relevant, order);
        let (equals, further) = standing.equals();
        let none = |len| TieGroup { len, relevant: 0 };
        let mut groups = Vec::new();
        for Equals { nearer, own, others } in equals {
            groups.extend([none(nearer), TieGroup { len: own + others, relevant: own }]);
            self.found += own;
            self.tied += if own + others > 1 { own } else { 0 };
        }
        groups.push(none(further));
        let prefixes = expected_prefixes(&groups, order);
        let values = prefixes.iter();
        let values = values.map(|p| (p.precision, move |d| p.average_precision(relevant, d)));
        add_query(&mut self.expected, values);
    }

    /// Adds the sums of other queries of the same evaluation.
    ///
    /// # Errors
    /// [`Error::Parts`] if they are not: another gallery, other depths or other lengths.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        let alike = |a: &[[f64; 4]], b: &[[f64; 4]]| a.len() == b.len();
        if self.asked != other.asked
            || !alike(&self.by_index, &other.by_index)
            || !alike(&self.expected, &other.expected)
        {
            return Err(Error::Parts);
        }
        for (count, more) in [
            (&mut self.queries, other.queries),
            (&mut self.evaluated, other.evaluated),
            (&mut self.without_label, other.without_label),
            (&mut self.without_relevant, other.without_relevant),
            (&mut self.found, other.found),
            (&mut self.tied, other.tied),
        ] {
            // What was read from a file may be any number.
            *count = count.saturating_add(more);
        }
        for (sums, more) in
            [(&mut self.by_index, &other.by_index), (&mut self.expected, &other.expected)]
        {
            let pairs = sums.as_flattened_mut().iter_mut().zip(more.as_flattened());
            pairs.for_each(|(sum, more)| *sum += more);
        }
        Ok(())
    }

    /// Queries summed over, those left out included.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// The means of these sums.
    #[must_use]
    pub fn report(&self) -> RetrievalReport {
        let Asked { gallery, gallery_without_label, ranked, self_excluded, .. } = self.asked;
        let (mean_average_precision, precision) = self.means(&self.by_index);
        let expected_over_ties = self.asked.whole().then(|| {
            let (mean_average_precision, precision) = self.means(&self.expected);
            let tied = self.tied as f64 / (self.found as f64).max(1.0);
            let definition = EXPECTED_OVER_TIES;
            ExpectedOverTies { definition, tied, mean_average_precision, precision }
        });
        RetrievalReport {
            gallery,
            gallery_without_label,
            queries: self.queries,
            evaluated: self.evaluated,
            without_label: self.without_label,
            without_relevant: self.without_relevant,
            ranked,
            self_excluded,
            distance: "euclidean",
            ties: "by index in the gallery",
            definitions: DEFINITIONS,
            mean_average_precision,
            precision,
            expected_over_ties,
        }
    }

    /// Means over the evaluated queries: at the depths asked for and at the length of the
    /// rankings, and at the depths asked for.
    fn means(&self, sums: &[[f64; 4]]) -> (Vec<MeanAveragePrecision>, Vec<PrecisionAt>) {
        let Asked { searched, ranked, ks, .. } = &self.asked;
        let order = self.asked.order();
        let mean = |k: usize| -> [f64; 4] {
            let at = order.binary_search(&k).ok().and_then(|at| sums.get(at).copied());
            at.unwrap_or_default().map(|sum| sum / (self.evaluated as f64).max(1.0))
        };
        let depths = ks.iter().copied().filter(|k| k != ranked).chain([*ranked]);
        let mean_average_precision = depths.map(|k| {
            let [retrieved, truncated, relevant, _] = mean(k);
            let whole_gallery = k >= *searched;
            MeanAveragePrecision { k, whole_gallery, retrieved, truncated, relevant }
        });
        let precision = ks.iter().map(|&k| PrecisionAt { k, precision: mean(k)[3] });
        (mean_average_precision.collect(), precision.collect())
    }
}

/// Adds a query: at each depth, precision and average precision by definition.
fn add_query<A: Fn(ApDenominator) -> f64>(
    sums: &mut [[f64; 4]],
    query: impl Iterator<Item = (f64, A)>,
) {
    for (sums, (precision, average_precision)) in sums.iter_mut().zip(query) {
        for (sum, denominator) in sums.iter_mut().zip(ApDenominator::ALL) {
            *sum += average_precision(denominator);
        }
        sums[3] += precision;
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
