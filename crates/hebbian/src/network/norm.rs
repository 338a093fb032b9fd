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
/// What the fresh values' share in the running ones is 0 below.
pub(crate) const FORGOTTEN: f32 = 1e-9;

/// Batch normalisation of C channels.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Kind of normalisation.
    pub kind: NormKind,
    /// Scale, C.
    pub gamma: Vec<f32>,
    /// Shift, C.
    pub beta: Vec<f32>,
    /// Running mean, C, with what is left in it of the fresh 0.
    pub mean: Vec<f32>,
    /// Running unbiased variance, C, with what is left in it of the fresh 1.
    pub var: Vec<f32>,
    /// Share of the fresh mean and variance in the running ones: 1 at first,
    /// 0.9 times as much after each batch, 0 in the end. What is normalised by
    /// the running statistics is so by those of the batches alone, the rest of
    /// them: a variance of 1 where the batches' is 0.005 would otherwise be most
    /// of it for fifty batches, and layer by layer leave nothing of an image.
    pub start: f32,
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
        Self { kind, gamma, beta, mean, var, start: 1.0 }
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

    /// Adds its numbers to tensors: `PREFIX.gamma` and so on, and
    /// `PREFIX.start` unless it is 0.
    pub(crate) fn write(&self, prefix: &str, tensors: &mut Tensors) {
        for (name, values) in self.parts() {
            tensors.insert(format!("{prefix}.{name}"), &[values.len()], values);
        }
        if self.start > 0.0 {
            tensors.insert(format!("{prefix}.start"), &[1], &[self.start]);
        }
    }

    /// Takes them out again; `path` is for messages. Without `PREFIX.start`,
    /// which models did not always have, nothing is left of the fresh values.
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
        let name = format!("{prefix}.start");
        let start = match tensors.get(&name) {
            Some(_) => tensors.take(path, &name, &[1])?[0],
            None => 0.0,
        };
        if !(0.0..=1.0).contains(&start) {
            let problem = format!("the tensor '{name}' holds {start}, not a share from 0 to 1");
            return Err(Error::file(path, problem));
        }
        Ok(Self { kind, gamma, beta, mean, var, start })
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

    /// Scale and shift of each channel by the running statistics, C numbers each: all that
    /// [`BatchNorm::infer`] does, but for a ReLU after it.
    pub(crate) fn running_affine(&self) -> (Vec<f32>, Vec<f32>) {
        self.affine(&self.running())
    }

    /// A batch's own statistics, towards which the running ones move.
    fn observe(&mut self, z: &[f32], parts: Parts<'_>) -> Normalised {
        let BatchStatistics { rows, mean, var } = BatchStatistics::of(z, self.gamma.len(), parts);
        let many = rows as f32;
        let unbiased = if many > 1.0 { many / (many - 1.0) } else { 1.0 };
        let blend = |running: &mut f32, now: f32| *running += MOMENTUM * (now - *running);
        self.mean.iter_mut().zip(&mean).for_each(|(r, &m)| blend(r, m));
        self.var.iter_mut().zip(&var).for_each(|(r, &v)| blend(r, v * unbiased));
        self.start *= 1.0 - MOMENTUM;
        if self.start < FORGOTTEN {
            self.start = 0.0;
        }
        let inv_std: Vec<f32> = var.iter().map(|v| 1.0 / (v + EPS).sqrt()).collect();
        Normalised { rows, mean, inv_std, factor: self.factor() }
    }

    /// The running statistics, of the batches alone once there was one.
    fn running(&self) -> Normalised {
        let (fresh, batches) = match self.start {
            1.0 => (0.0, 1.0),
            start => (start, 1.0 - start),
        };
        let mean = self.mean.iter().map(|mean| mean / batches).collect();
        let var = self.var.iter().map(|var| ((var - fresh) / batches).max(0.0));
        let inv_std = var.map(|v| 1.0 / (v + EPS).sqrt()).collect();
        Normalised { rows: 0.0, mean, inv_std, factor: self.factor() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Device, HebbianStep};
    use crate::network::{Network, NetworkSpec};
    use crate::ops::Workspace;
    use crate::rules;

    const ROWS: usize = 64;

    /// Channels far from mean 0 and variance 1.
    fn batch() -> Vec<f32> {
        (0..ROWS).flat_map(|i| [0.01 * (i % 5) as f32, 7.0 + 9.0 * (i % 3) as f32]).collect()
    }

    #[test]
    fn running_statistics_are_those_of_the_batches_alone() {
        let unbiased = ((ROWS - 1) as f32 / ROWS as f32).sqrt();
        for batches in [1, 2, 10, 100, 300] {
            let mut norm = BatchNorm::new(NormKind::Batch, 2);
            let mut own = Vec::new();
            for _ in 0..batches {
                own = batch();
                norm.train(&mut own);
            }
            let mut z = batch();
            norm.infer(&mut z);
            for (&got, want) in z.iter().zip(own.iter().map(|x| x * unbiased)) {
                assert!((got - want).abs() < 1e-3, "{batches}: {got} {want}");
            }
            assert_eq!(norm.start == 0.0, batches > 200, "{batches}: {}", norm.start);
            // The start is written as long as there is one.
            let (mut tensors, path) = (Tensors::default(), Path::new("file"));
            norm.write("n", &mut tensors);
            assert_eq!(tensors.get("n.start").is_some(), batches < 200);
            assert_eq!(BatchNorm::read(norm.kind, 2, "n", path, &mut tensors).unwrap(), norm);
        }
    }

    #[test]
    fn a_fresh_one_leaves_numbers_as_they_are() {
        let mut z = batch();
        BatchNorm::new(NormKind::Batch, 2).infer(&mut z);
        assert!(z.iter().zip(batch()).all(|(z, x)| (z - x).abs() <= 1e-5 * x), "{z:?}");
    }

    #[test]
    fn a_share_of_the_start_that_can_not_be_is_an_error() {
        let mut tensors = Tensors::default();
        BatchNorm::new(NormKind::Batch, 2).write("n", &mut tensors);
        tensors.insert("n.start", &[1], &[1.5]);
        let read = BatchNorm::read(NormKind::Batch, 2, "n", Path::new("file"), &mut tensors);
        let message = read.unwrap_err().to_string();
        assert!(message.contains("file") && message.contains("'n.start' holds 1.5"), "{message}");
    }

    /// With the start left in, nothing is left of any image.
    #[test]
    fn a_few_steps_are_enough_for_a_deep_network_to_tell_images_apart() {
        let block = r#"{ filters = 24, kernel = 3, padding = 1, norm = "batch-relu" }, "#;
        let text = format!("name = \"deep\"\ninput = [8, 8, 3]\nblock = [{}]", block.repeat(8));
        let spec = NetworkSpec::parse(&text, Path::new("deep.toml")).unwrap();
        let rule = rules::build("soft-wta", Default::default()).unwrap();
        let mut network = Network::new(spec, rule.projection(), rule.activation(), 0).unwrap();
        // Small numbers, as whitening gives.
        let x: Vec<f32> = (0..8 * 192).map(|i| 0.1 * ((i * i) as f32).sin()).collect();
        let mut engine = Device::Cpu.engine();
        for _ in 0..3 {
            let step = HebbianStep {
                rule: rule.as_ref(),
                x: &x,
                learning: 0..8,
                rates: &[1e-3; 8],
                measure: false,
            };
            engine.hebbian_step(&mut network, &step).unwrap();
        }
        engine.fetch(&mut network, None).unwrap();
        let features = network.features(8, &x, &mut Workspace::default());
        let (first, others) = features.split_at(features.len() / 8);
        let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
        for other in others.chunks_exact(first.len()) {
            let apart = norm(&mut first.iter().zip(other).map(|(a, b)| a - b));
            assert!(apart > 0.1 * norm(&mut first.iter().copied()), "{apart}");
        }
        for block in &mut network.blocks {
            block.norm.start = 0.0;
        }
        let dead = network.features(8, &x, &mut Workspace::default());
        assert!(dead.iter().all(|&x| x == 0.0));
    }
}
