//! The vectors that may still belong to the ranking of one query.

use super::distance::reported_alike;
use super::squared::squared_distance;
use crate::Result;
use crate::vectors::Vectors;

/// Slots beyond twice the ranking's length before candidates are thinned out.
const SLACK: usize = 64;

/// Most candidates kept for a ranking of length `k`.
pub(super) fn slots(k: usize) -> usize {
    k.saturating_mul(2).saturating_add(SLACK)
}

/// A gallery vector whose squared distance lies within `error` of `score`, which is not negative.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    score: f64,
    /// Rounded up, so that it stays a bound.
    error: f32,
    index: u32,
}

impl Candidate {
    fn lower(&self) -> f64 {
        self.score - f64::from(self.error)
    }

    fn upper(&self) -> f64 {
        self.score + f64::from(self.error)
    }

    /// Replaces the estimate by the squared distance itself.
    fn settle(&mut self, query: &[f32], gallery: &dyn Vectors, row: &mut Vec<f32>) -> Result<()> {
        if self.error > 0.0 {
            gallery.read(self.index as usize, 1, row)?;
            self.score = squared_distance(query, row);
            self.error = 0.0;
        }
        Ok(())
    }
}

fn by_score_then_index(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    a.score.total_cmp(&b.score).then(a.index.cmp(&b.index))
}

/// Keeps what may be among the `k` nearest of one query and sorts it at the end.
///
/// Only candidates whose order is in doubt are settled by their exact distance. Never more than
/// `2 k + 64` candidates are kept.
pub(super) struct Candidates {
    k: usize,
    kept: Vec<Candidate>,
    /// No candidate further away than this can be among the `k` nearest.
    threshold: f64,
    /// How many candidates had to be settled while they were collected.
    settled: usize,
}

impl Candidates {
    /// For rankings of length `k`, at least 1, of a gallery of `len` vectors.
    pub(super) fn new(k: usize, len: usize) -> Self {
        // Exactly, because doubling could take twice the memory that was planned for.
        let kept = Vec::with_capacity(slots(k).min(len));
        Self { k, kept, threshold: f64::INFINITY, settled: 0 }
    }

    /// Bytes that one query takes.
    pub(super) fn bytes(k: usize, len: usize) -> usize {
        slots(k).min(len).saturating_mul(size_of::<Candidate>())
    }

    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.threshold = f64::INFINITY;
        self.settled = 0;
    }

    /// What is surely further away than this need not be offered.
    pub(super) fn threshold(&self) -> f64 {
        self.threshold
    }

    /// How many candidates had to be settled by their distance while they were collected.
    pub(super) fn settled(&self) -> usize {
        self.settled
    }

    /// Offers gallery vector `index` at squared distance `score`, give or take `error`.
    #[inline]
    pub(super) fn offer(
        &mut self,
        index: u32,
        score: f64,
        error: f64,
        query: &[f32],
        gallery: &dyn Vectors,
    ) -> Result<()> {
        // No squared distance is negative, so this only takes error away (and the sign of -0).
        let score = if score > 0.0 { score } else { 0.0 };
        if score - error <= self.threshold {
            if self.kept.len() >= slots(self.k) {
                self.thin_out(query, gallery)?;
            }
            let error = if error == 0.0 { 0.0 } else { (error as f32).next_up() };
            self.kept.push(Candidate { score, error, index });
        }
        Ok(())
    }

    /// Drops what can't be among the `k` nearest; where doubt would keep too many, settles them.
    fn thin_out(&mut self, query: &[f32], gallery: &dyn Vectors) -> Result<()> {
        let (_, kth, _) =
            self.kept.select_nth_unstable_by(self.k - 1, |a, b| a.upper().total_cmp(&b.upper()));
        let threshold = kth.upper();
        self.kept.retain(|candidate| candidate.lower() <= threshold);
        self.threshold = threshold;
        // Half of the spare slots must come free, or thinning out would happen too often.
        if self.kept.len() > slots(self.k) - (self.k + SLACK) / 2 {
            let mut row = Vec::new();
            for candidate in &mut self.kept {
                self.settled += usize::from(candidate.error > 0.0);
                candidate.settle(query, gallery, &mut row)?;
            }
            self.kept.select_nth_unstable_by(self.k - 1, by_score_then_index);
            self.kept.truncate(self.k);
            self.threshold = self.kept[self.k - 1].score;
        }
        Ok(())
    }

    /// Hands the `k` nearest to `visit` as `(index, squared distance)`: nearest first, equal
    /// distances by index.
    pub(super) fn rank(
        &mut self,
        query: &[f32],
        gallery: &dyn Vectors,
        mut visit: impl FnMut(u32, f64),
    ) -> Result<()> {
        self.kept.sort_unstable_by(by_score_then_index);
        let len = self.kept.len();
        // floor[i]: the least distance that any candidate from i on may have.
        let mut floor = vec![f64::INFINITY; len + 1];
        for i in (0..len).rev() {
            floor[i] = floor[i + 1].min(self.kept[i].lower());
        }
        let mut row = Vec::new();
        let mut start = 0;
        let mut reach = f64::NEG_INFINITY;
        for (end, &floor) in floor.iter().enumerate().skip(1) {
            reach = reach.max(self.kept[end - 1].upper());
            if end < len && reach >= floor {
                continue;
            }
            // Everything in start..end surely comes before everything from end on.
            let run = &mut self.kept[start..end];
            if let [only] = run {
                if !reported_alike(only.score, f64::from(only.error)) {
                    only.settle(query, gallery, &mut row)?;
                }
            } else {
                for candidate in run.iter_mut() {
                    candidate.settle(query, gallery, &mut row)?;
                }
                run.sort_unstable_by(by_score_then_index);
            }
            for candidate in run.iter().take(self.k - start) {
                visit(candidate.index, candidate.score);
            }
            start = end;
            if start >= self.k {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Matrix;

    /// Thousands of copies of one vector whose order can't be told from the estimates: memory
    /// stays bounded and the lowest indices win.
    #[test]
    fn ties_without_end_keep_bounded_memory() {
        let gallery = Matrix::new(1, vec![0.5; 5000]).unwrap();
        let (k, query) = (10, [0.25]);
        let mut candidates = Candidates::new(k, gallery.len());
        for index in 0..5000_u32 {
            let noise = f64::from(index.wrapping_mul(2_654_435_761) >> 16) * 1e-12;
            candidates.offer(index, 0.0625 + noise, 1e-6, &query, &gallery).unwrap();
            assert!(candidates.kept.len() <= slots(k));
        }
        let mut ranking = Vec::new();
        candidates.rank(&query, &gallery, |index, score| ranking.push((index, score))).unwrap();
        assert_eq!(ranking, (0..10).map(|index| (index, 0.0625)).collect::<Vec<_>>());
    }
}
