//! Fine-tuning: the whole network and a new classifier, with few labels.

use std::ops::Range;
use std::path::Path;

use hebbian_data::{Skipped, seed, shared_batches};
use rand::RngExt;
use rayon::prelude::*;
use serde::Serialize;

use super::evaluate::{right, score_with};
use super::metrics::{Meter, is_due};
use super::together::{check_same, read_by_all};
use super::{
    Checkpoint, Cursor, Event, FinetuneConfig, LabelledImages, Observer, Protocol, RunFolder,
};
use crate::collective::Group;
use crate::engine::{Device, Engine, SupervisedStep};
use crate::network::{Model, Tensors};
use crate::{Error, Result, floor};

/// The file of a checkpoint that holds what is no model, for messages.
const STATE: &str = "optimizer.safetensors";

/// Factors of dropout that one task draws.
const CHUNK: usize = 1 << 14;

/// A line of metrics: means since the line before.
#[derive(Serialize)]
struct Steps {
    lr: f64,
    batch_loss: f64,
    batch_accuracy: f64,
}

/// A line of metrics at the end of an epoch: means over it.
#[derive(Serialize)]
struct Epoch {
    lr: f64,
    loss: f64,
    train_accuracy: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_accuracy: Option<f64>,
}

/// Mean loss and accuracy from sums of loss, images classified right, and images.
fn means(sums: &[f64]) -> [f64; 2] {
    let &[loss, right, seen] = sums else { return [0.0; 2] };
    [loss, right].map(|sum| sum / seen.max(1.0))
}

/// Fine-tunes all layers of `model` (cut to where its features are taken)
/// and a new classifier, of the form that `config` says.
///
/// Under [`Protocol::Strict`] the last epoch is kept and `validation` must be
/// `None`; under [`Protocol::Published`] the epoch that classifies
/// `validation` best is.
///
/// Several processes train together as in [`super::pretrain()`].
///
/// # Errors
/// Bad settings; no images, fewer than two classes, or labels beyond
/// `classes`; a loss that is not finite; reading and writing;
/// [`Error::Stopped`] if the run was asked to stop.
#[allow(clippy::too_many_arguments)]
pub fn finetune(
    mut model: Model,
    train: &LabelledImages,
    validation: Option<&LabelledImages>,
    classes: &[String],
    config: &FinetuneConfig,
    device: &Device,
    mut run: Option<&mut RunFolder>,
    from: Option<Checkpoint>,
    observer: Observer<'_>,
) -> Result<(Model, Vec<Skipped>)> {
    config.check()?;
    check_labels(train, classes)?;
    if validation.is_some() != (config.protocol == Protocol::Published) {
        let problem = "published needs validation labels, strict must not see any";
        return Err(Error::config("finetune.protocol", problem));
    }
    let (mut engine, group) = (device.engine(), device.group());
    let mut cursor = Cursor::default();
    let mut best: Option<Best> = None;
    let mut skipped = Vec::new();
    if let Some(checkpoint) = from {
        let mut extra;
        Checkpoint { model, cursor, extra, skipped } = checkpoint;
        if cursor.step > 0 {
            let path = Path::new(STATE);
            let Some(head) = &model.head else {
                return Err(Error::file(path, "is a checkpoint without a classifier"));
            };
            best = Best::read(&model, path, &mut extra)?;
            engine.set_momentum(&model.network, head, path, extra)?;
        }
    } else {
        let features = model.network.feature_len(model.network.depth());
        let seed = model.provenance.seed;
        model.head = Some(config.classifier.init(features, classes.len(), seed)?);
        model.classes = classes.to_vec();
        model.provenance.labels = train.labels.len();
        model.provenance.protocol = match config.protocol {
            Protocol::Strict => "strict".into(),
            Protocol::Published => "published".into(),
        };
        if let Some(run) = run.as_deref_mut() {
            run.save(&model, &cursor, &Tensors::default())?;
        }
    }
    let steps = train.images.len().div_ceil(config.batch);
    observer(Event::Stage { name: "fine-tuning", done: cursor.step, total: config.epochs * steps });
    let mut meter = Meter::new("finetune", config.epochs * steps, skipped, device, run.is_some());
    if let Some(head) = &model.head {
        let layers = model.network.spec.geometries()?;
        meter.set_floor(floor::supervised(&layers, config.batch, head.macs()), config.batch);
    }
    while cursor.epoch < config.epochs {
        run.as_deref().map_or(Ok(()), |run| run.go_on(cursor.step))?;
        meter.begin_epoch(&cursor);
        let rate = config.rate(cursor.epoch);
        let purpose = format!("shuffle/finetune/{}", cursor.epoch);
        let order = train.images.shuffled(model.provenance.seed, &purpose);
        let order = order.skip(cursor.batch * config.batch);
        let (seed, purpose) = (model.provenance.seed, format!("finetune/{}", cursor.epoch));
        let images = train.images.augmented(config.augment, seed, &purpose);
        let (share, size) = (group.share(), model.preprocess.size);
        let mut stream = shared_batches(&images, order, config.batch, share, size);
        let mut x = Vec::new();
        for batch in &mut stream {
            let mut batch = batch?;
            let mut found = [0.0; 3];
            let rows = read_by_all(&group, &mut batch)?;
            let seen: usize = rows.iter().sum();
            if seen > 0 {
                model.preprocess.apply(&batch, &mut x)?;
                let labels: Vec<u32> = batch.rows.iter().map(|&row| train.labels[row]).collect();
                let before = rows[..group.rank()].iter().sum();
                let part = Part { x: &x, labels: &labels, before };
                let (loss, right) =
                    step(&mut model, engine.as_mut(), config, &part, rate, cursor.step)?;
                found = [loss * seen as f64, group.count(right) as f64, seen as f64];
            }
            cursor.add(found);
            cursor.batch += 1;
            cursor.step += 1;
            meter.count(seen, &mut batch, &cursor, run.as_deref())?;
            let text = format!("loss {:.3}", means(&cursor.sums)[0]);
            observer(Event::Step { done: cursor.step, text });
            let Some(run) = run.as_deref_mut() else { continue };
            if is_due(cursor.step) {
                let [batch_loss, batch_accuracy] = means(&cursor.recent);
                meter.log(run, &cursor, &Steps { lr: rate, batch_loss, batch_accuracy })?;
                cursor.recent.clear();
            }
            if cursor.batch < steps && run.due(cursor.step) {
                save(run, &mut model, engine.as_mut(), &cursor, best.as_ref())?;
                run.go_on(cursor.step)?;
            }
        }
        check_same(&group, &model)?;
        let mut validation_accuracy = None;
        if let Some(validation) = validation {
            // The classifier is applied on the host.
            engine.fetch(&mut model.network, model.head.as_mut())?;
            let value = validate(&model, validation, engine.as_mut(), &group)?;
            validation_accuracy = Some(value);
            if best.as_ref().is_none_or(|best| value > best.accuracy) {
                best = Some(Best { accuracy: value, model: model.clone() });
            }
        }
        if let Some(run) = run.as_deref() {
            let [loss, train_accuracy] = means(&cursor.sums);
            let line = Epoch { lr: rate, loss, train_accuracy, validation_accuracy };
            meter.log(run, &cursor, &line)?;
        }
        cursor.epoch += 1;
        cursor.batch = 0;
        cursor.sums.clear();
        if let Some(run) = run.as_deref_mut().filter(|run| run.due(cursor.step)) {
            save(run, &mut model, engine.as_mut(), &cursor, best.as_ref())?;
        }
    }
    engine.fetch(&mut model.network, model.head.as_mut())?;
    observer(Event::End);
    if meter.skipped.len() == train.images.len() {
        return Err(Error::Data("none of the labelled images could be read".into()));
    }
    if !meter.skipped.is_empty() {
        observer(Event::Skipped(&meter.skipped));
    }
    Ok((best.map_or(model, |best| best.model), meter.skipped))
}

/// The model of the best epoch so far, under the published protocol.
struct Best {
    /// Share of the validation images that it classifies right.
    accuracy: f64,
    model: Model,
}

impl Best {
    /// Adds it to the state of a checkpoint.
    fn write(&self, tensors: &mut Tensors) {
        // A double does not fit into the tensors of a checkpoint, its bytes do.
        let bytes = self.accuracy.to_le_bytes().map(f32::from);
        tensors.insert("best.accuracy", &[bytes.len()], &bytes);
        self.model.write_learned("best.", tensors);
    }

    /// Takes it out again, if there is one; `like` is the run's own model.
    fn read(like: &Model, path: &Path, tensors: &mut Tensors) -> Result<Option<Self>> {
        if tensors.get("best.accuracy").is_none() {
            return Ok(None);
        }
        let bytes = tensors.take(path, "best.accuracy", &[8])?;
        let bytes: Vec<u8> = bytes.into_iter().map(|byte| byte as u8).collect();
        let accuracy = f64::from_le_bytes(bytes.try_into().unwrap_or_default());
        let mut model = like.clone();
        model.read_learned("best.", path, tensors)?;
        Ok(Some(Self { accuracy, model }))
    }
}

/// Accuracy on validation images, of which each process takes its share.
fn validate(
    model: &Model,
    validation: &LabelledImages,
    engine: &mut dyn Engine,
    group: &Group,
) -> Result<f64> {
    let own = group.share().rows(validation.images.len());
    let images = validation.images.subset(&own.clone().collect::<Vec<_>>());
    let mut unseen = |_: Event<'_>| {};
    let scores = score_with(model, &images, engine, ("validation", &mut unseen))?;
    let label = |row: usize| validation.labels.get(own.start + row).copied();
    let (right, all) = right(&scores, 1, label);
    Ok(group.count(right) as f64 / group.count(all).max(1) as f64)
}

/// What a process has of a batch.
struct Part<'a> {
    /// Input, rows x height x width x 3.
    x: &'a [f32],
    /// Class of each row.
    labels: &'a [u32],
    /// Rows of the batch that other processes have before these.
    before: usize,
}

/// One step; returns the whole batch's mean loss, and how many rows of this part
/// were classified right.
fn step(
    model: &mut Model,
    engine: &mut dyn Engine,
    config: &FinetuneConfig,
    part: &Part<'_>,
    rate: f64,
    step: usize,
) -> Result<(f64, usize)> {
    let &Part { x, labels, before } = part;
    let Some(head) = &mut model.head else {
        return Err(Error::Data("the model has no classifier".into()));
    };
    let inputs = head.out.inputs();
    let (drawn, purpose) = (before * inputs, format!("dropout/{step}"));
    let own = drawn..drawn + labels.len() * inputs;
    let keep = dropout(config.dropout, own, model.provenance.seed, &purpose);
    let sgd = config.sgd(rate);
    let supervised = SupervisedStep { x, labels, keep: &keep, sgd };
    let (loss, scores) = engine.supervised_step(&mut model.network, head, &supervised)?;
    if !loss.is_finite() {
        let layer = format!("L{}", model.network.depth());
        return Err(Error::Diverged { stage: "fine-tuning", layer, step: step + 1 });
    }
    let rows = scores.chunks_exact(head.classes()).zip(labels);
    let right = rows.filter(|(scores, label)| {
        let own = scores[**label as usize];
        scores.iter().all(|&s| s <= own)
    });
    Ok((loss, right.count()))
}

/// Writes a checkpoint.
fn save(
    run: &mut RunFolder,
    model: &mut Model,
    engine: &mut dyn Engine,
    cursor: &Cursor,
    best: Option<&Best>,
) -> Result<()> {
    engine.fetch(&mut model.network, model.head.as_mut())?;
    let mut state = match &model.head {
        Some(head) => engine.momentum(&model.network, head)?,
        None => Tensors::default(),
    };
    if let Some(best) = best {
        best.write(&mut state);
    }
    run.save(model, cursor, &state)
}

/// Factors of dropout: 0 with probability `p`, else `1 / (1 - p)`; from the
/// stream `purpose` of `seed`, of which those at `own` are wanted; empty where
/// nothing is dropped.
pub(super) fn dropout(p: f64, own: Range<usize>, seed: u64, purpose: &str) -> Vec<f32> {
    if p == 0.0 {
        return Vec::new();
    }
    let stream = seed::stream(seed, purpose);
    let bound = (p * f64::from(u32::MAX)) as u32;
    let keep = (1.0 / (1.0 - p)) as f32;
    let mut factors = vec![0.0; own.len()];
    factors.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, factors)| {
        let mut rng = stream.clone();
        rng.set_word_pos((own.start + chunk * CHUNK) as u128);
        // Drawn apart from comparing, which then is done many at a time, and by a
        // product: a branch would be guessed wrong every other time.
        let mut drawn = [0u32; 256];
        for factors in factors.chunks_mut(drawn.len()) {
            let drawn = &mut drawn[..factors.len()];
            rng.fill(drawn);
            for (factor, &drawn) in factors.iter_mut().zip(&*drawn) {
                *factor = f32::from(u8::from(drawn >= bound)) * keep;
            }
        }
    });
    factors
}

/// Whether a classifier can be trained: at least one image, a label for each,
/// none beyond `classes`, and two classes among them.
///
/// # Errors
/// [`Error::Data`] says which of these fails.
pub fn check_labels(train: &LabelledImages, classes: &[String]) -> Result<()> {
    if train.images.is_empty() {
        return Err(Error::Data("there are no labelled images to fine-tune with".into()));
    }
    if train.labels.len() != train.images.len() {
        let (labels, images) = (train.labels.len(), train.images.len());
        return Err(Error::Data(format!("there are {labels} labels for {images} images")));
    }
    let mut used = vec![false; classes.len()];
    for &label in &train.labels {
        match used.get_mut(label as usize) {
            Some(used) => *used = true,
            None => {
                let classes = classes.len();
                return Err(Error::Data(format!("label {label} is beyond the {classes} classes")));
            }
        }
    }
    if used.iter().filter(|used| **used).count() < 2 {
        let problem = "all labelled images are of one class; a classifier needs at least two";
        return Err(Error::Data(problem.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_is_one_stream_whoever_draws_which_part_of_it() {
        let all: Vec<f32> = {
            let mut rng = seed::stream(3, "dropout/7");
            let half = 1 << 31;
            (0..50_000).map(|_| if rng.random::<u32>() < half - 1 { 0.0 } else { 2.0 }).collect()
        };
        assert_eq!(dropout(0.5, 0..50_000, 3, "dropout/7"), all);
        assert_eq!(dropout(0.5, 777..40_001, 3, "dropout/7"), all[777..40_001]);
        assert!(dropout(0.0, 0..9, 3, "dropout/7").is_empty());
    }
}
