//! Near-duplicates: groups of vectors that are connected by distances up to a threshold.

use crate::exact::{Hit, link_within, search, squared_distance};
use crate::vectors::Vectors;
use crate::{Error, Result, Subset};

/// Vectors whose nearest neighbour is looked at to suggest a threshold.
const SAMPLE: usize = 1000;
/// A suggested threshold is the usual distance to the nearest neighbour over this.
const APART: f32 = 4.0;

/// Disjoint sets of `0..n`, joined two at a time.
pub(crate) struct Groups {
    parent: Vec<u32>,
}

impl Groups {
    /// `n` sets of one.
    pub(crate) fn new(n: u32) -> Self {
        Self { parent: (0..n).collect() }
    }

    /// The lowest member of the set of `i`.
    pub(crate) fn first(&mut self, mut i: u32) -> u32 {
        while self.parent[i as usize] != i {
            let above = self.parent[self.parent[i as usize] as usize];
            self.parent[i as usize] = above;
            i = above;
        }
        i
    }

    /// Joins the sets of `i` and `j`.
    pub(crate) fn join(&mut self, i: u32, j: u32) {
        let (i, j) = (self.first(i), self.first(j));
        // The lowest stays on top, so that the result depends on no order.
        self.parent[i.max(j) as usize] = i.min(j);
    }

    /// All sets with their members ascending, by their lowest member.
    fn into_sets(mut self) -> Vec<Vec<usize>> {
        let n = self.parent.len();
        let mut position = vec![usize::MAX; n];
        let mut sets: Vec<Vec<usize>> = Vec::new();
        for i in 0..n {
            let first = self.first(i as u32) as usize;
            if first == i {
                position[i] = sets.len();
                sets.push(Vec::new());
            }
            sets[position[first]].push(i);
        }
        sets
    }
}

/// Groups of at least two vectors, where each is within Euclidean distance `threshold` of another
/// of its group and of none outside. Members ascend, groups come by their first member.
///
/// Memory is bounded however large the gallery is; time grows with its square. `progress` is told
/// vectors done and in all.
///
/// # Errors
/// [`Error::Threshold`], [`Error::NotFinite`], those of reading the vectors.
pub fn near_duplicates(
    vectors: &dyn Vectors,
    threshold: f32,
    progress: impl FnMut(usize, usize),
) -> Result<Vec<Vec<usize>>> {
    let squared = squared_threshold(threshold)?;
    let n = u32::try_from(vectors.len()).map_err(|_| Error::Option {
        option: "gallery size",
        value: vectors.len(),
        rule: "near-duplicates are looked for among at most 4294967295 vectors",
    })?;
    let mut groups = Groups::new(n);
    link_within(vectors, squared, &mut groups, progress)?;
    Ok(groups.into_sets().into_iter().filter(|set| set.len() > 1).collect())
}

/// Groups the hits of a ranking whose vectors are connected by distances up to `threshold`: best
/// first, both the groups and the hits of each.
///
/// # Errors
/// [`Error::Threshold`], [`Error::Rows`] if a hit is none of `vectors`, those of reading them.
pub fn collapse(hits: &[Hit], vectors: &dyn Vectors, threshold: f32) -> Result<Vec<Vec<Hit>>> {
    let squared = squared_threshold(threshold)?;
    let rows = hits.iter().map(|hit| {
        let mut row = Vec::new();
        vectors.read(hit.index, 1, &mut row).map(|()| row)
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let mut groups = Groups::new(hits.len() as u32);
    for (i, a) in rows.iter().enumerate() {
        for (j, b) in rows.iter().enumerate().skip(i + 1) {
            if squared_distance(a, b) <= squared {
                groups.join(i as u32, j as u32);
            }
        }
    }
    let sets = groups.into_sets().into_iter();
    Ok(sets.map(|set| set.into_iter().map(|i| hits[i]).collect()).collect())
}

/// A threshold below which two vectors are much closer than neighbours usually are: a quarter of
/// the median distance to the nearest other vector, over a sample spread evenly. Nothing for fewer
/// than two vectors.
///
/// # Errors
/// Those of [`search`].
pub fn suggest_threshold(vectors: &dyn Vectors) -> Result<Option<f32>> {
    let (len, n) = (vectors.len(), vectors.len().min(SAMPLE));
    let rows: Vec<usize> = (0..n).map(|i| (i as u128 * len as u128 / n as u128) as usize).collect();
    let sample = Subset::new(vectors, rows.clone())?;
    let nearest = search(vectors, &sample, 2)?.into_iter().zip(rows);
    let other = nearest.filter_map(|(hits, row)| hits.into_iter().find(|hit| hit.index != row));
    let mut distances: Vec<f32> = other.map(|hit| hit.distance).collect();
    if distances.is_empty() {
        return Ok(None);
    }
    let middle = distances.len() / 2;
    Ok(Some(*distances.select_nth_unstable_by(middle, f32::total_cmp).1 / APART))
}

fn squared_threshold(threshold: f32) -> Result<f64> {
    match threshold.is_finite() && threshold >= 0.0 {
        true => Ok(f64::from(threshold) * f64::from(threshold)),
        false => Err(Error::Threshold { value: threshold }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Matrix;

    /// By comparing every pair.
    fn naive(vectors: &Matrix, threshold: f32) -> Vec<Vec<usize>> {
        let mut groups = Groups::new(vectors.len() as u32);
        for i in 0..vectors.len() {
            for j in 0..i {
                let (a, b) = (vectors.row(i).unwrap(), vectors.row(j).unwrap());
                if squared_distance(a, b).sqrt() <= f64::from(threshold) {
                    groups.join(i as u32, j as u32);
                }
            }
        }
        groups.into_sets().into_iter().filter(|set| set.len() > 1).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn groups_are_those_of_all_pairs(
            n in 0_usize..700,
            dim in 1_usize..20,
            seed in 0_u64..1000,
            offset in prop::sample::select(vec![0.0_f32, 1e3, 1e20]),
            threshold in 0_usize..5,
        ) {
            // Few different values, so that many distances are equal, to the threshold too.
            let mut state = seed;
            let mut value = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                offset + (state >> 61) as f32
            };
            let vectors = Matrix::new(dim, (0..n * dim).map(|_| value()).collect()).unwrap();
            let found = near_duplicates(&vectors, threshold as f32, |_, _| {}).unwrap();
            prop_assert_eq!(found, naive(&vectors, threshold as f32));
        }
    }

    #[test]
    fn a_chain_is_one_group_and_what_is_apart_is_none() {
        let line = Matrix::new(1, vec![0.0, 10.0, 1.0, 2.0, 10.5, 99.0]).unwrap();
        let groups = |threshold| near_duplicates(&line, threshold, |_, _| {}).unwrap();
        assert_eq!(groups(1.0), [vec![0, 2, 3], vec![1, 4]]);
        assert_eq!(groups(0.9), [vec![1, 4]]);
        assert!(groups(0.0).is_empty());
        for threshold in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(matches!(
                near_duplicates(&line, threshold, |_, _| {}),
                Err(Error::Threshold { .. })
            ));
        }
    }

    #[test]
    fn hits_collapse_in_the_order_of_the_ranking() {
        let line = Matrix::new(1, vec![0.0, 10.0, 1.0, 2.0, 10.5, 99.0]).unwrap();
        let query = Matrix::new(1, vec![10.1]).unwrap();
        let hits = &search(&line, &query, 5).unwrap()[0];
        let groups = collapse(hits, &line, 1.0).unwrap();
        let rows: Vec<Vec<usize>> =
            groups.iter().map(|hits| hits.iter().map(|hit| hit.index).collect()).collect();
        assert_eq!(rows, [vec![1, 4], vec![3, 2, 0]]);
    }

    #[test]
    fn the_suggested_threshold_lies_between_copies_and_neighbours() {
        let mut values: Vec<f32> = (0..100).map(|i| i as f32).collect();
        values.extend([5.01, 7.02]);
        let vectors = Matrix::new(1, values).unwrap();
        let threshold = suggest_threshold(&vectors).unwrap().unwrap();
        let found = near_duplicates(&vectors, threshold, |_, _| {}).unwrap();
        assert_eq!(found, [vec![5, 100], vec![7, 101]]);
        assert_eq!(suggest_threshold(&Matrix::new(1, vec![1.0]).unwrap()).unwrap(), None);
    }
}
