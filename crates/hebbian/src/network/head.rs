//! The classifier on top of a network: one linear layer.

use hebbian_data::seed;
use rand::RngExt;

use crate::linalg::{Mat, MatMut, add_assign, gemm};

/// Linear classifier with bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Weights, classes x features.
    pub weights: Vec<f32>,
    /// Bias, one a class.
    pub bias: Vec<f32>,
}

impl Head {
    /// Random weights and bias, uniform in `+-1/sqrt(features)`, from the
    /// stream `init/head` of `seed`.
    pub fn new(features: usize, classes: usize, seed: u64) -> Self {
        let mut rng = seed::stream(seed, "init/head");
        let bound = 1.0 / (features as f32).sqrt();
        let mut draw = |n| (0..n).map(|_| rng.random_range(-bound..bound)).collect();
        Self { weights: draw(classes * features), bias: draw(classes) }
    }

    /// Length of the features it takes.
    pub fn features(&self) -> usize {
        self.weights.len() / self.bias.len()
    }

    /// Scores (batch x classes) of features (batch x feature length).
    pub fn scores(&self, features: &[f32]) -> Vec<f32> {
        let (k, f) = (self.bias.len(), self.features());
        let batch = features.len() / f;
        let mut scores = self.bias.repeat(batch);
        let out = &mut MatMut::new(&mut scores, batch, k);
        gemm(out, 1.0, 1.0, Mat::new(features, batch, f), Mat::new(&self.weights, k, f).t());
        scores
    }

    /// Gradients by weights and bias, from those by the scores (batch x
    /// classes) of features (batch x feature length).
    pub fn gradients(
        &self,
        features: &[f32],
        d_scores: &[f32],
        d_weights: &mut Vec<f32>,
        d_bias: &mut Vec<f32>,
    ) {
        let (k, f) = (self.bias.len(), self.features());
        let batch = d_scores.len() / k;
        d_weights.resize(k * f, 0.0);
        let d = Mat::new(d_scores, batch, k);
        let features = Mat::new(features, batch, f);
        gemm(&mut MatMut::new(d_weights, k, f), 0.0, 1.0, d.t(), features);
        d_bias.clear();
        d_bias.resize(k, 0.0);
        d_scores.chunks_exact(k).for_each(|row| add_assign(d_bias, row));
    }

    /// Gradient by the features (batch x feature length), from that by the
    /// scores (batch x classes).
    pub fn gradient_by_features(&self, d_scores: &[f32], d_features: &mut Vec<f32>) {
        let (k, f) = (self.bias.len(), self.features());
        let batch = d_scores.len() / k;
        d_features.resize(batch * f, 0.0);
        let weights = Mat::new(&self.weights, k, f);
        let d_features = &mut MatMut::new(d_features, batch, f);
        gemm(d_features, 0.0, 1.0, Mat::new(d_scores, batch, k), weights);
    }
}

/// Mean cross-entropy of scores (batch x classes), which become its gradient.
pub fn cross_entropy(scores: &mut [f32], labels: &[u32]) -> f64 {
    let (batch, classes) = (labels.len(), scores.len() / labels.len().max(1));
    softmax_rows(scores, classes);
    let mut loss = 0.0;
    for (row, &label) in scores.chunks_exact_mut(classes).zip(labels) {
        loss -= f64::from(row[label as usize].max(f32::MIN_POSITIVE)).ln();
        row[label as usize] -= 1.0;
        row.iter_mut().for_each(|d| *d /= batch as f32);
    }
    loss / batch as f64
}

/// Turns each row of scores (rows x classes) into probabilities.
pub fn softmax_rows(scores: &mut [f32], classes: usize) {
    for row in scores.chunks_exact_mut(classes) {
        let best = row.iter().copied().fold(f32::MIN, f32::max);
        row.iter_mut().for_each(|s| *s = (*s - best).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|s| *s /= sum);
    }
}
