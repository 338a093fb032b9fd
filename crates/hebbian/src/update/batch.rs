//! The products of an update, in blocks that stay in cache: some columns of
//! the patches by some neurons at a time.

use rayon::prelude::*;

use super::Order;
use super::target::{Block, Cut, PARTS, Parts, Target};
use crate::linalg::{Mat, MatMut, add_column_sums, gemm};
use crate::ops::sized;
use crate::rules::Reconstruction;

/// Neurons of a block.
const NEURONS: usize = 128;

/// Rows of a Gram matrix multiplied at a time: the more, the more is computed
/// above its diagonal.
const GRAM_ROWS: usize = 48;

/// Rows whose sums are taken apart before they are added to those of all
/// rows: long sums in single precision lose less so.
pub(super) const ROWS: usize = 512;

/// What is subtracted from `A^T X`.
pub(super) enum Subtract<'a> {
    /// `diag(sums) W`.
    Own(&'a [f32]),
    /// `gram W`, `gram` (C x C) lower triangular.
    Prefix(&'a [f32]),
}

/// Buffers of the parts of an update.
pub(crate) type Scratch = [Vec<f32>; PARTS];

/// Delivers `A^T X - Rec` to `target`. `product` writes `A^T X` of a block.
///
/// Where a neuron's own weight is all it subtracts, threads share out the
/// neurons. Else they share out the columns, and blocks go from the last
/// neuron to the first, since a prefix reconstruction reads the weights of
/// the neurons before.
pub(super) fn deliver(
    target: Target<'_>,
    d: usize,
    denominators: Vec<f32>,
    subtract: &Subtract<'_>,
    scratch: &mut Scratch,
    product: impl Fn(&Block, &mut [f32]) + Sync,
) {
    let c = denominators.len();
    let cut = match subtract {
        Subtract::Own(_) => Cut::Neurons,
        Subtract::Prefix(_) => Cut::Columns,
    };
    let Parts { steps, columns: width, parts } = target.parts(cut, d, denominators);
    parts.into_par_iter().zip(scratch).for_each(|(mut part, scratch)| {
        let Block { neurons, columns } = part.block.clone();
        for start in neurons.clone().step_by(NEURONS).rev() {
            let neurons = start..neurons.end.min(start + NEURONS);
            for column in columns.clone().step_by(width) {
                let columns = column..columns.end.min(column + width);
                let block = Block { neurons: neurons.clone(), columns };
                let out = sized(scratch, neurons.len() * block.columns.len());
                product(&block, out);
                match subtract {
                    Subtract::Own(sums) => part.deliver(&block, out, Some(sums), &steps),
                    Subtract::Prefix(gram) => {
                        let (rows, upto) =
                            (neurons.len(), Block { neurons: 0..neurons.end, ..block.clone() });
                        let gram = Mat::strided(&gram[start * c..], rows, neurons.end, c);
                        let difference = &mut MatMut::new(out, rows, block.columns.len());
                        gemm(difference, 1.0, -1.0, gram, part.weights(&upto));
                        part.deliver(&block, out, None, &steps);
                    }
                }
            }
        }
    });
}

/// Delivers the update from all patches (N x D) and gates (N x C) of a batch.
pub(super) fn from_batch(
    target: Target<'_>,
    (reconstruction, order): (Reconstruction, Order),
    (patches, gates): (&[f32], &[f32]),
    d: usize,
    denominators: Vec<f32>,
    scratch: &mut Scratch,
) {
    let (n, c) = (patches.len() / d, denominators.len());
    let product = |block: &Block, out: &mut [f32]| {
        let (rows, columns) = (block.neurons.len(), block.columns.len());
        let gates = Mat::strided(&gates[block.neurons.start..], n, rows, c);
        let patches = Mat::strided(&patches[block.columns.start..], n, columns, d);
        gemm(&mut MatMut::new(out, rows, columns), 0.0, 1.0, gates.t(), patches);
    };
    match (reconstruction, order) {
        (Reconstruction::Own, _) => {
            let mut sums = vec![0.0; c];
            gates.chunks(ROWS * c).for_each(|gates| add_column_sums(gates, &mut sums));
            deliver(target, d, denominators, &Subtract::Own(&sums), scratch, product);
        }
        (Reconstruction::Prefix, Order::Gram) => {
            let gram = lower_gram(gates, c);
            deliver(target, d, denominators, &Subtract::Prefix(&gram), scratch, product);
        }
        (Reconstruction::Prefix, Order::Deflation { block }) => {
            deflate(target, block, (patches, gates), d, denominators, scratch);
        }
    }
}

/// Adds to the lower triangle of `gram` (C x C), and to some numbers above
/// it, those of `A^T A` of gates rows x C.
pub(super) fn add_lower_gram(gates: &[f32], c: usize, gram: &mut [f32]) {
    let rows = gates.len() / c;
    for (block, gram) in gram.chunks_mut(GRAM_ROWS * c).enumerate() {
        let (start, neurons) = (block * GRAM_ROWS, gram.len() / c);
        let own = Mat::strided(&gates[start..], rows, neurons, c);
        let upto = Mat::strided(gates, rows, start + neurons, c);
        let out = &mut MatMut::strided(gram, neurons, start + neurons, c);
        gemm(out, 1.0, 1.0, own.t(), upto);
    }
}

/// `tril(A^T A)` of gates N x C, zeros above the diagonal: C x C.
fn lower_gram(gates: &[f32], c: usize) -> Vec<f32> {
    let n = gates.len() / c;
    let mut gram = vec![0.0; c * c];
    gram.par_chunks_mut(NEURONS * c).enumerate().for_each(|(block, gram)| {
        let (start, rows) = (block * NEURONS, gram.len() / c);
        let own = Mat::strided(&gates[start..], n, rows, c);
        let upto = Mat::strided(gates, n, start + rows, c);
        gemm(&mut MatMut::strided(gram, rows, start + rows, c), 0.0, 1.0, own.t(), upto);
        clear_above(gram, c, start);
    });
    gram
}

/// Sets to zero what lies right of the diagonal; row 0 is neuron `start`.
pub(super) fn clear_above(gram: &mut [f32], stride: usize, start: usize) {
    for (row, gram) in gram.chunks_exact_mut(stride).enumerate() {
        gram[start + row + 1..].fill(0.0);
    }
}

/// Prefix reconstruction by deflation: with `E = X`, for each block `b` of
/// neurons, `out_b = A_b^T E - tril(A_b^T A_b) W_b`, then `E -= A_b W_b`.
///
/// The two products with `W_b` are one: `out_b` and `E` lie above each other,
/// and so do `tril(A_b^T A_b)` and `A_b`. Columns of the patches never meet.
fn deflate(
    target: Target<'_>,
    block: usize,
    (patches, gates): (&[f32], &[f32]),
    d: usize,
    denominators: Vec<f32>,
    scratch: &mut Scratch,
) {
    let (n, c) = (patches.len() / d, denominators.len());
    let blocks: Vec<usize> = (0..c).step_by(block).collect();
    let explained: Vec<Vec<f32>> = blocks
        .par_iter()
        .map(|&start| {
            let rows = block.min(c - start);
            let gates = Mat::strided(&gates[start..], n, rows, c);
            let mut stack = vec![0.0; (rows + n) * rows];
            let (gram, copy) = stack.split_at_mut(rows * rows);
            gemm(&mut MatMut::new(gram, rows, rows), 0.0, 1.0, gates.t(), gates);
            clear_above(gram, rows, 0);
            for (row, copy) in copy.chunks_exact_mut(rows).enumerate() {
                copy.copy_from_slice(gates.row(row));
            }
            stack
        })
        .collect();
    let Parts { steps, parts, .. } = target.parts(Cut::Columns, d, denominators);
    parts.into_par_iter().zip(scratch).for_each(|(mut part, scratch)| {
        let columns = part.block.columns.clone();
        let width = columns.len();
        let stack = sized(scratch, (block + n) * width);
        for (row, residual) in stack[block * width..].chunks_exact_mut(width).enumerate() {
            residual.copy_from_slice(&patches[row * d..][columns.clone()]);
        }
        for (&start, explained) in blocks.iter().zip(&explained) {
            let rows = block.min(c - start);
            let stack = &mut stack[(block - rows) * width..];
            let (out, residual) = stack.split_at_mut(rows * width);
            let gates = Mat::strided(&gates[start..], n, rows, c);
            let out = &mut MatMut::new(out, rows, width);
            gemm(out, 0.0, 1.0, gates.t(), Mat::new(residual, n, width));
            let stack_mat = &mut MatMut::new(stack, rows + n, width);
            let explained = Mat::new(explained, rows + n, rows);
            let own = Block { neurons: start..start + rows, columns: columns.clone() };
            gemm(stack_mat, 1.0, -1.0, explained, part.weights(&own));
            part.deliver(&own, &stack[..rows * width], None, &steps);
        }
    });
}
