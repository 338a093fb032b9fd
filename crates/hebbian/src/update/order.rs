//! Which order of products an update takes, by counting operations.

use crate::rules::{Reach, Reconstruction};

/// Order of the products of a reconstruction that mixes weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Published: `A^T X - tril(A^T A) W`, or without `tril`.
    Gram,
    /// Deflation: what neurons explain is subtracted from the patches. For a
    /// prefix, in blocks of neurons: each block before the next one sees them.
    Deflation {
        /// Neurons a block.
        block: usize,
    },
}

/// Numbers read and written count like this many multiply-accumulates each.
const MACS_PER_NUMBER: usize = 8;

/// The cheaper order for `n` patches, `c` neurons and patches of `d` numbers.
pub fn choose_order(reconstruction: Reconstruction, n: usize, c: usize, d: usize) -> Order {
    let Some(reach) = reconstruction.reach() else { return Order::Gram };
    let cost = |order: &Order| {
        // Without A^T X, products of gates are all there is; deflation goes
        // through patches all the same.
        let saved = if reconstruction.unmixes() && *order == Order::Gram { n * c * d } else { 0 };
        order.cost(reach, n, c, d) - saved
    };
    let deflations = [32, 64, 128, 256].map(|block| Order::Deflation { block });
    let orders = std::iter::once(Order::Gram).chain(deflations);
    orders.min_by_key(cost).unwrap_or(Order::Gram)
}

impl Order {
    /// Cost in multiply-accumulates, memory traffic included.
    fn cost(self, reach: Reach, n: usize, c: usize, d: usize) -> usize {
        match (self, reach) {
            // Only the lower triangle is multiplied, in both products.
            (Self::Gram, Reach::Prefix) => n * c * d + n * c * c / 2 + c * c * d / 2,
            (Self::Gram, Reach::All) => n * c * d + n * c * c + c * c * d,
            (Self::Deflation { block }, Reach::Prefix) => {
                let traffic = c.div_ceil(block) * 2 * n * d;
                2 * n * c * d + c * block * (n + d) + MACS_PER_NUMBER * traffic
            }
            // One product with all weights, then the blocks' with the residual.
            (Self::Deflation { block }, Reach::All) => {
                let traffic = (c.div_ceil(block) + 2) * n * d;
                2 * n * c * d + MACS_PER_NUMBER * traffic
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deflation_is_chosen_where_neurons_outnumber_patches() {
        for reach in [Reach::Prefix, Reach::All] {
            let plain = match reach {
                Reach::Prefix => Reconstruction::Prefix,
                Reach::All => Reconstruction::All,
            };
            for mixing in [plain, Reconstruction::Unmixing(reach)] {
                let order = choose_order(mixing, 64, 4096, 2304);
                assert!(matches!(order, Order::Deflation { .. }), "{mixing:?}: {order:?}");
                assert_eq!(choose_order(mixing, 64 * 144, 128, 864), Order::Gram, "{mixing:?}");
            }
        }
        for own in [Reconstruction::Own, Reconstruction::Decay(0.5)] {
            assert_eq!(choose_order(own, 64, 4096, 2304), Order::Gram);
        }
    }
}
