//! Average precision, in the three definitions that published figures use.

use serde::Serialize;

/// What the sum of precisions is divided by in average precision.
///
/// With `rel_i` 1 if the item at rank `i` is relevant and `P(i)` the precision of the first `i`
/// ranks, every definition is `AP@k = sum_{i<=k} rel_i P(i) / denominator`. Over the whole gallery
/// all three agree; on truncated rankings they are far apart and must not be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ApDenominator {
    /// Relevant items among the first `k`, at least 1. The code of the FastHebb retrieval
    /// experiments since December 2022 (HebbianLearning, tag `fasthebb`). Says nothing about
    /// relevant items that were missed, so it gives much the largest values.
    Retrieved,
    /// The smaller of `k` and the number of relevant items in the gallery. The earlier code
    /// (HebbianPCA, tag `hebbretr`; arXiv 2205.08935), which takes the nominal number of training
    /// images of a class (CIFAR-10: 4,000) for the latter; where a split is not balanced, the true
    /// number that is taken here differs from it by a few per cent.
    Truncated,
    /// All relevant items in the gallery: the standard definition of information retrieval.
    Relevant,
}

impl ApDenominator {
    /// All definitions, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::Retrieved, Self::Truncated, Self::Relevant];

    /// The definition in words, for reports.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Retrieved => "divided by the relevant items retrieved in the top k",
            Self::Truncated => "divided by the smaller of k and the relevant items in the gallery",
            Self::Relevant => "divided by the relevant items in the gallery (standard)",
        }
    }

    fn value(self, k: usize, retrieved: usize, relevant: usize) -> usize {
        match self {
            Self::Retrieved => retrieved,
            Self::Truncated => k.min(relevant),
            Self::Relevant => relevant,
        }
        .max(1)
    }
}

/// Relevance of the first `k` ranks of one query, summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankingPrefix {
    /// Number of ranks looked at.
    pub k: usize,
    /// How many of them are relevant.
    pub retrieved: usize,
    /// `sum_{i<=k} rel_i P(i)`.
    pub precision_sum: f64,
}

impl RankingPrefix {
    /// Average precision of the prefix when the gallery holds `relevant` relevant items.
    #[must_use]
    pub fn average_precision(&self, relevant: usize, denominator: ApDenominator) -> f64 {
        self.precision_sum / denominator.value(self.k, self.retrieved, relevant) as f64
    }

    /// Share of the first `k` ranks that is relevant. Ranks beyond the end of the ranking count as
    /// not relevant.
    #[must_use]
    pub fn precision(&self) -> f64 {
        self.retrieved as f64 / self.k.max(1) as f64
    }
}

/// Sums up a ranking at several depths in one pass.
///
/// `relevance` tells of each rank, best first, whether the item is relevant; `ks` must be in
/// ascending order. Returns one entry for each of them.
#[must_use]
pub fn ranking_prefixes(
    relevance: impl IntoIterator<Item = bool>,
    ks: &[usize],
) -> Vec<RankingPrefix> {
    let ranks = (1..).zip(relevance).filter(|(_, relevant)| *relevant).map(|(rank, _)| rank);
    prefixes_of_ranks(ranks, ks)
}

/// The same, told the ranks of the relevant items, from 1, ascending.
pub(super) fn prefixes_of_ranks(
    ranks: impl IntoIterator<Item = usize>,
    ks: &[usize],
) -> Vec<RankingPrefix> {
    debug_assert!(ks.is_sorted());
    let mut ranks = ranks.into_iter().peekable();
    let (mut retrieved, mut precision_sum) = (0_usize, 0.0);
    let prefix = |&k: &usize| {
        while let Some(rank) = ranks.next_if(|&rank| rank <= k) {
            retrieved += 1;
            precision_sum += retrieved as f64 / rank as f64;
        }
        RankingPrefix { k, retrieved, precision_sum }
    };
    ks.iter().map(prefix).collect()
}

/// Average precision at `k` of one ranking.
///
/// `relevance` tells of each rank, best first, whether the item is relevant; `relevant` is the
/// number of relevant items in the whole gallery. 0 if there is none.
#[must_use]
pub fn average_precision(
    relevance: impl IntoIterator<Item = bool>,
    relevant: usize,
    k: usize,
    denominator: ApDenominator,
) -> f64 {
    ranking_prefixes(relevance, &[k])[0].average_precision(relevant, denominator)
}

/// Share of the first `k` ranks that is relevant, see [`RankingPrefix::precision`].
#[must_use]
pub fn precision_at(relevance: impl IntoIterator<Item = bool>, k: usize) -> f64 {
    ranking_prefixes(relevance, &[k])[0].precision()
}

#[cfg(test)]
mod tests {
    use super::ApDenominator::*;
    use super::*;

    /// Worked by hand: relevant at ranks 1, 3 and 6, five relevant in the gallery.
    const RANKING: [bool; 6] = [true, false, true, false, false, true];

    #[test]
    fn definitions_by_hand() {
        let ap = |k, denominator| average_precision(RANKING, 5, k, denominator);
        let at_3 = 1.0 + 2.0 / 3.0;
        assert_eq!(ap(3, Retrieved), at_3 / 2.0);
        assert_eq!(ap(3, Truncated), at_3 / 3.0);
        assert_eq!(ap(3, Relevant), at_3 / 5.0);
        let at_6 = at_3 + 3.0 / 6.0;
        assert_eq!(ap(6, Retrieved), at_6 / 3.0);
        assert_eq!(ap(6, Truncated), at_6 / 5.0);
        assert_eq!(ap(6, Relevant), at_6 / 5.0);
        assert_eq!(ap(100, Relevant), at_6 / 5.0);
        assert_eq!(precision_at(RANKING, 3), 2.0 / 3.0);
        assert_eq!(precision_at(RANKING, 12), 3.0 / 12.0);
    }

    #[test]
    fn definitions_agree_over_a_whole_gallery() {
        let expected = (1.0 + 2.0 / 3.0 + 3.0 / 6.0) / 3.0;
        for denominator in ApDenominator::ALL {
            assert_eq!(average_precision(RANKING, 3, 6, denominator), expected);
        }
    }

    #[test]
    fn nothing_relevant_and_empty_rankings_give_zero() {
        for denominator in ApDenominator::ALL {
            assert_eq!(average_precision([false; 4], 0, 4, denominator), 0.0);
            assert_eq!(average_precision([], 3, 4, denominator), 0.0);
            assert_eq!(average_precision([true], 1, 0, denominator), 0.0);
        }
        assert_eq!(precision_at([true], 0), 0.0);
    }

    #[test]
    fn one_pass_gives_the_same_as_one_pass_for_each_depth() {
        let ks = [0, 1, 1, 2, 5, 6, 9];
        let prefixes = ranking_prefixes(RANKING, &ks);
        for (prefix, k) in prefixes.iter().zip(ks) {
            assert_eq!(*prefix, ranking_prefixes(RANKING, &[k])[0]);
        }
    }
}
