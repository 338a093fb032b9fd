//! The fewest multiply-accumulates a step can do with the products chosen for
//! it; over the rate of matrix products measured in the same run, its floor.

use hebbian::ops::Geometry;
use hebbian::rules::{Reach, Reconstruction};
use hebbian::update::{Order, choose_order};

/// Forward pass of a batch: `U = X W^T` of every layer.
pub(crate) fn forward(layers: &[Geometry], batch: usize) -> u64 {
    layers.iter().map(|g| (batch * g.forward_macs()) as u64).sum()
}

/// A Hebbian step of a batch: the forward pass, `A^T X`, and for a reconstruction
/// that mixes weights its own products in the order the engine chooses.
pub(crate) fn hebbian(layers: &[Geometry], batch: usize, reconstruction: Reconstruction) -> u64 {
    let learned = |g: &Geometry| {
        let (n, c, d) = (batch * g.positions(), g.filters, g.patch_len());
        let order = choose_order(reconstruction, n, c, d);
        let macs = match (reconstruction.reach(), order) {
            (None, _) => 0,
            // A^T A, then the lower triangle of it times W.
            (Some(Reach::Prefix), Order::Gram) => n * c * c + c * c * d / 2,
            (Some(Reach::All), Order::Gram) => n * c * c + c * c * d,
            // E -= A W over all blocks; the blocks' Gram matrices, and those times W.
            (Some(Reach::Prefix), Order::Deflation { block }) => n * c * d + c * block * (n + d),
            // E -= A W.
            (Some(Reach::All), Order::Deflation { .. }) => n * c * d,
        };
        let patches = if reconstruction.unmixes() && order == Order::Gram { 0 } else { n * c * d };
        (patches + macs) as u64
    };
    forward(layers, batch) + layers.iter().map(learned).sum::<u64>()
}

/// A supervised step of a batch: forward, gradients by the weights, gradients
/// by the inputs of all layers but the first, and the classifier's three.
pub(crate) fn supervised(layers: &[Geometry], batch: usize, classes: usize) -> u64 {
    let input = layers.first().map_or(0, |g| batch * g.forward_macs()) as u64;
    let head = layers.last().map_or(0, |g| batch * g.output_len() * classes) as u64;
    3 * forward(layers, batch) - input + 3 * head
}

/// A VAE's step of a batch: encoder as in a supervised step, the linear layers
/// to mean and log-variance and from the latent vector, and the decoder's
/// transposed convolutions, each of which takes three times what the
/// convolution it mirrors takes forward.
pub(crate) fn vae(layers: &[Geometry], batch: usize, latent: usize) -> u64 {
    let input = layers.first().map_or(0, |g| batch * g.forward_macs()) as u64;
    let features = layers.last().map_or(0, |g| batch * g.output_len()) as u64;
    6 * forward(layers, batch) - input + 3 * 3 * features * latent as u64
}
