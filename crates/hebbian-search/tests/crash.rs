//! A process killed while it writes a gallery leaves the old gallery or none, never half of one.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hebbian_search::{Error, Gallery, GalleryInfo, GalleryWriter, Item, Vectors};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const DIM: usize = 64;
const PLACE: &str = "HEBBIAN_SEARCH_CRASH_PLACE";

/// Every value of a gallery is its own number, so that two galleries can't be mixed unnoticed.
fn write(path: &Path, number: usize) -> Result<Gallery, Error> {
    let mut writer = GalleryWriter::create(path, GalleryInfo::new(DIM, "m", "m", "L1"), true)?;
    for i in 0..50 + number % 50 {
        let item = Item { id: format!("{number}-{i}"), ..Item::default() };
        writer.push(&[item], &[number as f32; DIM])?;
    }
    writer.finish()
}

/// Not a test of its own: the body of the process that is killed.
#[test]
#[ignore = "runs until it is killed; started by the test below"]
fn write_until_killed() {
    let path = std::env::var_os(PLACE).expect("the place to write to");
    for number in 1.. {
        write(Path::new(&path), number).unwrap();
    }
}

#[test]
fn a_killed_writer_leaves_a_whole_gallery_or_none() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let (mut whole, mut none, mut highest) = (0, 0, 0);
    for _ in 0..30 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gallery");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "write_until_killed", "--ignored"])
            .env(PLACE, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(random.random_range(1000..300_000)));
        assert!(child.try_wait().unwrap().is_none(), "the writer ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();

        if path.exists() {
            let gallery = Gallery::open(&path).unwrap();
            gallery.verify().unwrap();
            let mut values = Vec::new();
            gallery.read(0, gallery.len(), &mut values).unwrap();
            let number = values[0] as usize;
            assert_eq!(gallery.len(), 50 + number % 50);
            assert!(values.iter().all(|&value| value == number as f32));
            assert!(gallery.items().iter().all(|item| item.id.starts_with(&format!("{number}-"))));
            whole += 1;
            highest = highest.max(number);
        } else {
            none += 1;
        }
        // Whatever was left behind does not stand in the way of the next writer.
        write(&path, 1).unwrap().verify().unwrap();
    }
    println!("{whole} whole galleries, up to the {highest}th, and {none} times none");
    assert!(whole > 0, "no gallery was ever finished before the kill");
}
