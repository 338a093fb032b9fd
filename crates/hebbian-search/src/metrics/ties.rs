//! Average precision and precision in expectation over the orders of equal distances.
//!
//! Where many distances are equal, as between binary codes, a ranking depends on how ties are
//! broken, and so does its average precision. The expectation over all orders of equals, each as
//! likely, does not: McSherry & Najork, *Computing Information Retrieval Performance Measures
//! Efficiently in the Presence of Tied Scores*, ECIR 2008. They give average precision over the
//! whole ranking; here it is also cut at `k`, in all three definitions, for which see
//! [`ApDenominator`].

use super::ApDenominator;

/// Neighbours at one distance, or, where none of them is relevant, at several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TieGroup {
    /// How many there are.
    pub len: usize,
    /// How many of them are relevant.
    pub relevant: usize,
}

/// Expectations at one depth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpectedPrefix {
    /// Number of ranks looked at.
    pub k: usize,
    /// Expected share of them that is relevant; ranks beyond the end are not.
    pub precision: f64,
    /// Expectation of `sum_{i<=k} rel_i P(i)`.
    pub precision_sum: f64,
    /// Expectation of that sum over the relevant items among the `k`, at least 1.
    retrieved: f64,
}

impl ExpectedPrefix {
    /// Expected average precision when the gallery holds `relevant` relevant items.
    #[must_use]
    pub fn average_precision(&self, relevant: usize, denominator: ApDenominator) -> f64 {
        match denominator {
            ApDenominator::Retrieved => self.retrieved,
            ApDenominator::Truncated => self.precision_sum / self.k.min(relevant).max(1) as f64,
            ApDenominator::Relevant => self.precision_sum / relevant.max(1) as f64,
        }
    }
}

/// Expectations at several depths, which must be in ascending order, in one pass over the groups
/// of a ranking, nearest first.
///
/// A group that a depth cuts must be whole in `groups`: what lies beyond the cut counts as well.
#[must_use]
pub fn expected_prefixes(groups: &[TieGroup], ks: &[usize]) -> Vec<ExpectedPrefix> {
    debug_assert!(ks.is_sorted());
    let mut before = Before::default();
    let mut rest = groups.iter();
    let mut next = rest.next();
    ks.iter()
        .map(|&k| {
            while let Some(group) = next.filter(|group| before.ranks + group.len <= k) {
                before.add(group);
                next = rest.next();
            }
            match next {
                Some(group) => before.cut(group, k),
                None => before.whole(k),
            }
        })
        .collect()
}

/// What lies before a rank.
#[derive(Clone, Copy, Default)]
struct Before {
    ranks: usize,
    relevant: usize,
    precision_sum: f64,
}

impl Before {
    /// `sum_i 1 / (ranks + i)` and `sum_i (i - 1) / (ranks + i)` over `i = 1..=taken`.
    fn sums(&self, taken: usize) -> (f64, f64) {
        (1..=taken).fold((0.0, 0.0), |(harmonic, slope), i| {
            let rank = (self.ranks + i) as f64;
            (harmonic + 1.0 / rank, slope + (i - 1) as f64 / rank)
        })
    }

    /// Expected precision sum of this and `m` relevant among the next `taken` ranks, each choice of
    /// ranks as likely, by their [`sums`](Self::sums).
    ///
    /// Rank `i` of the `taken` is relevant with probability `m / taken`; then of the `i - 1` before
    /// it `(i - 1) (m - 1) / (taken - 1)` are expected to be.
    fn sum_of(&self, taken: usize, m: usize, (harmonic, slope): (f64, f64)) -> f64 {
        if m == 0 {
            return self.precision_sum;
        }
        let others = (m - 1) as f64 / (taken.max(2) - 1) as f64;
        let share = m as f64 / taken as f64;
        self.precision_sum + share * ((self.relevant + 1) as f64 * harmonic + others * slope)
    }

    fn add(&mut self, group: &TieGroup) {
        // Most ranks are in groups without any, and need no sums.
        if group.relevant > 0 {
            self.precision_sum = self.sum_of(group.len, group.relevant, self.sums(group.len));
        }
        self.ranks += group.len;
        self.relevant += group.relevant;
    }

    fn whole(&self, k: usize) -> ExpectedPrefix {
        let Self { relevant, precision_sum, .. } = *self;
        let precision = relevant as f64 / k.max(1) as f64;
        let retrieved = precision_sum / relevant.max(1) as f64;
        ExpectedPrefix { k, precision, precision_sum, retrieved }
    }

    /// Rank `k` lies inside `group`, of which the first ranks are a random choice: how many of them
    /// are relevant has a hypergeometric distribution.
    fn cut(&self, group: &TieGroup, k: usize) -> ExpectedPrefix {
        let (taken, TieGroup { len, relevant }) = (k - self.ranks, *group);
        if taken == 0 || relevant == 0 {
            return self.whole(k);
        }
        let sums = self.sums(taken);
        let least = taken.saturating_sub(len - relevant);
        let most = taken.min(relevant);
        let chances = hypergeometric(len, relevant, taken, least, most);
        let (mut precision_sum, mut retrieved) = (0.0, 0.0);
        for (m, chance) in (least..=most).zip(chances) {
            let sum = chance * self.sum_of(taken, m, sums);
            precision_sum += sum;
            retrieved += sum / (self.relevant + m).max(1) as f64;
        }
        let found = self.relevant as f64 + taken as f64 * relevant as f64 / len as f64;
        ExpectedPrefix { k, precision: found / k as f64, precision_sum, retrieved }
    }
}

/// Chances of `least..=most` relevant among `taken` of `len`, of which `relevant` are.
///
/// Each follows from the one before by a ratio. They are taken from the likeliest outwards and then
/// divided by their sum, so that none is out of range however many there are.
fn hypergeometric(
    len: usize,
    relevant: usize,
    taken: usize,
    least: usize,
    most: usize,
) -> Vec<f64> {
    let mut chances = vec![0.0; most - least + 1];
    let mode = ((taken + 1) as f64 * (relevant + 1) as f64 / (len + 2) as f64) as usize;
    let mode = mode.clamp(least, most);
    // Chance of m + 1 over that of m.
    let ratio = |m: usize| {
        let up = (relevant - m) as f64 * (taken - m) as f64;
        up / ((m + 1) as f64 * ((len - relevant) + m + 1 - taken) as f64)
    };
    chances[mode - least] = 1.0;
    for m in mode..most {
        chances[m + 1 - least] = chances[m - least] * ratio(m);
    }
    for m in (least..mode).rev() {
        chances[m - least] = chances[m + 1 - least] / ratio(m);
    }
    let sum: f64 = chances.iter().sum();
    chances.iter_mut().for_each(|chance| *chance /= sum);
    chances
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ranking_prefixes;
    use proptest::prelude::*;

    /// Every ranking in which only equal distances change places, each once for each permutation.
    fn orders(groups: &[Vec<bool>]) -> Vec<Vec<bool>> {
        let Some((first, rest)) = groups.split_first() else { return vec![Vec::new()] };
        let rest = orders(rest);
        let of_first = permutations(first);
        let joined = |head: &Vec<bool>| {
            rest.iter().map(|tail| [&head[..], tail].concat()).collect::<Vec<_>>()
        };
        of_first.iter().flat_map(joined).collect()
    }

    fn permutations(items: &[bool]) -> Vec<Vec<bool>> {
        if items.is_empty() {
            return vec![Vec::new()];
        }
        let mut all = Vec::new();
        for i in 0..items.len() {
            let others = [&items[..i], &items[i + 1..]].concat();
            all.extend(permutations(&others).iter().map(|tail| [&[items[i]], &tail[..]].concat()));
        }
        all
    }

    fn grouped(groups: &[Vec<bool>]) -> Vec<TieGroup> {
        let of = |group: &Vec<bool>| TieGroup {
            len: group.len(),
            relevant: group.iter().filter(|&&relevant| relevant).count(),
        };
        groups.iter().map(of).collect()
    }

    proptest! {
        #[test]
        fn expectations_are_means_over_all_orders(
            groups in proptest::collection::vec(proptest::collection::vec(any::<bool>(), 1..5), 1..4),
            missing in 0usize..3,
        ) {
            let (n, found) = (groups.concat().len(), groups.concat().iter().filter(|&&r| r).count());
            let ks: Vec<usize> = (0..n + 3).collect();
            let expected = expected_prefixes(&grouped(&groups), &ks);
            let orders = orders(&groups);
            let mut sums = vec![[0.0; 4]; ks.len()];
            for order in &orders {
                let prefixes = ranking_prefixes(order.iter().copied(), &ks);
                for (sums, prefix) in sums.iter_mut().zip(prefixes) {
                    for (sum, denominator) in sums.iter_mut().zip(ApDenominator::ALL) {
                        *sum += prefix.average_precision(found + missing, denominator);
                    }
                    sums[3] += prefix.precision();
                }
            }
            for (expected, sums) in expected.iter().zip(sums) {
                let mean = sums.map(|sum| sum / orders.len() as f64);
                for (mean, denominator) in mean.into_iter().zip(ApDenominator::ALL) {
                    let got = expected.average_precision(found + missing, denominator);
                    prop_assert!((got - mean).abs() < 1e-12, "{expected:?} {denominator:?} {mean}");
                }
                prop_assert!((expected.precision - mean[3]).abs() < 1e-12);
            }
        }

        #[test]
        fn without_ties_nothing_is_left_to_chance(relevance in proptest::collection::vec(any::<bool>(), 0..40)) {
            let groups: Vec<Vec<bool>> = relevance.iter().map(|&r| vec![r]).collect();
            let ks: Vec<usize> = (0..relevance.len() + 2).collect();
            let prefixes = ranking_prefixes(relevance.iter().copied(), &ks);
            for (expected, prefix) in expected_prefixes(&grouped(&groups), &ks).iter().zip(prefixes) {
                for denominator in ApDenominator::ALL {
                    let (got, want) =
                        (expected.average_precision(9, denominator), prefix.average_precision(9, denominator));
                    prop_assert!((got - want).abs() < 1e-12);
                }
                prop_assert!((expected.precision - prefix.precision()).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn one_large_group_is_in_range() {
        // 40,000 equal distances, a tenth relevant: precision is a tenth at every depth.
        let groups = [TieGroup { len: 40_000, relevant: 4_000 }];
        for prefix in expected_prefixes(&groups, &[1, 100, 4_000, 39_999, 40_000]) {
            assert!((prefix.precision - 0.1).abs() < 1e-12, "{prefix:?}");
            let ap = prefix.average_precision(4_000, ApDenominator::Retrieved);
            assert!((0.0..0.2).contains(&ap), "{prefix:?}");
        }
    }
}
