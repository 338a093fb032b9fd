//! Supervised gradients through the whole network, and the optimiser.

use rayon::prelude::*;

use super::FinetuneConfig;
use crate::linalg::{Mat, MatMut, gemm};
use crate::network::{Head, Model, Network, Normalised, Tensors, softmax_rows};
use crate::ops::{BlockGradients, Workspace, batch_norm_backward, block_backward, block_forward};
use crate::{Error, Result};

/// Numbers one task of the optimiser updates.
const CHUNK: usize = 1 << 14;

/// Loss, scores and gradients of one batch.
pub struct Gradients {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Scores, batch x classes.
    pub scores: Vec<f32>,
    /// Gradient of each parameter: weight, gamma and beta of each layer, then
    /// weight and bias of the head.
    pub by_parameter: Vec<Vec<f32>>,
    /// Gradient by the input, batch x height x width x 3, where asked for.
    pub by_input: Option<Vec<f32>>,
}

/// What the backward pass needs of a block's forward pass.
struct Saved {
    input: Vec<f32>,
    pooled: Vec<f32>,
    winners: Option<Vec<u8>>,
    normalised: Normalised,
    scale: Option<Vec<f32>>,
}

/// All parameters by name, in the order of [`Gradients::by_parameter`].
fn parameters<'a>(network: &'a mut Network, head: &'a mut Head) -> Vec<(String, &'a mut Vec<f32>)> {
    let mut all = Vec::new();
    for (index, block) in network.blocks.iter_mut().enumerate() {
        let layer = format!("L{}", index + 1);
        all.push((format!("{layer}.weight"), &mut block.weights));
        all.push((format!("{layer}.gamma"), &mut block.norm.gamma));
        all.push((format!("{layer}.beta"), &mut block.norm.beta));
    }
    all.push(("head.weight".into(), &mut head.weights));
    all.push(("head.bias".into(), &mut head.bias));
    all
}

/// Steps a network and its head by stochastic gradient descent with Nesterov
/// momentum and weight decay, all parameters alike (as published).
#[derive(Default)]
pub struct Trainer {
    workspace: Workspace,
    momentum: Vec<Vec<f32>>,
}

impl Trainer {
    /// A trainer that goes on with saved momentum.
    pub fn restore(model: &mut Model, path: &std::path::Path, mut saved: Tensors) -> Result<Self> {
        let Some(head) = &mut model.head else {
            return Err(Error::file(path, "is a checkpoint without a classifier"));
        };
        let mut momentum = Vec::new();
        for (name, values) in parameters(&mut model.network, head) {
            momentum.push(saved.take(path, &name, &[values.len()])?);
        }
        Ok(Self { workspace: Workspace::default(), momentum })
    }

    /// The momentum, to be saved.
    pub fn state(&self, model: &mut Model) -> Tensors {
        let mut tensors = Tensors::default();
        if let Some(head) = &mut model.head {
            for ((name, _), values) in
                parameters(&mut model.network, head).iter().zip(&self.momentum)
            {
                tensors.insert(name.clone(), &[values.len()], values);
            }
        }
        tensors
    }

    /// Loss and gradients of a batch; moves the running statistics of the
    /// normalisations.
    ///
    /// # Shapes
    /// `x`: batch x height x width x 3; `labels`: one class a row; `keep`: factor
    /// of each feature (batch x feature length), 0 where dropped, or empty.
    pub fn gradients(
        &mut self,
        network: &mut Network,
        head: &Head,
        x: &[f32],
        labels: &[u32],
        keep: &[f32],
        by_input: bool,
    ) -> Gradients {
        let batch = labels.len();
        let (mut features, saved) = self.forward(network, batch, x);
        features.iter_mut().zip(keep).for_each(|(f, k)| *f *= k);
        let (k, f) = (head.bias.len(), head.features());
        let scores = head.scores(&features);
        let mut d_scores = scores.clone();
        softmax_rows(&mut d_scores, k);
        let mut loss = 0.0f64;
        for (row, &label) in d_scores.chunks_exact_mut(k).zip(labels) {
            loss -= f64::from(row[label as usize].max(f32::MIN_POSITIVE)).ln();
            row[label as usize] -= 1.0;
            row.iter_mut().for_each(|d| *d /= batch as f32);
        }
        let d_scores_mat = Mat::new(&d_scores, batch, k);
        let mut d_weights = vec![0.0; k * f];
        let out = &mut MatMut::new(&mut d_weights, k, f);
        gemm(out, 0.0, 1.0, d_scores_mat.t(), Mat::new(&features, batch, f));
        let mut d_bias = vec![0.0; k];
        for row in d_scores.chunks_exact(k) {
            d_bias.iter_mut().zip(row).for_each(|(sum, d)| *sum += d);
        }
        let mut d_features = vec![0.0; batch * f];
        let out = &mut MatMut::new(&mut d_features, batch, f);
        gemm(out, 0.0, 1.0, d_scores_mat, Mat::new(&head.weights, k, f));
        d_features.iter_mut().zip(keep).for_each(|(d, k)| *d *= k);
        let (mut by_parameter, by_input) =
            self.backward(network, batch, saved, d_features, by_input);
        by_parameter.extend([d_weights, d_bias]);
        Gradients { loss: loss / batch as f64, scores, by_parameter, by_input }
    }

    fn forward(
        &mut self,
        network: &mut Network,
        batch: usize,
        x: &[f32],
    ) -> (Vec<f32>, Vec<Saved>) {
        let mut map = x.to_vec();
        let mut saved = Vec::with_capacity(network.depth());
        for block in &mut network.blocks {
            let g = block.geometry;
            let scale = block.scale(network.projection);
            let mut pooled = vec![0.0; batch * g.output_len()];
            let mut winners = (g.pool > 1).then(|| vec![0; pooled.len()]);
            let workspace = &mut self.workspace;
            let (weights, scales) = (&block.weights, scale.as_deref());
            let places = winners.as_deref_mut();
            block_forward(&g, batch, &map, weights, scales, workspace, &mut pooled, places);
            let mut out = pooled.clone();
            let normalised = block.norm.train(&mut out);
            let input = std::mem::replace(&mut map, out);
            saved.push(Saved { input, pooled, winners, normalised, scale });
        }
        (map, saved)
    }

    fn backward(
        &mut self,
        network: &Network,
        batch: usize,
        saved: Vec<Saved>,
        mut d_out: Vec<f32>,
        by_input: bool,
    ) -> (Vec<Vec<f32>>, Option<Vec<f32>>) {
        let mut all = Vec::new();
        for (index, (block, saved)) in network.blocks.iter().zip(saved).enumerate().rev() {
            let g = &block.geometry;
            let Normalised { mean, inv_std, factor } = &saved.normalised;
            let gamma = &block.norm.gamma;
            let (d_gamma, d_beta) =
                batch_norm_backward(&saved.pooled, mean, inv_std, gamma, factor, &mut d_out);
            let mut d_weights = vec![0.0; g.weight_len()];
            let mut d_x = (index > 0 || by_input).then(|| vec![0.0; batch * g.input_len()]);
            let given = BlockGradients {
                x: &saved.input,
                pooled: &saved.pooled,
                winners: saved.winners.as_deref(),
                d_pooled: &d_out,
            };
            let (scale, weights) = (saved.scale.as_deref(), &block.weights);
            let into = (&mut d_weights[..], d_x.as_deref_mut());
            block_backward(g, batch, weights, scale, &given, &mut self.workspace, into);
            all.extend([d_beta, d_gamma, d_weights]);
            d_out = d_x.unwrap_or_default();
        }
        all.reverse();
        (all, by_input.then_some(d_out))
    }

    /// One step along the gradients:
    /// `v = momentum v + g`, `w -= lr (g + momentum v)`, with
    /// `g = gradient + weight_decay w`.
    pub fn step(
        &mut self,
        network: &mut Network,
        head: &mut Head,
        gradients: &[Vec<f32>],
        lr: f64,
        config: &FinetuneConfig,
    ) {
        let (lr, decay) = (lr as f32, config.weight_decay as f32);
        let mu = config.momentum as f32;
        let parameters = parameters(network, head);
        if self.momentum.is_empty() {
            self.momentum = parameters.iter().map(|(_, w)| vec![0.0; w.len()]).collect();
        }
        for (((_, w), v), d) in parameters.into_iter().zip(&mut self.momentum).zip(gradients) {
            let chunks = w.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
            chunks.zip(d.par_chunks(CHUNK)).for_each(|((w, v), d)| {
                for ((w, v), d) in w.iter_mut().zip(v).zip(d) {
                    let d = d + decay * *w;
                    *v = mu * *v + d;
                    *w -= lr * (d + mu * *v);
                }
            });
        }
    }
}
