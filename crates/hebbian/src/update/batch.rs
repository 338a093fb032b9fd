//! The products of an update, in blocks that stay in cache: some columns of
//! the patches by some neurons at a time.

use rayon::prelude::*;

use super::Order;
use super::deflation::{deflate, from_residual};
use super::target::{Block, Cut, PARTS, Parts, Target};
use crate::linalg::{Mat, MatMut, add_column_sums, gemm};
use crate::ops::sized;
use crate::rules::{Reach, Reconstruction};

/// Neurons of a block.
const NEURONS: usize = 128;

/// Rows of a Gram matrix multiplied at a time: the more, the more is computed
/// above its diagonal.
const GRAM_ROWS: usize = 48;

/// Rows whose sums are taken apart before they are added to those of all
/// rows: long sums in single precision lose less so.
pub(super) const ROWS: usize = 512;

/// All of a batch that an update is made of.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    /// Patches, N x D.
    pub(super) patches: &'a [f32],
    /// Gates, N x C.
    pub(super) gates: &'a [f32],
    /// Projections, N x C.
    pub(super) projections: &'a [f32],
}

impl<'a> Given<'a> {
    /// What stands on the right of the product of gates, N x C.
    pub(super) fn right(&self, reconstruction: Reconstruction) -> &'a [f32] {
        if reconstruction.unmixes() { self.projections } else { self.gates }
    }
}

/// What is subtracted from `A^T X`.
pub(super) struct Subtract {
    /// Factors `f` of each neuron's own weight: `diag(f) W`.
    pub(super) own: Option<Vec<f32>>,
    /// Factors of the weights in reach, C x C, zero for those out of it:
    /// `gram W`.
    pub(super) gram: Option<(Vec<f32>, Reach)>,
}

/// Factors of each neuron's own weight, from its denominator or the sum of its
/// gates.
pub(super) fn own_factors(
    reconstruction: Reconstruction,
    denominators: &[f32],
    gate_sums: impl FnOnce() -> Vec<f32>,
) -> Option<Vec<f32>> {
    match reconstruction {
        Reconstruction::Own => Some(gate_sums()),
        Reconstruction::Decay(rate) => Some(denominators.iter().map(|d| rate * d).collect()),
        Reconstruction::Unmixing(_) => Some(denominators.iter().map(|d| -d).collect()),
        Reconstruction::Prefix | Reconstruction::All | Reconstruction::Tangent(_) => None,
    }
}

/// Buffers of the parts of an update.
pub(crate) type Scratch = [Vec<f32>; PARTS];

/// Delivers `A^T X - Rec` to `target`. `product` writes `A^T X` of a block.
///
/// Where a neuron's own weight is all it subtracts, threads share out the
/// neurons. Else they share out the columns, and blocks go from the last
/// neuron to the first, since a prefix reconstruction reads the weights of
/// the neurons before; where all weights are read, all neurons are one block.
pub(super) fn deliver(
    target: Target<'_>,
    d: usize,
    denominators: Vec<f32>,
    subtract: &Subtract,
    scratch: &mut Scratch,
    product: impl Fn(&Block, &mut [f32]) + Sync,
) {
    let c = denominators.len();
    let (cut, most) = match &subtract.gram {
        None => (Cut::Neurons, NEURONS),
        Some((_, Reach::Prefix)) => (Cut::Columns, NEURONS),
        Some((_, Reach::All)) => (Cut::Columns, c),
    };
    let own = subtract.own.as_deref();
    let Parts { steps, columns: width, parts } = target.parts(cut, d, denominators);
    parts.into_par_iter().zip(scratch).for_each(|(mut part, scratch)| {
        let Block { neurons, columns } = part.block.clone();
        for start in neurons.clone().step_by(most).rev() {
            let neurons = start..neurons.end.min(start + most);
            for column in columns.clone().step_by(width) {
                let columns = column..columns.end.min(column + width);
                let block = Block { neurons: neurons.clone(), columns };
                let out = sized(scratch, neurons.len() * block.columns.len());
                product(&block, out);
                if let Some((gram, reach)) = &subtract.gram {
                    let upto = if *reach == Reach::All { c } else { neurons.end };
                    let gram = Mat::strided(&gram[start * c..], neurons.len(), upto, c);
                    let upto = Block { neurons: 0..upto, ..block.clone() };
                    let out = &mut MatMut::new(out, neurons.len(), block.columns.len());
                    gemm(out, 1.0, -1.0, gram, part.weights(&upto));
                }
                part.deliver(&block, out, own, &steps);
            }
        }
    });
}

/// Delivers the update from all patches and gates of a batch.
pub(super) fn from_batch(
    target: Target<'_>,
    (reconstruction, order): (Reconstruction, Order),
    given: &Given<'_>,
    d: usize,
    denominators: Vec<f32>,
    scratch: &mut Scratch,
) {
    let Given { patches, gates, .. } = *given;
    let (n, c) = (patches.len() / d, denominators.len());
    let own = own_factors(reconstruction, &denominators, || {
        let mut sums = vec![0.0; c];
        gates.chunks(ROWS * c).for_each(|gates| add_column_sums(gates, &mut sums));
        sums
    });
    let gram = match (reconstruction.reach(), order) {
        (None, _) => None,
        (Some(reach), Order::Gram) => {
            Some((gram(gates, given.right(reconstruction), c, reach), reach))
        }
        (Some(Reach::Prefix), Order::Deflation { block }) => {
            deflate(target, (reconstruction, block), given, d, denominators, own, scratch);
            return;
        }
        (Some(Reach::All), Order::Deflation { block }) => {
            from_residual(target, (reconstruction, block), given, d, denominators, own, scratch);
            return;
        }
    };
    deliver(target, d, denominators, &Subtract { own, gram }, scratch, |block, out| {
        if reconstruction.unmixes() {
            out.fill(0.0);
            return;
        }
        let (rows, columns) = (block.neurons.len(), block.columns.len());
        let gates = Mat::strided(&gates[block.neurons.start..], n, rows, c);
        let patches = Mat::strided(&patches[block.columns.start..], n, columns, d);
        gemm(&mut MatMut::new(out, rows, columns), 0.0, 1.0, gates.t(), patches);
    });
}

/// Adds to `gram` (C x C) `A^T R` of gates and what stands on their right,
/// rows x C each; for a prefix, to its lower triangle and some numbers above.
pub(super) fn add_gram(gates: &[f32], right: &[f32], c: usize, reach: Reach, gram: &mut [f32]) {
    let rows = gates.len() / c;
    let most = if reach == Reach::All { c } else { GRAM_ROWS };
    for (block, gram) in gram.chunks_mut(most * c).enumerate() {
        let (start, neurons) = (block * most, gram.len() / c);
        let own = Mat::strided(&gates[start..], rows, neurons, c);
        let upto = Mat::strided(right, rows, start + neurons, c);
        let out = &mut MatMut::strided(gram, neurons, start + neurons, c);
        gemm(out, 1.0, 1.0, own.t(), upto);
    }
}

/// `A^T R` of gates and what stands on their right, N x C each, with zeros
/// above the diagonal for a prefix: C x C.
fn gram(gates: &[f32], right: &[f32], c: usize, reach: Reach) -> Vec<f32> {
    let n = gates.len() / c;
    let mut gram = vec![0.0; c * c];
    gram.par_chunks_mut(NEURONS * c).enumerate().for_each(|(block, gram)| {
        let (start, rows) = (block * NEURONS, gram.len() / c);
        let upto = if reach == Reach::All { c } else { start + rows };
        let own = Mat::strided(&gates[start..], n, rows, c);
        let right = Mat::strided(right, n, upto, c);
        gemm(&mut MatMut::strided(gram, rows, upto, c), 0.0, 1.0, own.t(), right);
        if reach == Reach::Prefix {
            clear_above(gram, c, start);
        }
    });
    gram
}

/// Sets to zero what lies right of the diagonal; row 0 is neuron `start`.
pub(super) fn clear_above(gram: &mut [f32], stride: usize, start: usize) {
    for (row, gram) in gram.chunks_exact_mut(stride).enumerate() {
        gram[start + row + 1..].fill(0.0);
    }
}
