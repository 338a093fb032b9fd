//! The two slow forms: sample by sample, and the published order of products.

use super::batch::{Given, ROWS};
use super::target::Target;
use super::{Moments, Order, Scratch, UpdateSums, batch, row_norms};
use crate::linalg::{Panels, add_assign, sum_of_squares};
use crate::ops::{Geometry, gather, project_batch};
use crate::rules::{Projections, Reconstruction, Rule, Samples};

/// All patches of a batch (batch x height x width x channels), unfolded to
/// N x D with N = batch x output height x output width.
pub fn unfold(g: &Geometry, batch: usize, x: &[f32]) -> Vec<f32> {
    let each = g.positions() * g.patch_len();
    let mut patches = vec![0.0; batch * each];
    let images = x.chunks_exact(g.input_len()).zip(patches.chunks_exact_mut(each));
    images.for_each(|(image, patches)| gather(g, image, 0..g.out_height(), patches));
    patches
}

/// The update `dW` (C x D) of patches (N x D), sample by sample, as the papers
/// write the rule.
pub fn naive_update(rule: &dyn Rule, d: usize, patches: &[f32], weights: &[f32]) -> Vec<f32> {
    rule.naive_f32(&Samples { x: patches, w: weights, d })
}

/// The sums of patches (N x D) in the published order of FastHebb: the whole of
/// `U = X W^T`, its gates `A`, then `A^T X - Rec` with `Rec` the product of a
/// C x C matrix and `W`, such as `diag(colsum A) W` or `tril(A^T A) W`.
pub fn published_update(rule: &dyn Rule, d: usize, patches: &[f32], weights: &[f32]) -> UpdateSums {
    let c = weights.len() / d;
    let mut projections = Vec::new();
    let u = &*project_batch(patches, weights, &mut [], d, &mut Panels::default(), &mut projections);
    let norms = row_norms(weights, d);
    let patch_norm: Vec<f32> = patches.chunks_exact(d).map(|x| sum_of_squares(x).sqrt()).collect();
    let mut gates = vec![0.0; u.len()];
    let mut denominators = vec![0.0; Moments::kept(rule, c)];
    let rows = u.chunks(ROWS * c).zip(patch_norm.chunks(ROWS)).zip(gates.chunks_mut(ROWS * c));
    for ((u, patch_norm), gates) in rows {
        let mut own = vec![0.0; denominators.len()];
        let projections = Projections { u, patch_norm, weight_norm: &norms };
        rule.gate_vectorised(&projections, gates, &mut own);
        add_assign(&mut denominators, &own);
    }
    let moments = Moments::split_off(&mut denominators, c);
    let given = Given { patches, gates: &gates, projections: u };
    let order = (rule.reconstruction(), Order::Gram);
    UpdateSums { moments, ..in_order(order, d, &given, weights, denominators) }
}

/// The sums of patches (N x D) and their gates (N x C), the products taken in
/// the order given.
pub fn update_in_order(
    order: (Reconstruction, Order),
    d: usize,
    (patches, gates): (&[f32], &[f32]),
    weights: &[f32],
    denominators: Vec<f32>,
) -> UpdateSums {
    let mut buffer = Vec::new();
    let projections: &[f32] = if order.0.unmixes() {
        project_batch(patches, weights, &mut [], d, &mut Panels::default(), &mut buffer)
    } else {
        &[]
    };
    in_order(order, d, &Given { patches, gates, projections }, weights, denominators)
}

fn in_order(
    order: (Reconstruction, Order),
    d: usize,
    given: &Given<'_>,
    weights: &[f32],
    denominators: Vec<f32>,
) -> UpdateSums {
    let mut sums = UpdateSums::of_length(weights.len());
    let target = Target::Sums { weights, sums: &mut sums };
    batch::from_batch(target, order, given, d, denominators, &mut Scratch::default());
    if order.0.is_tangent() {
        sums.keep_tangent(weights);
    }
    sums
}
