//! Supervised steps against PyTorch's and the CPU's.

use std::path::Path;

use hebbian::engine::{Device, SupervisedStep, Trainer};
use hebbian::network::{Head, HeadKind};
use hebbian::ops::Activation;
use hebbian::rules::Projection;
use hebbian::train::FinetuneConfig;

use crate::common::numbers;
use crate::common::pytorch::{LABELS, Pytorch, STEPS};
use crate::shared::{RESPONSES, close, close_networks, devices, small};

#[test]
fn supervised_step_equals_pytorch() {
    let file = Pytorch::open();
    let config = FinetuneConfig::default();
    for (name, projection) in STEPS {
        let get = |key: &str| file.get(name, key);
        for device in devices() {
            let (mut network, mut head) = file.start(name, projection);
            let mut engine = device.engine();
            let x = get("x");
            let step = SupervisedStep { x: &x, labels: &LABELS, keep: &[], sgd: config.sgd(0.1) };
            let (loss, scores) = engine.supervised_step(&mut network, &mut head, &step).unwrap();
            close("loss", &[loss as f32], &get("loss"));
            close("scores", &scores, &get("scores"));
            engine.fetch(&mut network, Some(&mut head)).unwrap();
            for (index, block) in network.blocks.iter().enumerate() {
                let layer = format!("L{}", index + 1);
                let norm = &block.norm;
                close("stepped weight", &block.weights, &get(&format!("stepped_{layer}.weight")));
                close("stepped gamma", &norm.gamma, &get(&format!("stepped_{layer}.gamma")));
                close("running mean", &norm.mean, &get(&format!("{layer}.mean")));
                close("running variance", &norm.var, &get(&format!("{layer}.var")));
            }
            close("stepped head", &head.out.weights, &get("stepped_head.weight"));

            // After one step, the momentum is the gradient and its decay.
            let momentum = engine.momentum(&network, &head).unwrap();
            let layers = (1..=4).flat_map(|layer| {
                ["weight", "gamma", "beta"].map(|part| format!("L{layer}.{part}"))
            });
            for key in layers.chain(["head.weight", "head.bias"].map(String::from)) {
                let decay = config.weight_decay as f32;
                let (gradient, before) = (get(&format!("d_{key}")), get(&key));
                let pairs = gradient.iter().zip(before);
                let want: Vec<f32> = pairs.map(|(g, w)| g + decay * w).collect();
                let what = format!("{name} momentum of {key} on {device}");
                close(&what, momentum.get(&key).expect(&key), &want);
            }
        }
    }
}

#[test]
fn supervised_steps_in_a_row_agree_with_the_cpu() {
    let config = FinetuneConfig::default();
    for (projection, activation, bias) in RESPONSES {
        for device in devices() {
            let mut network = small(projection, activation, bias);
            let mut head = Head::new(70, 5, 3);
            let (mut copy, mut copied_head) = (network.clone(), head.clone());
            let mut trainer = Trainer::default();
            let mut engine = device.engine();
            // Not fewer images than that: normalising by the variance of two or
            // three magnifies rounding. Nor more steps with biases, which make
            // it grow faster from step to step.
            let batches = &[8usize, 8, 6, 11, 8][..if bias { 3 } else { 5 }];
            for (step, &batch) in batches.iter().enumerate() {
                let x = numbers(batch * 14 * 14 * 3, step as u64, 1.0);
                let labels: Vec<u32> = (0..batch).map(|i| ((i * 7 + step) % 5) as u32).collect();
                let mut keep = Vec::new();
                if step % 2 == 0 {
                    let draws = numbers(batch * 70, 40 + step as u64, 1.0);
                    keep = draws.iter().map(|&x| if x < 0.0 { 0.0 } else { 2.0 }).collect();
                }
                let sgd = config.sgd(0.01);
                let found = trainer.gradients(&mut network, &mut head, &x, &labels, &keep, false);
                let (want_loss, want_scores) = (found.loss, found.scores.clone());
                trainer.step(&mut network, &mut head, &sgd);
                let given = SupervisedStep { x: &x, labels: &labels, keep: &keep, sgd };
                let (loss, scores) =
                    engine.supervised_step(&mut copy, &mut copied_head, &given).unwrap();
                close(&format!("scores on {device}"), &scores, &want_scores);
                assert!((loss - want_loss).abs() < 1e-5 * want_loss, "{loss} {want_loss}");
                // An engine taken up again goes on as if it had never stopped.
                if step == 1 {
                    let momentum = engine.momentum(&copy, &copied_head).unwrap();
                    engine.fetch(&mut copy, Some(&mut copied_head)).unwrap();
                    engine = device.engine();
                    let path = Path::new("momentum");
                    engine.set_momentum(&copy, &copied_head, path, momentum).unwrap();
                }
            }
            engine.fetch(&mut copy, Some(&mut copied_head)).unwrap();
            close_networks(
                &format!("{projection:?}, {activation:?}, {bias} on {device}"),
                &copy,
                &network,
            );
            close("head", &copied_head.out.weights, &head.out.weights);
            close("bias", &copied_head.out.bias, &head.out.bias);
        }
    }
}

#[test]
fn a_classifier_with_a_hidden_layer_is_refused_by_the_card() {
    let x = numbers(4 * 14 * 14 * 3, 1, 1.0);
    let step = SupervisedStep {
        x: &x,
        labels: &[0, 1, 2, 3],
        keep: &[],
        sgd: FinetuneConfig::default().sgd(0.01),
    };
    for device in devices() {
        let mut network = small(Projection::Plain, Activation::Relu, false);
        let mut head = HeadKind::Hidden(12).init(70, 5, 3).unwrap();
        let found = device.engine().supervised_step(&mut network, &mut head, &step);
        match device {
            Device::Cpu | Device::Processes(_) => assert_eq!(found.unwrap().1.len(), 4 * 5),
            #[cfg(feature = "vulkan")]
            Device::Vulkan { .. } => {
                let error = found.unwrap_err().to_string();
                assert!(error.contains("hidden layer") && error.contains("cpu"), "{error}");
            }
        }
    }
}
