//! Rows made ready for the matrix product: a block of queries, a tile of the gallery.
//!
//! All rows are moved to a common origin, the mean of some gallery vectors. Distances do not
//! change, but vectors that share a large offset become small, so that the product form keeps its
//! precision; and integers stay integers.

use rayon::prelude::*;

use super::distance::Norm;
use super::precision::Precision;
use super::squared::LANES;
use crate::gemm::STRIP;
use crate::packed::{Buffer, pack};
use crate::vectors::{Vectors, check_finite};
use crate::{Error, Result};

/// Most gallery vectors that the origin is the mean of.
const SAMPLE: usize = 256;
/// Gallery vectors, and queries, of one matrix product: what is read of the queries at a time fits
/// the second-level cache.
pub(super) const PRODUCT_ROWS: usize = 512;
/// See [`PRODUCT_ROWS`].
pub(super) const PRODUCT_QUERIES: usize = 42 * STRIP;

/// The origin for searches of `gallery`: the mean of up to [`SAMPLE`] vectors spread evenly over
/// it, rounded to integers if they hold nothing else.
///
/// # Errors
/// Those of [`read_rows`].
pub(super) fn origin(gallery: &dyn Vectors) -> Result<Vec<f32>> {
    let (len, dim) = (gallery.len(), gallery.dim());
    let sample = len.min(SAMPLE);
    let mut sums = vec![0.0_f64; dim];
    let (mut row, mut integers) = (Vec::new(), true);
    for i in 0..sample {
        let at = (i as u128 * len as u128 / sample as u128) as usize;
        read_rows("the gallery", gallery, at, 1, &mut row)?;
        check_finite("the gallery", at, dim, &row)?;
        integers &= integral(&row);
        sums.iter_mut().zip(&row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    let mean =
        |sum: f64| if integers { (sum / sample as f64).round() } else { sum / sample as f64 };
    Ok(sums.into_iter().map(|sum| mean(sum) as f32).collect())
}

/// A block of queries, seen from the origin. Buffers are reused from block to block.
#[derive(Default)]
pub(super) struct Queries<T> {
    /// Rows as they were read, `[len, dim]`.
    pub(super) raw: Vec<f32>,
    /// Rows minus the origin, packed by [`STRIP`], in groups of [`PRODUCT_QUERIES`]. What fills up
    /// the last strip means nothing.
    pub(super) moved: Buffer<T>,
    /// One per row.
    pub(super) norms: Vec<Norm>,
    /// Length of the longest moved row.
    pub(super) longest: f64,
}

impl<T: Precision> Queries<T> {
    /// Reads rows `start..start + n` of `vectors` and moves them to `origin`.
    ///
    /// # Errors
    /// Those of [`read_rows`]; [`Error::NotFinite`].
    pub(super) fn load(
        &mut self,
        vectors: &dyn Vectors,
        start: usize,
        n: usize,
        origin: &[f32],
    ) -> Result<()> {
        let dim = origin.len();
        read_rows("the queries", vectors, start, n, &mut self.raw)?;
        let origin_integral = integral(origin);
        self.moved.resize(n.next_multiple_of(STRIP) * dim);
        let groups = self.raw.par_chunks(PRODUCT_QUERIES * dim);
        groups.zip(self.moved.par_chunks_mut(PRODUCT_QUERIES * dim)).for_each(|(raw, moved)| {
            for (i, raw) in raw.chunks(STRIP * dim).enumerate() {
                pack(STRIP, raw, origin, i * STRIP, moved);
            }
        });
        self.raw
            .par_chunks_exact(dim)
            .map(|raw| norm::<T>(raw, origin, origin_integral))
            .collect_into_vec(&mut self.norms);
        self.longest = longest(&self.norms);
        check_norms("the queries", start, dim, &self.norms, &self.raw)
    }

    pub(super) fn len(&self) -> usize {
        self.norms.len()
    }
}

/// A tile of the gallery, seen from the origin. Buffers are reused from tile to tile.
#[derive(Default)]
pub(super) struct Tile<T> {
    /// Rows minus the origin, packed by panels, in groups of [`PRODUCT_ROWS`]. What fills up the
    /// last panel means nothing.
    pub(super) moved: Buffer<T>,
    /// Half the squared norm of every row, filled up with infinity to whole groups of
    /// [`PRODUCT_ROWS`].
    pub(super) halves: Vec<T>,
    /// One per row.
    pub(super) norms: Vec<Norm>,
    /// Length of the longest moved row.
    pub(super) longest: f64,
}

impl<T: Precision> Tile<T> {
    /// Reads rows `start..start + n` of `gallery` and moves them to `origin`.
    ///
    /// # Errors
    /// Those of [`read_rows`]; [`Error::NotFinite`].
    pub(super) fn load(
        &mut self,
        gallery: &dyn Vectors,
        start: usize,
        n: usize,
        origin: &[f32],
    ) -> Result<()> {
        let dim = origin.len();
        let origin_integral = integral(origin);
        self.moved.resize(n.next_multiple_of(T::PANEL) * dim);
        let norms: Vec<Vec<Norm>> = self
            .moved
            .par_chunks_mut(PRODUCT_ROWS * dim)
            .enumerate()
            .map_init(Vec::new, |raw, (group, moved)| {
                let end = start + n.min((group + 1) * PRODUCT_ROWS);
                let mut norms = Vec::with_capacity(PRODUCT_ROWS);
                for first in (start + group * PRODUCT_ROWS..end).step_by(T::PANEL) {
                    let rows = T::PANEL.min(end - first);
                    read_rows("the gallery", gallery, first, rows, raw)?;
                    pack(T::PANEL, raw, origin, norms.len(), moved);
                    let found = raw.chunks_exact(dim);
                    let found = found.map(|row| norm::<T>(row, origin, origin_integral));
                    norms.extend(found);
                    check_norms("the gallery", first, dim, &norms[norms.len() - rows..], raw)?;
                }
                Ok(norms)
            })
            .collect::<Result<_>>()?;
        self.norms.clear();
        self.norms.extend(norms.into_iter().flatten());
        self.longest = longest(&self.norms);
        self.halves.clear();
        self.halves.extend(self.norms.iter().map(|norm| T::round(norm.squared / 2.0)));
        self.halves.resize(n.next_multiple_of(PRODUCT_ROWS), T::INFINITY);
        Ok(())
    }
}

/// Reads rows and checks that there are as many values as `vectors` claims.
///
/// # Errors
/// The error of `vectors`; [`Error::Dimension`] if it hands out another shape than it claims.
pub(super) fn read_rows(
    what: &'static str,
    vectors: &dyn Vectors,
    start: usize,
    n: usize,
    out: &mut Vec<f32>,
) -> Result<()> {
    let dim = vectors.dim();
    vectors.read(start, n, out)?;
    if out.len() == n * dim {
        return Ok(());
    }
    Err(Error::Dimension { what, expected: dim, found: out.len() / n.max(1) })
}

/// The norm of a row as moved in precision `T`.
fn norm<T: Precision>(raw: &[f32], origin: &[f32], origin_integral: bool) -> Norm {
    let square = |(&value, &origin): (&f32, &f32)| {
        let moved = (T::from_f32(value) - T::from_f32(origin)).widen();
        moved * moved
    };
    // Interleaved, because a single sum would wait for every addition.
    let (blocks, rest) = raw.as_chunks::<LANES>();
    let (origin_blocks, origin_rest) = origin.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (block, origin) in blocks.iter().zip(origin_blocks) {
        for (sum, pair) in sums.iter_mut().zip(block.iter().zip(origin)) {
            *sum += square(pair);
        }
    }
    let rest: f64 = rest.iter().zip(origin_rest).map(square).sum();
    let squared = sums.iter().sum::<f64>() + rest;
    Norm { squared, length: squared.sqrt(), integral: origin_integral && integral(raw) }
}

fn longest(norms: &[Norm]) -> f64 {
    norms.iter().fold(0.0, |longest, norm| norm.length.max(longest))
}

/// Only a row with a value that is not finite, or with differences beyond the range of the
/// precision, has an infinite norm; so the values themselves are rarely looked at.
fn check_norms(what: &str, first: usize, dim: usize, norms: &[Norm], values: &[f32]) -> Result<()> {
    if norms.iter().all(|norm| norm.squared.is_finite()) {
        return Ok(());
    }
    check_finite(what, first, dim, values)
}

/// Whether all values are integers that fit 32 bits; larger ones are of no use to the
/// [`ErrorBound`](super::distance::ErrorBound).
fn integral(values: &[f32]) -> bool {
    values.iter().fold(true, |integral, &value| integral & (value as i32 as f32 == value))
}
