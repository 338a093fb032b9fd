//! What the winner-takes-all rules share: neurons compete by a similarity to
//! the patch, and each moves towards a patch by its share of the win.
//!
//! As the published code computes it (the papers write the step without the
//! square, which enters through the weighted mean of an already gated step):
//!
//! ```text
//! s_ni = ((cos(x_n, w_i) + 1) / 2)^2
//! r_n  = shares of the neurons, from s_n
//! dw_i = sum_n r_ni^2 (x_n - w_i) / sum_n r_ni
//! ```

use super::{Projections, Real, Samples, inner, nonzero};

/// Shares below this have squares near the smallest normal numbers, which
/// would slow every product with them down and add nothing a sum can hold.
pub(super) const LEAST_SHARE: f32 = 1e-18;

/// Gates `r^2` of a block of patches, adding `r` to the denominators;
/// `compete` turns the cosines of a patch with the neurons into their shares.
#[inline(always)]
pub(super) fn gate(
    projections: &Projections<'_>,
    a: &mut [f32],
    denominators: &mut [f32],
    mut compete: impl FnMut(&mut [f32]),
) {
    let c = denominators.len();
    let rows = projections.u.chunks_exact(c).zip(projections.patch_norm);
    for ((u, &patch), shares) in rows.zip(a.chunks_exact_mut(c)) {
        for ((share, &u), &weight) in shares.iter_mut().zip(u).zip(projections.weight_norm) {
            // One division: vectors along each other have a cosine of
            // exactly one, so that they tie.
            *share = u / nonzero(patch * weight);
        }
        compete(shares);
        for (share, d) in shares.iter_mut().zip(&mut *denominators) {
            *d += *share;
            *share = if *share > LEAST_SHARE { *share * *share } else { 0.0 };
        }
    }
}

/// The update (C x D) sample by sample; `compete` turns the similarities of a
/// patch with the neurons into their shares.
pub(super) fn naive<T: Real>(samples: &Samples<'_, T>, compete: impl Fn(&mut [T])) -> Vec<T> {
    let one = T::one();
    let norm = |v: &[T]| inner(v, v).sqrt();
    let norms: Vec<T> = samples.weights().map(norm).collect();
    let mut delta = vec![T::zero(); samples.w.len()];
    let mut total = vec![T::zero(); norms.len()];
    for x in samples.patches() {
        let length = norm(x);
        let cosines = samples.weights().zip(&norms);
        let cosines = cosines.map(|(w, &norm)| inner(w, x) / nonzero(norm * length));
        let mut shares: Vec<T> = cosines.map(|c| ((c + one) / (one + one)).powi(2)).collect();
        compete(&mut shares);
        let neurons = samples.weights().zip(delta.chunks_exact_mut(samples.d));
        for (((w, delta), &r), total) in neurons.zip(&shares).zip(&mut total) {
            *total += r;
            for ((delta, &x), &w) in delta.iter_mut().zip(x).zip(w) {
                *delta += r * r * (x - w);
            }
        }
    }
    for (delta, &total) in delta.chunks_exact_mut(samples.d).zip(&total) {
        let total = nonzero(total);
        delta.iter_mut().for_each(|delta| *delta /= total);
    }
    delta
}
