//! Every engine's steps against the oracle in double precision, the golden
//! files, PyTorch's gradients and the CPU's. Without the feature `vulkan`, only
//! the CPU's engine is built; with it but no card and no software driver, the
//! tests say so on stderr and pass, but for `HEBB_REQUIRE_GPU`.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../common/mod.rs"]
mod common;
mod hebbian_steps;
mod shared;
mod supervised_steps;

use common::numbers;
use hebbian::engine::Device;
use hebbian::ops::Workspace;
use shared::{RESPONSES, close, devices, small};

#[test]
fn features_agree_at_every_depth() {
    for (projection, activation, bias) in RESPONSES {
        let mut network = small(projection, activation, bias);
        // Running statistics from fresh ones to those without a trace of them.
        for (block, start) in network.blocks.iter_mut().zip([1.0, 0.9, 0.3, 0.0]) {
            let (norm, c) = (&mut block.norm, block.geometry.filters);
            let (mean, var) = (numbers(c, 6, 0.1), numbers(c, 7, 0.5));
            norm.mean = mean.iter().map(|x| (1.0 - start) * x).collect();
            norm.var = var.iter().map(|x| start + (1.0 - start) * (0.6 + x)).collect();
            norm.start = start;
        }
        for device in devices() {
            let mut engine = device.engine();
            for (depth, batch) in [(1, 3), (4, 7), (2, 1), (3, 9)] {
                let x = numbers(batch * 14 * 14 * 3, batch as u64, 1.0);
                let got = engine.features(&network, depth, &x).unwrap();
                let want = network.features(depth, &x, &mut Workspace::default());
                close(
                    &format!("{projection:?}, {activation:?}, {bias}, L{depth} on {device}"),
                    &got,
                    &want,
                );
            }
        }
    }
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    for (name, word) in [("cuda", "vulkan:N"), ("cpu:1", "vulkan:N"), ("vulkan:x", "vulkan:N")] {
        let error = Device::open(name).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(word), "{error}");
    }
    let error = Device::open("vulkan:1000").unwrap_err().to_string();
    let words = if !cfg!(feature = "vulkan") {
        "built without GPU support"
    } else if devices().len() > 1 {
        "there is no card 1000"
    } else {
        "no graphics card"
    };
    assert!(error.contains(words), "{error}");
}
