//! Batch normalisation with running statistics.

use std::path::Path;

use super::{NormKind, Tensors};
use crate::collective::Parts;
use crate::error::{Error, Result};
use crate::ops::{
    BatchStatistics, affine, affine_in_place, batch_norm_backward, rectify, unrectify,
};

/// Added to variances before the square root.
pub(crate) const EPS: f32 = 1e-5;
/// Share of a batch's statistics in the running ones.
pub(crate) const MOMENTUM: f32 = 0.1;

/// Batch normalisation of C channels.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Kind of normalisation.
    pub kind: NormKind,
    /// Scale, C.
    pub gamma: Vec<f32>,
    /// Shift, C.
    pub beta: Vec<f32>,
    /// Running mean, C.
    pub mean: Vec<f32>,
    /// Running unbiased variance, C.
    pub var: Vec<f32>,
}

/// Whose statistics a batch is normalised by.
#[derive(Clone, Copy, Debug)]
pub enum Statistics<'a> {
    /// Its own, towards which the running ones move: in training. Of a batch
    /// that several processes share, those of the whole.
    Batch(Parts<'a>),
    /// The running ones: in use.
    Running,
}

/// What a batch was normalised with, for the gradient.
#[derive(Clone, Debug, Default)]
pub struct Normalised {
    /// Rows of the batch, of all processes; 0 where it was not looked at.
    pub rows: f64,
    /// Mean of the batch.
    pub mean: Vec<f32>,
    /// Reciprocal standard deviation of the batch.
    pub inv_std: Vec<f32>,
    /// Factor of [`NormKind::Relative`], else 1.
    pub factor: Vec<f32>,
}

impl BatchNorm {
    /// Fresh: `gamma = 1`, `beta = 0`, running mean 0 and variance 1.
    pub fn new(kind: NormKind, c: usize) -> Self {
        let (gamma, beta, mean, var) = (vec![1.0; c], vec![0.0; c], vec![0.0; c], vec![1.0; c]);
        Self { kind, gamma, beta, mean, var }
    }

    /// Normalises a batch `z` (rows x C) into `out`, by its own or the running
    /// statistics.
    pub fn normalise(
        &mut self,
        z: &[f32],
        statistics: Statistics<'_>,
        out: &mut Vec<f32>,
    ) -> Normalised {
        let used = match statistics {
            Statistics::Batch(parts) => self.observe(z, parts),
            Statistics::Running => self.running(),
        };
        out.resize(z.len(), 0.0);
        let (scale, shift) = self.affine(&used);
        affine(z, &scale, &shift, out);
        if self.kind == NormKind::BatchRelu {
            rectify(out);
        }
        used
    }

    /// Its numbers by name.
    pub(crate) fn parts(&self) -> [(&'static str, &Vec<f32>); 4] {
        let Self { gamma, beta, mean, var, .. } = self;
        [("gamma", gamma), ("beta", beta), ("mean", mean), ("var", var)]
    }

    /// Reads them from the tensors `PREFIX.gamma` and so on; `path` is for
    /// messages.
    ///
    /// # Errors
    /// If one is missing, of another length, or a variance is negative.
    pub(crate) fn read(
        kind: NormKind,
        c: usize,
        prefix: &str,
        path: &Path,
        tensors: &mut Tensors,
    ) -> Result<Self> {
        let mut take = |name| tensors.take(path, &format!("{prefix}.{name}"), &[c]);
        let (gamma, beta, mean, var) = (take("gamma")?, take("beta")?, take("mean")?, take("var")?);
        if var.iter().any(|&v| v < 0.0) {
            let problem = format!("the tensor '{prefix}.var' holds a negative variance");
            return Err(Error::file(path, problem));
        }
        Ok(Self { kind, gamma, beta, mean, var })
    }

    /// Normalises a batch `z` (rows x C, in place) by its own statistics and
    /// moves the running ones towards them.
    pub fn train(&mut self, z: &mut [f32]) -> Normalised {
        self.train_shared(z, Parts::whole())
    }

    /// [`BatchNorm::train`] on a batch of which this process has `z`.
    pub fn train_shared(&mut self, z: &mut [f32], parts: Parts<'_>) -> Normalised {
        let used = self.observe(z, parts);
        self.apply(z, &used);
        used
    }

    /// Normalises `z` (rows x C, in place) by the running statistics.
    pub fn infer(&self, z: &mut [f32]) {
        self.apply(z, &self.running());
    }

    /// A batch's own statistics, towards which the running ones move.
    fn observe(&mut self, z: &[f32], parts: Parts<'_>) -> Normalised {
        let BatchStatistics { rows, mean, var } = BatchStatistics::of(z, self.gamma.len(), parts);
        let many = rows as f32;
        let unbiased = if many > 1.0 { many / (many - 1.0) } else { 1.0 };
        let blend = |running: &mut f32, now: f32| *running += MOMENTUM * (now - *running);
        self.mean.iter_mut().zip(&mean).for_each(|(r, &m)| blend(r, m));
        self.var.iter_mut().zip(&var).for_each(|(r, &v)| blend(r, v * unbiased));
        let inv_std: Vec<f32> = var.iter().map(|v| 1.0 / (v + EPS).sqrt()).collect();
        Normalised { rows, mean, inv_std, factor: self.factor() }
    }

    fn running(&self) -> Normalised {
        let inv_std = self.var.iter().map(|v| 1.0 / (v + EPS).sqrt()).collect();
        Normalised { rows: 0.0, mean: self.mean.clone(), inv_std, factor: self.factor() }
    }

    fn apply(&self, z: &mut [f32], by: &Normalised) {
        let (scale, shift) = self.affine(by);
        affine_in_place(z, &scale, &shift);
        if self.kind == NormKind::BatchRelu {
            rectify(z);
        }
    }

    /// Gradient of normalising a batch, of which this process has `z` (rows x
    /// C), by its own statistics, which `by` holds. Turns `d_out`, the
    /// gradient by what came out, into that by `z` in place, and returns the
    /// gradients by `gamma` and `beta`, which are those of the whole batch.
    pub(crate) fn backward(
        &self,
        z: &[f32],
        by: &Normalised,
        d_out: &mut [f32],
        parts: Parts<'_>,
    ) -> (Vec<f32>, Vec<f32>) {
        if self.kind == NormKind::BatchRelu {
            let (scale, shift) = self.affine(by);
            unrectify(z, &scale, &shift, d_out);
        }
        batch_norm_backward(z, by, &self.gamma, d_out, parts)
    }

    /// Scale and shift of each channel.
    fn affine(&self, by: &Normalised) -> (Vec<f32>, Vec<f32>) {
        let channels = 0..self.gamma.len();
        let scale: Vec<f32> =
            channels.clone().map(|i| self.gamma[i] * by.inv_std[i] * by.factor[i]).collect();
        let shift: Vec<f32> =
            channels.map(|i| self.beta[i] * by.factor[i] - by.mean[i] * scale[i]).collect();
        (scale, shift)
    }

    fn factor(&self) -> Vec<f32> {
        match self.kind {
            NormKind::Batch | NormKind::BatchRelu => vec![1.0; self.var.len()],
            NormKind::Relative => {
                let mean = self.var.iter().sum::<f32>() / self.var.len() as f32;
                self.var.iter().map(|v| ((v + EPS) / (mean + EPS)).sqrt()).collect()
            }
        }
    }
}
