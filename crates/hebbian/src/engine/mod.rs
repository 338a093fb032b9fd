//! Where a network's arithmetic runs: one face, a form for each kind of device.

mod backprop;
mod cpu;
mod head;
mod sgd;
pub(crate) mod trunk;

#[cfg(feature = "vulkan")]
pub(crate) use backprop::parameters;
pub use backprop::{Gradients, Trainer};
pub(crate) use head::HeadGradients;
pub use sgd::Sgd;

use std::fmt;
use std::ops::Range;
#[cfg(feature = "vulkan")]
use std::sync::Arc;

use crate::collective::Group;
use crate::error::{Error, Result};
#[cfg(feature = "vulkan")]
use crate::gpu::{Gpu, Vulkan};
use crate::linalg;
use crate::network::{Head, Network, Tensors};
use crate::rules::Rule;

/// A device that networks run on.
#[derive(Clone, Debug, Default)]
pub enum Device {
    /// The processor, on all threads of the current pool.
    #[default]
    Cpu,
    /// The processors of several processes that train together, each on its
    /// part of every batch. What does not train, each does by itself.
    Processes(Group),
    /// A graphics card, through its Vulkan driver.
    #[cfg(feature = "vulkan")]
    Vulkan {
        /// The card.
        gpu: Arc<Gpu>,
        /// Whether matrix products round their operands to half precision,
        /// where that is safe.
        half: bool,
    },
}

impl Device {
    /// The device called `name`: `cpu`, `vulkan` for the best graphics card,
    /// or `vulkan:N` for card N, from 0; `vulkan-half` and `vulkan-half:N` for
    /// products of numbers in half precision.
    ///
    /// # Errors
    /// If there is no such device, or this build has no support for it.
    pub fn open(name: &str) -> Result<Self> {
        let (kind, number) = match name.split_once(':') {
            Some((kind, number)) => (kind, Some(number)),
            None => (name, None),
        };
        match (kind, number.map(str::parse::<usize>)) {
            ("cpu", None) => Ok(Self::Cpu),
            ("vulkan" | "vulkan-half", None) => Self::card(None, kind == "vulkan-half"),
            ("vulkan" | "vulkan-half", Some(Ok(index))) => {
                Self::card(Some(index), kind == "vulkan-half")
            }
            _ => {
                let known = "cpu, vulkan, vulkan:N, vulkan-half and vulkan-half:N";
                let problem = format!("'{name}' is no device; there are {known}");
                Err(Error::config("--device", problem))
            }
        }
    }

    #[cfg(feature = "vulkan")]
    fn card(index: Option<usize>, half: bool) -> Result<Self> {
        let gpu = Gpu::open(index)?;
        if half && !gpu.has_half() {
            let problem = format!("{} does not compute in half precision", gpu.name());
            return Err(Error::Device(problem));
        }
        Ok(Self::Vulkan { gpu: Arc::new(gpu), half })
    }

    #[cfg(not(feature = "vulkan"))]
    fn card(_: Option<usize>, _: bool) -> Result<Self> {
        let problem = "this program was built without GPU support; \
                       build it with `--features vulkan`, or use cpu";
        Err(Error::config("--device", problem))
    }

    /// The same for processes that train together.
    ///
    /// # Errors
    /// If there are several, or several parts, and this is no processor.
    pub fn shared(self, group: &Group) -> Result<Self> {
        match self {
            device if !group.is_split() => Ok(device),
            Self::Cpu => Ok(Self::Processes(group.clone())),
            device => {
                let problem = format!(
                    "several processes, or parts, train on processors only; leave it out, or \
                     start one process without parts for {device}"
                );
                Err(Error::config("--device", problem))
            }
        }
    }

    /// Those that train together on it.
    pub fn group(&self) -> Group {
        match self {
            Self::Processes(group) => group.clone(),
            _ => Group::default(),
        }
    }

    /// Multiply-accumulates a second of matrix products on it, measured in some
    /// hundredths of a second; of processes that train together, if all are as
    /// fast as this one. `None` for a graphics card.
    pub fn products_rate(&self) -> Option<f64> {
        let here = || linalg::products_rate(512, 1, 4);
        match self {
            Self::Cpu => Some(here()),
            Self::Processes(group) => Some(here() * group.size() as f64),
            #[cfg(feature = "vulkan")]
            Self::Vulkan { .. } => None,
        }
    }

    /// An engine for one run over one network.
    pub fn engine(&self) -> Box<dyn Engine> {
        match self {
            Self::Cpu => Box::new(cpu::Cpu::new(Group::default())),
            Self::Processes(group) => Box::new(cpu::Cpu::new(group.clone())),
            #[cfg(feature = "vulkan")]
            Self::Vulkan { gpu, half } => Box::new(Vulkan::new(Arc::clone(gpu), *half)),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Processes(group) => write!(f, "cpu of {} processes", group.size()),
            #[cfg(feature = "vulkan")]
            Self::Vulkan { gpu, .. } => f.write_str(gpu.name()),
        }
    }
}

/// A step of Hebbian learning. Of a batch that several processes share, each has
/// its part, which may be empty.
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
    /// Whether it is to be measured.
    pub measure: bool,
}

/// What is measured of a layer in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// `||lr dW|| / ||W||`.
    pub change: f64,
    /// Winners' spread: how evenly the neurons share the patches, from 1 / C
    /// (one takes all) to 1. The perplexity of their shares over C, where a
    /// neuron's share is its part of the gates where neurons compete, and of the
    /// squares of the responses otherwise. None where the device does not tell.
    pub spread: Option<f64>,
}

/// A step of supervised learning, likewise.
pub struct SupervisedStep<'a> {
    /// Input, batch x height x width x 3.
    pub x: &'a [f32],
    /// Class of each image.
    pub labels: &'a [u32],
    /// Factor of each input of the classifier's last layer (batch x feature
    /// length or hidden units), 0 where dropped, or empty.
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
    /// from what the layer below gives in the same step. Returns what was
    /// measured of each, where that is wanted.
    fn hebbian_step(
        &mut self,
        network: &mut Network,
        step: &HebbianStep<'_>,
    ) -> Result<Vec<Measured>>;

    /// Forward pass, gradients and optimiser step of all layers and the
    /// classifier. Returns the mean cross-entropy, of the whole batch, and the
    /// scores (batch x classes) before the step.
    fn supervised_step(
        &mut self,
        network: &mut Network,
        head: &mut Head,
        step: &SupervisedStep<'_>,
    ) -> Result<(f64, Vec<f32>)>;

    /// Waits until every step handed over is done.
    fn wait(&mut self) -> Result<()> {
        Ok(())
    }

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
