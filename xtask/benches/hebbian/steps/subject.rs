//! What every step starts from: one network, one batch of images.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use hebbian::engine::Trainer;
use hebbian::network::{Head, Linear, Network, NetworkSpec, Tensors};
use hebbian::ops::Activation;
use hebbian::rules::Projection;

use crate::input::Input;

/// Classes of the images and of the classifier.
pub(crate) const CLASSES: usize = 10;

/// Weights, images and labels; handed on in a file, so that all programs
/// measured start from the same.
#[derive(Clone)]
pub(crate) struct Subject {
    /// With running statistics that a batch has moved.
    pub(crate) network: Network,
    /// Classifier.
    pub(crate) head: Head,
    /// Images, batch x height x width x 3.
    pub(crate) x: Vec<f32>,
    /// Class of each.
    pub(crate) labels: Vec<u32>,
}

impl Subject {
    /// Random weights and the first `batch` images.
    pub(crate) fn new(spec: &NetworkSpec, input: &Input, batch: usize) -> Result<Self> {
        let (x, labels) = input.batch(batch)?;
        ensure!(labels.len() == batch, "only {} of {batch} images can be read", labels.len());
        let mut network = Network::new(spec.clone(), Projection::Plain, Activation::Relu, 0)?;
        let mut head = Head::new(network.feature_len(network.depth()), CLASSES, 0);
        Trainer::default().gradients(&mut network, &mut head, &x, &labels, &[], false);
        Ok(Self { network, head, x, labels })
    }

    /// The network as a rule projects.
    pub(crate) fn projecting(&self, projection: Projection) -> Network {
        Network { projection, ..self.network.clone() }
    }

    /// Some of the images, for one of several processes.
    #[cfg(feature = "mpi")]
    pub(crate) fn part(&self, rows: std::ops::Range<usize>) -> Self {
        let each = self.network.blocks[0].geometry.input_len();
        let x = self.x[rows.start * each..rows.end * each].to_vec();
        Self { x, labels: self.labels[rows].to_vec(), ..self.clone() }
    }

    /// The first `images` images.
    pub(crate) fn first(&self, images: usize) -> &[f32] {
        &self.x[..images * self.network.blocks[0].geometry.input_len()]
    }

    /// Writes a safetensors file: `x`, `labels`, weight, gamma, beta, mean and
    /// var of each layer (`L1.weight`), weight and bias of `head`.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut tensors = Tensors::default();
        let [height, width, channels] = self.network.spec.input;
        tensors.insert("x", &[self.labels.len(), height, width, channels], &self.x);
        let labels: Vec<f32> = self.labels.iter().map(|&label| label as f32).collect();
        tensors.insert("labels", &[labels.len()], &labels);
        for (index, block) in self.network.blocks.iter().enumerate() {
            let (g, norm, layer) = (&block.geometry, &block.norm, index + 1);
            let shape = [g.filters, g.kernel, g.kernel, g.channels];
            tensors.insert(format!("L{layer}.weight"), &shape, &block.weights);
            let parts = [&norm.gamma, &norm.beta, &norm.mean, &norm.var];
            for (name, part) in ["gamma", "beta", "mean", "var"].into_iter().zip(parts) {
                tensors.insert(format!("L{layer}.{name}"), &[g.filters], part);
            }
        }
        let (classes, features) = (self.head.classes(), self.head.features());
        tensors.insert("head.weight", &[classes, features], &self.head.out.weights);
        tensors.insert("head.bias", &[classes], &self.head.out.bias);
        fs_err::write(path, tensors.to_bytes()?)?;
        Ok(())
    }

    /// Reads such a file.
    pub(crate) fn read(spec: &NetworkSpec, path: &Path) -> Result<Self> {
        let mut tensors = Tensors::from_bytes(path, &fs_err::read(path)?)?;
        let mut network = Network::new(spec.clone(), Projection::Plain, Activation::Relu, 0)?;
        for (index, block) in network.blocks.iter_mut().enumerate() {
            let (g, layer) = (block.geometry, index + 1);
            let shape = [g.filters, g.kernel, g.kernel, g.channels];
            block.weights = tensors.take(path, &format!("L{layer}.weight"), &shape)?;
            for (name, part) in [
                ("gamma", &mut block.norm.gamma),
                ("beta", &mut block.norm.beta),
                ("mean", &mut block.norm.mean),
                ("var", &mut block.norm.var),
            ] {
                *part = tensors.take(path, &format!("L{layer}.{name}"), &[g.filters])?;
            }
        }
        let features = network.feature_len(network.depth());
        let out = Linear {
            weights: tensors.take(path, "head.weight", &[CLASSES, features])?,
            bias: tensors.take(path, "head.bias", &[CLASSES])?,
        };
        let head = Head::from(out);
        let x = tensors.get("x").context("the images are missing")?.to_vec();
        let labels = tensors.get("labels").context("the labels are missing")?;
        let labels = labels.iter().map(|&label| label as u32).collect();
        Ok(Self { network, head, x, labels })
    }
}
