//! Supervised gradients through the whole network, on the processor.

use std::path::Path;

use super::Sgd;
use super::head::HeadGradients;
use super::trunk::{self, Trunk};
use crate::Result;
use crate::collective::Group;
use crate::network::{Head, Network, Statistics, Tensors};

/// Loss, scores and gradients of one batch.
#[derive(Default)]
pub struct Gradients {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Scores, batch x classes.
    pub scores: Vec<f32>,
    /// Gradient of each parameter: weight, gamma, beta and, where there is one,
    /// bias of each layer; weight, bias, gamma and beta of the head's hidden
    /// layer, where there is one; weight and bias of the head.
    pub by_parameter: Vec<Vec<f32>>,
    /// Gradient by the input, batch x height x width x 3, where asked for.
    pub by_input: Option<Vec<f32>>,
}

/// Names of all parameters and how many numbers each has, in the order of
/// [`Gradients::by_parameter`].
pub(crate) fn parameters(network: &Network, head: &Head) -> Vec<(String, usize)> {
    let mut all = trunk::parameters(network);
    all.extend(head.parameters());
    all
}

/// Gradients and optimiser of a network and its head; keeps its buffers
/// between steps.
#[derive(Default)]
pub struct Trainer {
    trunk: Trunk,
    head: HeadGradients,
    d_features: Vec<f32>,
    gradients: Gradients,
    momentum: Vec<Vec<f32>>,
}

impl Trainer {
    /// Of a network that the processes of `group` train together, each on its
    /// part of every batch.
    pub fn shared(group: Group) -> Self {
        let mut trainer = Self::default();
        trainer.trunk.group = group.clone();
        trainer.head.group = group;
        trainer
    }

    /// Goes on with saved momentum.
    ///
    /// # Errors
    /// If it is not that of this network; the message names `path`.
    pub fn set_momentum(
        &mut self,
        network: &Network,
        head: &Head,
        path: &Path,
        mut saved: Tensors,
    ) -> Result<()> {
        let all = parameters(network, head).into_iter();
        let momentum = all.map(|(name, len)| saved.take(path, &name, &[len]));
        self.momentum = momentum.collect::<Result<_>>()?;
        Ok(())
    }

    /// The momentum, to be saved; none before the first step.
    pub fn momentum(&self, network: &Network, head: &Head) -> Tensors {
        let mut tensors = Tensors::default();
        for ((name, len), values) in parameters(network, head).into_iter().zip(&self.momentum) {
            tensors.insert(name, &[len], values);
        }
        tensors
    }

    /// Loss and gradients of a batch; moves the running statistics of the
    /// normalisations. Of a batch that several processes share, each gives and
    /// gets the scores of its own part, and all else is of the whole.
    ///
    /// # Shapes
    /// `x`: batch x height x width x 3; `labels`: one class a row; `keep`: factor
    /// of each input of the head's last layer (batch x feature length or hidden
    /// units), 0 where dropped, or empty.
    pub fn gradients(
        &mut self,
        network: &mut Network,
        head: &mut Head,
        x: &[f32],
        labels: &[u32],
        keep: &[f32],
        by_input: bool,
    ) -> &Gradients {
        let own = trunk::parameter_count(network);
        let all = own + head.parameters().len();
        self.gradients.by_parameter.resize_with(all, Vec::new);
        let group = self.trunk.group.clone();
        self.trunk.forward(network, labels.len(), x, Statistics::Batch(&*group));
        let (by_layers, of_head) = self.gradients.by_parameter.split_at_mut(own);
        if let Some(last) = self.trunk.saved.last_mut() {
            let (features, d_features) = (&mut last.out, Some(&mut self.d_features));
            let found = self.head.compute(head, features, labels, keep, of_head, d_features);
            (self.gradients.loss, self.gradients.scores) = found;
        }
        let d_features = &mut self.d_features;
        self.trunk.backward(network, labels.len(), x, d_features, by_layers, by_input);
        self.gradients.by_input = by_input.then(|| self.d_features.clone());
        &self.gradients
    }

    /// One step along the gradients last computed.
    pub fn step(&mut self, network: &mut Network, head: &mut Head, sgd: &Sgd) {
        let gradients = &self.gradients.by_parameter;
        if self.momentum.is_empty() {
            self.momentum = gradients.iter().map(|d| vec![0.0; d.len()]).collect();
        }
        let values = trunk::values(network).chain(head.parameters_mut());
        for ((w, v), d) in values.zip(&mut self.momentum).zip(gradients) {
            sgd.step(w, v, d);
        }
    }
}
