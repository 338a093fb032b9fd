//! Retrieval measured part by part: by several processes, with stops between.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::Path;

use common::{at, fails, ok, scratch};

/// So many that their second part is a short one.
const IMAGES: usize = 4096 + 300;

/// IDX files of 14 x 14 images of ten classes, each a stripe of its own and noise.
fn idx(folder: &Path) {
    let mut pixels = vec![0, 0, 8, 3];
    for length in [IMAGES, 14, 14] {
        pixels.extend((length as u32).to_be_bytes());
    }
    let mut labels = vec![0, 0, 8, 1];
    labels.extend((IMAGES as u32).to_be_bytes());
    let mut state = 1_u32;
    for image in 0..IMAGES {
        let class = image * 7 % 10;
        labels.push(class as u8);
        for pixel in 0..14 * 14 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let stripe = if pixel / 14 == class { 60 } else { 0 };
            pixels.push((state >> 25) as u8 + stripe);
        }
    }
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("train-images-idx3-ubyte"), pixels).unwrap();
    std::fs::write(folder.join("train-labels-idx1-ubyte"), labels).unwrap();
}

#[test]
fn an_evaluation_in_parts_is_the_evaluation() {
    let dir = scratch(20);
    let (data, run, gallery) = (at(&dir, "idx"), at(&dir, "run"), at(&dir, "gallery"));
    idx(Path::new(&data));
    ok(&["pretrain", &at(&dir, "photos"), "--network", &at(&dir, "small.toml"), "--out", &run]);
    ok(&["index", &data, "--model", &run, "--layer", "pixels", "--out", &gallery]);
    let eval = ["eval", &data, "--model", &run, "--gallery", &gallery, "--exclude-self", "--json"];
    let eval = [&eval[..], &["--truncate", "50", "-k", "10"]].concat();
    let whole = ok(&eval);
    let found: serde_json::Value = serde_json::from_str(&whole).unwrap();
    assert_eq!(found["retrieval"]["queries"], IMAGES);
    let precision = found["retrieval"]["precision"][0]["precision"].as_f64().unwrap();
    assert!((0.2..1.0).contains(&precision), "{found}");

    let parts = at(&dir, "parts");
    let shared = [&eval[..], &["--parts", &parts]].concat();
    let first = ok(&[&shared[..], &["--shard", "1/2"]].concat());
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first, serde_json::json!({ "missing_parts": 1 }));
    assert_eq!(ok(&[&shared[..], &["--shard", "2/2"]].concat()), whole);
    // What is there is not made again.
    let made = |part: &str| Path::new(&parts).join(part).metadata().unwrap().modified().unwrap();
    let before = made("000000.toml");
    std::fs::remove_file(Path::new(&parts).join("000001.toml")).unwrap();
    assert_eq!(ok(&shared), whole);
    assert_eq!(made("000000.toml"), before);

    // Parts of another question, damaged parts and other folders are refused.
    fails(&[&shared[..], &["-k", "20"]].concat(), 1, &["evaluation.toml", "line 8", "k = [10"]);
    let part = Path::new(&parts).join("000001.toml");
    let text = std::fs::read_to_string(&part).unwrap();
    std::fs::write(&part, &text[..text.len() / 2]).unwrap();
    fails(&shared, 1, &["000001.toml", "delete the file"]);
    let photos = at(&dir, "photos");
    fails(&[&eval[..], &["--parts", &photos]].concat(), 1, &["photos", "holds other files"]);
    fails(&[&eval[..], &["--shard", "1/2"]].concat(), 2, &["required"]);
}
