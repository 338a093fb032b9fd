//! What the rules share whose response is scaled by how widely a neuron's
//! projections spread: the hyperbolic tangent of the projection over its
//! running standard deviation, and the spread given back,
//!
//! ```text
//! y_ni = sigma_i tanh( u_ni / sigma_i )
//! ```
//!
//! so that the same part of every neuron's projections is squashed, however
//! long its weights are. The variances follow those of each batch from the step
//! after it on, by a tenth a step, from 1: as the running ones of batch
//! normalisation do. The published code's own order within a step is not
//! known here.

use super::{Projections, Real};
use crate::linalg::tanh;

/// Added to variances before the square root.
const EPS: f32 = 1e-5;

/// Standard deviations of the projections, C; none before a layer's are known,
/// which is as 1.
#[derive(Clone, Debug, Default)]
pub(super) struct Spread(Vec<f32>);

impl Spread {
    /// Of running variances, C.
    pub(super) fn of(variances: &[f32]) -> Self {
        Self(variances.iter().map(|variance| (variance + EPS).sqrt()).collect())
    }

    fn neuron(&self, i: usize) -> f32 {
        self.0.get(i).copied().unwrap_or(1.0)
    }

    /// The response of neuron `i`.
    pub(super) fn respond<T: Real>(&self, i: usize, u: T) -> T {
        let sigma = T::from(self.neuron(i)).unwrap_or_else(T::one);
        sigma * (u / sigma).tanh()
    }

    /// Gates `sigma tanh(U / sigma)`; each row counts once, and the projections
    /// and their squares are summed up beside.
    #[inline(always)]
    pub(super) fn gate(&self, projections: &Projections<'_>, a: &mut [f32], sums: &mut [f32]) {
        let c = sums.len() / 3;
        let (rows, moments) = sums.split_at_mut(c);
        let (first, second) = moments.split_at_mut(c);
        for (a, u) in a.chunks_exact_mut(c).zip(projections.u.chunks_exact(c)) {
            for (i, (a, &u)) in a.iter_mut().zip(u).enumerate() {
                let sigma = self.neuron(i);
                *a = sigma * tanh(u / sigma);
                rows[i] += 1.0;
                first[i] += u;
                second[i] += u * u;
            }
        }
    }
}
