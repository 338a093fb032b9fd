//! Power soft winner-takes-all: soft-WTA whose shares are powers of the
//! similarities.
//!
//! As the published code computes it:
//!
//! ```text
//! s_ni = ((cos(x_n, w_i) + 1) / 2)^2
//! r_ni = s_ni^(1/k) / sum_j s_nj^(1/k)
//! dw_i = sum_n r_ni^2 (x_n - w_i) / sum_n r_ni
//! ```

use serde::{Deserialize, Serialize};

use super::{
    GateWgsl, Projection, Projections, Real, Reconstruction, Rule, RuleInfo, Samples,
    check_above_zero, competition, nonzero, parse, table,
};
use crate::linalg::{exp, largest, ln, sum};

pub(super) const POWER_SOFT_WTA: RuleInfo = RuleInfo {
    name: "power-soft-wta",
    summary: "soft winner-takes-all by powers of the similarity",
    learning_rate: 1e-3,
    build: |params| {
        let rule = parse::<PowerSoftWta>(params)?;
        check_above_zero("rule.k", rule.k)?;
        Ok(Box::new(rule))
    },
};

/// Power soft-WTA and its parameter.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PowerSoftWta {
    /// Reciprocal of the power; the smaller, the harder the competition.
    pub k: f64,
}

impl Default for PowerSoftWta {
    /// `k = 0.05`, as published.
    fn default() -> Self {
        Self { k: 0.05 }
    }
}

impl PowerSoftWta {
    /// Power of `(cos + 1) / 2`.
    fn exponent(self) -> f32 {
        ((2.0 / self.k) as f32).min(f32::MAX)
    }
}

impl Rule for PowerSoftWta {
    fn name(&self) -> &'static str {
        POWER_SOFT_WTA.name
    }

    fn params(&self) -> toml::Table {
        table([("k", self.k.into())])
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
        let exponent = self.exponent();
        competition::gate(projections, a, denominators, |shares| {
            shares.iter_mut().for_each(|s| *s = (0.5 * (*s + 1.0)).max(0.0));
            let best = largest(shares);
            if best <= 0.0 {
                // All point away from the patch: none has a share.
                shares.fill(0.0);
                return;
            }
            // Over the best, so that no sum of powers vanishes.
            shares.iter_mut().for_each(|s| *s = exp(exponent * ln(*s / best)));
            let scale = 1.0 / sum(shares);
            shares.iter_mut().for_each(|s| *s *= scale);
        });
    }

    fn gate_wgsl(&self) -> Option<GateWgsl> {
        // Logarithms of ratios near one by their series: the built-in one is
        // too coarse to be multiplied by the exponent.
        let body = "
            let size_x = patch_norm();
            var best = 0.0;
            for (var i = lane(); i < c; i += LANES) {
                let cosine = u(i) * inverse(size_x * weight_norm(i));
                keep(i, max(0.5 * (cosine + 1.0), 0.0));
                best = max(best, kept(i));
            }
            best = row_max(best);
            var sum = 0.0;
            for (var i = lane(); i < c; i += LANES) {
                let ratio = kept(i) * inverse(best);
                let z = (ratio - 1.0) / (ratio + 1.0);
                let q = z * z;
                let series = 1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q / 11.0)));
                let near = 2.0 * z * (1.0 + q * series);
                let logarithm = select(log(max(ratio, 1e-37)), near, ratio > 0.5);
                let power = exp(max(EXPONENT * logarithm, -87.0));
                keep(i, select(0.0, power, best > 0.0));
                sum += kept(i);
            }
            let scale = inverse(row_sum(sum));
            for (var i = lane(); i < c; i += LANES) {
                let share = kept(i) * scale;
                gate(i, share * share, share);
            }";
        Some(GateWgsl { body, constants: vec![("EXPONENT", self.exponent())] })
    }

    fn naive_f64(&self, samples: &Samples<'_, f64>) -> Vec<f64> {
        naive(samples, self.k)
    }

    fn naive_f32(&self, samples: &Samples<'_, f32>) -> Vec<f32> {
        naive(samples, self.k as f32)
    }
}

fn naive<T: Real>(samples: &Samples<'_, T>, k: T) -> Vec<T> {
    competition::naive(samples, |s| {
        s.iter_mut().for_each(|s| *s = s.powf(T::one() / k));
        let sum = s.iter().fold(T::zero(), |sum, &s| sum + s);
        s.iter_mut().for_each(|s| *s /= nonzero(sum));
    })
}
