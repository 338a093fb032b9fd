//! A whole small grid: killed and resumed, in two processes, reported.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../common/mod.rs"]
mod common;
mod grid;
mod tables;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::{at, class_folders, fails, hebb, scratch};
use tempfile::TempDir;

const EXPERIMENT: &str = r#"
name = "tiny"
title = "A tiny grid"
reference = "Nobody, Table 0."
baseline = "none"

[data]
name = "Fashion-MNIST sample"
train = "photos"
test = "test"

[split]
train = 150
seed = 200

[[method]]
name = "none"
pretrain = "none"
network = "small.toml"

[[method]]
name = "HPCA"
pretrain = "hpca"
network = "small.toml"
settings = { epochs = 2, batch = 16 }

[grid]
layers = ["L1", "L3"]
seeds = [0, 1]
regimes = [{ fraction = 0.4 }, { fraction = 1.0, seeds = 1 }]

[finetune]
epochs = 3
batch = 16

[retrieval]
layers = ["L3"]
fractions = [0.4, 1.0]
ks = [1, 5]
features = ["L3", "L1"]

[convergence]
fraction = 0.5

[[paper]]
method = "HPCA"
fraction = 0.4
accuracy = { L1 = 37.01, L3 = 41.88 }
"#;
/// Two methods and layers, two seeds and one.
const CELLS: usize = 2 * 2 * (2 + 1);

/// Photos, a network, the experiment file.
fn lab() -> TempDir {
    let dir = scratch(20);
    class_folders(&dir.path().join("test"), 6);
    fs::write(dir.path().join("tiny.toml"), EXPERIMENT).unwrap();
    dir
}

fn run<'a>(file: &'a str, data: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["experiment", "run", file, "--data", data, "--out", out], more].concat()
}

/// The results without what depends on the clock and the machine's memory.
fn results(out: &str) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(format!("{out}/tiny.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        for clock in ["seconds", "retrieval_seconds", "peak_memory_mib", "finished"] {
            fields.remove(clock);
        }
        line
    });
    lines.collect()
}

fn names(folder: &str) -> BTreeSet<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string());
    names.map(Result::unwrap).collect()
}

#[test]
fn mistakes_are_named() {
    let dir = lab();
    let (file, data, out) = (at(&dir, "tiny.toml"), dir.path().to_str().unwrap(), at(&dir, "out"));
    let with = |from: &str, to: &str, code, words: &[&str]| {
        assert!(EXPERIMENT.contains(from));
        fs::write(&file, EXPERIMENT.replace(from, to)).unwrap();
        fails(&run(&file, data, &out, &[]), code, words);
        assert!(!Path::new(&out).exists(), "{to} left {out} behind");
    };
    with("epochs = 2,", "epocs = 2,", 2, &["tiny.toml", "line 25", "epocs"]);
    with("[\"L1\", \"L3\"]", "[\"L1\", \"L4\"]", 2, &["line 28", "L4", "L1 to L3"]);
    with("\"hpca\"", "\"hcpa\"", 2, &["line 23", "hcpa", "soft-wta"]);
    with("\"photos\"", "\"nowhere\"", 1, &["nowhere"]);
    with("train = 150", "train = 900", 1, &["split.train", "900", "200"]);
    fs::write(&file, EXPERIMENT).unwrap();
    fails(&run(&file, data, &out, &["--only", "hpca"]), 2, &["--only", "hpca", "none, HPCA"]);
    assert_eq!(hebb(&run(&file, data, &out, &["--shard", "3/2"])).status.code(), Some(2));
    fails(&["experiment", "report", data], 2, &["no experiment"]);
    for name in ["a", "b"] {
        fs::write(at(&dir, &format!("{name}.toml")), "").unwrap();
        fs::write(at(&dir, &format!("{name}.jsonl")), "").unwrap();
    }
    fails(&["experiment", "report", data], 2, &["several experiments", "a.toml", "b.toml"]);
    fails(&["experiment", "report", &file], 2, &["tiny.jsonl", "--results"]);
    let bad = at(&dir, "bad.jsonl");
    fs::write(&bad, "{}\n").unwrap();
    fails(&["experiment", "report", &file, "--results", &bad], 1, &["bad.jsonl", "line 1"]);
}
