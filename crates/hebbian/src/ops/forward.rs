//! Forward pass of a block: convolution, activation, max-pooling.

use rayon::prelude::*;

use super::patches::gather;
use super::products::project_patches;
use super::tile::{TilePatches, tile_numbers};
use super::workspace::{Tile, TileBuffers, sized, tiles};
use super::{Geometry, Workspace, lane_ranges, pool_tile, split_by_images};
use crate::linalg::{Panels, simd, tanh};

/// What a neuron makes of its projection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// `max(0, u)`
    #[default]
    Relu,
    /// `tanh(u)`
    Tanh,
}

/// From projections to responses: `y = f(scale u + bias)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Response<'a> {
    /// Factor of each neuron, C: the reciprocal norms of the weights where
    /// they are normalised.
    pub scale: Option<&'a [f32]>,
    /// Shift of each neuron, C.
    pub bias: Option<&'a [f32]>,
    /// The function.
    pub activation: Activation,
}

/// Convolution, activation and max-pooling of a batch.
///
/// # Shapes
/// `x`: batch x height x width x channels; `weights`: C x D; `out` and
/// `winners`: batch x pooled height x pooled width x C. `winners` notes where
/// each maximum was, for [`block_backward`](super::block_backward).
#[allow(clippy::too_many_arguments)]
pub fn block_forward(
    g: &Geometry,
    batch: usize,
    x: &[f32],
    weights: &[f32],
    response: &Response<'_>,
    workspace: &mut Workspace,
    out: &mut [f32],
    winners: Option<&mut [u8]>,
) {
    if batch == 0 {
        return;
    }
    if unfolds(g, batch) {
        let Workspace { patches, projections, panels, .. } = workspace;
        let patches = gather_batch(g, batch, x, patches);
        let projections =
            project_batch(patches, weights, &mut [], g.patch_len(), panels, projections);
        finish_batch(g, batch, projections, response, out, winners);
        return;
    }
    let outs = split_by_images(out, batch);
    let winners = split_winners(winners, batch);
    let Workspace { buffers, packed, .. } = workspace;
    let weights = packed.pack(g, weights);
    let lanes = lane_ranges(batch).collect::<Vec<_>>().into_par_iter();
    lanes.zip(outs).zip(winners).for_each(|((images, out), mut winners)| {
        let mut buffers = buffers.take();
        let TileBuffers { patches, starts, responses, points, .. } = &mut *buffers;
        let x = &x[images.start * g.input_len()..images.end * g.input_len()];
        for tile in tiles(g, images.len(), tile_numbers(g)) {
            let responses = sized(responses, tile.rows * g.filters);
            let patches = TilePatches::new(g, x, &tile, patches, starts);
            patches.project(weights, points, responses);
            finish_tile(g, &tile, responses, response, out, winners.as_deref_mut());
        }
    });
}

/// Whether a layer's patches of a batch take less room than the sums of the
/// lanes would: then they are held at once and the work is split by neuron
/// and patch column.
pub(crate) fn unfolds(g: &Geometry, batch: usize) -> bool {
    batch * g.positions() < super::LANES * g.filters
}

/// The lanes' parts of an optional map of winners.
pub(crate) fn split_winners(winners: Option<&mut [u8]>, batch: usize) -> Vec<Option<&mut [u8]>> {
    match winners {
        Some(winners) => split_by_images(winners, batch).into_iter().map(Some).collect(),
        None => (0..super::LANES).map(|_| None).collect(),
    }
}

/// Activation and pooling of a tile's projections (rows x C, overwritten) into the
/// lane's part of the output.
pub(crate) fn finish_tile(
    g: &Geometry,
    tile: &Tile,
    projections: &mut [f32],
    response: &Response<'_>,
    out: &mut [f32],
    mut winners: Option<&mut [u8]>,
) {
    let row = g.pooled_width() * g.filters;
    let mut start = 0;
    simd(
        #[inline(always)]
        || {
            for &(image, band) in &tile.bands {
                let len = g.band_rows(band).len() * g.out_width() * g.filters;
                let y = &mut projections[start..start + len];
                activate(y, response);
                let at = image * g.output_len() + band * row;
                let winners = winners.as_deref_mut().map(|w| &mut w[at..at + row]);
                pool_tile(g, y, &mut out[at..at + row], winners);
                start += len;
            }
        },
    );
}

/// Projections become responses.
#[inline(always)]
fn activate(y: &mut [f32], response: &Response<'_>) {
    match response.activation {
        Activation::Relu => respond(y, response, |u| u.max(0.0)),
        Activation::Tanh => respond(y, response, tanh),
    }
}

#[inline(always)]
fn respond(y: &mut [f32], response: &Response<'_>, f: impl Fn(f32) -> f32) {
    match (response.scale, response.bias) {
        (None, None) => y.iter_mut().for_each(|y| *y = f(*y)),
        (Some(scale), None) => {
            for row in y.chunks_exact_mut(scale.len()) {
                row.iter_mut().zip(scale).for_each(|(y, s)| *y = f(*y * s));
            }
        }
        (None, Some(bias)) => {
            for row in y.chunks_exact_mut(bias.len()) {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y = f(*y + b));
            }
        }
        (Some(scale), Some(bias)) => {
            for row in y.chunks_exact_mut(bias.len()) {
                row.iter_mut().zip(scale).zip(bias).for_each(|((y, s), b)| *y = f(*y * s + b));
            }
        }
    }
}

/// Gathers all patches of a batch, N x D.
pub(crate) fn gather_batch<'a>(
    g: &Geometry,
    batch: usize,
    x: &[f32],
    buffer: &'a mut Vec<f32>,
) -> &'a mut [f32] {
    let each = g.positions() * g.patch_len();
    let patches = sized(buffer, batch * each);
    let images = patches.par_chunks_exact_mut(each).zip(x.par_chunks_exact(g.input_len()));
    images.for_each(|(patches, image)| gather(g, image, 0..g.out_height(), patches));
    patches
}

/// `U = X W^T` of all patches of a batch: N x C; and the norms of the weights
/// (C, or none wanted), taken while they are in cache.
pub(crate) fn project_batch<'a>(
    patches: &[f32],
    weights: &[f32],
    norms: &mut [f32],
    d: usize,
    panels: &mut Panels,
    buffer: &'a mut Vec<f32>,
) -> &'a mut [f32] {
    let (n, c) = (patches.len() / d, weights.len() / d);
    let projections = sized(buffer, n * c);
    project_patches(patches, weights, norms, d, panels, projections);
    projections
}

/// Activation and pooling of a batch's projections (N x C, overwritten).
pub(crate) fn finish_batch(
    g: &Geometry,
    batch: usize,
    projections: &mut [f32],
    response: &Response<'_>,
    out: &mut [f32],
    winners: Option<&mut [u8]>,
) {
    let n = batch * g.positions() * g.filters;
    let projections = split_by_images(&mut projections[..n], batch);
    let outs = split_by_images(out, batch);
    let lanes = projections.into_par_iter().zip(outs).zip(split_winners(winners, batch));
    lanes.for_each(|((projections, out), winners)| {
        let images = out.len() / g.output_len();
        let bands = (0..images).flat_map(|image| (0..g.bands()).map(move |band| (image, band)));
        let tile = Tile { bands: bands.collect(), rows: images * g.positions() };
        finish_tile(g, &tile, projections, response, out, winners);
    });
}
