//! Max-pooling of a tile, and the way back of its gradient.

use super::{Activation, Geometry};

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
    let (c, p, line) = (g.filters, g.pool, g.out_width() * g.filters);
    let Some(winners) = winners else {
        for ((d_y, &d), &y) in d_y.iter_mut().zip(d_pooled).zip(pooled) {
            *d_y = slope(activation, y) * d;
        }
        return;
    };
    d_y.fill(0.0);
    for (cell, ((&y, &winner), &d)) in pooled.iter().zip(winners).zip(d_pooled).enumerate() {
        let (dy, dx) = (winner as usize / p, winner as usize % p);
        d_y[dy * line + (cell / c * p + dx) * c + cell % c] = slope(activation, y) * d;
    }
}

/// Derivative of the activation where it gave `y`.
#[inline(always)]
fn slope(activation: Activation, y: f32) -> f32 {
    match activation {
        Activation::Relu => f32::from(u8::from(y > 0.0)),
        Activation::Tanh => 1.0 - y * y,
    }
}
