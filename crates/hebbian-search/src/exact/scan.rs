//! One pass of a block of queries over the gallery.

use rayon::prelude::*;

use super::Hit;
use super::candidates::Candidates;
use super::distance::{ErrorBound, reported};
use super::panel::{Queries, Tile};
use super::precision::Precision;
use crate::Result;
use crate::gemm::{PANEL, panel_product};
use crate::vectors::Vectors;

/// Memory for the candidates of one block of queries, in bytes.
const CANDIDATE_BYTES: usize = 256 << 20;
/// Most queries ranked together: beyond this, reading the gallery again costs next to nothing.
pub(super) const BLOCK_QUERIES: usize = 4096;
/// Memory for a block of queries, and for a tile of the gallery, in bytes.
const ROWS_BYTES: usize = 64 << 20;
/// Most gallery vectors in a tile.
pub(super) const TILE_ROWS: usize = 32 * PANEL;
/// Memory for the products of a block with a tile, in bytes, so that they stay in the cache.
const PRODUCT_BYTES: usize = 8 << 20;
/// Queries of one matrix product.
const PRODUCT_QUERIES: usize = 256;
/// Products that are looked at together, one comparison each, before any candidate is.
const STRETCH: usize = 32;
/// Rankings held as [`Hit`]s at a time.
const RANKINGS: usize = 32;

/// The buffers of a scan whose matrix products run in precision `T`.
pub(super) struct Scan<'a, T> {
    gallery: &'a dyn Vectors,
    origin: &'a [f32],
    bound: ErrorBound,
    queries: Queries<T>,
    tile: Tile<T>,
    /// Inner products, `[panels, blocks of PRODUCT_QUERIES, queries, PANEL]`.
    products: Vec<T>,
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
        let row_bytes = origin.len().saturating_mul(size_of::<T>());
        let rows = (ROWS_BYTES / row_bytes).max(1);
        let block = (CANDIDATE_BYTES / Candidates::bytes(k, gallery.len()))
            .clamp(1, BLOCK_QUERIES)
            .min(rows)
            .min(queries.max(1));
        let tile_rows = (PRODUCT_BYTES / (block * size_of::<T>())).min(rows).min(TILE_ROWS);
        Self {
            gallery,
            origin,
            bound: ErrorBound::new::<T>(origin.len()),
            queries: Queries::default(),
            tile: Tile::default(),
            products: Vec::new(),
            candidates: (0..block).map(|_| Candidates::new(k, gallery.len())).collect(),
            // Whole panels, and at least one, however many dimensions there are.
            tile_rows: (tile_rows / PANEL).max(1) * PANEL,
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
        let Self { origin, queries, tile, products, .. } = self;
        let dim = origin.len();
        let block = queries.len().min(PRODUCT_QUERIES);
        let blocks = queries.len().div_ceil(block);
        let panels = tile.norms.len().div_ceil(PANEL);
        products.resize(panels * blocks * block * PANEL, T::ZERO);
        products.par_chunks_exact_mut(block * PANEL).enumerate().for_each(|(i, products)| {
            let panel = &tile.moved[i / blocks * dim * PANEL..][..dim * PANEL];
            let first = i % blocks * block;
            let queries =
                &queries.moved[first * dim..queries.moved.len().min((first + block) * dim)];
            panel_product(dim, panel, queries, &mut products[..queries.len() / dim * PANEL]);
        });
    }

    /// Offers the tile, which starts at row `first` of the gallery, to the candidates of all
    /// queries.
    fn offer(&mut self, first: usize) -> Result<()> {
        let Self { gallery, origin, bound, queries, tile, products, candidates, .. } = self;
        let dim = origin.len();
        let block = queries.len().min(PRODUCT_QUERIES);
        let padded = queries.len().div_ceil(block) * block;
        candidates[..queries.len()].par_iter_mut().enumerate().try_for_each(|(q, candidates)| {
            let query = &queries.raw[q * dim..][..dim];
            let a = queries.norms[q];
            let limit =
                |candidates: &Candidates| bound.limit::<T>(candidates.threshold(), a, tile.longest);
            let mut near = limit(candidates);
            for (panel, norms) in tile.norms.chunks(PANEL).enumerate() {
                let row = &products[(panel * padded + q) * PANEL..][..PANEL];
                let halves = &tile.halves[panel * PANEL..][..PANEL];
                let (stretches, _) = row.as_chunks::<STRETCH>();
                let (halves, _) = halves.as_chunks::<STRETCH>();
                for (stretch, (row, halves)) in stretches.iter().zip(halves).enumerate() {
                    // Without an early end this compares several at a time, and nearly always
                    // nothing is near.
                    let pairs = halves.iter().zip(row);
                    if !pairs.fold(false, |any, (&half, &product)| any | (half - product <= near)) {
                        continue;
                    }
                    let start = stretch * STRETCH;
                    for (i, norm) in norms.iter().enumerate().skip(start).take(STRETCH) {
                        let product = row[i - start];
                        if halves[i - start] - product <= near {
                            let index = (first + panel * PANEL + i) as u32;
                            let score = a.squared + norm.squared - 2.0 * product.widen();
                            candidates.offer(index, score, bound.of(a, *norm), query, *gallery)?;
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
