//! Forward and backward pass through the layers of a network in training.

use crate::collective::Group;
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
            let winners = (g.pool > 1).then(|| {
                let winners = saved.winners.get_or_insert_default();
                winners.resize(len, 0);
                &mut winners[..]
            });
            let response = block.response(saved.scale.as_deref(), network.activation);
            let (workspace, pooled) = (&mut self.workspace, &mut saved.pooled);
            block_forward(&g, batch, input, &block.weights, &response, workspace, pooled, winners);
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
            let (by, group) = (&saved.normalised, &*self.group);
            (*d_gamma, *d_beta) = block.norm.backward(&saved.pooled, by, d_out, group);
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
            let into = BackwardOutput {
                d_weights,
                d_bias: d_bias.first_mut().map(|d_bias| {
                    d_bias.resize(g.filters, 0.0);
                    &mut d_bias[..]
                }),
                d_x: wanted.then_some(&mut d_x[..]),
            };
            block_backward(g, batch, &block.weights, &response, &given, &mut self.workspace, into);
            self.group.sum_f32(d_weights);
            d_bias.iter_mut().for_each(|d_bias| self.group.sum_f32(d_bias));
            std::mem::swap(d_out, d_x);
        }
    }
}
