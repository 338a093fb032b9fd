//! The innermost loop of a matrix product: a tile of the result stays in
//! registers while it runs along the depth. Written once for every vector
//! unit.
//!
//! `unsafe`: it reads and writes through pointers; its callers in
//! [`panels`](super::panels) check what they can reach.
#![allow(unsafe_code)]

use pulp::{NullaryFnOnce, Simd};

/// Rows of the left side that the kernel takes at a time: with two vectors of
/// the right side for each, and the operands, they fill 16 registers.
pub(super) const ROWS: usize = 6;

/// Numbers of a row of a panel, the right side that the kernel takes at a
/// time.
pub(super) const fn panel_width<S: Simd>() -> usize {
    2 * S::F32_LANES
}

/// The left side of a tile.
#[derive(Clone, Copy)]
pub(super) enum Left {
    /// Row `r` starts at pointer `r`.
    Apart([*const f32; ROWS]),
    /// Columns of [`ROWS`] numbers follow each other.
    Strip(*const f32),
}

/// Adds to a tile, or sets it: `out = a b`, or `out += a b`.
pub(super) struct Tile<S> {
    pub(super) simd: S,
    /// Rows of the tile, 1 to [`ROWS`].
    pub(super) rows: usize,
    /// Columns of the tile, at most those of a panel.
    pub(super) columns: usize,
    /// Length of the inner products.
    pub(super) depth: usize,
    /// `a`, rows x depth.
    pub(super) left: Left,
    /// `b`: `depth` rows of a panel.
    pub(super) right: *const f32,
    /// First number of the tile, whose rows start `stride` numbers apart.
    pub(super) out: *mut f32,
    pub(super) stride: usize,
    /// Whether to add to what is there.
    pub(super) add: bool,
}

impl<S: Simd> Tile<S> {
    /// Computes the tile.
    ///
    /// # Safety
    /// `left` can be read for rows x depth numbers (all [`ROWS`] of a strip),
    /// `right` for `depth` whole rows of a panel, and `out` can be read and
    /// written for its rows and columns; nothing else writes to any of them
    /// meanwhile.
    #[inline(always)]
    pub(super) unsafe fn compute(self) {
        self.simd.vectorize(Call(self));
    }
}

/// A function of its own, compiled for the vector unit.
struct Call<S>(Tile<S>);

impl<S: Simd> NullaryFnOnce for Call<S> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self(tile) = self;
        // SAFETY: as who called `compute` promises.
        unsafe {
            if tile.columns > S::F32_LANES {
                in_halves::<S, 2>(tile);
            } else {
                in_halves::<S, 1>(tile);
            }
        }
    }
}

/// With `H` of the two vectors of a row of the panel: where the other holds no
/// column, it need not be multiplied.
#[inline(always)]
unsafe fn in_halves<S: Simd, const H: usize>(tile: Tile<S>) {
    // SAFETY: as who called `compute` promises.
    unsafe {
        match (tile.left, tile.rows) {
            (Left::Strip(strip), 6) => strip_of::<S, 6, H>(tile, strip),
            (Left::Strip(strip), 5) => strip_of::<S, 5, H>(tile, strip),
            (Left::Strip(strip), 4) => strip_of::<S, 4, H>(tile, strip),
            (Left::Strip(strip), 3) => strip_of::<S, 3, H>(tile, strip),
            (Left::Strip(strip), 2) => strip_of::<S, 2, H>(tile, strip),
            (Left::Strip(strip), _) => strip_of::<S, 1, H>(tile, strip),
            (Left::Apart(rows), 6) => rows_of::<S, 6, H>(tile, rows),
            (Left::Apart(rows), 5) => rows_of::<S, 5, H>(tile, rows),
            (Left::Apart(rows), 4) => rows_of::<S, 4, H>(tile, rows),
            (Left::Apart(rows), 3) => rows_of::<S, 3, H>(tile, rows),
            (Left::Apart(rows), 2) => rows_of::<S, 2, H>(tile, rows),
            (Left::Apart(rows), _) => rows_of::<S, 1, H>(tile, rows),
        }
    }
}

#[inline(always)]
unsafe fn strip_of<S: Simd, const R: usize, const H: usize>(tile: Tile<S>, strip: *const f32) {
    let mut sums = [[tile.simd.splat_f32s(0.0); H]; R];
    // SAFETY: `k < depth` and `r < R`, which both sides can be read for.
    unsafe {
        let (mut left, mut right) = (strip, tile.right);
        for _ in 0..tile.depth {
            let a: [f32; R] = std::array::from_fn(
                #[inline(always)]
                |r| *left.add(r),
            );
            add_products(tile.simd, &mut sums, &a, right);
            left = left.add(ROWS);
            right = right.add(panel_width::<S>());
        }
        finish(tile, sums);
    }
}

#[inline(always)]
unsafe fn rows_of<S: Simd, const R: usize, const H: usize>(
    tile: Tile<S>,
    rows: [*const f32; ROWS],
) {
    let mut sums = [[tile.simd.splat_f32s(0.0); H]; R];
    // SAFETY: as in `strip_of`.
    unsafe {
        let mut right = tile.right;
        for k in 0..tile.depth {
            let a: [f32; R] = std::array::from_fn(
                #[inline(always)]
                |r| *rows[r].add(k),
            );
            add_products(tile.simd, &mut sums, &a, right);
            right = right.add(panel_width::<S>());
        }
        finish(tile, sums);
    }
}

/// Adds the products of a column of the left side and a row of the panel.
#[inline(always)]
unsafe fn add_products<S: Simd, const R: usize, const H: usize>(
    simd: S,
    sums: &mut [[S::f32s; H]; R],
    a: &[f32; R],
    right: *const f32,
) {
    let right: [S::f32s; H] = std::array::from_fn(
        #[inline(always)]
        // SAFETY: a row of the panel is two vectors, of any alignment.
        |half| unsafe { right.add(half * S::F32_LANES).cast::<S::f32s>().read_unaligned() },
    );
    for (sums, &a) in sums.iter_mut().zip(a) {
        let a = simd.splat_f32s(a);
        for (sum, &right) in sums.iter_mut().zip(&right) {
            *sum = simd.mul_add_e_f32s(right, a, *sum);
        }
    }
}

/// Writes the sums to the tile.
#[inline(always)]
unsafe fn finish<S: Simd, const R: usize, const H: usize>(tile: Tile<S>, sums: [[S::f32s; H]; R]) {
    let Tile { simd, columns, out, stride, add, .. } = tile;
    let whole = columns == H * S::F32_LANES;
    for (r, sums) in sums.into_iter().enumerate() {
        // SAFETY: row `r` of the tile, and no more columns than it has.
        unsafe {
            let row = out.add(r * stride);
            if whole {
                for (half, mut sum) in sums.into_iter().enumerate() {
                    let at = row.add(half * S::F32_LANES).cast::<S::f32s>();
                    if add {
                        sum = simd.add_f32s(at.read_unaligned(), sum);
                    }
                    at.write_unaligned(sum);
                }
            } else {
                let sums = (&raw const sums).cast::<f32>();
                for c in 0..columns {
                    let (at, sum) = (row.add(c), *sums.add(c));
                    *at = if add { *at + sum } else { sum };
                }
            }
        }
    }
}
