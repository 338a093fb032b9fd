//! Pre-training as the encoder of a variational autoencoder: the baseline that
//! the papers compare with. Images without labels, as Hebbian pre-training.

use std::path::Path;

use hebbian_data::{Batch, Images, Skipped, batches};
use serde::Serialize;

use super::metrics::{Meter, is_due};
use super::pretrain::check_finite;
use super::{Checkpoint, Cursor, Event, Observer, RunFolder, VaeConfig};
use crate::engine::Device;
use crate::network::{Model, Network, Pretraining, Statistics, Tensors};
use crate::vae::{Losses, Vae, VaeTrainer, noise};
use crate::{Error, Result, floor};

/// The file of a checkpoint that holds what is no model, for messages.
const STATE: &str = "optimizer.safetensors";

/// A line of metrics: the mean since the line before.
#[derive(Serialize)]
struct Steps {
    lr: f64,
    batch_loss: f64,
}

/// A line of metrics at the end of an epoch: means over it.
#[derive(Serialize)]
struct Epoch {
    lr: f64,
    loss: f64,
    reconstruction: f64,
    divergence: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_loss: Option<f64>,
}

/// Pre-trains a model's layers as the encoder of a variational autoencoder
/// ([`crate::vae`]), on the CPU. Only images go in: labels cannot, by type.
/// The decoder is not kept.
///
/// The last epoch is kept; with `validation` images, that of their lowest loss,
/// as published.
///
/// With a run folder, checkpoints are written now and then and at the end of
/// each epoch, and `from` goes on from one to the same bits. Returns the model
/// and the images of the last epoch that could not be read.
///
/// # Errors
/// Bad settings, an empty set, numbers that diverge, or reading and writing;
/// [`Error::Stopped`] if the run was asked to stop.
pub fn pretrain_vae(
    mut model: Model,
    images: &Images,
    validation: Option<&Images>,
    config: &VaeConfig,
    mut run: Option<&mut RunFolder>,
    from: Option<Checkpoint>,
    observer: Observer<'_>,
) -> Result<(Model, Vec<Skipped>)> {
    config.check()?;
    if images.is_empty() || validation.is_some_and(Images::is_empty) {
        return Err(Error::Data("there are no images to pre-train on".into()));
    }
    let mut cursor = Cursor::default();
    let mut training;
    let mut skipped = Vec::new();
    if let Some(checkpoint) = from {
        let extra;
        Checkpoint { model, cursor, extra, skipped } = checkpoint;
        training = Training::new(&model, config);
        training.read(&model, &cursor, extra)?;
    } else {
        training = Training::new(&model, config);
        model.provenance.pretraining = Pretraining::Vae;
        if let Some(run) = run.as_deref_mut() {
            run.save(&model, &cursor, &training.write(&model))?;
        }
    }
    let steps = images.len().div_ceil(config.batch);
    let total = config.epochs * steps;
    let mut meter = Meter::new("vae", total, skipped, &Device::Cpu, run.is_some());
    let layers = model.network.spec.geometries()?;
    meter.set_floor(floor::vae(&layers, config.batch, config.latent), config.batch);
    observer(Event::Stage { name: "VAE pre-training", done: cursor.step, total });
    while cursor.epoch < config.epochs {
        run.as_deref().map_or(Ok(()), |run| run.go_on(cursor.step))?;
        meter.begin_epoch(&cursor);
        let rate = config.rate(cursor.epoch);
        let purpose = format!("shuffle/vae/{}", cursor.epoch);
        let order = images.shuffled(model.provenance.seed, &purpose);
        let order = order.skip(cursor.batch * config.batch);
        let mut stream = batches(images, order, config.batch, model.preprocess.size);
        for batch in &mut stream {
            let mut batch = batch?;
            let seen = training.step(&mut model, config, &batch, rate, cursor.step)?;
            let mut sums = Sums::of(&[]);
            sums.add(seen);
            cursor.add(sums.0);
            cursor.batch += 1;
            cursor.step += 1;
            meter.count(batch.rows.len(), &mut batch, &cursor, run.as_deref())?;
            let loss = |sums: &[f64]| Sums::of(sums).mean().total(config.beta);
            let text = format!("loss {:.3}", loss(&cursor.sums));
            observer(Event::Step { done: cursor.step, text });
            let Some(run) = run.as_deref_mut() else { continue };
            if is_due(cursor.step) {
                let line = Steps { lr: rate, batch_loss: loss(&cursor.recent) };
                meter.log(run, &cursor, &line)?;
                cursor.recent.clear();
            }
            if cursor.batch < steps && run.due(cursor.step) {
                training.check(&model.network, cursor.step)?;
                run.save(&model, &cursor, &training.write(&model))?;
                run.go_on(cursor.step)?;
            }
        }
        training.check(&model.network, cursor.step)?;
        let sums = Sums::of(&cursor.sums);
        let validation_loss = validation
            .map(|v| training.validate(&mut model, config, v, cursor.step))
            .transpose()?;
        if let Some(run) = run.as_deref() {
            let losses = sums.mean();
            let line = Epoch {
                lr: rate,
                loss: losses.total(config.beta),
                reconstruction: losses.reconstruction,
                divergence: losses.divergence,
                validation_loss,
            };
            meter.log(run, &cursor, &line)?;
        }
        model.provenance.pretrained_images = sums.images();
        model.provenance.pretrained_epochs += 1;
        cursor.epoch += 1;
        cursor.batch = 0;
        cursor.sums.clear();
        training.keep_best(&model.network, validation_loss, cursor.epoch);
        if let Some(run) = run.as_deref_mut() {
            run.save(&model, &cursor, &training.write(&model))?;
        }
    }
    observer(Event::End);
    if model.provenance.pretrained_images == 0 {
        return Err(Error::Data("none of the images could be read".into()));
    }
    if !meter.skipped.is_empty() {
        observer(Event::Skipped(&meter.skipped));
    }
    if let Some(best) = training.best {
        model.network = best.network;
        model.provenance.pretrained_epochs = best.epochs;
    }
    Ok((model, meter.skipped))
}

/// Sums over an epoch: reconstruction and divergence by image, and images.
struct Sums([f64; 3]);

impl Sums {
    fn of(saved: &[f64]) -> Self {
        Self(saved.try_into().unwrap_or_default())
    }

    fn add(&mut self, (losses, images): (Losses, usize)) {
        let images = images as f64;
        self.0[0] += losses.reconstruction * images;
        self.0[1] += losses.divergence * images;
        self.0[2] += images;
    }

    fn mean(&self) -> Losses {
        let [reconstruction, divergence, images] = self.0;
        let images = images.max(1.0);
        Losses { reconstruction: reconstruction / images, divergence: divergence / images }
    }

    fn images(&self) -> usize {
        self.0[2] as usize
    }
}

/// What a run holds beside its model.
struct Training {
    vae: Vae,
    trainer: VaeTrainer,
    best: Option<Best>,
    x: Vec<f32>,
}

/// The encoder of the lowest validation loss so far.
struct Best {
    /// In single precision, as a checkpoint holds it.
    loss: f32,
    /// Epochs it had learned.
    epochs: usize,
    network: Network,
}

impl Training {
    fn new(model: &Model, config: &VaeConfig) -> Self {
        let vae = Vae::new(&model.network, config.latent, model.provenance.seed);
        Self { vae, trainer: VaeTrainer::default(), best: None, x: Vec::new() }
    }

    /// One step; returns the losses before it, and of how many images.
    fn step(
        &mut self,
        model: &mut Model,
        config: &VaeConfig,
        batch: &Batch,
        rate: f64,
        step: usize,
    ) -> Result<(Losses, usize)> {
        let images = batch.rows.len();
        if images == 0 {
            return Ok((Losses::default(), 0));
        }
        model.preprocess.apply(batch, &mut self.x)?;
        let purpose = format!("vae-noise/{step}");
        let noise = noise(images * config.latent, model.provenance.seed, &purpose);
        let (encoder, vae) = (&mut model.network, &mut self.vae);
        let losses = self.trainer.gradients(encoder, vae, &self.x, &noise, config.beta);
        if !losses.total(config.beta).is_finite() {
            return Err(diverged(step + 1));
        }
        self.trainer.step(encoder, vae, &config.sgd(rate));
        Ok((losses, images))
    }

    /// Loss of images with the running statistics. The noise is the same for
    /// every epoch, so that epochs can be compared.
    fn validate(
        &mut self,
        model: &mut Model,
        config: &VaeConfig,
        images: &Images,
        step: usize,
    ) -> Result<f64> {
        let order = (0..images.len()).collect();
        let mut sums = Sums::of(&[]);
        let stream = batches(images, order, config.batch, model.preprocess.size);
        for (index, batch) in stream.enumerate() {
            let batch = batch?;
            if batch.rows.is_empty() {
                continue;
            }
            model.preprocess.apply(&batch, &mut self.x)?;
            let purpose = format!("vae-noise/validation/{index}");
            let images = batch.rows.len();
            let noise = noise(images * config.latent, model.provenance.seed, &purpose);
            let (encoder, vae, running) = (&mut model.network, &mut self.vae, Statistics::Running);
            sums.add((self.trainer.losses(encoder, vae, &self.x, &noise, running), images));
        }
        let loss = sums.mean().total(config.beta);
        if loss.is_finite() { Ok(loss) } else { Err(diverged(step)) }
    }

    fn keep_best(&mut self, network: &Network, loss: Option<f64>, epochs: usize) {
        let Some(loss) = loss.map(|loss| loss as f32) else { return };
        if self.best.as_ref().is_none_or(|best| loss < best.loss) {
            self.best = Some(Best { loss, epochs, network: network.clone() });
        }
    }

    /// Decoder, momentum and best encoder, for a checkpoint.
    fn write(&self, model: &Model) -> Tensors {
        let mut tensors = Tensors::default();
        self.vae.write(&mut tensors);
        self.trainer.write(&model.network, &self.vae, &mut tensors);
        if let Some(Best { loss, epochs, network }) = &self.best {
            tensors.insert("best.loss", &[1], &[*loss]);
            tensors.insert("best.epochs", &[1], &[*epochs as f32]);
            network.write("best.", &mut tensors);
        }
        tensors
    }

    fn read(&mut self, model: &Model, cursor: &Cursor, mut tensors: Tensors) -> Result<()> {
        let path = Path::new(STATE);
        self.vae.read(path, &mut tensors)?;
        if cursor.step > 0 {
            self.trainer.read(&model.network, &self.vae, path, &mut tensors)?;
        }
        if tensors.get("best.loss").is_some() {
            let loss = tensors.take(path, "best.loss", &[1])?[0];
            let epochs = tensors.take(path, "best.epochs", &[1])?[0] as usize;
            let Network { spec, projection, activation, .. } = &model.network;
            let (spec, like) = (spec.clone(), (*projection, *activation));
            let network = Network::read(spec, like.0, like.1, "best.", path, &mut tensors)?;
            self.best = Some(Best { loss, epochs, network });
        }
        Ok(())
    }

    /// Whether all numbers are finite, so that a checkpoint can be read again.
    fn check(&self, encoder: &Network, step: usize) -> Result<()> {
        check_finite(encoder, step)?;
        if self.vae.is_finite() { Ok(()) } else { Err(diverged(step)) }
    }
}

fn diverged(step: usize) -> Error {
    Error::Diverged { stage: "VAE pre-training", layer: "the decoder".into(), step }
}
