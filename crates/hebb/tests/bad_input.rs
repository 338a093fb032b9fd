//! What goes wrong is said in one sentence, with the right exit code.

mod common;

use std::fs;

use common::{at, fails, hebb, ok, scratch, stderr};

#[test]
fn usage_errors_exit_with_2() {
    let dir = scratch(2);
    let (photos, out, network) = (at(&dir, "photos"), at(&dir, "out"), at(&dir, "small.toml"));
    let pretrain = |more: &[&'static str]| {
        let base = ["pretrain", photos.as_str(), "--out", out.as_str()];
        [&base[..], more].concat().iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()
    };
    let cases: &[(&[&'static str], &[&str])] = &[
        (&["--rule", "hcpa"], &["hcpa", "soft-wta"]),
        (&["--set", "pretrain.epocs=1"], &["epocs"]),
        (&["--set", "pretrain.lr=-1"], &["pretrain.lr", "-1"]),
        (&["--set", "pretrain.lr=[1e-3]"], &["pretrain.lr", "5 layers"]),
        (&["--set", "pretrain.batch=0"], &["pretrain.batch"]),
        (&["--rule", "soft-wta", "--set", "rule.temperature=0"], &["rule.temperature"]),
        (&["--network", "resnet"], &["resnet", "cifar-6"]),
        (&["--size", "12"], &["L3", "kernel 3"]),
        (&["--device", "cuda"], &["cuda", "cpu"]),
    ];
    for (more, words) in cases {
        let arguments = pretrain(more);
        fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 2, words);
        assert!(!fs::exists(&out).unwrap(), "{more:?} left {out} behind");
    }
    // A network file is named with its line.
    fs::write(&network, common::SMALL.replace("filters = 12", "filter = 12")).unwrap();
    fails(&["pretrain", &photos, "--network", &network, "--out", &out], 1, &["small.toml", "line 4", "filter"]);
    assert_eq!(hebb(&["pretrain"]).status.code(), Some(2));
}

#[test]
fn data_that_cannot_be_used_exits_with_1() {
    let dir = scratch(2);
    let (network, out) = (at(&dir, "small.toml"), at(&dir, "out"));
    let pretrain = |data: &str, words: &[&str]| {
        fails(&["pretrain", data, "--network", &network, "--out", &out], 1, words);
        assert!(!fs::exists(&out).unwrap(), "{data} left {out} behind");
    };
    pretrain(&at(&dir, "nowhere"), &["nowhere"]);
    fs::create_dir(at(&dir, "empty")).unwrap();
    pretrain(&at(&dir, "empty"), &["empty"]);
    fs::write(at(&dir, "cut.tar"), [0x42; 700]).unwrap();
    pretrain(&at(&dir, "cut.tar"), &["cut.tar"]);

    // One class is nothing to tell apart.
    let one = dir.path().join("one");
    fs::create_dir(&one).unwrap();
    fs::rename(first_class(&at(&dir, "photos")), one.join("only")).unwrap();
    let one = one.to_str().unwrap();
    fails(&["finetune", one, "--set", "network=cifar-6", "--out", &out], 1, &["one class"]);
}

fn first_class(photos: &str) -> std::path::PathBuf {
    fs::read_dir(photos).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn unreadable_images_are_skipped_counted_and_named() {
    let dir = scratch(4);
    let (photos, network, run) = (at(&dir, "photos"), at(&dir, "small.toml"), at(&dir, "run"));
    let class = first_class(&photos);
    let good = fs::read(class.join("000.png")).unwrap();
    fs::write(class.join("cut.png"), &good[..good.len() / 2]).unwrap();
    fs::write(class.join("text.jpg"), "not an image").unwrap();
    // A bomb: a PNG header that promises 60,000 x 60,000 pixels.
    let mut bomb = good.clone();
    bomb[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    fs::write(class.join("bomb.png"), &bomb).unwrap();
    let output = hebb(&["pretrain", &photos, "--network", &network, "--out", &run]);
    let talk = stderr(&output);
    assert!(output.status.success(), "{talk}");
    assert!(talk.contains("3 images could not be read"), "{talk}");
    assert!(talk.contains("cut.png") && talk.contains("text.jpg") && talk.contains("bomb.png"), "{talk}");
    let described = ok(&["data", "describe", &photos, "--json"]);
    let described: serde_json::Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["unreadable"].as_array().unwrap().len(), 3);
}

#[test]
fn tampered_models_and_galleries_are_refused() {
    let dir = scratch(3);
    let (photos, network, run) = (at(&dir, "photos"), at(&dir, "small.toml"), at(&dir, "run"));
    let gallery = at(&dir, "gallery");
    ok(&["pretrain", &photos, "--network", &network, "--out", &run]);
    ok(&["index", &photos, "--model", &run, "--out", &gallery]);
    let image = first_class(&photos).join("000.png");
    let image = image.to_str().unwrap();
    let try_with = |file: &str, change: &dyn Fn(&mut Vec<u8>), words: &[&str]| {
        let whole = fs::read(file).unwrap();
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(file, &bytes).unwrap();
        fails(&["search", &gallery, image], 1, words);
        fs::write(file, &whole).unwrap();
    };
    let half = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let model = format!("{run}/model/model.safetensors");
    try_with(&model, &half, &["model.safetensors"]);
    try_with(&model, &|b| b.clear(), &["model.safetensors"]);
    try_with(&model, &|b| b[..8].fill(0xff), &["model.safetensors"]);
    // Other numbers make another model, which the gallery does not know.
    let last = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    try_with(&model, &last, &["model"]);
    try_with(&format!("{run}/model/model.toml"), &half, &["model.toml"]);
    try_with(&format!("{gallery}/gallery.toml"), &half, &["gallery.toml"]);
    try_with(&format!("{gallery}/vectors.safetensors"), &half, &["vectors.safetensors"]);
    try_with(&format!("{gallery}/items.parquet"), &half, &["items.parquet"]);
    ok(&["search", &gallery, image]);
}

#[test]
fn an_unwritable_folder_is_named() {
    let dir = scratch(2);
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    // A file where a folder must go: refused for root too.
    let out = at(&dir, "small.toml/run");
    fails(&["pretrain", &photos, "--network", &network, "--out", &out], 1, &["small.toml/run"]);
    // A full disk.
    if fs::metadata("/dev/full").is_ok() {
        let full = "/dev/full";
        let run = at(&dir, "run");
        ok(&["pretrain", &photos, "--network", &network, "--out", &run]);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_hebb"))
            .args(["search", "--help"])
            .stdout(fs::OpenOptions::new().write(true).open(full).unwrap())
            .output()
            .unwrap();
        assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    }
}
