//! A supervised step that PyTorch computed in double precision (`gradients.py` makes the file).

use std::path::Path;

use hebbian::network::{Head, Linear, Network, NetworkSpec, Tensors};
use hebbian::ops::Activation;
use hebbian::rules::Projection;

/// The steps of the file.
pub const STEPS: [(&str, Projection); 2] =
    [("plain", Projection::Plain), ("normalised", Projection::Normalised)];

/// Labels of its batch.
pub const LABELS: [u32; 5] = [0, 3, 1, 2, 3];

pub struct Pytorch(Tensors);

impl Pytorch {
    pub fn open() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gradients.safetensors");
        Self(Tensors::from_bytes(&path, &std::fs::read(&path).unwrap()).unwrap())
    }

    /// Numbers of a step by name.
    pub fn get(&self, step: &str, key: &str) -> Vec<f32> {
        self.0.get(&format!("{step}.{key}")).expect(key).to_vec()
    }

    /// Network and classifier before it.
    pub fn start(&self, step: &str, projection: Projection) -> (Network, Head) {
        let get = |key: &str| self.get(step, key);
        let text = super::NETWORK.replace("filters = 70", "filters = 40");
        let spec = NetworkSpec::parse(&text, Path::new("small.toml")).unwrap();
        let mut network = Network::new(spec, projection, Activation::Relu, 0).unwrap();
        for (index, block) in network.blocks.iter_mut().enumerate() {
            let layer = index + 1;
            block.weights = get(&format!("L{layer}.weight"));
            block.norm.gamma = get(&format!("L{layer}.gamma"));
            block.norm.beta = get(&format!("L{layer}.beta"));
        }
        let (weights, bias) = (get("head.weight"), get("head.bias"));
        (network, Head::from(Linear { weights, bias }))
    }
}
