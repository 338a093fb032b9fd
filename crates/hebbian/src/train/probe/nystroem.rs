//! The Nystroem map of the RBF kernel, which the published code puts between
//! features and nearest neighbours or support vector machines.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::linalg::{Mat, MatMut, gemm, sum_of_squares};

/// Rows one task maps.
const ROWS: usize = 64;
/// A basis vector of which no more than this is new beside those before it is
/// left out: single precision could not tell it from them.
const NEW: f64 = 1e-6;

/// From vectors to others whose inner products approximate
/// `k(x, y) = exp(-|x - y|^2 / dim)` (Williams & Seeger, NIPS 2000).
///
/// With the basis `b_1..b_n` and `K_ij = k(b_i, b_j)`, `x` goes to
/// `K^(-1/2) (k(x, b_1), ..., k(x, b_n))`, but for a rotation: with `K = L L^T`
/// it goes to `L^-1` of these, which leaves all distances and inner products
/// as they are, and so every neighbour and every linear separation.
#[derive(Clone, Debug, PartialEq)]
pub struct Nystroem {
    dim: usize,
    /// Basis, components x dim.
    basis: Vec<f32>,
    squares: Vec<f32>,
    /// `L^-1`, components x components, zeros above the diagonal.
    inverse: Vec<f32>,
}

impl Nystroem {
    /// The map of a basis, about as many vectors as components (published:
    /// 1000); copies among them are left out.
    ///
    /// # Shapes
    /// `basis`: n x dim.
    ///
    /// # Errors
    /// If the basis is empty.
    pub fn fit(basis: &[f32], dim: usize) -> Result<Self> {
        if basis.is_empty() || dim == 0 {
            return Err(Error::Data("a Nystroem map needs at least one basis vector".into()));
        }
        let all = Self::of(basis.to_vec(), dim, Vec::new());
        let n = all.squares.len();
        let kernel = all.kernel(basis);
        let mut kept: Vec<usize> = Vec::new();
        let mut factor: Vec<Vec<f64>> = Vec::new();
        for i in 0..n {
            let mut row: Vec<f64> = Vec::with_capacity(kept.len() + 1);
            for (&j, above) in kept.iter().zip(&factor) {
                let rest = f64::from(kernel[i * n + j]) - dot(&row, above);
                row.push(rest / above[row.len()]);
            }
            let new = 1.0 - dot(&row, &row);
            if new > NEW {
                row.push(new.sqrt());
                factor.push(row);
                kept.push(i);
            }
        }
        let n = kept.len();
        let kept = kept.iter().flat_map(|&i| &basis[i * dim..][..dim]).copied().collect();
        let rows = inverse(&factor).into_iter();
        let padded = rows.flat_map(|row| {
            let zeros = n - row.len();
            row.into_iter().map(|x| x as f32).chain(std::iter::repeat_n(0.0, zeros))
        });
        Ok(Self::of(kept, dim, padded.collect()))
    }

    fn of(basis: Vec<f32>, dim: usize, inverse: Vec<f32>) -> Self {
        let squares = basis.chunks_exact(dim).map(sum_of_squares).collect();
        Self { dim, basis, squares, inverse }
    }

    /// Length of the vectors it gives.
    pub fn components(&self) -> usize {
        self.squares.len()
    }

    /// Maps vectors.
    ///
    /// # Shapes
    /// `x`: rows x dim; result: rows x components.
    pub fn apply(&self, x: &[f32]) -> Vec<f32> {
        let n = self.components();
        let mut out = vec![0.0; x.len() / self.dim * n];
        let chunks = out.par_chunks_mut(ROWS * n).zip(x.par_chunks(ROWS * self.dim));
        chunks.for_each(|(out, x)| {
            let (kernel, rows) = (self.kernel(x), x.len() / self.dim);
            let inverse = Mat::new(&self.inverse, n, n).t();
            gemm(&mut MatMut::new(out, rows, n), 0.0, 1.0, Mat::new(&kernel, rows, n), inverse);
        });
        out
    }

    /// `k` of vectors (rows x dim) with the basis: rows x components.
    fn kernel(&self, x: &[f32]) -> Vec<f32> {
        let (n, dim) = (self.components(), self.dim);
        let rows = x.len() / dim;
        let mut out = vec![0.0; rows * n];
        let basis = Mat::new(&self.basis, n, dim).t();
        gemm(&mut MatMut::new(&mut out, rows, n), 0.0, 1.0, Mat::new(x, rows, dim), basis);
        for (out, x) in out.chunks_exact_mut(n).zip(x.chunks_exact(dim)) {
            let square = sum_of_squares(x);
            for (k, other) in out.iter_mut().zip(&self.squares) {
                *k = (-(square + other - 2.0 * *k).max(0.0) / dim as f32).exp();
            }
        }
        out
    }
}

/// Inner product of the entries that both have.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Rows of the inverse of a lower triangular matrix, up to the diagonal.
fn inverse(factor: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(factor.len());
    for row in factor {
        let Some((diagonal, left)) = row.split_last() else { continue };
        let mut sum = vec![0.0; row.len()];
        for (weight, above) in left.iter().zip(&rows) {
            sum.iter_mut().zip(above).for_each(|(sum, x)| *sum -= weight * x);
        }
        sum[left.len()] = 1.0;
        sum.iter_mut().for_each(|x| *x /= diagonal);
        rows.push(sum);
    }
    rows
}
