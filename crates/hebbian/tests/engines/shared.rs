//! What the tests of engines share.

use std::path::Path;
use std::sync::OnceLock;

use hebbian::engine::Device;
use hebbian::network::{Block, Network, NetworkSpec};
use hebbian::ops::Activation;
use hebbian::rules::{Projection, Rule};

use crate::common::NETWORK;

/// The devices of this build and machine, opened once.
pub(crate) fn devices() -> &'static [Device] {
    static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();
    let devices = DEVICES.get_or_init(|| {
        let mut devices = vec![Device::Cpu];
        if cfg!(feature = "vulkan") {
            match Device::open("vulkan") {
                Ok(card) => devices.push(card),
                Err(problem) => {
                    assert!(std::env::var_os("HEBB_REQUIRE_GPU").is_none(), "{problem}");
                }
            }
        }
        devices
    });
    let skipped = "no card; tests of the GPU are skipped";
    eprintln!("on cpu and {}", devices.get(1).map_or(skipped.into(), Device::to_string));
    devices
}

/// Those of them that a rule has a form for.
pub(crate) fn devices_for(rule: &dyn Rule) -> &'static [Device] {
    let known = if rule.gate_wgsl().is_some() { devices().len() } else { 1 };
    &devices()[..known]
}

/// Largest difference over the largest entry.
pub(crate) fn error(got: &[f32], want: impl IntoIterator<Item = f64>) -> f64 {
    let want: Vec<f64> = want.into_iter().collect();
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(1e-3f64, |m, w| m.max(w.abs()));
    let differences = got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).abs());
    differences.fold(0.0, |m, d| if d.is_nan() { f64::NAN } else { m.max(d) }) / largest
}

pub(crate) fn double(x: &[f32]) -> impl Iterator<Item = f64> {
    x.iter().map(|&x| f64::from(x))
}

pub(crate) fn close(what: &str, got: &[f32], want: &[f32]) {
    let error = error(got, double(want));
    assert!(error < 2e-5, "{what}: {error}");
}

pub(crate) fn small(projection: Projection, activation: Activation, bias: bool) -> Network {
    let text = NETWORK.replace("norm =", &format!("bias = {bias}, norm ="));
    let spec = NetworkSpec::parse(&text, Path::new("small.toml")).unwrap();
    Network::new(spec, projection, activation, 5).unwrap()
}

/// Projections, activations, and whether there is a bias.
pub(crate) const RESPONSES: [(Projection, Activation, bool); 5] = [
    (Projection::Plain, Activation::Relu, false),
    (Projection::Normalised, Activation::Relu, false),
    (Projection::Plain, Activation::Tanh, false),
    (Projection::Plain, Activation::Relu, true),
    (Projection::Normalised, Activation::Tanh, true),
];

pub(crate) fn close_networks(what: &str, got: &Network, want: &Network) {
    for (index, (got, want)) in got.blocks.iter().zip(&want.blocks).enumerate() {
        let layer = format!("{what}, L{}", index + 1);
        close(&format!("{layer} weights"), &got.weights, &want.weights);
        close(&format!("{layer} gamma"), &got.norm.gamma, &want.norm.gamma);
        close(&format!("{layer} beta"), &got.norm.beta, &want.norm.beta);
        let bias = |block: &Block| block.bias.clone().unwrap_or_default();
        close(&format!("{layer} bias"), &bias(got), &bias(want));
        assert_eq!(got.norm.start, want.norm.start, "{layer}: share of fresh statistics");
        close(&format!("{layer} mean"), &got.norm.mean, &want.norm.mean);
        close(&format!("{layer} variance"), &got.norm.var, &want.norm.var);
    }
}
