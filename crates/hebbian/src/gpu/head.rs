//! The classifier on the card.

use wgpu::Buffer;

use super::device::Gpu;
use super::layer::Layer;
use super::plan::{Builder, Word};
use super::product::{Operand, Product};
use super::shaders;
use crate::network::{Head, Linear};
use crate::{Error, Result};

/// The classifier on the card, and what descent needs of all parameters.
pub(super) struct DeviceHead {
    pub(super) classes: usize,
    pub(super) features: usize,
    pub(super) weights: Buffer,
    pub(super) bias: Buffer,
    /// Momentum, in the order of [`crate::engine::Gradients::by_parameter`],
    /// gamma, beta and bias of a layer together.
    pub(super) momentum: Vec<Buffer>,
    /// Learning rate, momentum, weight decay.
    pub(super) settings: Buffer,
}

impl DeviceHead {
    /// Puts a classifier on the card.
    ///
    /// # Errors
    /// [`Error::Device`] if it has a hidden layer, or the card has not the
    /// memory.
    pub(super) fn new(gpu: &Gpu, head: &Head, layers: &[Layer]) -> Result<Self> {
        if head.hidden.is_some() {
            let problem = "the graphics card trains linear classifiers only; \
                           fine-tune one with a hidden layer on the cpu";
            return Err(Error::Device(problem.into()));
        }
        let mut momentum = Vec::new();
        for layer in layers {
            momentum.push(gpu.buffer("momentum", layer.g.weight_len())?);
            momentum.push(gpu.buffer("momentum", layer.learned_len())?);
        }
        let Linear { weights, bias } = &head.out;
        momentum.push(gpu.buffer("momentum", weights.len())?);
        momentum.push(gpu.buffer("momentum", bias.len())?);
        Ok(Self {
            classes: head.classes(),
            features: head.features(),
            weights: gpu.buffer_of("the classifier's weights", weights)?,
            bias: gpu.buffer_of("the classifier's bias", bias)?,
            momentum,
            settings: gpu.uniform(&[0; 4]),
        })
    }
}

impl DeviceHead {
    /// Adds scores, losses and the classifier's own step; returns the gradient
    /// by the features.
    pub(super) fn step(
        &self,
        b: &mut Builder<'_>,
        map: &Buffer,
        batch: usize,
        drop: bool,
    ) -> Result<Buffer> {
        let (k, f) = (self.classes, self.features);
        let multiply = |b: &mut Builder<'_>, from: &Buffer, to: &str| -> Result<Buffer> {
            let keep = b.scratch("kept features", batch * f)?;
            let out = b.scratch(to, batch * f)?;
            let settings = [batch * f, 1, 0, 0, 0, 0, 0].map(Word::U);
            let buffers = [(1, from), (2, &out), (3, &keep)];
            b.add_elements(&shaders::elements("multiply"), &settings, &buffers, batch * f)?;
            Ok(out)
        };
        let features = if drop { multiply(b, map, "dropped-out features")? } else { map.clone() };
        let scores = b.scratch("scores and losses", batch * (k + 1))?;
        let (rows, weights) = (Operand::rows(&features, f), Operand::rows(&self.weights, f));
        b.product(&Product::new(rows, weights, [batch, k, f], &scores))?;
        let labels = b.scratch("labels", batch)?;
        let d_scores = b.scratch("gradient by the scores", batch * k)?;
        let buffers = [(1, &self.bias), (2, &labels), (3, &scores), (4, &d_scores)];
        b.add(&shaders::loss(), &[batch, k].map(Word::U), &buffers, [batch, 1, 1])?;

        let d_weights = b.scratch("gradient by the classifier's weights", k * f)?;
        let d_columns = Operand::columns(&d_scores, k);
        let columns = Operand::columns(&features, f);
        b.product(&Product::new(d_columns, columns, [k, f, batch], &d_weights))?;
        let d_bias = b.scratch("gradient by the bias", k)?;
        b.reduce(&d_scores, batch, k, (&d_bias, 0), (1.0, 0.0))?;
        let mut d_features = b.scratch("gradient by the features", batch * f)?;
        let (d_rows, weights) = (Operand::rows(&d_scores, k), Operand::columns(&self.weights, f));
        b.product(&Product::new(d_rows, weights, [batch, f, k], &d_features))?;
        if drop {
            d_features = multiply(b, &d_features, "gradient by all features")?;
        }
        let [weights, bias] = [2, 1].map(|from_end| &self.momentum[self.momentum.len() - from_end]);
        self.descend(b, &d_weights, &self.weights, weights, k * f)?;
        self.descend(b, &d_bias, &self.bias, bias, k)?;
        Ok(d_features)
    }

    /// Adds the optimiser's step of one parameter.
    pub(super) fn descend(
        &self,
        b: &mut Builder<'_>,
        gradient: &Buffer,
        w: &Buffer,
        v: &Buffer,
        len: usize,
    ) -> Result<()> {
        let settings = [len, 1, 0, 0, 0, 0, 0].map(Word::U);
        let buffers = [(1, gradient), (4, w), (5, v), (6, &self.settings)];
        b.add_elements(&shaders::elements("descend"), &settings, &buffers, len)
    }
}
