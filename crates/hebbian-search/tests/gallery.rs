//! Galleries on disk: written, opened, overwritten, damaged.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use hebbian_search::{Error, Gallery, GalleryInfo, GalleryWriter, Item, Vectors};

const FILES: [&str; 5] = [
    "gallery.toml",
    "segments/00000001/vectors.safetensors",
    "segments/00000001/items.parquet",
    "segments/00000001/graph-00000002",
    "segments/00000001/removed-00000003",
];
const DIM: usize = 3;

fn info() -> GalleryInfo {
    GalleryInfo::new(DIM, "0123abcd", "cifar-6", "L5")
}

fn item(i: usize) -> Item {
    Item {
        id: format!("train/{i}.jpg"),
        label: i.is_multiple_of(2).then(|| format!("class {}", i % 3)),
        location: i.is_multiple_of(3).then(|| format!("/images/{i}.jpg")),
        content: None,
    }
}

fn vector(i: usize) -> [f32; DIM] {
    [i as f32, -0.5, 1.0 / (i + 1) as f32]
}

fn write(path: &Path, n: usize, overwrite: bool) -> Result<Gallery, Error> {
    let mut writer = GalleryWriter::create(path, info(), overwrite)?;
    for i in 0..n {
        writer.push(&[item(i)], &vector(i))?;
    }
    writer.finish()
}

/// As [`write`], with one item more, the first, that is removed again, and with a graph.
fn write_and_remove(path: &Path, n: usize) -> Gallery {
    let mut writer = GalleryWriter::create(path, info(), true).unwrap();
    for i in std::iter::once(n).chain(0..n) {
        writer.push(&[item(i)], &vector(i)).unwrap();
    }
    writer.build_graph(|_, _| {}).unwrap();
    assert!(writer.remove(&item(n).id));
    writer.finish().unwrap()
}

fn assert_holds(gallery: &Gallery, n: usize) {
    assert_eq!((gallery.len(), gallery.dim(), gallery.items().count()), (n, DIM, n));
    let mut row = Vec::new();
    for i in 0..n {
        gallery.read(i, 1, &mut row).unwrap();
        assert_eq!(row, vector(i));
        assert_eq!(gallery.item(i), Some(&item(i)));
    }
    gallery.verify().unwrap();
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery");
    (folder, path)
}

#[test]
fn what_is_written_is_read() {
    for n in [0, 1, 100] {
        let (folder, path) = place();
        assert_holds(&write(&path, n, false).unwrap(), n);
        let gallery = Gallery::open(&path).unwrap();
        assert_holds(&gallery, n);
        assert_eq!(gallery.info().model_name, "cifar-6");
        assert_eq!((gallery.manifest().generation, gallery.removed()), (1, 0));
        assert!(gallery.read(n, 1, &mut Vec::new()).is_err());
        assert_eq!(entries(folder.path()), ["gallery"], "nothing else is left");
    }
}

#[test]
fn other_programs_can_read_the_vectors() {
    let (_folder, path) = place();
    write(&path, 5, false).unwrap();
    let bytes = std::fs::read(path.join(FILES[1])).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor("vectors").unwrap();
    assert_eq!(tensor.shape(), [5, DIM]);
    let expected: Vec<u8> = (0..5).flat_map(vector).flat_map(f32::to_le_bytes).collect();
    assert_eq!(tensor.data(), expected);
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let (folder, path) = place();
    let mut writer = GalleryWriter::create(&path, info(), false).unwrap();
    writer.push(&[item(0)], &vector(0)).unwrap();
    assert_eq!(entries(folder.path()).len(), 1);
    drop(writer);
    assert!(entries(folder.path()).is_empty());
}

#[test]
fn overwriting_needs_permission_and_spares_everything_else() {
    let (folder, path) = place();
    write(&path, 3, false).unwrap();
    assert!(matches!(write(&path, 4, false), Err(Error::Exists { .. })));
    assert_holds(&write(&path, 4, true).unwrap(), 4);
    assert_eq!(entries(folder.path()), ["gallery"]);

    let photo = path.join("photo.jpg");
    std::fs::write(&photo, "precious").unwrap();
    let error = write(&path, 5, true).err().unwrap();
    assert!(error.to_string().contains("photo.jpg"), "{error}");
    assert!(photo.exists());
    assert!(matches!(write(&photo, 1, true), Err(Error::NotAGallery { .. })));
}

#[test]
fn one_writer_at_a_time() {
    let (_folder, path) = place();
    let mut first = GalleryWriter::create(&path, info(), false).unwrap();
    let error = write(&path, 2, true).err().unwrap();
    assert!(error.to_string().contains("another process is writing"), "{error}");
    first.push(&[item(0)], &vector(0)).unwrap();
    assert_holds(first.commit().unwrap(), 1);
    assert!(matches!(GalleryWriter::open(&path), Err(Error::Locked { .. })));
    drop(first);
    let mut second = GalleryWriter::open(&path).unwrap();
    second.push(&[item(1)], &vector(1)).unwrap();
    assert_holds(&second.finish().unwrap(), 2);
}

#[test]
fn a_writer_wants_a_gallery() {
    let (folder, path) = place();
    assert!(matches!(GalleryWriter::open(&path), Err(Error::Io(_))));
    assert!(matches!(GalleryWriter::open(folder.path()), Err(Error::Io(_))));
    assert!(entries(folder.path()).is_empty(), "no lock is left in a folder of something else");
}

#[test]
fn an_overwritten_gallery_stays_until_the_new_one_is_committed() {
    let (_folder, path) = place();
    let old = write(&path, 3, false).unwrap();
    let mut writer = GalleryWriter::create(&path, info(), true).unwrap();
    for i in 0..5 {
        writer.push(&[item(i)], &vector(i)).unwrap();
    }
    assert_holds(&Gallery::open(&path).unwrap(), 3);
    drop(writer);
    assert_holds(&Gallery::open(&path).unwrap(), 3);
    // One that can't be read may be overwritten too.
    std::fs::write(path.join(FILES[0]), "damaged").unwrap();
    assert_holds(&write(&path, 4, true).unwrap(), 4);
    assert_holds(&old, 3);
}

const VERSION_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/version-1");

#[test]
fn a_gallery_of_version_1_opens_and_becomes_one_of_version_2_when_it_is_changed() {
    let (_folder, path) = place();
    std::fs::create_dir(&path).unwrap();
    for file in entries(Path::new(VERSION_1)) {
        std::fs::copy(Path::new(VERSION_1).join(&file), path.join(&file)).unwrap();
    }
    let old = Gallery::open(&path).unwrap();
    assert_holds(&old, 20);
    assert_eq!(old.manifest().format_version, 1);
    // A writer that changes nothing leaves it as it is.
    assert_holds(&GalleryWriter::open(&path).unwrap().finish().unwrap(), 20);
    assert_eq!(Gallery::open(&path).unwrap().manifest().format_version, 1);

    let mut writer = GalleryWriter::open(&path).unwrap();
    writer.push(&[item(20)], &vector(20)).unwrap();
    writer.push(&[item(21)], &vector(21)).unwrap();
    writer.remove(&item(21).id);
    assert_holds(&writer.finish().unwrap(), 21);
    let new = Gallery::open(&path).unwrap();
    assert_holds(&new, 21);
    assert_eq!(new.manifest().format_version, 2);
    let mut left = entries(&path);
    left.sort();
    assert_eq!(left, ["gallery.toml", "lock", "segments"]);
    assert_holds(&old, 20);

    // Compacting changes it too.
    for file in entries(Path::new(VERSION_1)) {
        std::fs::copy(Path::new(VERSION_1).join(&file), path.join(&file)).unwrap();
    }
    let mut writer = GalleryWriter::open(&path).unwrap();
    assert_holds(writer.compact().unwrap(), 20);
    assert_eq!(writer.gallery().manifest().format_version, 2);
}

#[test]
fn what_can_not_be_stored_is_refused_whole() {
    let (_folder, path) = place();
    let mut writer = GalleryWriter::create(&path, info(), false).unwrap();
    writer.push(&[item(0)], &vector(0)).unwrap();
    assert!(matches!(writer.push(&[item(1)], &[0.0; 2]), Err(Error::Length { expected: 3, .. })));
    let mut both = [vector(1), vector(2)].concat();
    both[4] = f32::NAN;
    let error = writer.push(&[item(1), item(2)], &both).unwrap_err();
    assert!(matches!(error, Error::NotFinite { row: 2, column: 1, .. }), "{error}");
    let long = Item { location: Some("x".repeat(5000)), ..item(1) };
    let error = writer.push(&[long], &vector(1)).unwrap_err();
    assert!(matches!(error, Error::TextTooLong { item: 1, field: "location", .. }), "{error}");
    writer.push(&[item(1)], &vector(1)).unwrap();
    assert_holds(&writer.finish().unwrap(), 2);
    assert!(
        GalleryWriter::create(path.with_extension("0"), GalleryInfo::new(0, "", "", ""), false)
            .is_err()
    );
}

#[test]
fn a_query_of_another_model_is_refused_by_name() {
    let (_folder, path) = place();
    let gallery = write(&path, 1, false).unwrap();
    gallery.check_model("0123abcd").unwrap();
    let message = gallery.check_model("ffff").unwrap_err().to_string();
    for part in ["cifar-6", "0123abcd", "ffff"] {
        assert!(message.contains(part), "{message}");
    }
}

/// Opens and verifies; `Ok` only for the gallery as it was written.
fn survives(path: &Path, n: usize) -> bool {
    let opened = Gallery::open(path).and_then(|gallery| gallery.verify().map(|()| gallery));
    opened.inspect(|gallery| assert_holds(gallery, n)).is_ok()
}

#[test]
fn a_file_cut_short_is_found() {
    let (_folder, path) = place();
    write_and_remove(&path, 20);
    for file in FILES {
        let file = path.join(file);
        let whole = std::fs::read(&file).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&file, &whole[..length]).unwrap();
            // Without its last line break, gallery.toml still says the same.
            let same = file.ends_with("gallery.toml") && length + 1 == whole.len();
            assert_eq!(survives(&path, 20), same, "{} cut to {length} bytes", file.display());
        }
        std::fs::write(&file, [&whole[..], b"#"].concat()).unwrap();
        assert_eq!(survives(&path, 20), file.ends_with("gallery.toml"), "{}", file.display());
        std::fs::write(&file, &whole).unwrap();
    }
    assert!(survives(&path, 20));
}

#[test]
fn a_flipped_bit_is_found_or_changes_nothing() {
    let (_folder, path) = place();
    write_and_remove(&path, 20);
    for file in FILES {
        let file = path.join(file);
        let whole = std::fs::read(&file).unwrap();
        let mut undetected = 0;
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(&file, damaged).unwrap();
            undetected += usize::from(survives(&path, 20));
        }
        // In gallery.toml a space may become a tab, or `"` a `'`, without changing any field.
        let limit = if file.ends_with("gallery.toml") { whole.len() / 10 } else { 0 };
        assert!(undetected <= limit, "{}: {undetected}", file.display());
        std::fs::write(&file, &whole).unwrap();
    }
}

#[test]
fn a_missing_file_is_named() {
    for file in FILES {
        let (_folder, path) = place();
        write_and_remove(&path, 20);
        std::fs::remove_file(path.join(file)).unwrap();
        let message = Gallery::open(&path).unwrap_err().to_string();
        assert!(message.contains(file), "{message}");
    }
}

#[test]
fn vectors_of_another_gallery_are_found() {
    let (folder, path) = place();
    write(&path, 5, false).unwrap();
    let other = folder.path().join("other");
    write(&other, 6, false).unwrap();
    std::fs::copy(other.join(FILES[1]), path.join(FILES[1])).unwrap();
    let message = Gallery::open(&path).unwrap_err().to_string();
    assert!(message.contains("len is 6, gallery.toml says 5"), "{message}");
}
