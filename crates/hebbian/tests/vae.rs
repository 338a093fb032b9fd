//! The variational autoencoder against what PyTorch computes in double
//! precision (`vae.py` makes the file), and its training as a whole.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::Path;

use common::{images, in_pool};
use hebbian::Error;
use hebbian::network::{Model, Network, NetworkSpec, Pretraining, Tensors};
use hebbian::ops::Activation;
use hebbian::rules::Projection;
use hebbian::train::{Checkpoint, Event, Every, RunFolder, VaeConfig, pretrain_vae};
use hebbian::vae::{Vae, VaeTrainer, noise};
use hebbian_data::{Images, Preprocess, Size, Whitening};

/// As published, in small: pooling, none, fully connected.
const PUBLISHED: &str = r#"
name = "published"
input = [14, 14, 3]
block = [
    { filters = 6, kernel = 5, pool = 2, norm = "batch", bias = true },
    { filters = 8, kernel = 3, norm = "batch", bias = true },
    { filters = 20, kernel = "map", norm = "batch", bias = true },
]
"#;

/// What a network may have beside.
const GENERAL: &str = r#"
name = "general"
input = [13, 13, 3]
block = [
    { filters = 5, kernel = 3, padding = 1, pool = 2, norm = "batch", bias = true },
    { filters = 4, kernel = 3, stride = 2, norm = "batch" },
    { filters = 6, kernel = 1, pool = 2, norm = "batch", bias = true },
]
"#;

fn spec(text: &str) -> NetworkSpec {
    NetworkSpec::parse(text, Path::new("test.toml")).unwrap()
}

fn close(what: &str, got: &[f32], want: &[f32]) {
    close_within(2e-5, what, got, want);
}

fn close_within(tolerance: f32, what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(1e-6f32, |m, w| m.max(w.abs()));
    let apart =
        |m: f32, (g, w): (&f32, &f32)| if g.is_nan() { f32::NAN } else { m.max((g - w).abs()) };
    let error = got.iter().zip(want).fold(0.0, apart) / largest;
    assert!(error < tolerance, "{what}: {error}, not below {tolerance}");
}

/// A parameter by its name.
fn parameter<'a>(network: &'a mut Network, vae: &'a mut Vae, name: &str) -> &'a mut Vec<f32> {
    let (layer, part) = name.split_once('.').unwrap();
    let index = || layer[1..].parse::<usize>().unwrap() - 1;
    let (weights, bias, norm) = match &layer[..1] {
        "l" => (&mut vae.weights, Some(&mut vae.bias), None),
        "L" => {
            let block = &mut network.blocks[index()];
            (&mut block.weights, block.bias.as_mut(), Some(&mut block.norm))
        }
        _ => {
            let layer = &mut vae.decoder[index()];
            (&mut layer.weights, Some(&mut layer.bias), Some(&mut layer.norm))
        }
    };
    match part {
        "weight" => weights,
        "bias" => bias.unwrap(),
        "gamma" => &mut norm.unwrap().gamma,
        _ => &mut norm.unwrap().beta,
    }
}

#[test]
fn losses_gradients_statistics_and_steps_equal_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vae.safetensors");
    let file = Tensors::from_bytes(&path, &std::fs::read(&path).unwrap()).unwrap();
    for text in [PUBLISHED, GENERAL] {
        let spec = spec(text);
        let name = spec.name.clone();
        let get = |key: &str| file.get(&format!("{name}.{key}")).expect(key).to_vec();
        let (x, noise) = (get("x"), get("noise"));
        let mut network = Network::new(spec, Projection::Plain, Activation::Relu, 0).unwrap();
        let mut vae = Vae::new(&network, 7, 0);
        let names = vae.parameters(&network);
        for (key, len) in &names {
            let values = get(key);
            assert_eq!(values.len(), *len, "{key}");
            *parameter(&mut network, &mut vae, key) = values;
        }
        let mut trainer = VaeTrainer::default();
        let losses = trainer.gradients(&mut network, &mut vae, &x, &noise, 0.5);
        let got = [losses.reconstruction as f32, losses.divergence as f32];
        close("losses", &got, &get("losses"));
        close("images", trainer.images(), &get("images"));
        assert_eq!(trainer.by_parameter().len(), names.len());
        for ((key, _), gradient) in names.iter().zip(trainer.by_parameter()) {
            // Before normalisation by channel a bias has no effect: its gradient is rounding.
            if get(&format!("d_{key}")).iter().all(|d| d.abs() < 1e-8) {
                assert!(gradient.iter().all(|d| d.abs() < 1e-5), "{key}");
                continue;
            }
            // What rounding makes of a gradient differs from one to the next: by PyTorch's own.
            let tolerance = 1e-5f32.max(4.0 * get(&format!("rounding_{key}"))[0]);
            let want = get(&format!("d_{key}"));
            close_within(tolerance, &format!("{name} {key}"), gradient, &want);
        }
        let norms = network.blocks.iter().map(|b| &b.norm).enumerate();
        let norms = norms.map(|(i, norm)| (format!("L{}", i + 1), norm));
        let decoder = vae.decoder.iter().map(|d| &d.norm).enumerate();
        for (key, norm) in norms.chain(decoder.map(|(i, norm)| (format!("D{}", i + 1), norm))) {
            close(&format!("{key} mean"), &norm.mean, &get(&format!("{key}.mean")));
            close(&format!("{key} variance"), &norm.var, &get(&format!("{key}.var")));
        }
        let sgd = VaeConfig::default().sgd(0.1);
        trainer.step(&mut network, &mut vae, &sgd);
        trainer.step(&mut network, &mut vae, &sgd);
        for (key, _) in &names {
            let got = parameter(&mut network, &mut vae, key).clone();
            close(&format!("{name} {key} after two steps"), &got, &get(&format!("stepped_{key}")));
        }
    }
}

fn model(images: &Images) -> Model {
    let size = Size { height: 14, width: 14 };
    let preprocess = Preprocess::fit(images, size, Whitening::None, 1e-2, &mut |_, _| {}).unwrap();
    Model::without_rule(spec(PUBLISHED), preprocess, 3).unwrap()
}

/// Small, but with three batches an epoch, the last of them short.
fn config() -> VaeConfig {
    VaeConfig { epochs: 3, batch: 16, decay_after: 2, lr: 1e-2, latent: 7, ..VaeConfig::default() }
}

fn train(
    images: &Images,
    validation: Option<&Images>,
    config: &VaeConfig,
    run: Option<&mut RunFolder>,
    from: Option<Checkpoint>,
) -> Model {
    let ignore = &mut |_: Event<'_>| {};
    pretrain_vae(model(images), images, validation, config, run, from, ignore).unwrap().0
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let images = images(40);
    let [one, three] =
        [1, 3].map(|threads| in_pool(threads, || train(&images, None, &config(), None, None)));
    assert_eq!(one.network, three.network);
    assert_eq!(one.provenance.pretraining, Pretraining::Vae);
    assert_eq!((one.provenance.pretrained_images, one.provenance.pretrained_epochs), (40, 3));
    assert!(one.rule.is_none());
}

#[test]
fn the_loss_of_real_images_falls() {
    let images = images(64);
    let folder = tempfile::tempdir().unwrap();
    let mut run = RunFolder::create(&folder.path().join("run"), "", false).unwrap();
    let config = VaeConfig { epochs: 8, decay_after: 8, ..config() };
    train(&images, None, &config, Some(&mut run), None);
    let text = std::fs::read_to_string(run.path().join("metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // One an epoch, and one every ten steps, of which there are 32.
    let (lines, steps): (Vec<_>, Vec<_>) =
        lines.into_iter().partition(|line| line["batch_loss"].is_null());
    assert_eq!((lines.len(), steps.len()), (8, 3));
    let part = |line: usize, key: &str| lines[line][key].as_f64().unwrap();
    assert!(part(7, "loss") < 0.8 * part(0, "loss"), "{text}");
    assert!(part(7, "reconstruction") < 0.9 * part(0, "reconstruction"), "{text}");
    let total = part(7, "reconstruction") + 0.5 * part(7, "divergence");
    assert!((part(7, "loss") - total).abs() < 1e-9, "{text}");
}

/// A run stopped after each of its checkpoints goes on to the same end.
#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let (images, held_out) = (images(40), images(60).subset(&(40..60).collect::<Vec<_>>()));
    // So fast that a later epoch need not be the better one.
    let config = VaeConfig { lr: 0.3, ..config() };
    for validation in [None, Some(&held_out)] {
        let folder = tempfile::tempdir().unwrap();
        let create = |name: &str| {
            let run = RunFolder::create(&folder.path().join(name), "", false).unwrap();
            run.every(Every::Steps(1))
        };
        let mut whole = create("whole");
        let want = train(&images, validation, &config, Some(&mut whole), None);
        let metrics =
            |run: &RunFolder| std::fs::read_to_string(run.path().join("metrics.jsonl")).unwrap();
        // Every checkpoint is kept aside as it is written: steps 1 to 9, three of
        // which end an epoch.
        let mut run = create("run");
        let mut kept = Vec::new();
        let aside = folder.path().join("aside");
        let checkpoints = run.path().join("checkpoints");
        let observer = &mut |event: Event<'_>| {
            if let Event::Step { done, .. } = event {
                let last = checkpoints.join(format!("{:08}", done - 1));
                copy(&last, &aside.join(format!("{:08}", done - 1)));
                kept.push(done - 1);
            }
        };
        let (got, _) = pretrain_vae(
            model(&images),
            &images,
            validation,
            &config,
            Some(&mut run),
            None,
            observer,
        )
        .unwrap();
        assert_eq!(got.network, want.network);
        assert_eq!(kept, (0..9).collect::<Vec<_>>());
        for step in kept {
            let mut again = create(&format!("again-{step}"));
            let name = format!("{step:08}");
            copy(&aside.join(&name), &again.path().join("checkpoints").join(&name));
            let lines = metrics(&whole)
                .lines()
                .take(step / 3)
                .map(|l| format!("{l}\n"))
                .collect::<String>();
            std::fs::write(again.path().join("metrics.jsonl"), lines).unwrap();
            let from = again.load().unwrap().unwrap();
            assert_eq!(from.cursor.step, step);
            let got = train(&images, validation, &config, Some(&mut again), Some(from));
            assert_eq!(got.network, want.network, "from step {step}");
            assert_eq!(got.provenance, want.provenance, "from step {step}");
            assert_eq!(timeless(&metrics(&again)), timeless(&metrics(&whole)), "from step {step}");
        }
    }
}

/// Lines of metrics without what depends on the clock and the machine.
fn timeless(metrics: &str) -> Vec<serde_json::Value> {
    let lines = metrics.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        for key in ["time", "images_per_second", "over_floor", "memory_mib"] {
            line.as_object_mut().unwrap().remove(key);
        }
        line
    });
    lines.collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn validation_keeps_the_epoch_of_the_lowest_loss() {
    let (images, held_out) = (images(40), images(60).subset(&(40..60).collect::<Vec<_>>()));
    let config = VaeConfig { lr: 0.3, epochs: 5, decay_after: 5, ..config() };
    let folder = tempfile::tempdir().unwrap();
    let mut run = RunFolder::create(&folder.path().join("run"), "", false).unwrap();
    let got = train(&images, Some(&held_out), &config, Some(&mut run), None);
    let text = std::fs::read_to_string(run.path().join("metrics.jsonl")).unwrap();
    let losses: Vec<f64> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|line| line["validation_loss"].as_f64())
        .collect();
    assert_eq!(losses.len(), 5);
    let best = (0..5).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap() + 1;
    // The same run, cut there.
    let cut = train(&images, None, &VaeConfig { epochs: best, ..config }, None, None);
    assert_eq!(got.network, cut.network, "{losses:?}");
    assert_eq!(got.provenance.pretrained_epochs, best);
}

#[test]
fn numbers_that_diverge_are_an_error() {
    let images = images(40);
    let config = VaeConfig { lr: 1e3, momentum: 0.9999, ..config() };
    let ignore = &mut |_: Event<'_>| {};
    let error =
        pretrain_vae(model(&images), &images, None, &config, None, None, ignore).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    assert!(error.to_string().contains("lower the learning rate"), "{error}");
    let bad = VaeConfig { latent: 0, ..config };
    let error = pretrain_vae(model(&images), &images, None, &bad, None, None, ignore).unwrap_err();
    assert!(
        error.to_string().contains("vae.latent is 0")
            || error.to_string().contains("vae.latent: is 0"),
        "{error}"
    );
}

#[test]
fn noise_of_another_step_is_another() {
    assert_ne!(noise(8, 0, "vae-noise/0"), noise(8, 0, "vae-noise/1"));
}
