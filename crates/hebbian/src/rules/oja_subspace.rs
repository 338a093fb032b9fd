//! Oja's subspace rule: all neurons together learn what they do not yet
//! reconstruct, none before the other.
//!
//! Oja 1989, "Neural networks, principal components, and subspaces", equation
//! of the symmetric network, with the rectified response that the layer
//! passes on (Oja's own is linear), mean over all positions of the batch:
//!
//! ```text
//! y_n  = relu(W x_n)
//! dw_i = (1/N) sum_n y_ni ( x_n - sum_j y_nj w_j )
//! ```

use super::{
    GateWgsl, NoParams, Projections, Real, Reconstruction, Rule, RuleInfo, Samples, inner, parse,
    response, response::respond,
};
use crate::ops::Activation;

pub(super) const OJA_SUBSPACE: RuleInfo = RuleInfo {
    name: "oja-subspace",
    summary: "Oja's subspace rule: neurons together learn what they leave over",
    learning_rate: 1e-3,
    build: |params| {
        parse::<NoParams>(params)?;
        Ok(Box::new(OjaSubspace))
    },
};

/// Oja's subspace rule; it has no parameters.
#[derive(Clone, Copy, Debug, Default)]
pub struct OjaSubspace;

impl Rule for OjaSubspace {
    fn name(&self) -> &'static str {
        OJA_SUBSPACE.name
    }

    fn reconstruction(&self) -> Reconstruction {
        Reconstruction::All
    }

    #[inline(always)]
    fn gate(&self, projections: &Projections<'_>, a: &mut [f32], denominators: &mut [f32]) {
        response::gate(self.activation(), projections, a, denominators);
    }

    fn gate_wgsl(&self) -> Option<GateWgsl> {
        response::gate_wgsl(self.activation())
    }

    fn naive_f64(&self, samples: &Samples<'_, f64>) -> Vec<f64> {
        naive(samples)
    }

    fn naive_f32(&self, samples: &Samples<'_, f32>) -> Vec<f32> {
        naive(samples)
    }
}

fn naive<T: Real>(samples: &Samples<'_, T>) -> Vec<T> {
    response::mean(samples, |x, delta| {
        let y: Vec<T> = samples.weights().map(|w| respond(Activation::Relu, inner(w, x))).collect();
        let mut unexplained = x.to_vec();
        for (w, &y) in samples.weights().zip(&y) {
            unexplained.iter_mut().zip(w).for_each(|(e, &w)| *e -= y * w);
        }
        for (delta, &y) in delta.chunks_exact_mut(samples.d).zip(&y) {
            delta.iter_mut().zip(&unexplained).for_each(|(delta, &e)| *delta += y * e);
        }
    })
}
