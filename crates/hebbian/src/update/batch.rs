//! Products over all patches of a batch at once, the work split by neuron or
//! by patch column: for layers with fewer patches than neurons, and for the
//! published order.

use rayon::prelude::*;

use super::Order;
use crate::linalg::{Mat, MatMut, gemm};
use crate::rules::Reconstruction;

/// Neurons one task handles.
const NEURONS: usize = 128;
/// Patch columns one task of the deflation handles.
const COLUMNS: usize = 288;

/// `A^T X - Rec` (C x D) of patches (N x D) and gates (N x C). Deflation uses
/// the patches up.
pub(super) fn numerators(
    (reconstruction, order): (Reconstruction, Order),
    d: usize,
    patches: &mut [f32],
    gates: &[f32],
    weights: &[f32],
    out: &mut [f32],
) {
    match (reconstruction, order) {
        (Reconstruction::Own, _) => {
            let sums = column_sums(gates, out.len() / d);
            gate_patches(d, patches, gates, out);
            subtract_own(d, &sums, weights, out);
        }
        (Reconstruction::Prefix, Order::Gram) => {
            let c = out.len() / d;
            gate_patches(d, patches, gates, out);
            subtract_prefix(d, &gram(gates, c), weights, out);
        }
        (Reconstruction::Prefix, Order::Deflation { block }) => {
            deflate(block, d, patches, gates, weights, out);
        }
    }
}

/// `out = A^T X`.
fn gate_patches(d: usize, patches: &[f32], gates: &[f32], out: &mut [f32]) {
    let (n, c) = (patches.len() / d, out.len() / d);
    out.par_chunks_mut(NEURONS * d).enumerate().for_each(|(block, out)| {
        let neurons = out.len() / d;
        let gates = Mat::strided(&gates[block * NEURONS..], n, neurons, c);
        gemm(&mut MatMut::new(out, neurons, d), 0.0, 1.0, gates.t(), Mat::new(patches, n, d));
    });
}

/// Sum of each column of the gates (N x C).
fn column_sums(gates: &[f32], c: usize) -> Vec<f32> {
    let mut sums = vec![0.0; c];
    for row in gates.chunks_exact(c) {
        sums.iter_mut().zip(row).for_each(|(sum, a)| *sum += a);
    }
    sums
}

/// `A^T A`, of which at least the lower triangle is filled, C x C.
fn gram(gates: &[f32], c: usize) -> Vec<f32> {
    let n = gates.len() / c;
    let mut gram = vec![0.0; c * c];
    gram.par_chunks_mut(NEURONS * c).enumerate().for_each(|(block, gram)| {
        let (start, rows) = (block * NEURONS, gram.len() / c);
        let own = Mat::strided(&gates[start..], n, rows, c);
        let upto = Mat::strided(gates, n, start + rows, c);
        gemm(&mut MatMut::strided(gram, rows, start + rows, c), 0.0, 1.0, own.t(), upto);
    });
    gram
}

/// `out_i -= sums_i w_i`.
pub(super) fn subtract_own(d: usize, sums: &[f32], weights: &[f32], out: &mut [f32]) {
    let rows = out.par_chunks_mut(d).zip(weights.par_chunks(d)).zip(sums);
    rows.for_each(|((out, w), &sum)| {
        out.iter_mut().zip(w).for_each(|(out, w)| *out -= sum * w);
    });
}

/// `out -= tril(gram) W`.
pub(super) fn subtract_prefix(d: usize, gram: &[f32], weights: &[f32], out: &mut [f32]) {
    let c = out.len() / d;
    out.par_chunks_mut(NEURONS * d).enumerate().for_each(|(block, out)| {
        let (start, rows) = (block * NEURONS, out.len() / d);
        let mut prefix = gram[start * c..(start + rows) * c].to_vec();
        lower_triangle(&mut prefix, rows, c, start);
        let prefix = Mat::strided(&prefix, rows, start + rows, c);
        let weights = Mat::new(&weights[..(start + rows) * d], start + rows, d);
        gemm(&mut MatMut::new(out, rows, d), 1.0, -1.0, prefix, weights);
    });
}

/// Sets to zero what lies right of the diagonal; row 0 is neuron `start`.
fn lower_triangle(gram: &mut [f32], rows: usize, stride: usize, start: usize) {
    for row in 0..rows {
        gram[row * stride + start + row + 1..(row + 1) * stride].fill(0.0);
    }
}

/// Prefix reconstruction by deflation: with `E = X`, for each block `b` of
/// neurons, `out_b = A_b^T E - tril(A_b^T A_b) W_b`, then `E -= A_b W_b`.
/// Columns of the patches never meet, so each task takes some of them.
fn deflate(
    block: usize,
    d: usize,
    patches: &mut [f32],
    gates: &[f32],
    weights: &[f32],
    out: &mut [f32],
) {
    let (n, c) = (patches.len() / d, out.len() / d);
    let blocks: Vec<usize> = (0..c).step_by(block).collect();
    let grams: Vec<Vec<f32>> = blocks
        .par_iter()
        .map(|&start| {
            let rows = block.min(c - start);
            let gates = Mat::strided(&gates[start..], n, rows, c);
            let mut gram = vec![0.0; rows * rows];
            gemm(&mut MatMut::new(&mut gram, rows, rows), 0.0, 1.0, gates.t(), gates);
            lower_triangle(&mut gram, rows, rows, 0);
            gram
        })
        .collect();
    let residuals = MatMut::new(patches, n, d).split_cols(COLUMNS);
    let outs = MatMut::new(out, c, d).split_cols(COLUMNS);
    residuals.into_par_iter().zip(outs).enumerate().for_each(|(part, (mut residual, mut out))| {
        let columns = residual.shape().1;
        for (&start, gram) in blocks.iter().zip(&grams) {
            let rows = block.min(c - start);
            let gates = Mat::strided(&gates[start..], n, rows, c);
            let weights = &weights[start * d + part * COLUMNS..];
            let weights = Mat::strided(weights, rows, columns, d);
            let mut out = out.rows(start, rows);
            gemm(&mut out, 0.0, 1.0, gates.t(), residual.as_mat());
            gemm(&mut out, 1.0, -1.0, Mat::new(gram, rows, rows), weights);
            gemm(&mut residual, 1.0, -1.0, gates, weights);
        }
    });
}
