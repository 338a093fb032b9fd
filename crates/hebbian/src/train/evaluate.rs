//! Streaming images through a model: features, scores, accuracy.

use std::borrow::Cow;

use hebbian_data::{Images, Order, Skipped, batches};

use super::{Event, Observer};
use crate::engine::{Device, Engine};
use crate::network::{FeatureLayer, Model};
use crate::{Error, Result};

/// Images a step of inference, at most.
const BATCH: usize = 128;
/// Numbers in a step's largest map, at most (256 MiB), but for that of one image.
const MAP: usize = 64 << 20;

/// Streams images through the model and hands over the rows (positions in
/// `images`) and features (rows x feature length) of each batch, in order.
/// Memory is bounded by the batch.
///
/// # Errors
/// If `model` has no such layer, or what reading or `take` fails with;
/// unreadable images are skipped, told to the observer and returned.
pub fn for_each_features(
    model: &Model,
    layer: FeatureLayer,
    images: &Images,
    device: &Device,
    name: &str,
    observer: Observer<'_>,
    mut take: impl FnMut(&[usize], Vec<f32>) -> Result<()>,
) -> Result<Vec<Skipped>> {
    let depth = layer.depth(model);
    for_each_map(model, depth, images, device, name, observer, |rows, map| {
        take(rows, layer.features(model, map)?)
    })
}

/// Streams images through the first `depth` layers of the model and hands over
/// the rows and maps of each batch, as [`for_each_features`] does. All features
/// of that depth can be had from one map: [`FeatureLayer::features`].
///
/// # Shapes
/// Each map: rows x numbers of the map of layer `depth` (the input itself at
/// depth 0).
///
/// # Errors
/// As [`for_each_features`].
pub fn for_each_map(
    model: &Model,
    depth: usize,
    images: &Images,
    device: &Device,
    name: &str,
    observer: Observer<'_>,
    take: impl FnMut(&[usize], Cow<'_, [f32]>) -> Result<()>,
) -> Result<Vec<Skipped>> {
    let all = (images, (0..images.len()).collect());
    stream_maps(model, depth, all, device.engine().as_mut(), (name, observer), take)
}

/// [`for_each_map`] of some images, in their order, through an engine that may
/// hold the network already.
pub(super) fn stream_maps(
    model: &Model,
    depth: usize,
    (images, order): (&Images, Order),
    engine: &mut dyn Engine,
    (name, observer): (&str, Observer<'_>),
    mut take: impl FnMut(&[usize], Cow<'_, [f32]>) -> Result<()>,
) -> Result<Vec<Skipped>> {
    observer(Event::Stage { name, done: 0, total: order.len() });
    let mut stream = batches(images, order, images_a_step(model), model.preprocess.size);
    let (mut done, mut x) = (0, Vec::new());
    for batch in &mut stream {
        let batch = batch?;
        if batch.rows.is_empty() {
            continue;
        }
        model.preprocess.apply(&batch, &mut x)?;
        let map = match depth {
            0 => Cow::Borrowed(&x[..]),
            depth => Cow::Owned(engine.features(&model.network, depth, &x)?),
        };
        done += batch.rows.len();
        take(&batch.rows, map)?;
        observer(Event::Step { done, text: String::new() });
    }
    observer(Event::End);
    let skipped = stream.skipped();
    if !skipped.is_empty() {
        observer(Event::Skipped(&skipped));
    }
    Ok(skipped)
}

/// How many images go through the network at once: fewer where their maps are large.
fn images_a_step(model: &Model) -> usize {
    let lens = model.network.blocks.iter().flat_map(|block| {
        let g = &block.geometry;
        [g.input_len(), g.output_len()]
    });
    (MAP / lens.max().unwrap_or(1)).clamp(1, BATCH)
}

/// Scores of images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Positions of the images that could be read.
    pub rows: Vec<usize>,
    /// Scores, rows x classes.
    pub scores: Vec<f32>,
    /// Number of classes.
    pub classes: usize,
    /// The images that could not be read.
    pub skipped: Vec<Skipped>,
}

/// Scores of images by a fine-tuned model.
///
/// # Errors
/// If the model has no classifier, or reading fails.
pub fn score(
    model: &Model,
    images: &Images,
    device: &Device,
    name: &str,
    observer: Observer<'_>,
) -> Result<Scores> {
    score_with(model, images, device.engine().as_mut(), (name, observer))
}

/// [`score`] through an engine that may hold the network already.
pub(super) fn score_with(
    model: &Model,
    images: &Images,
    engine: &mut dyn Engine,
    stage: (&str, Observer<'_>),
) -> Result<Scores> {
    let Some(head) = &model.head else {
        return Err(Error::Data("the model has no classifier; fine-tune it first".into()));
    };
    let mut result = Scores { classes: head.classes(), ..Scores::default() };
    let depth = model.network.depth();
    let all = (images, (0..images.len()).collect());
    let skipped = stream_maps(model, depth, all, engine, stage, |rows, map| {
        result.rows.extend(rows);
        result.scores.extend(head.scores(&map));
        Ok(())
    })?;
    result.skipped = skipped;
    Ok(result)
}

/// Share of images whose class is among the `k` highest scores; ties go to
/// the lower class. `label` gives the class of an image by its position.
pub fn accuracy(scores: &Scores, k: usize, label: impl Fn(usize) -> Option<u32>) -> f64 {
    let (right, all) = right(scores, k, label);
    right as f64 / all.max(1) as f64
}

/// How many images these are, and how many of all.
pub(super) fn right(
    scores: &Scores,
    k: usize,
    label: impl Fn(usize) -> Option<u32>,
) -> (usize, usize) {
    let (mut right, mut all) = (0usize, 0usize);
    for (&row, scores) in scores.rows.iter().zip(scores.scores.chunks_exact(scores.classes)) {
        let Some(label) = label(row) else { continue };
        all += 1;
        let Some(&own) = scores.get(label as usize) else { continue };
        let ahead = scores
            .iter()
            .enumerate()
            .filter(|&(class, &s)| s > own || (s == own && class < label as usize))
            .count();
        right += usize::from(ahead < k);
    }
    (right, all)
}
