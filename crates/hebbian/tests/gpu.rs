//! The steps on a graphics card against the CPU's, the oracle in double
//! precision, and the golden files. Where there is no card and no software
//! driver, each test says so on stderr and passes, but for `HEBB_REQUIRE_GPU`.
#![cfg(feature = "vulkan")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use hebbian::gpu::{Descent, Gpu, GpuNetwork};
use hebbian::network::{BatchNorm, Block, Head, Network, NetworkSpec, NormKind, Tensors};
use hebbian::ops::{Geometry, Workspace};
use hebbian::rules::{self, Projection, Rule, Samples};
use hebbian::train::{FinetuneConfig, Trainer};
use hebbian::update::hebbian_step;
use proptest::prelude::*;

/// The first card, opened once: tests share it.
fn card() -> Option<&'static Arc<Gpu>> {
    static CARD: OnceLock<Option<Arc<Gpu>>> = OnceLock::new();
    let opened = CARD.get_or_init(|| match Gpu::open(None) {
        Ok(gpu) => {
            eprintln!("on {}", gpu.name());
            Some(Arc::new(gpu))
        }
        Err(problem) => {
            assert!(std::env::var_os("HEBB_REQUIRE_GPU").is_none(), "{problem}");
            None
        }
    });
    if opened.is_none() {
        eprintln!("skipped: no graphics card or software driver for Vulkan is here");
    }
    opened.as_ref()
}

/// Shapes on both sides of N = C, with tile edges and rows pooling leaves over.
fn geometry() -> impl Strategy<Value = (Geometry, usize)> {
    let shape = (1usize..14, 1usize..14, 1usize..5, 1usize..5, 1usize..3, 0usize..2);
    (shape, 1usize..300, 1usize..4, 1usize..20)
        .prop_filter("kernel and pool fit", |((h, w, _, k, s, p), _, pool, _)| {
            let fits = |n: usize| n + 2 * p >= *k && (n + 2 * p - k) / s + 1 >= *pool;
            fits(*h) && fits(*w)
        })
        .prop_map(|((height, width, channels, kernel, stride, padding), filters, pool, batch)| {
            (Geometry { height, width, channels, kernel, stride, padding, filters, pool }, batch)
        })
}

fn numbers(n: usize, seed: u64, scale: f32) -> Vec<f32> {
    use rand::RngExt;
    let mut rng = hebbian_data::seed::stream(seed, "test");
    (0..n).map(|_| rng.random_range(-scale..scale)).collect()
}

/// Largest difference over the largest entry.
fn error(got: &[f32], want: impl IntoIterator<Item = f64>) -> f64 {
    let want: Vec<f64> = want.into_iter().collect();
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(1e-3f64, |m, w| m.max(w.abs()));
    let differences = got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).abs());
    differences.fold(0.0, |m, d| if d.is_nan() { f64::NAN } else { m.max(d) }) / largest
}

fn double(x: &[f32]) -> impl Iterator<Item = f64> {
    x.iter().map(|&x| f64::from(x))
}

fn close(what: &str, got: &[f32], want: &[f32]) {
    let error = error(got, double(want));
    assert!(error < 2e-5, "{what}: {error}");
}

/// A network of one layer.
fn layer(g: Geometry, kind: NormKind, projection: Projection, seed: u64) -> Network {
    let weights = numbers(g.weight_len(), seed, 1.0 / (g.patch_len() as f32).sqrt());
    let mut norm = BatchNorm::new(kind, g.filters);
    norm.gamma = numbers(g.filters, seed ^ 2, 1.0).iter().map(|x| x + 1.5).collect();
    norm.beta = numbers(g.filters, seed ^ 3, 0.5);
    let spec = NetworkSpec { name: "layer".into(), input: [g.height, g.width, 3], blocks: vec![] };
    Network { spec, projection, blocks: vec![Block { geometry: g, weights, norm }] }
}

/// The update `dW` of one step of a network of one layer, which it moves on.
/// The rate is a large power of two, so that rounding `W + lr dW` to single
/// precision costs the update no digits.
fn delta(network: &mut Network, rule: &dyn Rule, gpu: &Arc<Gpu>, x: &[f32]) -> Vec<f32> {
    const LR: f32 = 1024.0;
    let before = network.blocks[0].weights.clone();
    let mut on_card = GpuNetwork::new(gpu, network, None, false).unwrap();
    on_card.hebbian_step(rule, x, 0..1, &[LR], false).unwrap();
    on_card.fetch(network, None).unwrap();
    let after = network.blocks[0].weights.iter().zip(before);
    after.map(|(after, before)| ((f64::from(*after) - f64::from(before)) / f64::from(LR)) as f32).collect()
}

/// All patches of a batch in the order of the weights.
fn patches(g: &Geometry, batch: usize, x: &[f32]) -> Vec<f64> {
    double(&hebbian::update::unfold(g, batch, x)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn update_and_statistics_agree_with_the_oracle((g, batch) in geometry(), seed: u64) {
        let Some(gpu) = card() else { return Ok(()) };
        let x = numbers(batch * g.input_len(), seed, 1.5);
        for (name, kind) in [("hpca", NormKind::Batch), ("soft-wta", NormKind::Relative)] {
            let rule = rules::build(name, toml::Table::new()).unwrap();
            let mut network = layer(g, kind, rule.projection(), seed);
            let mut on_cpu = network.clone();
            let weights: Vec<f64> = double(&network.blocks[0].weights).collect();
            let samples = Samples { x: &patches(&g, batch, &x), w: &weights, d: g.patch_len() };
            let want = rule.naive_f64(&samples);
            let got = delta(&mut network, rule.as_ref(), gpu, &x);
            let wrong = error(&got, want);
            prop_assert!(wrong < 2e-5, "{name}: {wrong}");

            let mut out = vec![0.0; batch * g.output_len()];
            let block = &mut on_cpu.blocks[0];
            let w = &block.weights;
            hebbian_step(rule.as_ref(), &g, batch, &x, w, &mut Workspace::default(), &mut out);
            block.norm.train(&mut out);
            let norm = &network.blocks[0].norm;
            prop_assert!(error(&norm.mean, double(&block.norm.mean)) < 2e-5);
            prop_assert!(error(&norm.var, double(&block.norm.var)) < 2e-5);
        }
    }
}

/// A network with a strided layer, one of either normalisation, and one whose
/// kernel is its map.
const NETWORK: &str = r#"
name = "small"
input = [14, 14, 3]
block = [
    { filters = 6, kernel = 5, pool = 2, norm = "batch" },
    { filters = 8, kernel = 3, padding = 1, norm = "batch" },
    { filters = 10, kernel = 3, stride = 2, norm = "relative" },
    { filters = 70, kernel = 2, norm = "relative" },
]
"#;

fn small(projection: Projection) -> Network {
    let spec = NetworkSpec::parse(NETWORK, Path::new("small.toml")).unwrap();
    Network::new(spec, projection, 5).unwrap()
}

fn close_networks(what: &str, got: &Network, want: &Network) {
    for (index, (got, want)) in got.blocks.iter().zip(&want.blocks).enumerate() {
        let layer = format!("{what}, L{}", index + 1);
        close(&format!("{layer} weights"), &got.weights, &want.weights);
        close(&format!("{layer} gamma"), &got.norm.gamma, &want.norm.gamma);
        close(&format!("{layer} beta"), &got.norm.beta, &want.norm.beta);
        close(&format!("{layer} mean"), &got.norm.mean, &want.norm.mean);
        close(&format!("{layer} variance"), &got.norm.var, &want.norm.var);
    }
}

#[test]
fn features_agree_at_every_depth() {
    let Some(gpu) = card() else { return };
    for projection in [Projection::Plain, Projection::Normalised] {
        let network = small(projection);
        let mut on_card = GpuNetwork::new(gpu, &network, None, false).unwrap();
        for (depth, batch) in [(1, 3), (4, 7), (2, 1), (3, 9)] {
            let x = numbers(batch * 14 * 14 * 3, batch as u64, 1.0);
            let got = on_card.features(depth, &x).unwrap();
            let want = network.features(depth, &x, &mut Workspace::default());
            close(&format!("{projection:?}, L{depth}"), &got, &want);
        }
    }
}

/// Channels-first to channels-last.
fn channels_last(data: &[f64], n: usize, c: usize, pixels: usize) -> Vec<f32> {
    let entry = |i: usize| (i / (pixels * c) * c + i % c) * pixels + i / c % pixels;
    (0..n * c * pixels).map(|i| data[entry(i)] as f32).collect()
}

#[test]
fn golden_updates_of_the_published_code() {
    let Some(gpu) = card() else { return };
    for (name, file) in [("hpca", "hpca"), ("soft-wta", "eswta")] {
        let rule = rules::build(name, toml::Table::new()).unwrap();
        for shape in ["conv", "deep", "fc"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
            let path = folder.join(format!("{file}-{shape}.safetensors"));
            let Ok(bytes) = std::fs::read(&path) else {
                eprintln!("skipped: {} is not here", path.display());
                continue;
            };
            let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let get = |name: &str| {
                let view = tensors.tensor(name).unwrap();
                let (numbers, _) = view.data().as_chunks::<8>();
                let data: Vec<f64> = numbers.iter().map(|&b| f64::from_le_bytes(b)).collect();
                let s = view.shape().to_vec();
                (channels_last(&data, s[0], s[1], s[2] * s[3]), s)
            };
            let ((x, xs), (weights, ws), (want, _)) = (get("x"), get("weight"), get("delta"));
            let g = Geometry {
                height: xs[2],
                width: xs[3],
                channels: xs[1],
                kernel: ws[2],
                stride: 1,
                padding: 0,
                filters: ws[0],
                pool: 1,
            };
            let mut network = layer(g, NormKind::Batch, rule.projection(), 0);
            network.blocks[0].weights = weights;
            let error = error(&delta(&mut network, rule.as_ref(), gpu, &x), double(&want));
            assert!(error < 1e-5, "{file}-{shape}: {error}");
        }
    }
}

/// One pre-training step as the CPU runs it.
fn step_on_cpu(
    network: &mut Network,
    rule: &dyn Rule,
    x: &[f32],
    learning: std::ops::Range<usize>,
    lr: &[f32],
) -> Vec<f64> {
    let batch = x.len() / network.blocks[0].geometry.input_len();
    let mut workspace = Workspace::default();
    let mut map = x.to_vec();
    if learning.start > 0 {
        map = network.features(learning.start, x, &mut workspace);
    }
    let mut changes = Vec::new();
    for (index, &lr) in learning.zip(lr) {
        let block = &mut network.blocks[index];
        let g = block.geometry;
        let mut out = vec![0.0; batch * g.output_len()];
        let w = &block.weights;
        let sums = hebbian_step(rule, &g, batch, &map, w, &mut workspace, &mut out);
        let norm = |x: &[f32]| double(x).map(|x| x * x).sum::<f64>().sqrt();
        changes.push(f64::from(lr) * norm(&sums.delta()) / norm(&block.weights));
        sums.apply(lr, &mut block.weights);
        block.norm.train(&mut out);
        map = out;
    }
    changes
}

#[test]
fn steps_in_a_row_agree_with_the_cpu() {
    let Some(gpu) = card() else { return };
    for name in ["hpca", "soft-wta"] {
        let rule = rules::build(name, toml::Table::new()).unwrap();
        let mut on_cpu = small(rule.projection());
        let mut on_card = GpuNetwork::new(gpu, &on_cpu, None, false).unwrap();
        let mut fetched = on_cpu.clone();
        let steps = [(0..4, 5), (0..4, 12), (0..4, 5), (2..3, 5), (3..4, 2), (0..1, 12)];
        for (step, (learning, batch)) in steps.into_iter().enumerate() {
            let x = numbers(batch * 14 * 14 * 3, step as u64, 1.0);
            let lr: Vec<f32> = learning.clone().map(|layer| 0.02 / (layer + 1) as f32).collect();
            let want = step_on_cpu(&mut on_cpu, rule.as_ref(), &x, learning.clone(), &lr);
            let log = step % 2 == 0;
            let got = on_card.hebbian_step(rule.as_ref(), &x, learning, &lr, log).unwrap();
            assert_eq!(got.len(), if log { want.len() } else { 0 });
            for (got, want) in got.iter().zip(&want) {
                assert!((got - want).abs() < 1e-4 * want, "{name} {step}: {got} {want}");
            }
        }
        on_card.fetch(&mut fetched, None).unwrap();
        close_networks(name, &fetched, &on_cpu);
    }
}

#[test]
fn deflation_over_several_blocks() {
    let Some(gpu) = card() else { return };
    let g = Geometry {
        height: 3,
        width: 3,
        channels: 11,
        kernel: 3,
        stride: 1,
        padding: 0,
        filters: 600,
        pool: 1,
    };
    let (rule, batch) = (rules::build("hpca", toml::Table::new()).unwrap(), 30);
    let x = numbers(batch * g.input_len(), 1, 1.0);
    let mut network = layer(g, NormKind::Batch, Projection::Plain, 2);
    let weights: Vec<f64> = double(&network.blocks[0].weights).collect();
    let samples = Samples { x: &patches(&g, batch, &x), w: &weights, d: g.patch_len() };
    let want = rule.naive_f64(&samples);
    let wrong = error(&delta(&mut network, rule.as_ref(), gpu, &x), want);
    assert!(wrong < 2e-5, "{wrong}");
}

#[test]
fn supervised_step_equals_pytorch() {
    let Some(gpu) = card() else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gradients.safetensors");
    let file = Tensors::from_bytes(&path, &std::fs::read(&path).unwrap()).unwrap();
    let labels = [0, 3, 1, 2, 3];
    for (name, projection) in [("plain", Projection::Plain), ("normalised", Projection::Normalised)]
    {
        let get = |key: &str| file.get(&format!("{name}.{key}")).expect(key).to_vec();
        let text = NETWORK.replace("filters = 70", "filters = 40");
        let spec = NetworkSpec::parse(&text, Path::new("small.toml")).unwrap();
        let mut network = Network::new(spec, projection, 0).unwrap();
        for (index, block) in network.blocks.iter_mut().enumerate() {
            let layer = index + 1;
            block.weights = get(&format!("L{layer}.weight"));
            block.norm.gamma = get(&format!("L{layer}.gamma"));
            block.norm.beta = get(&format!("L{layer}.beta"));
        }
        let mut head = Head { weights: get("head.weight"), bias: get("head.bias") };
        let mut on_card = GpuNetwork::new(gpu, &network, Some(&head), false).unwrap();
        let config = FinetuneConfig::default();
        let descent = Descent {
            lr: 0.1,
            momentum: config.momentum as f32,
            weight_decay: config.weight_decay as f32,
        };
        let (loss, scores) = on_card.supervised_step(&get("x"), &labels, &[], descent).unwrap();
        close("loss", &[loss as f32], &get("loss"));
        close("scores", &scores, &get("scores"));
        on_card.fetch(&mut network, Some(&mut head)).unwrap();
        for (index, block) in network.blocks.iter().enumerate() {
            let layer = format!("L{}", index + 1);
            let norm = &block.norm;
            close("stepped weight", &block.weights, &get(&format!("stepped_{layer}.weight")));
            close("stepped gamma", &norm.gamma, &get(&format!("stepped_{layer}.gamma")));
            close("running mean", &norm.mean, &get(&format!("{layer}.mean")));
            close("running variance", &norm.var, &get(&format!("{layer}.var")));
        }
        close("stepped head", &head.weights, &get("stepped_head.weight"));

        // After the first step, the momentum is the gradient with its decay.
        let momentum = on_card.momentum().unwrap();
        let mut keys = Vec::new();
        for layer in 1..=4 {
            keys.extend(["weight", "gamma", "beta"].map(|part| format!("L{layer}.{part}")));
        }
        keys.extend(["head.weight", "head.bias"].map(String::from));
        for (key, got) in keys.iter().zip(&momentum) {
            let decay = config.weight_decay as f32;
            let before = file.get(&format!("{name}.{key}")).unwrap();
            let gradient = get(&format!("d_{key}"));
            let want: Vec<f32> = gradient.iter().zip(before).map(|(g, w)| g + decay * w).collect();
            close(&format!("{name} momentum of {key}"), got, &want);
        }
    }
}

#[test]
fn supervised_steps_in_a_row_agree_with_the_cpu() {
    let Some(gpu) = card() else { return };
    for projection in [Projection::Plain, Projection::Normalised] {
        let (mut network, mut head) = (small(projection), Head::new(70, 5, 3));
        let mut fetched = (network.clone(), head.clone());
        let mut on_card = GpuNetwork::new(gpu, &network, Some(&head), false).unwrap();
        let mut trainer = Trainer::default();
        let config = FinetuneConfig::default();
        let (momentum, weight_decay) = (config.momentum as f32, config.weight_decay as f32);
        for (step, batch) in [8usize, 8, 3, 11, 8].into_iter().enumerate() {
            let x = numbers(batch * 14 * 14 * 3, step as u64, 1.0);
            let labels: Vec<u32> = (0..batch).map(|i| ((i * 7 + step) % 5) as u32).collect();
            let mut keep = Vec::new();
            if step % 2 == 0 {
                let draws = numbers(batch * 70, 40 + step as u64, 1.0);
                keep = draws.iter().map(|&x| if x < 0.0 { 0.0 } else { 2.0 }).collect();
            }
            let found = trainer.gradients(&mut network, &head, &x, &labels, &keep, false);
            trainer.step(&mut network, &mut head, &found.by_parameter, 0.01, &config);
            let descent = Descent { lr: 0.01, momentum, weight_decay };
            let (loss, scores) = on_card.supervised_step(&x, &labels, &keep, descent).unwrap();
            close("scores", &scores, &found.scores);
            assert!((loss - found.loss).abs() < 1e-5 * found.loss, "{loss} {}", found.loss);
            // A card taken up again goes on as if it had never been put down.
            if step == 2 {
                let momentum = on_card.momentum().unwrap();
                on_card.fetch(&mut fetched.0, Some(&mut fetched.1)).unwrap();
                on_card = GpuNetwork::new(gpu, &fetched.0, Some(&fetched.1), false).unwrap();
                on_card.set_momentum(&momentum).unwrap();
            }
        }
        on_card.fetch(&mut fetched.0, Some(&mut fetched.1)).unwrap();
        close_networks(&format!("{projection:?}"), &fetched.0, &network);
        close("head", &fetched.1.weights, &head.weights);
        close("bias", &fetched.1.bias, &head.bias);
    }
}

#[test]
fn the_same_step_gives_the_same_bits() {
    let Some(gpu) = card() else { return };
    for name in ["hpca", "soft-wta"] {
        let rule = rules::build(name, toml::Table::new()).unwrap();
        let network = small(rule.projection());
        let x = numbers(9 * 14 * 14 * 3, 1, 1.0);
        let run = || {
            let mut fetched = network.clone();
            let mut on_card = GpuNetwork::new(gpu, &network, None, false).unwrap();
            for _ in 0..2 {
                on_card.hebbian_step(rule.as_ref(), &x, 0..4, &[0.01; 4], false).unwrap();
            }
            on_card.fetch(&mut fetched, None).unwrap();
            fetched
        };
        assert!(run() == run(), "{name}");
    }
}

#[test]
fn a_card_that_is_not_there_is_refused() {
    if card().is_some() {
        let error = Gpu::open(Some(1000)).unwrap_err().to_string();
        assert!(error.contains("there is no card 1000"), "{error}");
    }
}
