//! Supervised gradients, running statistics and an optimiser step against
//! what PyTorch computes in double precision (`gradients.py` makes the file).
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::pytorch::{LABELS, Pytorch, STEPS};
use hebbian::engine::Trainer;
use hebbian::train::FinetuneConfig;

fn close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(1e-6f32, |m, w| m.max(w.abs()));
    let error = got.iter().zip(want).fold(0.0f32, |m, (g, w)| m.max((g - w).abs())) / largest;
    assert!(error < 2e-5, "{what}: {error}");
}

#[test]
fn gradients_and_step_equal_pytorch() {
    let file = Pytorch::open();
    for (name, projection) in STEPS {
        let get = |key: &str| file.get(name, key);
        let (mut network, mut head) = file.start(name, projection);
        let mut trainer = Trainer::default();
        let x = get("x");
        let found = trainer.gradients(&mut network, &mut head, &x, &LABELS, &[], true);
        close("loss", &[found.loss as f32], &get("loss"));
        close("scores", &found.scores, &get("scores"));
        close("d_x", &found.by_input.clone().unwrap(), &get("d_x"));
        let mut names = Vec::new();
        for (index, block) in network.blocks.iter().enumerate() {
            let layer = format!("L{}", index + 1);
            names.extend(["weight", "gamma", "beta"].map(|part| format!("{layer}.{part}")));
            close("running mean", &block.norm.mean, &get(&format!("{layer}.mean")));
            close("running variance", &block.norm.var, &get(&format!("{layer}.var")));
        }
        names.extend(["head.weight", "head.bias"].map(String::from));
        for (key, gradient) in names.iter().zip(&found.by_parameter) {
            close(&format!("{name} {key}"), gradient, &get(&format!("d_{key}")));
        }
        let config = FinetuneConfig::default();
        trainer.step(&mut network, &mut head, &config.sgd(0.1));
        for (index, block) in network.blocks.iter().enumerate() {
            let layer = format!("L{}", index + 1);
            close("stepped weight", &block.weights, &get(&format!("stepped_{layer}.weight")));
            close("stepped gamma", &block.norm.gamma, &get(&format!("stepped_{layer}.gamma")));
        }
        close("stepped head", &head.out.weights, &get("stepped_head.weight"));
    }
}
