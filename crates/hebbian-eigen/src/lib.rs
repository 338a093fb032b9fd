//! Sums of products, and what their eigenvectors give: the matrix of a ZCA
//! whitening, and principal components.
//!
//! A crate of its own because the eigensolver takes minutes to compile, and
//! hardly ever changes.
//!
//! ```
//! // Independent elements with variances 4 and 1.
//! let matrix = hebbian_eigen::whitening(&[4.0, 0.0, 0.0, 1.0], 2, 0.0).unwrap();
//! let mut white = [0.0; 2];
//! hebbian_eigen::multiply(&[6.0, 3.0], &matrix, 2, &mut white);
//! assert_eq!(white, [3.0, 3.0]);
//! ```

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::traits::ComplexField;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Adds `X^T X` of rows `x` (N x dim) to `products` (dim x dim): to element
/// `[i, j]`, at `i * dim + j`, for `i <= j`; those for `i > j` are left alone.
///
/// # Panics
/// If the lengths do not fit together.
pub fn add_products(x: &[f64], dim: usize, products: &mut [f64]) {
    add_products_of(MatRef::from_row_major_slice(x, x.len() / dim, dim), products);
}

/// Adds `X^T X`, likewise.
fn add_products_of(x: MatRef<'_, f64>, products: &mut [f64]) {
    let dim = x.ncols();
    triangular::matmul(
        MatMut::from_column_major_slice_mut(products, dim, dim),
        BlockStructure::TriangularLower,
        Accum::Add,
        x.transpose(),
        BlockStructure::Rectangular,
        x,
        BlockStructure::Rectangular,
        1.0,
        Par::rayon(0),
    );
}

/// `U (S + smoothing)^(-1/2) U^T` of a covariance `U S U^T` (dim x dim,
/// symmetric): dim x dim, symmetric to the last bit. None where the eigenvalues
/// do not converge.
///
/// # Panics
/// If the covariance is not dim x dim.
pub fn whitening(covariance: &[f64], dim: usize, smoothing: f64) -> Option<Vec<f32>> {
    let (u, s) = eigen(covariance, dim)?;
    // Rounding can leave an eigenvalue of 0 a little below it.
    let root = |k: usize| (s[k].max(0.0) + smoothing).sqrt().sqrt();
    let half = Mat::from_fn(dim, dim, |i, k| u[(i, k)] / root(k));
    let mut z = Mat::zeros(dim, dim);
    multiply_columns(half.as_ref(), half.transpose(), z.as_mut());
    // Symmetric to the last bit, so that rows and columns are one.
    let element = |n: usize| z[((n / dim).max(n % dim), (n / dim).min(n % dim))] as f32;
    Some((0..dim * dim).into_par_iter().map(element).collect())
}

/// Eigenvectors of a symmetric matrix that is not indefinite, by falling
/// eigenvalue.
#[derive(Clone, Debug, PartialEq)]
pub struct Components {
    /// All eigenvalues, none below 0.
    pub values: Vec<f64>,
    /// Their eigenvectors, each dim numbers, one a row, of length 1; of the two of
    /// opposite signs that whose largest element is above 0.
    pub vectors: Vec<f32>,
}

impl Components {
    /// Of the columns of `vectors` by rising eigenvalue.
    fn new(values: &Diag<f64>, vectors: MatRef<'_, f64>) -> Self {
        let falling = || (0..vectors.ncols()).rev();
        let signed = falling().flat_map(|k| {
            let elements = move || (0..vectors.nrows()).map(move |i| vectors[(i, k)]);
            let largest = elements().fold(0.0f64, |m, x| if x.abs() > m.abs() { x } else { m });
            let sign = if largest < 0.0 { -1.0 } else { 1.0 };
            elements().map(move |x| (sign * x) as f32)
        });
        let vectors = signed.collect();
        Self { values: falling().map(|k| values[k].max(0.0)).collect(), vectors }
    }
}

/// The principal components of sums of products (dim x dim, of which
/// `[i, j]` for `i <= j` counts, as [`add_products`] leaves them). None where
/// the eigenvalues do not converge.
///
/// # Panics
/// If the sums are not dim x dim.
pub fn principal_components(products: &[f64], dim: usize) -> Option<Components> {
    let (u, s) = eigen(products, dim)?;
    Some(Components::new(&s, u.as_ref()))
}

/// The principal components of rows `x` (N x dim) that are fewer than the numbers
/// of one: N of them, those with the eigenvalues above 0 and as many at 0 as rows
/// depend on others, whose vectors say nothing. An eigenvector `u` of `X X^T` (N x N)
/// gives `X^T u`, of `X^T X`. None where the eigenvalues do not converge.
///
/// # Panics
/// If `x` is not rows of `dim`.
pub fn principal_components_of_few(x: &[f64], dim: usize) -> Option<Components> {
    let rows = x.len() / dim;
    let x = MatRef::from_row_major_slice(x, rows, dim);
    let mut products = vec![0.0; rows * rows];
    add_products_of(x.transpose(), &mut products);
    let (u, s) = eigen(&products, rows)?;
    let mut vectors = Mat::zeros(dim, rows);
    multiply_columns(x.transpose(), u.as_ref(), vectors.as_mut());
    for mut vector in vectors.col_iter_mut() {
        let length = vector.norm_l2();
        if length > 0.0 {
            vector /= length;
        }
    }
    Some(Components::new(&s, vectors.as_ref()))
}

/// Eigenvectors, by column, and rising eigenvalues of a symmetric matrix, of which
/// `[i, j]` for `i <= j` counts.
fn eigen(symmetric: &[f64], dim: usize) -> Option<(Mat<f64>, Diag<f64>)> {
    let (mut u, mut s) = (Mat::zeros(dim, dim), Diag::zeros(dim));
    // One thread: in parallel, the last bits would depend on how many there are.
    let scratch = self_adjoint_evd_scratch::<f64>(
        dim,
        ComputeEigenvectors::Yes,
        Par::Seq,
        Default::default(),
    );
    self_adjoint_evd(
        MatRef::from_column_major_slice(symmetric, dim, dim),
        s.as_mut(),
        Some(u.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .ok()?;
    Some((u, s))
}

/// `out = input matrix`, for rows of `dim` and a symmetric matrix; the same
/// bits for any number of threads.
///
/// # Panics
/// If the lengths do not fit together.
pub fn multiply(input: &[f32], matrix: &[f32], dim: usize, out: &mut [f32]) {
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
