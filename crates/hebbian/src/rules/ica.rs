//! Independent component analysis (ICA) by the natural gradient: neurons learn
//! to respond independently of each other.
//!
//! Amari, Cichocki & Yang 1996, "A new learning algorithm for blind signal
//! separation", with tanh for sources with heavy tails, as the published code
//! computes it, mean over all positions of the batch:
//!
//! ```text
//! s_n  = W x_n,  z_n = tanh(s_n)
//! dw_i = (1/N) sum_n ( w_i - z_ni sum_j s_nj w_j )
//! ```
//!
//! `ica` sums over all neurons `j`; `hica`, the hierarchical one, over `j <= i`,
//! so that neurons come in an order. No patch enters but by its projections:
//! `dW = W - (1/N) Z^T S W`.

use super::{
    GateWgsl, NoParams, Projections, Reach, Real, Reconstruction, Rule, RuleInfo, Samples, inner,
    parse, response, response::respond,
};
use crate::ops::Activation;

pub(super) const ICA: RuleInfo = RuleInfo {
    name: "ica",
    summary: "independent component analysis by the natural gradient, with tanh",
    learning_rate: 1e-3,
    build: |params| {
        parse::<NoParams>(params)?;
        Ok(Box::new(Ica { reach: Reach::All }))
    },
};

pub(super) const HICA: RuleInfo = RuleInfo {
    name: "hica",
    summary: "hierarchical ICA: neurons in order, each independent of those before",
    learning_rate: 1e-3,
    build: |params| {
        parse::<NoParams>(params)?;
        Ok(Box::new(Ica { reach: Reach::Prefix }))
    },
};

/// ICA; it has no parameters.
#[derive(Clone, Copy, Debug)]
pub struct Ica {
    /// The neurons `j` of the sum, which set the two rules apart.
    pub reach: Reach,
}

impl Rule for Ica {
    fn name(&self) -> &'static str {
        match self.reach {
            Reach::All => ICA.name,
            Reach::Prefix => HICA.name,
        }
    }

    fn activation(&self) -> Activation {
        Activation::Tanh
    }

    fn reconstruction(&self) -> Reconstruction {
        Reconstruction::Unmixing(self.reach)
    }

    #[inline(always)]
    fn gate(&self, projections: &Projections<'_>, a: &mut [f32], denominators: &mut [f32]) {
        response::gate(self.activation(), projections, a, denominators);
    }

    fn gate_wgsl(&self) -> Option<GateWgsl> {
        response::gate_wgsl(self.activation())
    }

    fn naive_f64(&self, samples: &Samples<'_, f64>) -> Vec<f64> {
        naive(samples, self.reach)
    }

    fn naive_f32(&self, samples: &Samples<'_, f32>) -> Vec<f32> {
        naive(samples, self.reach)
    }
}

fn naive<T: Real>(samples: &Samples<'_, T>, reach: Reach) -> Vec<T> {
    response::mean(samples, |x, delta| {
        let s: Vec<T> = samples.weights().map(|w| inner(w, x)).collect();
        let mut mixed = vec![T::zero(); samples.d];
        let add = |mixed: &mut [T], w: &[T], s: T| {
            mixed.iter_mut().zip(w).for_each(|(mixed, &w)| *mixed += s * w);
        };
        if reach == Reach::All {
            samples.weights().zip(&s).for_each(|(w, &s)| add(&mut mixed, w, s));
        }
        let neurons = samples.weights().zip(delta.chunks_exact_mut(samples.d));
        for ((w, delta), &s) in neurons.zip(&s) {
            if reach == Reach::Prefix {
                add(&mut mixed, w, s);
            }
            let z = respond(Activation::Tanh, s);
            for ((delta, &w), &mixed) in delta.iter_mut().zip(w).zip(&mixed) {
                *delta += w - z * mixed;
            }
        }
    })
}
