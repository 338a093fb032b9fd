//! The distance that decides, and how far the matrix product may stray from it.

/// Half the spacing of the f64 numbers just above 1.
const UNIT: f64 = f64::EPSILON / 2.0;

/// Below this, sums of integers are exact in f64 whatever their order.
const EXACT_INTEGERS: f64 = (1_u64 << 53) as f64;

/// Number of interleaved partial sums, enough for two vector registers.
pub(super) const LANES: usize = 8;

/// Squared Euclidean distance, `sum_i (a_i - b_i)^2`, in double precision.
///
/// This number *is* the order of every ranking of this crate. It is summed in a fixed order
/// (eight interleaved partial sums, then their sum), so it is the same on every run and for every
/// number of threads, and 0 exactly when the vectors are equal.
///
/// # Shapes
/// `a`, `b`: `[dim]`.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "vectors of different dimensions");
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f64; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            let difference = f64::from(a[lane]) - f64::from(b[lane]);
            sums[lane] += difference * difference;
        }
    }
    for (lane, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        let difference = f64::from(a) - f64::from(b);
        sums[lane] += difference * difference;
    }
    sums.iter().sum()
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

/// Bounds `|(||a||^2 + ||b||^2 - 2 a.b) - squared_distance|` for vectors of `dim` dimensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorBound {
    relative: f64,
}

impl ErrorBound {
    /// With `u` the unit round-off and `s = ||a|| + ||b||`, to first order:
    /// `2 dim u ||a|| ||b|| <= dim/2 u s^2` from the product (any order of summation);
    /// `(dim + 2) u s^2` from the two squared norms and adding up; `2 u s^2` from moving to the
    /// common origin; `(dim + 2) u s^2` from [`squared_distance`] itself. Together
    /// `(2.5 dim + 6) u s^2`; rounded up to `3 dim + 16` for the higher orders.
    pub(super) fn new(dim: usize) -> Self {
        Self { relative: (3.0 * dim as f64 + 16.0) * UNIT }
    }

    /// The bound for one pair: 0 where every intermediate result is an integer below 2^53, as it
    /// is for binary codes and raw pixels.
    #[inline]
    pub(super) fn of(self, a: Norm, b: Norm) -> f64 {
        let sum = a.length + b.length;
        let scale = sum * sum;
        if a.integral && b.integral && scale < EXACT_INTEGERS { 0.0 } else { self.relative * scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squared_distance_is_the_sum_of_squared_differences() {
        for dim in [0, 1, 7, 8, 9, 100] {
            let a: Vec<f32> = (0..dim).map(|i| i as f32 * 0.5).collect();
            let b: Vec<f32> = (0..dim).map(|i| 3.0 - i as f32).collect();
            let expected: f64 =
                a.iter().zip(&b).map(|(&a, &b)| f64::from(a - b) * f64::from(a - b)).sum();
            assert_eq!(squared_distance(&a, &b), expected, "dim {dim}");
        }
    }

    #[test]
    fn squared_distance_keeps_the_whole_range_of_f32() {
        assert_eq!(squared_distance(&[f32::MAX], &[-f32::MAX]), 4.0 * f64::from(f32::MAX).powi(2));
        let tiny = f32::from_bits(1);
        assert_eq!(squared_distance(&[tiny], &[0.0]), f64::from(tiny).powi(2));
    }
}
