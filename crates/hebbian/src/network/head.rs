//! The classifier on top of a network: one linear layer.

use hebbian_data::seed;
use rand::RngExt;

use crate::linalg::{Mat, MatMut, gemm};

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
