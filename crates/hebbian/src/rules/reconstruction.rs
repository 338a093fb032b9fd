//! What a rule subtracts, as products that the engines take.

/// Which neurons' weights a neuron subtracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those up to its own, in channel order.
    Prefix,
    /// All of them.
    All,
}

/// What is subtracted from `A^T X`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reconstruction {
    /// Each neuron's own weight, once a gate: `diag(colsum A) W`.
    Own,
    /// Each neuron's own weight at a fixed rate `r`: `r diag(d) W`.
    Decay(f32),
    /// What the neurons up to its own make of a patch: `tril(A^T A) W`.
    Prefix,
    /// What all neurons make of a patch: `A^T A W`.
    All,
    /// Unmixing, which knows patches by their projections only: `A^T X` is left
    /// out and `A^T U W - diag(d) W` subtracted, or `tril(A^T U) W - diag(d) W`
    /// for a prefix.
    Unmixing(Reach),
    /// What unmixing subtracts but for each neuron's own weight, less its part
    /// along that: `A^T U W` or `tril(A^T U) W`, of whose rows `w_i w_i^T` times
    /// themselves is taken away.
    Tangent(Reach),
}

impl Reconstruction {
    /// Which weights are mixed by a product of gates (C x C); none where a
    /// neuron subtracts its own only.
    pub fn reach(self) -> Option<Reach> {
        match self {
            Self::Own | Self::Decay(_) => None,
            Self::Prefix => Some(Reach::Prefix),
            Self::All => Some(Reach::All),
            Self::Unmixing(reach) | Self::Tangent(reach) => Some(reach),
        }
    }

    /// Whether projections stand on the right of that product, and `A^T X` is
    /// left out.
    pub fn unmixes(self) -> bool {
        matches!(self, Self::Unmixing(_) | Self::Tangent(_))
    }

    /// Whether an update keeps its part across a neuron's weight alone.
    pub fn is_tangent(self) -> bool {
        matches!(self, Self::Tangent(_))
    }
}
