//! Hebbian principal component analysis (HPCA): each neuron learns what the
//! neurons before it, and itself, do not yet reconstruct.
//!
//! Lagani 2022, "Hebbian Principal Component Analysis"; Sanger's rule with a
//! non-linear response `f`, mean over all positions of the batch:
//!
//! ```text
//! y_n  = f(W x_n)
//! dw_i = (1/N) sum_n y_ni ( x_n - sum_{j<=i} y_nj w_j )
//! ```
//!
//! `f` is `max(0, u)` for `hpca` and the hyperbolic tangent for `hpca-tanh`.

use super::{
    GateWgsl, NoParams, Projections, Real, Reconstruction, Rule, RuleInfo, Samples, inner, parse,
    response, response::respond,
};
use crate::ops::Activation;

pub(super) const HPCA: RuleInfo = RuleInfo {
    name: "hpca",
    summary: "Hebbian PCA: neurons in order learn what the ones before leave over",
    learning_rate: 1e-3,
    build: |params| {
        parse::<NoParams>(params)?;
        Ok(Box::new(Hpca { activation: Activation::Relu }))
    },
};

pub(super) const HPCA_TANH: RuleInfo = RuleInfo {
    name: "hpca-tanh",
    summary: "Hebbian PCA with tanh in place of ReLU, in the forward pass too",
    learning_rate: 1e-3,
    build: |params| {
        parse::<NoParams>(params)?;
        Ok(Box::new(Hpca { activation: Activation::Tanh }))
    },
};

/// HPCA; it has no parameters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hpca {
    /// The non-linearity `f`, which sets the two rules apart.
    pub activation: Activation,
}

impl Rule for Hpca {
    fn name(&self) -> &'static str {
        match self.activation {
            Activation::Relu => HPCA.name,
            Activation::Tanh => HPCA_TANH.name,
        }
    }

    fn activation(&self) -> Activation {
        self.activation
    }

    fn reconstruction(&self) -> Reconstruction {
        Reconstruction::Prefix
    }

    #[inline(always)]
    fn gate(&self, projections: &Projections<'_>, a: &mut [f32], denominators: &mut [f32]) {
        response::gate(self.activation(), projections, a, denominators);
    }

    fn gate_wgsl(&self) -> Option<GateWgsl> {
        response::gate_wgsl(self.activation())
    }

    fn naive_f64(&self, samples: &Samples<'_, f64>) -> Vec<f64> {
        naive(samples, self.activation)
    }

    fn naive_f32(&self, samples: &Samples<'_, f32>) -> Vec<f32> {
        naive(samples, self.activation)
    }
}

fn naive<T: Real>(samples: &Samples<'_, T>, activation: Activation) -> Vec<T> {
    response::mean(samples, |x, delta| {
        let mut unexplained = x.to_vec();
        for (w, delta) in samples.weights().zip(delta.chunks_exact_mut(samples.d)) {
            let y = respond(activation, inner(w, x));
            for ((e, &w), delta) in unexplained.iter_mut().zip(w).zip(delta) {
                *e -= y * w;
                *delta += y * *e;
            }
        }
    })
}
