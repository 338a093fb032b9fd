//! Sums and sums of products of pixels, exact.

use super::{Whitening, Zca};
use crate::{Error, Result};

/// First and second moments of vectors of bytes.
///
/// Products of bytes are integers, and their sums stay far below 2^53, so every
/// sum here is exact in f64 and the same in any order and for any number of
/// threads. Means and covariances of any scaling of the pixels follow from them.
pub(super) struct Moments {
    dim: usize,
    /// Images seen; each brings one or more vectors.
    images: usize,
    vectors: usize,
    /// dim.
    sum: Vec<f64>,
    /// dim x dim, of which `[i, j]` for `i <= j` counts.
    products: Vec<f64>,
}

impl Moments {
    pub(super) fn new(dim: usize) -> Self {
        let (sum, products) = (vec![0.0; dim], vec![0.0; dim * dim]);
        Self { dim, images: 0, vectors: 0, sum, products }
    }

    /// Adds the vectors that lie in `bytes`, which come from `images` images.
    pub(super) fn add(&mut self, bytes: &[u8], images: usize) {
        // Bounds the memory of the vectors as f64.
        const BLOCK_BYTES: usize = 1 << 21;
        let block = (BLOCK_BYTES / self.dim).max(1);
        for bytes in bytes.chunks(block * self.dim) {
            let values: Vec<f64> = bytes.iter().map(|&byte| f64::from(byte)).collect();
            for row in values.chunks_exact(self.dim) {
                for (sum, value) in self.sum.iter_mut().zip(row) {
                    *sum += value;
                }
            }
            hebbian_eigen::add_products(&values, self.dim, &mut self.products);
            self.vectors += values.len() / self.dim;
        }
        self.images += images;
    }

    /// Mean and standard deviation of each channel, pixels in 0 to 1. A channel
    /// without variance has standard deviation 1: it is centred and left so.
    pub(super) fn channels(&self) -> ([f64; 3], [f64; 3]) {
        let mut mean = [0.0; 3];
        let mut square = [0.0; 3];
        for i in 0..self.dim {
            mean[i % 3] += self.sum[i];
            square[i % 3] += self.products[i * self.dim + i];
        }
        let count = (self.vectors * self.dim / 3) as f64;
        let std = std::array::from_fn(|c| {
            let mean = mean[c] / count;
            let variance = square[c] / count - mean * mean;
            if variance > 0.0 { variance.sqrt() / 255.0 } else { 1.0 }
        });
        (mean.map(|sum| sum / count / 255.0), std)
    }

    /// The whitening of one of the published definitions.
    pub(super) fn zca(&self, kind: Whitening, smoothing: f64) -> Result<Zca> {
        let vectors = self.vectors as f64;
        let (mean, std) = self.channels();
        // What each element is centred on and divided by, in bytes.
        let centre: Vec<f64> = match kind {
            Whitening::Hl21 => self.sum.iter().map(|sum| sum / vectors).collect(),
            _ => (0..self.dim).map(|i| mean[i % 3] * 255.0).collect(),
        };
        let scale = |i: usize| if kind == Whitening::Hl21 { 255.0 } else { std[i % 3] * 255.0 };
        let over = (self.images - 1) as f64;
        let covariance = |n: usize| {
            let (i, j) = (n / self.dim, n % self.dim);
            let (a, b) = (i.max(j), i.min(j));
            let (ca, cb) = (centre[a], centre[b]);
            let product = self.products[b * self.dim + a] - ca * self.sum[b] - cb * self.sum[a]
                + vectors * ca * cb;
            product / (over * scale(a) * scale(b))
        };
        let covariance: Vec<f64> = (0..self.dim * self.dim).map(covariance).collect();
        let mean = match kind {
            Whitening::Hl21 => centre.iter().map(|c| (c / 255.0) as f32).collect(),
            _ => Vec::new(),
        };
        let matrix =
            hebbian_eigen::whitening(&covariance, self.dim, smoothing).ok_or_else(|| {
                let problem = "the eigenvalues of the covariance did not converge".to_owned();
                Error::Internal { problem }
            })?;
        Ok(Zca { kind, smoothing, mean, matrix })
    }
}
