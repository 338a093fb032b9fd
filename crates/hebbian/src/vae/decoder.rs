//! The decoder: the encoder's layers in reverse, each by its transposed
//! convolution.

use std::path::Path;

use rand::Rng;
use rayon::prelude::*;

use super::uniform;
use crate::Result;
use crate::collective::Parts;
use crate::network::{BatchNorm, NormKind, Normalised, Statistics, Tensors};
use crate::ops::{
    Geometry, TransposedGradients, Workspace, max_unpool, max_unpool_backward, rectify,
    transposed_backward, transposed_forward,
};

/// Numbers one task rectifies.
const CHUNK: usize = 1 << 14;

/// A layer of the decoder: transposed convolution, ReLU, max-unpooling,
/// normalisation, in that order; the last has neither ReLU nor unpooling.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// The convolution that it is the transpose of, without pooling: the
    /// encoder's, or, of the first layer, a linear one from the features to
    /// the latent vector.
    pub geometry: Geometry,
    /// Layer of the encoder, from 0, whose pooling it undoes, and its shape.
    pub unpool: Option<(usize, Geometry)>,
    /// Whether it has a ReLU.
    pub rectifies: bool,
    /// Weights, C x D as the encoder's.
    pub weights: Vec<f32>,
    /// Bias: one a channel, or, of a fully connected layer, one a neuron.
    pub bias: Vec<f32>,
    /// Normalisation: by neuron where the layer is fully connected and
    /// unpools nothing, else by channel.
    pub norm: BatchNorm,
}

/// The layers that undo `blocks`, from a vector of `latent` numbers on.
pub(super) fn mirror(blocks: &[Geometry], latent: usize, rng: &mut impl Rng) -> Vec<Mirror> {
    let features = blocks.last().map_or(0, Geometry::output_len);
    let linear = Geometry {
        height: 1,
        width: 1,
        channels: features,
        kernel: 1,
        stride: 1,
        padding: 0,
        filters: latent,
        pool: 1,
    };
    let convolutions = blocks.iter().rev().map(|g| Geometry { pool: 1, ..*g });
    // Before layer `below + 1` of the encoder stands layer `below`.
    let below = (0..=blocks.len()).rev().map(|above| above.checked_sub(1));
    let layers = [linear].into_iter().chain(convolutions).zip(below);
    layers.map(|(geometry, below)| layer(geometry, below.map(|i| (i, blocks[i])), rng)).collect()
}

fn layer(geometry: Geometry, below: Option<(usize, Geometry)>, rng: &mut impl Rng) -> Mirror {
    let connected = geometry.positions() == 1;
    let unpool = below.filter(|(_, g)| g.pool > 1);
    // The image has a bias and a normalisation for each colour.
    let by_neuron = connected && below.is_some();
    let biases = if by_neuron { geometry.input_len() } else { geometry.channels };
    let normed = unpool.map_or(biases, |(_, g)| g.filters);
    let fan = if connected { geometry.filters } else { geometry.patch_len() };
    Mirror {
        geometry,
        unpool,
        rectifies: below.is_some(),
        weights: uniform(rng, geometry.weight_len(), fan),
        bias: uniform(rng, biases, fan),
        norm: BatchNorm::new(NormKind::Batch, normed),
    }
}

/// What a layer's gradients need of its forward pass.
#[derive(Default)]
pub(super) struct State {
    /// After transposed convolution and ReLU.
    map: Vec<f32>,
    /// After unpooling, where it unpools.
    unpooled: Vec<f32>,
    normalised: Normalised,
    /// After normalisation: input of the next layer.
    pub(super) out: Vec<f32>,
}

impl Mirror {
    /// Runs the layer on a batch `y`. `winners` are the encoder's places of
    /// the maxima, where it unpools.
    pub(super) fn forward(
        &mut self,
        batch: usize,
        y: &[f32],
        winners: Option<&[u8]>,
        statistics: Statistics<'_>,
        workspace: &mut Workspace,
        state: &mut State,
    ) {
        let g = &self.geometry;
        let State { map, unpooled, normalised, out } = state;
        map.resize(batch * g.input_len(), 0.0);
        transposed_forward(g, batch, y, &self.weights, &self.bias, workspace, map);
        if self.rectifies {
            rectify(map);
        }
        let z = match (&self.unpool, winners) {
            (Some((_, g)), Some(winners)) => {
                unpooled.resize(batch * g.positions() * g.filters, 0.0);
                max_unpool(g, map, winners, unpooled);
                &*unpooled
            }
            _ => &*map,
        };
        *normalised = self.norm.normalise(z, statistics, out);
    }

    /// Gradients by weights, bias, gamma and beta of the batch last run by its
    /// own statistics. `d` is the gradient by its output and becomes that by
    /// `y`; `spare` is for use in between.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn backward(
        &self,
        batch: usize,
        y: &[f32],
        winners: Option<&[u8]>,
        d: &mut Vec<f32>,
        spare: &mut Vec<f32>,
        workspace: &mut Workspace,
        state: &State,
        gradients: &mut [Vec<f32>],
    ) {
        let [d_weights, d_bias, d_gamma, d_beta] = gradients else {
            unreachable!("a layer of the decoder has four parameters")
        };
        let g = &self.geometry;
        let unpools = self.unpool.as_ref().zip(winners);
        let z = if unpools.is_some() { &state.unpooled } else { &state.map };
        (*d_gamma, *d_beta) = self.norm.backward(z, &state.normalised, d, Parts::whole());
        if let Some(((_, g), winners)) = unpools {
            spare.resize(state.map.len(), 0.0);
            max_unpool_backward(g, d, winners, spare);
            std::mem::swap(d, spare);
        }
        if self.rectifies {
            let maps = state.map.par_chunks(CHUNK);
            d.par_chunks_mut(CHUNK).zip(maps).for_each(|(d, map)| {
                d.iter_mut().zip(map).for_each(|(d, &m)| *d = if m > 0.0 { *d } else { 0.0 });
            });
        }
        d_weights.resize(g.weight_len(), 0.0);
        d_bias.resize(self.bias.len(), 0.0);
        spare.resize(batch * g.positions() * g.filters, 0.0);
        let into = TransposedGradients { d_weights, d_bias, d_y: spare };
        transposed_backward(g, batch, y, &self.weights, d, workspace, into);
        std::mem::swap(d, spare);
    }

    fn shape(&self) -> [usize; 4] {
        let g = &self.geometry;
        [g.filters, g.kernel, g.kernel, g.channels]
    }

    /// Adds its numbers to tensors: `PREFIX.weight`, `PREFIX.bias`,
    /// `PREFIX.norm.gamma` and so on.
    pub(super) fn write(&self, prefix: &str, tensors: &mut Tensors) {
        tensors.insert(format!("{prefix}.weight"), &self.shape(), &self.weights);
        tensors.insert(format!("{prefix}.bias"), &[self.bias.len()], &self.bias);
        self.norm.write(&format!("{prefix}.norm"), tensors);
    }

    /// Takes them out again; `path` is for messages.
    ///
    /// # Errors
    /// If a tensor is missing, of another shape, or holds what it must not.
    pub(super) fn read(&mut self, prefix: &str, path: &Path, tensors: &mut Tensors) -> Result<()> {
        self.weights = tensors.take(path, &format!("{prefix}.weight"), &self.shape())?;
        self.bias = tensors.take(path, &format!("{prefix}.bias"), &[self.bias.len()])?;
        let (kind, c, name) = (self.norm.kind, self.norm.gamma.len(), format!("{prefix}.norm"));
        self.norm = BatchNorm::read(kind, c, &name, path, tensors)?;
        Ok(())
    }
}
