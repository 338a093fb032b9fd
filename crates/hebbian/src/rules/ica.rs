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
//!
//! The normalised forms, `ica-normalised` and `hica-normalised`, keep weights
//! of length 1 at it: a neuron moves across its weight only,
//!
//! ```text
//! dw_i = (1/N) sum_n ( w_i w_i^T - I ) z_ni sum_j s_nj w_j
//! ```
//!
//! and `z` is the tangent over the running spread of `s`.
//! They follow the published description; there is no published update at hand
//! that they could be held against, so tests hold them to the form below alone.

use super::{
    GateWgsl, NoParams, Projections, Reach, Real, Reconstruction, Rule, RuleInfo, Samples,
    adaptive::Spread, inner, parse, response, response::respond,
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

pub(super) const ICA_NORMALISED: RuleInfo = RuleInfo {
    name: "ica-normalised",
    summary: "ICA that keeps weights of length 1 so, by tanh over their running spread",
    learning_rate: 1e-3,
    build: |params| {
        parse::<NoParams>(params)?;
        Ok(Box::new(NormalisedIca { reach: Reach::All, spread: Spread::default() }))
    },
};

pub(super) const HICA_NORMALISED: RuleInfo = RuleInfo {
    name: "hica-normalised",
    summary: "the same for hierarchical ICA",
    learning_rate: 1e-3,
    build: |params| {
        parse::<NoParams>(params)?;
        Ok(Box::new(NormalisedIca { reach: Reach::Prefix, spread: Spread::default() }))
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
        naive(samples, self.reach, |_, s| respond(Activation::Tanh, s), unmix)
    }

    fn naive_f32(&self, samples: &Samples<'_, f32>) -> Vec<f32> {
        naive(samples, self.reach, |_, s| respond(Activation::Tanh, s), unmix)
    }
}

/// Normalised ICA; it has no parameters.
#[derive(Clone, Debug)]
pub struct NormalisedIca {
    /// The neurons `j` of the sum, which set the two rules apart.
    pub reach: Reach,
    spread: Spread,
}

impl Rule for NormalisedIca {
    fn name(&self) -> &'static str {
        match self.reach {
            Reach::All => ICA_NORMALISED.name,
            Reach::Prefix => HICA_NORMALISED.name,
        }
    }

    fn activation(&self) -> Activation {
        Activation::Tanh
    }

    fn reconstruction(&self) -> Reconstruction {
        Reconstruction::Tangent(self.reach)
    }

    fn adapts(&self) -> bool {
        true
    }

    fn with_variances(&self, variances: &[f32]) -> Option<Box<dyn Rule>> {
        Some(Box::new(Self { spread: Spread::of(variances), ..*self }))
    }

    #[inline(always)]
    fn gate(&self, projections: &Projections<'_>, a: &mut [f32], denominators: &mut [f32]) {
        self.spread.gate(projections, a, denominators);
    }

    fn naive_f64(&self, samples: &Samples<'_, f64>) -> Vec<f64> {
        naive(samples, self.reach, |i, s| self.spread.respond(i, s), across)
    }

    fn naive_f32(&self, samples: &Samples<'_, f32>) -> Vec<f32> {
        naive(samples, self.reach, |i, s| self.spread.respond(i, s), across)
    }
}

/// Adds `w - z m` to a neuron's update, `m` being what it is mixed of.
fn unmix<T: Real>(w: &[T], z: T, mixed: &[T], delta: &mut [T]) {
    for ((delta, &w), &mixed) in delta.iter_mut().zip(w).zip(mixed) {
        *delta += w - z * mixed;
    }
}

/// Adds `(w w^T - I) z m`.
fn across<T: Real>(w: &[T], z: T, mixed: &[T], delta: &mut [T]) {
    let along = inner(w, mixed);
    for ((delta, &w), &mixed) in delta.iter_mut().zip(w).zip(mixed) {
        *delta += z * (along * w - mixed);
    }
}

/// The update by the responses `f` of neurons to their projections; `add` adds
/// a patch's share of it.
fn naive<T: Real>(
    samples: &Samples<'_, T>,
    reach: Reach,
    f: impl Fn(usize, T) -> T,
    add: impl Fn(&[T], T, &[T], &mut [T]),
) -> Vec<T> {
    response::mean(samples, |x, delta| {
        let s: Vec<T> = samples.weights().map(|w| inner(w, x)).collect();
        let mut mixed = vec![T::zero(); samples.d];
        let mix = |mixed: &mut [T], w: &[T], s: T| {
            mixed.iter_mut().zip(w).for_each(|(mixed, &w)| *mixed += s * w);
        };
        if reach == Reach::All {
            samples.weights().zip(&s).for_each(|(w, &s)| mix(&mut mixed, w, s));
        }
        let neurons = samples.weights().zip(delta.chunks_exact_mut(samples.d));
        for (i, ((w, delta), &s)) in neurons.zip(&s).enumerate() {
            if reach == Reach::Prefix {
                mix(&mut mixed, w, s);
            }
            add(w, f(i, s), &mixed, delta);
        }
    })
}
