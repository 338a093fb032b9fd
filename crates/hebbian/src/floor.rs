//! The fewest multiply-accumulates a step can do with direct products in the
//! order chosen for it; over the rate of matrix products measured in the same
//! run ([`crate::linalg::products_rate`]), its floor.

use std::ops::Range;

use crate::ops::Geometry;
use crate::rules::{Reach, Reconstruction};
use crate::update::{Order, choose_order};

/// Forward pass of a batch: `U = X W^T` of every layer.
pub fn forward(layers: &[Geometry], batch: usize) -> u64 {
    layers.iter().map(|g| (batch * g.forward_macs()) as u64).sum()
}

/// A Hebbian step of a batch in which the layers `learning` learn: the forward pass
/// up to the last of them, their `A^T X`, and for a reconstruction that mixes
/// weights its own products in the order the engine chooses.
pub fn hebbian(
    layers: &[Geometry],
    learning: Range<usize>,
    batch: usize,
    reconstruction: Reconstruction,
) -> u64 {
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
    forward(&layers[..learning.end], batch) + layers[learning].iter().map(learned).sum::<u64>()
}

/// A supervised step of a batch: forward, gradients by the weights, gradients
/// by the inputs of all layers but the first, and the classifier's three, whose
/// forward pass takes `head` multiply-accumulates an image.
pub fn supervised(layers: &[Geometry], batch: usize, head: usize) -> u64 {
    let input = layers.first().map_or(0, |g| batch * g.forward_macs()) as u64;
    3 * forward(layers, batch) - input + 3 * (batch * head) as u64
}

/// A VAE's step of a batch: encoder as in a supervised step, the linear layers
/// to mean and log-variance and from the latent vector, and the decoder's
/// transposed convolutions, each of which takes three times what the
/// convolution it mirrors takes forward.
pub fn vae(layers: &[Geometry], batch: usize, latent: usize) -> u64 {
    let input = layers.first().map_or(0, |g| batch * g.forward_macs()) as u64;
    let features = layers.last().map_or(0, |g| batch * g.output_len()) as u64;
    6 * forward(layers, batch) - input + 3 * 3 * features * latent as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{HeadKind, NetworkSpec};

    #[test]
    fn floors_of_cifar_6_are_the_sums_of_its_products() {
        let layers = NetworkSpec::find("cifar-6").unwrap().geometries().unwrap();
        // Positions x neurons x patch length, layer by layer.
        let first = 28 * 28 * 96 * 75;
        let second = 12 * 12 * 128 * 864;
        let rest = 10 * 10 * 192 * 1152 + 3 * 3 * 256 * 1728 + 4096 * 2304;
        let image = first + second + rest;
        assert_eq!(forward(&layers, 64), 64 * image);
        assert_eq!(hebbian(&layers, 0..5, 64, Reconstruction::Own), 2 * 64 * image);
        // The second layer alone learns; those behind it are not looked at.
        let one = hebbian(&layers, 1..2, 64, Reconstruction::Own);
        assert_eq!(one, 64 * (first + 2 * second));
        let prefix = hebbian(&layers, 0..5, 64, Reconstruction::Prefix);
        assert!((9_000_000_000..10_500_000_000).contains(&prefix), "{prefix}");
        let trunk = 64 * (3 * image - first);
        let head = |kind: HeadKind| kind.init(4096, 10, 0).unwrap().macs();
        let linear = supervised(&layers, 64, head(HeadKind::Linear));
        assert_eq!(linear, trunk + 3 * 64 * 4096 * 10);
        let hidden = supervised(&layers, 64, head(HeadKind::Hidden(256)));
        assert_eq!(hidden, trunk + 3 * 64 * (4096 * 256 + 256 * 10));
        // Both ways through all layers but the input's gradient; 4096 features to
        // 256 means and as many log-variances, and back from 256.
        let latent = 64 * 4096 * (512 + 256);
        assert_eq!(vae(&layers, 64, 256), 3 * (2 * 64 * image + latent) - 64 * first);
    }
}
