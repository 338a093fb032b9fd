//! Max-pooling of a tile, and the way back of its gradient.

use rayon::prelude::*;

use super::{Activation, Geometry};
use crate::linalg::simd;

/// Pools one band of rectified responses (band rows x output width x C) into
/// one row of the pooled map (pooled width x C), noting in `winners`, where
/// wanted, which position of the window held each maximum (the first one, in
/// row order).
#[inline(always)]
pub(crate) fn pool_tile(g: &Geometry, y: &[f32], out: &mut [f32], winners: Option<&mut [u8]>) {
    let (c, p, line) = (g.filters, g.pool, g.out_width() * g.filters);
    if p == 1 {
        out.copy_from_slice(y);
        return;
    }
    match winners {
        None => {
            for (ox, out) in out.chunks_exact_mut(c).enumerate() {
                out.copy_from_slice(&y[ox * p * c..][..c]);
                for (dy, dx) in (0..p).flat_map(|dy| (0..p).map(move |dx| (dy, dx))).skip(1) {
                    let y = &y[dy * line + (ox * p + dx) * c..][..c];
                    out.iter_mut().zip(y).for_each(|(o, &y)| *o = o.max(y));
                }
            }
        }
        Some(winners) => {
            let cells = out.chunks_exact_mut(c).zip(winners.chunks_exact_mut(c)).enumerate();
            for (ox, (out, winners)) in cells {
                out.copy_from_slice(&y[ox * p * c..][..c]);
                winners.fill(0);
                for place in 1..p * p {
                    let (dy, dx) = (place / p, place % p);
                    let y = &y[dy * line + (ox * p + dx) * c..][..c];
                    for ((out, winner), &y) in out.iter_mut().zip(&mut *winners).zip(y) {
                        if y > *out {
                            *out = y;
                            *winner = place as u8;
                        }
                    }
                }
            }
        }
    }
}

/// The gradient before activation and pooling of one band: zero but where the
/// position held its window's maximum.
///
/// `pooled` and `d_pooled` are the band's row of the pooled map and of its
/// gradient; `d_y` (band rows x output width x C) is overwritten.
#[inline(always)]
pub(crate) fn unpool_tile(
    g: &Geometry,
    pooled: &[f32],
    winners: Option<&[u8]>,
    d_pooled: &[f32],
    activation: Activation,
    d_y: &mut [f32],
) {
    let both = [pooled, d_pooled];
    match activation {
        Activation::Relu => spread(g, both, winners, |y, d| if y > 0.0 { d } else { 0.0 }, d_y),
        Activation::Tanh => spread(g, both, winners, |y, d| (1.0 - y * y) * d, d_y),
    }
}

/// Spreads a row of the pooled map over its band (band rows x output width x C):
/// `value` of two numbers of the row goes to where their window's maximum was,
/// and zero everywhere else. Every place is written by what its window says of
/// it, many channels at once, instead of one number after the other going to
/// its place. Without `winners` every place is its own window.
#[inline(always)]
fn spread(
    g: &Geometry,
    [left, right]: [&[f32]; 2],
    winners: Option<&[u8]>,
    value: impl Fn(f32, f32) -> f32,
    band: &mut [f32],
) {
    let (c, p, line) = (g.filters, g.pool, g.out_width() * g.filters);
    let Some(winners) = winners else {
        simd(
            #[inline(always)]
            || {
                for ((out, &left), &right) in band.iter_mut().zip(left).zip(right) {
                    *out = value(left, right);
                }
            },
        );
        return;
    };
    if band.len() != winners.len() * p * p {
        // Some places are in no window.
        band.fill(0.0);
    }
    simd(
        #[inline(always)]
        || {
            for (x, winners) in winners.chunks_exact(c).enumerate() {
                let (left, right) = (&left[x * c..][..c], &right[x * c..][..c]);
                for place in 0..p * p {
                    let at = place / p * line + (x * p + place % p) * c;
                    let out = &mut band[at..][..c];
                    for i in 0..c {
                        let value = value(left[i], right[i]);
                        out[i] = if winners[i] == place as u8 { value } else { 0.0 };
                    }
                }
            }
        },
    );
}

/// Max-unpooling of a batch: each number of the pooled maps (batch x pooled
/// height x pooled width x C) goes to where its window's maximum was, as noted
/// in `winners`; all other places of `out` (batch x output height x output
/// width x C) are zero.
pub fn max_unpool(g: &Geometry, pooled: &[f32], winners: &[u8], out: &mut [f32]) {
    let images = pooled.par_chunks_exact(g.output_len());
    let winners = winners.par_chunks_exact(g.output_len());
    let outs = out.par_chunks_exact_mut(g.positions() * g.filters);
    outs.zip(images).zip(winners).for_each(|((out, pooled), winners)| {
        let (row, line) = (g.pooled_width() * g.filters, g.out_width() * g.filters);
        for band in 0..g.bands() {
            let (rows, own) = (g.band_rows(band), band * row..(band + 1) * row);
            let (pooled, out) =
                (&pooled[own.clone()], &mut out[rows.start * line..rows.end * line]);
            spread(g, [pooled, pooled], Some(&winners[own]), |y, _| y, out);
        }
    });
}

/// The transpose of [`max_unpool`]: picks the numbers at the places of the
/// maxima. It is the gradient of unpooling by its input.
pub fn max_unpool_backward(g: &Geometry, d_out: &[f32], winners: &[u8], d_pooled: &mut [f32]) {
    let images = d_pooled.par_chunks_exact_mut(g.output_len());
    let winners = winners.par_chunks_exact(g.output_len());
    let d_outs = d_out.par_chunks_exact(g.positions() * g.filters);
    images.zip(d_outs).zip(winners).for_each(|((d_pooled, d_out), winners)| {
        for_each_winner(g, winners, |at, place| d_pooled[at] = d_out[place]);
    });
}

/// Index of each number of an image's pooled map, and of its place before
/// pooling.
#[inline(always)]
fn for_each_winner(g: &Geometry, winners: &[u8], mut visit: impl FnMut(usize, usize)) {
    let (c, p, width) = (g.filters, g.pool, g.out_width());
    let offsets: Vec<usize> = (0..p * p).map(|place| (place / p * width + place % p) * c).collect();
    for (cell, winners) in winners.chunks_exact(c).enumerate() {
        let (y, x) = (cell / g.pooled_width(), cell % g.pooled_width());
        let window = (y * width + x) * p * c;
        for (i, &winner) in winners.iter().enumerate() {
            visit(cell * c + i, window + offsets[winner as usize] + i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unpooling_undoes_pooling_and_has_its_transpose(
            height in 1usize..9, width in 1usize..9, filters in 1usize..5, pool in 1usize..4,
            batch in 1usize..4, seed: u16,
        ) {
            prop_assume!(height >= pool && width >= pool);
            let g = Geometry {
                height, width, channels: 1, kernel: 1, stride: 1, padding: 0, filters, pool,
            };
            let value = |i: usize| ((i * 7919 + usize::from(seed)) % 101) as f32 + 1.0;
            let y: Vec<f32> = (0..batch * g.positions() * filters).map(value).collect();
            let mut pooled = vec![0.0; batch * g.output_len()];
            let mut winners = vec![0u8; pooled.len()];
            for image in 0..batch {
                for band in 0..g.bands() {
                    let row = g.pooled_width() * filters;
                    let at = image * g.output_len() + band * row;
                    let rows = g.band_rows(band);
                    let line = g.out_width() * filters;
                    let from = image * g.positions() * filters + rows.start * line;
                    let out = &mut pooled[at..at + row];
                    let winners = (pool > 1).then(|| &mut winners[at..at + row]);
                    pool_tile(&g, &y[from..from + rows.len() * line], out, winners);
                }
            }
            let mut back = vec![f32::NAN; y.len()];
            max_unpool(&g, &pooled, &winners, &mut back);
            // What went back stands where it came from, and nothing else does.
            for (back, y) in back.iter().zip(&y) {
                prop_assert!(*back == 0.0 || back == y);
            }
            prop_assert_eq!(back.iter().filter(|&&b| b != 0.0).count(), pooled.len());
            let mut picked = vec![f32::NAN; pooled.len()];
            max_unpool_backward(&g, &back, &winners, &mut picked);
            prop_assert_eq!(&picked, &pooled);
            // <unpool(a), b> = <a, pick(b)> for any a and b.
            let inner = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            let b: Vec<f32> = (0..y.len()).map(|i| value(i + 13) - 50.0).collect();
            max_unpool_backward(&g, &b, &winners, &mut picked);
            prop_assert_eq!(inner(&back, &b), inner(&pooled, &picked));
        }
    }
}
