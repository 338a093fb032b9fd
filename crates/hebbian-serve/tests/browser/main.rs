//! The page in a real browser. Left out, and said so, where Chromium or Node is not there, unless
//! `HEBB_REQUIRE_BROWSER` is set.
//!
//! `HEBB_PICTURES=folder cargo test -p hebbian-serve --test browser` keeps pictures of the page.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../common/mod.rs"]
mod common;

use std::path::Path;
use std::process::Command;

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn the_page_works_in_chromium() {
    let chromium = ["chromium", "chromium-browser", "google-chrome"];
    let chromium = chromium.into_iter().find(|name| is_there(name)).filter(|_| is_there("node"));
    let Some(chromium) = chromium else {
        let problem = "the page was not tested; install chromium and node";
        assert!(std::env::var_os("HEBB_REQUIRE_BROWSER").is_none(), "{problem}");
        eprintln!("SKIPPED: {problem}");
        return;
    };
    let site = common::Site::new();
    let image = site.folder.path().join("query.png");
    site.photos().images().decode(0).unwrap().save(&image).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/page.mjs");
    let scratch = tempfile::tempdir().unwrap();
    let mut browser = Command::new("node");
    browser.arg(script).arg(chromium).arg(format!("http://{}", site.running.address()));
    browser.arg(image).arg(scratch.path());
    if let Ok(pictures) = std::env::var("HEBB_PICTURES") {
        browser.arg(std::path::absolute(pictures).unwrap());
    }
    let output = browser.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    println!("{}", String::from_utf8_lossy(&output.stdout).trim());
    // What was downloaded is what was kept, and fine-tuning reads it.
    let downloaded = scratch.path().join("downloads/labels.csv");
    let kept = std::fs::read(site.folder.path().join("labels.csv")).unwrap();
    assert_eq!(std::fs::read(&downloaded).unwrap(), kept);
    let data = site.photos().with_labels_csv(&downloaded).unwrap();
    assert_eq!((data.classes(), data.labelled()), (&["my label".to_owned()][..], 2));
}
