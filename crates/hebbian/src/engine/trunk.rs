//! Forward and backward pass through the layers of a network in training.

use crate::collective::{Group, Parts};
use crate::linalg::add_assign;
use crate::network::{Block, Network, Normalised, Statistics};
use crate::ops::{BackwardInput, BackwardOutput, Workspace, block_backward, block_forward};

/// What the backward pass needs of a block's forward pass.
#[derive(Default)]
pub(crate) struct Saved {
    pooled: Vec<f32>,
    /// Places of the maxima, where the layer pools.
    pub(crate) winners: Option<Vec<u8>>,
    normalised: Normalised,
    scale: Option<Vec<f32>>,
    /// The pooled map normalised: input of the next block.
    pub(crate) out: Vec<f32>,
}

/// Runs the layers and keeps what their gradients need, and all buffers, since
/// touching fresh memory costs more than the arithmetic done in it.
#[derive(Default)]
pub(crate) struct Trunk {
    /// Those whose batches are parts of one.
    pub(crate) group: Group,
    pub(crate) workspace: Workspace,
    /// Of each layer.
    pub(crate) saved: Vec<Saved>,
    spare: Vec<f32>,
}

/// Names of the layers' parameters and how many numbers each has: weight,
/// gamma, beta and, where there is one, bias of each layer.
pub(crate) fn parameters(network: &Network) -> Vec<(String, usize)> {
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
    all
}

/// How many of them are a layer's own.
fn own_parameters(block: &Block) -> usize {
    3 + usize::from(block.bias.is_some())
}

/// How many there are.
pub(crate) fn parameter_count(network: &Network) -> usize {
    network.blocks.iter().map(own_parameters).sum()
}

/// The parameters themselves, in that order.
pub(crate) fn values(network: &mut Network) -> impl Iterator<Item = &mut Vec<f32>> {
    network.blocks.iter_mut().flat_map(|block| {
        let Block { weights, bias, norm, .. } = block;
        [weights, &mut norm.gamma, &mut norm.beta].into_iter().chain(bias)
    })
}

/// Adds gradients by weights and bias.
pub(super) fn add_both(left: &mut [Vec<f32>; 2], right: [Vec<f32>; 2]) {
    left.iter_mut().zip(&right).for_each(|(left, right)| add_assign(left, right));
}

impl Trunk {
    /// Runs all layers on a batch (batch x height x width x 3); the output of
    /// each is in [`Trunk::saved`]. Moves the running statistics of the
    /// normalisations where the batch's own are used.
    pub(crate) fn forward(
        &mut self,
        network: &mut Network,
        batch: usize,
        x: &[f32],
        statistics: Statistics<'_>,
    ) {
        self.saved.resize_with(network.depth(), Saved::default);
        let mut input = x;
        for (block, saved) in network.blocks.iter_mut().zip(&mut self.saved) {
            let g = block.geometry;
            let len = batch * g.output_len();
            saved.scale = block.scale(network.projection);
            saved.pooled.resize(len, 0.0);
            let mut winners = (g.pool > 1).then(|| {
                let winners = saved.winners.get_or_insert_default();
                winners.resize(len, 0);
                &mut winners[..]
            });
            let response = block.response(saved.scale.as_deref(), network.activation);
            let parts = Parts { group: &self.group, images: batch };
            for images in parts.ranges() {
                let (n, w, input) = (images.len(), &block.weights, parts.of(input, &images));
                let (workspace, pooled) = (&mut self.workspace, &mut saved.pooled);
                let pooled = parts.of_mut(pooled, &images);
                let winners = winners.as_deref_mut().map(|winners| parts.of_mut(winners, &images));
                block_forward(&g, n, input, w, &response, workspace, pooled, winners);
            }
            saved.normalised = block.norm.normalise(&saved.pooled, statistics, &mut saved.out);
            input = &saved.out;
        }
    }

    /// Gradients by the parameters, in the order of [`parameters`], of the
    /// batch `x` last run by its own statistics. `d_out` is the gradient by the
    /// last layer's output and becomes, where asked for, that by `x`. Of a
    /// batch that several processes share, those by the parameters are of all.
    pub(crate) fn backward(
        &mut self,
        network: &Network,
        batch: usize,
        x: &[f32],
        d_out: &mut Vec<f32>,
        gradients: &mut [Vec<f32>],
        by_input: bool,
    ) {
        let d_x = &mut self.spare;
        let mut rest = gradients;
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
            let parts = Parts { group: &self.group, images: batch };
            let by = &saved.normalised;
            (*d_gamma, *d_beta) = block.norm.backward(&saved.pooled, by, d_out, parts);
            let wanted = index > 0 || by_input;
            d_x.resize(if wanted { batch * g.input_len() } else { 0 }, 0.0);
            let x = if index == 0 { x } else { &self.saved[index - 1].out };
            let response = block.response(saved.scale.as_deref(), network.activation);
            let (w, workspace, with_bias) =
                (&block.weights, &mut self.workspace, !d_bias.is_empty());
            // Buffers of the step before, for the first part.
            let mut kept = Some([std::mem::take(d_weights), Vec::new()]);
            let of_part = |images| {
                let [mut d_weights, mut d_bias] = kept.take().unwrap_or_default();
                d_weights.resize(g.weight_len(), 0.0);
                d_bias.resize(if with_bias { g.filters } else { 0 }, 0.0);
                let winners = saved.winners.as_deref();
                let given = BackwardInput {
                    x: parts.of(x, &images),
                    pooled: parts.of(&saved.pooled, &images),
                    winners: winners.map(|winners| parts.of(winners, &images)),
                    d_pooled: parts.of(d_out, &images),
                };
                let into = BackwardOutput {
                    d_weights: &mut d_weights,
                    d_bias: with_bias.then_some(&mut d_bias[..]),
                    d_x: wanted.then(|| parts.of_mut(d_x, &images)),
                };
                block_backward(g, images.len(), w, &response, &given, workspace, into);
                [d_weights, d_bias]
            };
            let [own_weights, own_bias] = parts.add(of_part, add_both);
            *d_weights = own_weights;
            self.group.sum_f32(d_weights);
            if let Some(d_bias) = d_bias.first_mut() {
                *d_bias = own_bias;
                self.group.sum_f32(d_bias);
            }
            std::mem::swap(d_out, d_x);
        }
    }
}
