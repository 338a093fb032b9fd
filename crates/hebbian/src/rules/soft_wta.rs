//! Soft winner-takes-all: each neuron moves towards the patches it wins, in
//! proportion to how clearly it wins them.
//!
//! As the published code computes it (the papers write the step without the
//! square, which enters through the weighted mean of an already gated step):
//!
//! ```text
//! s_ni = ((cos(x_n, w_i) + 1) / 2)^2
//! r_n  = softmax_i(s_ni / T)
//! dw_i = sum_n r_ni^2 (x_n - w_i) / sum_n r_ni
//! ```

use serde::{Deserialize, Serialize};

use super::{
    GateWgsl, Projection, Projections, Real, Reconstruction, Rule, RuleInfo, Samples,
    check_above_zero, competition, competition::LEAST_SHARE, parse, table,
};
use crate::linalg::{exp, largest, sum};

pub(super) const SOFT_WTA: RuleInfo = RuleInfo {
    name: "soft-wta",
    summary: "soft winner-takes-all: neurons move towards the patches they win",
    learning_rate: 1e-3,
    build: |params| {
        let rule = parse::<SoftWta>(params)?;
        check_above_zero("rule.temperature", rule.temperature)?;
        Ok(Box::new(rule))
    },
};

/// Soft-WTA and its parameter.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SoftWta {
    /// Temperature `T` of the softmax; the smaller, the harder the competition.
    pub temperature: f64,
}

impl Default for SoftWta {
    /// `temperature = 0.02`, as published for every data set and layer.
    fn default() -> Self {
        Self { temperature: 0.02 }
    }
}

impl Rule for SoftWta {
    fn name(&self) -> &'static str {
        SOFT_WTA.name
    }

    fn params(&self) -> toml::Table {
        table([("temperature", self.temperature.into())])
    }

    fn projection(&self) -> Projection {
        Projection::Normalised
    }

    fn reconstruction(&self) -> Reconstruction {
        Reconstruction::Own
    }

    fn wants_whitening(&self) -> bool {
        true
    }

    fn needs_patch_norms(&self) -> bool {
        true
    }

    #[inline(always)]
    fn gate(&self, projections: &Projections<'_>, a: &mut [f32], denominators: &mut [f32]) {
        let inverse = |norm: f32| if norm == 0.0 { 1.0 } else { 1.0 / norm };
        let weights: Vec<f32> = projections.weight_norm.iter().map(|&n| inverse(n)).collect();
        let beta = (1.0 / self.temperature) as f32;
        let c = denominators.len();
        let rows = projections.u.chunks_exact(c).zip(projections.patch_norm);
        for ((u, &norm), r) in rows.zip(a.chunks_exact_mut(c)) {
            let patch = inverse(norm);
            for ((r, &u), &w) in r.iter_mut().zip(u).zip(&weights) {
                let half = 0.5 * (u * patch * w + 1.0);
                *r = half * half * beta;
            }
            let best = largest(r);
            r.iter_mut().for_each(|r| *r = exp(*r - best));
            let scale = 1.0 / sum(r);
            for (r, d) in r.iter_mut().zip(&mut *denominators) {
                let share = *r * scale;
                *d += share;
                *r = if share > LEAST_SHARE { share * share } else { 0.0 };
            }
        }
    }

    fn gate_wgsl(&self) -> Option<GateWgsl> {
        let body = "
            let scale_x = inverse(patch_norm());
            var best = LOWEST;
            for (var i = lane(); i < c; i += LANES) {
                let half = 0.5 * (u(i) * scale_x * inverse(weight_norm(i)) + 1.0);
                keep(i, half * half * BETA);
                best = max(best, kept(i));
            }
            best = row_max(best);
            var sum = 0.0;
            for (var i = lane(); i < c; i += LANES) {
                keep(i, exp(kept(i) - best));
                sum += kept(i);
            }
            let scale = 1.0 / row_sum(sum);
            for (var i = lane(); i < c; i += LANES) {
                let share = kept(i) * scale;
                gate(i, share * share, share);
            }";
        let beta = (1.0 / self.temperature) as f32;
        Some(GateWgsl { body, constants: vec![("BETA", beta.min(f32::MAX))] })
    }

    fn naive_f64(&self, samples: &Samples<'_, f64>) -> Vec<f64> {
        naive(samples, self.temperature)
    }

    fn naive_f32(&self, samples: &Samples<'_, f32>) -> Vec<f32> {
        naive(samples, self.temperature as f32)
    }
}

fn naive<T: Real>(samples: &Samples<'_, T>, temperature: T) -> Vec<T> {
    competition::naive(samples, |s| {
        let best = s.iter().fold(T::neg_infinity(), |best, &s| best.max(s));
        s.iter_mut().for_each(|s| *s = ((*s - best) / temperature).exp());
        let sum = s.iter().fold(T::zero(), |sum, &s| sum + s);
        s.iter_mut().for_each(|s| *s /= sum);
    })
}
