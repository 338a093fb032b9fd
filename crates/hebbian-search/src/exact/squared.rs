//! The distance between two vectors, which decides.
#![allow(unsafe_code)]

/// Number of interleaved partial sums, enough for two vector registers.
pub(super) const LANES: usize = 8;

/// Squared Euclidean distance, `sum_i (a_i - b_i)^2`, in double precision.
///
/// This number *is* the order of every ranking of this crate. It is summed in a fixed order
/// (eight interleaved partial sums, then their sum), so it is the same on every run and every
/// processor and for every number of threads, and 0 exactly when the vectors are equal.
///
/// # Shapes
/// `a`, `b`: `[dim]`.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "vectors of different dimensions");
    let (a_blocks, a_rest) = a.as_chunks();
    let (b_blocks, b_rest) = b.as_chunks();
    let mut sums = sums(a_blocks, b_blocks);
    for (sum, (&a, &b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        let difference = f64::from(a) - f64::from(b);
        *sum += difference * difference;
    }
    sums.iter().sum()
}

/// The partial sums over whole blocks.
fn sums(a: &[[f32; LANES]], b: &[[f32; LANES]]) -> [f64; LANES] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the feature that it is compiled for.
        return unsafe { with_avx2(a, b) };
    }
    portable(a, b)
}

/// The same operations, of which each register holds more. Fused multiply-add stays off: it would
/// round otherwise. By itself, because what else is done with the sums decides how the compiler
/// lays them out.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx2")]
fn with_avx2(a: &[[f32; LANES]], b: &[[f32; LANES]]) -> [f64; LANES] {
    portable(a, b)
}

#[inline(always)]
fn portable(a: &[[f32; LANES]], b: &[[f32; LANES]]) -> [f64; LANES] {
    let mut sums = [0.0_f64; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            let difference = f64::from(a[lane]) - f64::from(b[lane]);
            sums[lane] += difference * difference;
        }
    }
    sums
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
    fn processors_agree_on_every_bit() {
        for dim in [1, 8, 15, 4096] {
            let a: Vec<f32> = (0..dim).map(|i| (i as f32 * 0.37).sin()).collect();
            let b: Vec<f32> = (0..dim).map(|i| (i as f32 * 1.71).cos() * 1e-3).collect();
            let blocks = |x: &[f32]| x.as_chunks::<LANES>().0.to_vec();
            let (a_blocks, b_blocks) = (blocks(&a), blocks(&b));
            let bits = |sums: [f64; LANES]| sums.map(f64::to_bits);
            assert_eq!(bits(sums(&a_blocks, &b_blocks)), bits(portable(&a_blocks, &b_blocks)));
        }
    }

    #[test]
    fn squared_distance_keeps_the_whole_range_of_f32() {
        assert_eq!(squared_distance(&[f32::MAX], &[-f32::MAX]), 4.0 * f64::from(f32::MAX).powi(2));
        let tiny = f32::from_bits(1);
        assert_eq!(squared_distance(&[tiny], &[0.0]), f64::from(tiny).powi(2));
    }
}
