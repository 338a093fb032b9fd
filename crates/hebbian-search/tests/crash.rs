//! A process killed while it changes a gallery leaves it as it was last committed.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hebbian_search::{Error, Gallery, GalleryInfo, GalleryWriter, Item, Vectors};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const DIM: usize = 64;
const IDS: usize = 40;
const PLACE: &str = "HEBBIAN_SEARCH_CRASH_PLACE";

fn info() -> GalleryInfo {
    GalleryInfo::new(DIM, "m", "m", "L1")
}

/// What the gallery holds after `step` changes, whoever made them: id to value.
fn after(step: usize) -> BTreeMap<String, f32> {
    let mut items = BTreeMap::new();
    (1..=step).for_each(|step| change(&mut items, step));
    items
}

/// The ids that change `step` writes, and the one that it removes.
fn ids(step: usize) -> (Vec<String>, String) {
    let written = (0..5).map(|i| (step * 7 + i * 3) % IDS).map(|i| i.to_string()).collect();
    (written, (step * 11 % IDS).to_string())
}

fn change(items: &mut BTreeMap<String, f32>, step: usize) {
    let (written, removed) = ids(step);
    items.extend(written.into_iter().map(|id| (id, step as f32)));
    items.remove(&removed);
}

fn content(gallery: &Gallery) -> BTreeMap<String, f32> {
    let mut values = Vec::new();
    gallery.read(0, gallery.len(), &mut values).unwrap();
    let rows = values.chunks(DIM).map(|row| {
        assert!(row.iter().all(|&value| value == row[0]), "half of a vector");
        row[0]
    });
    gallery.items().map(|item| item.id.clone()).zip(rows).collect()
}

fn writer(path: &Path) -> GalleryWriter {
    match GalleryWriter::open(path) {
        Err(Error::Io(_)) => GalleryWriter::create(path, info(), false),
        writer => writer,
    }
    .unwrap()
}

/// Not a test of its own: the body of the process that is killed. Step `n` is committed as
/// generation `n` plus however often segments were merged, so the step goes along as an item.
#[test]
#[ignore = "runs until it is killed; started by the tests below"]
fn change_until_killed() {
    let path = std::env::var_os(PLACE).expect("the place to write to");
    let mut writer = writer(Path::new(&path));
    let mut step = step_of(writer.gallery());
    loop {
        step += 1;
        let (written, removed) = ids(step);
        for id in written {
            writer.push(&[Item { id, ..Item::default() }], &[step as f32; DIM]).unwrap();
        }
        writer.remove(&removed);
        writer.push(&[Item { id: "step".into(), ..Item::default() }], &[step as f32; DIM]).unwrap();
        writer.commit().unwrap();
        println!("committed {step}");
        std::io::stdout().flush().unwrap();
    }
}

fn step_of(gallery: &Gallery) -> usize {
    let mut row = Vec::new();
    gallery.find("step").map_or(0, |at| {
        gallery.read(at, 1, &mut row).unwrap();
        row[0] as usize
    })
}

fn start(path: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "change_until_killed", "--ignored", "--nocapture"])
        .env(PLACE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The last step that the process said was committed.
fn last_reported(child: &mut std::process::Child) -> usize {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let step = |line: String| line.rsplit_once("committed ")?.1.parse::<usize>().ok();
    lines.filter_map(step).last().unwrap_or(0)
}

fn assert_is(gallery: &Gallery, step: usize) {
    gallery.verify().unwrap();
    let mut expected = after(step);
    if step > 0 {
        expected.insert("step".into(), step as f32);
    }
    assert_eq!(content(gallery), expected);
}

#[test]
fn a_killed_writer_leaves_what_it_committed() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery");
    let (mut rounds, mut last) = (0, 0);
    // `HEBB_KILLS` asks for another number.
    let kills = std::env::var("HEBB_KILLS").map_or(60, |text| text.parse().unwrap());
    while rounds < kills {
        let mut child = start(&path);
        std::thread::sleep(Duration::from_micros(random.random_range(1000..200_000)));
        assert!(child.try_wait().unwrap().is_none(), "the writer ended by itself");
        child.kill().unwrap();
        let reported = last_reported(&mut child);
        child.wait().unwrap();
        rounds += 1;
        if !path.join("gallery.toml").exists() {
            assert_eq!(last, 0, "a gallery is gone");
            continue;
        }
        let gallery = Gallery::open(&path).unwrap();
        let step = step_of(&gallery);
        assert!(step >= reported && step >= last, "{step} on disk, {reported} reported");
        assert_is(&gallery, step);
        last = step;
    }
    println!("{rounds} kills, {last} commits");
    assert!(last > 10, "hardly anything was ever committed before the kill");
    // The next writer removes what they left.
    drop(writer(&path));
    let gallery = Gallery::open(&path).unwrap();
    let named = gallery.manifest().segments.len();
    assert_eq!(std::fs::read_dir(path.join("segments")).unwrap().count(), named);
}

#[test]
fn readers_see_whole_generations_while_another_process_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery");
    let mut child = start(&path);
    while !path.join("gallery.toml").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(matches!(GalleryWriter::open(&path), Err(Error::Locked { .. })));
    let first = Gallery::open(&path).unwrap();
    let first_step = step_of(&first);
    let (mut current, mut steps) = (first.clone(), Vec::new());
    let since = Instant::now();
    for round in 0.. {
        steps.dedup();
        // A disk may take its time to make a commit durable.
        if steps.len() > 20 || since.elapsed() > Duration::from_secs(60) {
            break;
        }
        // Anew, or on from what is open.
        let gallery = match round % 2 {
            0 => Some(Gallery::open(&path).unwrap()),
            _ => current.newer().unwrap(),
        };
        if let Some(gallery) = gallery {
            assert!(gallery.manifest().generation >= current.manifest().generation);
            steps.push(step_of(&gallery));
            assert_is(&gallery, step_of(&gallery));
            current = gallery;
        }
    }
    // What was opened first is still what it was, its files long replaced.
    assert_is(&first, first_step);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(steps.is_sorted());
    println!("{} different generations were read", steps.len());
    assert!(steps.len() > 3, "{steps:?}");
    assert!(GalleryWriter::open(&path).is_ok());
}
