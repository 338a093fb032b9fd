//! Reconstructions with fewer patches than neurons: what neurons make of the
//! patches is subtracted from these, and no product of gates (C x C) is taken.

use std::ops::Range;

use rayon::prelude::*;

use super::batch::{Given, Scratch, clear_above};
use super::target::{Block, Cut, Parts, Target};
use crate::linalg::{Mat, MatMut, gemm};
use crate::ops::sized;
use crate::rules::Reconstruction;

/// Writes the residual before any neuron (N x columns): the patches, or
/// nothing where they are left out.
fn begin_residual(
    unmixes: bool,
    patches: &[f32],
    d: usize,
    columns: &Range<usize>,
    residual: &mut [f32],
) {
    if unmixes {
        residual.fill(0.0);
        return;
    }
    for (row, residual) in residual.chunks_exact_mut(columns.len()).enumerate() {
        residual.copy_from_slice(&patches[row * d..][columns.clone()]);
    }
}

/// Prefix reconstruction by deflation: with `E = X` and `R` on the right, for
/// each block `b` of neurons, `out_b = A_b^T E - tril(A_b^T R_b) W_b`, then
/// `E -= R_b W_b`.
///
/// The two products with `W_b` are one: `out_b` and `E` lie above each other,
/// and so do `tril(A_b^T R_b)` and `R_b`. Columns of the patches never meet.
pub(super) fn deflate(
    target: Target<'_>,
    (reconstruction, block): (Reconstruction, usize),
    given: &Given<'_>,
    d: usize,
    denominators: Vec<f32>,
    own: Option<Vec<f32>>,
    scratch: &mut Scratch,
) {
    let (gates, right) = (given.gates, given.right(reconstruction));
    let (n, c) = (given.patches.len() / d, denominators.len());
    let blocks: Vec<usize> = (0..c).step_by(block).collect();
    let explained: Vec<Vec<f32>> = blocks
        .par_iter()
        .map(|&start| {
            let rows = block.min(c - start);
            let gates = Mat::strided(&gates[start..], n, rows, c);
            let right = Mat::strided(&right[start..], n, rows, c);
            let mut stack = vec![0.0; (rows + n) * rows];
            let (gram, copy) = stack.split_at_mut(rows * rows);
            gemm(&mut MatMut::new(gram, rows, rows), 0.0, 1.0, gates.t(), right);
            clear_above(gram, rows, 0);
            for (row, copy) in copy.chunks_exact_mut(rows).enumerate() {
                copy.copy_from_slice(right.row(row));
            }
            stack
        })
        .collect();
    let Parts { steps, parts, .. } = target.parts(Cut::Columns, d, denominators);
    parts.into_par_iter().zip(scratch).for_each(|(mut part, scratch)| {
        let columns = part.block.columns.clone();
        let width = columns.len();
        let stack = sized(scratch, (block + n) * width);
        let residual = &mut stack[block * width..];
        begin_residual(reconstruction.unmixes(), given.patches, d, &columns, residual);
        for (&start, explained) in blocks.iter().zip(&explained) {
            let rows = block.min(c - start);
            let stack = &mut stack[(block - rows) * width..];
            let (out, residual) = stack.split_at_mut(rows * width);
            let gates = Mat::strided(&gates[start..], n, rows, c);
            let out = &mut MatMut::new(out, rows, width);
            gemm(out, 0.0, 1.0, gates.t(), Mat::new(residual, n, width));
            let stack_mat = &mut MatMut::new(stack, rows + n, width);
            let explained = Mat::new(explained, rows + n, rows);
            let block = Block { neurons: start..start + rows, columns: columns.clone() };
            gemm(stack_mat, 1.0, -1.0, explained, part.weights(&block));
            part.deliver(&block, &stack[..rows * width], own.as_deref(), &steps);
        }
    });
}

/// Reconstruction by all neurons: `E = X - R W`, then `A^T E`, in blocks of
/// neurons.
pub(super) fn from_residual(
    target: Target<'_>,
    (reconstruction, block): (Reconstruction, usize),
    given: &Given<'_>,
    d: usize,
    denominators: Vec<f32>,
    own: Option<Vec<f32>>,
    scratch: &mut Scratch,
) {
    let (gates, right) = (given.gates, given.right(reconstruction));
    let (n, c) = (given.patches.len() / d, denominators.len());
    let Parts { steps, parts, .. } = target.parts(Cut::Columns, d, denominators);
    parts.into_par_iter().zip(scratch).for_each(|(mut part, scratch)| {
        let columns = part.block.columns.clone();
        let width = columns.len();
        let buffer = sized(scratch, (block + n) * width);
        let (out, residual) = buffer.split_at_mut(block * width);
        begin_residual(reconstruction.unmixes(), given.patches, d, &columns, residual);
        let explained = &mut MatMut::new(residual, n, width);
        gemm(explained, 1.0, -1.0, Mat::new(right, n, c), part.weights(&part.block));
        for start in (0..c).step_by(block) {
            let rows = block.min(c - start);
            let out = &mut out[..rows * width];
            let gates = Mat::strided(&gates[start..], n, rows, c);
            let residual = Mat::new(residual, n, width);
            gemm(&mut MatMut::new(out, rows, width), 0.0, 1.0, gates.t(), residual);
            let block = Block { neurons: start..start + rows, columns: columns.clone() };
            part.deliver(&block, out, own.as_deref(), &steps);
        }
    });
}
