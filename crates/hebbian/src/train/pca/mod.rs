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

mod passes;

use hebbian_data::{Images, Skipped, seed};
use hebbian_eigen::{Components, add_products, principal_components, principal_components_of_few};
use rand::seq::index;
use rayon::prelude::*;
use serde::Serialize;

use self::passes::{KeptMaps, Pass, Sums};
use super::metrics::Meter;
use super::pretrain::check_finite;
use super::together::check_same;
use super::{Checkpoint, Cursor, Event, Observer, PcaConfig, RunFolder, check_rule};
use crate::engine::Device;
use crate::network::{BatchNorm, Model, NetworkSpec, NormKind, Pretraining, Tensors};
use crate::ops::{Activation, gather_one};
use crate::{Error, Result};

/// Images that a layer's means and variances are taken from, at most: their
/// uncertainty is that of the running statistics of a training, or less.
const STATISTICS: usize = 4096;
/// Numbers of the patches held at once, at most (64 MiB in double precision), but
/// for those of one image.
const PATCHES: usize = 8 << 20;
/// Eigenvectors of a layer, at most: of more, they would take hours.
const EIGENVECTORS: usize = 16_384;
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
/// read. Several processes work together as in [`super::pretrain()`].
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
    let (seed, size) = (model.provenance.seed, model.preprocess.size);
    let images = &config.keep(images, seed, size);
    let rows = config.draw(images, usize::MAX, seed);
    let used = images.subset(&rows);
    check_components(&model.network.spec, used.len())?;
    let few = match used.len() {
        0..=STATISTICS => used.clone(),
        _ => images.subset(&config.draw(images, STATISTICS, seed)),
    };
    // Without the rate of products: no floor of these passes is known.
    let mut meter = Meter::new("pretrain", depth, skipped, device, false);
    // Of the images that all passes are over.
    let mut kept = KeptMaps::new(used.len() <= STATISTICS);
    // A layer is a step, all of them one pass.
    while cursor.batch < depth {
        let layer = cursor.batch;
        let dim = model.network.blocks[layer].geometry.patch_len();
        let go_on = || run.as_deref().map_or(Ok(()), |run| run.go_on(cursor.step));
        let mut pass = Pass { device, observer, go_on: &go_on, kept: &mut kept };
        let (components, sums) = components(&model, layer, &used, config, &mut pass)?;
        let diverged = || Error::Diverged {
            stage: "pre-training",
            layer: format!("L{}", layer + 1),
            step: layer + 1,
        };
        let components = components.ok_or_else(diverged)?;
        let weights = &mut model.network.blocks[layer].weights;
        cursor.sums.push(set_filters(weights, dim, &components));
        model.network.blocks[layer].norm = measured_norm(&model, layer, &few, &mut pass)?;
        check_finite(&model.network, layer + 1)?;
        check_same(&device.group(), &model)?;
        (cursor.batch, cursor.step) = (layer + 1, layer + 1);
        model.provenance.pretrained_images = sums.images;
        meter.see(sums.images);
        if layer == 0 {
            // The others leave out the same ones.
            let place = |image: Skipped| Skipped { row: rows[image.row], ..image };
            let skipped = sums.skipped.into_iter().map(place).collect();
            meter.leave_out(skipped, &cursor, run.as_deref())?;
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

/// Whether the components of each layer can be computed from so many images: their
/// eigenvectors are as many as a patch has numbers, or as there are patches where
/// those are fewer.
///
/// # Errors
/// With the first layer that has more than 16,384, or a network that cannot be.
pub fn check_components(spec: &NetworkSpec, images: usize) -> Result<()> {
    for (index, geometry) in spec.geometries()?.iter().enumerate() {
        let (dim, places) = (geometry.patch_len(), geometry.positions());
        if dim.min(images.saturating_mul(places)) > EIGENVECTORS {
            let most = EIGENVECTORS / places;
            let advice = match most {
                0 => "train it by a rule".to_owned(),
                _ => format!("take at most {most}"),
            };
            let layer = index + 1;
            let problem = format!(
                "the patches of L{layer} have {dim} numbers, and {images} images so many of them \
                 that their components take hours; {advice}"
            );
            return Err(Error::config("pca.images", problem));
        }
    }
    Ok(())
}

/// Takes the components with an eigenvalue above 0 for a layer's weights (C x D),
/// each and its negative; returns which share of the patches' squares they explain.
fn set_filters(weights: &mut [f32], dim: usize, components: &Components) -> f64 {
    let Components { values, vectors } = components;
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

/// The components of the patches of layer `layer`'s input, from 0, at places drawn at
/// random, if eigenvalues converge; and what the pass found beside them.
fn components(
    model: &Model,
    layer: usize,
    images: &Images,
    config: &PcaConfig,
    pass: &mut Pass<'_>,
) -> Result<(Option<Components>, Sums)> {
    let g = model.network.blocks[layer].geometry;
    let (dim, seed) = (g.patch_len(), model.provenance.seed);
    let each = config.patches.saturating_mul(dim).div_ceil(images.len()).min(g.positions());
    let draw = |row: usize, map: &[f32], patches: &mut [f32]| {
        let mut rng = seed::stream(seed, &format!("pca/L{}/{row}", layer + 1));
        let places = index::sample(&mut rng, g.positions(), each);
        for (place, patch) in places.iter().zip(patches.chunks_exact_mut(dim)) {
            gather_one(&g, map, (place / g.out_width(), place % g.out_width()), patch);
        }
    };
    let (mut patches, mut scratch) = (Vec::new(), Vec::new());
    let name = format!("L{}: patches", layer + 1);
    // Numbers of an image's patches, and images whose patches are held at once.
    let own = each * dim;
    let few = (PATCHES / own).max(1);
    // Fewer patches than the numbers of one are gathered as they are: each image's
    // have their place in what is added up, and those of one left out stay 0.
    let gathered = each * images.len() < dim;
    let len = if gathered { images.len() * own } else { dim * dim };
    let sums = pass.sums((model, layer), images, (&name, true), len, |rows, map, sums| {
        for (rows, map) in rows.chunks(few).zip(map.chunks(few * g.input_len())) {
            scratch.resize(rows.len() * own, 0.0);
            let maps = rows.par_iter().zip(map.par_chunks_exact(g.input_len()));
            maps.zip(scratch.par_chunks_exact_mut(own))
                .for_each(|((&row, map), patches)| draw(row, map, patches));
            patches.clear();
            patches.extend(scratch.iter().map(|&x| f64::from(x)));
            if gathered {
                for (&row, patches) in rows.iter().zip(patches.chunks_exact(own)) {
                    sums[row * own..][..own].copy_from_slice(patches);
                }
            } else {
                add_products(&patches, dim, sums);
            }
        }
    })?;
    let components = match gathered {
        true => principal_components_of_few(&sums.values, dim),
        false => principal_components(&sums.values, dim),
    };
    Ok((components, sums))
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
    let name = format!("L{}: statistics", layer + 1);
    let stage = (&*name, false);
    let sums = pass.sums((&plain, layer + 1), images, stage, 2 * channels, |_, map, sums| {
        let (sum, squares) = sums.split_at_mut(channels);
        for place in map.chunks_exact(channels) {
            for ((sum, square), &z) in sum.iter_mut().zip(&mut *squares).zip(place) {
                let z = f64::from(z);
                *sum += z;
                *square += z * z;
            }
        }
    })?;
    let places = model.network.blocks[layer].geometry.output_len() / channels;
    let count = (sums.images * places) as f64;
    let (sum, squares) = sums.values.split_at(channels);
    let mean: Vec<f64> = sum.iter().map(|sum| sum / count).collect();
    let variance = squares.iter().zip(&mean).map(|(square, mean)| {
        // Unbiased, as running variances are.
        ((square - count * mean * mean) / (count - 1.0f64).max(1.0)).max(0.0) as f32
    });
    let (var, mean) = (variance.collect(), mean.iter().map(|&mean| mean as f32).collect());
    Ok(BatchNorm { mean, var, start: 0.0, ..norm })
}
