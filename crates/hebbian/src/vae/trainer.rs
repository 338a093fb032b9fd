//! Loss, gradients and optimiser's step of encoder and decoder.

use std::path::Path;

use super::decoder::State;
use super::loss::{self, Losses};
use super::{Mirror, Vae};
use crate::Result;
use crate::collective::Solo;
use crate::engine::Sgd;
use crate::engine::trunk::{self, Trunk};
use crate::linalg::add_column_sums;
use crate::network::{Network, Statistics, Tensors};
use crate::ops::{gradient_by_patches, gradient_by_weights, project_patches};

/// Parameters of a layer of the decoder.
const OF_A_LAYER: usize = 4;

/// Gradients and optimiser of an encoder and its [`Vae`]; keeps its buffers
/// between steps.
#[derive(Default)]
pub struct VaeTrainer {
    trunk: Trunk,
    /// Means and log-variances, batch x 2 latent.
    code: Vec<f32>,
    d_code: Vec<f32>,
    /// Latent vectors, batch x latent.
    z: Vec<f32>,
    /// Of each layer of the decoder.
    states: Vec<State>,
    /// Gradients by the maps, taken in turns.
    d_maps: [Vec<f32>; 2],
    gradients: Vec<Vec<f32>>,
    momentum: Vec<Vec<f32>>,
}

impl VaeTrainer {
    /// Losses of a batch, by its own statistics, towards which the running
    /// ones move, or by the running ones.
    ///
    /// # Shapes
    /// `x`: batch x height x width x 3; `noise`: batch x latent.
    pub fn losses(
        &mut self,
        encoder: &mut Network,
        vae: &mut Vae,
        x: &[f32],
        noise: &[f32],
        statistics: Statistics<'_>,
    ) -> Losses {
        let (batch, latent) = (noise.len() / vae.latent, vae.latent);
        self.trunk.forward(encoder, batch, x, statistics);
        let Trunk { workspace, saved, .. } = &mut self.trunk;
        let features = saved.last().map_or(&[][..], |last| &last.out);
        self.code.resize(batch * 2 * latent, 0.0);
        let len = features.len() / batch;
        let panels = &mut workspace.panels;
        project_patches(features, &vae.weights, &mut [], len, panels, &mut self.code);
        for code in self.code.chunks_exact_mut(2 * latent) {
            code.iter_mut().zip(&vae.bias).for_each(|(code, bias)| *code += bias);
        }
        loss::sample(&self.code, noise, latent, &mut self.z);
        self.states.resize_with(vae.decoder.len(), State::default);
        let mut y = &self.z;
        for (layer, state) in vae.decoder.iter_mut().zip(&mut self.states) {
            let winners = winners(layer, saved);
            layer.forward(batch, y, winners, statistics, workspace, state);
            y = &state.out;
        }
        Losses {
            reconstruction: loss::squared_error(y, x),
            divergence: loss::divergence(&self.code, latent),
        }
    }

    /// Losses of a batch and, kept for [`VaeTrainer::step`], the gradients of
    /// `reconstruction + beta divergence`. Shapes as in [`VaeTrainer::losses`].
    pub fn gradients(
        &mut self,
        encoder: &mut Network,
        vae: &mut Vae,
        x: &[f32],
        noise: &[f32],
        beta: f64,
    ) -> Losses {
        let losses = self.losses(encoder, vae, x, noise, Statistics::Batch(&Solo));
        let (batch, latent, layers) = (noise.len() / vae.latent, vae.latent, vae.decoder.len());
        let of_encoder = trunk::parameter_count(encoder);
        self.gradients.resize_with(of_encoder + 2 + OF_A_LAYER * layers, Vec::new);
        let (by_encoder, rest) = self.gradients.split_at_mut(of_encoder);
        let (by_code, by_decoder) = rest.split_at_mut(2);

        let [d, spare] = &mut self.d_maps;
        d.resize(x.len(), 0.0);
        let image = self.states.last().map_or(&[][..], |last| &last.out);
        loss::squared_error_gradient(image, x, d);
        let Trunk { workspace, saved, .. } = &mut self.trunk;
        let layers = vae.decoder.iter().zip(by_decoder.chunks_exact_mut(OF_A_LAYER)).enumerate();
        for (index, (layer, gradients)) in layers.rev() {
            let y = if index == 0 { &self.z } else { &self.states[index - 1].out };
            let (winners, state) = (winners(layer, saved), &self.states[index]);
            layer.backward(batch, y, winners, d, spare, workspace, state, gradients);
        }

        self.d_code.resize(self.code.len(), 0.0);
        loss::code_gradient(&self.code, noise, d, latent, beta, &mut self.d_code);
        let features = saved.last().map_or(&[][..], |last| &last.out);
        if let [d_weights, d_bias] = by_code {
            d_weights.resize(vae.weights.len(), 0.0);
            gradient_by_weights(&self.d_code, features, features.len() / batch, d_weights);
            d_bias.clear();
            d_bias.resize(2 * latent, 0.0);
            add_column_sums(&self.d_code, d_bias);
        }
        d.resize(features.len(), 0.0);
        gradient_by_patches(&self.d_code, &vae.weights, 2 * latent, d);
        self.trunk.backward(encoder, batch, x, d, by_encoder, false);
        losses
    }

    /// The gradients last computed, in the order of [`Vae::parameters`].
    pub fn by_parameter(&self) -> &[Vec<f32>] {
        &self.gradients
    }

    /// The images that the decoder last gave, batch x height x width x 3.
    pub fn images(&self) -> &[f32] {
        self.states.last().map_or(&[], |last| &last.out)
    }

    /// One step along the gradients last computed.
    pub fn step(&mut self, encoder: &mut Network, vae: &mut Vae, sgd: &Sgd) {
        if self.momentum.is_empty() {
            self.momentum = self.gradients.iter().map(|d| vec![0.0; d.len()]).collect();
        }
        let values = trunk::values(encoder).chain(vae.values());
        for ((w, v), d) in values.zip(&mut self.momentum).zip(&self.gradients) {
            sgd.step(w, v, d);
        }
    }

    /// Adds the momentum to the tensors of a checkpoint, under names that
    /// start with `momentum.`; none before the first step.
    pub(crate) fn write(&self, encoder: &Network, vae: &Vae, tensors: &mut Tensors) {
        for ((name, len), values) in vae.parameters(encoder).into_iter().zip(&self.momentum) {
            tensors.insert(format!("momentum.{name}"), &[len], values);
        }
    }

    /// Goes on with the momentum of a checkpoint; `path` is for messages.
    ///
    /// # Errors
    /// If it is not that of this network.
    pub(crate) fn read(
        &mut self,
        encoder: &Network,
        vae: &Vae,
        path: &Path,
        tensors: &mut Tensors,
    ) -> Result<()> {
        let all = vae.parameters(encoder).into_iter();
        let momentum =
            all.map(|(name, len)| tensors.take(path, &format!("momentum.{name}"), &[len]));
        self.momentum = momentum.collect::<Result<_>>()?;
        Ok(())
    }
}

/// Where the encoder found the maxima that a layer puts back.
fn winners<'a>(layer: &Mirror, saved: &'a [trunk::Saved]) -> Option<&'a [u8]> {
    let (block, _) = layer.unpool?;
    saved[block].winners.as_deref()
}
