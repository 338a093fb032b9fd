//! Gradients of a block, with the same tiles as the forward pass.

use rayon::prelude::*;

use super::forward::{gather_batch, gather_tile, unfolds};
use super::patches::scatter_add;
use super::pool::unpool_tile;
use super::workspace::{Tile, sized, tiles};
use super::{Geometry, Lane, Workspace, lane_ranges, split_by_images};
use crate::linalg::{Mat, MatMut, add_assign, dot, gemm};

/// Weights one task reduces or multiplies where work is split by neuron.
const NEURON_BLOCK: usize = 128;
/// Columns of the patch gradient one task computes.
const PATCH_BLOCK: usize = 288;

/// What [`block_backward`] needs of the forward pass, and where it writes.
pub struct BlockGradients<'a> {
    /// Input of the block: batch x height x width x channels.
    pub x: &'a [f32],
    /// Its output before normalisation: batch x pooled map x C.
    pub pooled: &'a [f32],
    /// Places of the maxima; `None` without pooling.
    pub winners: Option<&'a [u8]>,
    /// Gradient of the loss by `pooled`.
    pub d_pooled: &'a [f32],
}

/// Gradients of convolution, ReLU and max-pooling of a batch.
///
/// Overwrites the gradients by the weights (C x D) and, where wanted, by the
/// input (as `x`). With
/// `scale` (the reciprocal norms of the weights), the gradient flows through
/// the division by the norm too.
pub fn block_backward(
    g: &Geometry,
    batch: usize,
    weights: &[f32],
    scale: Option<&[f32]>,
    given: &BlockGradients<'_>,
    workspace: &mut Workspace,
    (d_weights, d_x): (&mut [f32], Option<&mut [f32]>),
) {
    if unfolds(g, batch) {
        batch_backward(g, batch, weights, scale, given, workspace, (&mut *d_weights, d_x));
    } else {
        tiled_backward(g, batch, weights, scale, given, workspace, (&mut *d_weights, d_x));
    }
    if let Some(scale) = scale {
        let neurons = d_weights.par_chunks_exact_mut(g.patch_len());
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
    scale: Option<&[f32]>,
    given: &BlockGradients<'_>,
    workspace: &mut Workspace,
    (d_weights, d_x): (&mut [f32], Option<&mut [f32]>),
) {
    let (c, d) = (g.filters, g.patch_len());
    let d_xs = match d_x {
        Some(d_x) => split_by_images(d_x, batch).into_iter().map(Some).collect(),
        None => Vec::from_iter((0..super::LANES).map(|_| None)),
    };
    let lanes = workspace.lanes.par_iter_mut().zip(lane_ranges(batch).collect::<Vec<_>>());
    lanes.zip(d_xs).for_each(|((lane, images), mut d_x)| {
        lane.clear(0, 0);
        if let Some(d_x) = d_x.as_deref_mut() {
            d_x.fill(0.0);
        }
        let x = &given.x[images.start * g.input_len()..images.end * g.input_len()];
        for tile in tiles(g, images.len()) {
            let rows = tile.rows;
            unpool_lane(g, &tile, images.start, given, sized(&mut lane.responses, rows * c));
            let keep = if lane.begin_sums(c * d) { 0.0 } else { 1.0 };
            let Lane { patches, responses, product, .. } = &mut *lane;
            gather_tile(g, x, &tile, patches);
            let d_y = Mat::new(responses, rows, c);
            let product = &mut MatMut::new(&mut product[..c * d], c, d);
            gemm(product, keep, 1.0, d_y.t(), Mat::new(patches, rows, d));
            if let Some(d_x) = d_x.as_deref_mut() {
                scale_rows(&mut responses[..rows * c], scale);
                let d_patches = &mut MatMut::new(patches, rows, d);
                gemm(d_patches, 0.0, 1.0, Mat::new(responses, rows, c), Mat::new(weights, c, d));
                scatter_tile(g, &tile, patches, d_x);
            }
        }
    });
    sum_lanes(&workspace.lanes, d_weights, |lane| &lane.product);
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
    given: &BlockGradients<'_>,
    d_y: &mut [f32],
) {
    let row = g.pooled_width() * g.filters;
    let mut start = 0;
    for &(image, band) in &tile.bands {
        let len = g.band_rows(band).len() * g.out_width() * g.filters;
        let at = (first + image) * g.output_len() + band * row;
        let winners = given.winners.map(|w| &w[at..at + row]);
        let (pooled, d_pooled) = (&given.pooled[at..at + row], &given.d_pooled[at..at + row]);
        unpool_tile(g, pooled, winners, d_pooled, &mut d_y[start..start + len]);
        start += len;
    }
}

fn scatter_tile(g: &Geometry, tile: &Tile, patches: &[f32], d_x: &mut [f32]) {
    let mut start = 0;
    for &(image, band) in &tile.bands {
        let rows = g.band_rows(band);
        let len = rows.len() * g.out_width() * g.patch_len();
        let image = &mut d_x[image * g.input_len()..(image + 1) * g.input_len()];
        scatter_add(g, &patches[start..start + len], rows, image);
        start += len;
    }
}

fn batch_backward(
    g: &Geometry,
    batch: usize,
    weights: &[f32],
    scale: Option<&[f32]>,
    given: &BlockGradients<'_>,
    workspace: &mut Workspace,
    (d_weights, d_x): (&mut [f32], Option<&mut [f32]>),
) {
    let (n, c, d) = (batch * g.positions(), g.filters, g.patch_len());
    let d_y = sized(&mut workspace.projections, n * c);
    d_y.par_chunks_exact_mut(g.positions() * c).enumerate().for_each(|(image, d_y)| {
        unpool_lane(g, &Tile::of_image(g), image, given, d_y);
    });
    let patches = gather_batch(g, batch, given.x, &mut workspace.patches);
    d_weights.par_chunks_mut(NEURON_BLOCK * d).enumerate().for_each(|(block, d_weights)| {
        let neurons = d_weights.len() / d;
        let d_y = Mat::strided(&d_y[block * NEURON_BLOCK..], n, neurons, c);
        let out = &mut MatMut::new(d_weights, neurons, d);
        gemm(out, 0.0, 1.0, d_y.t(), Mat::new(patches, n, d));
    });
    let Some(d_x) = d_x else { return };
    scale_rows(d_y, scale);
    let blocks = MatMut::new(patches, n, d).split_cols(PATCH_BLOCK);
    blocks.into_par_iter().enumerate().for_each(|(block, mut out)| {
        let columns = out.shape().1;
        let weights = Mat::strided(&weights[block * PATCH_BLOCK..], c, columns, d);
        gemm(&mut out, 0.0, 1.0, Mat::new(d_y, n, c), weights);
    });
    let images = d_x.par_chunks_exact_mut(g.input_len());
    images.zip(patches.par_chunks_exact(g.positions() * d)).for_each(|(d_x, patches)| {
        d_x.fill(0.0);
        scatter_tile(g, &Tile::of_image(g), patches, d_x);
    });
}
