//! A block of vectors made ready for the matrix product.

use rayon::prelude::*;

use super::distance::{LANES, Norm};
use crate::vectors::{Vectors, check_finite};
use crate::{Error, Result};

/// Some consecutive rows of a set of vectors, moved to a common origin.
///
/// The origin is the first vector of the gallery: distances do not change, but vectors that share
/// a large offset become small, so that the product form keeps its precision; and integers stay
/// integers. Buffers are reused from block to block.
#[derive(Default)]
pub(super) struct Panel {
    /// Rows as they were read, `[len, dim]`.
    pub(super) raw: Vec<f32>,
    /// Rows minus the origin, `[len, dim]`.
    pub(super) moved: Vec<f64>,
    /// One per row.
    pub(super) norms: Vec<Norm>,
}

impl Panel {
    /// Reads rows `start..start + n` of `vectors` and moves them to `origin`.
    ///
    /// # Errors
    /// The error of `vectors`; [`Error::Dimension`] if it hands out another shape than it claims;
    /// [`Error::NotFinite`].
    pub(super) fn load(
        &mut self,
        what: &'static str,
        vectors: &dyn Vectors,
        start: usize,
        n: usize,
        origin: &[f32],
    ) -> Result<()> {
        let dim = origin.len();
        vectors.read(start, n, &mut self.raw)?;
        if self.raw.len() != n * dim {
            return Err(Error::Dimension { what, expected: dim, found: self.raw.len() / n.max(1) });
        }
        let origin_integral = integral(origin);
        self.moved.resize(n * dim, 0.0);
        self.raw
            .par_chunks_exact(dim)
            .zip(self.moved.par_chunks_exact_mut(dim))
            .map(|(raw, moved)| move_row(raw, origin, origin_integral, moved))
            .collect_into_vec(&mut self.norms);
        // Squares of finite f32 do not overflow in f64, so only a value that is not finite does.
        if self.norms.iter().any(|norm| !norm.squared.is_finite()) {
            check_finite(what, start, dim, &self.raw)?;
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.norms.len()
    }
}

fn move_row(raw: &[f32], origin: &[f32], origin_integral: bool, moved: &mut [f64]) -> Norm {
    for ((moved, &value), &origin) in moved.iter_mut().zip(raw).zip(origin) {
        *moved = f64::from(value) - f64::from(origin);
    }
    // Interleaved, because a single sum would wait for every addition.
    let (blocks, rest) = moved.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for block in blocks {
        for (sum, value) in sums.iter_mut().zip(block) {
            *sum += value * value;
        }
    }
    let rest: f64 = rest.iter().map(|value| value * value).sum();
    let squared = sums.iter().sum::<f64>() + rest;
    Norm { squared, length: squared.sqrt(), integral: origin_integral && integral(raw) }
}

/// Whether all values are integers that fit 32 bits; larger ones are of no use to the
/// [`ErrorBound`](super::distance::ErrorBound).
fn integral(values: &[f32]) -> bool {
    values.iter().all(|&value| value as i32 as f32 == value)
}
