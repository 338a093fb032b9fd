//! Learning rules. A rule is a gate and a reconstruction: with patches
//! `X` (N x D), weights `W` (C x D) and projections `U = X W^T` (N x C),
//!
//! ```text
//! dW_i = ( sum_n A_ni x_n  -  Rec_i ) / d_i
//! ```
//!
//! The rule's file says how the gate `A` and the denominators `d` follow from
//! `U`, and which reconstruction `Rec` it subtracts; nothing about speed. It
//! also holds the rule as its paper writes it, sample by sample: the oracle
//! every faster form is tested against.
//!
//! For the GPU, a rule states its gate once more, in WGSL ([`GateWgsl`]).
//!
//! Adding a rule: one file here, and its entry in the list at the end. A family
//! that differs in a word is one file.

use std::fmt;

use num_traits::{Float, NumAssign};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::linalg::simd;
use crate::ops::Activation;

mod adaptive;
mod competition;
mod reconstruction;
mod response;

pub use reconstruction::{Reach, Reconstruction};

/// A floating-point type the oracle can run in: `f64` to check, `f32` to be
/// compared with in benchmarks.
pub trait Real: Float + NumAssign + fmt::Debug + Send + Sync {}
impl<T: Float + NumAssign + fmt::Debug + Send + Sync> Real for T {}

/// What the forward pass computes from a patch before the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// `w . x`
    Plain,
    /// `w . x / ||w||`
    Normalised,
}

/// Projections of a block of patches, as a gate sees them.
pub struct Projections<'a> {
    /// `U`, rows x C: inner products of patches and weights.
    pub u: &'a [f32],
    /// `||x_n||`, one a row; empty unless [`Rule::needs_patch_norms`].
    pub patch_norm: &'a [f32],
    /// `||w_i||`, one a neuron; empty unless the projection is normalised or
    /// the patch norms are read.
    pub weight_norm: &'a [f32],
}

/// A gate in WGSL, the shading language of the GPU. The statements see one row
/// at a time; a row's neurons are shared out among invocations:
///
/// ```text
/// c                                        number of neurons
/// for (var i = lane(); i < c; i += LANES)  the neurons of an invocation
/// u(i), weight_norm(i)                     projection and weight norm of neuron i
/// patch_norm(), inverse(x)                 norm of the patch; 1 / x, 1 for 0
/// squash(x)                                hyperbolic tangent
/// row_max(x), row_sum(x)                   over all invocations
/// keep(i, x), kept(i)                      a number to be had again later
/// gate(i, a, share)                        gate of neuron i, and the row's
///                                          share of its denominator
/// ```
///
/// `patch_norm`, `row_max` and `row_sum` are called outside of loops over the
/// neurons, and `gate` once a neuron.
#[derive(Clone, Debug, PartialEq)]
pub struct GateWgsl {
    /// The statements.
    pub body: &'static str,
    /// Constants they name.
    pub constants: Vec<(&'static str, f32)>,
}

/// A block of patches (N x D) and the weights (C x D), for the oracle.
pub struct Samples<'a, T> {
    /// Patches, N x D.
    pub x: &'a [T],
    /// Weights, C x D.
    pub w: &'a [T],
    /// Length of a patch, D.
    pub d: usize,
}

impl<'a, T: Real> Samples<'a, T> {
    /// Patches, one after the other.
    pub fn patches(&self) -> impl Iterator<Item = &'a [T]> {
        self.x.chunks_exact(self.d)
    }

    /// Weight vectors, one after the other.
    pub fn weights(&self) -> impl Iterator<Item = &'a [T]> {
        self.w.chunks_exact(self.d)
    }
}

pub(crate) fn inner<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).fold(T::zero(), |sum, (&a, &b)| sum + a * b)
}

/// A norm or a sum to divide by: 1 for 0.
#[inline(always)]
fn nonzero<T: Real>(x: T) -> T {
    if x == T::zero() { T::one() } else { x }
}

/// A learning rule with checked parameters.
pub trait Rule: fmt::Debug + Send + Sync {
    /// Name by which it is chosen.
    fn name(&self) -> &'static str;

    /// Its parameters, for the run's records; none unless it has some.
    fn params(&self) -> toml::Table {
        toml::Table::new()
    }

    /// Projection of its forward pass.
    fn projection(&self) -> Projection {
        Projection::Plain
    }

    /// Activation of its forward pass.
    fn activation(&self) -> Activation {
        Activation::Relu
    }

    /// What it subtracts.
    fn reconstruction(&self) -> Reconstruction;

    /// Whether the published protocol feeds it whitened images.
    fn wants_whitening(&self) -> bool {
        false
    }

    /// Whether its gate reads [`Projections::patch_norm`].
    fn needs_patch_norms(&self) -> bool {
        false
    }

    /// Whether it reads how widely the projections of a neuron spread: a layer
    /// then carries their running variances from step to step.
    fn adapts(&self) -> bool {
        false
    }

    /// The rule with a layer's running variances (C); none unless it adapts.
    fn with_variances(&self, _variances: &[f32]) -> Option<Box<dyn Rule>> {
        None
    }

    /// Writes the gates `A` (rows x C) and adds the rows' share of the
    /// denominators (C); a rule that adapts adds, after these, to the sums of
    /// the projections (C) and of their squares (C). Marked `#[inline(always)]` so that
    /// [`Rule::gate_vectorised`] reaches into it.
    fn gate(&self, projections: &Projections<'_>, a: &mut [f32], denominators: &mut [f32]);

    /// [`Rule::gate`] compiled for the machine's vector units: what the engine
    /// calls. Rules leave it as it is.
    fn gate_vectorised(&self, projections: &Projections<'_>, a: &mut [f32], d: &mut [f32]) {
        simd(
            #[inline(always)]
            || self.gate(projections, a, d),
        );
    }

    /// The gate once more, for the GPU: WGSL statements over one row. A rule
    /// without it runs on the CPU only.
    fn gate_wgsl(&self) -> Option<GateWgsl> {
        None
    }

    /// The rule as its paper writes it, in double precision: the update
    /// `dW` (C x D), to be applied as `W += lr dW`.
    fn naive_f64(&self, samples: &Samples<'_, f64>) -> Vec<f64>;

    /// [`Rule::naive_f64`] in single precision.
    fn naive_f32(&self, samples: &Samples<'_, f32>) -> Vec<f32>;
}

/// An entry of the list of rules.
#[derive(Clone, Copy)]
pub struct RuleInfo {
    /// Name by which it is chosen.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Learning rate as published.
    pub learning_rate: f64,
    build: fn(toml::Table) -> Result<Box<dyn Rule>>,
}

/// Finds a rule's entry by name.
pub fn info(name: &str) -> Result<&'static RuleInfo> {
    RULES.iter().find(|info| info.name == name).ok_or_else(|| {
        let known: Vec<_> = RULES.iter().map(|info| info.name).collect();
        Error::config("rule.name", format!("'{name}' is no rule; known are {}", known.join(", ")))
    })
}

/// Builds a rule by name with checked parameters (missing ones take their
/// published defaults).
///
/// # Errors
/// [`Error::Config`] for an unknown rule, an unknown parameter or one out of range.
pub fn build(name: &str, params: toml::Table) -> Result<Box<dyn Rule>> {
    (info(name)?.build)(params)
}

fn parse<P: serde::de::DeserializeOwned>(params: toml::Table) -> Result<P> {
    let problem = |e: toml::de::Error| e.to_string().trim().replace('\n', " ");
    params.try_into().map_err(|e| Error::config("rule", problem(e)))
}

/// Parameters of a rule that has none.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParams {}

/// Refuses a parameter that is not a number above zero.
fn check_above_zero(field: &str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::config(field, format!("is {value}; it must be a number above 0")))
}

/// The parameters of a rule as a table.
fn table<const N: usize>(params: [(&str, toml::Value); N]) -> toml::Table {
    params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

macro_rules! rules {
    ($($file:ident: $($info:ident),+;)*) => {
        $(pub mod $file;)*
        /// Every rule, in the order in which they are listed to people.
        pub static RULES: &[RuleInfo] = &[$($($file::$info),+),*];
    };
}

rules![
    hpca: HPCA, HPCA_TANH, HPCA_TANH_ADAPTIVE;
    soft_wta: SOFT_WTA;
    power_soft_wta: POWER_SOFT_WTA;
    k_wta: K_WTA;
    oja_subspace: OJA_SUBSPACE;
    ica: ICA, HICA, ICA_NORMALISED, HICA_NORMALISED;
    hebb: HEBB;
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_and_parameters_are_refused_by_name() {
        let error = build("hcpa", toml::Table::new()).unwrap_err().to_string();
        assert!(error.contains("'hcpa'") && error.contains("soft-wta"), "{error}");
        let params = "temprature = 0.1".parse().unwrap();
        let error = build("soft-wta", params).unwrap_err().to_string();
        assert!(error.contains("temprature") && error.contains("temperature"), "{error}");
        let error = build("soft-wta", "temperature = 0.0".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "rule.temperature: is 0; it must be a number above 0");
        for (name, params, words) in [
            ("k-wta", "k = 0", "rule.k"),
            ("k-wta", "k = -1", "`k`"),
            ("power-soft-wta", "k = nan", "rule.k"),
            ("hebb", "decay = -0.1", "rule.decay"),
            ("ica", "k = 1", "`k`"),
        ] {
            let error = build(name, params.parse().unwrap()).unwrap_err().to_string();
            assert!(error.contains(words), "{name}, {params}: {error}");
        }
    }

    #[test]
    fn every_rule_is_built_under_its_name_again_from_its_parameters() {
        for info in RULES {
            let rule = build(info.name, toml::Table::new()).unwrap();
            assert_eq!(rule.name(), info.name);
            let again = build(info.name, rule.params()).unwrap();
            assert_eq!(format!("{again:?}"), format!("{rule:?}"));
        }
    }
}
