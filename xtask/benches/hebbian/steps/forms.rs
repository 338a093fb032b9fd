//! A pre-training step with the update in each of its forms, and how well
//! they agree.

use std::fmt;

use anyhow::{Result, bail};
use clap::ValueEnum;
use hebbian::network::{Block, Network};
use hebbian::ops::{Workspace, block_forward};
use hebbian::rules::Rule;
use hebbian::update::{UpdateSums, hebbian_step, naive_update, published_update, unfold};
use serde::Serialize;

/// Largest difference of two forms, relative to the largest entry.
pub(crate) const TOLERANCE: f64 = 1e-4;

/// A form of the update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Form {
    /// Sample by sample, on one thread.
    Naive,
    /// Patches unfolded, FastHebb's products in the published order.
    Published,
    /// As the engine does it.
    Engine,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Naive => "naive",
            Self::Published => "published",
            Self::Engine => "engine",
        })
    }
}

/// Forward pass and update of one layer.
fn update(
    form: Form,
    rule: &dyn Rule,
    block: &Block,
    x: &[f32],
    workspace: &mut Workspace,
) -> (UpdateSums, Vec<f32>) {
    let (g, weights) = (block.geometry, &block.weights);
    let (d, batch) = (g.patch_len(), x.len() / g.input_len());
    let mut out = vec![0.0; batch * g.output_len()];
    if form == Form::Engine {
        let sums = hebbian_step(rule, &g, batch, x, weights, workspace, &mut out);
        return (sums, out);
    }
    let patches = unfold(&g, batch, x);
    let sums = if form == Form::Published {
        published_update(rule, d, &patches, weights)
    } else {
        let numerators = naive_update(rule, d, &patches, weights);
        let denominators = vec![1.0; g.filters];
        UpdateSums { numerators, denominators, ..UpdateSums::default() }
    };
    let scale = block.scale(rule.projection());
    let response = block.response(scale.as_deref(), rule.activation());
    block_forward(&g, batch, x, weights, &response, workspace, &mut out, None);
    (sums, out)
}

/// One step of all layers together in one of the slow forms, layer by layer as
/// the engine takes it.
pub(crate) fn step(
    form: Form,
    rule: &dyn Rule,
    lr: f32,
    network: &mut Network,
    x: &[f32],
    workspace: &mut Workspace,
) {
    let mut map = None::<Vec<f32>>;
    for block in &mut network.blocks {
        let (sums, mut out) = update(form, rule, block, map.as_deref().unwrap_or(x), workspace);
        sums.apply(lr, &mut block.weights);
        block.norm.train(&mut out);
        map = Some(out);
    }
}

/// Compares updates and outputs of all layers with the engine's: those of the
/// published form on the whole of `x`, of the naive one on its first image.
/// Returns the largest relative difference.
///
/// # Errors
/// If one is above [`TOLERANCE`].
pub(crate) fn compare(rule: &dyn Rule, mut network: Network, x: &[f32]) -> Result<f64> {
    let mut workspace = Workspace::default();
    let mut map = x.to_vec();
    let mut worst = 0.0f64;
    for (index, block) in network.blocks.iter_mut().enumerate() {
        let first = &map[..block.geometry.input_len()];
        let mut run = |form, x: &[f32]| {
            let (sums, out) = update(form, rule, block, x, &mut workspace);
            (sums.delta(), out)
        };
        let engine = run(Form::Engine, &map);
        let (published, naive) = (run(Form::Published, &map), run(Form::Naive, first));
        let engine_first = run(Form::Engine, first);
        let pairs = [(Form::Published, &published, &engine), (Form::Naive, &naive, &engine_first)];
        for (form, got, want) in pairs {
            let apart = difference(&got.0, &want.0).max(difference(&got.1, &want.1));
            if apart.is_nan() || apart > TOLERANCE {
                bail!(
                    "{} at L{}: the {form} form differs from the engine's by {apart:.1e} where \
                     {TOLERANCE:e} is allowed; times of forms that do not agree mean nothing",
                    rule.name(),
                    index + 1
                );
            }
            worst = worst.max(apart);
        }
        let mut out = engine.1;
        block.norm.train(&mut out);
        map = out;
    }
    Ok(worst)
}

/// Largest difference over the largest entry; NaN if any entry is.
pub(crate) fn difference(a: &[f32], b: &[f32]) -> f64 {
    let mut largest = (0.0f64, f64::MIN_POSITIVE);
    for (&a, &b) in a.iter().zip(b) {
        let apart = f64::from(a - b).abs();
        if apart.is_nan() {
            return f64::NAN;
        }
        largest = (largest.0.max(apart), largest.1.max(f64::from(b).abs()));
    }
    largest.0 / largest.1
}
