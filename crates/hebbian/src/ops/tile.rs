//! A tile's three products, in the form that takes the fewest multiplications
//! for the layer's shape: patch by patch, or by Winograd's filtering.

use super::patches::{in_place, locate, scatter_add};
use super::winograd::{self, Squares};
use super::workspace::{Tile, sized};
use super::{Geometry, LANES, Lane, backward};
use crate::linalg::{Packing, Panels, Rows, outer, project};

/// Weights of a layer, packed once for all tiles of a step.
#[derive(Default)]
pub(crate) struct PackedWeights {
    panels: Panels,
    points: winograd::Weights,
}

/// The form in use of [`PackedWeights`].
#[derive(Clone, Copy)]
pub(crate) enum Packed<'a> {
    Panels(&'a Panels),
    Points(&'a winograd::Weights),
}

impl PackedWeights {
    /// Packs weights C x D.
    pub(crate) fn pack(&mut self, g: &Geometry, weights: &[f32]) -> Packed<'_> {
        if winograd::applies(g) {
            Packed::Points(self.points.pack(g, weights))
        } else {
            Packed::Panels(self.panels.pack(weights, g.patch_len()))
        }
    }

    /// Packs the transpose of weights C x D, for [`scatter`].
    pub(crate) fn pack_transposed(&mut self, g: &Geometry, weights: &[f32]) -> Packed<'_> {
        if winograd::applies(g) {
            Packed::Points(self.points.pack_transposed(g, weights))
        } else {
            Packed::Panels(self.panels.pack_transposed(weights, g.patch_len()))
        }
    }
}

/// The patches of a tile.
pub(crate) enum TilePatches<'a> {
    /// One by one.
    Rows(Rows<'a>),
    /// Where they overlap, in squares.
    Squares(Squares<'a>),
}

impl<'a> TilePatches<'a> {
    /// Finds the patches of a tile of the map `x`.
    pub(crate) fn new(
        g: &Geometry,
        x: &'a [f32],
        tile: &Tile,
        buffer: &'a mut Vec<f32>,
        starts: &'a mut Vec<usize>,
    ) -> Self {
        if winograd::applies(g) {
            Self::Squares(Squares::new(g, x, tile, buffer, starts))
        } else {
            Self::Rows(locate(g, x, tile, buffer, starts))
        }
    }

    /// `out = X W^T`: rows x C.
    pub(crate) fn project(&self, weights: Packed<'_>, buffer: &mut Vec<f32>, out: &mut [f32]) {
        match (self, weights) {
            (Self::Rows(rows), Packed::Panels(panels)) => project(rows, panels, out),
            (Self::Squares(squares), Packed::Points(points)) => {
                squares.project(points, buffer, out);
            }
            _ => unreachable!("patches and weights of one layer have one form"),
        }
    }

    /// Sets or adds to the lane's sums of `A^T X`, from gates A (rows x C).
    pub(crate) fn outer(
        &self,
        gates: &[f32],
        add: bool,
        packing: &mut Packing,
        buffer: &mut Vec<f32>,
        sums: &mut [f32],
    ) {
        match self {
            Self::Rows(rows) => outer(gates, rows, add, packing, sums),
            Self::Squares(squares) => squares.outer(gates, add, packing, buffer, sums),
        }
    }
}

/// Adds `Y W`, gates Y (rows x C) sent back to the tile's patches, onto the map
/// that these are of. Weights are packed as their transpose; the buffers are
/// overwritten.
pub(crate) fn scatter(
    g: &Geometry,
    tile: &Tile,
    gates: &[f32],
    weights: Packed<'_>,
    [points, patches]: [&mut Vec<f32>; 2],
    starts: &mut Vec<usize>,
    map: &mut [f32],
) {
    match weights {
        Packed::Panels(panels) => {
            let (c, d) = (g.filters, g.patch_len());
            starts.clear();
            starts.extend((0..tile.rows).map(|row| row * c));
            let patches = sized(patches, tile.rows * d);
            project(&Rows::new(gates, starts, (1, 0, c)), panels, patches);
            scatter_patches(g, tile, patches, map);
        }
        Packed::Points(weights) => {
            winograd::scatter(g, tile, gates, weights, [points, patches], starts, map);
        }
    }
}

/// Adds a tile's patches (rows x D) onto the map.
fn scatter_patches(g: &Geometry, tile: &Tile, patches: &[f32], map: &mut [f32]) {
    let mut start = 0;
    for &(image, band) in &tile.bands {
        let rows = g.band_rows(band);
        let len = rows.len() * g.out_width() * g.patch_len();
        let image = &mut map[image * g.input_len()..(image + 1) * g.input_len()];
        scatter_add(g, &patches[start..start + len], rows, image);
        start += len;
    }
}

/// Length of a lane's sums of `A^T X`.
pub(crate) fn product_len(g: &Geometry) -> usize {
    if winograd::applies(g) { winograd::sums_len(g) } else { g.weight_len() }
}

/// `A^T X` of all lanes, C x D.
pub(crate) fn sum_products(g: &Geometry, lanes: &[Lane; LANES], out: &mut [f32]) {
    if winograd::applies(g) {
        winograd::sum_lanes(g, lanes, out);
    } else {
        backward::sum_lanes(lanes, out, |lane| &lane.product);
    }
}

/// Numbers each position of a tile takes in a forward pass or update.
pub(crate) fn tile_numbers(g: &Geometry) -> usize {
    let products = if winograd::applies(g) {
        winograd::POINTS / 4 * (g.channels + g.filters)
    } else if in_place(g) {
        g.channels
    } else {
        g.patch_len()
    };
    2 * g.filters + products
}

/// The same where gates are sent back to the patches.
pub(crate) fn scatter_numbers(g: &Geometry) -> usize {
    if winograd::applies(g) { tile_numbers(g) } else { g.filters + g.patch_len() }
}
