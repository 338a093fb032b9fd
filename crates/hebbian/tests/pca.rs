//! Pre-training by principal components: against the definition, against the rule
//! whose end it is, and as a run.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::Path;

use common::{folder, images, in_pool};
use hebbian::Error;
use hebbian::engine::Device;
use hebbian::network::{Model, NetworkSpec, NormKind, Pretraining};
use hebbian::ops::Workspace;
use hebbian::rules::{self, Samples};
use hebbian::train::{Checkpoint, Event, PcaConfig, RunFolder, Stop, pretrain_pca};
use hebbian::update::unfold;
use hebbian_data::{Images, Preprocess, Size, Whitening};

/// Padding, pooling, a stride, every kind of normalisation, a layer with as many
/// neurons as there are components in both directions and more.
const SMALL: &str = r#"
name = "small"
input = [14, 14, 3]
block = [
    { filters = 60, kernel = 3, padding = 1, pool = 2, norm = "batch-relu" },
    { filters = 17, kernel = 2, stride = 2, norm = "relative" },
    { filters = 20, kernel = "map", norm = "batch" },
]
"#;

fn model(images: &Images) -> Model {
    let size = Size { height: 14, width: 14 };
    let preprocess = Preprocess::fit(images, size, Whitening::None, 1e-2, &mut |_, _| {}).unwrap();
    let spec = NetworkSpec::parse(SMALL, Path::new("small.toml")).unwrap();
    Model::without_rule(spec, preprocess, 3).unwrap()
}

/// Every patch.
fn config() -> PcaConfig {
    PcaConfig { patches: 100_000, ..PcaConfig::default() }
}

fn train(images: &Images, config: &PcaConfig) -> Model {
    let ignore = &mut |_: Event<'_>| {};
    let model = model(images);
    pretrain_pca(model, images, config, &Device::Cpu, None, None, ignore).unwrap().0
}

/// The maps of layer `depth`, the input itself at depth 0.
fn maps(model: &Model, images: &Images, depth: usize) -> Vec<f32> {
    let order = (0..images.len()).collect();
    let mut x = Vec::new();
    let batch = hebbian_data::batches(images, order, images.len(), model.preprocess.size);
    model.preprocess.apply(&batch.into_iter().next().unwrap().unwrap(), &mut x).unwrap();
    if depth == 0 { x } else { model.network.features(depth, &x, &mut Workspace::default()) }
}

/// Patches of a layer's input, N x D, in double precision.
fn patches(model: &Model, images: &Images, layer: usize) -> Vec<f64> {
    let g = &model.network.blocks[layer].geometry;
    unfold(g, images.len(), &maps(model, images, layer)).into_iter().map(f64::from).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn filters_are_eigenvectors_of_the_products_each_and_its_negative() {
    let images = images(60);
    let model = train(&images, &config());
    let random = self::model(&images);
    for (layer, block) in model.network.blocks.iter().enumerate() {
        let d = block.geometry.patch_len();
        let weights: Vec<f64> = block.weights.iter().map(|&w| f64::from(w)).collect();
        let filters: Vec<&[f64]> = weights.chunks_exact(d).collect();
        let patches = patches(&model, &images, layer);
        let mut before = f64::INFINITY;
        let found = found(layer, filters.len());
        for (n, v) in filters[..found].iter().enumerate() {
            assert!((dot(v, v) - 1.0).abs() < 1e-5, "L{} {n}", layer + 1);
            let sign = if n % 2 == 0 { 1.0 } else { -1.0 };
            assert!(v.iter().zip(filters[n - n % 2]).all(|(a, b)| *a == sign * b));
            // C v, from the patches.
            let mut product = vec![0.0; d];
            for patch in patches.chunks_exact(d) {
                let y = dot(patch, v);
                product.iter_mut().zip(patch).for_each(|(sum, x)| *sum += y * x);
            }
            let value = dot(&product, v);
            let rest = product.iter().zip(*v).map(|(p, v)| (p - value * v).powi(2)).sum::<f64>();
            let scale = dot(&product, &product).sqrt().max(1e-6 * patches.len() as f64);
            assert!(rest.sqrt() < 1e-4 * scale, "L{} {n}: {rest} {scale}", layer + 1);
            assert!(value <= before * (1.0 + 1e-5) + 1e-6, "L{} {n}", layer + 1);
            before = value;
        }
        // No component is left for the others: they stay as they were.
        let fresh = &random.network.blocks[layer].weights;
        assert_eq!(block.weights[found * d..], fresh[found * d..], "L{}", layer + 1);
    }
}

/// Neurons of a layer that find a component: L1 has 60 neurons and patches of 27
/// numbers, of which, as the images are grey, 9 are independent.
fn found(layer: usize, filters: usize) -> usize {
    if layer == 0 { 18 } else { filters }
}

/// The update of HPCA as its paper writes it, over patches and their negatives.
#[test]
fn the_rule_hpca_leaves_them_as_they_are() {
    let images = images(40);
    let model = train(&images, &config());
    let rule = rules::build("hpca", toml::Table::new()).unwrap();
    for (layer, block) in model.network.blocks.iter().enumerate() {
        let d = block.geometry.patch_len();
        let mut both = patches(&model, &images, layer);
        both.extend_from_within(..);
        let half = both.len() / 2;
        both[half..].iter_mut().for_each(|x| *x = -*x);
        let found = found(layer, block.geometry.filters) * d;
        let update = |weights: &[f32]| {
            let w: Vec<f64> = weights[..found].iter().map(|&w| f64::from(w)).collect();
            let delta = rule.naive_f64(&Samples { x: &both, w: &w, d });
            dot(&delta, &delta).sqrt()
        };
        let random = self::model(&images).network.blocks[layer].weights.clone();
        let (now, before) = (update(&block.weights), update(&random));
        assert!(now < 1e-4 * before, "L{}: {now} of {before}", layer + 1);
    }
}

#[test]
fn responses_are_normalised_by_their_own_statistics() {
    let images = images(50);
    let model = train(&images, &config());
    for (layer, block) in model.network.blocks.iter().enumerate() {
        if block.norm.kind != NormKind::Batch {
            continue;
        }
        let map = maps(&model, &images, layer + 1);
        let c = block.geometry.filters;
        for channel in 0..c {
            let values = || map.iter().skip(channel).step_by(c).map(|&x| f64::from(x));
            let n = values().count() as f64;
            let mean = values().sum::<f64>() / n;
            let var = values().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
            assert!(mean.abs() < 1e-4 && (var - 1.0).abs() < 1e-2, "{channel}: {mean} {var}");
        }
    }
}

/// Fewer patches than there are, fewer images, and how they are drawn.
#[test]
fn patches_are_drawn_by_the_seed_and_any_number_of_threads_draws_the_same() {
    let images = images(50);
    let config = PcaConfig { images: 30, patches: 3 };
    let [one, three] = [1, 3].map(|threads| in_pool(threads, || train(&images, &config)));
    assert_eq!(one.network, three.network);
    assert_eq!(one.provenance.pretrained_images, 30);
    assert_eq!(
        (one.provenance.pretraining, one.provenance.pretrained_epochs),
        (Pretraining::Pca, 1)
    );
    assert_ne!(one.network, train(&images, &self::config()).network);
}

/// Stopped in each layer, it goes on to the same bits: from the images, and not
/// from maps that were kept.
#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let (_files, data) = folder();
    let (images, config) = (data.images(), PcaConfig { images: 80, patches: 5 });
    let want = train(&images, &config);
    let folder = tempfile::tempdir().unwrap();
    let run_at = |stop: Option<&'static str>, from: Option<Checkpoint>| {
        let asked = Stop::default();
        let run = RunFolder::resume(&folder.path().join("run"), "").unwrap();
        let mut run = run.until(asked.clone());
        let from = from.or(run.load().unwrap());
        let model = from.as_ref().map_or_else(|| model(&images), |from| from.model.clone());
        let observer = &mut |event: Event<'_>| match event {
            Event::Stage { name, .. } if Some(name) == stop => asked.ask(),
            _ => {}
        };
        pretrain_pca(model, &images, &config, &Device::Cpu, Some(&mut run), from, observer)
    };
    for (stop, step) in [("L1: patches", 0), ("L2: statistics", 1), ("L3: patches", 2)] {
        match run_at(Some(stop), None) {
            Err(Error::Stopped { step: at }) => assert_eq!(at, step, "{stop}"),
            other => panic!("{stop}: {:?}", other.map(|_| ())),
        }
    }
    let (got, _) = run_at(None, None).unwrap();
    assert_eq!(got.network, want.network);
    assert_eq!(got.provenance, want.provenance);
    let lines = std::fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let explained: Vec<f64> = lines.last().unwrap()["explained"]
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect();
    assert_eq!((lines.len(), explained.len()), (3, 3));
    // All components of L1 are there.
    assert!(
        (explained[0] - 1.0).abs() < 1e-6 && explained[1..].iter().all(|&e| e > 0.3 && e < 1.0)
    );
}

#[test]
fn what_can_not_be_is_an_error() {
    let images = images(4);
    let fails = |model: Model, images: &Images, config: &PcaConfig| {
        let ignore = &mut |_: Event<'_>| {};
        let done = pretrain_pca(model, images, config, &Device::Cpu, None, None, ignore);
        done.map(|_| ()).unwrap_err().to_string()
    };
    let none = fails(model(&images), &images, &PcaConfig { patches: 0, ..config() });
    assert_eq!(none, "pca.patches: is 0; it must be 1 to 100000");
    let empty = fails(model(&images), &images.subset(&[]), &config());
    assert_eq!(empty, "there are no images to pre-train on");
    let mut tanh = model(&images);
    tanh.network.activation = hebbian::ops::Activation::Tanh;
    assert!(fails(tanh, &images, &config()).contains("ReLU"));
    let spec = SMALL.replace("norm = \"batch\"", "norm = \"batch\", bias = true");
    let spec = NetworkSpec::parse(&spec, Path::new("small.toml")).unwrap();
    let biased = Model::without_rule(spec, model(&images).preprocess, 3).unwrap();
    assert!(fails(biased, &images, &config()).contains("bias"));
    // 14 x 14 x 100 numbers.
    let wide = r#"
name = "wide"
input = [14, 14, 3]
block = [
    { filters = 100, kernel = 3, padding = 1, norm = "batch" },
    { filters = 2, kernel = "map", norm = "batch" },
]
"#;
    let wide = NetworkSpec::parse(wide, Path::new("wide.toml")).unwrap();
    let wide = Model::without_rule(wide, model(&images).preprocess, 3).unwrap();
    let many = images.subset(&vec![0; 16_385]);
    let hours = fails(wide, &many, &PcaConfig { images: 20_000, ..config() });
    assert!(hours.contains("L2 have 19600 numbers") && hours.contains("at most 16384"), "{hours}");
}
