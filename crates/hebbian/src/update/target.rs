//! Where a layer's update goes, and in which parts it is computed.

use std::ops::Range;

use super::{UpdateSums, nonzero};
use crate::linalg::{Mat, MatMut, simd};

/// Parts an update is cut into at most; fixed, so that
/// results do not depend on the number of threads.
pub(super) const PARTS: usize = 8;

/// Where a layer's update goes. Each block of it is delivered while it is in
/// cache, so that applying it costs no further trip through memory.
pub(super) enum Target<'a> {
    /// Numerators and denominators are kept apart, to be added to others'.
    Sums {
        /// Weights, C x D.
        weights: &'a [f32],
        /// Numerators of the right length, overwritten.
        sums: &'a mut UpdateSums,
    },
    /// `W += lr * numerators / denominators`, in place.
    Apply {
        /// Weights, C x D.
        weights: &'a mut [f32],
        /// Learning rate.
        lr: f32,
    },
}

impl<'a> Target<'a> {
    /// The weights before the update.
    pub(super) fn weights(&self) -> &[f32] {
        match self {
            Self::Sums { weights, .. } => weights,
            Self::Apply { weights, .. } => weights,
        }
    }

    /// Takes an update that was made apart.
    pub(super) fn take(self, made: UpdateSums) {
        match self {
            Self::Sums { sums, .. } => *sums = made,
            Self::Apply { weights, lr } => made.apply(lr, weights),
        }
    }

    /// Cuts the update (C x D) into at most [`PARTS`] parts. The denominators
    /// are those of the whole batch.
    pub(super) fn parts(self, cut: Cut, d: usize, mut denominators: Vec<f32>) -> Parts<'a> {
        let c = denominators.len();
        let columns = d.div_ceil(PARTS).next_multiple_of(16).max(64);
        let split = |out: MatMut<'a>| match cut {
            Cut::Neurons => out.split_rows(c.div_ceil(PARTS)),
            Cut::Columns => out.split_cols(columns),
        };
        let (steps, weights, views) = match self {
            Self::Sums { weights, sums } => {
                sums.denominators = denominators;
                let views = split(MatMut::new(&mut sums.numerators, c, d));
                (Vec::new(), Some(Mat::new(weights, c, d)), views)
            }
            Self::Apply { weights, lr } => {
                denominators.iter_mut().for_each(|d| *d = lr / nonzero(*d));
                (denominators, None, split(MatMut::new(weights, c, d)))
            }
        };
        let (mut neuron, mut column) = (0, 0);
        let parts = views.into_iter().map(|out| {
            let (neurons, columns) = out.shape();
            let block =
                Block { neurons: neuron..neuron + neurons, columns: column..column + columns };
            match cut {
                Cut::Neurons => neuron += neurons,
                Cut::Columns => column += columns,
            }
            let weights = weights.map(|w| w.rows(block.neurons.start, neurons));
            let weights = weights.map(|w| w.cols(block.columns.start, columns));
            Part { block, weights, out }
        });
        Parts { steps, columns, parts: parts.collect() }
    }
}

/// How an update is cut into parts for different threads.
#[derive(Clone, Copy)]
pub(super) enum Cut {
    /// By neuron: memory is gone through in its order.
    Neurons,
    /// By column: a part sees all neurons.
    Columns,
}

/// Some neurons and patch columns of an update.
#[derive(Clone)]
pub(super) struct Block {
    /// Neurons, rows of the weights.
    pub(super) neurons: Range<usize>,
    /// Columns of the patches and weights.
    pub(super) columns: Range<usize>,
}

impl Block {
    /// View of a block that lies in this one, of which `own` is the whole.
    fn view<'a>(&self, own: Mat<'a>, block: &Block) -> Mat<'a> {
        let rows = own.rows(block.neurons.start - self.neurons.start, block.neurons.len());
        rows.cols(block.columns.start - self.columns.start, block.columns.len())
    }
}

/// An update cut into parts.
pub(super) struct Parts<'a> {
    /// Step of each neuron, where the update is applied.
    pub(super) steps: Vec<f32>,
    /// Columns best taken at a time.
    pub(super) columns: usize,
    /// The parts.
    pub(super) parts: Vec<Part<'a>>,
}

/// A part of an update.
pub(super) struct Part<'a> {
    /// What it is a part of.
    pub(super) block: Block,
    /// Where the numerators are kept apart from the weights.
    weights: Option<Mat<'a>>,
    out: MatMut<'a>,
}

impl Part<'_> {
    /// Weights of a block that lies in the part; those not yet delivered hold
    /// what they held before the update.
    pub(super) fn weights(&self, block: &Block) -> Mat<'_> {
        self.block.view(self.weights.unwrap_or_else(|| self.out.as_mat()), block)
    }

    /// Takes the numerators of a block that lies in the part; with `sums` (C),
    /// less that many times each neuron's own weight.
    pub(super) fn deliver(
        &mut self,
        block: &Block,
        numerators: &[f32],
        sums: Option<&[f32]>,
        steps: &[f32],
    ) {
        let weights = self.weights.map(|weights| self.block.view(weights, block));
        let start = block.columns.start - self.block.columns.start;
        let rows = block.neurons.clone().zip(numerators.chunks_exact(block.columns.len()));
        for (index, (neuron, numerators)) in rows.enumerate() {
            let sum = sums.map_or(0.0, |sums| sums[neuron]);
            let row = &mut self.out.row(neuron - self.block.neurons.start)[start..];
            match weights {
                Some(weights) => {
                    let w = weights.row(index);
                    simd(
                        #[inline(always)]
                        || {
                            for ((out, n), w) in row.iter_mut().zip(numerators).zip(w) {
                                *out = n - sum * w;
                            }
                        },
                    );
                }
                None => {
                    let step = steps[neuron];
                    simd(
                        #[inline(always)]
                        || {
                            for (w, n) in row.iter_mut().zip(numerators) {
                                *w += step * (n - sum * *w);
                            }
                        },
                    );
                }
            }
        }
    }
}
