//! Where a layer's update goes, and in which parts it is computed.

use super::{UpdateSums, nonzero};
use crate::linalg::{Mat, MatMut, simd};

/// Parts the columns of a weight matrix are cut into at most; fixed, so that
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

    /// Cuts the update (C x D) into parts of some columns each. The
    /// denominators are those of the whole batch.
    pub(super) fn parts(self, d: usize, mut denominators: Vec<f32>) -> Parts<'a> {
        let c = denominators.len();
        let width = d.div_ceil(PARTS).next_multiple_of(16).max(64);
        match self {
            Self::Sums { weights, sums } => {
                sums.denominators = denominators;
                let weights = Mat::new(weights, c, d);
                let out = MatMut::new(&mut sums.numerators, c, d);
                Parts { width, steps: Vec::new(), weights: Some(weights), out }
            }
            Self::Apply { weights, lr } => {
                denominators.iter_mut().for_each(|d| *d = lr / nonzero(*d));
                let out = MatMut::new(weights, c, d);
                Parts { width, steps: denominators, weights: None, out }
            }
        }
    }
}

/// An update about to be cut into [`Part`]s.
pub(super) struct Parts<'a> {
    /// Columns of each part; the last may be narrower.
    pub(super) width: usize,
    /// Step of each neuron, where the update is applied.
    pub(super) steps: Vec<f32>,
    weights: Option<Mat<'a>>,
    out: MatMut<'a>,
}

/// Some columns of an update.
pub(super) struct Part<'a> {
    /// First column.
    pub(super) start: usize,
    /// Where the numerators are kept apart from the weights.
    weights: Option<Mat<'a>>,
    out: MatMut<'a>,
}

impl<'a> Parts<'a> {
    /// The steps, and the parts one by one.
    pub(super) fn split(self) -> (Vec<f32>, Vec<Part<'a>>) {
        let width = self.width;
        let weights = self.weights;
        let parts = self.out.split_cols(width).into_iter().enumerate();
        let parts = parts.map(|(index, out)| {
            let (start, columns) = (index * width, out.shape().1);
            Part { start, weights: weights.map(|w| w.cols(start, columns)), out }
        });
        (self.steps, parts.collect())
    }
}

impl Part<'_> {
    /// Columns of the part.
    pub(super) fn columns(&self) -> usize {
        self.out.shape().1
    }

    /// Rows of the weights; those not yet delivered hold what they held
    /// before the update.
    pub(super) fn weights(&self, start: usize, count: usize) -> Mat<'_> {
        match self.weights {
            Some(weights) => weights.rows(start, count),
            None => self.out.as_mat().rows(start, count),
        }
    }

    /// Takes the numerators of neurons from `start` on (rows x columns).
    pub(super) fn deliver(&mut self, start: usize, numerators: &[f32], steps: &[f32]) {
        let keep = self.weights.is_some();
        let columns = self.columns();
        for (index, numerators) in numerators.chunks_exact(columns).enumerate() {
            let row = self.out.row(start + index);
            if keep {
                row.copy_from_slice(numerators);
            } else {
                let step = steps[start + index];
                simd(
                    #[inline(always)]
                    || row.iter_mut().zip(numerators).for_each(|(w, n)| *w += step * n),
                );
            }
        }
    }
}
