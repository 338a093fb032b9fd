//! Gradients of a block, with the same tiles as the forward pass.

use rayon::prelude::*;

use super::forward::{gather_batch, unfolds};
use super::patches::scatter_add;
use super::pool::unpool_tile;
use super::products::{gradient_by_patches, gradient_by_weights};
use super::tile::{TilePatches, product_len, scatter, scatter_numbers, sum_products};
use super::workspace::{Tile, TileBuffers, sized, tiles};
use super::{Activation, Geometry, Lane, Response, Workspace, lane_ranges, split_by_images};
use crate::linalg::{add_assign, add_column_sums, dot};

/// Rows whose sums are taken apart before they are added to those of all.
pub(super) const SUMMED_ROWS: usize = 512;

/// What [`block_backward`] needs of the forward pass.
pub struct BackwardInput<'a> {
    /// Input of the block: batch x height x width x channels.
    pub x: &'a [f32],
    /// Its output before normalisation: batch x pooled map x C.
    pub pooled: &'a [f32],
    /// Places of the maxima; `None` without pooling.
    pub winners: Option<&'a [u8]>,
    /// Gradient of the loss by `pooled`.
    pub d_pooled: &'a [f32],
}

/// Where [`block_backward`] writes.
pub struct BackwardOutput<'a> {
    /// Gradient by the weights, C x D.
    pub d_weights: &'a mut [f32],
    /// Gradient by the bias, C, where there is one.
    pub d_bias: Option<&'a mut [f32]>,
    /// Gradient by the input, where wanted: batch x height x width x channels.
    pub d_x: Option<&'a mut [f32]>,
}

/// Gradients of convolution, activation and max-pooling of a batch, with the
/// response of the forward pass. Where its scale is given (the reciprocal
/// norms of the weights), the gradient flows through the division by the norm
/// too.
pub fn block_backward(
    g: &Geometry,
    batch: usize,
    weights: &[f32],
    response: &Response<'_>,
    given: &BackwardInput<'_>,
    workspace: &mut Workspace,
    mut out: BackwardOutput<'_>,
) {
    if batch == 0 {
        out.d_weights.fill(0.0);
        out.d_bias.into_iter().for_each(|d_bias| d_bias.fill(0.0));
        return;
    }
    if unfolds(g, batch) {
        batch_backward(g, batch, weights, response, given, workspace, &mut out);
    } else {
        tiled_backward(g, batch, weights, response, given, workspace, &mut out);
    }
    if let Some(scale) = response.scale {
        let neurons = out.d_weights.par_chunks_exact_mut(g.patch_len());
        neurons.zip(weights.par_chunks_exact(g.patch_len())).zip(scale).for_each(
            |((d_w, w), &scale)| {
                // v = w / ||w||; dw = (dv - (dv . v) v) / ||w||.
                let along = dot(d_w, w) * scale * scale;
                d_w.iter_mut().zip(w).for_each(|(d, w)| *d = scale * (*d - along * w));
            },
        );
    }
}

fn tiled_backward(
    g: &Geometry,
    batch: usize,
    weights: &[f32],
    response: &Response<'_>,
    given: &BackwardInput<'_>,
    workspace: &mut Workspace,
    out: &mut BackwardOutput<'_>,
) {
    let (c, product_len) = (g.filters, product_len(g));
    let with_bias = out.d_bias.is_some();
    let Workspace { lanes, buffers, packed, .. } = workspace;
    let packed = out.d_x.is_some().then(|| packed.pack_transposed(g, weights));
    let d_xs = match out.d_x.as_deref_mut() {
        Some(d_x) => split_by_images(d_x, batch).into_iter().map(Some).collect(),
        None => Vec::from_iter((0..super::LANES).map(|_| None)),
    };
    let lanes = lanes.par_iter_mut().zip(lane_ranges(batch).collect::<Vec<_>>());
    lanes.zip(d_xs).for_each(|((lane, images), mut d_x)| {
        lane.clear(if with_bias { c } else { 0 }, 0);
        let mut buffers = buffers.take();
        let TileBuffers { patches, starts, responses, points, packing, .. } = &mut *buffers;
        if let Some(d_x) = d_x.as_deref_mut() {
            d_x.fill(0.0);
        }
        let x = &given.x[images.start * g.input_len()..images.end * g.input_len()];
        for tile in tiles(g, images.len(), scatter_numbers(g)) {
            let rows = tile.rows;
            let d_y = sized(responses, rows * c);
            unpool_lane(g, &tile, images.start, given, response.activation, d_y);
            let add = !lane.begin_sums(product_len);
            let Lane { product, gate_sums, .. } = &mut *lane;
            let located = TilePatches::new(g, x, &tile, patches, starts);
            let d_y = &responses[..rows * c];
            if with_bias {
                add_column_sums(d_y, &mut gate_sums[..c]);
            }
            located.outer(d_y, add, packing, points, &mut product[..product_len]);
            if let (Some(d_x), Some(weights)) = (d_x.as_deref_mut(), packed) {
                let d_u = &mut responses[..rows * c];
                scale_rows(d_u, response.scale);
                scatter(g, &tile, d_u, weights, [points, patches], starts, d_x);
            }
        }
    });
    sum_products(g, &workspace.lanes, out.d_weights);
    if let Some(d_bias) = out.d_bias.as_deref_mut() {
        sum_lanes(&workspace.lanes, d_bias, |lane| &lane.gate_sums);
    }
}

/// Adds the parts of the lanes that have any, in order.
pub(crate) fn sum_lanes(
    lanes: &[Lane; super::LANES],
    out: &mut [f32],
    part: impl Fn(&Lane) -> &Vec<f32> + Sync,
) {
    out.par_chunks_mut(1 << 14).enumerate().for_each(|(block, out)| {
        let start = block << 14;
        let mut lanes = lanes.iter().filter(|lane| lane.has_sums);
        match lanes.next() {
            Some(lane) => out.copy_from_slice(&part(lane)[start..start + out.len()]),
            None => out.fill(0.0),
        }
        lanes.for_each(|lane| add_assign(out, &part(lane)[start..start + out.len()]));
    });
}

fn scale_rows(y: &mut [f32], scale: Option<&[f32]>) {
    if let Some(scale) = scale {
        for row in y.chunks_exact_mut(scale.len()) {
            row.iter_mut().zip(scale).for_each(|(y, s)| *y *= s);
        }
    }
}

/// Gradient by the responses of a tile of the lane that starts at image `first`.
fn unpool_lane(
    g: &Geometry,
    tile: &Tile,
    first: usize,
    given: &BackwardInput<'_>,
    activation: Activation,
    d_y: &mut [f32],
) {
    let row = g.pooled_width() * g.filters;
    let mut start = 0;
    for &(image, band) in &tile.bands {
        let len = g.band_rows(band).len() * g.out_width() * g.filters;
        let at = (first + image) * g.output_len() + band * row;
        let winners = given.winners.map(|w| &w[at..at + row]);
        let (pooled, d_pooled) = (&given.pooled[at..at + row], &given.d_pooled[at..at + row]);
        unpool_tile(g, pooled, winners, d_pooled, activation, &mut d_y[start..start + len]);
        start += len;
    }
}

fn batch_backward(
    g: &Geometry,
    batch: usize,
    weights: &[f32],
    response: &Response<'_>,
    given: &BackwardInput<'_>,
    workspace: &mut Workspace,
    out: &mut BackwardOutput<'_>,
) {
    let (n, c, d) = (batch * g.positions(), g.filters, g.patch_len());
    let d_y = sized(&mut workspace.projections, n * c);
    d_y.par_chunks_exact_mut(g.positions() * c).enumerate().for_each(|(image, d_y)| {
        unpool_lane(g, &Tile::of_image(g), image, given, response.activation, d_y);
    });
    if let Some(d_bias) = out.d_bias.as_deref_mut() {
        d_bias.fill(0.0);
        d_y.chunks(SUMMED_ROWS * c).for_each(|d_y| add_column_sums(d_y, d_bias));
    }
    let patches = gather_batch(g, batch, given.x, &mut workspace.patches);
    gradient_by_weights(d_y, patches, d, out.d_weights);
    let Some(d_x) = out.d_x.as_deref_mut() else { return };
    scale_rows(d_y, response.scale);
    gradient_by_patches(d_y, weights, c, patches);
    d_x.fill(0.0);
    scatter_batch(g, patches, d_x);
}

/// Adds all patches of a batch (N x D) onto its maps.
pub(super) fn scatter_batch(g: &Geometry, patches: &[f32], maps: &mut [f32]) {
    let images = maps.par_chunks_exact_mut(g.input_len());
    images
        .zip(patches.par_chunks_exact(g.positions() * g.patch_len()))
        .for_each(|(map, patches)| scatter_add(g, patches, 0..g.out_height(), map));
}
