//! One pass of a block of queries over the gallery.

use rayon::prelude::*;

use super::Hit;
use super::candidates::Candidates;
use super::distance::{ErrorBound, reported};
use super::panel::{PRODUCT_QUERIES, PRODUCT_ROWS, Queries, Tile};
use super::precision::Precision;
use crate::Result;
use crate::gemm::STRIP;
use crate::packed::Buffer;
use crate::vectors::Vectors;

/// Memory for the candidates of one block of queries, in bytes.
const CANDIDATE_BYTES: usize = 256 << 20;
/// Most queries ranked together: beyond this, reading the gallery again costs next to nothing.
pub(super) const BLOCK_QUERIES: usize = 16 * PRODUCT_QUERIES;
/// Memory for a block of queries, and for a tile of the gallery, in bytes.
const ROWS_BYTES: usize = 64 << 20;
/// A tile whose products stay in the cache.
pub(super) const TILE: Most = Most { rows: 8 * PRODUCT_ROWS, product_bytes: 16 << 20 };
/// Products that are looked at together, one comparison each, before any candidate is.
pub(super) const STRETCH: usize = 16;
/// Rankings held as [`Hit`]s at a time.
const RANKINGS: usize = 32;

/// How large a tile of the gallery may be.
#[derive(Clone, Copy)]
pub(super) struct Most {
    /// Gallery vectors in it.
    pub(super) rows: usize,
    /// Memory for its products with a block of queries.
    pub(super) product_bytes: usize,
}

/// The buffers of a scan whose matrix products run in precision `T`.
pub(super) struct Scan<'a, T> {
    gallery: &'a dyn Vectors,
    origin: &'a [f32],
    bound: ErrorBound,
    queries: Queries<T>,
    tile: Tile<T>,
    /// Inner products: groups of gallery vectors, groups of queries, queries, gallery vectors.
    products: Buffer<T>,
    candidates: Vec<Candidates>,
    tile_rows: usize,
}

impl<'a, T: Precision> Scan<'a, T> {
    /// For rankings of length `k`, at least 1, of up to `queries` queries.
    pub(super) fn new(
        gallery: &'a dyn Vectors,
        origin: &'a [f32],
        k: usize,
        queries: usize,
    ) -> Self {
        let block = (CANDIDATE_BYTES / Candidates::bytes(k, gallery.len()))
            .clamp(1, block_queries::<T>(origin.len()))
            .min(queries.max(1));
        Self {
            gallery,
            origin,
            bound: ErrorBound::new::<T>(origin.len()),
            queries: Queries::default(),
            tile: Tile::default(),
            products: Buffer::default(),
            candidates: (0..block).map(|_| Candidates::new(k, gallery.len())).collect(),
            tile_rows: tile_rows::<T>(block, origin.len(), TILE),
        }
    }

    /// Ranks the gallery for queries `start..` and hands the rankings to `visit(query, hits)`.
    /// Gives up before a block of queries for which more than `patience` gallery vectors a query
    /// must be settled by their distance itself, or whose products may leave the range of `T`.
    /// Returns the first query that was not ranked.
    pub(super) fn rank(
        &mut self,
        queries: &dyn Vectors,
        mut start: usize,
        patience: usize,
        visit: &mut impl FnMut(usize, &[Hit]),
    ) -> Result<usize> {
        while start < queries.len() {
            let n = self.candidates.len().min(queries.len() - start);
            self.queries.load(queries, start, n, self.origin)?;
            if !self.collect(patience.saturating_mul(n))? {
                break;
            }
            self.visit(|query, hits| visit(start + query, hits))?;
            start += n;
        }
        Ok(start)
    }

    /// Collects the candidates of the block of queries; whether that was possible with `settled`
    /// distances.
    fn collect(&mut self, settled: usize) -> Result<bool> {
        self.candidates.iter_mut().for_each(Candidates::clear);
        let len = self.gallery.len();
        let mut first = 0;
        while first < len {
            let rows = self.tile_rows.min(len - first);
            self.tile.load(self.gallery, first, rows, self.origin)?;
            let sum = self.queries.longest + self.tile.longest;
            if sum * sum > T::LARGEST {
                return Ok(false);
            }
            self.multiply();
            self.offer(first)?;
            let needed = |candidates: &Candidates| candidates.settled();
            if self.candidates.iter().map(needed).sum::<usize>() > settled {
                return Ok(false);
            }
            first += rows;
        }
        Ok(true)
    }

    /// Inner products of all queries of the block with all gallery vectors of the tile.
    fn multiply(&mut self) {
        multiply(self.origin.len(), &self.queries, &self.tile, &mut self.products);
    }

    /// Offers the tile, which starts at row `first` of the gallery, to the candidates of all
    /// queries.
    fn offer(&mut self, first: usize) -> Result<()> {
        let Self { gallery, origin, bound, queries, tile, products, candidates, .. } = self;
        let dim = origin.len();
        let all = candidates[..queries.len()].par_iter_mut().enumerate().with_min_len(STRIP);
        all.try_for_each(|(q, candidates)| {
            let query = &queries.raw[q * dim..][..dim];
            let a = queries.norms[q];
            let limit =
                |candidates: &Candidates| bound.limit::<T>(candidates.threshold(), a, tile.longest);
            let mut near = limit(candidates);
            let halves = tile.halves.chunks_exact(PRODUCT_ROWS);
            let groups = halves.zip(tile.norms.chunks(PRODUCT_ROWS));
            let groups = groups.zip(products_of(products, (queries.len(), tile.norms.len()), q));
            for (group, ((halves, norms), row)) in groups.enumerate() {
                let stretches = halves.as_chunks::<STRETCH>().0.iter().zip(row.as_chunks().0);
                for (stretch, (halves, products)) in stretches.enumerate() {
                    if !any_below(halves, products, near) {
                        continue;
                    }
                    let start = stretch * STRETCH;
                    let norms = norms.iter().skip(start);
                    let pairs = halves.iter().zip(products).zip(norms).enumerate();
                    for (i, ((&half, &product), &norm)) in pairs {
                        if half - product <= near {
                            let index = (first + group * PRODUCT_ROWS + start + i) as u32;
                            let score = a.squared + norm.squared - 2.0 * product.widen();
                            candidates.offer(index, score, bound.of(a, norm), query, *gallery)?;
                        }
                    }
                    near = limit(candidates);
                }
            }
            Ok(())
        })
    }

    /// Ranks the candidates of the block of queries.
    fn visit(&mut self, mut visit: impl FnMut(usize, &[Hit])) -> Result<()> {
        let Self { gallery, queries, candidates, origin, .. } = self;
        let dim = origin.len();
        for (chunk, candidates) in candidates[..queries.len()].chunks_mut(RANKINGS).enumerate() {
            let rankings: Vec<Vec<Hit>> = candidates
                .par_iter_mut()
                .enumerate()
                .map(|(i, candidates)| {
                    let query = &queries.raw[(chunk * RANKINGS + i) * dim..][..dim];
                    let mut hits = Vec::new();
                    candidates.rank(query, *gallery, |index, squared| {
                        hits.push(Hit { index: index as usize, distance: reported(squared) });
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

/// Vectors of `dim` dimensions that fit the memory for a block or a tile, at least one.
fn rows_in_memory<T>(dim: usize) -> usize {
    (ROWS_BYTES / dim.saturating_mul(size_of::<T>())).max(1)
}

/// Most queries of a block.
pub(super) fn block_queries<T>(dim: usize) -> usize {
    BLOCK_QUERIES.min(rows_in_memory::<T>(dim))
}

/// Gallery vectors of a tile for blocks of `block` queries: whole groups where possible; at least
/// a panel, however many dimensions there are.
pub(super) fn tile_rows<T: Precision>(block: usize, dim: usize, most: Most) -> usize {
    let rows = most.product_bytes / (block * size_of::<T>());
    let rows = rows.min(rows_in_memory::<T>(dim)).min(most.rows);
    match rows / PRODUCT_ROWS * PRODUCT_ROWS {
        0 => (rows / T::PANEL).max(1) * T::PANEL,
        rows => rows,
    }
}

/// Inner products of all queries of a block with all gallery vectors of a tile.
pub(super) fn multiply<T: Precision>(
    dim: usize,
    queries: &Queries<T>,
    tile: &Tile<T>,
    products: &mut Buffer<T>,
) {
    let [groups, across, area] = layout(queries.len(), tile.norms.len());
    products.resize(groups * across * area);
    products.par_chunks_exact_mut(area).enumerate().for_each(|(i, products)| {
        let rows = nth_chunk(&tile.moved, PRODUCT_ROWS * dim, i / across);
        let queries = nth_chunk(&queries.moved, PRODUCT_QUERIES * dim, i % across);
        T::product(dim, rows, queries, products, PRODUCT_ROWS);
    });
}

/// Products of query `q` of a block of so many queries with the vectors of a tile of so many rows,
/// [`PRODUCT_ROWS`] at a time.
pub(super) fn products_of<T>(
    products: &[T],
    (queries, rows): (usize, usize),
    q: usize,
) -> impl Iterator<Item = &[T]> {
    let [_, across, area] = layout(queries, rows);
    let at = q / PRODUCT_QUERIES * area + q % PRODUCT_QUERIES * PRODUCT_ROWS;
    products.chunks_exact(across * area).map(move |group| &group[at..at + PRODUCT_ROWS])
}

/// Groups of gallery vectors, groups of queries, and products of one with the other.
fn layout(queries: usize, rows: usize) -> [usize; 3] {
    let strips = queries.next_multiple_of(STRIP).min(PRODUCT_QUERIES);
    [rows.div_ceil(PRODUCT_ROWS), queries.div_ceil(PRODUCT_QUERIES), strips * PRODUCT_ROWS]
}

fn nth_chunk<T>(values: &[T], size: usize, n: usize) -> &[T] {
    &values[n * size..values.len().min((n + 1) * size)]
}

/// Whether any half norm minus product does not exceed `limit`. Without an early end this compares
/// several at a time, and nearly always nothing is near.
#[inline]
pub(super) fn any_below<T: Precision>(
    halves: &[T; STRETCH],
    products: &[T; STRETCH],
    limit: T,
) -> bool {
    halves
        .iter()
        .zip(products)
        .fold(false, |any, (&half, &product)| any | (half - product <= limit))
}
