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
//!
//! `hpca-tanh-adaptive` learns by the tangent of the projection over its
//! running spread; its forward pass has the plain tangent.
//! It follows the published description; there is no published update at hand
//! that it could be held against, so tests hold it to the form below alone.

use super::{
    GateWgsl, NoParams, Projections, Real, Reconstruction, Rule, RuleInfo, Samples,
    adaptive::Spread, inner, parse, response, response::respond,
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

pub(super) const HPCA_TANH_ADAPTIVE: RuleInfo = RuleInfo {
    name: "hpca-tanh-adaptive",
    summary: "the same, learning by tanh over each neuron's running spread",
    learning_rate: 1e-3,
    build: |params| {
        parse::<NoParams>(params)?;
        Ok(Box::new(AdaptiveHpca::default()))
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
        naive(samples, |_, u| respond(self.activation, u))
    }

    fn naive_f32(&self, samples: &Samples<'_, f32>) -> Vec<f32> {
        naive(samples, |_, u| respond(self.activation, u))
    }
}

/// HPCA by adaptive tanh; it has no parameters.
#[derive(Clone, Debug, Default)]
pub struct AdaptiveHpca {
    spread: Spread,
}

impl Rule for AdaptiveHpca {
    fn name(&self) -> &'static str {
        HPCA_TANH_ADAPTIVE.name
    }

    fn activation(&self) -> Activation {
        Activation::Tanh
    }

    fn reconstruction(&self) -> Reconstruction {
        Reconstruction::Prefix
    }

    fn adapts(&self) -> bool {
        true
    }

    fn with_variances(&self, variances: &[f32]) -> Option<Box<dyn Rule>> {
        Some(Box::new(Self { spread: Spread::of(variances) }))
    }

    #[inline(always)]
    fn gate(&self, projections: &Projections<'_>, a: &mut [f32], denominators: &mut [f32]) {
        self.spread.gate(projections, a, denominators);
    }

    fn naive_f64(&self, samples: &Samples<'_, f64>) -> Vec<f64> {
        naive(samples, |i, u| self.spread.respond(i, u))
    }

    fn naive_f32(&self, samples: &Samples<'_, f32>) -> Vec<f32> {
        naive(samples, |i, u| self.spread.respond(i, u))
    }
}

/// The update by the responses `f` of neurons to their projections.
fn naive<T: Real>(samples: &Samples<'_, T>, f: impl Fn(usize, T) -> T) -> Vec<T> {
    response::mean(samples, |x, delta| {
        let mut unexplained = x.to_vec();
        let neurons = samples.weights().zip(delta.chunks_exact_mut(samples.d));
        for (i, (w, delta)) in neurons.enumerate() {
            let y = f(i, inner(w, x));
            for ((e, &w), delta) in unexplained.iter_mut().zip(w).zip(delta) {
                *e -= y * w;
                *delta += y * *e;
            }
        }
    })
}
