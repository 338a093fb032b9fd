//! Every verb on real images, from a folder to a ranked answer.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{at, fails, ok, scratch};

#[test]
fn from_photos_to_neighbours_and_labels() {
    let dir = scratch(20);
    let (photos, run, tuned) = (at(&dir, "photos"), at(&dir, "run"), at(&dir, "tuned"));
    let network = at(&dir, "small.toml");

    let described = ok(&["data", "describe", &photos, "--json"]);
    let described: serde_json::Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["images"], 200);
    assert_eq!(described["classes"].as_array().unwrap().len(), 10);

    ok(&[
        "pretrain",
        &photos,
        "--network",
        &network,
        "--out",
        &run,
        "--epochs",
        "2",
        "--seed",
        "3",
    ]);
    ok(&[
        "finetune",
        &photos,
        "--model",
        &run,
        "--out",
        &tuned,
        "--fraction",
        "0.5",
        "--layer",
        "L2",
    ]);

    // A gallery of its own images: each is its own nearest.
    let gallery = at(&dir, "gallery");
    ok(&["index", &photos, "--model", &tuned, "--out", &gallery]);
    let classes: Vec<_> = std::fs::read_dir(&photos).unwrap().map(|e| e.unwrap().path()).collect();
    let image = classes[4].join("007.png");
    let found = ok(&["search", &gallery, image.to_str().unwrap(), "-k", "3", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let hits = found[0]["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 3);
    assert!(hits[0]["id"].as_str().unwrap().ends_with("007.png"), "{hits:?}");
    // In a batch of one the sums are grouped otherwise than in the gallery's.
    assert!(hits[0]["distance"].as_f64() < Some(1e-4), "{hits:?}");
    assert_eq!(hits[0]["label"].as_str(), classes[4].file_name().unwrap().to_str());
    assert!(hits[1]["distance"].as_f64() > Some(0.01), "{hits:?}");

    // Another model may not search it.
    fails(&["search", &gallery, image.to_str().unwrap(), "--model", &run], 1, &["model"]);

    let csv = ok(&["predict", &photos, "--model", &tuned]);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!((lines[0], lines.len()), ("path,label,probability", 201));

    let report = ok(&["eval", &photos, "--model", &tuned, "--gallery", &gallery, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let (top1, top5) = (&report["classification"]["top1"], &report["classification"]["top5"]);
    assert!(top5.as_f64() >= top1.as_f64() && top1.as_f64() > Some(0.15), "{report}");
    assert_eq!(report["retrieval"]["evaluated"], 200);
    // Without itself, an image's nearest is of its class less often.
    let precision =
        |report: &serde_json::Value| report["retrieval"]["precision"][0]["precision"].as_f64();
    let eval = ["eval", &photos, "--model", &tuned, "--gallery", &gallery, "-k", "1", "--json"];
    let with_self: serde_json::Value = serde_json::from_str(&ok(&eval)).unwrap();
    let others = ok(&[&eval[..], &["--exclude-self"]].concat());
    let others: serde_json::Value = serde_json::from_str(&others).unwrap();
    assert_eq!(precision(&with_self), Some(1.0));
    assert!(precision(&others) < Some(1.0) && precision(&others) > Some(0.2), "{others}");

    let probe = ok(&["probe", &photos, &photos, "--model", &run, "-k", "1", "--json"]);
    let probe: serde_json::Value = serde_json::from_str(&probe).unwrap();
    assert_eq!(probe.as_array().unwrap().len(), 3);
    // Every image is its own nearest neighbour among the training images.
    assert!(probe[0]["accuracy"]["knn"].as_f64() > Some(0.98), "{probe}");

    let features = at(&dir, "features.safetensors");
    ok(&["extract", &photos, "--model", &run, "--layer", "L1", "--out", &features]);
    let bytes = std::fs::read(&features).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    assert_eq!(header["vectors"]["shape"], serde_json::json!([200, 6 * 6 * 8]));
    assert_eq!(std::fs::read_to_string(at(&dir, "features.csv")).unwrap().lines().count(), 201);

    // What these files give is the library's tests to say.
    let (onnx, layer) = (at(&dir, "tuned.onnx"), at(&dir, "layer.onnx"));
    let export = ["export", &tuned, "--out", &onnx];
    let written = ok(&[&export[..], &["--json"]].concat());
    let written: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written["outputs"], serde_json::json!(["features", "scores"]));
    ok(&["export", &run, "--layer", "L2-pool2-unit", "--out", &layer]);
    let bytes = |path: &str| std::fs::read(path).unwrap().len();
    assert!(bytes(&layer) > 0 && bytes(&layer) < bytes(&onnx));
    fails(&export, 1, &["tuned.onnx", "--overwrite"]);
    ok(&[&export[..], &["--overwrite"]].concat());
    fails(&["export", &run, "--layer", "L9", "--out", &at(&dir, "x.onnx")], 2, &["L9", "L1 to L3"]);
    fails(&["export", &photos, "--out", &at(&dir, "x.onnx")], 1, &["model.toml"]);
    assert!(!std::fs::exists(at(&dir, "x.onnx")).unwrap());
}

#[test]
fn labels_in_a_table_beside_an_unlabelled_pile() {
    let dir = scratch(8);
    // One flat folder, and labels for a part of it.
    let pile = dir.path().join("pile");
    std::fs::create_dir(&pile).unwrap();
    let mut table = String::from("path,label\n");
    for class in std::fs::read_dir(at(&dir, "photos")).unwrap() {
        let class = class.unwrap().path();
        let label = class.file_name().unwrap().to_str().unwrap().to_owned();
        for (i, file) in std::fs::read_dir(&class).unwrap().enumerate() {
            let name = format!("{label}-{i}.png").replace(['/', ' '], "_");
            std::fs::copy(file.unwrap().path(), pile.join(&name)).unwrap();
            if i < 3 {
                table += &format!("{name},{label}\n");
            }
        }
    }
    let csv = dir.path().join("labels.csv");
    std::fs::write(&csv, table).unwrap();
    let (pile, csv) = (pile.to_str().unwrap(), csv.to_str().unwrap());
    let (network, run, tuned) = (at(&dir, "small.toml"), at(&dir, "run"), at(&dir, "tuned"));
    let quick = ["--set", "pretrain.epochs=1", "--set", "rule.name=soft-wta"];
    ok(&[&["pretrain", pile, "--network", &network, "--out", &run], &quick[..]].concat());
    let tuned_out =
        ok(&["finetune", pile, "--labels", csv, "--model", &run, "--out", &tuned, "--json"]);
    let tuned_out: serde_json::Value = serde_json::from_str(&tuned_out).unwrap();
    assert_eq!((&tuned_out["labels"], &tuned_out["classes"]), (&30.into(), &10.into()));
    fails(&["finetune", pile, "--model", &run, "--out", &at(&dir, "x")], 1, &["label"]);
}

#[test]
fn every_rule_pretrains_and_a_tanh_model_is_tuned() {
    let dir = scratch(4);
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    for rule in hebbian::rules::RULES {
        let run = at(&dir, rule.name);
        let arguments = ["pretrain", &photos, "--network", &network, "--out", &run];
        let rule = ["--rule", rule.name, "--epochs", "1"];
        let written: serde_json::Value =
            serde_json::from_str(&ok(&[&arguments[..], &rule, &["--json"]].concat())).unwrap();
        assert_eq!((&written["rule"], &written["images"]), (&rule[1].into(), &40.into()));
    }
    let (model, tuned) = (at(&dir, "hica"), at(&dir, "tuned"));
    let quick = ["--set", "finetune.epochs=2"];
    ok(&[&["finetune", &photos, "--model", &model, "--out", &tuned], &quick[..]].concat());
    let predicted = ok(&["predict", &photos, "--model", &tuned]);
    assert_eq!(predicted.lines().count(), 41, "a header and 40 images");
    // What each rule is, the help says.
    let help = ok(&["pretrain", "--help"]);
    for rule in hebbian::rules::RULES {
        assert!(help.contains(&format!("{}: ", rule.name)), "{help}");
    }
}

#[test]
fn codes_of_a_hidden_layer_are_searched_and_measured() {
    let dir = scratch(20);
    let (photos, run, tuned) = (at(&dir, "photos"), at(&dir, "run"), at(&dir, "tuned"));
    let network = at(&dir, "small.toml");
    ok(&["pretrain", &photos, "--network", &network, "--out", &run]);
    let rates = ["--set", "finetune.lr=0.01", "--set", "finetune.batch=25"];
    let tune = ["finetune", &photos, "--model", &run, "--out", &tuned, "--hidden", "32", "--json"];
    let found = ok(&[&tune[..], &rates].concat());
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["classifier"], serde_json::json!({ "hidden": 32 }));

    let eval = |layer: &str| {
        let gallery = at(&dir, &format!("gallery-{layer}"));
        let index = ["index", &photos, "--model", &tuned, "--layer", layer, "--out", &gallery];
        let made = ok(&[&index[..], &["--json"]].concat());
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        assert_eq!(made["layer"], layer);
        let eval = ["eval", &photos, "--model", &tuned, "--gallery", &gallery, "--exclude-self"];
        let report = ok(&[&eval[..], &["-k", "5", "--json"]].concat());
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        (report, made["dim"].as_u64(), gallery)
    };
    let (pixels, dim, _) = eval("pixels");
    assert_eq!(dim, Some(14 * 14 * 3));
    assert!(pixels["retrieval"]["expected_over_ties"]["tied"].as_f64() < Some(0.2), "{pixels}");
    let (real, dim, _) = eval("code");
    assert_eq!(dim, Some(32));
    let (binary, dim, gallery) = eval("code-binary");
    assert_eq!(dim, Some(32));
    // Tuned with all labels, codes find their own class better than pixels do.
    let map = |report: &serde_json::Value| {
        let all = report["retrieval"]["mean_average_precision"].as_array().unwrap();
        all.last().unwrap()["relevant"].as_f64().unwrap()
    };
    assert!(map(&real) > map(&pixels) && map(&binary) > map(&pixels), "{real} {binary} {pixels}");
    // 33 distances for 199 images: nearly all are tied, and by chance the mean
    // is about what the order of the gallery gives.
    let ties = &binary["retrieval"]["expected_over_ties"];
    assert!(ties["tied"].as_f64() > Some(0.9), "{ties}");
    let expected = ties["mean_average_precision"][1]["relevant"].as_f64().unwrap();
    assert!((expected - map(&binary)).abs() < 0.1 && expected > map(&pixels), "{ties}");
    let printed = ok(&["eval", &photos, "--model", &tuned, "--gallery", &gallery]);
    assert!(printed.contains("are tied") && printed.contains("McSherry"), "{printed}");

    // Through the Nystroem map of all 200 codes nothing gets lost.
    let eval = ["eval", &photos, "--model", &tuned, "--gallery", &at(&dir, "gallery-code")];
    let more = ["--exclude-self", "--nystroem", "200", "-k", "5", "--json"];
    let mapped = ok(&[&eval[..], &more].concat());
    let mapped: serde_json::Value = serde_json::from_str(&mapped).unwrap();
    assert_eq!(mapped["nystroem"], 200);
    assert!(map(&mapped) > map(&pixels), "{mapped}");
    fails(&[&eval[..], &["--nystroem", "0"]].concat(), 2, &["--nystroem", "0"]);

    // Distances between binary codes are square roots of whole numbers.
    let classes: Vec<_> = std::fs::read_dir(&photos).unwrap().map(|e| e.unwrap().path()).collect();
    let image = classes[2].join("003.png");
    let found = ok(&["search", &gallery, image.to_str().unwrap(), "-k", "30", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    for hit in found[0]["hits"].as_array().unwrap() {
        let squared = hit["distance"].as_f64().unwrap().powi(2);
        assert!((squared - squared.round()).abs() < 1e-4, "{hit}");
    }
}

#[test]
fn frozen_features_are_judged_by_every_classifier() {
    let dir = scratch(20);
    let (photos, run, network) = (at(&dir, "photos"), at(&dir, "run"), at(&dir, "small.toml"));
    // Random weights that stay so, the baseline: the rate is 0.
    ok(&["pretrain", &photos, "--network", &network, "--out", &run, "--set", "pretrain.lr=0"]);
    let all = "linear,two-layer,knn,svm,nearest-mean,hebbian";
    let probe = ["probe", &photos, &photos, "--model", &run, "--classifier", all, "-k", "3"];
    let probe = [&probe[..], &["--hebbian-lr", "0.1"]].concat();
    let layers = ["--layer", "pixels,L3", "--set", "finetune.lr=0.01"];
    let found = ok(&[&probe[..], &layers, &["--json"]].concat());
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let rows = found.as_array().unwrap();
    assert_eq!(
        (rows.len(), &rows[0]["layer"], &rows[1]["layer"]),
        (2, &"pixels".into(), &"L3".into())
    );
    assert_eq!((&rows[0]["features"], &rows[0]["labels"]), (&588.into(), &200.into()));
    for row in rows {
        // Judged on what they were trained on, far above one in ten.
        for name in all.split(',') {
            let accuracy = row["accuracy"][name].as_f64();
            assert!(accuracy > Some(0.4) && accuracy <= Some(1.0), "{name}: {row}");
        }
        assert!(row["accuracy"]["svm"].as_f64() > Some(0.9), "{row}");
    }
    let mapped = ok(&[&probe[..], &["--layer", "L3", "--nystroem", "50", "--json"]].concat());
    let mapped: serde_json::Value = serde_json::from_str(&mapped).unwrap();
    assert_eq!(mapped[0]["features"], 50, "{mapped}");
    assert!(mapped[0]["accuracy"]["knn"].as_f64() > Some(0.4), "{mapped}");
    let table = ok(&[&probe[..], &layers].concat());
    assert!(table.contains("3-NN") && table.contains("nearest-mean"), "{table}");

    fails(&[&probe[..], &["--layer", "L4"]].concat(), 2, &["L4", "pixels", "L1 to L3"]);
    fails(&[&probe[..], &["--svm-c", "0"]].concat(), 2, &["svm", "0"]);
    let slow = ["probe", &photos, &photos, "--model", &run, "--hebbian-lr", "0"];
    fails(&slow, 2, &["--hebbian-lr", "is 0"]);
    let index = ["index", &photos, "--model", &run, "--out", &at(&dir, "g"), "--layer", "code"];
    fails(&index, 2, &["code", "finetune.classifier.hidden"]);
    let tune = ["finetune", &photos, "--model", &run, "--out", &at(&dir, "t"), "--hidden", "0"];
    fails(&tune, 2, &["finetune.classifier.hidden", "1 to 65536"]);
}

#[test]
fn an_experiment_ranks_codes() {
    const THREE: &str = r#"["code", "L1", "code-binary"]"#;
    let dir = scratch(12);
    let network = at(&dir, "small.toml");
    let file = at(&dir, "codes.toml");
    let text = format!(
        r#"
name = "codes"
data = {{ name = "sample", train = "photos", test = "photos" }}
split = {{ train = 100, validation = 20, seed = 1, stratified = true }}
grid = {{ layers = ["L2"], seeds = [0], regimes = [{{ fraction = 0.5 }}] }}
finetune = {{ epochs = 2, classifier = {{ hidden = 16 }} }}
retrieval = {{ layers = ["L2"], features = {THREE}, ks = [10] }}
[[method]]
name = "no pre-training"
pretrain = "none"
network = '{network}'
"#
    );
    std::fs::write(&file, &text).unwrap();
    let data = dir.path().to_str().unwrap();
    let cell = |name: &str| -> serde_json::Value {
        let (out, results) = (at(&dir, name), at(&dir, &format!("{name}.jsonl")));
        let run = ["experiment", "run", &file, "--data", data, "--out", &out];
        ok(&[&run[..], &["--results", &results]].concat());
        let line = std::fs::read_to_string(&results).unwrap();
        serde_json::from_str(line.lines().next().unwrap()).unwrap()
    };
    let cell_of_three = cell("three");
    for (report, features) in [(0, "code"), (1, "L1"), (2, "code-binary")] {
        let report = &cell_of_three["retrieval"][report];
        assert_eq!((&report["gallery"], &report["features"]), (&100.into(), &features.into()));
    }
    // Features of one depth are computed together; each ranks as it does alone.
    for (report, features) in [(1, "L1"), (2, "code-binary")] {
        std::fs::write(&file, text.replace(THREE, &format!("[\"{features}\"]"))).unwrap();
        let alone = cell(features);
        assert_eq!(alone["retrieval"][0], cell_of_three["retrieval"][report]);
    }
    assert_eq!(cell_of_three["config"]["finetune"]["classifier"]["hidden"], 16, "{cell_of_three}");
    // Without a hidden layer there is no code, which is said before anything is computed.
    std::fs::write(&file, text.replace(", classifier = { hidden = 16 }", "")).unwrap();
    let fresh = at(&dir, "fresh");
    let run = ["experiment", "run", &file, "--data", data, "--out", &fresh];
    fails(&run, 2, &["codes.toml", "retrieval.features", "hidden layer"]);
    assert!(!std::path::Path::new(&fresh).exists());
}

/// The small network as the published baselines have it.
fn baseline(dir: &tempfile::TempDir) -> String {
    let text = common::SMALL.replace("\"relative\"", "\"batch\"").replace(" }", ", bias = true }");
    let path = at(dir, "baseline.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_vae_baseline_from_photos_to_labels() {
    let dir = scratch(12);
    let (photos, network, run) = (at(&dir, "photos"), baseline(&dir), at(&dir, "vae"));
    let vae = ["pretrain", &photos, "--method", "vae", "--network", &network, "--out", &run];
    let quick = ["--epochs", "2", "--set", "vae.batch=32", "--set", "vae.latent=8", "--json"];
    let held_out = ["--validation", &photos];
    let found = ok(&[&vae[..], &quick, &held_out].concat());
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!((&found["method"], &found["rule"]), (&"vae".into(), &serde_json::Value::Null));
    assert_eq!(found["images"], 120);
    let metrics = std::fs::read_to_string(format!("{run}/metrics.jsonl")).unwrap();
    let metrics: Vec<serde_json::Value> =
        metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(metrics.len(), 2);
    for key in ["loss", "reconstruction", "divergence", "validation_loss"] {
        assert!(metrics.iter().all(|line| line[key].as_f64() > Some(0.0)), "{key}: {metrics:?}");
    }
    let model = std::fs::read_to_string(format!("{run}/model/model.toml")).unwrap();
    assert!(model.contains("pretraining = \"vae\"") && !model.contains("[rule]"), "{model}");
    assert!(model.contains("bias = true"), "{model}");
    // Nothing of the decoder is left in the model: three layers.
    let tensors = std::fs::read(format!("{run}/model/model.safetensors")).unwrap();
    assert!(!String::from_utf8_lossy(&tensors[..2000]).contains("vae."));
    // The same settings again change nothing; the folder is that of a run.
    ok(&[&vae[..], &quick, &held_out, &["--resume"]].concat());

    let tuned = at(&dir, "tuned");
    ok(&["finetune", &photos, "--model", &run, "--out", &tuned, "--set", "finetune.epochs=2"]);
    let csv = ok(&["predict", &photos, "--model", &tuned]);
    assert_eq!(csv.lines().count(), 121);
    let probe = ok(&["probe", &photos, &photos, "--model", &run, "-k", "1", "--json"]);
    let probe: serde_json::Value = serde_json::from_str(&probe).unwrap();
    assert!(probe[0]["accuracy"]["knn"].as_f64() > Some(0.9), "{probe}");
}

#[test]
fn principal_components_from_photos_to_labels() {
    let dir = scratch(12);
    let (photos, network, run) = (at(&dir, "photos"), at(&dir, "small.toml"), at(&dir, "pca"));
    let pca = ["pretrain", &photos, "--network", &network, "--out", &run];
    let found = ok(&[&pca[..], &["--json"]].concat());
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!((&found["method"], &found["rule"]), (&"pca".into(), &serde_json::Value::Null));
    assert_eq!((&found["images"], &found["epochs"]), (&120.into(), &1.into()));
    let model = std::fs::read_to_string(format!("{run}/model/model.toml")).unwrap();
    assert!(model.contains("pretraining = \"pca\"") && !model.contains("[rule]"), "{model}");
    // A layer a line, and what its filters explain.
    let metrics = std::fs::read_to_string(format!("{run}/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 3, "{metrics}");
    ok(&[&pca[..], &["--resume"]].concat());
    // As good as any: the same classes by the nearest image.
    let probe = ok(&["probe", &photos, &photos, "--model", &run, "-k", "1", "--json"]);
    let probe: serde_json::Value = serde_json::from_str(&probe).unwrap();
    assert!(probe[0]["accuracy"]["knn"].as_f64() > Some(0.9), "{probe}");
    let tuned = at(&dir, "tuned");
    ok(&["finetune", &photos, "--model", &run, "--out", &tuned, "--set", "finetune.epochs=2"]);
    let csv = ok(&["predict", &photos, "--model", &tuned]);
    assert_eq!(csv.lines().count(), 121);
}

#[test]
fn a_network_trained_by_labels_alone() {
    let dir = scratch(6);
    let (photos, network, tuned) = (at(&dir, "photos"), baseline(&dir), at(&dir, "tuned"));
    let from_scratch = ["finetune", &photos, "--network", &network, "--out", &tuned];
    ok(&[&from_scratch[..], &["--set", "finetune.epochs=3"]].concat());
    let model = std::fs::read_to_string(format!("{tuned}/model/model.toml")).unwrap();
    assert!(model.contains("pretraining = \"none\"") && !model.contains("[rule]"), "{model}");
    assert_eq!(ok(&["predict", &photos, "--model", &tuned]).lines().count(), 61);
    // A network from a model and one from a file at once.
    let both = ["finetune", &photos, "--network", &network, "--model", &tuned, "--out", "x"];
    fails(&both, 2, &["--network", "--model"]);
}
