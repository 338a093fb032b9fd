//! Where a network's arithmetic runs: one face, a form for each kind of device.

mod backprop;
mod cpu;
mod sgd;

pub use backprop::{Gradients, Trainer};
pub use sgd::Sgd;

use std::fmt;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::network::{Head, Network, Tensors};
use crate::rules::Rule;

/// A device that networks run on.
#[derive(Clone, Debug, Default)]
pub enum Device {
    /// The processor, on all threads of the current pool.
    #[default]
    Cpu,
}

impl Device {
    /// The device called `name`: `cpu`.
    ///
    /// # Errors
    /// If there is no such device, or this build has no support for it.
    pub fn open(name: &str) -> Result<Self> {
        match name {
            "cpu" => Ok(Self::Cpu),
            _ => {
                let problem = format!("'{name}' is not in this build, which has cpu");
                Err(Error::config("--device", problem))
            }
        }
    }

    /// An engine for one run over one network.
    pub fn engine(&self) -> Box<dyn Engine> {
        match self {
            Self::Cpu => Box::new(cpu::Cpu::default()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
        }
    }
}

/// A step of Hebbian learning.
pub struct HebbianStep<'a> {
    /// The rule of every layer.
    pub rule: &'a dyn Rule,
    /// Input, batch x height x width x 3.
    pub x: &'a [f32],
    /// Layers that learn, from 0. Those below run as they are, those above
    /// not at all.
    pub learning: Range<usize>,
    /// Learning rate of each of them.
    pub rates: &'a [f64],
    /// Whether their relative change is wanted.
    pub measure: bool,
}

/// A step of supervised learning.
pub struct SupervisedStep<'a> {
    /// Input, batch x height x width x 3.
    pub x: &'a [f32],
    /// Class of each image.
    pub labels: &'a [u32],
    /// Factor of each feature (batch x feature length), 0 where dropped, or
    /// empty.
    pub keep: &'a [f32],
    /// The optimiser's step.
    pub sgd: Sgd,
}

/// Runs one network on one device.
///
/// An engine belongs to the network of its first call: a device with memory
/// of its own copies it then and learns on the copy, and what the host holds
/// is out of date until [`Engine::fetch`].
pub trait Engine: Send {
    /// Features of layer `depth` with the running statistics: batch x feature
    /// length, each image's map in the order height, width, channel.
    fn features(&mut self, network: &Network, depth: usize, x: &[f32]) -> Result<Vec<f32>>;

    /// Forward pass, update and normalisation of the layers that learn, each
    /// from what the layer below gives in the same step. Returns
    /// `||lr dW|| / ||W||` of each, where wanted.
    fn hebbian_step(&mut self, network: &mut Network, step: &HebbianStep<'_>) -> Result<Vec<f64>>;

    /// Forward pass, gradients and optimiser step of all layers and the
    /// classifier. Returns the mean cross-entropy and the scores (batch x
    /// classes) before the step.
    fn supervised_step(
        &mut self,
        network: &mut Network,
        head: &mut Head,
        step: &SupervisedStep<'_>,
    ) -> Result<(f64, Vec<f32>)>;

    /// Brings the host's copy up to date.
    fn fetch(&mut self, network: &mut Network, head: Option<&mut Head>) -> Result<()>;

    /// The optimiser's momentum, by the parameters' names.
    fn momentum(&mut self, network: &Network, head: &Head) -> Result<Tensors>;

    /// Goes on with momentum saved before.
    ///
    /// # Errors
    /// If it is not that of this network; the message names `path`.
    fn set_momentum(
        &mut self,
        network: &Network,
        head: &Head,
        path: &std::path::Path,
        saved: Tensors,
    ) -> Result<()>;
}
