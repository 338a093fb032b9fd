//! Settings of training, with the published defaults.

use hebbian_data::{Augmentation, Images, Size};
use serde::{Deserialize, Serialize};

use crate::engine::Sgd;
use crate::error::{Error, Result};
use crate::network::HeadKind;

/// Learning rate of every layer, or one for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a learning rate is a number, a list of one number a layer, or { over_patch = N }"
)]
pub enum LayerRates {
    /// The same for all.
    All(f64),
    /// `L1` first.
    Each(Vec<f64>),
    /// So much over the length of the layer's patches: a rule that subtracts
    /// what its weights explain is stable up to a rate in this proportion.
    OverPatch {
        /// Rate times length of a patch.
        over_patch: f64,
    },
}

impl LayerRates {
    /// The rate of layer `index`, from 0, whose patches have so many numbers.
    pub fn of(&self, index: usize, patch_len: usize) -> f64 {
        match self {
            Self::All(rate) => *rate,
            Self::Each(rates) => rates.get(index).copied().unwrap_or(0.0),
            Self::OverPatch { over_patch } => over_patch / patch_len.max(1) as f64,
        }
    }
}

/// Order in which layers learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PretrainOrder {
    /// All layers at once, each from what the layer below gives at the moment
    /// (published).
    Together,
    /// One after the other: a layer learns all its epochs, then stays.
    Successive,
}

/// How the learning rate of pre-training goes on from its first value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// It stays (published).
    #[default]
    Constant,
    /// It falls to 0, by the same amount at every step of the layer's epochs.
    Linear,
}

impl Schedule {
    /// What the first rate is multiplied by at step `step` (from 0) of `steps`.
    pub fn factor(self, step: usize, steps: usize) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - step as f64 / steps.max(1) as f64,
        }
    }

    /// Whether it is the published one.
    pub fn is_constant(&self) -> bool {
        *self == Self::Constant
    }
}

/// Settings of Hebbian pre-training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainConfig {
    /// Passes over the images (over each layer's turn, where successive).
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// Learning rate; 0 leaves the random weights and measures the running
    /// statistics alone, the baseline of every figure.
    pub lr: LayerRates,
    /// How the rate goes on from there.
    #[serde(skip_serializing_if = "Schedule::is_constant")]
    pub schedule: Schedule,
    /// Order in which layers learn.
    pub order: PretrainOrder,
    /// Stop when no layer's weights changed by more than this, relative to
    /// their norm, in an epoch; 0 to run all epochs.
    pub tolerance: f64,
    /// How images are changed at random, anew in each epoch.
    #[serde(skip_serializing_if = "Augmentation::is_none")]
    pub augment: Augmentation,
}

impl Default for PretrainConfig {
    /// 2 epochs, batches of 64, constant learning rate 1e-3, all layers
    /// together, no early stop.
    fn default() -> Self {
        let (lr, schedule) = (LayerRates::All(1e-3), Schedule::Constant);
        let (order, augment) = (PretrainOrder::Together, Augmentation::None);
        Self { epochs: 2, batch: 64, lr, schedule, order, tolerance: 0.0, augment }
    }
}

impl PretrainConfig {
    /// Checks every field, for a network of `layers` layers.
    pub fn check(&self, layers: usize) -> Result<()> {
        in_range("pretrain.epochs", self.epochs, 1, 100_000)?;
        in_range("pretrain.batch", self.batch, 1, 1 << 16)?;
        match &self.lr {
            LayerRates::All(rate) | LayerRates::OverPatch { over_patch: rate } => {
                number("pretrain.lr", *rate, 0.0, 1e3)?;
            }
            LayerRates::Each(rates) if rates.len() != layers => {
                let problem = format!("has {} numbers for {layers} layers", rates.len());
                return Err(Error::config("pretrain.lr", problem));
            }
            LayerRates::Each(rates) => {
                rates.iter().try_for_each(|&rate| number("pretrain.lr", rate, 0.0, 1e3))?;
            }
        }
        number("pretrain.tolerance", self.tolerance, 0.0, 1e3)
    }
}

/// Which labels fine-tuning may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// The labels it trains on and no other; the last epoch is kept.
    Strict,
    /// As the published code: the epoch with the best accuracy on the
    /// validation images is kept, whose labels count as known.
    Published,
}

/// Settings of fine-tuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneConfig {
    /// Passes over the labelled images.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// Learning rate of the first epoch.
    pub lr: f64,
    /// First epoch (from 1) after which the rate is multiplied by `gamma`,
    /// and again after each following one.
    pub decay_after: usize,
    /// Factor of that decay.
    pub gamma: f64,
    /// Nesterov momentum.
    pub momentum: f64,
    /// Weight decay of every parameter.
    pub weight_decay: f64,
    /// Share of the inputs of the classifier's last layer (features, or hidden
    /// units) dropped.
    pub dropout: f64,
    /// Which labels may be looked at.
    pub protocol: Protocol,
    /// How images are changed at random, anew in each epoch.
    #[serde(skip_serializing_if = "Augmentation::is_none")]
    pub augment: Augmentation,
    /// Form of the classifier: `"linear"` or `{ hidden = 256 }`.
    #[serde(skip_serializing_if = "HeadKind::is_linear")]
    pub classifier: HeadKind,
}

impl Default for FinetuneConfig {
    /// As published for CIFAR-10: 20 epochs, batches of 64, learning rate
    /// 1e-3 halved after epochs 10 to 19, momentum 0.9, weight decay 0.05,
    /// dropout 0.5; protocol `strict`; a linear classifier.
    fn default() -> Self {
        Self {
            epochs: 20,
            batch: 64,
            lr: 1e-3,
            decay_after: 10,
            gamma: 0.5,
            momentum: 0.9,
            weight_decay: 5e-2,
            dropout: 0.5,
            protocol: Protocol::Strict,
            augment: Augmentation::None,
            classifier: HeadKind::Linear,
        }
    }
}

impl FinetuneConfig {
    /// The optimiser at learning rate `lr`.
    pub fn sgd(&self, lr: f64) -> Sgd {
        let (momentum, weight_decay) = (self.momentum as f32, self.weight_decay as f32);
        Sgd { lr: lr as f32, momentum, weight_decay }
    }

    /// Checks every field.
    pub fn check(&self) -> Result<()> {
        in_range("finetune.epochs", self.epochs, 1, 100_000)?;
        in_range("finetune.batch", self.batch, 1, 1 << 16)?;
        in_range("finetune.decay_after", self.decay_after, 1, 100_000)?;
        number("finetune.lr", self.lr, 0.0, 1e3)?;
        number("finetune.gamma", self.gamma, 0.0, 1.0)?;
        number("finetune.momentum", self.momentum, 0.0, 0.9999)?;
        number("finetune.weight_decay", self.weight_decay, 0.0, 1e3)?;
        number("finetune.dropout", self.dropout, 0.0, 0.99)?;
        self.classifier.check("finetune.classifier")
    }

    /// Learning rate of epoch `epoch`, from 0.
    pub fn rate(&self, epoch: usize) -> f64 {
        decayed(self.lr, self.gamma, self.decay_after, epoch)
    }
}

/// Settings of pre-training as the encoder of a variational autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VaeConfig {
    /// Passes over the images.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// Learning rate of the first epoch.
    pub lr: f64,
    /// First epoch (from 1) after which the rate is multiplied by `gamma`,
    /// and again after each following one.
    pub decay_after: usize,
    /// Factor of that decay.
    pub gamma: f64,
    /// Nesterov momentum.
    pub momentum: f64,
    /// Weight decay of every parameter.
    pub weight_decay: f64,
    /// Length of the latent vector.
    pub latent: usize,
    /// Weight of the Kullback-Leibler divergence beside the mean squared error.
    pub beta: f64,
}

impl Default for VaeConfig {
    /// As published: 20 epochs, batches of 64, learning rate 1e-3 halved after
    /// epochs 10 to 19, momentum 0.9, no weight decay, 256 latent numbers,
    /// beta 0.5.
    fn default() -> Self {
        Self {
            epochs: 20,
            batch: 64,
            lr: 1e-3,
            decay_after: 10,
            gamma: 0.5,
            momentum: 0.9,
            weight_decay: 0.0,
            latent: 256,
            beta: 0.5,
        }
    }
}

impl VaeConfig {
    /// The optimiser at learning rate `lr`.
    pub fn sgd(&self, lr: f64) -> Sgd {
        let (momentum, weight_decay) = (self.momentum as f32, self.weight_decay as f32);
        Sgd { lr: lr as f32, momentum, weight_decay }
    }

    /// Checks every field.
    pub fn check(&self) -> Result<()> {
        in_range("vae.epochs", self.epochs, 1, 100_000)?;
        in_range("vae.batch", self.batch, 1, 1 << 16)?;
        in_range("vae.decay_after", self.decay_after, 1, 100_000)?;
        in_range("vae.latent", self.latent, 1, 1 << 14)?;
        number("vae.lr", self.lr, 0.0, 1e3)?;
        number("vae.gamma", self.gamma, 0.0, 1.0)?;
        number("vae.momentum", self.momentum, 0.0, 0.9999)?;
        number("vae.weight_decay", self.weight_decay, 0.0, 1e3)?;
        number("vae.beta", self.beta, 0.0, 1e6)
    }

    /// Learning rate of epoch `epoch`, from 0.
    pub fn rate(&self, epoch: usize) -> f64 {
        decayed(self.lr, self.gamma, self.decay_after, epoch)
    }
}

/// Settings of pre-training by principal components.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PcaConfig {
    /// Most images that are looked at, a random choice where there are more.
    pub images: usize,
    /// Patches drawn for a layer, over the length of one, as far as the images
    /// have so many.
    pub patches: usize,
}

impl Default for PcaConfig {
    /// 2,000 images, 20 times as many patches as a patch has numbers.
    fn default() -> Self {
        Self { images: 2000, patches: 20 }
    }
}

impl PcaConfig {
    /// The positions of the images that are looked at, or of the first `most` of
    /// them that `seed` draws.
    pub fn draw(&self, images: &Images, most: usize, seed: u64) -> Vec<usize> {
        images.drawn(most.min(self.images), seed, "pca")
    }

    /// The same images, of which those that are looked at stay in memory once they
    /// have been decoded to `size`, where they take at most 256 MiB: there are
    /// several passes over them, and what takes longest may be decoding.
    #[must_use]
    pub fn keep(&self, images: &Images, seed: u64, size: Size) -> Images {
        const MOST: usize = 256 << 20;
        let few = self.images.min(images.len());
        let fits = size.bytes().saturating_mul(few) <= MOST;
        if fits { images.kept(&self.draw(images, few, seed), size) } else { images.clone() }
    }

    /// Checks every field.
    pub fn check(&self) -> Result<()> {
        in_range("pca.images", self.images, 1, 1 << 32)?;
        in_range("pca.patches", self.patches, 1, 100_000)
    }
}

/// `lr` times `gamma` for each epoch from `after` (from 1) to `epoch` (from 0).
fn decayed(lr: f64, gamma: f64, after: usize, epoch: usize) -> f64 {
    let times = (epoch + 1).saturating_sub(after).min(1 << 16);
    lr * gamma.powi(i32::try_from(times).unwrap_or(i32::MAX))
}

fn in_range(field: &str, value: usize, low: usize, high: usize) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::config(field, format!("is {value}; it must be {low} to {high}")))
}

fn number(field: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::config(field, format!("is {value}; it must be a number from {low} to {high}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classifier_in_toml() {
        let read = |text: &str| toml::from_str::<FinetuneConfig>(text);
        assert_eq!(read("classifier = \"linear\"").unwrap(), FinetuneConfig::default());
        let hidden = read("classifier = { hidden = 256 }").unwrap();
        assert_eq!(hidden.classifier, HeadKind::Hidden(256));
        let text = toml::to_string(&hidden).unwrap();
        assert_eq!(read(&text).unwrap(), hidden, "{text}");
        // Written as it was before there was a choice, so that runs of then go on.
        assert!(!toml::to_string(&FinetuneConfig::default()).unwrap().contains("classifier"));
        let unknown = read("classifier = \"mlp\"").unwrap_err().to_string();
        assert!(unknown.contains("mlp") && unknown.contains("hidden"), "{unknown}");
        let none = read("classifier = { hidden = 0 }").unwrap().check().unwrap_err().to_string();
        assert_eq!(none, "finetune.classifier.hidden: is 0; it must be 1 to 65536");
    }

    #[test]
    fn schedules_of_pretraining() {
        let rates = |schedule: Schedule| [0, 1, 3].map(|step| schedule.factor(step, 4));
        assert_eq!(rates(Schedule::Constant), [1.0; 3]);
        assert_eq!(rates(Schedule::Linear), [1.0, 0.75, 0.25]);
        let read = |text: &str| toml::from_str::<PretrainConfig>(text);
        let linear = read("schedule = \"linear\"").unwrap();
        assert_eq!(read(&toml::to_string(&linear).unwrap()).unwrap(), linear);
        // The published one is not written, as before there was a choice.
        assert!(!toml::to_string(&PretrainConfig::default()).unwrap().contains("schedule"));
        assert!(read("schedule = \"cosine\"").unwrap_err().to_string().contains("linear"));
    }

    #[test]
    fn the_published_schedule() {
        let config = FinetuneConfig::default();
        let rates: Vec<f64> = (0..20).map(|epoch| config.rate(epoch)).collect();
        // Epochs 1 to 10 at 1e-3, epoch 11 at half of it, epoch 20 at 2^-10 of it.
        assert_eq!(rates[..10], [1e-3; 10]);
        assert_eq!(rates[10], 1e-3 * 0.5);
        assert_eq!(rates[19], 1e-3 * 0.5f64.powi(10));
        let of_vae = VaeConfig::default();
        assert_eq!((0..20).map(|epoch| of_vae.rate(epoch)).collect::<Vec<_>>(), rates);
    }
}
