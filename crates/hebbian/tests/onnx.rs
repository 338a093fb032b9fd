//! Exported models give in ONNX's runtime what they give here. Without the runtime (Python's
//! `onnx` and `onnxruntime`) the tests say so and pass, but for `HEBB_REQUIRE_ONNX`.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::borrow::Cow;
use std::path::Path;
use std::process::Command;

use common::{images, rule};
use hebbian::Error;
use hebbian::network::{FeatureLayer, FeatureSource, HeadKind, Model, NetworkSpec};
use hebbian::onnx::to_onnx;
use hebbian::ops::Workspace;
use hebbian_data::{Preprocess, Size, Whitening, batches, seed};
use rand::RngExt;

/// How many images are looked at.
const IMAGES: usize = 5;

/// A model of every part: random weights, classifier and running statistics.
fn model(network: &str, rule_of: Option<&str>, whitening: Whitening, head: HeadKind) -> Model {
    let spec = NetworkSpec::parse(network, Path::new("network.toml")).unwrap();
    let size = Size { height: spec.input[0], width: spec.input[1] };
    let preprocess = Preprocess::fit(&images(40), size, whitening, 1e-2, &mut |_, _| {}).unwrap();
    let mut model = match rule_of {
        Some(name) => Model::new(spec, rule(name, "").as_ref(), preprocess, 7).unwrap(),
        None => Model::without_rule(spec, preprocess, 7).unwrap(),
    };
    let features = model.network.feature_len(model.network.depth());
    model.classes = ["a", "b \"quoted\"", "ü"].map(str::to_owned).to_vec();
    model.head = Some(head.init(features, model.classes.len(), 7).unwrap());
    let mut random = seed::stream(7, "norm");
    let hidden = model.head.as_mut().and_then(|head| head.hidden.as_mut());
    let norms = model.network.blocks.iter_mut().map(|block| &mut block.norm);
    for norm in norms.chain(hidden.map(|hidden| &mut hidden.norm)) {
        norm.start = 0.25;
        for values in [&mut norm.gamma, &mut norm.var] {
            values.fill_with(|| random.random_range(0.5..1.5));
        }
        for values in [&mut norm.beta, &mut norm.mean] {
            values.fill_with(|| random.random_range(-0.2..0.2));
        }
    }
    model
}

/// Features and scores as they are here; pixels that go in.
fn ours(model: &Model, layer: FeatureLayer) -> (Vec<u8>, Vec<f32>, Vec<f32>) {
    let order = (0..IMAGES).collect();
    let mut batches = batches(&images(IMAGES), order, IMAGES, model.preprocess.size);
    let batch = batches.next().unwrap().unwrap();
    let (mut x, mut workspace) = (Vec::new(), Workspace::default());
    model.preprocess.apply(&batch, &mut x).unwrap();
    let last = model.network.features(model.network.depth(), &x, &mut workspace);
    let map = match layer.depth(model) {
        0 => x,
        depth => model.network.features(depth, &x, &mut workspace),
    };
    let features = layer.features(model, Cow::Owned(map)).unwrap();
    (batch.pixels, features, model.head.as_ref().unwrap().scores(&last))
}

/// The numbers of each output of a file, and its metadata; none where there is no runtime.
fn theirs(file: &[u8], pixels: &[u8], names: &[&str]) -> Option<(Vec<Vec<f32>>, String)> {
    let folder = tempfile::tempdir().unwrap();
    let (path, images) = (folder.path().join("model.onnx"), folder.path().join("images"));
    std::fs::write(&path, file).unwrap();
    std::fs::write(&images, pixels).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("../../target/store-servers/bin/python"))
        .arg(root.join("tests/run_onnx.py"))
        .args([&path, &images, folder.path()])
        .output();
    let metadata = match output {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap(),
        failed => {
            let error = failed.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
            let required = std::env::var_os("HEBB_REQUIRE_ONNX").is_some();
            assert!(
                !required,
                "the file does not run: {}",
                error.unwrap_or_else(|e| e.to_string())
            );
            eprintln!("skipped: onnx and onnxruntime are not installed");
            return None;
        }
    };
    let read = |name: &&str| {
        let bytes = std::fs::read(folder.path().join(format!("{name}.f32"))).unwrap();
        bytes.as_chunks().0.iter().map(|&number| f32::from_le_bytes(number)).collect()
    };
    Some((names.iter().map(read).collect(), metadata))
}

fn assert_close(found: &[f32], want: &[f32], what: &str) {
    assert_eq!(found.len(), want.len(), "{what}");
    let largest = want.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    assert!(largest > 0.0, "{what}");
    for (found, want) in found.iter().zip(want) {
        assert!((found - want).abs() <= 1e-4 * largest, "{what}: {found} {want}");
    }
}

/// Of a model whole, and of some of its layers.
fn check(model: &Model, layers: &[&str]) {
    let last = FeatureLayer::of(model, None).unwrap();
    let (pixels, features, scores) = ours(model, last);
    let file = to_onnx(model, None).unwrap();
    let Some((found, metadata)) = theirs(&file, &pixels, &["features", "scores"]) else { return };
    assert_close(&found[0], &features, "features");
    assert_close(&found[1], &scores, "scores");
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let classes: Vec<String> = serde_json::from_str(metadata["classes"].as_str().unwrap()).unwrap();
    assert_eq!(classes, model.classes);
    assert_eq!(metadata["fingerprint"], model.fingerprint().unwrap());
    for name in layers {
        let layer = FeatureLayer::of(model, Some(name)).unwrap();
        let (_, features, _) = ours(model, layer);
        let file = to_onnx(model, Some(layer)).unwrap();
        let Some((found, metadata)) = theirs(&file, &pixels, &["features"]) else { return };
        assert!(metadata.contains(&format!("\"{layer}\"")), "{metadata}");
        if layer.source == FeatureSource::BinaryCode {
            assert_eq!(found[0], features, "{name}");
        } else {
            assert_close(&found[0], &features, name);
        }
    }
}

#[test]
fn every_part_of_a_network_and_its_features() {
    let network = common::NETWORK.replace("filters = 6,", "filters = 6, bias = true,");
    let model = model(&network, None, Whitening::None, HeadKind::Hidden(9));
    let layers = ["pixels", "L1", "L2-pool2-unit", "L2-pool3", "L4-unit", "code", "code-binary"];
    check(&model, &layers);
}

#[test]
fn projections_that_are_normalised_and_whitened_images() {
    let model = model(common::NETWORK, Some("soft-wta"), Whitening::Fh, HeadKind::Linear);
    check(&model, &["pixels", "L3"]);
}

#[test]
fn tanh_and_images_whitened_whole() {
    let model = model(common::NETWORK, Some("hpca-tanh"), Whitening::Hl21, HeadKind::Linear);
    check(&model, &["pixels-unit", "L2-pool1"]);
}

#[test]
fn images_whitened_by_patches() {
    let network = r#"
        name = "wide"
        input = [64, 96, 3]
        block = [{ filters = 4, kernel = 5, stride = 3, pool = 2, norm = "batch" }]
    "#;
    let model = model(network, None, Whitening::Fh, HeadKind::Linear);
    check(&model, &["pixels", "L1-pool4-unit"]);
    let network = network.replace("96", "48");
    let model = self::model(&network, None, Whitening::Fh, HeadKind::Linear);
    let error = to_onnx(&model, None).unwrap_err();
    assert!(matches!(&error, Error::Data(text) if text.contains("64x48")), "{error}");
}

#[test]
fn a_code_takes_a_hidden_layer() {
    let model = model(common::NETWORK, None, Whitening::None, HeadKind::Linear);
    let layer = FeatureLayer { source: FeatureSource::Code, pool: None, unit: false };
    let error = to_onnx(&model, Some(layer)).unwrap_err();
    assert!(matches!(&error, Error::Config { field, .. } if field == "layer"), "{error}");
}
