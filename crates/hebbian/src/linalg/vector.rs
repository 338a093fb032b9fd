//! Loops over slices, compiled for the widest vector unit the machine has.

use pulp::Arch;

/// Runs `body` compiled for the best instruction set found at run time; loops
/// inlined into it use its vector registers.
#[inline(always)]
pub fn simd<R>(body: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(body)
}

/// Inner product of two vectors of one length, in sixteen interleaved sums.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    simd(
        #[inline(always)]
        || {
            let mut sums = [0.0f32; 16];
            let (a8, b8) = (a.chunks_exact(16), b.chunks_exact(16));
            let tail: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
            for (x, y) in a8.zip(b8) {
                for lane in 0..16 {
                    sums[lane] += x[lane] * y[lane];
                }
            }
            sums.iter().sum::<f32>() + tail
        },
    )
}

/// Sum of the squares of a vector.
pub fn sum_of_squares(x: &[f32]) -> f32 {
    dot(x, x)
}

/// `out += x`, element by element.
pub fn add_assign(out: &mut [f32], x: &[f32]) {
    simd(
        #[inline(always)]
        || out.iter_mut().zip(x).for_each(|(o, x)| *o += x),
    );
}

/// Replaces each `x` by `e^x`, within two units in the last place for
/// results that are normal numbers; smaller ones become about `1e-38`.
pub fn exp_in_place(x: &mut [f32]) {
    simd(
        #[inline(always)]
        || x.iter_mut().for_each(|x| *x = exp(*x)),
    );
}

/// `e^x` by splitting off the power of two and a polynomial for the rest.
#[inline(always)]
#[allow(clippy::excessive_precision)]
fn exp(x: f32) -> f32 {
    // Adding this rounds to an integer and leaves it in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_375 + n * 2.121_944_4e-4;
    let p = 1.987_569_15e-4 * r + 1.398_199_95e-3;
    let p = p * r + 8.333_451_9e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_55e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_standard_library() {
        let mut x: Vec<f32> = (-8600..8800).map(|i| i as f32 / 100.0).collect();
        let expected: Vec<f64> = x.iter().map(|&x| f64::from(x).exp()).collect();
        exp_in_place(&mut x);
        for (got, want) in x.iter().zip(expected) {
            let error = (f64::from(*got) - want).abs() / want;
            assert!(error < 2.5e-7, "{got} against {want}: {error}");
        }
    }

    #[test]
    fn dot_covers_the_tail() {
        let a: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &a), (0..37).map(|i| (i * i) as f32).sum::<f32>());
    }
}
