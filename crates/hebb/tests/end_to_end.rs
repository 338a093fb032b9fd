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
    assert!(probe[0]["nearest_neighbours"].as_f64() > Some(0.98), "{probe}");

    let features = at(&dir, "features.safetensors");
    ok(&["extract", &photos, "--model", &run, "--layer", "L1", "--out", &features]);
    let bytes = std::fs::read(&features).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    assert_eq!(header["vectors"]["shape"], serde_json::json!([200, 6 * 6 * 8]));
    assert_eq!(std::fs::read_to_string(at(&dir, "features.csv")).unwrap().lines().count(), 201);
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
