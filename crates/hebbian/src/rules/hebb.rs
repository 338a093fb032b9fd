//! Hebb's rule with decay: neurons grow along the patches they respond to, and
//! shrink in proportion to their size.
//!
//! Hebb 1949, "The Organization of Behavior", as a formula with the decay that
//! keeps weights finite, mean over all positions of the batch:
//!
//! ```text
//! y_ni = relu(w_i . x_n / ||w_i||)
//! dw_i = (1/N) sum_n y_ni x_n  -  decay w_i
//! ```
//!
//! The response is that to the direction of the weights: a response to the
//! weights themselves grows with them, beyond any bound where the patches vary
//! by more than the decay.

use serde::{Deserialize, Serialize};

use super::{
    GateWgsl, Projection, Projections, Real, Reconstruction, Rule, RuleInfo, Samples, inner,
    nonzero, parse, response, response::respond, table,
};
use crate::error::{Error, Result};
use crate::ops::Activation;

pub(super) const HEBB: RuleInfo = RuleInfo {
    name: "hebb",
    summary: "Hebb's rule with decay: neurons grow along what they respond to",
    learning_rate: 1e-3,
    build: |params| Ok(Box::new(parse::<Hebb>(params)?.checked()?)),
};

/// Hebb's rule and its parameter.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hebb {
    /// Share of its weights that a neuron loses a step, before the learning
    /// rate.
    pub decay: f64,
}

impl Default for Hebb {
    /// `decay = 1`.
    fn default() -> Self {
        Self { decay: 1.0 }
    }
}

impl Hebb {
    fn checked(self) -> Result<Self> {
        if self.decay >= 0.0 && self.decay.is_finite() {
            return Ok(self);
        }
        let problem = format!("is {}; it must be a number, 0 or above", self.decay);
        Err(Error::config("rule.decay", problem))
    }
}

impl Rule for Hebb {
    fn name(&self) -> &'static str {
        HEBB.name
    }

    fn params(&self) -> toml::Table {
        table([("decay", self.decay.into())])
    }

    fn projection(&self) -> Projection {
        Projection::Normalised
    }

    fn reconstruction(&self) -> Reconstruction {
        Reconstruction::Decay(self.decay as f32)
    }

    #[inline(always)]
    fn gate(&self, projections: &Projections<'_>, a: &mut [f32], denominators: &mut [f32]) {
        let c = denominators.len();
        let rows = a.chunks_exact_mut(c).zip(projections.u.chunks_exact(c));
        for (a, u) in rows {
            for ((a, &u), &norm) in a.iter_mut().zip(u).zip(projections.weight_norm) {
                *a = u.max(0.0) / nonzero(norm);
            }
            denominators.iter_mut().for_each(|d| *d += 1.0);
        }
    }

    fn gate_wgsl(&self) -> Option<GateWgsl> {
        let body = "
            for (var i = lane(); i < c; i += LANES) {
                gate(i, max(u(i), 0.0) * inverse(weight_norm(i)), 1.0);
            }";
        Some(GateWgsl { body, constants: Vec::new() })
    }

    fn naive_f64(&self, samples: &Samples<'_, f64>) -> Vec<f64> {
        naive(samples, self.decay)
    }

    fn naive_f32(&self, samples: &Samples<'_, f32>) -> Vec<f32> {
        naive(samples, self.decay as f32)
    }
}

fn naive<T: Real>(samples: &Samples<'_, T>, decay: T) -> Vec<T> {
    response::mean(samples, |x, delta| {
        for (w, delta) in samples.weights().zip(delta.chunks_exact_mut(samples.d)) {
            let y = respond(Activation::Relu, inner(w, x) / nonzero(inner(w, w).sqrt()));
            for ((delta, &x), &w) in delta.iter_mut().zip(x).zip(w) {
                *delta += y * x - decay * w;
            }
        }
    })
}
