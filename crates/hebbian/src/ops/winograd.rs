//! Convolutions with 3 x 3 kernels in fewer multiplications: Winograd's
//! minimal filtering F(2 x 2, 3 x 3), as Lavin and Gray write it (*Fast
//! Algorithms for Convolutional Neural Networks*, 2016, section 4.1).
//!
//! Output is cut into squares of 2 x 2 positions. The 4 x 4 pixels `d` under a
//! square, its weights `w` and its responses `y` meet at 16 points, one
//! multiplication at each, where 36 are needed otherwise:
//!
//! ```text
//! y  = A^T [(G w G^T) * (B^T d B)] A
//! dw = G^T [sum over squares of (A a A^T) * (B^T d B)] G
//! ```
//!
//! The second line, the transpose of the first, is the sum `A^T X` of gates
//! `a` and patches. Pixels are transformed once for both, and over channels
//! the products of a point are one matrix product. Transforms add and halve:
//! rounding grows by a small factor, which the tests hold against the direct
//! form.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::workspace::{Tile, sized};
use super::{Geometry, LANES, Lane};
use crate::linalg::{Packing, Panels, Rows, add_assign, outer, project};

/// Points at which a square's products are taken.
pub(crate) const POINTS: usize = 16;

/// Numbers of a vector: channels and neurons must come in whole ones.
const VECTOR: usize = 16;

/// Whether a layer's products are taken this way: where it saves at least a
/// fifth of the multiplications (squares reach over the edge of maps with odd
/// sides), and all vectors are whole.
pub(crate) fn applies(g: &Geometry) -> bool {
    let whole = g.channels.is_multiple_of(VECTOR) && g.filters.is_multiple_of(VECTOR);
    let squares = g.out_height().div_ceil(2) * g.out_width().div_ceil(2);
    g.kernel == 3 && g.stride == 1 && whole && 5 * POINTS * squares <= 4 * 9 * g.positions()
}

/// Numbers of the sums of a lane: C x channels at every point.
pub(crate) fn sums_len(g: &Geometry) -> usize {
    POINTS * g.filters * g.channels
}

/// The weights at every point, packed for the products with pixels.
#[derive(Default)]
pub(crate) struct Weights {
    transformed: Vec<f32>,
    points: [Panels; POINTS],
}

impl Weights {
    /// Transforms and packs weights C x D.
    pub(crate) fn pack(&mut self, g: &Geometry, weights: &[f32]) -> &Self {
        let point = g.filters * g.channels;
        let transformed = sized(&mut self.transformed, POINTS * point);
        let mut rows = split(transformed).map(|point| point.chunks_exact_mut(g.channels));
        let neurons: Vec<_> = weights
            .chunks_exact(g.patch_len())
            .map(|w| (w, rows.each_mut().map(|rows| rows.next().unwrap_or_default())))
            .collect();
        neurons.into_par_iter().for_each(|(weights, points)| {
            Arch::new().dispatch(TransformWeights { weights, points });
        });
        let points = self.points.iter_mut().zip(transformed.chunks_exact(point));
        points.for_each(|(panels, weights)| {
            panels.pack(weights, g.channels);
        });
        self
    }
}

/// Output rows of an image that a tile takes, and where they are.
struct Run {
    image: usize,
    rows: std::ops::Range<usize>,
    /// The first of their positions in the tile.
    position: usize,
    /// The first of their squares in the tile.
    square: usize,
}

/// A tile's pixels, in squares, at all points.
pub(crate) struct Squares<'a> {
    g: Geometry,
    runs: Vec<Run>,
    /// Where each square's channels start at a point.
    starts: &'a [usize],
    /// Points x squares x channels.
    pixels: &'a [f32],
}

impl<'a> Squares<'a> {
    /// Transforms the pixels of a tile of the map `x`.
    pub(crate) fn new(
        g: &Geometry,
        x: &[f32],
        tile: &Tile,
        pixels: &'a mut Vec<f32>,
        starts: &'a mut Vec<usize>,
    ) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        let mut position = 0;
        for &(image, band) in &tile.bands {
            let rows = g.band_rows(band);
            match runs.last_mut() {
                Some(run) if run.image == image && run.rows.end == rows.start => {
                    run.rows.end = rows.end;
                }
                _ => runs.push(Run { image, rows: rows.clone(), position, square: 0 }),
            }
            position += rows.len() * g.out_width();
        }
        let mut squares = 0;
        for run in &mut runs {
            run.square = squares;
            squares += run.rows.len().div_ceil(2) * g.out_width().div_ceil(2);
        }
        starts.clear();
        starts.extend((0..squares).map(|square| square * g.channels));
        let pixels = sized(pixels, POINTS * squares * g.channels);
        let zeros = &vec![0.0; g.channels];
        Arch::new().dispatch(TransformPixels { g, x, runs: &runs, zeros, pixels: &mut *pixels });
        Self { g: *g, runs, starts, pixels }
    }

    /// Projections `X W^T` of all positions: rows x C.
    pub(crate) fn project(&self, weights: &Weights, buffer: &mut Vec<f32>, out: &mut [f32]) {
        let (squares, c) = (self.starts.len(), self.g.filters);
        let products = sized(buffer, POINTS * squares * c);
        let points = self.points().zip(&weights.points);
        for ((pixels, weights), products) in points.zip(products.chunks_exact_mut(squares * c)) {
            project(&pixels, weights, products);
        }
        Arch::new().dispatch(TransformProducts { squares: self, products, out });
    }

    /// Sums `A^T X` at all points, from gates (rows x C): points x C x channels.
    pub(crate) fn outer(
        &self,
        gates: &[f32],
        add: bool,
        packing: &mut Packing,
        buffer: &mut Vec<f32>,
        sums: &mut [f32],
    ) {
        let (squares, c) = (self.starts.len(), self.g.filters);
        let transformed = sized(buffer, POINTS * squares * c);
        Arch::new().dispatch(TransformGates { squares: self, gates, transformed });
        let points = self.points().zip(transformed.chunks_exact(squares * c));
        for ((pixels, gates), sums) in points.zip(sums.chunks_exact_mut(c * self.g.channels)) {
            outer(gates, &pixels, add, packing, sums);
        }
    }

    fn points(&self) -> impl Iterator<Item = Rows<'_>> {
        let point = self.starts.len() * self.g.channels;
        let whole = (1, 0, self.g.channels);
        self.pixels.chunks_exact(point).map(move |pixels| Rows::new(pixels, self.starts, whole))
    }

    /// Every square with the positions of the tile that it covers, row by row;
    /// none where it reaches over the edge.
    fn positions(&self) -> impl Iterator<Item = (usize, [[Option<usize>; 2]; 2])> {
        let width = self.g.out_width();
        self.runs.iter().flat_map(move |run| {
            let across = width.div_ceil(2);
            (0..run.rows.len().div_ceil(2) * across).map(move |index| {
                let (y, x) = (2 * (index / across), 2 * (index % across));
                let position = |i: usize, j: usize| {
                    let inside = y + i < run.rows.len() && x + j < width;
                    inside.then(|| run.position + (y + i) * width + x + j)
                };
                let covered = [[position(0, 0), position(0, 1)], [position(1, 0), position(1, 1)]];
                (run.square + index, covered)
            })
        })
    }
}

/// Adds the sums of the lanes that have any, in order, and makes `A^T X` of
/// them: C x D.
pub(crate) fn sum_lanes(g: &Geometry, lanes: &[Lane; LANES], out: &mut [f32]) {
    let (point, channels) = (g.filters * g.channels, g.channels);
    out.par_chunks_exact_mut(g.patch_len()).enumerate().for_each_init(
        || vec![0.0; POINTS * channels],
        |sums, (neuron, out)| {
            sums.fill(0.0);
            for lane in lanes.iter().filter(|lane| lane.has_sums) {
                for (index, sums) in sums.chunks_exact_mut(channels).enumerate() {
                    add_assign(
                        sums,
                        &lane.product[index * point + neuron * channels..][..channels],
                    );
                }
            }
            Arch::new().dispatch(TransformSums { sums, out });
        },
    );
}

/// The points of a matrix of them.
fn split(points: &mut [f32]) -> [&mut [f32]; POINTS] {
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

struct TransformPixels<'a> {
    g: &'a Geometry,
    x: &'a [f32],
    runs: &'a [Run],
    zeros: &'a [f32],
    pixels: &'a mut [f32],
}

impl WithSimd for TransformPixels<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { g, x, runs, zeros, pixels } = self;
        let channels = g.channels;
        let mut points = split(pixels).map(|point| point.chunks_exact_mut(channels));
        for run in runs {
            let image = &x[run.image * g.input_len()..][..g.input_len()];
            for y in run.rows.clone().step_by(2) {
                for x in (0..g.out_width()).step_by(2) {
                    let mut from = [[S::as_simd_f32s(zeros).0; 4]; 4];
                    for (i, from) in from.iter_mut().enumerate() {
                        let y = (y + i).checked_sub(g.padding).filter(|&y| y < g.height);
                        let Some(y) = y else { continue };
                        for (j, from) in from.iter_mut().enumerate() {
                            let x = (x + j).checked_sub(g.padding).filter(|&x| x < g.width);
                            let Some(x) = x else { continue };
                            let pixel = &image[(y * g.width + x) * channels..][..channels];
                            *from = S::as_simd_f32s(pixel).0;
                        }
                    }
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

struct TransformProducts<'a> {
    squares: &'a Squares<'a>,
    products: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for TransformProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { squares, products, out } = self;
        let c = squares.g.filters;
        for (index, covered) in squares.positions() {
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

struct TransformGates<'a> {
    squares: &'a Squares<'a>,
    gates: &'a [f32],
    transformed: &'a mut [f32],
}

impl WithSimd for TransformGates<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { squares, transformed, .. } = self;
        let c = squares.g.filters;
        let zeros = &vec![0.0; c];
        let mut points = split(transformed).map(|point| point.chunks_exact_mut(c));
        for (_, covered) in squares.positions() {
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

struct TransformWeights<'a> {
    weights: &'a [f32],
    points: [&'a mut [f32]; POINTS],
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

struct TransformSums<'a> {
    sums: &'a [f32],
    out: &'a mut [f32],
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::patches::locate;
    use crate::ops::workspace::tiles;

    fn geometry() -> impl Strategy<Value = Geometry> {
        (3usize..13, 3usize..13, 1usize..3, 1usize..4, 0usize..3, 1usize..4)
            .prop_map(|(height, width, channels, filters, padding, pool)| Geometry {
                height,
                width,
                channels: channels * VECTOR,
                kernel: 3,
                stride: 1,
                padding,
                filters: filters * VECTOR,
                pool,
            })
            .prop_filter("pooling fits, and it applies", |g| {
                g.out_height().min(g.out_width()) >= g.pool && applies(g)
            })
    }

    fn numbers(len: usize, seed: u64) -> Vec<f32> {
        use rand::RngExt;
        let mut rng = hebbian_data::seed::stream(seed, "test");
        (0..len).map(|_| rng.random_range(-1.0f32..1.0)).collect()
    }

    fn close(got: &[f32], want: &[f32], terms: usize) -> Result<(), TestCaseError> {
        let tolerance = 4e-7 * (terms as f32).sqrt().max(8.0);
        for (got, want) in got.iter().zip(want) {
            prop_assert!((got - want).abs() < tolerance, "{got} {want}, {terms} terms");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn both_products_are_those_of_the_patches(
            g in geometry(), images in 1usize..4, numbers_each in 300usize..20_000, seed: u64,
        ) {
            let (c, d) = (g.filters, g.patch_len());
            let x = numbers(images * g.input_len(), seed);
            let w = numbers(g.weight_len(), seed ^ 1);
            let (mut weights, mut panels) = (Weights::default(), Panels::default());
            let (weights, panels) = (weights.pack(&g, &w), panels.pack(&w, d));
            let mut lanes = <[Lane; LANES]>::default();
            let mut sums = vec![0.0; g.weight_len()];
            let len = sums_len(&g);
            for (index, tile) in tiles(&g, images, numbers_each).iter().enumerate() {
                let (mut buffers, mut starts) = ([vec![], vec![]], [vec![], vec![]]);
                let [a, b] = &mut buffers;
                let [c_starts, d_starts] = &mut starts;
                let squares = Squares::new(&g, &x, tile, a, c_starts);
                let rows = locate(&g, &x, tile, b, d_starts);
                let (mut u, mut want) = (vec![f32::NAN; tile.rows * c], vec![0.0; tile.rows * c]);
                let mut points = Vec::new();
                squares.project(weights, &mut points, &mut u);
                project(&rows, panels, &mut want);
                close(&u, &want, d)?;

                // Any lanes: what they hold is added up.
                let gates = numbers(tile.rows * c, seed ^ 2);
                let lane = &mut lanes[index % LANES];
                let add = !lane.begin_sums(len);
                let packing = &mut Packing::default();
                squares.outer(&gates, add, packing, &mut points, &mut lane.product[..len]);
                outer(&gates, &rows, true, &mut Packing::default(), &mut sums);
            }
            let mut got = vec![f32::NAN; g.weight_len()];
            sum_lanes(&g, &lanes, &mut got);
            close(&got, &sums, images * g.positions())?;
        }
    }

    #[test]
    fn it_is_for_whole_vectors_and_maps_that_squares_cover_well() {
        let g = Geometry {
            height: 12,
            width: 12,
            channels: 32,
            kernel: 3,
            stride: 1,
            padding: 0,
            filters: 48,
            pool: 1,
        };
        assert!(applies(&g));
        for no in [
            Geometry { channels: 24, ..g },
            Geometry { filters: 40, ..g },
            Geometry { kernel: 5, ..g },
            Geometry { stride: 2, ..g },
            Geometry { height: 3, width: 3, ..g },
        ] {
            assert!(!applies(&no), "{no:?}");
        }
    }
}
