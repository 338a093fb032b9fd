//! `hebb index` killed at any moment leaves what it said was committed, and goes on from there.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{at, number, ok, scratch};
use hebbian_search::{Gallery, Vectors};
use rand::{RngExt, SeedableRng};

const IMAGES: usize = 900;
/// `HEBB_KILLS` asks for another number.
const KILLS: usize = 40;

#[test]
fn what_was_reported_as_committed_survives_a_kill() {
    let dir = scratch(IMAGES / 10);
    let (photos, run, gallery) = (at(&dir, "photos"), at(&dir, "run"), at(&dir, "gallery"));
    ok(&["pretrain", &photos, "--network", &at(&dir, "small.toml"), "--out", &run]);
    let index =
        ["index", &photos, "--model", &run, "--out", &gallery, "--commit-every", "0", "--json"];
    let whole = at(&dir, "whole");
    ok(&["index", &photos, "--model", &run, "--out", &whole]);
    let whole = Gallery::open(&whole).unwrap();
    let ids: Vec<String> = whole.items().map(|item| item.id.clone()).collect();

    let mut random = rand::rngs::SmallRng::seed_from_u64(3);
    let (mut kills, mut partial, mut complete, mut held) = (0, 0, 0, 0);
    let wanted = number("HEBB_KILLS", KILLS);
    while kills < wanted {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hebb"))
            .args(index)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(random.random_range(0..700)));
        child.kill().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let count = |line: String| {
            line.strip_prefix("committed: ")?.split(' ').next()?.parse::<usize>().ok()
        };
        let reported = lines.filter_map(count).last().unwrap_or(0);
        kills += usize::from(!child.wait().unwrap().success());
        if !Path::new(&gallery).join("gallery.toml").exists() {
            assert_eq!((reported, held), (0, 0), "a gallery is gone");
            continue;
        }
        let found = Gallery::open(&gallery).unwrap();
        found.verify().unwrap();
        assert!(found.len() >= reported.max(held), "{} held, {reported} reported", found.len());
        // In the order of the data, so what is there is its beginning.
        assert!(found.items().map(|item| &item.id).eq(&ids[..found.len()]));
        held = found.len();
        partial += usize::from(0 < held && held < IMAGES);
        if held == IMAGES {
            complete += 1;
            std::fs::remove_dir_all(&gallery).unwrap();
            held = 0;
        }
    }
    println!(
        "{kills} kills, {partial} of them with a part of the images committed; {complete} galleries \
         were completed, every one opened and was whole"
    );
    assert!(partial > 3, "{partial} kills in the midst");
    // The next run completes it, and only what was missing is added.
    let found: serde_json::Value = serde_json::from_str(&ok(&index)).unwrap();
    assert_eq!(found["unchanged"], held);
    assert_eq!(found["added"], IMAGES - held);
    let found = Gallery::open(&gallery).unwrap();
    found.verify().unwrap();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    found.read(0, IMAGES, &mut a).unwrap();
    whole.read(0, IMAGES, &mut b).unwrap();
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 * b.abs().max(1.0);
    assert!(a.iter().zip(&b).all(close), "other vectors than in one go");
}
