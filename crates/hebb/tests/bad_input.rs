//! What goes wrong is said in one sentence, with the right exit code.
#![allow(clippy::unwrap_used, reason = "a test")]

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
        (&["--network", "cifar-6-backprop"], &["cifar-6-backprop", "L1", "bias", "VAE"]),
        (&["--method", "vae", "--rule", "hpca"], &["--rule", "VAE"]),
        (&["--method", "vae", "--set", "rule.name=hpca"], &["rule.name", "VAE"]),
        (&["--method", "vae", "--set", "pretrain.epochs=1"], &["pretrain.epochs", "vae.epochs"]),
        (&["--method", "vae", "--set", "vae.latent=0"], &["vae.latent", "0"]),
        (&["--method", "vae", "--set", "vae.betta=1"], &["betta"]),
        (&["--set", "vae.beta=1"], &["vae.beta", "--method vae"]),
        (&["--validation", "x"], &["--validation", "--method vae"]),
        (&["--method", "gan"], &["gan", "--method"]),
        (&["--method", "pca", "--epochs", "2"], &["--epochs", "epochs nor", "--method hebbian"]),
        (&["--method", "pca", "--rule", "hpca"], &["--rule", "by a rule"]),
        (&["--method", "pca", "--set", "vae.beta=1"], &["vae.beta", "--method vae"]),
        (&["--method", "pca", "--set", "pca.patches=0"], &["pca.patches", "0"]),
        (&["--method", "pca", "--set", "pca.patch=1"], &["patch"]),
        (&["--method", "pca", "--network", "cifar-6-backprop"], &["L1", "bias"]),
        (&["--method", "vae", "--set", "pca.images=1"], &["pca.images", "--method pca"]),
        (&["--epochs", "2", "--set", "pca.images=1"], &["pca.images", "--method pca"]),
        (&["--rule", "hpca", "--set", "vae.beta=1"], &["vae.beta", "--method vae"]),
    ];
    for (more, words) in cases {
        let arguments = pretrain(more);
        fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 2, words);
        assert!(!fs::exists(&out).unwrap(), "{more:?} left {out} behind");
    }
    // A network file is named with its line.
    fs::write(&network, common::SMALL.replace("filters = 12", "filter = 12")).unwrap();
    fails(
        &["pretrain", &photos, "--network", &network, "--out", &out],
        1,
        &["small.toml", "line 6", "filter"],
    );
    // Hebbian rules learn no bias.
    fs::write(&network, common::SMALL.replace("filters = 12", "bias = true, filters = 12"))
        .unwrap();
    let biased = ["pretrain", &photos, "--network", &network, "--out", &out];
    fails(&biased, 2, &["network small", "L2", "bias"]);
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
    let photos = at(&dir, "photos");
    let class = first_class(&photos);
    let name = class.file_name().unwrap().to_str().unwrap();
    let csv = at(&dir, "one.csv");
    fs::write(&csv, format!("{name}/000.png,only\n{name}/001.png,only\n")).unwrap();
    let finetune = ["finetune", &photos, "--labels", &csv, "--out", &out];
    fails(&finetune, 1, &["one class"]);
    assert!(!fs::exists(&out).unwrap());
    // A table that names an image that is not there.
    fs::write(&csv, format!("{name}/000.png,a\nnowhere.png,b\n")).unwrap();
    fails(&finetune, 1, &["one.csv", "line 2", "nowhere.png"]);
    // No label at all.
    fails(&["finetune", class.to_str().unwrap(), "--out", &out], 1, &["label", "--labels"]);
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
    assert!(
        talk.contains("cut.png") && talk.contains("text.jpg") && talk.contains("bomb.png"),
        "{talk}"
    );
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
    try_with(
        &format!("{gallery}/segments/00000001/vectors.safetensors"),
        &half,
        &["vectors.safetensors"],
    );
    try_with(&format!("{gallery}/segments/00000001/items.parquet"), &half, &["items.parquet"]);
    ok(&["search", &gallery, image]);
}

#[test]
fn an_unwritable_folder_is_named() {
    let dir = scratch(2);
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    // A file where a folder must go: refused for root too.
    let out = at(&dir, "small.toml/run");
    fails(&["pretrain", &photos, "--network", &network, "--out", &out], 1, &["small.toml/run"]);
}

/// A scratch file system of 1 MiB, unmounted in the end; `None` where this
/// may not be done.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_ends_a_run_and_loses_nothing() {
    let Some(disk) = SmallDisk::new() else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let dir = scratch(4);
    let (photos, network, run) = (at(&dir, "photos"), at(&dir, "small.toml"), at(&disk.0, "run"));
    // About 190 kB a checkpoint, two of which are kept: three fit, and then
    // something else takes the room.
    let pretrain = ["pretrain", &photos, "--network", &network, "--out", &run];
    ok(&pretrain);
    let before = fs::read(format!("{run}/model/model.safetensors")).unwrap();
    let filler = at(&disk.0, "filler");
    let _ = fs::write(&filler, vec![1u8; 1 << 20]);
    let gallery = at(&disk.0, "gallery");
    fails(&["index", &photos, "--model", &run, "--out", &gallery], 1, &["space"]);
    assert!(!fs::exists(&gallery).unwrap());
    fails(
        &["extract", &photos, "--model", &run, "--out", &at(&disk.0, "f.safetensors")],
        1,
        &["space"],
    );
    let longer = [&pretrain[..], &["--overwrite"]].concat();
    let output = hebb(&longer);
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    if output.status.success() {
        assert_eq!(fs::read(format!("{run}/model/model.safetensors")).unwrap(), before);
    }
    fs::remove_file(&filler).unwrap();
    ok(&longer);
    assert_eq!(fs::read(format!("{run}/model/model.safetensors")).unwrap(), before);
}

#[test]
fn standard_output_that_is_full_or_gone_is_no_panic() {
    let dir = scratch(2);
    let photos = at(&dir, "photos");
    let run = |stdout: std::process::Stdio| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hebb"));
        command.args(["data", "describe", &photos]).stdout(stdout).output().unwrap()
    };
    if let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") {
        let output = run(full.into());
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("error:"), "{}", stderr(&output));
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = run(writer.into());
    assert!(output.status.success(), "{}", stderr(&output));
}
