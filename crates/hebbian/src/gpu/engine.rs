//! The engine of a graphics card.

use std::path::Path;
use std::sync::Arc;

use super::device::Gpu;
use super::network::GpuNetwork;
use crate::engine::{Engine, HebbianStep, Measured, SupervisedStep, parameters};
use crate::error::Result;
use crate::network::{Head, Network, Tensors};

/// Learns on a copy of the host's network that the card holds.
pub(crate) struct Vulkan {
    gpu: Arc<Gpu>,
    half: bool,
    network: Option<GpuNetwork>,
}

impl Vulkan {
    /// An engine that puts the first network it is given on `gpu`; `half` as
    /// in [`GpuNetwork::new`].
    pub(crate) fn new(gpu: Arc<Gpu>, half: bool) -> Self {
        Self { gpu, half, network: None }
    }

    /// The network on the card, with a classifier where one is given.
    fn on_card(&mut self, network: &Network, head: Option<&Head>) -> Result<&mut GpuNetwork> {
        let on_card = match self.network.take() {
            Some(on_card) => on_card,
            None => GpuNetwork::new(&self.gpu, network, self.half)?,
        };
        let on_card = self.network.insert(on_card);
        if let Some(head) = head {
            on_card.put_head(head)?;
        }
        Ok(on_card)
    }
}

impl Engine for Vulkan {
    fn features(&mut self, network: &Network, depth: usize, x: &[f32]) -> Result<Vec<f32>> {
        self.on_card(network, None)?.features(depth, x)
    }

    fn hebbian_step(
        &mut self,
        network: &mut Network,
        step: &HebbianStep<'_>,
    ) -> Result<Vec<Measured>> {
        let changes = self.on_card(network, None)?.hebbian_step(step)?;
        Ok(changes.into_iter().map(|change| Measured { change, spread: None }).collect())
    }

    fn supervised_step(
        &mut self,
        network: &mut Network,
        head: &mut Head,
        step: &SupervisedStep<'_>,
    ) -> Result<(f64, Vec<f32>)> {
        self.on_card(network, Some(head))?.supervised_step(step)
    }

    fn wait(&mut self) -> Result<()> {
        self.network.as_mut().map_or(Ok(()), GpuNetwork::wait)
    }

    fn fetch(&mut self, network: &mut Network, head: Option<&mut Head>) -> Result<()> {
        match &self.network {
            Some(on_card) => on_card.fetch(network, head),
            None => Ok(()),
        }
    }

    fn momentum(&mut self, network: &Network, head: &Head) -> Result<Tensors> {
        let values = self.on_card(network, None)?.momentum()?;
        let mut tensors = Tensors::default();
        for ((name, len), values) in parameters(network, head).into_iter().zip(&values) {
            tensors.insert(name, &[len], values);
        }
        Ok(tensors)
    }

    fn set_momentum(
        &mut self,
        network: &Network,
        head: &Head,
        path: &Path,
        mut saved: Tensors,
    ) -> Result<()> {
        let all = parameters(network, head).into_iter();
        let momentum = all.map(|(name, len)| saved.take(path, &name, &[len]));
        let momentum = momentum.collect::<Result<Vec<_>>>()?;
        self.on_card(network, Some(head))?.set_momentum(&momentum)
    }
}
