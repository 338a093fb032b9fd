//! All pairs of vectors within a distance of each other.

use rayon::prelude::*;

use super::SINGLE_DIM;
use super::distance::ErrorBound;
use super::panel::{PRODUCT_ROWS, Queries, Tile, origin};
use super::precision::Precision;
use super::scan::{STRETCH, TILE, any_below, block_queries, multiply, products_of, tile_rows};
use super::squared::squared_distance;
use crate::Result;
use crate::duplicates::Groups;
use crate::packed::Buffer;
use crate::vectors::Vectors;

/// Vectors whose pairs are held at a time.
const HELD: usize = 64;

/// Joins the groups of every two vectors whose squared distance is at most `threshold`.
pub(crate) fn link_within(
    vectors: &dyn Vectors,
    threshold: f64,
    groups: &mut Groups,
    mut progress: impl FnMut(usize, usize),
) -> Result<()> {
    if vectors.is_empty() {
        return Ok(());
    }
    let origin = origin(vectors)?;
    let single = origin.len() <= SINGLE_DIM;
    if !single || !link::<f32>(vectors, &origin, threshold, groups, &mut progress)? {
        // What was joined stays joined.
        link::<f64>(vectors, &origin, threshold, groups, &mut progress)?;
    }
    Ok(())
}

/// A pair that may be close enough.
struct Pair {
    row: u32,
    /// Whether it surely is.
    sure: bool,
}

/// [`link_within`] by products in precision `T`; whether they stay within its range.
fn link<T: Precision>(
    vectors: &dyn Vectors,
    origin: &[f32],
    threshold: f64,
    groups: &mut Groups,
    progress: &mut impl FnMut(usize, usize),
) -> Result<bool> {
    let (len, dim) = (vectors.len(), origin.len());
    let bound = ErrorBound::new::<T>(dim);
    let block = block_queries::<T>(dim);
    let tile_rows = tile_rows::<T>(block, dim, TILE);
    let (mut queries, mut tile) = (Queries::<T>::default(), Tile::<T>::default());
    let mut products = Buffer::default();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for start in (0..len).step_by(block) {
        queries.load(vectors, start, block.min(len - start), origin)?;
        // Pairs with earlier rows came with these as the tile.
        for first in (start..len).step_by(tile_rows) {
            tile.load(vectors, first, tile_rows.min(len - first), origin)?;
            let sum = queries.longest + tile.longest;
            if sum * sum > T::LARGEST {
                return Ok(false);
            }
            multiply(dim, &queries, &tile, &mut products);
            for held in (0..queries.len()).step_by(HELD) {
                let rows = held..queries.len().min(held + HELD);
                let pairs = |q: usize| pairs(&queries, &tile, &products, bound, threshold, q);
                let found: Vec<Vec<Pair>> = rows.clone().into_par_iter().map(pairs).collect();
                for (q, found) in rows.zip(found) {
                    let i = start + q;
                    a.clear();
                    for Pair { row, sure } in found {
                        let j = first + row as usize;
                        if j <= i || groups.first(i as u32) == groups.first(j as u32) {
                            continue;
                        }
                        if !sure {
                            if a.is_empty() {
                                vectors.read(i, 1, &mut a)?;
                            }
                            vectors.read(j, 1, &mut b)?;
                        }
                        if sure || squared_distance(&a, &b) <= threshold {
                            groups.join(i as u32, j as u32);
                        }
                    }
                }
            }
        }
        progress(len.min(start + block), len);
    }
    Ok(true)
}

/// The rows of the tile that may be within the threshold of query `q`.
fn pairs<T: Precision>(
    queries: &Queries<T>,
    tile: &Tile<T>,
    products: &Buffer<T>,
    bound: ErrorBound,
    threshold: f64,
    q: usize,
) -> Vec<Pair> {
    let a = queries.norms[q];
    let near = bound.limit::<T>(threshold, a, tile.longest);
    let mut found = Vec::new();
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
            let pairs = halves.iter().zip(products).zip(norms.iter().skip(start)).enumerate();
            for (i, ((&half, &product), &norm)) in pairs {
                if half - product <= near {
                    let score = a.squared + norm.squared - 2.0 * product.widen();
                    let error = bound.of(a, norm);
                    if score - error <= threshold {
                        let row = (group * PRODUCT_ROWS + start + i) as u32;
                        found.push(Pair { row, sure: score + error <= threshold });
                    }
                }
            }
        }
    }
    found
}
