//! The three products of a layer whose patches are held at once, split over
//! the threads by patch, by neuron and by column of the patches.

use rayon::prelude::*;

use crate::linalg::{Mat, MatMut, Panels, Rows, gemm, project, sum_of_squares};

/// Neurons whose products one task computes.
const NEURONS: usize = 128;
/// The same where weights are read where they lie: some strips of the kernel,
/// and weights that stay in a core's cache.
const FEW_NEURONS: usize = 24;
/// Patches whose products one task computes.
const PATCHES: usize = 192;
/// Columns of the patches' gradient one task computes.
const COLUMNS: usize = 288;

/// `U = X W^T`: projections (N x C) of patches (N x D) on weights (C x D); and
/// the norms of the weights (C, or none wanted), taken while they are in cache.
pub(crate) fn project_patches(
    patches: &[f32],
    weights: &[f32],
    norms: &mut [f32],
    d: usize,
    panels: &mut Panels,
    out: &mut [f32],
) {
    let (n, c) = (patches.len() / d, weights.len() / d);
    let few = n < c;
    let size = if few { FEW_NEURONS } else { NEURONS };
    let panels = few.then(|| panels.pack(patches, d));
    let mut norms = norms.chunks_mut(size);
    let blocks = MatMut::new(out, n, c).split_cols(size).into_iter().zip(weights.chunks(size * d));
    let blocks: Vec<_> = blocks.map(|block| (block, norms.next().unwrap_or_default())).collect();
    blocks.into_par_iter().for_each(|((mut out, weights), norms)| {
        match panels {
            Some(panels) => project_few(weights, d, panels, &mut out),
            None => out
                .split_rows(PATCHES)
                .into_par_iter()
                .zip(patches.par_chunks(PATCHES * d))
                .for_each(|(mut out, patches)| {
                    let (rows, neurons) = out.shape();
                    let weights = Mat::new(weights, neurons, d).t();
                    gemm(&mut out, 0.0, 1.0, Mat::new(patches, rows, d), weights);
                }),
        }
        let rows = norms.iter_mut().zip(weights.chunks_exact(d));
        rows.for_each(|(norm, w)| *norm = sum_of_squares(w).sqrt());
    });
}

/// Projections of few patches, which are packed, while the weights are read
/// once and where they lie: there are more of them than fit the cache.
fn project_few(weights: &[f32], d: usize, patches: &Panels, out: &mut MatMut<'_>) {
    let (n, neurons) = out.shape();
    let starts: Vec<usize> = (0..neurons).map(|neuron| neuron * d).collect();
    let mut transposed = vec![0.0; neurons * n];
    project(&Rows::new(weights, &starts, (1, 0, d)), patches, &mut transposed);
    for patch in 0..n {
        let values = transposed[patch..].iter().step_by(n);
        out.row(patch).iter_mut().zip(values).for_each(|(out, &u)| *out = u);
    }
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
