//! Classifiers: the two-layer one against PyTorch (`heads.py` makes the file),
//! linear support vector machines and the Nystroem map against scikit-learn
//! (`svm.py`, `nystroem.py`), models of either form on disk, names of features.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use hebbian::engine::{Sgd, Trainer};
use hebbian::network::{
    FeatureLayer, FeatureSource, Head, HeadKind, Model, Network, NetworkSpec, Tensors,
};
use hebbian::ops::{Activation, Workspace};
use hebbian::rules::{self, Projection};
use hebbian::train::{
    FinetuneConfig, LabelledFeatures, Nystroem, SvmConfig, nearest_mean, train_head, train_svm,
};
use hebbian_data::{Preprocess, Size};

const NETWORK: &str = r#"
name = "small"
input = [14, 14, 3]
block = [{ filters = 6, kernel = 5, pool = 2, norm = "batch" }]
"#;
const PARAMETERS: [&str; 9] = [
    "L1.weight",
    "L1.gamma",
    "L1.beta",
    "head.hidden.weight",
    "head.hidden.bias",
    "head.hidden.gamma",
    "head.hidden.beta",
    "head.weight",
    "head.bias",
];

fn spec() -> NetworkSpec {
    NetworkSpec::parse(NETWORK, Path::new("small.toml")).unwrap()
}

fn fixture(name: &str) -> Tensors {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    Tensors::from_bytes(&path, &std::fs::read(&path).unwrap()).unwrap()
}

fn close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(1e-6f32, |m, w| m.max(w.abs()));
    let error = got.iter().zip(want).fold(0.0f32, |m, (g, w)| m.max((g - w).abs())) / largest;
    assert!(error < tolerance, "{what}: {error}");
}

/// The parameters of a network of one layer and of a two-layer classifier.
fn parameters<'a>(network: &'a mut Network, head: &'a mut Head) -> [&'a mut Vec<f32>; 9] {
    let block = &mut network.blocks[0];
    let Head { hidden, out } = head;
    let hidden = hidden.as_mut().unwrap();
    [
        &mut block.weights,
        &mut block.norm.gamma,
        &mut block.norm.beta,
        &mut hidden.linear.weights,
        &mut hidden.linear.bias,
        &mut hidden.norm.gamma,
        &mut hidden.norm.beta,
        &mut out.weights,
        &mut out.bias,
    ]
}

#[test]
fn two_layer_gradients_and_steps_equal_pytorch() {
    let file = fixture("heads.safetensors");
    let get = |key: &str| file.get(key).expect(key).to_vec();
    let mut network = Network::new(spec(), Projection::Plain, Activation::Relu, 0).unwrap();
    let mut head = HeadKind::Hidden(9).init(network.feature_len(1), 4, 0).unwrap();
    for (parameter, key) in parameters(&mut network, &mut head).into_iter().zip(PARAMETERS) {
        assert_eq!(parameter.len(), get(key).len(), "{key}");
        *parameter = get(key);
    }
    let mut trainer = Trainer::default();
    let labels = [0, 3, 1, 2, 3, 0, 1];
    for step in 0..2 {
        let get = |key: &str| get(&format!("{step}.{key}"));
        let (x, keep) = (get("x"), get("keep"));
        let found = trainer.gradients(&mut network, &mut head, &x, &labels, &keep, false);
        close("loss", &[found.loss as f32], &get("loss"), 1e-5);
        close("scores", &found.scores, &get("scores"), 2e-5);
        assert_eq!(found.by_parameter.len(), PARAMETERS.len());
        for (key, gradient) in PARAMETERS.iter().zip(&found.by_parameter) {
            close(&format!("{step} {key}"), gradient, &get(&format!("d_{key}")), 5e-5);
        }
        let sgd = Sgd { lr: 0.05, momentum: 0.9, weight_decay: 0.05 };
        trainer.step(&mut network, &mut head, &sgd);
        for (parameter, key) in parameters(&mut network, &mut head).into_iter().zip(PARAMETERS) {
            close(&format!("{step} stepped {key}"), parameter, &get(key), 2e-5);
        }
        let norm = &head.hidden.as_ref().unwrap().norm;
        close("running mean", &norm.mean, &get("head.hidden.mean"), 2e-5);
        close("running variance", &norm.var, &get("head.hidden.var"), 2e-5);
    }
    // With the running statistics, as PyTorch takes them: with what is left in
    // them of fresh ones. And without dropout.
    network.blocks[0].norm.start = 0.0;
    head.hidden.as_mut().unwrap().norm.start = 0.0;
    let features = network.features(1, &get("1.x"), &mut Workspace::default());
    close("code", &head.code(&features).unwrap(), &get("code"), 5e-5);
    close("scores", &head.scores(&features), &get("eval_scores"), 5e-5);
}

#[test]
fn wide_linear_layers_equal_sums_one_by_one() {
    // Wider than what one task computes, in both directions.
    let (inputs, outputs, rows) = (4100, 70, 3);
    let mut rng = hebbian_data::seed::stream(1, "test");
    let linear = hebbian::network::Linear::new(inputs, outputs, &mut rng);
    let number = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 50.0;
    let x: Vec<f32> = (0..rows * inputs).map(number).collect();
    let d: Vec<f32> = (0..rows * outputs).map(|i| number(i + 7)).collect();
    let w = |o: usize, i: usize| f64::from(linear.weights[o * inputs + i]);
    let x64 = |r: usize, i: usize| f64::from(x[r * inputs + i]);
    let d64 = |r: usize, o: usize| f64::from(d[r * outputs + o]);
    let out = |r: usize, o: usize| {
        f64::from(linear.bias[o]) + (0..inputs).map(|i| w(o, i) * x64(r, i)).sum::<f64>()
    };
    let want: Vec<f32> =
        (0..rows * outputs).map(|at| out(at / outputs, at % outputs) as f32).collect();
    close("outputs", &linear.forward(&x), &want, 1e-5);
    let (mut d_weights, mut d_bias, mut d_x) = (Vec::new(), Vec::new(), Vec::new());
    linear.gradients(&x, &d, &mut d_weights, &mut d_bias);
    let by_weight = |o: usize, i: usize| (0..rows).map(|r| d64(r, o) * x64(r, i)).sum::<f64>();
    let want: Vec<f32> =
        (0..outputs * inputs).map(|at| by_weight(at / inputs, at % inputs) as f32).collect();
    close("by weights", &d_weights, &want, 1e-5);
    let by_bias = |o: usize| (0..rows).map(|r| d64(r, o)).sum::<f64>() as f32;
    close("by bias", &d_bias, &(0..outputs).map(by_bias).collect::<Vec<_>>(), 1e-5);
    linear.gradient_by_input(&d, &mut d_x);
    let by_x = |r: usize, i: usize| (0..outputs).map(|o| d64(r, o) * w(o, i)).sum::<f64>();
    let want: Vec<f32> =
        (0..rows * inputs).map(|at| by_x(at / inputs, at % inputs) as f32).collect();
    close("by input", &d_x, &want, 1e-5);
}

/// Features in memory, handed out row by row.
fn with_features<R>(
    x: &[f32],
    labels: &[u32],
    classes: usize,
    run: impl FnOnce(&LabelledFeatures<'_>) -> R,
) -> R {
    let dim = x.len() / labels.len();
    let read = |rows: &[usize], out: &mut Vec<f32>| {
        out.clear();
        rows.iter().for_each(|&row| out.extend_from_slice(&x[row * dim..][..dim]));
        Ok(())
    };
    run(&LabelledFeatures { dim, labels, classes, read: &read })
}

#[test]
fn support_vector_machines_equal_scikit_learn() {
    let file = fixture("svm.safetensors");
    let x = file.get("x").unwrap();
    let labels: Vec<u32> = file.get("labels").unwrap().iter().map(|&label| label as u32).collect();
    for (name, penalty) in [("one", 1.0), ("small", 0.03)] {
        let config = SvmConfig { penalty, tolerance: 1e-9, epochs: 100_000 };
        let svm = with_features(x, &labels, 3, |features| {
            train_svm(features, &config, 4, &mut |_| {}).unwrap()
        });
        assert_eq!(svm.unsettled, 0);
        let get = |part: &str| file.get(&format!("{name}.{part}")).unwrap();
        close("weights", &svm.linear.weights, get("weights"), 1e-5);
        close("bias", &svm.linear.bias, get("bias"), 1e-5);
        // One pass is not enough, and said so; nor is a penalty of nothing a setting.
        let stopped = SvmConfig { epochs: 1, ..config };
        let none = SvmConfig { penalty: 0.0, ..config };
        with_features(x, &labels, 3, |features| {
            assert_eq!(train_svm(features, &stopped, 4, &mut |_| {}).unwrap().unsettled, 3);
            let error = train_svm(features, &none, 4, &mut |_| {}).unwrap_err().to_string();
            assert!(error.contains("svm.penalty"), "{error}");
        });
    }
}

#[test]
fn nystroem_products_equal_scikit_learn() {
    let file = fixture("nystroem.safetensors");
    let get = |name: &str| file.get(name).unwrap();
    let map = Nystroem::fit(get("basis"), 11).unwrap();
    let products = |map: &Nystroem| {
        let mapped = map.apply(get("x"));
        let rows: Vec<&[f32]> = mapped.chunks_exact(map.components()).collect();
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        rows.iter().flat_map(|a| rows.iter().map(|b| product(a, b))).collect::<Vec<_>>()
    };
    assert_eq!(map.components(), 20);
    close("products", &products(&map), get("products"), 1e-4);
    // Copies add nothing and are left out.
    let twice = Nystroem::fit(&[get("basis"), get("basis")].concat(), 11).unwrap();
    assert_eq!(twice, map);
    assert!(Nystroem::fit(&[], 11).is_err());
}

#[test]
fn a_hidden_layer_tells_apart_what_a_line_cannot() {
    // Exclusive or: the class is the parity of two signs.
    let mut rng = hebbian_data::seed::stream(2, "test");
    let mut draw = || rand::RngExt::random_range(&mut rng, -1.0f32..1.0);
    let x: Vec<f32> = (0..800).map(|_| draw()).collect();
    let class = |p: &[f32]| u32::from((p[0] > 0.0) != (p[1] > 0.0));
    let labels: Vec<u32> = x.chunks_exact(2).map(class).collect();
    let config =
        FinetuneConfig { lr: 0.1, weight_decay: 0.0, dropout: 0.0, ..FinetuneConfig::default() };
    let right = |head: &Head| {
        let scores = head.scores(&x);
        let given = scores.chunks_exact(2).map(|s| u32::from(s[1] > s[0]));
        given.zip(&labels).filter(|(given, label)| given == *label).count()
    };
    with_features(&x, &labels, 2, |features| {
        let train = |kind| train_head(features, kind, &config, 3, &mut |_| {}).unwrap();
        let (linear, hidden) = (train(HeadKind::Linear), train(HeadKind::Hidden(16)));
        assert!(right(&linear) < 280, "{}", right(&linear));
        assert!(right(&hidden) > 360, "{}", right(&hidden));
        assert_eq!(train(HeadKind::Hidden(16)), hidden, "the same seed gives the same bits");
        let means = nearest_mean(features, &mut |_| {}).unwrap();
        assert!(right(&means.into()) < 280);
    });
}

fn model(kind: Option<HeadKind>) -> Model {
    let rule = rules::build("hpca", toml::Table::new()).unwrap();
    let size = Size::square(14);
    let preprocess = Preprocess { size, mean: [0.5; 3], std: [0.25; 3], whitening: None };
    let mut model = Model::new(spec(), rule.as_ref(), preprocess, 5).unwrap();
    if let Some(kind) = kind {
        model.head = Some(kind.init(model.network.feature_len(1), 3, 5).unwrap());
        model.classes = ["a", "b", "c"].map(String::from).to_vec();
    }
    model
}

#[test]
fn models_of_either_form_survive_writing_and_reading() {
    let folder = tempfile::tempdir().unwrap();
    for kind in [None, Some(HeadKind::Linear), Some(HeadKind::Hidden(9))] {
        let mut saved = model(kind);
        if let Some(hidden) = saved.head.as_mut().and_then(|head| head.hidden.as_mut()) {
            hidden.norm.mean = (0..9).map(|i| i as f32).collect();
            hidden.norm.gamma[3] = 7.0;
        }
        saved.save(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join("model.toml")).unwrap();
        assert_eq!(text.contains("classifier"), kind == Some(HeadKind::Hidden(9)), "{text}");
        let opened = Model::load(folder.path()).unwrap();
        assert_eq!((&opened.head, &opened.network), (&saved.head, &saved.network));
        assert_eq!(opened.fingerprint().unwrap(), saved.fingerprint().unwrap());
        // More hidden units than the tensors have, and none at all.
        for (units, word) in [(10, "head.hidden.weight"), (0, "classifier.hidden")] {
            let changed = text.replace("hidden = 9", &format!("hidden = {units}"));
            if changed != text {
                std::fs::write(folder.path().join("model.toml"), changed).unwrap();
                let error = Model::load(folder.path()).unwrap_err().to_string();
                assert!(error.contains(word), "{error}");
            }
        }
    }
}

#[test]
fn a_model_of_version_0_1_0_opens() {
    // Written by the program before classifiers had a form, together with a
    // gallery that recorded this fingerprint.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/format-1");
    let opened = Model::load(&folder).unwrap();
    let head = opened.head.as_ref().unwrap();
    assert_eq!((head.kind(), head.features(), head.classes()), (HeadKind::Linear, 27, 2));
    assert_eq!(opened.classes, ["checks", "stripes"]);
    assert_eq!(opened.fingerprint().unwrap(), "ce27a5837909e66a9e6a86496a0513cb");
}

#[test]
fn features_are_named_and_unknown_names_list_them() {
    let (plain, coded) = (model(None), model(Some(HeadKind::Hidden(9))));
    let of = FeatureLayer::of;
    let as_they_are = [("pixels", 588), ("L1", 150), ("code", 9)];
    let unit = [("pixels-unit", 588), ("L1-unit", 150), ("code-unit", 9)];
    // The map of L1 is 5 x 5 x 6.
    let pooled = [("pixels-pool7", 147), ("L1-pool2", 24), ("L1-pool9", 150), ("L1-pool1-unit", 6)];
    let names = as_they_are.into_iter().chain(unit).chain(pooled);
    for (name, len) in names.chain([("code-binary", 9)]) {
        let layer = of(&coded, Some(name)).unwrap();
        assert_eq!((layer.to_string(), layer.len(&coded)), (name.to_owned(), len));
    }
    assert_eq!(of(&coded, None).unwrap(), FeatureLayer::layer(1));
    assert_eq!(of(&coded, Some("l1")).unwrap(), FeatureLayer::layer(1));
    let problem = |model, name| of(model, Some(name)).unwrap_err().to_string();
    let suffixes = ["code-binary-unit", "L2-unit", "-unit", "L1-unit-unit", "L1-unit-pool2"];
    let pools = ["L1-pool0", "L1-pool", "L1-pool-2", "L1-pool2-pool2", "code-pool2"];
    for wrong in suffixes.into_iter().chain(pools) {
        let error = problem(&coded, wrong);
        assert!(error.contains(&format!("'{wrong}' is no layer here")), "{error}");
    }
    assert_eq!(problem(&plain, "L2"), "layer: 'L2' is no layer here; there are pixels, L1 to L1");
    assert_eq!(
        problem(&coded, "L0"),
        "layer: 'L0' is no layer here; there are pixels, L1 to L1, code and code-binary"
    );
    let error = problem(&plain, "code");
    assert!(error.contains("hidden layer") && error.contains("finetune.classifier"), "{error}");
    // The code, and its signs.
    let map: Vec<f32> = (0..300).map(|i| (i % 11) as f32 - 5.0).collect();
    let features = |layer: FeatureLayer| layer.features(&coded, (&map[..]).into());
    let plain_of = |source| FeatureLayer { source, pool: None, unit: false };
    let code = features(plain_of(FeatureSource::Code)).unwrap();
    let bits: Vec<f32> = code.iter().map(|&x| f32::from(u8::from(x >= 0.0))).collect();
    assert_eq!(features(plain_of(FeatureSource::BinaryCode)).unwrap(), bits);
    assert_eq!(features(FeatureLayer::layer(1)).unwrap(), map);
    let coded_layer = plain_of(FeatureSource::Code);
    assert!(coded_layer.features(&plain, (&map[..]).into()).is_err());
}

#[test]
fn maps_are_averaged_over_parts() {
    let coded = model(None);
    // Two images of 5 x 5 places with 6 channels: the place in two digits, and the channel.
    let value = |i: usize| (1000 * (i / 150) + i % 150 / 6 / 5 * 10 + i % 150 / 6 % 5) as f32;
    let map: Vec<f32> = (0..300).map(|i| value(i) + (i % 6) as f32 * 0.125).collect();
    let features = |name: &str| {
        let layer = FeatureLayer::of(&coded, Some(name)).unwrap();
        layer.features(&coded, (&map[..]).into()).unwrap()
    };
    // Of five places the first and the last three make the two parts of a side.
    let expected = |image: usize, row: usize, column: usize, channel: usize| {
        let places = |part: usize| [0, 2].map(|start| [start, start + 1, start + 2])[part];
        let of = |(y, x): (usize, usize)| map[image * 150 + (y * 5 + x) * 6 + channel];
        let values = places(row).into_iter().flat_map(|y| places(column).map(|x| of((y, x))));
        values.sum::<f32>() / 9.0
    };
    let pooled = features("L1-pool2");
    for (i, &found) in pooled.iter().enumerate() {
        let wanted = expected(i / 24, i % 24 / 12, i % 12 / 6, i % 6);
        assert!((found - wanted).abs() < 1e-3, "{i}: {found} {wanted}");
    }
    assert_eq!(pooled.len(), 48);
    assert!((features("L1-pool1")[6] - 1022.0).abs() < 1e-2);
    assert_eq!(features("L1-pool5"), map);
    assert_eq!(features("L1-pool999"), map);
}

#[test]
fn features_of_unit_length_keep_their_direction() {
    let coded = model(Some(HeadKind::Hidden(9)));
    // Six images: two of one direction, one of the other, tiny and huge ones, none at all.
    let pattern = |i: usize| (i * 7 % 11) as f32 - 4.0;
    let scales = [1.0, 3.0, -1.0, 1e-25, 1e25, 0.0];
    let map: Vec<f32> =
        scales.iter().flat_map(|scale| (0..150).map(move |i| scale * pattern(i))).collect();
    let features = |name: &str| {
        let layer = FeatureLayer::of(&coded, Some(name)).unwrap();
        let features = layer.features(&coded, (&map[..]).into()).unwrap();
        features.chunks_exact(layer.len(&coded)).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    let inner = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    for (plain, unit) in [("L1", "L1-unit"), ("code", "code-unit")] {
        for (plain, unit) in features(plain).iter().zip(features(unit)) {
            let length = inner(plain, plain).sqrt();
            assert!((inner(&unit, &unit).sqrt() - f64::from(u8::from(length > 0.0))).abs() < 1e-6);
            assert!((inner(plain, &unit) - length).abs() <= 1e-6 * length, "{plain:?} {unit:?}");
        }
    }
    let [one, tripled, turned, tiny, huge, none] = &features("L1-unit")[..] else { panic!() };
    let distance = |a: &[f32], b: &[f32]| {
        let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        inner(&difference, &difference)
    };
    assert!([tripled, tiny, huge].iter().all(|other| distance(one, other) < 1e-12));
    assert!((distance(one, turned) - 4.0).abs() < 1e-5);
    assert!(none.iter().all(|&x| x == 0.0));
}
