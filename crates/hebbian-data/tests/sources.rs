//! Every kind of source, opened, misopened and damaged.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Cursor, Write};
use std::path::Path;

use common::{class_folders, few, sample, shared, tar_of};
use hebbian_data::source::{cifar, idx, tar as tar_source};
use hebbian_data::{Dataset, Error, OpenOptions, Part, Size, SourceKind};
use proptest::prelude::*;

fn part(path: &Path, part: Part) -> hebbian_data::Result<Dataset> {
    Dataset::open_with(path, &OpenOptions { part, ..OpenOptions::default() })
}

fn ids(data: &Dataset) -> Vec<String> {
    (0..data.len()).map(|i| data.id(i)).collect()
}

#[test]
fn the_sample_opens_as_idx_with_its_parts() {
    let all = Dataset::open(&sample()).unwrap();
    assert_eq!((all.kind(), all.len(), all.labelled()), (SourceKind::Idx, 10_000, 10_000));
    assert_eq!(all.classes().len(), 10);
    let test = part(&sample(), Part::Test).unwrap();
    assert_eq!(test.len(), 2_000);
    assert_eq!(test.id(7), "t10k-images-idx3-ubyte/7");
    assert_eq!(test.images().decode(0).unwrap(), all.images().decode(8_000).unwrap());
    for class in 0..10 {
        assert_eq!(test.labels().iter().filter(|l| **l == Some(class)).count(), 200);
    }
    let file = Dataset::open(&sample().join("t10k-images-idx3-ubyte.gz")).unwrap();
    assert_eq!(file.labels(), test.labels());
    let read = |name: &str| fs_err::read(sample().join(name)).unwrap();
    let memory = Dataset::from_idx_bytes(
        &read("t10k-images-idx3-ubyte.gz"),
        &read("t10k-labels-idx1-ubyte.gz"),
        &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"],
    )
    .unwrap();
    assert_eq!(memory.labels(), test.labels());
    assert_eq!(memory.classes()[9], "j");
}

#[test]
fn idx_files_that_do_not_fit_are_refused() {
    let read = |name: &str| fs_err::read(sample().join(name)).unwrap();
    let images = read("t10k-images-idx3-ubyte.gz");
    let labels = read("t10k-labels-idx1-ubyte.gz");
    let error = |images: &[u8], labels: &[u8], classes: &[&str]| {
        Dataset::from_idx_bytes(images, labels, classes).unwrap_err().to_string()
    };
    assert!(error(&images, &labels, &["one"]).contains("label 9 is beyond the 1 classes"));
    assert!(error(&images, &read("train-labels-idx1-ubyte.gz"), &["one"]).contains("8000 labels"));
    assert!(error(&labels, &images, &["one"]).contains("dimensions are [2000]"));
    assert!(error(&images[..5000], &labels, &["one"]).contains("can't be read to its end"));
    // A header that promises 2^96 bytes, and one that promises 4 GB, of which none come.
    let mut huge = vec![0, 0, 8, 3];
    huge.extend([0xff; 12]);
    assert!(error(&huge, &labels, &["one"]).contains("promises"));
    let promised = [0, 0, 8, 3, 0, 0, 0x40, 0, 0, 0, 1, 0, 0, 0, 1, 0];
    assert!(error(&promised, &labels, &["one"]).contains("fewer"));
}

#[test]
fn class_folders_and_their_tar_are_the_same_data_set() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    let expected = class_folders(&few(40), &root);
    fs_err::write(root.join("README.md"), "no image").unwrap();
    fs_err::write(root.join("class-1/._0001.png"), "a twin made by macOS").unwrap();
    let folder = Dataset::open(&root).unwrap();
    assert_eq!(folder.kind(), SourceKind::ClassFolders);
    assert_eq!(ids(&folder), expected);
    for i in 0..folder.len() {
        let class = &folder.classes()[folder.label(i).unwrap() as usize];
        assert!(folder.id(i).starts_with(&format!("{class}/")));
    }
    let archive = dir.path().join("set.tar");
    fs_err::write(&archive, tar_of(&root, "a/b")).unwrap();
    let tar = Dataset::open(&archive).unwrap();
    assert_eq!(tar.kind(), SourceKind::Tar);
    assert_eq!(tar.labels(), folder.labels());
    assert_eq!(tar.classes(), folder.classes());
    for i in 0..tar.len() {
        assert_eq!(tar.id(i), format!("a/b/{}", folder.id(i)));
        assert_eq!(tar.images().encoded(i).unwrap(), folder.images().encoded(i).unwrap());
    }
}

#[test]
fn a_pile_has_no_labels_and_files_are_known_by_their_first_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let png = few(1).images().encoded(0).unwrap().into_owned();
    for name in ["b.png", "sub/deeper/c", "sub/a.JPG", ".hidden.png"] {
        let path = dir.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, &png).unwrap();
    }
    fs_err::write(dir.path().join("notes.txt"), "no image").unwrap();
    let data = Dataset::open(dir.path()).unwrap();
    assert_eq!(data.kind(), SourceKind::Folder);
    assert_eq!(ids(&data), ["b.png", "sub/a.JPG", "sub/deeper/c"]);
    assert_eq!(data.labelled(), 0);
    let error = data.require_classes().unwrap_err();
    assert!(matches!(error, Error::TooFewClasses { found: 0, .. }));
    assert!(matches!(part(dir.path(), Part::Train), Err(Error::NoPart { .. })));
}

#[test]
fn what_is_no_data_set_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let message = |path: &Path| Dataset::open(path).unwrap_err().to_string();
    assert!(message(dir.path()).contains("holds no image"));
    assert!(message(&dir.path().join("absent")).contains("can't open"));
    let file = dir.path().join("set.tar.xz");
    fs_err::write(&file, b"\xfd7zXZ\0 and so on").unwrap();
    assert!(message(&file).contains("compressed (xz) and can't be read at random; decompress"));
    fs_err::write(&file, b"plain text").unwrap();
    assert!(message(&file).contains("not recognised"));
    if let Some(xz) = shared("tiny-imagenet-100.tar.xz") {
        assert!(message(&xz).contains("compressed (xz)"));
    }
}

#[test]
fn labels_come_from_a_table_or_from_a_folder_apart() {
    let dir = tempfile::tempdir().unwrap();
    let pile = dir.path().join("pile");
    let few = few(30);
    fs_err::create_dir_all(&pile).unwrap();
    for i in 0..10 {
        fs_err::write(pile.join(format!("{i}.png")), few.images().encoded(i).unwrap()).unwrap();
    }
    let table = dir.path().join("labels.csv");
    fs_err::write(&table, "path,label\n3.png,cat\n5.png,dog\n").unwrap();
    let with = |labels: &Path| {
        let labels = Some(labels.to_path_buf());
        Dataset::open_with(&pile, &OpenOptions { labels, ..OpenOptions::default() })
    };
    let data = with(&table).unwrap();
    assert_eq!((data.labelled(), data.label(5), data.label(0)), (2, Some(1), None));
    fs_err::write(&table, "3.png,cat\n3.jpg,dog\n").unwrap();
    let message = with(&table).unwrap_err().to_string();
    assert!(message.contains("labels.csv: line 2: no image 3.jpg"), "{message}");

    // Apart, and the same folder inside the pile: its images count once.
    for labelled in [dir.path().join("labelled"), pile.join("labelled")] {
        class_folders(&few, &labelled);
        let data = with(&labelled).unwrap();
        assert_eq!((data.kind(), data.len(), data.labelled()), (SourceKind::Joined, 40, 30));
        assert!(data.label(9).is_none() && data.label(10).is_some());
        assert!(data.id(10).starts_with("labelled/class-"));
        assert!(data.images().decode(39).is_ok());
    }
}

#[test]
fn a_damaged_tar_is_refused_wherever_it_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    class_folders(&few(6), dir.path());
    let bytes = tar_of(dir.path(), "set");
    let index = |bytes: &[u8]| {
        tar_source::index(Path::new("set.tar"), Cursor::new(bytes), bytes.len() as u64)
    };
    let entries = index(&bytes).unwrap();
    assert_eq!(entries.len(), 6);
    let end = bytes.len() - 1024;
    for cut in (0..end).step_by(97).chain([end, end + 511]) {
        let error = index(&bytes[..cut]).unwrap_err();
        assert!(matches!(error, Error::Tar { offset, .. } if offset <= cut as u64), "{error}");
    }
    // A header's checksum covers its 512 bytes.
    let first = entries.iter().map(|e| e.offset).min().unwrap() as usize;
    let mut damaged = bytes.clone();
    damaged[first - 512] ^= 1;
    let message = index(&damaged).unwrap_err().to_string();
    assert!(message.contains(&format!("at byte {}", first - 512)), "{message}");
}

#[test]
fn links_and_paths_out_of_a_tar_are_left_out_and_the_later_twin_counts() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind: tar::EntryType, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Set by hand: the builder itself refuses `..`.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if kind != tar::EntryType::Regular {
            header.set_link_name("a.png").unwrap();
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    };
    add("a.png", tar::EntryType::Regular, b"first");
    add("../out.png", tar::EntryType::Regular, b"x");
    add("/root.png", tar::EntryType::Regular, b"x");
    add("link.png", tar::EntryType::Symlink, b"");
    add("hard.png", tar::EntryType::Link, b"");
    add("./a.png", tar::EntryType::Regular, b"second one");
    let bytes = builder.into_inner().unwrap();
    let entries =
        tar_source::index(Path::new("t"), Cursor::new(&bytes), bytes.len() as u64).unwrap();
    let found: Vec<_> = entries.iter().map(|e| (e.path.as_str(), e.len)).collect();
    assert_eq!(found, [("a.png", 10)]);
}

#[test]
fn cifar_records_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let mut records = Vec::new();
    for i in 0..10u8 {
        records.push(i);
        records.extend((0..3072u32).map(|at| (at / 1024) as u8 * 100 + i));
    }
    let file = dir.path().join("data_batch_1.bin");
    fs_err::write(&file, &records).unwrap();
    fs_err::write(dir.path().join("test_batch.bin"), &records[..3073]).unwrap();
    let data = Dataset::open(dir.path()).unwrap();
    assert_eq!((data.kind(), data.len()), (SourceKind::CifarBinary, 11));
    assert_eq!((data.id(9), data.label(9)), ("data_batch_1.bin/9".to_owned(), Some(9)));
    assert_eq!(data.images().decode(9).unwrap().get_pixel(31, 31).0, [9, 109, 209]);
    assert_eq!(part(dir.path(), Part::Test).unwrap().len(), 1);

    records[3073] = 10;
    fs_err::write(&file, &records).unwrap();
    let message = Dataset::open(dir.path()).unwrap_err().to_string();
    assert!(message.contains("record 1 has label 10, but there are 10 classes"), "{message}");
    fs_err::write(&file, &records[..4000]).unwrap();
    let message = Dataset::open(dir.path()).unwrap_err().to_string();
    assert!(message.contains("4000 bytes are not a whole number of 3073-byte"), "{message}");
}

#[test]
fn the_official_cifar_10_records_read_as_published() {
    let Some(path) = shared("cifar-10-lossless-subset") else { return };
    let train = part(&path, Part::Train).unwrap();
    assert_eq!((train.len(), part(&path, Part::Test).unwrap().len()), (8_068, 1_017));
    assert_eq!(train.classes()[0], "airplane");
    let bytes = fs_err::read(path.join("data_batch_1.bin")).unwrap();
    let last = &bytes[8_067 * 3_073..];
    let pixels = train.images().decode_at(8_067, Size::square(32)).unwrap();
    assert_eq!(train.label(8_067), Some(u32::from(last[0])));
    for at in 0..1024 {
        assert_eq!(pixels[3 * at..3 * at + 3], [last[1 + at], last[1025 + at], last[2049 + at]]);
    }
}

#[test]
fn the_large_archives_open() {
    if let Some(path) = shared("cifar-10-jpeg/train.tar") {
        let data = Dataset::open(&path).unwrap();
        assert_eq!((data.len(), data.labelled(), data.classes().len()), (50_000, 50_000, 10));
        assert_eq!(data.id(0), "train/airplane/00029.jpg");
        assert_eq!(part(&path, Part::Train).unwrap().len(), 50_000);
        assert!(matches!(part(&path, Part::Test), Err(Error::NoPart { .. })));
    }
    if let Some(path) = shared("imagenet-samples-1000.tar") {
        let data = Dataset::open(&path).unwrap();
        assert_eq!((data.len(), data.labelled()), (1_000, 0));
        assert!(data.images().decode(999).is_ok());
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
        let name = Path::new("x");
        let _ = idx::read(name, bytes.as_slice());
        let _ = idx::read(name, [&[0, 0, 8, 3], bytes.as_slice()].concat().as_slice());
        let _ = cifar::labels(name, &bytes, cifar::Variant::Cifar100, 100);
        let _ = tar_source::index(name, Cursor::new(&bytes), bytes.len() as u64);
    }

    #[test]
    fn a_tar_with_a_changed_byte_never_panics(at in 0usize..6000, value: u8) {
        let mut builder = tar::Builder::new(Vec::new());
        for name in ["a/1.png", "b/2.png", &"long/".repeat(30)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(700);
            builder.append_data(&mut header, format!("{name}x"), [7; 700].as_slice()).unwrap();
        }
        let mut bytes = builder.into_inner().unwrap();
        let at = at % bytes.len();
        bytes[at] = value;
        let length = bytes.len() as u64;
        if let Ok(entries) = tar_source::index(Path::new("x"), Cursor::new(&bytes), length) {
            for entry in entries {
                prop_assert!(entry.offset + entry.len <= length);
            }
        }
    }
}

#[test]
fn a_gzip_bomb_stops_at_what_its_header_promises() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&[0, 0, 8, 1, 0, 0, 0, 4]).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..64 {
        gzip.write_all(&zeros).unwrap();
    }
    let bytes = gzip.finish().unwrap();
    let message = idx::read(Path::new("bomb"), bytes.as_slice()).unwrap_err().to_string();
    assert!(message.contains("promises 4 elements [4], but there are more"), "{message}");
}
