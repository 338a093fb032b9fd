//! A layer's training step: forward pass and update sums in one pass.

use rayon::prelude::*;

use super::batch::{self, subtract_own, subtract_prefix};
use super::{UpdateSums, choose_order, row_norms};
use crate::linalg::{Mat, MatMut, add_assign, gemm, simd, sum_of_squares};
use crate::ops::{
    Geometry, Lane, Workspace, fewer_patches_than_neurons, finish_batch, finish_tile, gather_batch,
    lane_ranges, project_batch, project_tile, sized, split_by_images, sum_lanes, tiles, zeroed,
};
use crate::rules::{Projection, Projections, Reconstruction, Rule};

/// Rows whose gates one task computes.
const ROWS: usize = 16;

/// Forward pass of a block and the sums of its update, both from the weights
/// before the update.
///
/// # Shapes
/// `x`: batch x height x width x channels; `weights`: C x D; `out`: batch x
/// pooled height x pooled width x C, overwritten.
pub fn hebbian_step(
    rule: &dyn Rule,
    g: &Geometry,
    batch: usize,
    x: &[f32],
    weights: &[f32],
    workspace: &mut Workspace,
    out: &mut [f32],
) -> UpdateSums {
    let norms = row_norms(weights, g.patch_len());
    let scale: Option<Vec<f32>> = match rule.projection() {
        Projection::Plain => None,
        Projection::Normalised => Some(reciprocals(&norms)),
    };
    if fewer_patches_than_neurons(g, batch) {
        few_patches(rule, g, batch, x, weights, (&norms, scale.as_deref()), workspace, out)
    } else {
        many_patches(rule, g, batch, x, weights, (&norms, scale.as_deref()), workspace, out)
    }
}

/// `1 / norm`, or 1 where the norm is zero.
pub(crate) fn reciprocals(norms: &[f32]) -> Vec<f32> {
    norms.iter().map(|&norm| if norm == 0.0 { 1.0 } else { 1.0 / norm }).collect()
}

/// N >= C: tile by tile, the lanes' sums added up at the end.
#[allow(clippy::too_many_arguments)]
fn many_patches(
    rule: &dyn Rule,
    g: &Geometry,
    batch: usize,
    x: &[f32],
    weights: &[f32],
    (norms, scale): (&[f32], Option<&[f32]>),
    workspace: &mut Workspace,
    out: &mut [f32],
) -> UpdateSums {
    let (c, d) = (g.filters, g.patch_len());
    let prefix = rule.reconstruction() == Reconstruction::Prefix;
    let lanes = workspace.lanes.par_iter_mut().zip(lane_ranges(batch).collect::<Vec<_>>());
    lanes.zip(split_by_images(out, batch)).for_each(|((lane, images), out)| {
        zeroed(&mut lane.product, c * d);
        zeroed(&mut lane.denominators, c);
        zeroed(&mut lane.gate_sums, c);
        zeroed(&mut lane.gram, if prefix { c * c } else { 0 });
        let x = &x[images.start * g.input_len()..images.end * g.input_len()];
        for tile in tiles(g, images.len()) {
            let rows = tile.rows;
            project_tile(g, x, &tile, weights, lane);
            gate_rows(rule, norms, rows, d, lane);
            let Lane { patches, gates, product, gram, gate_sums, responses, .. } = &mut *lane;
            let gates = &gates[..rows * c];
            let a = Mat::new(gates, rows, c);
            let product = &mut MatMut::new(&mut product[..c * d], c, d);
            gemm(product, 1.0, 1.0, a.t(), Mat::new(patches, rows, d));
            if prefix {
                gemm(&mut MatMut::new(&mut gram[..c * c], c, c), 1.0, 1.0, a.t(), a);
            } else {
                gates.chunks_exact(c).for_each(|row| add_assign(&mut gate_sums[..c], row));
            }
            finish_tile(g, &tile, responses, scale, out, None);
        }
    });
    let lanes = &workspace.lanes;
    let mut numerators = vec![0.0; c * d];
    sum_lanes(lanes, &mut numerators, |lane| &lane.product);
    if prefix {
        let mut gram = vec![0.0; c * c];
        sum_lanes(lanes, &mut gram, |lane| &lane.gram);
        subtract_prefix(d, &gram, weights, &mut numerators);
    } else {
        let mut sums = vec![0.0; c];
        sum_lanes(lanes, &mut sums, |lane| &lane.gate_sums);
        subtract_own(d, &sums, weights, &mut numerators);
    }
    let mut denominators = vec![0.0; c];
    sum_lanes(lanes, &mut denominators, |lane| &lane.denominators);
    UpdateSums { numerators, denominators }
}

/// Gates of the tile in `lane` (`gates`), adding to its denominators.
fn gate_rows(rule: &dyn Rule, norms: &[f32], rows: usize, d: usize, lane: &mut Lane) {
    let c = norms.len();
    let Lane { patches, responses, gates, norms: patch_norms, denominators, .. } = lane;
    let patch_norm = sized(patch_norms, if rule.needs_patch_norms() { rows } else { 0 });
    let patches = patches.chunks_exact(d);
    patch_norm.iter_mut().zip(patches).for_each(|(n, x)| *n = sum_of_squares(x).sqrt());
    let projections = Projections { u: &responses[..rows * c], patch_norm, weight_norm: norms };
    let (gates, denominators) = (sized(gates, rows * c), &mut denominators[..c]);
    simd(
        #[inline(always)]
        || rule.gate(&projections, gates, denominators),
    );
}

/// N < C: all patches at once, the work split by neuron or patch column.
#[allow(clippy::too_many_arguments)]
fn few_patches(
    rule: &dyn Rule,
    g: &Geometry,
    batch: usize,
    x: &[f32],
    weights: &[f32],
    (norms, scale): (&[f32], Option<&[f32]>),
    workspace: &mut Workspace,
    out: &mut [f32],
) -> UpdateSums {
    let (n, c, d) = (batch * g.positions(), g.filters, g.patch_len());
    let Workspace { patches, projections, gates, .. } = workspace;
    let patches = gather_batch(g, batch, x, patches);
    let u = project_batch(patches, weights, d, projections);
    let gates = sized(gates, n * c);
    let with_norms = rule.needs_patch_norms();
    let parts: Vec<Vec<f32>> = u
        .par_chunks(ROWS * c)
        .zip(gates.par_chunks_mut(ROWS * c))
        .zip(patches.par_chunks(ROWS * d))
        .map(|((u, gates), patches)| {
            let mut patch_norm = Vec::new();
            if with_norms {
                patch_norm.extend(patches.chunks_exact(d).map(|x| sum_of_squares(x).sqrt()));
            }
            let projections = Projections { u, patch_norm: &patch_norm, weight_norm: norms };
            let mut denominators = vec![0.0; c];
            rule.gate(&projections, gates, &mut denominators);
            denominators
        })
        .collect();
    let mut denominators = vec![0.0; c];
    parts.iter().for_each(|part| add_assign(&mut denominators, part));
    finish_batch(g, batch, u, scale, out, None);
    let reconstruction = rule.reconstruction();
    let order = (reconstruction, choose_order(reconstruction, n, c, d));
    let mut numerators = vec![0.0; c * d];
    batch::numerators(order, d, patches, gates, weights, &mut numerators);
    UpdateSums { numerators, denominators }
}
