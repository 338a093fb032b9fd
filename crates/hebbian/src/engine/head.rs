//! Supervised gradients of the classifier.

use rayon::prelude::*;

use super::trunk::add_both;
use crate::collective::{Group, Parts};
use crate::network::{Head, Hidden, Linear, cross_entropy};

/// Numbers that one task drops out.
const CHUNK: usize = 1 << 14;

/// Gradients of a classifier; keeps its buffers between steps.
#[derive(Default)]
pub(crate) struct HeadGradients {
    /// Those whose batches are parts of one.
    pub(crate) group: Group,
    /// Rectified units, batch x hidden.
    rectified: Vec<f32>,
    /// The units normalised, then dropped.
    units: Vec<f32>,
    d_units: Vec<f32>,
}

impl HeadGradients {
    /// Mean cross-entropy and scores (batch x classes) of a batch; moves the
    /// running statistics of the normalisation. Of a batch that several
    /// processes share, cross-entropy and gradients by parameters are of all.
    ///
    /// # Shapes
    /// `features`: batch x feature length, multiplied by `keep` where there is
    /// no hidden layer; `labels`: one class a row; `keep`: factor of each input
    /// of the last layer (batch x feature length or hidden units), 0 where
    /// dropped, or empty; `by_parameter`: one buffer for each of
    /// `head.parameters()`; `by_features`: batch x feature length.
    pub(crate) fn compute(
        &mut self,
        head: &mut Head,
        features: &mut [f32],
        labels: &[u32],
        keep: &[f32],
        by_parameter: &mut [Vec<f32>],
        by_features: Option<&mut Vec<f32>>,
    ) -> (f64, Vec<f32>) {
        let Head { hidden, out } = head;
        let rows = self.group.count(labels.len());
        let group = self.group.clone();
        let parts = Parts { group: &group, images: labels.len() };
        let of_batch = (labels, keep, rows);
        let Some(hidden) = hidden else {
            return out_layer(out, features, of_batch, by_parameter, by_features, parts);
        };
        let [d_weights, d_bias, d_gamma, d_beta, rest @ ..] = by_parameter else {
            unreachable!("a classifier with a hidden layer has six parameters")
        };
        let Self { rectified, units, d_units, .. } = self;
        *rectified = parts.concat(features, |features| hidden.rectified(features));
        units.clone_from(rectified);
        let Hidden { linear, norm } = hidden;
        let by = norm.train_shared(units, parts);
        let found = out_layer(out, units, of_batch, rest, Some(d_units), parts);
        (*d_gamma, *d_beta) = norm.backward(rectified, &by, d_units, parts);
        for (d, &u) in d_units.iter_mut().zip(&*rectified) {
            *d = if u > 0.0 { *d } else { 0.0 };
        }
        gradients(linear, features, d_units, [d_weights, d_bias], parts);
        if let Some(by_features) = by_features {
            gradient_by_input(linear, d_units, by_features, parts);
        }
        found
    }
}

/// Loss, scores and gradients of the last layer, whose inputs `x` are dropped
/// out in place. With the labels and factors of dropout comes how many rows the
/// whole batch has.
fn out_layer(
    out: &Linear,
    x: &mut [f32],
    (labels, keep, rows): (&[u32], &[f32], usize),
    by_parameter: &mut [Vec<f32>],
    by_x: Option<&mut Vec<f32>>,
    parts: Parts<'_>,
) -> (f64, Vec<f32>) {
    drop_out(x, keep);
    let scores = parts.concat(x, |x| out.forward(x));
    let mut d_scores = scores.clone();
    let of_part = |images| {
        let d_scores = parts.of_mut(&mut d_scores, &images);
        cross_entropy(d_scores, &labels[images], rows)
    };
    let mut loss = [parts.add(of_part, |left, right| *left += right)];
    parts.group.sum_f64(&mut loss);
    let [d_weights, d_bias] = by_parameter else {
        unreachable!("the last layer has two parameters")
    };
    gradients(out, x, &d_scores, [d_weights, d_bias], parts);
    if let Some(by_x) = by_x {
        gradient_by_input(out, &d_scores, by_x, parts);
        drop_out(by_x, keep);
    }
    (loss[0], scores)
}

/// [`Linear::gradients`] of the batch that the processes share.
fn gradients(
    linear: &Linear,
    x: &[f32],
    d_out: &[f32],
    [d_weights, d_bias]: [&mut Vec<f32>; 2],
    parts: Parts<'_>,
) {
    // Buffers of the step before, for the first part.
    let mut kept = Some([std::mem::take(d_weights), std::mem::take(d_bias)]);
    let of_part = |images| {
        let [mut d_weights, mut d_bias] = kept.take().unwrap_or_default();
        let (x, d_out) = (parts.of(x, &images), parts.of(d_out, &images));
        linear.gradients(x, d_out, &mut d_weights, &mut d_bias);
        [d_weights, d_bias]
    };
    [*d_weights, *d_bias] = parts.add(of_part, add_both);
    parts.group.sum_f32(d_weights);
    parts.group.sum_f32(d_bias);
}

/// [`Linear::gradient_by_input`], part by part.
fn gradient_by_input(linear: &Linear, d_out: &[f32], d_x: &mut Vec<f32>, parts: Parts<'_>) {
    if !parts.group.is_split() {
        linear.gradient_by_input(d_out, d_x);
        return;
    }
    *d_x = parts.concat(d_out, |d_out| {
        let mut d_x = Vec::new();
        linear.gradient_by_input(d_out, &mut d_x);
        d_x
    });
}

fn drop_out(x: &mut [f32], keep: &[f32]) {
    x.par_chunks_mut(CHUNK).zip(keep.par_chunks(CHUNK)).for_each(|(x, keep)| {
        x.iter_mut().zip(keep).for_each(|(x, keep)| *x *= keep);
    });
}
