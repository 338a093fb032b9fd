//! What the baseline's step starts from.

use std::path::Path;

use anyhow::Result;
use hebbian::network::{Network, NetworkSpec, Tensors};
use hebbian::ops::Activation;
use hebbian::rules::Projection;
use hebbian::train::VaeConfig;
use hebbian::vae::{Vae, noise};

/// The network as the published baselines have it: the same shapes.
pub(crate) const VAE_NETWORK: &str = "cifar-6-backprop";

/// Encoder and decoder with the random weights of one seed.
pub(crate) struct VaeSubject {
    pub(crate) encoder: Network,
    pub(crate) vae: Vae,
    /// Of the latent vectors, images x latent.
    pub(crate) noise: Vec<f32>,
}

impl VaeSubject {
    /// With noise for so many images.
    pub(crate) fn new(images: usize) -> Result<Self> {
        let spec = NetworkSpec::find(VAE_NETWORK)?;
        let encoder = Network::new(spec, Projection::Plain, Activation::Relu, 0)?;
        let latent = VaeConfig::default().latent;
        let vae = Vae::new(&encoder, latent, 0);
        Ok(Self { encoder, vae, noise: noise(images * latent, 0, "bench") })
    }

    /// Writes a safetensors file: images `x`, `noise`, and all parameters under
    /// their names.
    pub(crate) fn write(&self, x: &[f32], path: &Path) -> Result<()> {
        let mut tensors = Tensors::default();
        let [height, width, channels] = self.encoder.spec.input;
        let images = x.len() / (height * width * channels);
        tensors.insert("x", &[images, height, width, channels], x);
        tensors.insert("noise", &[images, self.vae.latent], &self.noise);
        for (index, block) in self.encoder.blocks.iter().enumerate() {
            let (g, layer) = (&block.geometry, format!("L{}", index + 1));
            let shape = [g.filters, g.kernel, g.kernel, g.channels];
            tensors.insert(format!("{layer}.weight"), &shape, &block.weights);
            let parts = [("gamma", &block.norm.gamma), ("beta", &block.norm.beta)];
            for (part, values) in parts.into_iter().chain(block.bias.as_ref().map(|b| ("bias", b)))
            {
                tensors.insert(format!("{layer}.{part}"), &[values.len()], values);
            }
        }
        let codes = self.vae.bias.len();
        let shape = [codes, self.vae.weights.len() / codes];
        tensors.insert("latent.weight", &shape, &self.vae.weights);
        tensors.insert("latent.bias", &[codes], &self.vae.bias);
        for (index, layer) in self.vae.decoder.iter().enumerate() {
            let (g, name) = (&layer.geometry, format!("D{}", index + 1));
            let shape = [g.filters, g.kernel, g.kernel, g.channels];
            tensors.insert(format!("{name}.weight"), &shape, &layer.weights);
            let norm = [("gamma", &layer.norm.gamma), ("beta", &layer.norm.beta)];
            for (part, values) in norm.into_iter().chain([("bias", &layer.bias)]) {
                tensors.insert(format!("{name}.{part}"), &[values.len()], values);
            }
        }
        fs_err::write(path, tensors.to_bytes()?)?;
        Ok(())
    }
}
