//! From what a server finds to the ranking: the distance itself decides, not the server's.
//!
//! Servers compute in single precision, so among vectors that are nearly as far they may pick the
//! wrong ones, and in the wrong order. Therefore more are asked for than are wanted, their
//! distances are computed again from their vectors ([`squared_distance`], which is what ranks
//! galleries too), and the ranking is taken only if no vector that was left out can belong to it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use hebbian_search::{Item, squared_distance};

use crate::record::Stored;

/// An item and what ranks it.
#[derive(Clone, Debug)]
pub(crate) struct Ranked {
    pub(crate) squared: f64,
    /// Equal distances come in the store's order.
    pub(crate) position: i64,
    pub(crate) item: Item,
}

impl Ranked {
    /// Ranks what was found for `query`.
    pub(crate) fn of(query: &[f32], found: Stored) -> Self {
        let squared = squared_distance(query, &found.vector);
        Self { squared, position: found.position, item: found.item }
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let distance = self.squared.total_cmp(&other.squared);
        let order = distance.then(self.position.cmp(&other.position));
        order.then_with(|| self.item.id.cmp(&other.item.id))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// The nearest of all that is offered, in memory bounded by `k`.
pub(crate) struct Nearest {
    k: usize,
    /// The farthest of them on top.
    kept: BinaryHeap<Ranked>,
}

impl Nearest {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, kept: BinaryHeap::new() }
    }

    /// Keeps `found` if it is among the `k` nearest to `query` so far.
    pub(crate) fn offer(&mut self, query: &[f32], found: &Stored) {
        let squared = squared_distance(query, &found.vector);
        let full = self.kept.len() >= self.k;
        // Most are farther, and need no copy of the item.
        if full && self.kept.peek().is_none_or(|farthest| squared > farthest.squared) {
            return;
        }
        self.kept.push(Ranked { squared, position: found.position, item: found.item.clone() });
        if full {
            self.kept.pop();
        }
    }

    /// The nearest, nearest first.
    pub(crate) fn ranking(self) -> Vec<Ranked> {
        self.kept.into_sorted_vec()
    }
}

/// Whether vectors that a server left out can be nearer than some that it found.
///
/// A server orders by the squared distance, or its root, of vectors of `dim` dimensions: a sum of
/// squared differences in single precision, in any order. With `u` the unit round-off, that is
/// within `(dim + 2) u` of the true sum, relatively, to first order; 6 more for roots taken and
/// squared again and for the higher orders. What was left out has a distance, as the server sees
/// it, not below that of anything it returned; so its true squared distance is at least the
/// greatest true one returned, less twice that share. This holds clear of overflow and underflow.
/// Source: N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd edition, sections
/// 3.1 and 4.2.
pub(crate) fn surely_farther(farthest_found: f64, dim: usize, squared: f64) -> bool {
    let share = (dim as f64 + 8.0) * f64::from(f32::EPSILON);
    let clear = 2.0_f64.powi(-90)..2.0_f64.powi(120);
    clear.contains(&farthest_found) && squared < farthest_found * (1.0 - share)
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn stored(id: usize, value: f32) -> Stored {
        let item = Item { id: id.to_string(), ..Item::default() };
        Stored { item, vector: vec![value], position: id as i64 }
    }

    #[test]
    fn the_nearest_are_kept_equal_ones_in_order() {
        for k in [0, 1, 3, 7, 8, 100] {
            let values = [5.0, 1.0, -1.0, 0.0, 1.0, 2.0, 1.0, 9.0];
            let mut nearest = Nearest::new(k);
            let mut all: Vec<(f64, usize)> = Vec::new();
            for (id, value) in values.into_iter().enumerate().rev() {
                nearest.offer(&[0.0], &stored(id, value));
                all.push((f64::from(value * value), id));
            }
            all.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let expected = all.into_iter().take(k).map(|(_, id)| id.to_string());
            let found = nearest.ranking().into_iter().map(|ranked| ranked.item.id);
            assert!(found.eq(expected), "{k}");
        }
    }

    /// The farthest that single precision, in the most careless order, can make a near vector look.
    #[test]
    fn single_precision_stays_within_the_bound() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for dim in [1, 2, 8, 100, 4096] {
            for scale in [1e-6_f32, 1.0, 1e6] {
                let mut draw = || -> Vec<f32> {
                    (0..dim).map(|_| 1000.0 + scale * rng.random_range(-1.0..1.0_f32)).collect()
                };
                let (a, b) = (draw(), draw());
                let sum = a.iter().zip(&b).fold(0.0_f32, |sum, (a, b)| sum + (a - b) * (a - b));
                let exact = squared_distance(&a, &b);
                let seen = f64::from(sum.sqrt() * sum.sqrt());
                // Neither would be ruled out by the other.
                assert!(!surely_farther(exact, dim, seen), "{dim} {scale}");
                assert!(!surely_farther(seen, dim, exact), "{dim} {scale}");
            }
        }
        assert!(surely_farther(1.0, 10, 0.99));
        assert!(!surely_farther(f64::INFINITY, 10, 1.0));
        assert!(!surely_farther(0.0, 10, 0.0));
        assert!(!surely_farther(2.0_f64.powi(121), 10, 1.0));
    }
}
