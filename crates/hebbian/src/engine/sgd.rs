//! Stochastic gradient descent.

use rayon::prelude::*;

use crate::linalg::simd;

/// Numbers one task updates.
const CHUNK: usize = 1 << 14;

/// A step of stochastic gradient descent with Nesterov momentum and weight
/// decay, the same for all parameters (as published).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f32,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay.
    pub weight_decay: f32,
}

impl Sgd {
    /// `v = momentum v + g`, `w -= lr (g + momentum v)`, with
    /// `g = gradient + weight_decay w`.
    pub fn step(&self, w: &mut [f32], v: &mut [f32], gradient: &[f32]) {
        let Self { lr, momentum, weight_decay } = *self;
        let chunks = w.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
        chunks.zip(gradient.par_chunks(CHUNK)).for_each(|((w, v), d)| {
            simd(
                #[inline(always)]
                || {
                    for ((w, v), d) in w.iter_mut().zip(v).zip(d) {
                        let d = d + weight_decay * *w;
                        *v = momentum * *v + d;
                        *w -= lr * (d + momentum * *v);
                    }
                },
            );
        });
    }
}
