//! Pre-training by principal components: where Hebbian PCA ends, without the way
//! there.
//!
//! Of HPCA ([`crate::rules`], Lagani 2022) a layer's neurons respond by
//! `y = max(0, w x)`, and each learns what those before leave over. Where patches
//! are as likely as their negatives, its update is 0 for the eigenvectors of
//! `E[x x^T]` by falling eigenvalue, of length 1 and each twice:
//!
//! ```text
//! W = (v_1, -v_1, v_2, -v_2, ...)
//! ```
//!
//! A neuron `v` explains the patches on its side, `y v = max(0, v x) v`, the next
//! one, `-v`, those on the other; both together `(v x) v`, so that the third one
//! finds nothing of `v` and everything else. Here the sums of products `x x^T` are
//! taken over patches of the images and their eigenvectors computed, layer by
//! layer: no rate, no epochs, no order of the images.

use hebbian_data::{Images, Skipped, seed};
use hebbian_eigen::{Components, add_products, principal_components};
use rand::seq::index;
use rayon::prelude::*;
use serde::Serialize;

use super::metrics::Meter;
use super::pretrain::check_finite;
use super::{Checkpoint, Cursor, Event, Observer, PcaConfig, RunFolder, check_rule, for_each_map};
use crate::engine::Device;
use crate::network::{BatchNorm, Model, NormKind, Pretraining, Tensors};
use crate::ops::{Activation, gather_one};
use crate::{Error, Result};

/// Images that a layer's means and variances are taken from, at most: their
/// uncertainty is that of the running statistics of a training, or less.
const STATISTICS: usize = 4096;
/// Share of the largest eigenvalue below which one is rounding.
const NOTHING: f64 = 1e-10;

/// A line of metrics.
#[derive(Serialize)]
struct Values {
    /// Share of the patches' squares that each layer's neurons explain, so far.
    explained: Vec<f64>,
}

/// Pre-trains a model's layers, from the first to the last, by the principal
/// components of their patches: see the module. Where a layer has more neurons
/// than components in both directions, the others keep their random weights (by
/// the rule they would fade, and respond to nothing). Only images go in: labels
/// cannot, by type.
///
/// With a run folder, there is a checkpoint after each layer, and `from` goes on
/// from one to the same bits. Returns the model and the images that could not be
/// read.
///
/// # Errors
/// Bad settings, a network that is not one of ReLU without biases, an empty set,
/// or reading and writing; [`Error::Stopped`] if the run was asked to stop.
pub fn pretrain_pca(
    mut model: Model,
    images: &Images,
    config: &PcaConfig,
    device: &Device,
    mut run: Option<&mut RunFolder>,
    from: Option<Checkpoint>,
    observer: Observer<'_>,
) -> Result<(Model, Vec<Skipped>)> {
    config.check()?;
    check_rule(&model.network.spec)?;
    if model.network.activation != Activation::Relu {
        let problem = "is for networks with ReLU; take a rule that has it";
        return Err(Error::config("method", format!("pca {problem}")));
    }
    if images.is_empty() {
        return Err(Error::Data("there are no images to pre-train on".into()));
    }
    let (mut cursor, mut skipped) = (Cursor::default(), Vec::new());
    if let Some(checkpoint) = from {
        Checkpoint { model, cursor, skipped, .. } = checkpoint;
    } else {
        model.provenance.pretraining = Pretraining::Pca;
        if let Some(run) = run.as_deref_mut() {
            run.save(&model, &cursor, &Tensors::default())?;
        }
    }
    let depth = model.network.depth();
    let order = images.shuffled(model.provenance.seed, "pca");
    let subset = |most: usize| match order.rows().get(..most) {
        Some(few) => images.subset(few),
        None => images.clone(),
    };
    let (all, few) = (subset(config.images), subset(config.images.min(STATISTICS)));
    // Without the rate of products: no floor of these passes is known.
    let mut meter = Meter::new("pretrain", depth, skipped, device, false);
    // A layer is a step, all of them one pass.
    while cursor.batch < depth {
        let layer = cursor.batch;
        let go_on = || run.as_deref().map_or(Ok(()), |run| run.go_on(cursor.step));
        let mut pass = Pass { device, observer, go_on: &go_on };
        let sums = Products::of(&model, layer, &all, config, &mut pass)?;
        let diverged = || Error::Diverged {
            stage: "pre-training",
            layer: format!("L{}", layer + 1),
            step: layer + 1,
        };
        let components = principal_components(&sums.products, sums.dim).ok_or_else(diverged)?;
        let weights = &mut model.network.blocks[layer].weights;
        cursor.sums.push(set_filters(weights, &components));
        model.network.blocks[layer].norm = measured_norm(&model, layer, &few, &mut pass)?;
        check_finite(&model.network, layer + 1)?;
        (cursor.batch, cursor.step) = (layer + 1, layer + 1);
        model.provenance.pretrained_images = sums.images;
        if layer == 0 {
            // The others leave out the same ones.
            meter.leave_out(sums.skipped, &cursor, run.as_deref())?;
        }
        if let Some(run) = run.as_deref_mut() {
            meter.log(run, &cursor, &Values { explained: cursor.sums.clone() })?;
            run.save(&model, &cursor, &Tensors::default())?;
        }
    }
    model.provenance.pretrained_epochs = 1;
    if !meter.skipped.is_empty() {
        observer(Event::Skipped(&meter.skipped));
    }
    Ok((model, meter.skipped))
}

/// Takes the components with an eigenvalue above 0 for a layer's weights (C x D),
/// each and its negative; returns which share of the patches' squares they explain.
fn set_filters(weights: &mut [f32], components: &Components) -> f64 {
    let Components { values, vectors } = components;
    let dim = values.len();
    let largest = values.first().copied().unwrap_or(0.0);
    let count = values.iter().take_while(|&&value| value > NOTHING * largest).count();
    let both = vectors.chunks_exact(dim).take(count).flat_map(|v| [(v, 1.0), (v, -1.0)]);
    for (filter, (v, sign)) in weights.chunks_exact_mut(dim).zip(both) {
        filter.iter_mut().zip(v).for_each(|(weight, &v)| *weight = sign * v);
    }
    // Each filter has the half of its component.
    let filters = weights.len() / dim;
    let halves = values.iter().take(count).flat_map(|value| [value / 2.0; 2]).take(filters);
    let all: f64 = values.iter().sum();
    if all > 0.0 { halves.sum::<f64>() / all } else { 0.0 }
}

/// What passes over the images share.
struct Pass<'a> {
    device: &'a Device,
    observer: Observer<'a>,
    go_on: &'a dyn Fn() -> Result<()>,
}

/// Sums of products of patches of a layer's input.
struct Products {
    /// Length of a patch, D.
    dim: usize,
    /// D x D, of which `[i, j]` for `i <= j` counts.
    products: Vec<f64>,
    /// Images that were read.
    images: usize,
    skipped: Vec<Skipped>,
}

impl Products {
    /// Those of layer `layer`, from 0, over patches at places drawn at random.
    fn of(
        model: &Model,
        layer: usize,
        images: &Images,
        config: &PcaConfig,
        pass: &mut Pass<'_>,
    ) -> Result<Self> {
        let g = model.network.blocks[layer].geometry;
        let (dim, seed) = (g.patch_len(), model.provenance.seed);
        let each = config.patches.saturating_mul(dim).div_ceil(images.len()).min(g.positions());
        let name = format!("L{}: patches", layer + 1);
        let mut products = vec![0.0; dim * dim];
        let mut count = 0;
        let (mut patches, mut scratch) = (Vec::new(), Vec::new());
        let draw = |row: usize, map: &[f32], patches: &mut [f32]| {
            let mut rng = seed::stream(seed, &format!("pca/L{}/{row}", layer + 1));
            let places = index::sample(&mut rng, g.positions(), each);
            for (place, patch) in places.iter().zip(patches.chunks_exact_mut(dim)) {
                gather_one(&g, map, (place / g.out_width(), place % g.out_width()), patch);
            }
        };
        let (device, observer) = (pass.device, &mut *pass.observer);
        let skipped = for_each_map(model, layer, images, device, &name, observer, |rows, map| {
            (pass.go_on)()?;
            scratch.resize(rows.len() * each * dim, 0.0);
            let maps = rows.par_iter().zip(map.par_chunks_exact(g.input_len()));
            maps.zip(scratch.par_chunks_exact_mut(each * dim))
                .for_each(|((&row, map), patches)| draw(row, map, patches));
            patches.clear();
            patches.extend(scratch.iter().map(|&x| f64::from(x)));
            add_products(&patches, dim, &mut products);
            count += rows.len();
            Ok(())
        })?;
        if count == 0 {
            return Err(Error::Data("none of the images could be read".into()));
        }
        Ok(Self { dim, products, images: count, skipped })
    }
}

/// The normalisation of layer `layer`, from 0, by the means and variances of its
/// responses to images.
fn measured_norm(
    model: &Model,
    layer: usize,
    images: &Images,
    pass: &mut Pass<'_>,
) -> Result<BatchNorm> {
    let norm = model.network.blocks[layer].norm.clone();
    let channels = norm.gamma.len();
    // A fresh one of the plain kind leaves responses as they are.
    let mut plain = model.clone();
    plain.network.blocks[layer].norm = BatchNorm::new(NormKind::Batch, channels);
    let (mut sum, mut squares, mut count) = (vec![0.0; channels], vec![0.0; channels], 0.0);
    let name = format!("L{}: statistics", layer + 1);
    let (depth, observer) = (layer + 1, &mut *pass.observer);
    for_each_map(&plain, depth, images, pass.device, &name, observer, |_, map| {
        (pass.go_on)()?;
        for place in map.chunks_exact(channels) {
            for ((sum, square), &z) in sum.iter_mut().zip(&mut squares).zip(place) {
                let z = f64::from(z);
                *sum += z;
                *square += z * z;
            }
        }
        count += (map.len() / channels) as f64;
        Ok(())
    })?;
    let mean: Vec<f64> = sum.iter().map(|sum| sum / count).collect();
    let variance = squares.iter().zip(&mean).map(|(square, mean)| {
        // Unbiased, as running variances are.
        ((square - count * mean * mean) / (count - 1.0f64).max(1.0)).max(0.0) as f32
    });
    let (var, mean) = (variance.collect(), mean.iter().map(|&mean| mean as f32).collect());
    Ok(BatchNorm { mean, var, start: 0.0, ..norm })
}
