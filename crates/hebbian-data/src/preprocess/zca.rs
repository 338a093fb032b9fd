//! The whitening matrix, and multiplying by it.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::traits::ComplexField;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::{Error, Result};

/// U (S + smoothing)^(-1/2) U^T of the covariance U S U^T, row after row.
pub(super) fn matrix(covariance: &Mat<f64>, smoothing: f64) -> Result<Vec<f32>> {
    let dim = covariance.nrows();
    let (mut u, mut s) = (Mat::zeros(dim, dim), Diag::zeros(dim));
    // One thread: in parallel, the last bits would depend on how many there are.
    let scratch = self_adjoint_evd_scratch::<f64>(
        dim,
        ComputeEigenvectors::Yes,
        Par::Seq,
        Default::default(),
    );
    self_adjoint_evd(
        covariance.as_ref(),
        s.as_mut(),
        Some(u.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| Error::Internal {
        problem: "the eigenvalues of the covariance did not converge".to_owned(),
    })?;
    // Rounding can leave an eigenvalue of 0 a little below it.
    let root = |k: usize| (s[k].max(0.0) + smoothing).sqrt().sqrt();
    let half = Mat::from_fn(dim, dim, |i, k| u[(i, k)] / root(k));
    let mut z = Mat::zeros(dim, dim);
    multiply_columns(half.as_ref(), half.transpose(), z.as_mut());
    // Symmetric to the last bit, so that rows and columns are one.
    let element = |n: usize| z[((n / dim).max(n % dim), (n / dim).min(n % dim))] as f32;
    Ok((0..dim * dim).into_par_iter().map(element).collect())
}

/// `out = input matrix`, for rows of `dim` and a symmetric matrix.
pub(super) fn multiply(input: &[f32], matrix: &[f32], dim: usize, out: &mut [f32]) {
    let rows = input.len() / dim;
    multiply_columns(
        MatRef::from_row_major_slice(input, rows, dim),
        // By columns, which are contiguous: the matrix is its own transpose.
        MatRef::from_column_major_slice(matrix, dim, dim),
        MatMut::from_row_major_slice_mut(out, rows, dim),
    );
}

/// `out = a b`, in parallel over columns; the same bits for any number of threads.
fn multiply_columns<T: ComplexField + Send + Sync>(
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    out: MatMut<'_, T>,
) {
    // A task reads its columns of `b` once for all rows.
    const COLUMNS: usize = 256;
    out.par_col_chunks_mut(COLUMNS).zip(b.par_col_chunks(COLUMNS)).for_each(|(out, b)| {
        matmul(out, Accum::Replace, a, b, T::one_impl(), Par::Seq);
    });
}
