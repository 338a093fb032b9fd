//! Batch normalisation over the channels of a map (rows x C).

use rayon::prelude::*;

use crate::linalg::simd;

/// Rows one task sums; fixed, so that sums do not depend on the threads.
const ROWS: usize = 256;

/// Mean and biased variance of each channel of a batch.
pub fn batch_statistics(z: &[f32], c: usize) -> (Vec<f32>, Vec<f32>) {
    let rows = (z.len() / c) as f64;
    let mean = column_sums(z, c, |sum, z, _| *sum += z, &vec![0.0; c]);
    let mean: Vec<f32> = mean.iter().map(|sum| (sum / rows) as f32).collect();
    let square = |sum: &mut f32, z: f32, mean: f32| *sum += (z - mean) * (z - mean);
    let var = column_sums(z, c, square, &mean);
    (mean, var.iter().map(|sum| (sum / rows) as f32).collect())
}

fn column_sums(
    z: &[f32],
    c: usize,
    add: impl Fn(&mut f32, f32, f32) + Sync,
    centre: &[f32],
) -> Vec<f64> {
    let parts: Vec<Vec<f32>> = z
        .par_chunks(ROWS * c)
        .map(|rows| {
            let mut sums = vec![0.0; c];
            simd(
                #[inline(always)]
                || {
                    for row in rows.chunks_exact(c) {
                        for ((sum, &z), &centre) in sums.iter_mut().zip(row).zip(centre) {
                            add(sum, z, centre);
                        }
                    }
                },
            );
            sums
        })
        .collect();
    total(&parts, c)
}

fn total(parts: &[Vec<f32>], c: usize) -> Vec<f64> {
    let mut sums = vec![0.0f64; c];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, &part)| *sum += f64::from(part));
    }
    sums
}

/// `out = z * scale + shift`, channel by channel.
pub(crate) fn affine(z: &[f32], scale: &[f32], shift: &[f32], out: &mut [f32]) {
    let c = scale.len();
    out.par_chunks_mut(ROWS * c).zip(z.par_chunks(ROWS * c)).for_each(|(out, z)| {
        simd(
            #[inline(always)]
            || {
                for (out, z) in out.chunks_exact_mut(c).zip(z.chunks_exact(c)) {
                    for (((out, &z), &scale), &shift) in out.iter_mut().zip(z).zip(scale).zip(shift)
                    {
                        *out = z * scale + shift;
                    }
                }
            },
        );
    });
}

/// `out = z * scale + shift`, channel by channel, in place.
pub fn affine_in_place(z: &mut [f32], scale: &[f32], shift: &[f32]) {
    z.par_chunks_mut(ROWS * scale.len()).for_each(|rows| {
        simd(
            #[inline(always)]
            || {
                for row in rows.chunks_exact_mut(scale.len()) {
                    for ((z, &scale), &shift) in row.iter_mut().zip(scale).zip(shift) {
                        *z = *z * scale + shift;
                    }
                }
            },
        );
    });
}

/// `z = max(z, 0)`.
pub(crate) fn rectify(z: &mut [f32]) {
    z.par_chunks_mut(ROWS * 64).for_each(|z| {
        simd(
            #[inline(always)]
            || z.iter_mut().for_each(|z| *z = z.max(0.0)),
        );
    });
}

/// Gradient of [`rectify`] after [`affine`]: `d` (rows x C) is 0 where
/// `z * scale + shift` is not above 0.
pub(crate) fn unrectify(z: &[f32], scale: &[f32], shift: &[f32], d: &mut [f32]) {
    let c = scale.len();
    d.par_chunks_mut(ROWS * c).zip(z.par_chunks(ROWS * c)).for_each(|(d, z)| {
        simd(
            #[inline(always)]
            || {
                for (d, z) in d.chunks_exact_mut(c).zip(z.chunks_exact(c)) {
                    for (((d, &z), &scale), &shift) in d.iter_mut().zip(z).zip(scale).zip(shift) {
                        *d = if z * scale + shift > 0.0 { *d } else { 0.0 };
                    }
                }
            },
        );
    });
}

/// Gradient of normalisation by a batch's own statistics. Turns `d_out`
/// (rows x C) into the gradient by `z` in place, and returns the gradients by
/// `gamma` and `beta`.
///
/// `out = factor * (gamma * xhat + beta)` with `xhat = (z - mean) / std`;
/// `factor` is a constant to the gradient.
pub(crate) fn batch_norm_backward(
    z: &[f32],
    mean: &[f32],
    inv_std: &[f32],
    gamma: &[f32],
    factor: &[f32],
    d_out: &mut [f32],
) -> (Vec<f32>, Vec<f32>) {
    let c = mean.len();
    let rows = (z.len() / c) as f32;
    let parts: Vec<(Vec<f32>, Vec<f32>)> = z
        .par_chunks(ROWS * c)
        .zip(d_out.par_chunks(ROWS * c))
        .map(|(z, d)| {
            let (mut d_gamma, mut d_beta) = (vec![0.0; c], vec![0.0; c]);
            simd(
                #[inline(always)]
                || {
                    for (z, d) in z.chunks_exact(c).zip(d.chunks_exact(c)) {
                        for i in 0..c {
                            d_beta[i] += d[i];
                            d_gamma[i] += d[i] * (z[i] - mean[i]) * inv_std[i];
                        }
                    }
                },
            );
            (d_gamma, d_beta)
        })
        .collect();
    let (d_gamma, d_beta): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let scaled = |parts: Vec<Vec<f32>>| -> Vec<f32> {
        total(&parts, c).iter().zip(factor).map(|(&sum, &f)| sum as f32 * f).collect()
    };
    let (d_gamma, d_beta) = (scaled(d_gamma), scaled(d_beta));
    // dz = gamma factor / std * (d - mean(d) - xhat mean(d xhat)) = a d + b z + e.
    let a: Vec<f32> = (0..c).map(|i| gamma[i] * factor[i] * inv_std[i]).collect();
    let b: Vec<f32> =
        (0..c).map(|i| -gamma[i] * inv_std[i] * inv_std[i] * d_gamma[i] / rows).collect();
    let e: Vec<f32> =
        (0..c).map(|i| -gamma[i] * inv_std[i] * d_beta[i] / rows - b[i] * mean[i]).collect();
    d_out.par_chunks_mut(ROWS * c).zip(z.par_chunks(ROWS * c)).for_each(|(d, z)| {
        simd(
            #[inline(always)]
            || {
                for (d, z) in d.chunks_exact_mut(c).zip(z.chunks_exact(c)) {
                    for i in 0..c {
                        d[i] = a[i] * d[i] + b[i] * z[i] + e[i];
                    }
                }
            },
        );
    });
    (d_gamma, d_beta)
}
