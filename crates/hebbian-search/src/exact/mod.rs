//! Exact search: the matrix product finds the order nearly everywhere, the distance itself
//! decides the rest.
//!
//! For a block of queries and a tile of the gallery, all squared distances come from one matrix
//! product, `||q||^2 + ||g||^2 - 2 q.g`. The product is in double precision: in single precision
//! the rounding error of a few thousand dimensions exceeds the spacing of a few thousand ranked
//! distances, so that nearly every pair would have to be computed a second time; in double
//! precision only true ties and near-duplicates are, by [`squared_distance`] over the rows
//! themselves. A rigorous bound on the rounding error says which ([`distance::ErrorBound`]).

mod candidates;
mod distance;
mod panel;

pub use distance::squared_distance;

use rayon::prelude::*;

use crate::gemm::product_transposed;
use crate::vectors::{Vectors, check_finite};
use crate::{Error, Result};
use candidates::Candidates;
use distance::ErrorBound;
use panel::Panel;

/// One gallery vector in the ranking of a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Row of the gallery.
    pub index: usize,
    /// Euclidean distance to the query (not squared), at most `f32::MAX`.
    pub distance: f32,
}

/// Memory for the candidates of one block of queries, in bytes.
const CANDIDATE_BYTES: usize = 256 << 20;
/// Most queries ranked together: beyond this, reading the gallery again costs next to nothing.
const BLOCK_QUERIES: usize = 512;
/// Memory for a block of queries, and for a tile of the gallery, in double precision, in bytes.
const PANEL_BYTES: usize = 64 << 20;
/// Most gallery vectors in a tile.
const TILE_ROWS: usize = 4096;
/// Queries, and gallery vectors, of one matrix product.
const PRODUCT_ROWS: usize = 256;
/// Rankings held as [`Hit`]s at a time.
const RANKINGS: usize = 32;

/// The `k` nearest gallery vectors of every query, nearest first; equal distances come in the
/// order of the gallery. Fewer if the gallery has fewer than `k`.
///
/// The result does not depend on the number of threads.
///
/// # Shapes
/// `gallery`: `[n, dim]`, `queries`: `[m, dim]`; returns `m` lists of `min(k, n)`.
///
/// # Errors
/// As [`for_each_ranking`].
pub fn search(gallery: &dyn Vectors, queries: &dyn Vectors, k: usize) -> Result<Vec<Vec<Hit>>> {
    let mut found = Vec::with_capacity(queries.len());
    for_each_ranking(gallery, queries, Some(k), |_, hits| found.push(hits.to_vec()))?;
    Ok(found)
}

/// Ranks the gallery for every query and hands each ranking, in the order of the queries, to
/// `visit(query, hits)`. `limit` is the length of the rankings; `None` ranks the whole gallery.
///
/// Order and ties are those of [`search`]. Memory is bounded however large both sides are: the
/// gallery is read in tiles, once for every block of queries.
///
/// # Shapes
/// `gallery`: `[n, dim]`, `queries`: `[m, dim]`, `hits`: `min(limit, n)`.
///
/// # Errors
/// [`Error::Dimension`] if the two sides differ, [`Error::NotFinite`], the errors of reading
/// either side.
pub fn for_each_ranking(
    gallery: &dyn Vectors,
    queries: &dyn Vectors,
    limit: Option<usize>,
    mut visit: impl FnMut(usize, &[Hit]),
) -> Result<()> {
    let (len, dim) = (gallery.len(), gallery.dim());
    if queries.dim() != dim {
        return Err(Error::Dimension { what: "the queries", expected: dim, found: queries.dim() });
    }
    if u32::try_from(len).is_err() {
        return Err(Error::Option {
            option: "gallery size",
            value: len,
            rule: "an exact search ranks at most 4294967295 vectors",
        });
    }
    let k = limit.unwrap_or(len).min(len);
    if k == 0 {
        (0..queries.len()).for_each(|query| visit(query, &[]));
        return Ok(());
    }
    let mut origin = Vec::new();
    gallery.read(0, 1, &mut origin)?;
    if origin.len() != dim {
        return Err(Error::Dimension { what: "the gallery", expected: dim, found: origin.len() });
    }
    check_finite("the gallery", 0, dim, &origin)?;
    let block = (CANDIDATE_BYTES / Candidates::bytes(k, len)).clamp(1, BLOCK_QUERIES);
    let block = block.min(panel_rows(dim));
    let mut scan = Scan::new(gallery, origin, k, block.min(queries.len()));
    let mut start = 0;
    while start < queries.len() {
        let n = block.min(queries.len() - start);
        scan.run(queries, start, n)?;
        scan.visit(n, |query, hits| visit(start + query, hits))?;
        start += n;
    }
    Ok(())
}

/// The buffers of one pass of a block of queries over the gallery.
struct Scan<'a> {
    gallery: &'a dyn Vectors,
    origin: Vec<f32>,
    bound: ErrorBound,
    queries: Panel,
    tile: Panel,
    /// Inner products in blocks of `PRODUCT_ROWS` queries by `PRODUCT_ROWS` gallery vectors:
    /// blocks of queries outermost, then blocks of gallery vectors, then rows.
    products: Vec<f64>,
    candidates: Vec<Candidates>,
}

impl<'a> Scan<'a> {
    fn new(gallery: &'a dyn Vectors, origin: Vec<f32>, k: usize, block: usize) -> Self {
        Self {
            gallery,
            bound: ErrorBound::new(origin.len()),
            origin,
            queries: Panel::default(),
            tile: Panel::default(),
            products: Vec::new(),
            candidates: (0..block).map(|_| Candidates::new(k, gallery.len())).collect(),
        }
    }

    /// Collects the candidates of queries `start..start + n`.
    fn run(&mut self, queries: &dyn Vectors, start: usize, n: usize) -> Result<()> {
        self.queries.load("the queries", queries, start, n, &self.origin)?;
        self.candidates.iter_mut().for_each(Candidates::clear);
        let tile = panel_rows(self.origin.len()).min(TILE_ROWS);
        let mut first = 0;
        while first < self.gallery.len() {
            let rows = tile.min(self.gallery.len() - first);
            self.tile.load("the gallery", self.gallery, first, rows, &self.origin)?;
            self.multiply();
            self.offer(first)?;
            first += rows;
        }
        Ok(())
    }

    /// Inner products of all queries of the block with all gallery vectors of the tile.
    fn multiply(&mut self) {
        let dim = self.origin.len();
        let across = self.tile.len().div_ceil(PRODUCT_ROWS);
        let blocks = self.queries.len().div_ceil(PRODUCT_ROWS) * across;
        self.products.resize(blocks * PRODUCT_ROWS * PRODUCT_ROWS, 0.0);
        let (queries, tile) = (&self.queries.moved, &self.tile.moved);
        self.products.par_chunks_exact_mut(PRODUCT_ROWS * PRODUCT_ROWS).enumerate().for_each(
            |(block, products)| {
                let side = PRODUCT_ROWS * dim;
                let lhs = nth_chunk(queries, side, block / across);
                let rhs = nth_chunk(tile, side, block % across);
                let (m, n) = (lhs.len() / dim, rhs.len() / dim);
                product_transposed([m, n, dim], lhs, rhs, &mut products[..m * n]);
            },
        );
    }

    /// Offers the tile, which starts at row `first` of the gallery, to the candidates of all
    /// queries.
    fn offer(&mut self, first: usize) -> Result<()> {
        let Self { gallery, bound, queries, tile, products, candidates, origin } = self;
        let (dim, area) = (origin.len(), PRODUCT_ROWS * PRODUCT_ROWS);
        let across = tile.len().div_ceil(PRODUCT_ROWS);
        candidates[..queries.len()].par_iter_mut().enumerate().try_for_each(|(q, candidates)| {
            let query = &queries.raw[q * dim..(q + 1) * dim];
            let query_norm = queries.norms[q];
            let mut index = first as u32;
            for (block, norms) in tile.norms.chunks(PRODUCT_ROWS).enumerate() {
                let block = &products[(q / PRODUCT_ROWS * across + block) * area..][..area];
                let row = &block[q % PRODUCT_ROWS * norms.len()..][..norms.len()];
                for (&norm, &product) in norms.iter().zip(row) {
                    let score = query_norm.squared + norm.squared - 2.0 * product;
                    candidates.offer(index, score, bound.of(query_norm, norm), query, *gallery)?;
                    index += 1;
                }
            }
            Ok(())
        })
    }

    /// Ranks the candidates of the first `n` queries.
    fn visit(&mut self, n: usize, mut visit: impl FnMut(usize, &[Hit])) -> Result<()> {
        let Self { gallery, queries, candidates, origin, .. } = self;
        let dim = origin.len();
        for (chunk, candidates) in candidates[..n].chunks_mut(RANKINGS).enumerate() {
            let rankings: Vec<Vec<Hit>> = candidates
                .par_iter_mut()
                .enumerate()
                .map(|(i, candidates)| {
                    let query = &queries.raw[(chunk * RANKINGS + i) * dim..][..dim];
                    let mut hits = Vec::new();
                    candidates.rank(query, *gallery, |index, squared| {
                        hits.push(Hit {
                            index: index as usize,
                            distance: squared.sqrt().min(f64::from(f32::MAX)) as f32,
                        });
                    })?;
                    Ok(hits)
                })
                .collect::<Result<_>>()?;
            for (i, hits) in rankings.iter().enumerate() {
                visit(chunk * RANKINGS + i, hits);
            }
        }
        Ok(())
    }
}

/// How many vectors of `dim` dimensions a panel may hold.
fn panel_rows(dim: usize) -> usize {
    (PANEL_BYTES / dim.saturating_mul(size_of::<f64>())).max(1)
}

fn nth_chunk(values: &[f64], size: usize, n: usize) -> &[f64] {
    &values[n * size..values.len().min((n + 1) * size)]
}

#[cfg(test)]
mod tests;
