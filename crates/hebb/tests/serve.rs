//! `hebb serve`: it finds what `hebb search` finds, and stops when asked.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::served::Served;
use common::{at, class_folders, fails, hebb, ok, scratch, stderr};
use serde_json::Value;

#[test]
fn a_served_gallery_finds_what_the_command_finds() {
    let dir = scratch(4);
    let (photos, run, gallery) = (at(&dir, "photos"), at(&dir, "run"), at(&dir, "gallery"));
    ok(&["pretrain", &photos, "--network", &at(&dir, "small.toml"), "--out", &run]);
    ok(&["index", &photos, "--model", &run, "--out", &gallery]);
    fails(&["serve", &gallery, "--queue", "0"], 2, &["--queue"]);
    fails(&["serve", &at(&dir, "nothing")], 1, &["nothing"]);
    std::fs::write(dir.path().join("token"), "short").unwrap();
    fails(&["serve", &gallery, "--token-file", &at(&dir, "token")], 1, &["token", "16"]);

    let served = Served::start(&[&gallery], |_| {});
    let image = std::fs::read_dir(&photos).unwrap().next().unwrap().unwrap().path();
    let image = image.join("000.png");
    let searched = ok(&["search", &gallery, image.to_str().unwrap(), "-k", "7", "--json"]);
    let searched: Value = serde_json::from_str(&searched).unwrap();
    let found = served.json("POST /api/search?k=7", &std::fs::read(&image).unwrap());
    let pairs = |hits: &Value| -> Vec<(String, String)> {
        let hits = hits["hits"].as_array().unwrap().iter();
        hits.map(|hit| (hit["id"].to_string(), hit["distance"].to_string())).collect()
    };
    assert_eq!(pairs(&found).len(), 7);
    assert_eq!(pairs(&found), pairs(searched.get(0).unwrap_or(&searched)));
    let facts = served.json("GET /api/gallery", b"");
    assert_eq!(facts["model"]["filters"], true);
    #[cfg(unix)]
    assert!(served.stop(), "it stops in peace");
}

/// Waits until the gallery that is served holds so many images.
fn wait_for(served: &Served, images: usize) {
    let begun = Instant::now();
    while served.json("GET /api/gallery", b"")["images"] != images {
        assert!(begun.elapsed() < Duration::from_secs(120), "there are never {images} images");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn photos_are_served_by_one_command() {
    let dir = scratch(4);
    let (photos, out) = (at(&dir, "photos"), at(&dir, "made"));
    let served = Served::start(&[&photos, "--out", &out], |_| {});
    wait_for(&served, 40);
    let image = Path::new(&photos).join("8/000.png");
    let found = served.json("POST /api/search?k=5", &std::fs::read(&image).unwrap());
    assert_eq!(served.json("GET /api/gallery", b"")["layer"], "L2-pool4-unit");
    assert_eq!(found["hits"][0]["id"], "8/000.png");
    // In another batch, it is rounded otherwise.
    assert!(found["hits"][0]["distance"].as_f64().unwrap() < 1e-3, "{found}");
    let body = br#"{"8/000.png": "satchel"}"#;
    assert_eq!(served.ask("POST /api/labels", "application/json", body).0, 200);
    drop(served);
    // Again: what is new comes in, what is gone goes, nothing is learned anew, labels are kept.
    let model = Path::new(&out).join("run/model/model.safetensors");
    let trained = model.metadata().unwrap().modified().unwrap();
    class_folders(Path::new(&photos), 6);
    std::fs::remove_file(Path::new(&photos).join("9/001.png")).unwrap();
    let served = Served::start(&[&photos, "--out", &out], |_| {});
    wait_for(&served, 59);
    assert_eq!(model.metadata().unwrap().modified().unwrap(), trained);
    assert_eq!(served.json("GET /api/items/8%2F000.png", b"")["assigned"], "satchel");
    drop(served);
    // The folder that was made is a gallery too.
    let served = Served::start(&[&out], |_| {});
    wait_for(&served, 59);
    drop(served);

    std::fs::create_dir(at(&dir, "empty").as_str()).unwrap();
    fails(&["serve", &at(&dir, "empty"), "--out", &at(&dir, "none")], 1, &["empty"]);
    let nowhere = hebb(&["serve", &at(&dir, "nothing")]);
    assert!(stderr(&nowhere).contains("nothing"), "{}", stderr(&nowhere));
}
