//! Which order of products an update takes, by counting operations.

use crate::rules::Reconstruction;

/// Order of the products of a prefix reconstruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Published: `A^T X - tril(A^T A) W`.
    Gram,
    /// Deflation in blocks of neurons: each block subtracts from the patches
    /// what it explains before the next one sees them.
    Deflation {
        /// Neurons a block.
        block: usize,
    },
}

/// Numbers read and written count like this many multiply-accumulates each.
const MACS_PER_NUMBER: usize = 8;

/// The cheaper order for `n` patches, `c` neurons and patches of `d` numbers.
pub fn choose_order(reconstruction: Reconstruction, n: usize, c: usize, d: usize) -> Order {
    if reconstruction == Reconstruction::Own {
        return Order::Gram;
    }
    let deflations = [32, 64, 128, 256].map(|block| Order::Deflation { block });
    let orders = std::iter::once(Order::Gram).chain(deflations);
    orders.min_by_key(|order| order.cost(n, c, d)).unwrap_or(Order::Gram)
}

impl Order {
    /// Cost in multiply-accumulates, memory traffic included.
    fn cost(self, n: usize, c: usize, d: usize) -> usize {
        match self {
            // Only the lower triangle is multiplied, in both products.
            Order::Gram => n * c * d + n * c * c / 2 + c * c * d / 2,
            Order::Deflation { block } => {
                let traffic = c.div_ceil(block) * 2 * n * d;
                2 * n * c * d + c * block * (n + d) + MACS_PER_NUMBER * traffic
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deflation_is_chosen_where_neurons_outnumber_patches() {
        let prefix = Reconstruction::Prefix;
        assert!(matches!(choose_order(prefix, 64, 4096, 2304), Order::Deflation { .. }));
        assert_eq!(choose_order(prefix, 64 * 784, 96, 75), Order::Gram);
        assert_eq!(choose_order(Reconstruction::Own, 64, 4096, 2304), Order::Gram);
    }
}
