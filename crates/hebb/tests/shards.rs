//! The commands on tar shards, as on any data set.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::Path;

use common::{at, fails, hebb, ok, run_with_kills, same_end, scratch, shards, stderr, stdout};
use hebbian_data::{Dataset, seed};

#[test]
fn what_can_not_be_packed_is_refused() {
    let dir = scratch(2);
    let (photos, folder) = (at(&dir, "photos"), at(&dir, "shards"));
    fails(&["data", "pack", &photos, "--out", &photos], 1, &["photos", "exists already"]);
    let pack = ["data", "pack", &photos, "--out", &folder];
    fails(&[&pack[..], &["--images", "0"]].concat(), 2, &["--images", "zero"]);
    // One that is no image is left out and named, and the names of classes come along.
    let class = std::fs::read_dir(&photos).unwrap().next().unwrap().unwrap().path();
    std::fs::write(class.join("broken.png"), b"no image").unwrap();
    let output = hebb(&pack);
    assert!(output.status.success());
    let pattern = stdout(&output).trim().to_owned();
    assert_eq!(pattern, format!("{folder}/000000.tar"));
    let said = stderr(&output);
    assert!(said.contains("20 images in 1 shards") && said.contains("broken.png"), "{said}");
    let (before, after) =
        (Dataset::open(Path::new(&photos)).unwrap(), Dataset::open(Path::new(&pattern)).unwrap());
    assert_eq!(before.classes(), after.classes());
    let contents = |data: &Dataset| {
        let row = |row| (data.images().encoded(row).unwrap().into_owned(), data.label(row));
        let mut rows: Vec<_> = (0..data.len()).map(row).collect();
        rows.retain(|(content, _)| content != b"no image");
        rows.sort();
        rows
    };
    assert_eq!(contents(&before), contents(&after));
    std::fs::write(Path::new(&folder).join("classes.txt"), "one\n").unwrap();
    fails(&["data", "describe", &pattern], 1, &["000000.tar", "names 1 classes"]);
}

#[test]
fn every_command_takes_shards_and_a_killed_run_ends_the_same() {
    let dir = scratch(30);
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    let data = shards(&photos, &at(&dir, "shards"));
    let described: serde_json::Value =
        serde_json::from_str(&ok(&["data", "describe", &data, "--json"])).unwrap();
    assert_eq!(described["kind"], "tar-shards");
    assert_eq!([&described["images"], &described["labelled"]], [304, 300]);
    assert_eq!(described["unreadable"].as_array().unwrap().len(), 4);

    let base = ["pretrain", &data, "--network", &network, "--set", "pretrain.batch=16"];
    let base = [&base[..], &["--epochs", "3"]].concat();
    let (unbroken, killed) = (at(&dir, "a"), at(&dir, "b"));
    ok(&[&base[..], &["--out", &unbroken]].concat());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    println!("seed {now}");
    let mut rng = seed::stream(u64::from(now), "kills");
    let often = ["--out", &killed, "--resume", "--checkpoint-every", "0"];
    let kills = run_with_kills(&[&base[..], &often].concat(), &mut rng);
    println!("killed {kills} times");
    same_end(&unbroken, &killed);

    let tuned = at(&dir, "tuned");
    ok(&["finetune", &data, "--model", &unbroken, "--out", &tuned]);
    let gallery = at(&dir, "gallery");
    let indexed = ok(&["index", &data, "--model", &tuned, "--out", &gallery, "--json"]);
    let indexed: serde_json::Value = serde_json::from_str(&indexed).unwrap();
    assert_eq!([&indexed["added"], &indexed["unreadable"]], [300, 4]);
    let predicted = ok(&["predict", &data, "--model", &tuned]);
    assert_eq!(predicted.lines().filter(|line| line.contains("train-2/")).count(), 75);
    let features = at(&dir, "features.safetensors");
    ok(&["extract", &data, "--model", &tuned, "--out", &features]);
}

#[test]
fn a_shard_that_is_cut_short_or_missing_is_named() {
    let dir = scratch(4);
    let data = shards(&at(&dir, "photos"), &at(&dir, "shards"));
    let second = at(&dir, "shards/train-1.tar");
    let whole = std::fs::read(&second).unwrap();
    std::fs::write(&second, &whole[..whole.len() / 2]).unwrap();
    let pretrain =
        ["pretrain", &data, "--network", &at(&dir, "small.toml"), "--out", &at(&dir, "run")];
    fails(&pretrain, 1, &["train-1.tar", "the archive ends", "make the archive again"]);
    std::fs::remove_file(&second).unwrap();
    fails(&pretrain, 1, &["train-1.tar", "can't open"]);
    fails(&["data", "describe", "x-{0..y}.tar"], 1, &["\"y\" is no whole number"]);
}
