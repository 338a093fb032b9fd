//! k-winners-take-all: the `k` neurons most similar to a patch move towards
//! it, and no other.
//!
//! As the published code computes it, with the similarity of all
//! winner-takes-all rules; neurons as similar as the `k`-th win with it:
//!
//! ```text
//! s_ni = ((cos(x_n, w_i) + 1) / 2)^2
//! r_ni = 1 if s_ni >= k-th largest of s_n, else 0
//! dw_i = mean of (x_n - w_i) over the patches that neuron i wins
//! ```

use serde::{Deserialize, Serialize};

use super::{
    GateWgsl, Projection, Projections, Real, Reconstruction, Rule, RuleInfo, Samples, competition,
    parse, table,
};
use crate::error::{Error, Result};
use crate::linalg::largest;

pub(super) const K_WTA: RuleInfo = RuleInfo {
    name: "k-wta",
    summary: "k-winners-take-all: the k most similar neurons move towards a patch",
    learning_rate: 1e-3,
    build: |params| Ok(Box::new(parse::<KWta>(params)?.checked()?)),
};

/// k-WTA and its parameter.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KWta {
    /// Winners of a patch; with as many as there are neurons or more, all win.
    pub k: u32,
}

impl Default for KWta {
    /// `k = 1`: the winner takes all, as published; `k = 5` is published too.
    fn default() -> Self {
        Self { k: 1 }
    }
}

impl KWta {
    fn checked(self) -> Result<Self> {
        if self.k > 0 {
            return Ok(self);
        }
        Err(Error::config("rule.k", "is 0; there must be 1 winner or more"))
    }
}

impl Rule for KWta {
    fn name(&self) -> &'static str {
        K_WTA.name
    }

    fn params(&self) -> toml::Table {
        table([("k", i64::from(self.k).into())])
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
        // The order of cosines is that of similarities.
        let k = (self.k as usize).min(denominators.len());
        let mut sorted = Vec::new();
        competition::gate(projections, a, denominators, |shares| {
            let threshold = if k == 1 {
                largest(shares)
            } else {
                sorted.clear();
                sorted.extend_from_slice(shares);
                *sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
            };
            shares.iter_mut().for_each(|s| *s = if *s >= threshold { 1.0 } else { 0.0 });
        });
    }

    fn gate_wgsl(&self) -> Option<GateWgsl> {
        // Each round goes down to the next largest, until k are at or above.
        let body = "
            let size_x = patch_norm();
            for (var i = lane(); i < c; i += LANES) {
                let norm = size_x * weight_norm(i);
                keep(i, u(i) * inverse(norm));
            }
            var threshold = -LOWEST;
            for (var turn = 0.0; turn < min(WINNERS, f32(c)); turn += 1.0) {
                var next = LOWEST;
                var above = 0.0;
                for (var i = lane(); i < c; i += LANES) {
                    let score = kept(i);
                    above += select(0.0, 1.0, score >= threshold);
                    next = max(next, select(LOWEST, score, score < threshold));
                }
                next = row_max(next);
                above = row_sum(above);
                threshold = select(threshold, next, above < WINNERS);
            }
            for (var i = lane(); i < c; i += LANES) {
                let won = select(0.0, 1.0, kept(i) >= threshold);
                gate(i, won, won);
            }";
        Some(GateWgsl { body, constants: vec![("WINNERS", self.k as f32)] })
    }

    fn naive_f64(&self, samples: &Samples<'_, f64>) -> Vec<f64> {
        naive(samples, self.k as usize)
    }

    fn naive_f32(&self, samples: &Samples<'_, f32>) -> Vec<f32> {
        naive(samples, self.k as usize)
    }
}

fn naive<T: Real>(samples: &Samples<'_, T>, k: usize) -> Vec<T> {
    competition::naive(samples, |s| {
        let mut sorted = s.to_vec();
        sorted.sort_by(|a, b| b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal));
        let threshold = sorted[k.min(s.len()) - 1];
        s.iter_mut().for_each(|s| *s = if *s >= threshold { T::one() } else { T::zero() });
    })
}
