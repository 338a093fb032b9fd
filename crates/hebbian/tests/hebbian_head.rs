//! Class vectors trained from streamed features, against the same steps on all
//! features at once.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use hebbian::engine::Device;
use hebbian::network::{FeatureLayer, Model, NetworkSpec};
use hebbian::rules;
use hebbian::train::{
    HebbianHead, HebbianHeadConfig, LabelledImages, for_each_features, train_hebbian_head,
};
use hebbian_data::{Dataset, OpenOptions, Part, Preprocess, Size, Whitening, seed};

const NETWORK: &str = r#"
name = "small"
input = [14, 14, 3]
block = [
    { filters = 6, kernel = 5, pool = 2, norm = "batch" },
    { filters = 9, kernel = 3, norm = "batch" },
]
"#;

const LAYER: FeatureLayer = FeatureLayer::layer(2);

#[test]
fn streamed_steps_are_those_of_a_shuffled_set() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hebb/sample/fashion-mnist");
    let options = OpenOptions { part: Part::Test, ..OpenOptions::default() };
    let rows: Vec<usize> = (0..150).collect();
    let data = Dataset::open_with(&sample, &options).unwrap().subset(&rows);
    let labels: Vec<u32> = data.labels().into_iter().flatten().collect();
    let train = LabelledImages { images: data.images(), labels };
    let size = Size::square(14);
    let preprocess =
        Preprocess::fit(&train.images, size, Whitening::None, 0.01, &mut |_, _| {}).unwrap();
    let rule = rules::build("hpca", toml::Table::new()).unwrap();
    let spec = NetworkSpec::parse(NETWORK, Path::new("small.toml")).unwrap();
    let model = Model::new(spec, rule.as_ref(), preprocess, 1).unwrap();

    // A batch that divides neither the images nor what is streamed at a time.
    let config = HebbianHeadConfig { lr: 0.5, batch: 20, epochs: 2 };
    let (classes, device) = (data.classes(), Device::Cpu);
    let train_head = |config: &HebbianHeadConfig| {
        let silent = &mut |_: hebbian::train::Event<'_>| {};
        train_hebbian_head(&model, LAYER, &train, classes, config, 7, &device, silent)
    };
    let (head, skipped) = train_head(&config).unwrap();
    assert!(skipped.is_empty());

    let f = model.network.feature_len(2);
    let mut features = Vec::new();
    for_each_features(&model, LAYER, &train.images, &device, "all", &mut |_| {}, |_, x| {
        features.extend(x);
        Ok(())
    })
    .unwrap();
    let mut want = HebbianHead::new(f, classes.len(), 7);
    for epoch in 0..2 {
        let order = seed::shuffled(150, 7, &format!("shuffle/teacher/{epoch}"));
        for rows in order.chunks(20) {
            let x: Vec<f32> =
                rows.iter().flat_map(|&row| &features[row * f..][..f]).copied().collect();
            let labels: Vec<u32> = rows.iter().map(|&row| train.labels[row]).collect();
            want.sums(&x, &labels).apply(0.5, &mut want.weights);
        }
    }
    let largest = want.weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    for (got, want) in head.weights.iter().zip(&want.weights) {
        assert!((got - want).abs() < 1e-5 * largest, "{got} {want}");
    }

    // They have learned something: better than one in three on ten classes.
    let scores = head.to_head().scores(&features);
    let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    let right = scores.chunks(classes.len()).zip(&train.labels);
    let right = right.filter(|(row, label)| best(row) == Some(**label as usize)).count();
    assert!(right > 50, "{right} of 150");

    for (config, field) in [
        (HebbianHeadConfig { lr: 0.0, ..config }, "lr"),
        (HebbianHeadConfig { batch: 0, ..config }, "batch"),
        (HebbianHeadConfig { epochs: 0, ..config }, "epochs"),
    ] {
        let error = train_head(&config).unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
    }
}
