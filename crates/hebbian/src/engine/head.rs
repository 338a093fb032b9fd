//! Supervised gradients of the classifier.

use crate::collective::Group;
use crate::network::{Head, Hidden, Linear, cross_entropy};

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
        let (of_batch, group) = ((labels, keep, rows), self.group.clone());
        let Some(hidden) = hidden else {
            return out_layer(out, features, of_batch, by_parameter, by_features, &group);
        };
        let [d_weights, d_bias, d_gamma, d_beta, rest @ ..] = by_parameter else {
            unreachable!("a classifier with a hidden layer has six parameters")
        };
        let Self { rectified, units, d_units, .. } = self;
        *rectified = hidden.rectified(features);
        units.clone_from(rectified);
        let Hidden { linear, norm } = hidden;
        let by = norm.train_shared(units, &*group);
        let found = out_layer(out, units, of_batch, rest, Some(d_units), &group);
        (*d_gamma, *d_beta) = norm.backward(rectified, &by, d_units, &*group);
        for (d, &u) in d_units.iter_mut().zip(&*rectified) {
            *d = if u > 0.0 { *d } else { 0.0 };
        }
        linear.gradients(features, d_units, d_weights, d_bias);
        group.sum_f32(d_weights);
        group.sum_f32(d_bias);
        if let Some(by_features) = by_features {
            linear.gradient_by_input(d_units, by_features);
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
    group: &Group,
) -> (f64, Vec<f32>) {
    drop_out(x, keep);
    let scores = out.forward(x);
    let mut d_scores = scores.clone();
    let mut loss = [cross_entropy(&mut d_scores, labels, rows)];
    group.sum_f64(&mut loss);
    let [d_weights, d_bias] = by_parameter else {
        unreachable!("the last layer has two parameters")
    };
    out.gradients(x, &d_scores, d_weights, d_bias);
    group.sum_f32(d_weights);
    group.sum_f32(d_bias);
    if let Some(by_x) = by_x {
        out.gradient_by_input(&d_scores, by_x);
        drop_out(by_x, keep);
    }
    (loss[0], scores)
}

fn drop_out(x: &mut [f32], keep: &[f32]) {
    x.iter_mut().zip(keep).for_each(|(x, keep)| *x *= keep);
}
