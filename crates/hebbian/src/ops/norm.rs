//! Batch normalisation over the channels of a map (rows x C).

use rayon::prelude::*;

use crate::collective::Parts;
use crate::linalg::simd;
use crate::network::Normalised;

/// Rows one task sums; fixed, so that sums do not depend on the threads.
const ROWS: usize = 256;

/// Rows of a batch, mean and biased variance of each of its channels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchStatistics {
    /// Rows.
    pub rows: f64,
    /// Means, C.
    pub mean: Vec<f32>,
    /// Biased variances, C.
    pub var: Vec<f32>,
}

impl BatchStatistics {
    /// Of the batch of which this process has `z` (rows x C).
    pub fn of(z: &[f32], c: usize, parts: Parts<'_>) -> Self {
        if !parts.group.is_split() {
            let (rows, _, mean, squares) = moments(z, c);
            let var = squares.iter().map(|sum| (sum / rows) as f32).collect();
            return Self { rows, mean, var };
        }
        // Squares about 0, which add up; taken about the mean first, since those
        // of numbers far from 0 would be lost in single precision.
        let of_part = |images| {
            let (rows, sums, mean, squares) = moments(parts.of(z, &images), c);
            let about_0 = squares.iter().zip(&sums).zip(&mean).map(|((square, sum), &mean)| {
                let mean = f64::from(mean);
                square + mean * (2.0 * sum - rows * mean)
            });
            about_0.chain(sums.iter().copied()).chain([rows]).collect::<Vec<f64>>()
        };
        let mut together = parts.add(of_part, |left, right| add_doubles(left, &right));
        parts.group.sum_f64(&mut together);
        let rows = together[2 * c];
        let (squares, sums) = together[..2 * c].split_at(c);
        let mean = sums.iter().map(|sum| (sum / rows) as f32).collect();
        let variance = |(square, sum): (&f64, &f64)| {
            let mean = sum / rows;
            (square / rows - mean * mean).max(0.0) as f32
        };
        Self { rows, mean, var: squares.iter().zip(sums).map(variance).collect() }
    }
}

/// Rows, sums, means and squares about the means of the channels of `z`.
fn moments(z: &[f32], c: usize) -> (f64, Vec<f64>, Vec<f32>, Vec<f64>) {
    let rows = (z.len() / c) as f64;
    let sums = column_sums(z, c, |sum, z, _| *sum += z, &vec![0.0; c]);
    let mean: Vec<f32> = sums.iter().map(|sum| (sum / rows.max(1.0)) as f32).collect();
    let square = |sum: &mut f32, z: f32, mean: f32| *sum += (z - mean) * (z - mean);
    let squares = column_sums(z, c, square, &mean);
    (rows, sums, mean, squares)
}

fn add_doubles(left: &mut [f64], right: &[f64]) {
    left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
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

/// Gradient of normalisation by the statistics of a batch of which this process
/// has `z` (rows x C). Turns `d_out` (rows x C) into the gradient by
/// `z` in place, and returns the gradients by `gamma` and `beta`, which are
/// those of the whole batch.
///
/// `out = factor * (gamma * xhat + beta)` with `xhat = (z - mean) / std`;
/// `factor` is a constant to the gradient.
pub(crate) fn batch_norm_backward(
    z: &[f32],
    by: &Normalised,
    gamma: &[f32],
    d_out: &mut [f32],
    parts: Parts<'_>,
) -> (Vec<f32>, Vec<f32>) {
    let Normalised { rows, mean, inv_std, factor } = by;
    let (c, rows) = (mean.len(), *rows as f32);
    let of_part =
        |images| gradient_sums(parts.of(z, &images), parts.of(d_out, &images), mean, inv_std);
    let mut sums = parts.add(of_part, |left, right| add_doubles(left, &right));
    parts.group.sum_f64(&mut sums);
    let scaled = |sums: &[f64]| -> Vec<f32> {
        sums.iter().zip(factor).map(|(&sum, &f)| sum as f32 * f).collect()
    };
    let (d_gamma, d_beta) = (scaled(&sums[..c]), scaled(&sums[c..]));
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

/// The sums over rows of the gradients by `gamma`, then of those by `beta`, but
/// for the factor.
fn gradient_sums(z: &[f32], d_out: &[f32], mean: &[f32], inv_std: &[f32]) -> Vec<f64> {
    let c = mean.len();
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
    let mut sums = total(&d_gamma, c);
    sums.extend(total(&d_beta, c));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collective::{Group, Threads};

    #[test]
    fn statistics_of_parts_are_those_of_the_whole() {
        // Far from 0 too, where squares about 0 have no digits left for the variance.
        for offset in [0.0f32, 1e3] {
            let c = 5;
            let number = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) % 2001;
            let z: Vec<f32> =
                (0..700 * c).map(|i| offset + number(i) as f32 / 1000.0 - 1.0).collect();
            let want = BatchStatistics::of(&z, c, Parts::whole());
            let (long, short) = z.split_at(500 * c);
            let parts: [&[f32]; 4] = [long, &[], short, &[]];
            let all: Vec<BatchStatistics> = std::thread::scope(|scope| {
                let mut members = Vec::new();
                for (member, part) in Threads::group(4).into_iter().zip(parts) {
                    members.push(scope.spawn(move || {
                        let group = Group::new(member).in_parts(2);
                        let parts = Parts { group: &group, images: part.len() / c };
                        BatchStatistics::of(part, c, parts)
                    }));
                }
                members.into_iter().map(|member| member.join().unwrap()).collect()
            });
            assert!(all.iter().all(|of_one| *of_one == all[0]));
            assert_eq!(all[0].rows, 700.0);
            // Numbers of a thousand are summed in single precision, 256 at a time.
            let close = |a: f32, b: f32| (a - b).abs() <= 4e-6 * b.abs().max(0.5);
            assert!(all[0].mean.iter().zip(&want.mean).all(|(&a, &b)| close(a, b)));
            assert!(
                all[0].var.iter().zip(&want.var).all(|(&a, &b)| close(a, b)),
                "{all:?} {want:?}"
            );
        }
    }
}
