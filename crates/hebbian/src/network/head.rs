//! The classifier on top of a network: a linear layer, or a hidden layer and
//! a linear one.

use std::path::Path;

use hebbian_data::seed;
use serde::{Deserialize, Serialize};

use super::{BatchNorm, Linear, NormKind, Tensors};
use crate::error::{Error, Result};
use crate::ops::rectify;

/// Most units of a hidden layer.
const MAX_HIDDEN: usize = 1 << 16;
/// Most weights of a hidden layer: 4 GiB.
const MAX_WEIGHTS: usize = 1 << 30;

/// Form of a classifier; in TOML `"linear"` or `{ hidden = 256 }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// One linear layer.
    #[default]
    Linear,
    /// A hidden layer of so many units (published for retrieval: 256), then a
    /// linear layer.
    Hidden(usize),
}

impl HeadKind {
    /// Units of the published code for retrieval.
    pub const PUBLISHED_HIDDEN: usize = 256;

    /// Whether it has no hidden layer.
    pub fn is_linear(&self) -> bool {
        *self == Self::Linear
    }

    /// Checks the number of hidden units; `field` names it in the message.
    pub fn check(self, field: &str) -> Result<()> {
        match self {
            Self::Hidden(units) if !(1..=MAX_HIDDEN).contains(&units) => {
                let problem = format!("is {units}; it must be 1 to {MAX_HIDDEN}");
                Err(Error::config(format!("{field}.hidden"), problem))
            }
            _ => Ok(()),
        }
    }

    /// A classifier with random weights.
    ///
    /// # Errors
    /// If the number of hidden units is out of range, or theirs and the
    /// features' product is; the message names `finetune.classifier`.
    pub fn init(self, features: usize, classes: usize, seed: u64) -> Result<Head> {
        self.check("finetune.classifier")?;
        let Self::Hidden(units) = self else { return Ok(Head::new(features, classes, seed)) };
        if units.checked_mul(features).is_none_or(|n| n > MAX_WEIGHTS) {
            let problem = format!(
                "is {units}, which makes more than {MAX_WEIGHTS} weights of {features} features"
            );
            return Err(Error::config("finetune.classifier.hidden", problem));
        }
        let linear = Linear::new(features, units, &mut seed::stream(seed, "init/head/hidden"));
        let hidden = Hidden { linear, norm: BatchNorm::new(NormKind::Batch, units) };
        Ok(Head { hidden: Some(hidden), ..Head::new(units, classes, seed) })
    }
}

/// From features to the scores of classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The hidden layer, where there is one.
    pub hidden: Option<Hidden>,
    /// From features, or hidden units, to scores.
    pub out: Linear,
}

/// The hidden layer of a classifier: linear, ReLU, batch normalisation, as the
/// published code's retrieval has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Hidden {
    /// Its weights.
    pub linear: Linear,
    /// Normalisation of the rectified units.
    pub norm: BatchNorm,
}

impl Hidden {
    /// The rectified units, before normalisation.
    ///
    /// # Shapes
    /// `features`: batch x feature length; result: batch x units.
    pub(crate) fn rectified(&self, features: &[f32]) -> Vec<f32> {
        let mut units = self.linear.forward(features);
        rectify(&mut units);
        units
    }
}

impl From<Linear> for Head {
    fn from(out: Linear) -> Self {
        Self { hidden: None, out }
    }
}

impl Head {
    /// A linear classifier with random weights and bias, uniform in
    /// `+-1/sqrt(features)`, from the stream `init/head` of `seed`.
    pub fn new(features: usize, classes: usize, seed: u64) -> Self {
        Linear::new(features, classes, &mut seed::stream(seed, "init/head")).into()
    }

    /// Its form.
    pub fn kind(&self) -> HeadKind {
        match &self.hidden {
            None => HeadKind::Linear,
            Some(hidden) => HeadKind::Hidden(hidden.linear.outputs()),
        }
    }

    /// Length of the features it takes.
    pub fn features(&self) -> usize {
        self.hidden.as_ref().map_or(&self.out, |hidden| &hidden.linear).inputs()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.out.outputs()
    }

    /// Multiply-accumulates from an image's features to its scores.
    pub fn macs(&self) -> usize {
        let layers = self.hidden.iter().map(|hidden| &hidden.linear).chain([&self.out]);
        layers.map(|layer| layer.inputs() * layer.outputs()).sum()
    }

    /// Output of the hidden layer with the running statistics: the published
    /// retrieval code, before it is made binary. None without a hidden layer.
    ///
    /// # Shapes
    /// `features`: batch x feature length; result: batch x units.
    pub fn code(&self, features: &[f32]) -> Option<Vec<f32>> {
        let hidden = self.hidden.as_ref()?;
        let mut code = hidden.rectified(features);
        hidden.norm.infer(&mut code);
        Some(code)
    }

    /// Scores with the running statistics.
    ///
    /// # Shapes
    /// `features`: batch x feature length; result: batch x classes.
    pub fn scores(&self, features: &[f32]) -> Vec<f32> {
        match self.code(features) {
            Some(code) => self.out.forward(&code),
            None => self.out.forward(features),
        }
    }

    /// Names of its parameters and how many numbers each has, in the order of
    /// [`Head::parameters_mut`].
    pub(crate) fn parameters(&self) -> Vec<(String, usize)> {
        let mut all = Vec::new();
        if let Some(Hidden { linear, norm }) = &self.hidden {
            all.push(("head.hidden.weight".into(), linear.weights.len()));
            all.push(("head.hidden.bias".into(), linear.bias.len()));
            all.push(("head.hidden.gamma".into(), norm.gamma.len()));
            all.push(("head.hidden.beta".into(), norm.beta.len()));
        }
        all.push(("head.weight".into(), self.out.weights.len()));
        all.push(("head.bias".into(), self.out.bias.len()));
        all
    }

    /// Its parameters: weight, bias, gamma and beta of the hidden layer, where
    /// there is one, then weight and bias of the scores.
    pub(crate) fn parameters_mut(&mut self) -> Vec<&mut Vec<f32>> {
        let Self { hidden, out } = self;
        let mut all = Vec::new();
        if let Some(Hidden { linear, norm }) = hidden {
            all.extend([&mut linear.weights, &mut linear.bias]);
            all.extend([&mut norm.gamma, &mut norm.beta]);
        }
        all.extend([&mut out.weights, &mut out.bias]);
        all
    }

    /// Adds its tensors.
    pub(super) fn write(&self, tensors: &mut Tensors) {
        if let Some(Hidden { linear, norm }) = &self.hidden {
            write_linear(linear, "head.hidden", tensors);
            norm.write("head.hidden.norm", tensors);
        }
        write_linear(&self.out, "head", tensors);
    }

    /// Takes its tensors out; `path` is for messages.
    pub(super) fn read(
        tensors: &mut Tensors,
        path: &Path,
        kind: HeadKind,
        features: usize,
        classes: usize,
    ) -> Result<Self> {
        let HeadKind::Hidden(units) = kind else {
            return Ok(read_linear(tensors, path, "head", [classes, features])?.into());
        };
        let linear = read_linear(tensors, path, "head.hidden", [units, features])?;
        let norm = BatchNorm::read(NormKind::Batch, units, "head.hidden.norm", path, tensors)?;
        let out = read_linear(tensors, path, "head", [classes, units])?;
        Ok(Self { hidden: Some(Hidden { linear, norm }), out })
    }
}

fn write_linear(linear: &Linear, name: &str, tensors: &mut Tensors) {
    let shape = [linear.outputs(), linear.inputs()];
    tensors.insert(format!("{name}.weight"), &shape, &linear.weights);
    tensors.insert(format!("{name}.bias"), &shape[..1], &linear.bias);
}

fn read_linear(
    tensors: &mut Tensors,
    path: &Path,
    name: &str,
    shape: [usize; 2],
) -> Result<Linear> {
    let weights = tensors.take(path, &format!("{name}.weight"), &shape)?;
    Ok(Linear { weights, bias: tensors.take(path, &format!("{name}.bias"), &shape[..1])? })
}

/// Share of scores (rows x classes) in the mean cross-entropy over `batch` rows,
/// of which these are some or all; the scores become its gradient.
pub fn cross_entropy(scores: &mut [f32], labels: &[u32], batch: usize) -> f64 {
    if labels.is_empty() {
        return 0.0;
    }
    let classes = scores.len() / labels.len();
    softmax_rows(scores, classes);
    let mut loss = 0.0;
    for (row, &label) in scores.chunks_exact_mut(classes).zip(labels) {
        loss -= f64::from(row[label as usize].max(f32::MIN_POSITIVE)).ln();
        row[label as usize] -= 1.0;
        row.iter_mut().for_each(|d| *d /= batch as f32);
    }
    loss / batch as f64
}

/// Turns each row of scores (rows x classes) into probabilities.
pub fn softmax_rows(scores: &mut [f32], classes: usize) {
    for row in scores.chunks_exact_mut(classes) {
        let best = row.iter().copied().fold(f32::MIN, f32::max);
        row.iter_mut().for_each(|s| *s = (*s - best).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|s| *s /= sum);
    }
}
