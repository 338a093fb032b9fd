//! What the rules share whose gates are the layer's own responses, `A = f(U)`,
//! and whose update is a mean over all positions of the batch.

use super::{GateWgsl, Projections, Real, Samples};
use crate::linalg::tanh;
use crate::ops::Activation;

/// `f(u)`.
pub(super) fn respond<T: Real>(activation: Activation, u: T) -> T {
    match activation {
        Activation::Relu => u.max(T::zero()),
        Activation::Tanh => u.tanh(),
    }
}

/// Gates `f(U)`; each row counts once.
#[inline(always)]
pub(super) fn gate(
    activation: Activation,
    projections: &Projections<'_>,
    a: &mut [f32],
    denominators: &mut [f32],
) {
    let rows = projections.u.len() / denominators.len();
    let pairs = a.iter_mut().zip(projections.u);
    match activation {
        Activation::Relu => pairs.for_each(|(a, u)| *a = u.max(0.0)),
        Activation::Tanh => pairs.for_each(|(a, u)| *a = tanh(*u)),
    }
    denominators.iter_mut().for_each(|d| *d += rows as f32);
}

/// [`gate`] for the GPU.
pub(super) fn gate_wgsl(activation: Activation) -> Option<GateWgsl> {
    let body = match activation {
        Activation::Relu => {
            "
            for (var i = lane(); i < c; i += LANES) {
                gate(i, max(u(i), 0.0), 1.0);
            }"
        }
        Activation::Tanh => {
            "
            for (var i = lane(); i < c; i += LANES) {
                gate(i, squash(u(i)), 1.0);
            }"
        }
    };
    Some(GateWgsl { body, constants: Vec::new() })
}

/// The mean over all patches of what `add` adds to the update (C x D) for one.
pub(super) fn mean<T: Real>(
    samples: &Samples<'_, T>,
    mut add: impl FnMut(&[T], &mut [T]),
) -> Vec<T> {
    let mut delta = vec![T::zero(); samples.w.len()];
    let mut count = T::zero();
    for x in samples.patches() {
        add(x, &mut delta);
        count += T::one();
    }
    delta.iter_mut().for_each(|delta| *delta /= count);
    delta
}
