//! The variational autoencoder that the papers compare with, whose encoder is
//! the network: a baseline that learns from the same images, without labels,
//! by gradients.
//!
//! Two linear layers turn the last layer's features into mean and
//! log-variance of a latent vector `z = mean + exp(log-variance / 2) noise`;
//! a decoder that mirrors the network's own layers turns it back into an
//! image, undoing max-pooling at the places where the encoder found its
//! maxima. The loss is the mean squared error of the image plus `beta` times
//! the Kullback-Leibler divergence of the latent vector from a standard normal
//! one. All as the published code has it (HebbianLearning, models/gdes/vae_6l.py
//! and metric/elbo.py), for any network.

mod decoder;
mod loss;
mod trainer;

pub use decoder::Mirror;
pub use loss::{Losses, noise};
pub use trainer::VaeTrainer;

use std::path::Path;

use hebbian_data::seed;
use rand::{Rng, RngExt};

use crate::Result;
use crate::engine::trunk;
use crate::network::{Network, Tensors};

/// What a variational autoencoder has beside its encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Vae {
    /// Length of the latent vector.
    pub latent: usize,
    /// Weights of the two linear layers, 2 latent x features: those to the
    /// mean first, then those to the log-variance.
    pub weights: Vec<f32>,
    /// Their bias, 2 latent.
    pub bias: Vec<f32>,
    /// From a latent vector to an image.
    pub decoder: Vec<Mirror>,
}

impl Vae {
    /// For an encoder, with random weights and biases: uniform in
    /// `+-1/sqrt(fan-in)` as PyTorch draws them (of a transposed convolution it
    /// takes the numbers of one patch), from the stream `init/vae` of `seed`.
    pub fn new(encoder: &Network, latent: usize, seed: u64) -> Self {
        let mut rng = seed::stream(seed, "init/vae");
        let features = encoder.feature_len(encoder.depth());
        let (weights, bias) = (2 * latent * features, 2 * latent);
        let weights = uniform(&mut rng, weights, features);
        let bias = uniform(&mut rng, bias, features);
        let geometries: Vec<_> = encoder.blocks.iter().map(|block| block.geometry).collect();
        let decoder = decoder::mirror(&geometries, latent, &mut rng);
        Self { latent, weights, bias, decoder }
    }

    /// Names of the parameters of an encoder and this, and how many numbers
    /// each has, in the order of [`VaeTrainer::by_parameter`].
    pub fn parameters(&self, encoder: &Network) -> Vec<(String, usize)> {
        let mut all = trunk::parameters(encoder);
        all.push(("latent.weight".into(), self.weights.len()));
        all.push(("latent.bias".into(), self.bias.len()));
        for (index, layer) in self.decoder.iter().enumerate() {
            let parts = [("weight", &layer.weights), ("bias", &layer.bias)];
            let norm = [("gamma", &layer.norm.gamma), ("beta", &layer.norm.beta)];
            let parts = parts.into_iter().chain(norm);
            let name = |part| format!("D{}.{part}", index + 1);
            all.extend(parts.map(|(part, values)| (name(part), values.len())));
        }
        all
    }

    /// The parameters of this alone, in that order.
    fn values(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        let layers = self.decoder.iter_mut().flat_map(|layer| {
            let Mirror { weights, bias, norm, .. } = layer;
            [weights, bias, &mut norm.gamma, &mut norm.beta]
        });
        [&mut self.weights, &mut self.bias].into_iter().chain(layers)
    }

    /// Whether all its numbers are finite.
    pub(crate) fn is_finite(&self) -> bool {
        let finite = |values: &Vec<f32>| values.iter().all(|x| x.is_finite());
        let of_layer = |layer: &Mirror| {
            let norm = layer.norm.parts().into_iter().map(|(_, values)| values);
            [&layer.weights, &layer.bias].into_iter().chain(norm).all(finite)
        };
        [&self.weights, &self.bias].into_iter().all(finite) && self.decoder.iter().all(of_layer)
    }

    /// Adds its numbers to the tensors of a checkpoint, under names that
    /// start with `vae.`.
    pub(crate) fn write(&self, tensors: &mut Tensors) {
        let features = self.weights.len() / self.bias.len();
        tensors.insert("vae.latent.weight", &[self.bias.len(), features], &self.weights);
        tensors.insert("vae.latent.bias", &[self.bias.len()], &self.bias);
        for (index, layer) in self.decoder.iter().enumerate() {
            layer.write(&format!("vae.D{}", index + 1), tensors);
        }
    }

    /// Takes them out again; `path` is for messages.
    ///
    /// # Errors
    /// If a tensor is missing, of another shape, or holds what it must not.
    pub(crate) fn read(&mut self, path: &Path, tensors: &mut Tensors) -> Result<()> {
        let features = self.weights.len() / self.bias.len();
        let shape = [self.bias.len(), features];
        self.weights = tensors.take(path, "vae.latent.weight", &shape)?;
        self.bias = tensors.take(path, "vae.latent.bias", &shape[..1])?;
        for (index, layer) in self.decoder.iter_mut().enumerate() {
            layer.read(&format!("vae.D{}", index + 1), path, tensors)?;
        }
        Ok(())
    }
}

/// `n` numbers, uniform in `+-1/sqrt(fan)`.
fn uniform(rng: &mut impl Rng, n: usize, fan: usize) -> Vec<f32> {
    let bound = 1.0 / (fan as f32).sqrt();
    (0..n).map(|_| rng.random_range(-bound..bound)).collect()
}
