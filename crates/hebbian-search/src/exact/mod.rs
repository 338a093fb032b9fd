//! Exact search: a matrix product finds the candidates, the distance itself decides.
//!
//! For a block of queries and a tile of the gallery, all squared distances come from one matrix
//! product, `||q||^2 + ||g||^2 - 2 q.g`, with a rigorous bound on the rounding error
//! ([`distance::ErrorBound`]). Whatever order that bound leaves in doubt is settled by
//! [`squared_distance`] over the rows themselves, so that rankings do not depend on the product at
//! all, only the time they take does. Its precision is therefore a matter of cost:
//!
//! - *Short rankings* are screened in single precision, which is twice as fast. The bound spans a
//!   few ranks among the nearest, so a few distances more than the ranking is long are settled.
//! - *Long rankings* take double precision: over thousands of ranked distances of a few thousand
//!   dimensions the bound in single precision exceeds their spacing, and nearly every pair would
//!   have to be settled; in double precision only true ties and near-duplicates are. So it goes
//!   for data that turns out to be too close together, or too large, for single precision.
//!
//! How good rankings of a whole gallery are is counted without them ([`standing`]).

mod candidates;
mod distance;
mod panel;
mod precision;
mod scan;
mod squared;
mod standing;
mod within;

pub use distance::reported;
pub(crate) use precision::Precision;
pub use squared::squared_distance;
pub(crate) use standing::{Equals, Standing, for_each_standing};
pub(crate) use within::link_within;

use crate::vectors::Vectors;
use crate::{Error, Result};
use candidates::slots;
use scan::Scan;

/// One gallery vector in the ranking of a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Row of the gallery.
    pub index: usize,
    /// Euclidean distance to the query (not squared), at most `f32::MAX`.
    pub distance: f32,
}

/// Settling one distance takes the time that single precision saves on about as many products:
/// screening pays where a ranking needs no more than this share of the gallery settled.
const SETTLED_SHARE: usize = 32;
/// Most dimensions for single precision; far beyond them its rounding error has no bound at all.
const SINGLE_DIM: usize = 1 << 20;

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
    check_sides(gallery, queries)?;
    let (len, dim) = (gallery.len(), gallery.dim());
    let k = limit.unwrap_or(len).min(len);
    if k == 0 {
        (0..queries.len()).for_each(|query| visit(query, &[]));
        return Ok(());
    }
    let origin = panel::origin(gallery)?;
    let patience = len / SETTLED_SHARE;
    let mut start = 0;
    if slots(k) <= patience && dim <= SINGLE_DIM {
        let mut screen = Scan::<f32>::new(gallery, &origin, k, queries.len());
        start = screen.rank(queries, start, patience, &mut visit)?;
    }
    if start < queries.len() {
        let mut scan = Scan::<f64>::new(gallery, &origin, k, queries.len() - start);
        scan.rank(queries, start, usize::MAX, &mut visit)?;
    }
    Ok(())
}

/// Fails unless `queries` can be asked of `gallery`.
fn check_sides(gallery: &dyn Vectors, queries: &dyn Vectors) -> Result<()> {
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
    Ok(())
}

#[cfg(test)]
mod tests;
