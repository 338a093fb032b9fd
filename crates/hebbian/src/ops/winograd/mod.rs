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
//! dd = B [sum over neurons of (G w G^T) * (A a A^T)] B^T
//! ```
//!
//! The other two lines are the transposes of the first: the sum `A^T X` of
//! gates `a` and patches, and gates sent back to the pixels, which is the
//! gradient by them. Over channels or neurons the products of a point are one
//! matrix product. Transforms add and halve: rounding grows by a small factor,
//! which the tests hold against the direct form.

#[cfg(test)]
mod tests;
mod transforms;

use pulp::Arch;
use rayon::prelude::*;

use super::workspace::{Tile, sized};
use super::{Geometry, LANES, Lane};
use crate::linalg::{Packing, Panels, Rows, add_assign, outer, project};
use transforms::{
    ScatterProducts, TransformGates, TransformPixels, TransformProducts, TransformSums,
    TransformWeights, split,
};

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

/// The weights at every point, packed for the products with pixels or, as
/// their transposes, with gates.
#[derive(Default)]
pub(crate) struct Weights {
    transformed: Vec<f32>,
    points: [Panels; POINTS],
}

impl Weights {
    /// Transforms and packs weights C x D.
    pub(crate) fn pack(&mut self, g: &Geometry, weights: &[f32]) -> &Self {
        let transformed = transform(g, weights, &mut self.transformed);
        for (panels, weights) in self.points.iter_mut().zip(split(transformed)) {
            panels.pack(weights, g.channels);
        }
        self
    }

    /// Transforms weights C x D and packs their transposes.
    pub(crate) fn pack_transposed(&mut self, g: &Geometry, weights: &[f32]) -> &Self {
        let transformed = transform(g, weights, &mut self.transformed);
        for (panels, weights) in self.points.iter_mut().zip(split(transformed)) {
            panels.pack_transposed(weights, g.channels);
        }
        self
    }
}

/// `G w G^T` of all neurons: points x C x channels.
fn transform<'a>(g: &Geometry, weights: &[f32], buffer: &'a mut Vec<f32>) -> &'a mut [f32] {
    let transformed = sized(buffer, POINTS * g.filters * g.channels);
    let mut rows = split(transformed).map(|point| point.chunks_exact_mut(g.channels));
    let neurons: Vec<_> = weights
        .chunks_exact(g.patch_len())
        .map(|w| (w, rows.each_mut().map(|rows| rows.next().unwrap_or_default())))
        .collect();
    neurons.into_par_iter().for_each(|(weights, points)| {
        Arch::new().dispatch(TransformWeights { weights, points });
    });
    transformed
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

/// A tile cut into squares.
struct Grid {
    g: Geometry,
    runs: Vec<Run>,
    squares: usize,
}

impl Grid {
    fn new(g: &Geometry, tile: &Tile) -> Self {
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
        Self { g: *g, runs, squares }
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

    /// Every square with its image and where in it the 4 x 4 pixels under it
    /// start, row by row; none where they lie outside.
    fn pixels(&self) -> impl Iterator<Item = (usize, [[Option<usize>; 4]; 4])> {
        let g = &self.g;
        let inside = |at: usize, len: usize| at.checked_sub(g.padding).filter(|&at| at < len);
        self.runs.iter().flat_map(move |run| {
            let corners = run
                .rows
                .clone()
                .step_by(2)
                .flat_map(move |y| (0..g.out_width()).step_by(2).map(move |x| (y, x)));
            corners.map(move |(y, x)| {
                let columns: [_; 4] = std::array::from_fn(|j| inside(x + j, g.width));
                let under = std::array::from_fn(|i| {
                    let row = inside(y + i, g.height);
                    columns.map(|x| Some((row? * g.width + x?) * g.channels))
                });
                (run.image, under)
            })
        })
    }

    /// Where each square starts in a matrix of squares x `len`.
    fn starts<'a>(&self, starts: &'a mut Vec<usize>, len: usize) -> &'a [usize] {
        starts.clear();
        starts.extend((0..self.squares).map(|square| square * len));
        starts
    }
}

/// The points of matrices of squares x `len`.
fn points<'a>(
    matrices: &'a [f32],
    starts: &'a [usize],
    len: usize,
) -> impl Iterator<Item = Rows<'a>> {
    let points = matrices.chunks_exact(starts.len() * len);
    points.map(move |point| Rows::new(point, starts, (1, 0, len)))
}

/// A tile's pixels, in squares, at all points.
pub(crate) struct Squares<'a> {
    grid: Grid,
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
        let grid = Grid::new(g, tile);
        let pixels = sized(pixels, POINTS * grid.squares * g.channels);
        Arch::new().dispatch(TransformPixels { grid: &grid, x, pixels: &mut *pixels });
        let starts = grid.starts(starts, g.channels);
        Self { grid, starts, pixels }
    }

    /// Projections `X W^T` of all positions: rows x C.
    pub(crate) fn project(&self, weights: &Weights, buffer: &mut Vec<f32>, out: &mut [f32]) {
        let (squares, c) = (self.grid.squares, self.grid.g.filters);
        let products = sized(buffer, POINTS * squares * c);
        let points = self.points().zip(&weights.points);
        for ((pixels, weights), products) in points.zip(products.chunks_exact_mut(squares * c)) {
            project(&pixels, weights, products);
        }
        Arch::new().dispatch(TransformProducts { grid: &self.grid, products, out });
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
        let Geometry { filters: c, channels, .. } = self.grid.g;
        let transformed = sized(buffer, POINTS * self.grid.squares * c);
        Arch::new().dispatch(TransformGates { grid: &self.grid, gates, transformed });
        let points = self.points().zip(transformed.chunks_exact(self.grid.squares * c));
        for ((pixels, gates), sums) in points.zip(sums.chunks_exact_mut(c * channels)) {
            outer(gates, &pixels, add, packing, sums);
        }
    }

    fn points(&self) -> impl Iterator<Item = Rows<'_>> {
        points(self.pixels, self.starts, self.grid.g.channels)
    }
}

/// Adds `Y W` of a tile's gates Y (rows x C) onto the pixels of its patches in
/// the map `x`, with the transposes of the weights.
pub(crate) fn scatter(
    g: &Geometry,
    tile: &Tile,
    gates: &[f32],
    weights: &Weights,
    [transformed, products]: [&mut Vec<f32>; 2],
    starts: &mut Vec<usize>,
    x: &mut [f32],
) {
    let grid = Grid::new(g, tile);
    let transformed = sized(transformed, POINTS * grid.squares * g.filters);
    Arch::new().dispatch(TransformGates { grid: &grid, gates, transformed: &mut *transformed });
    let products = sized(products, POINTS * grid.squares * g.channels);
    let gates = points(transformed, grid.starts(starts, g.filters), g.filters);
    let each = products.chunks_exact_mut(grid.squares * g.channels);
    for ((gates, weights), products) in gates.zip(&weights.points).zip(each) {
        project(&gates, weights, products);
    }
    Arch::new().dispatch(ScatterProducts { grid: &grid, products, x });
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
