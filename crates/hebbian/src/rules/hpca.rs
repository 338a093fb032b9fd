//! Hebbian principal component analysis (HPCA): each neuron learns what the
//! neurons before it, and itself, do not yet reconstruct.
//!
//! Lagani 2022, "Hebbian Principal Component Analysis"; Sanger's rule with a
//! rectified response, mean over all positions of the batch:
//!
//! ```text
//! y_n  = relu(W x_n)
//! dw_i = (1/N) sum_n y_ni ( x_n - sum_{j<=i} y_nj w_j )
//! ```

use serde::{Deserialize, Serialize};

use super::{
    GateWgsl, Projection, Projections, Real, Reconstruction, Rule, RuleInfo, Samples, inner, parse,
};

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "hpca",
    summary: "Hebbian PCA: neurons in order learn what the ones before leave over",
    learning_rate: 1e-3,
    build: |params| Ok(Box::new(parse::<Hpca>(params)?)),
};

/// HPCA; it has no parameters.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hpca {}

impl Rule for Hpca {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn params(&self) -> toml::Table {
        toml::Table::new()
    }

    fn projection(&self) -> Projection {
        Projection::Plain
    }

    fn reconstruction(&self) -> Reconstruction {
        Reconstruction::Prefix
    }

    fn wants_whitening(&self) -> bool {
        false
    }

    #[inline(always)]
    fn gate(&self, projections: &Projections<'_>, a: &mut [f32], denominators: &mut [f32]) {
        let rows = projections.u.len() / denominators.len();
        a.iter_mut().zip(projections.u).for_each(|(a, u)| *a = u.max(0.0));
        denominators.iter_mut().for_each(|d| *d += rows as f32);
    }

    fn gate_wgsl(&self) -> Option<GateWgsl> {
        let body = "
            for (var i = lane(); i < c; i += LANES) {
                gate(i, max(u(i), 0.0), 1.0);
            }";
        Some(GateWgsl { body, constants: Vec::new() })
    }

    fn naive_f64(&self, samples: &Samples<'_, f64>) -> Vec<f64> {
        naive(samples)
    }

    fn naive_f32(&self, samples: &Samples<'_, f32>) -> Vec<f32> {
        naive(samples)
    }
}

fn naive<T: Real>(samples: &Samples<'_, T>) -> Vec<T> {
    let mut delta = vec![T::zero(); samples.w.len()];
    let mut count = T::zero();
    for x in samples.patches() {
        let mut unexplained = x.to_vec();
        for (w, delta) in samples.weights().zip(delta.chunks_exact_mut(samples.d)) {
            let y = inner(w, x).max(T::zero());
            for ((e, &w), delta) in unexplained.iter_mut().zip(w).zip(delta) {
                *e -= y * w;
                *delta += y * *e;
            }
        }
        count += T::one();
    }
    delta.iter_mut().for_each(|delta| *delta /= count);
    delta
}
