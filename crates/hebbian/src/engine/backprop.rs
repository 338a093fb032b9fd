//! Supervised gradients through the whole network, on the processor.

use std::path::Path;

use super::Sgd;
use super::head::HeadGradients;
use crate::Result;
use crate::network::{Block, Head, Network, Normalised, Tensors};
use crate::ops::{
    BackwardInput, BackwardOutput, Workspace, batch_norm_backward, block_backward, block_forward,
};

/// Loss, scores and gradients of one batch.
#[derive(Default)]
pub struct Gradients {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Scores, batch x classes.
    pub scores: Vec<f32>,
    /// Gradient of each parameter: weight, gamma, beta and, where there is one,
    /// bias of each layer; weight, bias, gamma and beta of the head's hidden
    /// layer, where there is one; weight and bias of the head.
    pub by_parameter: Vec<Vec<f32>>,
    /// Gradient by the input, batch x height x width x 3, where asked for.
    pub by_input: Option<Vec<f32>>,
}

/// What the backward pass needs of a block's forward pass.
#[derive(Default)]
struct Saved {
    pooled: Vec<f32>,
    winners: Option<Vec<u8>>,
    normalised: Normalised,
    scale: Option<Vec<f32>>,
    /// The pooled map normalised: input of the next block.
    out: Vec<f32>,
}

/// Names of all parameters and how many numbers each has, in the order of
/// [`Gradients::by_parameter`].
pub(crate) fn parameters(network: &Network, head: &Head) -> Vec<(String, usize)> {
    let mut all = Vec::new();
    for (index, block) in network.blocks.iter().enumerate() {
        let (layer, c) = (format!("L{}", index + 1), block.geometry.filters);
        all.push((format!("{layer}.weight"), block.weights.len()));
        all.push((format!("{layer}.gamma"), c));
        all.push((format!("{layer}.beta"), c));
        if block.bias.is_some() {
            all.push((format!("{layer}.bias"), c));
        }
    }
    all.extend(head.parameters());
    all
}

/// How many of them are a layer's own.
fn own_parameters(block: &Block) -> usize {
    3 + usize::from(block.bias.is_some())
}

/// The parameters themselves, in that order.
fn values<'a>(network: &'a mut Network, head: &'a mut Head) -> Vec<&'a mut Vec<f32>> {
    let blocks = network.blocks.iter_mut();
    let mut all: Vec<_> = blocks
        .flat_map(|block| {
            let Block { weights, bias, norm, .. } = block;
            [weights, &mut norm.gamma, &mut norm.beta].into_iter().chain(bias)
        })
        .collect();
    all.extend(head.parameters_mut());
    all
}

/// Gradients and optimiser of a network and its head; keeps its buffers
/// between steps, since touching fresh memory costs more than the arithmetic
/// done in it.
#[derive(Default)]
pub struct Trainer {
    workspace: Workspace,
    saved: Vec<Saved>,
    head: HeadGradients,
    /// Gradients by the maps, taken in turns.
    d_maps: [Vec<f32>; 2],
    gradients: Gradients,
    momentum: Vec<Vec<f32>>,
}

impl Trainer {
    /// Goes on with saved momentum.
    ///
    /// # Errors
    /// If it is not that of this network; the message names `path`.
    pub fn set_momentum(
        &mut self,
        network: &Network,
        head: &Head,
        path: &Path,
        mut saved: Tensors,
    ) -> Result<()> {
        let all = parameters(network, head).into_iter();
        let momentum = all.map(|(name, len)| saved.take(path, &name, &[len]));
        self.momentum = momentum.collect::<Result<_>>()?;
        Ok(())
    }

    /// The momentum, to be saved; none before the first step.
    pub fn momentum(&self, network: &Network, head: &Head) -> Tensors {
        let mut tensors = Tensors::default();
        for ((name, len), values) in parameters(network, head).into_iter().zip(&self.momentum) {
            tensors.insert(name, &[len], values);
        }
        tensors
    }

    /// Loss and gradients of a batch; moves the running statistics of the
    /// normalisations.
    ///
    /// # Shapes
    /// `x`: batch x height x width x 3; `labels`: one class a row; `keep`: factor
    /// of each input of the head's last layer (batch x feature length or hidden
    /// units), 0 where dropped, or empty.
    pub fn gradients(
        &mut self,
        network: &mut Network,
        head: &mut Head,
        x: &[f32],
        labels: &[u32],
        keep: &[f32],
        by_input: bool,
    ) -> &Gradients {
        let own: usize = network.blocks.iter().map(own_parameters).sum();
        let all = own + head.parameters().len();
        self.gradients.by_parameter.resize_with(all, Vec::new);
        self.forward(network, labels.len(), x);
        if let Some(last) = self.saved.last_mut() {
            let of_head = &mut self.gradients.by_parameter[own..];
            let (features, d_features) = (&mut last.out, Some(&mut self.d_maps[0]));
            let found = self.head.compute(head, features, labels, keep, of_head, d_features);
            (self.gradients.loss, self.gradients.scores) = found;
        }
        self.backward(network, labels.len(), x, by_input);
        &self.gradients
    }

    fn forward(&mut self, network: &mut Network, batch: usize, x: &[f32]) {
        self.saved.resize_with(network.depth(), Saved::default);
        let mut input = x;
        for (block, saved) in network.blocks.iter_mut().zip(&mut self.saved) {
            let g = block.geometry;
            let len = batch * g.output_len();
            saved.scale = block.scale(network.projection);
            saved.pooled.resize(len, 0.0);
            let winners = (g.pool > 1).then(|| {
                let winners = saved.winners.get_or_insert_default();
                winners.resize(len, 0);
                &mut winners[..]
            });
            let response = block.response(saved.scale.as_deref(), network.activation);
            let (workspace, pooled) = (&mut self.workspace, &mut saved.pooled);
            block_forward(&g, batch, input, &block.weights, &response, workspace, pooled, winners);
            saved.out.clear();
            saved.out.extend_from_slice(pooled);
            saved.normalised = block.norm.train(&mut saved.out);
            input = &saved.out;
        }
    }

    fn backward(&mut self, network: &Network, batch: usize, x: &[f32], by_input: bool) {
        let [d_out, d_x] = &mut self.d_maps;
        let mut rest = &mut self.gradients.by_parameter[..];
        let mut parameters = Vec::new();
        for block in &network.blocks {
            let own;
            (own, rest) = rest.split_at_mut(own_parameters(block));
            parameters.push(own);
        }
        for (index, (block, gradients)) in network.blocks.iter().zip(parameters).enumerate().rev() {
            let [d_weights, d_gamma, d_beta, d_bias @ ..] = gradients else { continue };
            let g = &block.geometry;
            let saved = &self.saved[index];
            let Normalised { mean, inv_std, factor } = &saved.normalised;
            let gamma = &block.norm.gamma;
            (*d_gamma, *d_beta) =
                batch_norm_backward(&saved.pooled, mean, inv_std, gamma, factor, d_out);
            d_weights.resize(g.weight_len(), 0.0);
            let wanted = index > 0 || by_input;
            d_x.resize(if wanted { batch * g.input_len() } else { 0 }, 0.0);
            let given = BackwardInput {
                x: if index == 0 { x } else { &self.saved[index - 1].out },
                pooled: &saved.pooled,
                winners: saved.winners.as_deref(),
                d_pooled: d_out,
            };
            let response = block.response(saved.scale.as_deref(), network.activation);
            let d_bias = d_bias.first_mut();
            let into = BackwardOutput {
                d_weights,
                d_bias: d_bias.map(|d_bias| {
                    d_bias.resize(g.filters, 0.0);
                    &mut d_bias[..]
                }),
                d_x: wanted.then_some(&mut d_x[..]),
            };
            block_backward(g, batch, &block.weights, &response, &given, &mut self.workspace, into);
            std::mem::swap(d_out, d_x);
        }
        self.gradients.by_input = by_input.then(|| d_out.clone());
    }

    /// One step along the gradients last computed.
    pub fn step(&mut self, network: &mut Network, head: &mut Head, sgd: &Sgd) {
        let gradients = &self.gradients.by_parameter;
        if self.momentum.is_empty() {
            self.momentum = gradients.iter().map(|d| vec![0.0; d.len()]).collect();
        }
        for ((w, v), d) in values(network, head).into_iter().zip(&mut self.momentum).zip(gradients)
        {
            sgd.step(w, v, d);
        }
    }
}
