//! A linear map with bias.

use rand::{Rng, RngExt};
use rayon::prelude::*;

use crate::linalg::{Mat, MatMut, add_assign, gemm};

/// Rows that one task computes outputs of; fixed, as are the others, so that
/// nothing depends on the number of threads.
const ROWS: usize = 16;
/// Outputs that one task computes.
const OUTPUTS: usize = 32;
/// Inputs whose gradient one task computes.
const INPUTS: usize = 4096;

/// `y = W x + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// Weights, outputs x inputs.
    pub weights: Vec<f32>,
    /// Bias, one an output.
    pub bias: Vec<f32>,
}

impl Linear {
    /// Random weights, then bias, uniform in `+-1/sqrt(inputs)`.
    pub fn new(inputs: usize, outputs: usize, rng: &mut impl Rng) -> Self {
        let bound = 1.0 / (inputs as f32).sqrt();
        let mut draw = |n| (0..n).map(|_| rng.random_range(-bound..bound)).collect();
        Self { weights: draw(outputs * inputs), bias: draw(outputs) }
    }

    /// Length of its inputs.
    pub fn inputs(&self) -> usize {
        self.weights.len() / self.bias.len()
    }

    /// Length of its outputs.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    fn weights(&self) -> Mat<'_> {
        Mat::new(&self.weights, self.outputs(), self.inputs())
    }

    /// Its outputs.
    ///
    /// # Shapes
    /// `x`: rows x inputs; result: rows x outputs.
    pub fn forward(&self, x: &[f32]) -> Vec<f32> {
        let (n, f) = (self.outputs(), self.inputs());
        let rows = x.len() / f;
        let mut out = self.bias.repeat(rows);
        if rows == 0 {
            return out;
        }
        out.par_chunks_mut(ROWS * n).zip(x.par_chunks(ROWS * f)).for_each(|(out, x)| {
            let x = Mat::new(x, x.len() / f, f);
            let parts = MatMut::new(out, x.shape().0, n).split_cols(OUTPUTS);
            parts.into_par_iter().enumerate().for_each(|(part, mut out)| {
                let weights = self.weights().rows(part * OUTPUTS, out.shape().1);
                gemm(&mut out, 1.0, 1.0, x, weights.t());
            });
        });
        out
    }

    /// Gradients by weights (outputs x inputs) and bias, from that by the
    /// outputs.
    ///
    /// # Shapes
    /// `x`: rows x inputs; `d_out`: rows x outputs.
    pub fn gradients(
        &self,
        x: &[f32],
        d_out: &[f32],
        d_weights: &mut Vec<f32>,
        d_bias: &mut Vec<f32>,
    ) {
        let (n, f) = (self.outputs(), self.inputs());
        let rows = d_out.len() / n;
        d_weights.resize(n * f, 0.0);
        d_bias.clear();
        d_bias.resize(n, 0.0);
        if rows == 0 {
            d_weights.fill(0.0);
            return;
        }
        let (x, d) = (Mat::new(x, rows, f), Mat::new(d_out, rows, n));
        d_weights.par_chunks_mut(OUTPUTS * f).enumerate().for_each(|(part, d_weights)| {
            let outputs = d_weights.len() / f;
            let d = d.cols(part * OUTPUTS, outputs);
            let parts = MatMut::new(d_weights, outputs, f).split_cols(INPUTS);
            parts.into_par_iter().enumerate().for_each(|(part, mut d_weights)| {
                let x = x.cols(part * INPUTS, d_weights.shape().1);
                gemm(&mut d_weights, 0.0, 1.0, d.t(), x);
            });
        });
        d_out.chunks_exact(n).for_each(|row| add_assign(d_bias, row));
    }

    /// Gradient by the inputs (rows x inputs), from that by the outputs (rows
    /// x outputs).
    pub fn gradient_by_input(&self, d_out: &[f32], d_x: &mut Vec<f32>) {
        let (n, f) = (self.outputs(), self.inputs());
        let rows = d_out.len() / n;
        d_x.resize(rows * f, 0.0);
        if rows == 0 {
            return;
        }
        let d = Mat::new(d_out, rows, n);
        let parts = MatMut::new(d_x, rows, f).split_cols(INPUTS);
        parts.into_par_iter().enumerate().for_each(|(part, mut d_x)| {
            let weights = self.weights().cols(part * INPUTS, d_x.shape().1);
            gemm(&mut d_x, 0.0, 1.0, d, weights);
        });
    }
}
