//! The three products of a layer whose patches are held at once, split over
//! the threads by patch, by neuron and by column of the patches.

use rayon::prelude::*;

use crate::linalg::{Mat, MatMut, gemm, sum_of_squares};

/// Patches and neurons whose products one task computes.
const PATCHES: usize = 192;
const NEURONS: usize = 128;
/// Columns of the patches' gradient one task computes.
const COLUMNS: usize = 288;

/// `U = X W^T`: projections (N x C) of patches (N x D) on weights (C x D); and
/// the norms of the weights (C, or none wanted), taken while they are in cache.
pub(crate) fn project_patches(
    patches: &[f32],
    weights: &[f32],
    norms: &mut [f32],
    d: usize,
    out: &mut [f32],
) {
    let (n, c) = (patches.len() / d, weights.len() / d);
    let mut norms = Some(norms);
    let starts = (0..n).step_by(PATCHES);
    let blocks = out.chunks_mut(PATCHES * c).zip(starts).map(|(out, start)| {
        let rows = out.len() / c;
        let patches = Mat::new(&patches[start * d..(start + rows) * d], rows, d);
        let norms = norms.take().unwrap_or_default().chunks_mut(NEURONS).map(Some);
        let norms = norms.chain(std::iter::repeat_with(|| None));
        let blocks = MatMut::new(out, rows, c).split_cols(NEURONS).into_iter();
        blocks.zip(weights.chunks(NEURONS * d)).zip(norms).map(move |b| (patches, b)).collect()
    });
    let blocks: Vec<Vec<_>> = blocks.collect();
    blocks.into_par_iter().flatten().for_each(|(patches, ((mut out, weights), norms))| {
        if let Some(norms) = norms {
            let rows = norms.iter_mut().zip(weights.chunks_exact(d));
            rows.for_each(|(norm, w)| *norm = sum_of_squares(w).sqrt());
        }
        let neurons = Mat::new(weights, out.shape().1, d);
        gemm(&mut out, 0.0, 1.0, patches, neurons.t());
    });
}

/// `dW = dU^T X`: gradient by the weights (C x D), from that by the
/// projections (N x C) of patches (N x D).
pub(crate) fn gradient_by_weights(d_u: &[f32], patches: &[f32], d: usize, d_weights: &mut [f32]) {
    let (n, c) = (patches.len() / d, d_weights.len() / d);
    d_weights.par_chunks_mut(NEURONS * d).enumerate().for_each(|(block, d_weights)| {
        let neurons = d_weights.len() / d;
        let d_u = Mat::strided(&d_u[block * NEURONS..], n, neurons, c);
        let out = &mut MatMut::new(d_weights, neurons, d);
        gemm(out, 0.0, 1.0, d_u.t(), Mat::new(patches, n, d));
    });
}

/// `dX = dU W`: gradient by the patches (N x D), from that by their
/// projections (N x C) on weights (C x D).
pub(crate) fn gradient_by_patches(d_u: &[f32], weights: &[f32], c: usize, d_patches: &mut [f32]) {
    let (n, d) = (d_u.len() / c, weights.len() / c);
    let blocks = MatMut::new(d_patches, n, d).split_cols(COLUMNS);
    blocks.into_par_iter().enumerate().for_each(|(block, mut out)| {
        let columns = out.shape().1;
        let weights = Mat::strided(&weights[block * COLUMNS..], c, columns, d);
        gemm(&mut out, 0.0, 1.0, Mat::new(d_u, n, c), weights);
    });
}
