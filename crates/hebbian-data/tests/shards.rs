//! Tar shards and Parquet files: opened, shuffled, resumed and damaged.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{few, shared};
use hebbian_data::order::SHARDS_AT_ONCE;
use hebbian_data::{
    Dataset, Error, Images, OpenOptions, Order, Part, Share, Size, SourceKind, batches, describe,
    shared_batches,
};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

const SIZE: Size = Size::square(28);

/// Writes `files` as a tar.
fn tar(path: &Path, files: &[(String, Vec<u8>)]) {
    let mut builder = tar::Builder::new(fs_err::File::create(path).unwrap());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &content[..]).unwrap();
    }
    builder.finish().unwrap();
}

/// The images of `data` as WebDataset shards `train-NNN.tar` of `each` images, with their labels
/// and files that nobody asked for. Returns the pattern.
fn web_shards(data: &Dataset, folder: &Path, each: usize) -> PathBuf {
    fs_err::create_dir_all(folder).unwrap();
    let rows: Vec<usize> = (0..data.len()).collect();
    for (shard, rows) in rows.chunks(each).enumerate() {
        let mut files = Vec::new();
        for &row in rows {
            let label = data.label(row).unwrap().to_string();
            files.push((format!("{row:06}.json"), b"{}".to_vec()));
            files.push((format!("{row:06}.png"), data.images().encoded(row).unwrap().into_owned()));
            files.push((format!("{row:06}.cls"), label.into_bytes()));
        }
        tar(&folder.join(format!("train-{shard:03}.tar")), &files);
    }
    folder.join(format!("train-{{000..{:03}}}.tar", data.len().div_ceil(each) - 1))
}

const NAMES: [&str; 10] =
    ["shirt", "trouser", "pullover", "dress", "coat", "sandal", "top", "sneaker", "bag", "boot"];

/// The images of `data` as a Parquet file like those on Hugging Face, `group` images a row group.
fn parquet(data: &Dataset, rows: &[usize], path: &Path, group: usize) {
    let schema = "message schema {
        optional group image { optional binary bytes; optional binary path (UTF8); }
        optional int64 label;
    }";
    let features = serde_json::json!({ "info": { "features": {
        "image": { "_type": "Image" }, "label": { "names": NAMES, "_type": "ClassLabel" }
    } } });
    let written = KeyValue::new("huggingface".to_owned(), features.to_string());
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(vec![written]))
        .set_compression(parquet::basic::Compression::SNAPPY)
        .set_data_page_size_limit(4096)
        .build();
    let file = fs_err::File::create(path).unwrap().into_parts().0;
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(group) {
        let bytes =
            |&row: &usize| ByteArray::from(data.images().encoded(row).unwrap().into_owned());
        let images: Vec<ByteArray> = rows.iter().map(bytes).collect();
        let paths: Vec<ByteArray> =
            rows.iter().map(|row| ByteArray::from(format!("{row}.png").as_str())).collect();
        let labels: Vec<i64> = rows.iter().map(|&row| data.label(row).unwrap().into()).collect();
        let mut group = writer.next_row_group().unwrap();
        for texts in [images, paths] {
            let mut column = group.next_column().unwrap().unwrap();
            let levels = vec![2; rows.len()];
            column.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None).unwrap();
            column.close().unwrap();
        }
        let mut column = group.next_column().unwrap().unwrap();
        let levels = vec![1; rows.len()];
        column.typed::<Int64Type>().write_batch(&labels, Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

/// Every image in an order, and what was skipped.
fn read(images: &Images, order: Order) -> (Vec<usize>, Vec<u8>, Vec<String>) {
    let mut stream = batches(images, order, 7, SIZE);
    let (mut rows, mut pixels) = (Vec::new(), Vec::new());
    for batch in stream.by_ref() {
        let batch = batch.unwrap();
        rows.extend(batch.rows);
        pixels.extend(batch.pixels);
    }
    (rows, pixels, stream.skipped().into_iter().map(|skipped| skipped.id).collect())
}

#[test]
fn shards_hold_the_same_images_and_labels_as_the_original() {
    let dir = tempfile::tempdir().unwrap();
    let data = few(100);
    let pattern = web_shards(&data, &dir.path().join("tars"), 12);
    let parquets = dir.path().join("parquets/data");
    fs_err::create_dir_all(&parquets).unwrap();
    let all: Vec<usize> = (0..100).collect();
    parquet(&data, &all[..60], &parquets.join("train-00000-of-00002.parquet"), 7);
    parquet(&data, &all[60..], &parquets.join("train-00001-of-00002.parquet"), 100);
    let whole = read(&data.images(), (0..100).collect());
    for (path, kind) in [
        (pattern.clone(), SourceKind::TarShards),
        (dir.path().join("tars"), SourceKind::TarShards),
        (dir.path().join("parquets"), SourceKind::Parquet),
    ] {
        let shards = Dataset::open(&path).unwrap();
        assert_eq!((shards.kind(), shards.labels()), (kind, data.labels()));
        assert_eq!(read(&shards.images(), (0..100).collect()), whole);
        // At random too, backwards and one by one.
        let (ours, theirs) = (shards.images(), data.images());
        for row in (0..100).rev().step_by(9) {
            assert_eq!(ours.encoded(row).unwrap(), theirs.encoded(row).unwrap());
        }
        let rows = [40, 3, 99, 3];
        let hashes: Vec<_> =
            rows.iter().map(|&row| shards.images().content_hash(row).unwrap()).collect();
        let found = shards.images().content_hashes(&rows);
        assert_eq!(found.into_iter().map(Result::unwrap).collect::<Vec<_>>(), hashes);
        let ids: HashSet<String> = (0..100).map(|row| shards.id(row)).collect();
        assert_eq!(ids.len(), 100);
        let described = describe::describe(&shards, &mut |_, _| {}).unwrap();
        assert_eq!((described.images, described.labelled), (100, 100));
        assert!(described.unreadable.is_empty());
    }
    let tars = Dataset::open(&pattern).unwrap();
    assert_eq!((tars.id(13), tars.classes()[9].as_str()), ("train-001/000013.png".into(), "9"));
    let parquets = Dataset::open(&parquets).unwrap();
    assert_eq!(parquets.id(61), "train-00001-of-00002/1");
    assert_eq!(parquets.classes(), NAMES);
}

/// A file by pyarrow; `parquet/make.py` made it.
#[test]
fn a_file_of_another_program_opens() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let data = Dataset::open(&tests.join("parquet")).unwrap();
    assert_eq!(data.classes(), ["grey", "444", "422", "420"]);
    assert_eq!(data.labels(), [Some(0), Some(1), Some(2), Some(3), Some(2), None]);
    let images = data.images();
    for (row, name) in data.classes().iter().enumerate() {
        let file = fs_err::read(tests.join(format!("pil/{name}.jpg"))).unwrap();
        assert_eq!(images.encoded(row).unwrap(), file);
    }
    let (rows, _, skipped) = read(&images, images.shuffled(0, "epoch"));
    assert_eq!(rows.iter().collect::<HashSet<_>>(), [0, 1, 2, 3, 5].iter().collect());
    assert_eq!(skipped, ["train-00000-of-00001/4"]);
    let reason = images.decode(4).unwrap_err().to_string();
    assert!(reason.contains("its row holds no image"), "{reason}");
}

#[test]
fn an_order_of_shards_holds_every_image_once_and_mixes_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = few(1200);
    let images = Dataset::open(&web_shards(&data, dir.path(), 40)).unwrap().images();
    let order = images.shuffled(5, "epoch");
    assert_eq!(order, images.shuffled(5, "epoch"));
    assert_ne!(order, images.shuffled(6, "epoch"));
    assert_ne!(order, images.shuffled(5, "another epoch"));
    let mut sorted = order.rows().to_vec();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1200).collect::<Vec<_>>());
    // 30 shards: the first window draws from 16 of them, mixed.
    let shards: HashSet<usize> = order.rows()[..640].iter().map(|row| row / 40).collect();
    assert_eq!(shards.len(), SHARDS_AT_ONCE);
    let changes = order.rows()[..640].windows(2).filter(|pair| pair[0] / 40 != pair[1] / 40);
    assert!(changes.count() > 500);
    // A part of the images is mixed in the same way.
    let few: Vec<usize> = (0..1200).rev().step_by(3).collect();
    let part = images.subset(&few).shuffled(5, "epoch");
    let mut sorted = part.rows().to_vec();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..400).collect::<Vec<_>>());
}

#[test]
fn an_epoch_goes_on_in_the_middle_to_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let data = few(300);
    let all: Vec<usize> = (0..300).collect();
    let parquets: Vec<PathBuf> =
        (0..3).map(|n| dir.path().join(format!("p-{n}.parquet"))).collect();
    for (path, rows) in parquets.iter().zip(all.chunks(100)) {
        parquet(&data, rows, path, 33);
    }
    let tars = web_shards(&data, &dir.path().join("tars"), 25);
    for path in [tars, dir.path().join("p-{0..2}.parquet")] {
        let images = Dataset::open(&path).unwrap().images();
        let (rows, pixels, _) = read(&images, images.shuffled(1, "epoch"));
        assert_eq!(rows.len(), 300);
        for done in [1, 70, 143, 299, 300] {
            let again = Dataset::open(&path).unwrap().images();
            let (left, left_pixels, _) = read(&again, again.shuffled(1, "epoch").skip(done));
            assert_eq!(left, rows[done..]);
            assert_eq!(left_pixels, pixels[done * SIZE.bytes()..]);
            let order = again.shuffled(1, "epoch").skip(done);
            let share = |index| Share::new(index, 3).unwrap();
            let mut shares =
                [0, 1, 2].map(|i| shared_batches(&again, order.clone(), 7, share(i), SIZE));
            let (mut left, mut left_pixels) = (Vec::new(), Vec::new());
            for _ in 0..order.len().div_ceil(7) {
                for batch in shares.iter_mut().map(|share| share.next().unwrap().unwrap()) {
                    left.extend(batch.rows);
                    left_pixels.extend(batch.pixels);
                }
            }
            assert_eq!(
                (left, left_pixels),
                (rows[done..].to_vec(), pixels[done * SIZE.bytes()..].to_vec())
            );
        }
    }
}

#[test]
fn parts_are_told_by_the_names_of_shards() {
    let dir = tempfile::tempdir().unwrap();
    let data = few(30);
    let rows: Vec<usize> = (0..30).collect();
    for (name, rows) in [("train-0", &rows[..20]), ("validation-0", &rows[20..])] {
        parquet(&data, rows, &dir.path().join(format!("{name}.parquet")), 100);
    }
    let part = |part| {
        let options = OpenOptions { part, ..OpenOptions::default() };
        Dataset::open_with(dir.path(), &options).unwrap().len()
    };
    assert_eq!([part(Part::All), part(Part::Train), part(Part::Test)], [30, 20, 10]);
}

#[test]
fn class_folders_in_shards_give_the_labels() {
    let dir = tempfile::tempdir().unwrap();
    let data = few(20);
    for shard in 0..2 {
        let rows = (0..20).filter(|row| row % 2 == shard);
        let file = |row: usize| {
            let class = NAMES[data.label(row).unwrap() as usize];
            (format!("set/{class}/{row}.png"), data.images().encoded(row).unwrap().into_owned())
        };
        tar(&dir.path().join(format!("{shard}.tar")), &rows.map(file).collect::<Vec<_>>());
    }
    let shards = Dataset::open(&dir.path().join("{0..1}.tar")).unwrap();
    assert_eq!((shards.len(), shards.labelled()), (20, 20));
    for row in 0..20 {
        let class = &shards.classes()[shards.label(row).unwrap() as usize];
        assert!(shards.id(row).contains(&format!("/set/{class}/")), "{}", shards.id(row));
    }
}

#[test]
fn a_shard_that_is_cut_short_is_an_error_at_any_time() {
    let dir = tempfile::tempdir().unwrap();
    let data = few(60);
    let pattern = web_shards(&data, dir.path(), 20);
    let second = dir.path().join("train-001.tar");
    let whole = fs_err::read(&second).unwrap();
    for cut in [0, 100, 512, whole.len() / 2, whole.len() - 1024] {
        let opened = Dataset::open(&pattern).unwrap().images();
        fs_err::write(&second, &whole[..cut]).unwrap();
        // Not there when it is opened: an error that names the file.
        let message = Dataset::open(&pattern).unwrap_err().to_string();
        assert!(message.contains("train-001.tar"), "{message}");
        // Nor after it was opened, whatever is left: half a shard is not a few images.
        let mut stream = batches(&opened, opened.shuffled(3, "epoch"), 8, SIZE);
        let error = stream.find_map(Result::err).unwrap();
        let message = error.to_string();
        assert!(matches!(error, Error::Lost { .. }), "{message}");
        assert!(message.contains("train-001.tar: was cut short"), "{message}");
        fs_err::write(&second, &whole).unwrap();
    }
    fs_err::remove_file(&second).unwrap();
    assert!(matches!(Dataset::open(&pattern), Err(Error::Io { action: "open", .. })));
}

#[test]
fn a_damaged_parquet_file_never_panics_and_loses_no_image_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let data = few(40);
    let path = dir.path().join("train.parquet");
    parquet(&data, &(0..40).collect::<Vec<_>>(), &path, 10);
    let whole = fs_err::read(&path).unwrap();
    let mut opened = 0;
    for at in (4..whole.len()).step_by(whole.len() / 150) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        fs_err::write(&path, &damaged).unwrap();
        let Ok(data) = Dataset::open(&path) else { continue };
        opened += 1;
        let images = data.images();
        let mut stream = batches(&images, (0..data.len()).collect(), 8, SIZE);
        let rows: usize = stream.by_ref().map(|b| b.map_or(0, |b| b.rows.len())).sum();
        assert_eq!(rows + stream.skipped().len(), 40);
    }
    assert!(opened > 50, "{opened}");
    for cut in [0, 3, 4, whole.len() / 2, whole.len() - 1] {
        fs_err::write(&path, &whole[..cut]).unwrap();
        let message = Dataset::open(&path).unwrap_err().to_string();
        assert!(message.contains("train.parquet"), "{message}");
    }
}

#[test]
fn labels_that_are_no_numbers_are_refused_and_negative_ones_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let png = few(1).images().encoded(0).unwrap().into_owned();
    let path = dir.path().join("0.tar");
    let open = |cls: &str| {
        let files = [("a.png".to_owned(), png.clone()), ("a.cls".to_owned(), cls.into())];
        tar(&path, &files);
        Dataset::open(&path)
    };
    assert_eq!(open(" 3\n").unwrap().label(0), Some(3));
    assert_eq!(open("-1").unwrap().label(0), None);
    for cls in ["", "cat", "3.5", "99999999", "                                       1"] {
        let message = open(cls).unwrap_err().to_string();
        assert!(message.contains("0.tar: at byte") && message.contains("a.cls"), "{message}");
    }
}

#[test]
fn a_cache_of_shards_holds_what_they_hold() {
    let dir = tempfile::tempdir().unwrap();
    let data = few(50);
    let shards = Dataset::open(&web_shards(&data, &dir.path().join("tars"), 9)).unwrap();
    let expected = read(&shards.images(), shards.images().shuffled(0, "epoch"));
    let cached = shards.images().cached(&dir.path().join("cache"), SIZE, &mut |_, _| {}).unwrap();
    assert_eq!(read(&cached, cached.shuffled(0, "epoch")), expected);
}

#[test]
fn real_photos_in_shards() {
    let Some(photos) = shared("imagenet-samples-1000.tar") else { return };
    let dir = tempfile::tempdir().unwrap();
    let photos = Dataset::open(&photos).unwrap().images();
    for shard in 0..4 {
        let rows = shard * 50..shard * 50 + 50;
        let file = |row| (photos.id(row), photos.encoded(row).unwrap().into_owned());
        tar(&dir.path().join(format!("{shard}.tar")), &rows.map(file).collect::<Vec<_>>());
    }
    let shards = Dataset::open(&dir.path().join("{0..3}.tar")).unwrap();
    assert_eq!(shards.labelled(), 0);
    let size = Size::square(64);
    let (mut seen, images) = (0, shards.images());
    for batch in batches(&images, images.shuffled(1, "epoch"), 32, size) {
        let batch = batch.unwrap();
        for (&row, pixels) in batch.rows.iter().zip(batch.pixels.chunks(size.bytes())) {
            assert_eq!(pixels, photos.decode_at(row, size).unwrap());
            seen += 1;
        }
    }
    assert_eq!(seen, 200);
}

/// A file of many images that is cut short, or goes away, while it is in use ends the work with
/// its name: half a shard is not a few images.
#[test]
fn a_file_of_many_images_cut_short_while_it_is_in_use_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = few(40);
    let pattern = web_shards(&data, &dir.path().join("shards"), 10);
    let alone = dir.path().join("shards/train-002.tar");
    let table = dir.path().join("table.parquet");
    parquet(&data, &(0..40).collect::<Vec<_>>(), &table, 10);
    for (open, file) in [(&pattern, &alone), (&alone, &alone), (&table, &table)] {
        let images = Dataset::open(open).unwrap().images();
        let whole = fs_err::read(file).unwrap();
        let read = || batches(&images, images.shuffled(0, "x"), 4, SIZE).find_map(Result::err);
        assert!(read().is_none());
        let cut = fs_err::OpenOptions::new().write(true).open(file).unwrap();
        cut.set_len(whole.len() as u64 / 2).unwrap();
        let error = read().unwrap();
        let message = error.to_string();
        assert!(matches!(error, Error::Lost { .. }), "{message}");
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(message.contains(name) && message.contains("was cut short"), "{message}");
        // Whole again, it is read again.
        fs_err::write(file, &whole).unwrap();
        assert!(read().is_none());
        // One tar is kept open, and Parquet files may be, so that they may go.
        if open == &pattern {
            fs_err::remove_file(file).unwrap();
            let message = read().unwrap().to_string();
            assert!(message.contains(name) && message.contains("any more"), "{message}");
            fs_err::write(file, &whole).unwrap();
        }
    }
}
