//! A layer's training step: forward pass and update in one pass.

use rayon::prelude::*;

use super::batch::{self, Given, Subtract, add_gram, clear_above, own_factors};
use super::target::{Block, Target};
use super::{Moments, UpdateSums, choose_order, row_norms};
use crate::linalg::{add_assign, add_column_sums};
use crate::ops::{
    Geometry, Lane, Response, TileBuffers, TilePatches, Workspace, finish_batch, finish_tile,
    gather_batch, lane_ranges, patch_norms, product_len, project_batch, sized, split_by_images,
    sum_lanes, sum_products, tile_numbers, tiles, unfolds,
};
use crate::rules::{Projection, Projections, Reach, Rule};

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
    let mut sums = UpdateSums::default();
    hebbian_step_into(rule, g, batch, x, weights, workspace, out, &mut sums);
    sums
}

/// [`hebbian_step`], its sums in the place of those that `sums` held.
#[allow(clippy::too_many_arguments)]
pub fn hebbian_step_into(
    rule: &dyn Rule,
    g: &Geometry,
    batch: usize,
    x: &[f32],
    weights: &[f32],
    workspace: &mut Workspace,
    out: &mut [f32],
    sums: &mut UpdateSums,
) {
    sums.numerators.resize(weights.len(), 0.0);
    if batch == 0 {
        sums.numerators.fill(0.0);
        sums.denominators = vec![0.0; Moments::kept(rule, g.filters)];
        sums.moments = Moments::split_off(&mut sums.denominators, g.filters);
        return;
    }
    let target = Target::Sums { weights, sums: &mut *sums };
    sums.moments = step(rule, g, batch, x, target, workspace, out);
}

/// [`hebbian_step`], the update applied at once with learning rate `lr`: the
/// same bits as [`UpdateSums::apply`], with fewer trips through memory. Returns
/// what a rule that adapts goes by in later steps.
#[allow(clippy::too_many_arguments)]
pub fn hebbian_step_applied(
    rule: &dyn Rule,
    g: &Geometry,
    batch: usize,
    x: &[f32],
    weights: &mut [f32],
    lr: f32,
    workspace: &mut Workspace,
    out: &mut [f32],
) -> Moments {
    step(rule, g, batch, x, Target::Apply { weights, lr }, workspace, out)
}

fn step(
    rule: &dyn Rule,
    g: &Geometry,
    batch: usize,
    x: &[f32],
    target: Target<'_>,
    workspace: &mut Workspace,
    out: &mut [f32],
) -> Moments {
    let form = if unfolds(g, batch) { unfolded } else { tiled };
    if !rule.reconstruction().is_tangent() {
        return form(rule, g, batch, x, target, workspace, out);
    }
    // What lies along a neuron's weight is known once its row is whole.
    let weights = target.weights();
    let mut sums = UpdateSums::of_length(weights.len());
    let apart = Target::Sums { weights, sums: &mut sums };
    let moments = form(rule, g, batch, x, apart, workspace, out);
    sums.keep_tangent(weights);
    target.take(sums);
    moments
}

/// Whether a step reads the norms of the weights.
fn needs_norms(rule: &dyn Rule) -> bool {
    rule.projection() == Projection::Normalised || rule.needs_patch_norms()
}

/// `1 / norm`, or 1 where the norm is zero.
pub(crate) fn reciprocals(norms: &[f32]) -> Vec<f32> {
    norms.iter().map(|&norm| if norm == 0.0 { 1.0 } else { 1.0 / norm }).collect()
}

/// A rule at work with the weights of a step.
struct Gating<'a> {
    rule: &'a dyn Rule,
    /// Norms of the weights, C, or none where the rule reads none.
    norms: &'a [f32],
    /// The forward pass.
    response: Response<'a>,
}

impl<'a> Gating<'a> {
    /// With the norms of the weights, and room for the scales made of them.
    fn new(rule: &'a dyn Rule, norms: &'a [f32], scale: &'a mut Option<Vec<f32>>) -> Self {
        if rule.projection() == Projection::Normalised {
            *scale = Some(reciprocals(norms));
        }
        let (scale, activation) = (scale.as_deref(), rule.activation());
        Self { rule, norms, response: Response { scale, bias: None, activation } }
    }

    /// Gates of projections `u` (rows x C) of patches with the norms given
    /// (rows, where the rule reads them), adding to the denominators (C).
    fn gate(&self, u: &[f32], patch_norm: &[f32], gates: &mut [f32], denominators: &mut [f32]) {
        let projections = Projections { u, patch_norm, weight_norm: self.norms };
        let mut own = vec![0.0; denominators.len()];
        self.rule.gate_vectorised(&projections, gates, &mut own);
        add_assign(denominators, &own);
    }
}

/// Tile by tile, the lanes' sums added up at the end.
fn tiled(
    rule: &dyn Rule,
    g: &Geometry,
    batch: usize,
    x: &[f32],
    target: Target<'_>,
    workspace: &mut Workspace,
    out: &mut [f32],
) -> Moments {
    let (c, d) = (g.filters, g.patch_len());
    let kept = Moments::kept(rule, c);
    let reconstruction = rule.reconstruction();
    let (reach, unmixes) = (reconstruction.reach(), reconstruction.unmixes());
    let weights = target.weights();
    let norms = if needs_norms(rule) { row_norms(weights, d) } else { Vec::new() };
    let mut scale = None;
    let gating = Gating::new(rule, &norms, &mut scale);
    let Workspace { lanes, buffers, packed, .. } = &mut *workspace;
    let packed = packed.pack(g, weights);
    let product_len = if unmixes { 0 } else { product_len(g) };
    let lanes = lanes.par_iter_mut().zip(lane_ranges(batch).collect::<Vec<_>>());
    lanes.zip(split_by_images(out, batch)).for_each(|((lane, images), out)| {
        let x = &x[images.start * g.input_len()..images.end * g.input_len()];
        lane.clear(kept, if reach.is_some() { c } else { 0 });
        let mut buffers = buffers.take();
        let TileBuffers { patches, starts, responses, points, gates, norms, packing } =
            &mut *buffers;
        for tile in tiles(g, images.len(), tile_numbers(g)) {
            let first = lane.begin_sums(product_len);
            let Lane { product, gram, denominators, gate_sums, .. } = &mut *lane;
            let norms = sized(norms, if rule.needs_patch_norms() { tile.rows } else { 0 });
            if rule.needs_patch_norms() {
                patch_norms(g, x, &tile, patches, norms);
            }
            let patches = TilePatches::new(g, x, &tile, patches, starts);
            let responses = sized(responses, tile.rows * c);
            patches.project(packed, points, responses);
            let gates = sized(gates, tile.rows * c);
            gating.gate(responses, norms, gates, &mut denominators[..kept]);
            if !unmixes {
                patches.outer(gates, !first, packing, points, &mut product[..product_len]);
            }
            if let Some(reach) = reach {
                let right = if unmixes { &*responses } else { &*gates };
                add_gram(gates, right, c, reach, &mut gram[..c * c]);
            } else {
                add_column_sums(gates, &mut gate_sums[..c]);
            }
            finish_tile(g, &tile, responses, &gating.response, out, None);
        }
    });
    let Workspace { lanes, scratch, gates, .. } = workspace;
    let lanes = &*lanes;
    let product = sized(gates, if unmixes { 0 } else { c * d });
    if !unmixes {
        sum_products(g, lanes, product);
    }
    let product = &*product;
    let mut denominators = vec![0.0; kept];
    sum_lanes(lanes, &mut denominators, |lane| &lane.denominators);
    let moments = Moments::split_off(&mut denominators, c);
    let sum = |len: usize, part: fn(&Lane) -> &Vec<f32>| {
        let mut sums = vec![0.0; len];
        sum_lanes(lanes, &mut sums, part);
        sums
    };
    let own = own_factors(reconstruction, &denominators, || sum(c, |lane| &lane.gate_sums));
    let gram = reach.map(|reach| {
        let mut gram = sum(c * c, |lane| &lane.gram);
        if reach == Reach::Prefix {
            clear_above(&mut gram, c, 0);
        }
        (gram, reach)
    });
    let subtract = Subtract { own, gram };
    batch::deliver(target, d, denominators, &subtract, scratch, |block: &Block, out| {
        if unmixes {
            out.fill(0.0);
            return;
        }
        let rows = block.neurons.clone().zip(out.chunks_exact_mut(block.columns.len()));
        for (neuron, out) in rows {
            let at = neuron * d + block.columns.start;
            out.copy_from_slice(&product[at..at + out.len()]);
        }
    });
    moments
}

/// All patches at once, the work split by neuron or patch column.
fn unfolded(
    rule: &dyn Rule,
    g: &Geometry,
    batch: usize,
    x: &[f32],
    target: Target<'_>,
    workspace: &mut Workspace,
    out: &mut [f32],
) -> Moments {
    let (n, c, d) = (batch * g.positions(), g.filters, g.patch_len());
    let kept = Moments::kept(rule, c);
    let Workspace { patches, projections, panels, gates, scratch, .. } = workspace;
    let patches = &*gather_batch(g, batch, x, patches);
    let mut norms = vec![0.0; if needs_norms(rule) { c } else { 0 }];
    let u = project_batch(patches, target.weights(), &mut norms, d, panels, projections);
    let mut scale = None;
    let gating = Gating::new(rule, &norms, &mut scale);
    let gates = sized(gates, n * c);
    let parts: Vec<Vec<f32>> = u
        .par_chunks(ROWS * c)
        .zip(gates.par_chunks_mut(ROWS * c))
        .zip(patches.par_chunks(ROWS * d))
        .map(|((u, gates), patches)| {
            let mut denominators = vec![0.0; kept];
            let norms = if rule.needs_patch_norms() { row_norms(patches, d) } else { Vec::new() };
            gating.gate(u, &norms, gates, &mut denominators);
            denominators
        })
        .collect();
    let mut denominators = vec![0.0; kept];
    parts.iter().for_each(|part| add_assign(&mut denominators, part));
    let moments = Moments::split_off(&mut denominators, c);
    let reconstruction = rule.reconstruction();
    let order = (reconstruction, choose_order(reconstruction, n, c, d));
    let given = Given { patches, gates, projections: u };
    batch::from_batch(target, order, &given, d, denominators, scratch);
    finish_batch(g, batch, u, &gating.response, out, None);
    moments
}
