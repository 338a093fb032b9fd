//! The distance as it is reported, and how far the matrix product may stray from it.

use super::precision::Precision;

/// The Euclidean distance that is reported for a squared one: rounded to f32 and at most
/// `f32::MAX`.
#[must_use]
pub fn reported(squared: f64) -> f32 {
    squared.sqrt().min(f64::from(f32::MAX)) as f32
}

/// Whether every squared distance within `error` of `score` is [`reported`] as the same number.
pub(super) fn reported_alike(score: f64, error: f64) -> bool {
    if error > score {
        return false;
    }
    // sqrt(score -+ error) lies within error / sqrt(score) of sqrt(score); twice that leaves room
    // for the rounding here.
    let root = score.sqrt();
    let reach = if error > 0.0 { 2.0 * error / root } else { 0.0 };
    let rounded = |root: f64| root.min(f64::from(f32::MAX)) as f32;
    rounded(root - reach) == rounded(root + reach)
}

/// What the error of a product-form distance depends on, for one vector `v` seen from the origin
/// `o`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm {
    /// `||v - o||^2`.
    pub(super) squared: f64,
    /// `||v - o||`.
    pub(super) length: f64,
    /// Whether `v` and `o` hold integers only.
    pub(super) integral: bool,
}

/// Bounds `|(||a||^2 + ||b||^2 - 2 a.b) - squared_distance|` for vectors of `dim` dimensions, where
/// the rows `a`, `b` as moved and their product `a.b` are in some [`Precision`], all else is in
/// double.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorBound {
    relative: f64,
    absolute: f64,
    /// What [`limit`](Self::limit) adds to `relative` for its own rounding.
    screening: f64,
    exact_integers: f64,
}

impl ErrorBound {
    /// With `u` the unit round-off of `T`, `v` that of f64, `s = ||a|| + ||b||` and
    /// `gamma = dim u / (1 - dim u)`:
    ///
    /// - the product, in any order of summation, with or without fused multiply-add, is within
    ///   `gamma ||a|| ||b||`; it counts twice, and `||a|| ||b|| <= s^2 / 4`: `gamma/2 s^2`;
    /// - moving rounds every difference from the origin by a factor of at most `1 + u`, and so
    ///   `||a - b||` by at most `u s` to first order, its square by `2 u s^2`;
    /// - the two squared norms, summed up in double precision, and adding up: `(dim + 2) v s^2`;
    /// - [`squared_distance`](super::squared_distance) itself: `(dim + 2) v s^2`.
    ///
    /// `gamma/2 + 4 u + (2.5 dim + 16) v` covers these and the higher orders; near 0, each of the
    /// `dim` products may lose [`Precision::UNDERFLOW`] besides. Source: N. J. Higham, *Accuracy
    /// and Stability of Numerical Algorithms*, 2nd edition, sections 2.2 and 3.1.
    pub(super) fn new<T: Precision>(dim: usize) -> Self {
        let dim = dim as f64;
        let gamma = dim * T::UNIT / (1.0 - dim * T::UNIT);
        Self {
            relative: gamma / 2.0 + 4.0 * T::UNIT + (2.5 * dim + 16.0) * f64::UNIT,
            absolute: (3.0 * dim + 4.0) * T::UNDERFLOW,
            screening: 8.0 * T::UNIT,
            exact_integers: T::EXACT_INTEGERS,
        }
    }

    /// The bound for one pair: 0 where every intermediate result is an integer that the precision
    /// holds exactly, as it is for binary codes and, in double precision, raw pixels.
    #[inline]
    pub(super) fn of(self, a: Norm, b: Norm) -> f64 {
        let sum = a.length + b.length;
        let scale = sum * sum;
        if a.integral && b.integral && scale < self.exact_integers {
            0.0
        } else {
            self.relative * scale + self.absolute
        }
    }

    /// What `||b||^2 / 2 - a.b`, computed in `T`, does not exceed for any `b` no longer than
    /// `longest` whose squared distance to `a` may be as low as `threshold`.
    ///
    /// Besides the bound itself, rounding `||b||^2 / 2` and subtracting cost at most `u s^2`
    /// each in the doubled result, and computing the limit less than that.
    #[inline]
    pub(super) fn limit<T: Precision>(self, threshold: f64, a: Norm, longest: f64) -> T {
        let sum = a.length + longest;
        let error = (self.relative + self.screening) * (sum * sum) + self.absolute;
        T::round_up((threshold - a.squared + error) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reported_distances_are_alike_only_if_all_in_reach_are() {
        // Halfway between two f32 numbers, and a little off.
        let halfway = 1.0 + f64::from(f32::EPSILON) / 2.0;
        assert!(!reported_alike(halfway * halfway, 1e-15));
        let off = (halfway + 1e-9) * (halfway + 1e-9);
        assert!(reported_alike(off, 1e-10));
        assert!(!reported_alike(off, 4e-9));
        assert!(reported_alike(0.0, 0.0));
        assert!(!reported_alike(0.0, f64::from_bits(1)));
        let beyond = 16.0 * f64::from(f32::MAX).powi(2);
        assert!(reported_alike(beyond, beyond / 4.0));
        for i in 1..10_000 {
            let (score, error) = (f64::from(i).sqrt(), f64::from(i) * 1e-11);
            if reported_alike(score, error) {
                assert_eq!(reported(score - error), reported(score + error));
            }
        }
    }
}
