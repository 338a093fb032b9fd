//! Loops over slices, compiled for the widest vector unit the machine has.

use pulp::Arch;

/// Runs `body` compiled for the best instruction set found at run time; loops
/// inlined into it use its vector registers.
#[inline(always)]
pub fn simd<R>(body: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(body)
}

/// Adds the sum of each column of `rows` (any number of rows as long as
/// `sums`) to `sums`; the rows are summed apart first.
pub fn add_column_sums(rows: &[f32], sums: &mut [f32]) {
    let c = sums.len();
    let mut own = vec![0.0; c];
    simd(
        #[inline(always)]
        || {
            // Four rows a time: sums are read and written once for them.
            let fours = rows.chunks_exact(4 * c);
            let rest = fours.remainder();
            for rows in fours {
                let (a, b) = rows.split_at(2 * c);
                let ((a, b), (d, e)) = (a.split_at(c), b.split_at(c));
                for ((((sum, a), b), d), e) in own.iter_mut().zip(a).zip(b).zip(d).zip(e) {
                    *sum += (a + b) + (d + e);
                }
            }
            for row in rest.chunks_exact(c) {
                own.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
        },
    );
    add_assign(sums, &own);
}

/// Inner product of two vectors of one length, in sixteen interleaved sums.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    simd(
        #[inline(always)]
        || dot_inlined(a, b),
    )
}

/// [`dot`], to be inlined into a body that [`simd`] runs.
#[inline(always)]
pub fn dot_inlined(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let (a, b) = (a.chunks_exact(16), b.chunks_exact(16));
    let tail: f32 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a.zip(b) {
        for lane in 0..16 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    tail + halve(sums, |a, b| a + b)
}

/// Sum of a vector in sixteen interleaved sums, to be inlined as
/// [`dot_inlined`] is.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    reduce(x, 0.0, |a, b| a + b)
}

/// Largest number of a vector; `f32::MIN` if it is empty. NaN are passed over.
#[inline(always)]
pub fn largest(x: &[f32]) -> f32 {
    reduce(x, f32::MIN, |a, b| if b > a { b } else { a })
}

/// Sixteen results side by side, so that the loop runs in vector registers.
#[inline(always)]
fn reduce(x: &[f32], start: f32, join: impl Fn(f32, f32) -> f32 + Copy) -> f32 {
    let mut parts = [start; 16];
    let chunks = x.chunks_exact(16);
    let tail = chunks.remainder().iter().fold(start, |all, &x| join(all, x));
    for chunk in chunks {
        for (part, &x) in parts.iter_mut().zip(chunk) {
            *part = join(*part, x);
        }
    }
    join(tail, halve(parts, join))
}

/// One of sixteen results, by halves: four steps that wait for each other, and
/// not fifteen.
#[inline(always)]
fn halve(mut parts: [f32; 16], join: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            parts[i] = join(parts[i], parts[i + half]);
        }
    }
    parts[0]
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

/// `e^x` by splitting off the power of two and a polynomial for the rest,
/// within two units in the last place for results that are normal numbers;
/// smaller ones become about `1e-38`. To be inlined as [`dot_inlined`] is.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub fn exp(x: f32) -> f32 {
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

/// Natural logarithm of a number above zero, by splitting off the power of two
/// and a polynomial for the rest, within two units in the last place of the
/// result or of one; zero and less count as the smallest normal number. To be
/// inlined as [`dot_inlined`] is.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub fn ln(x: f32) -> f32 {
    let bits = x.max(f32::MIN_POSITIVE).to_bits();
    // x = m 2^e with m in [sqrt(1/2), sqrt(2)).
    let above = bits.wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits());
    let e = (above.cast_signed() >> 23) as f32;
    let m = f32::from_bits((above & 0x007f_ffff) + std::f32::consts::FRAC_1_SQRT_2.to_bits());
    let r = m - 1.0;
    let square = r * r;
    let p = 7.037_683_629_2e-2 * r - 1.151_461_031_0e-1;
    let p = p * r + 1.167_699_874_0e-1;
    let p = p * r - 1.242_014_084_6e-1;
    let p = p * r + 1.424_932_278_7e-1;
    let p = p * r - 1.666_805_766_5e-1;
    let p = p * r + 2.000_071_476_5e-1;
    let p = p * r - 2.499_999_399_3e-1;
    let p = p * r + 3.333_333_117_4e-1;
    let small = p * r * square - 2.121_944_4e-4 * e - 0.5 * square;
    r + small + 0.693_359_375 * e
}

/// Hyperbolic tangent, within four units in the last place of one. To be
/// inlined as [`dot_inlined`] is.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // tanh |x| = (1 - e) / (1 + e) with e = exp(-2 |x|); near zero, where
    // that cancels, its odd power series.
    let e = exp(-2.0 * x.abs());
    let far = (1.0 - e) / (1.0 + e);
    let square = x * x;
    let p = square * (2.0 / 15.0 - square * (17.0 / 315.0)) - 1.0 / 3.0;
    let near = x.abs() * (1.0 + square * p);
    let size = if square < 0.01 { near } else { far };
    size.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_agrees_with_the_standard_library() {
        for x in (-12000..12000).map(|i| i as f32 / 1000.0) {
            let (got, want) = (tanh(x), f64::from(x).tanh());
            let error = (f64::from(got) - want).abs() / want.abs().max(1e-3);
            assert!(error < 1e-6, "{x}: {got} against {want}: {error}");
        }
    }

    #[test]
    fn exp_agrees_with_the_standard_library() {
        for x in (-8600..8800).map(|i| i as f32 / 100.0) {
            let (got, want) = (exp(x), f64::from(x).exp());
            let error = (f64::from(got) - want).abs() / want;
            assert!(error < 2.5e-7, "{got} against {want}: {error}");
        }
    }

    #[test]
    fn ln_agrees_with_the_standard_library() {
        let near_one = (5000..20000).map(|i| i as f32 / 10000.0);
        let far = (-125..128).map(|e| 1.37 * 2f32.powi(e));
        for x in near_one.chain(far) {
            let (got, want) = (ln(x), f64::from(x).ln());
            let error = (f64::from(got) - want).abs() / want.abs().max(0.5);
            assert!(error < 2.5e-7, "{x}: {got} against {want}: {error}");
        }
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(0.0), ln(f32::MIN_POSITIVE));
    }

    #[test]
    fn reductions_cover_the_tail() {
        let a: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &a), (0..37).map(|i| (i * i) as f32).sum::<f32>());
        assert_eq!(sum(&a), 666.0);
        assert_eq!((largest(&a), largest(&a[..3])), (36.0, 2.0));
        assert_eq!(largest(&[-3.0, -2.0]), -2.0);
    }
}
