//! A gallery of 10,000 real images on real servers: pushed by processes that are killed and by
//! several at once, then searched as the gallery itself is.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[allow(dead_code, unreachable_pub, reason = "the suite of the stores uses the rest")]
#[path = "../../hebbian-stores/tests/conformance/servers.rs"]
mod servers;

use std::process::{Command, Stdio};
use std::time::Duration;

use common::{at, fails, hebb, ok, sample, scratch, stderr};
use serde_json::Value;
use servers::{Kind, Server};
use tempfile::TempDir;

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(&[arguments, &["--json"]].concat())).unwrap()
}

/// A gallery of the whole sample, and an image that is not in it.
fn made() -> (TempDir, String, String) {
    let dir = scratch(6);
    let (photos, run, gallery) = (at(&dir, "photos"), at(&dir, "run"), at(&dir, "gallery"));
    ok(&["pretrain", &photos, "--network", &at(&dir, "small.toml"), "--out", &run]);
    let images = sample().to_str().unwrap().to_owned();
    let indexed = json(&["index", &images, "--model", &run, "--out", &gallery]);
    assert_eq!(indexed["images"], 10_000);
    let folder = std::fs::read_dir(&photos).unwrap().next().unwrap().unwrap().path();
    let image = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    (dir, gallery, image.to_str().unwrap().to_owned())
}

/// Starts pushing and kills it after a while, until it is done or was killed three times.
fn push_killed(gallery: &str, address: &str) {
    for milliseconds in [150, 400, 900] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hebb"))
            .args(["gallery", "push", gallery, "--to", address])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        // SIGKILL; it may be done by now.
        let _ = child.kill();
        child.wait().unwrap();
    }
}

fn push_shared(gallery: &str, address: &str) {
    let start = |shard: &str| {
        Command::new(env!("CARGO_BIN_EXE_hebb"))
            .args(["gallery", "push", gallery, "--to", address, "--shard", shard])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    for mut child in ["1/2", "2/2"].map(start) {
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn ten_thousand_images_rank_alike_everywhere() {
    let postgres = Server::start(Kind::Postgres);
    let milvus = Server::start(Kind::MilvusLite);
    if postgres.is_none() && milvus.is_none() {
        return;
    }
    let (_dir, gallery, image) = made();
    for server in [postgres, milvus].into_iter().flatten() {
        let address = server.address("photos");
        push_killed(&gallery, &address);
        push_shared(&gallery, &address);
        let again = json(&["gallery", "push", &gallery, "--to", &address]);
        assert_eq!(again["pushed"]["unchanged"], 10_000, "{again}");
        assert_eq!(json(&["gallery", "info", &address])["images"], 10_000);

        let compare =
            ["gallery", "compare", &gallery, "--with", &address, "--queries", "200", "-k", "100"];
        let compared = json(&compare);
        assert_eq!((&compared["identical"], &compared["found"]), (&200.into(), &1.0.into()));
        let id = json(&["search", &gallery, &image])[0]["hits"][3]["id"].clone();
        let id = id.as_str().unwrap();
        for what in [
            &[image.as_str()][..],
            &["--id", id, "-k", "30"],
            &["--id", id, "--label", "Bag", "--label", "Coat"],
            &["--id", id, "--path", "*7", "-k", "5"],
        ] {
            let search = |at: &str| json(&[&["search", at], what].concat());
            assert_eq!(search(&address), search(&gallery), "{what:?}");
        }
        ok(&["gallery", "push", &gallery, "--to", &address, "--approximate"]);
        let near = json(&[&compare[..], &["--approximate"]].concat());
        assert!(near["found"].as_f64().unwrap() > 0.9, "{near}");
    }
}

#[test]
fn what_is_wrong_is_said_in_a_sentence() {
    let dir = scratch(1);
    let gallery = at(&dir, "gallery");
    fails(&["search", "postgres://", "a.jpg"], 2, &["GALLERY", "postgres://USER@HOST"]);
    fails(&["search", "redis://localhost/a", "a.jpg"], 2, &["milvus://HOST:PORT"]);
    fails(&["gallery", "push", &gallery, "--to", "photos"], 2, &["--to", "no address"]);
    let port = servers::free_port();
    for address in [
        format!("postgres://me:secret@127.0.0.1:{port}/db/photos"),
        format!("milvus://me:secret@127.0.0.1:{port}/photos"),
    ] {
        let failed = hebb(&["search", &address, "--id", "a"]);
        let message = stderr(&failed);
        assert_eq!(failed.status.code(), Some(1), "{message}");
        assert!(message.contains("me@127.0.0.1") && message.contains("refused"), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
}
