//! The page in a real browser. Left out, and said so, where Chromium or Node is not there.
//!
//! `HEBB_PICTURES=folder cargo test -p hebbian-serve --test browser` keeps pictures of the page.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::Path;
use std::process::Command;

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn the_page_works_in_chromium() {
    let chromium = ["chromium", "chromium-browser", "google-chrome"];
    let Some(chromium) = chromium.into_iter().find(|name| is_there(name)) else {
        eprintln!("SKIPPED: the page was not tested; install chromium");
        return;
    };
    if !is_there("node") {
        eprintln!("SKIPPED: the page was not tested; install node");
        return;
    }
    let site = common::Site::new();
    let image = site.folder.path().join("query.png");
    site.photos().images().decode(0).unwrap().save(&image).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser.mjs");
    let mut browser = Command::new("node");
    browser.arg(script).arg(chromium).arg(format!("http://{}", site.running.address()));
    browser.arg(image).arg(site.folder.path().join("profile"));
    if let Ok(pictures) = std::env::var("HEBB_PICTURES") {
        browser.arg(pictures);
    }
    let output = browser.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let table = std::fs::read_to_string(site.folder.path().join("labels.csv")).unwrap();
    assert_eq!(table.matches(",my label").count(), 2);
}
