//! The transforms of a square's pixels, weights, gates, products and sums, as
//! loops over vectors of channels or neurons.

use pulp::{Simd, WithSimd};

use super::{Grid, POINTS};

/// The points of a matrix of them.
pub(super) fn split(points: &mut [f32]) -> [&mut [f32]; POINTS] {
    let mut rest = points.chunks_exact_mut(points.len() / POINTS);
    std::array::from_fn(|_| rest.next().unwrap_or_default())
}

/// `B^T`, of pixels.
#[inline(always)]
fn of_pixels<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
    [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
}

/// `G`, of weights.
#[inline(always)]
fn of_weights<S: Simd>(simd: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 4] {
    let (half, ends) = (simd.splat_f32s(0.5), simd.add_f32s(a, c));
    let (more, less) = (simd.add_f32s(ends, b), simd.sub_f32s(ends, b));
    [a, simd.mul_f32s(half, more), simd.mul_f32s(half, less), c]
}

/// `A^T`, to responses.
#[inline(always)]
fn to_responses<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
    let (sum, difference) = (simd.add_f32s(b, c), simd.sub_f32s(b, c));
    [simd.add_f32s(a, sum), simd.sub_f32s(difference, d)]
}

/// `A`, of gates.
#[inline(always)]
fn of_gates<S: Simd>(simd: S, [a, b]: [S::f32s; 2]) -> [S::f32s; 4] {
    [a, simd.add_f32s(a, b), simd.sub_f32s(a, b), simd.neg_f32s(b)]
}

/// `B`, to pixels.
#[inline(always)]
fn to_pixels<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
    let (b, c) = (simd.sub_f32s(b, c), simd.add_f32s(b, c));
    [a, simd.add_f32s(b, d), simd.sub_f32s(c, a), simd.neg_f32s(d)]
}

/// `G^T`, to sums.
#[inline(always)]
fn to_sums<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 3] {
    let half = simd.splat_f32s(0.5);
    let sum = simd.mul_f32s(half, simd.add_f32s(b, c));
    let difference = simd.mul_f32s(half, simd.sub_f32s(b, c));
    [simd.add_f32s(a, sum), difference, simd.add_f32s(sum, d)]
}

/// `T m T^T`, where `map` is what `T` does to a column.
#[inline(always)]
fn both<V: Copy, const N: usize, const M: usize>(
    m: [[V; N]; N],
    map: impl Fn([V; N]) -> [V; M],
) -> [[V; M]; M] {
    let any = m[0][0];
    let mut half = [[any; N]; M];
    for k in 0..N {
        let mut column = [any; N];
        for n in 0..N {
            column[n] = m[n][k];
        }
        let column = map(column);
        for row in 0..M {
            half[row][k] = column[row];
        }
    }
    let mut out = [[any; M]; M];
    for row in 0..M {
        out[row] = map(half[row]);
    }
    out
}

/// The vectors at `at` of a square of slices.
#[inline(always)]
fn load<V: Copy, const N: usize>(from: &[[&[V]; N]; N], at: usize) -> [[V; N]; N] {
    let mut out = [[from[0][0][at]; N]; N];
    for i in 0..N {
        for j in 0..N {
            out[i][j] = from[i][j][at];
        }
    }
    out
}

/// Writes a square's vectors to `at` of as many slices.
#[inline(always)]
fn store<V: Copy, const N: usize>(to: &mut [&mut [V]], at: usize, square: &[[V; N]; N]) {
    for (to, vector) in to.iter_mut().zip(square.as_flattened()) {
        to[at] = *vector;
    }
}

/// Pixels of a tile's squares at all points: `B^T d B`.
pub(super) struct TransformPixels<'a> {
    pub(super) grid: &'a Grid,
    pub(super) x: &'a [f32],
    pub(super) pixels: &'a mut [f32],
}

impl WithSimd for TransformPixels<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { grid, x, pixels } = self;
        let (channels, input_len) = (grid.g.channels, grid.g.input_len());
        let zeros = &vec![0.0; channels];
        let mut points = split(pixels).map(|point| point.chunks_exact_mut(channels));
        for (image, under) in grid.pixels() {
            let image = &x[image * input_len..][..input_len];
            let from = under.map(
                #[inline(always)]
                |row| {
                    row.map(
                        #[inline(always)]
                        |start| {
                            let pixel = start.map_or(&zeros[..], |start| &image[start..]);
                            S::as_simd_f32s(&pixel[..channels]).0
                        },
                    )
                },
            );
            let mut to = next(simd, &mut points);
            for at in 0..channels / S::F32_LANES {
                let square = both(
                    load(&from, at),
                    #[inline(always)]
                    |column| of_pixels(simd, column),
                );
                store(&mut to, at, &square);
            }
        }
    }
}

/// From products at all points to the pixels that they are added to:
/// `B m B^T`.
pub(super) struct ScatterProducts<'a> {
    pub(super) grid: &'a Grid,
    pub(super) products: &'a [f32],
    pub(super) x: &'a mut [f32],
}

impl WithSimd for ScatterProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { grid, products, x } = self;
        let (channels, input_len) = (grid.g.channels, grid.g.input_len());
        for (index, (image, under)) in grid.pixels().enumerate() {
            let from = square(simd, products, index, channels);
            let image = &mut x[image * input_len..][..input_len];
            for at in 0..channels / S::F32_LANES {
                let found = both(
                    load(&from, at),
                    #[inline(always)]
                    |column| to_pixels(simd, column),
                );
                for (start, found) in under.as_flattened().iter().zip(found.as_flattened()) {
                    if let Some(start) = start {
                        let pixel = S::as_mut_simd_f32s(&mut image[*start..][..channels]).0;
                        pixel[at] = simd.add_f32s(pixel[at], *found);
                    }
                }
            }
        }
    }
}

/// The next square's vectors at each point.
#[inline(always)]
fn next<'a, S: Simd>(
    _: S,
    points: &mut [std::slice::ChunksExactMut<'a, f32>; POINTS],
) -> [&'a mut [S::f32s]; POINTS] {
    points.each_mut().map(|point| S::as_mut_simd_f32s(point.next().unwrap_or_default()).0)
}

/// A square at each point of a matrix of squares x `len`.
#[inline(always)]
fn square<S: Simd>(_: S, points: &[f32], square: usize, len: usize) -> [[&[S::f32s]; 4]; 4] {
    let point = points.len() / POINTS;
    let mut out = [[&[][..]; 4]; 4];
    for (k, out) in out.as_flattened_mut().iter_mut().enumerate() {
        *out = S::as_simd_f32s(&points[k * point + square * len..][..len]).0;
    }
    out
}

/// From products at all points to projections: `A^T m A`.
pub(super) struct TransformProducts<'a> {
    pub(super) grid: &'a Grid,
    pub(super) products: &'a [f32],
    pub(super) out: &'a mut [f32],
}

impl WithSimd for TransformProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { grid, products, out } = self;
        let c = grid.g.filters;
        for (index, covered) in grid.positions() {
            let from = square(simd, products, index, c);
            for at in 0..c / S::F32_LANES {
                let found = both(
                    load(&from, at),
                    #[inline(always)]
                    |column| to_responses(simd, column),
                );
                for (position, found) in covered.as_flattened().iter().zip(found.as_flattened()) {
                    if let Some(position) = position {
                        S::as_mut_simd_f32s(&mut out[position * c..][..c]).0[at] = *found;
                    }
                }
            }
        }
    }
}

/// Gates of a tile's squares at all points: `A a A^T`.
pub(super) struct TransformGates<'a> {
    pub(super) grid: &'a Grid,
    pub(super) gates: &'a [f32],
    pub(super) transformed: &'a mut [f32],
}

impl WithSimd for TransformGates<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { grid, transformed, .. } = self;
        let c = grid.g.filters;
        let zeros = &vec![0.0; c];
        let mut points = split(transformed).map(|point| point.chunks_exact_mut(c));
        for (_, covered) in grid.positions() {
            let mut from = [[S::as_simd_f32s(zeros).0; 2]; 2];
            let gates = covered.as_flattened().iter().zip(from.as_flattened_mut());
            for (position, from) in gates {
                if let Some(position) = position {
                    *from = S::as_simd_f32s(&self.gates[position * c..][..c]).0;
                }
            }
            let mut to = next(simd, &mut points);
            for at in 0..c / S::F32_LANES {
                let square = both(
                    load(&from, at),
                    #[inline(always)]
                    |column| of_gates(simd, column),
                );
                store(&mut to, at, &square);
            }
        }
    }
}

/// A neuron's weights at all points: `G w G^T`.
pub(super) struct TransformWeights<'a> {
    pub(super) weights: &'a [f32],
    pub(super) points: [&'a mut [f32]; POINTS],
}

impl WithSimd for TransformWeights<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.weights.len() / 9;
        let mut from = [[&[][..]; 3]; 3];
        let weights = self.weights.chunks_exact(channels);
        for (from, weights) in from.as_flattened_mut().iter_mut().zip(weights) {
            *from = S::as_simd_f32s(weights).0;
        }
        let mut to = self.points.map(|point| S::as_mut_simd_f32s(point).0);
        for at in 0..channels / S::F32_LANES {
            let square = both(
                load(&from, at),
                #[inline(always)]
                |column| of_weights(simd, column),
            );
            store(&mut to, at, &square);
        }
    }
}

/// From a neuron's sums at all points to those of its weights: `G^T m G`.
pub(super) struct TransformSums<'a> {
    pub(super) sums: &'a [f32],
    pub(super) out: &'a mut [f32],
}

impl WithSimd for TransformSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.sums.len() / POINTS;
        let from = square(simd, self.sums, 0, channels);
        let mut rest = self.out.chunks_exact_mut(channels);
        let mut to: [&mut [S::f32s]; 9] =
            std::array::from_fn(|_| S::as_mut_simd_f32s(rest.next().unwrap_or_default()).0);
        for at in 0..channels / S::F32_LANES {
            let square = both(
                load(&from, at),
                #[inline(always)]
                |column| to_sums(simd, column),
            );
            store(&mut to, at, &square);
        }
    }
}
