//! Decoding, caching and batching.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Cursor;
use std::path::Path;

use common::{class_folders, few, shared};
use hebbian_data::decode::{self, Colour};
use hebbian_data::{
    Dataset, Error, Images, Order, Share, Size, batches, cache, seed, shared_batches,
};
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgba, RgbaImage};
use proptest::prelude::*;

const SIZE: Size = Size::square(16);

fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn every_format_decodes() {
    let image = few(1).images().decode(0).unwrap();
    for format in ["png", "jpg", "webp", "gif", "bmp", "tiff"] {
        let format = ImageFormat::from_extension(format).unwrap();
        let bytes = encode(&image.clone().into(), format);
        let decoded = decode::decode(&bytes).unwrap();
        assert_eq!(decode::header(&bytes).unwrap().format, format);
        let apart = image.iter().zip(decoded.iter()).map(|(a, b)| a.abs_diff(*b) as u32);
        let mean = apart.sum::<u32>() as f64 / image.len() as f64;
        let lossless = !matches!(format, ImageFormat::Jpeg | ImageFormat::Gif);
        assert!(if lossless { mean == 0.0 } else { mean < 4.0 }, "{format:?}: {mean}");
    }
}

#[test]
fn a_content_hash_knows_the_bytes_and_not_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let few = few(2).images();
    let bytes: Vec<_> =
        (0..2).map(|i| encode(&few.decode(i).unwrap().into(), ImageFormat::Png)).collect();
    for (name, i) in [("a.png", 0), ("b.png", 1), ("c.png", 0)] {
        std::fs::write(dir.path().join(name), &bytes[i]).unwrap();
    }
    let images = Dataset::open(dir.path()).unwrap().images();
    let hash = |i| images.content_hash(i).unwrap();
    assert_eq!(hash(0), hash(2));
    assert_ne!(hash(0), hash(1));
    assert_eq!(images.subset(&[1]).content_hash(0).unwrap(), hash(1));
    assert!(matches!(images.content_hash(3), Err(Error::RowOutOfRange { .. })));
    // Pixels without a file have a hash too, by size and values.
    let pixels = [few.content_hash(0).unwrap(), few.content_hash(1).unwrap()];
    assert_ne!(pixels[0], pixels[1]);
}

#[test]
fn grey_deep_and_transparent_images_become_rgb() {
    let deep = image::ImageBuffer::from_pixel(3, 2, Luma([0x8040u16]));
    let bytes = encode(&deep.into(), ImageFormat::Png);
    assert_eq!(decode::header(&bytes).unwrap().colour, Colour::Deep);
    assert_eq!(decode::decode(&bytes).unwrap().get_pixel(2, 1).0, [0x80; 3]);
    let grey = encode(&GrayImage::from_pixel(3, 2, Luma([9])).into(), ImageFormat::Png);
    assert_eq!(decode::decode(&grey).unwrap().get_pixel(0, 0).0, [9; 3]);
    let clear = RgbaImage::from_fn(3, 1, |x, _| Rgba([200, 100, 0, [0, 128, 255][x as usize]]));
    let over = decode::decode(&encode(&clear.into(), ImageFormat::Png)).unwrap();
    let pixels: Vec<_> = over.pixels().map(|p| p.0).collect();
    assert_eq!(pixels, [[255, 255, 255], [227, 177, 127], [200, 100, 0]]);
}

#[test]
fn the_exif_orientation_is_applied() {
    let image = few(1).images().decode(0).unwrap();
    let jpeg = encode(&image.into(), ImageFormat::Jpeg);
    // APP1 with one entry: tag 0x0112 (orientation), short, 6 (turn clockwise).
    let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let mut turned = jpeg[..2].to_vec();
    turned.extend([0xff, 0xe1, 0, exif.len() as u8 + 2]);
    turned.extend(exif);
    turned.extend(&jpeg[2..]);
    let upright = image::imageops::rotate90(&decode::decode(&jpeg).unwrap());
    assert_eq!(decode::decode(&turned).unwrap(), upright);
}

#[test]
fn a_bomb_is_refused_before_its_pixels_are_allocated() {
    let mut png = encode(&GrayImage::new(1, 1).into(), ImageFormat::Png);
    for side in [30_000u32, 60_000] {
        png[16..20].copy_from_slice(&side.to_be_bytes());
        png[20..24].copy_from_slice(&side.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&png[12..29]);
        png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        let reason = decode::decode(&png).unwrap_err();
        assert!(reason.contains("limit"), "{reason}");
    }
}

/// A folder of 30 images, of which two can't be decoded.
fn damaged_folder(root: &Path) -> Images {
    let ids = class_folders(&few(30), root);
    fs_err::write(root.join(&ids[3]), b"\x89PNG\r\n\x1a\n and no more").unwrap();
    let whole = fs_err::read(root.join(&ids[7])).unwrap();
    fs_err::write(root.join(&ids[7]), &whole[..whole.len() / 2]).unwrap();
    Dataset::open(root).unwrap().images()
}

#[test]
fn batches_keep_the_order_and_tell_what_they_skip() {
    let dir = tempfile::tempdir().unwrap();
    let images = damaged_folder(dir.path());
    let order = seed::shuffled(30, 1, "epoch");
    let mut run = batches(&images, order.clone().into(), 8, SIZE);
    let (mut rows, mut told) = (Vec::new(), Vec::new());
    for batch in run.by_ref() {
        let batch = batch.unwrap();
        told.extend_from_slice(&batch.skipped);
        assert_eq!(batch.pixels.len(), batch.rows.len() * SIZE.bytes());
        for (row, pixels) in batch.rows.iter().zip(batch.pixels.chunks(SIZE.bytes())) {
            assert_eq!(pixels, images.decode_at(*row, SIZE).unwrap());
        }
        rows.extend(batch.rows);
    }
    let readable: Vec<usize> = order.into_iter().filter(|row| ![3, 7].contains(row)).collect();
    assert_eq!(rows, readable);
    let mut skipped = run.skipped();
    assert_eq!(skipped, told);
    skipped.sort_by_key(|s| s.row);
    assert_eq!(skipped.iter().map(|s| s.row).collect::<Vec<_>>(), [3, 7]);
    assert_eq!(skipped[0].id, images.id(3));
}

#[test]
fn shares_of_a_batch_are_parts_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let images = damaged_folder(dir.path());
    let order = seed::shuffled(30, 1, "epoch");
    let whole: Vec<_> =
        batches(&images, order.clone().into(), 7, SIZE).map(Result::unwrap).collect();
    // The last batch has two images, of which two of five processes have one.
    for of in [2, 3, 5] {
        let share = |index| Share::new(index, of).unwrap();
        let mut runs: Vec<_> = (0..of)
            .map(|index| shared_batches(&images, order.clone().into(), 7, share(index), SIZE))
            .collect();
        for batch in &whole {
            let parts = runs.iter_mut().map(|run| run.next().unwrap().unwrap());
            let parts: Vec<_> = parts.collect();
            let rows = parts.iter().flat_map(|part| part.rows.clone());
            assert_eq!(rows.collect::<Vec<_>>(), batch.rows);
            let pixels = parts.iter().flat_map(|part| part.pixels.clone());
            assert_eq!(pixels.collect::<Vec<_>>(), batch.pixels);
            let most = parts.iter().map(|part| part.rows.len()).max().unwrap();
            assert!(most <= 7usize.div_ceil(of), "{most} of 7 by {of}");
        }
        assert!(runs.iter_mut().all(|run| run.next().is_none()));
        let mut skipped: Vec<_> = runs.iter().flat_map(|run| run.skipped()).collect();
        skipped.sort_by_key(|image| image.row);
        assert_eq!(skipped.iter().map(|image| image.row).collect::<Vec<_>>(), [3, 7]);
    }
    // Whoever can read none of its images leaves it to all to say so.
    let second = shared_batches(&images, vec![5, 3].into(), 2, Share::new(1, 2).unwrap(), SIZE);
    assert_eq!(second.map(|batch| batch.unwrap().rows).collect::<Vec<_>>(), [Vec::<usize>::new()]);
}

#[test]
fn batches_that_can_not_be_made_end_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let images = damaged_folder(dir.path());
    let error = |order: Vec<usize>, batch_size, size| {
        let mut run = batches(&images, order.into(), batch_size, size);
        let error = run.find_map(Result::err).unwrap();
        assert!(run.next().is_none());
        error
    };
    assert!(matches!(error(vec![0, 30], 4, SIZE), Error::RowOutOfRange { row: 30, len: 30 }));
    assert!(matches!(error(vec![0], 0, SIZE), Error::Parameter { name: "batch_size", .. }));
    assert!(matches!(error(vec![0], 4, Size::square(0)), Error::BadSize { .. }));
    assert!(matches!(error(vec![3, 7], 1, SIZE), Error::NothingReadable { asked: 2, .. }));
    assert!(batches(&images, Vec::new().into(), 4, SIZE).next().is_none());
    // The n-th batch is the same whatever can be read of those before it.
    let rows = batches(&images, vec![3, 7, 5].into(), 1, SIZE).map(|batch| batch.unwrap().rows);
    assert_eq!(rows.collect::<Vec<_>>(), [vec![], vec![], vec![5]]);
    // The rest of an order may well be unreadable.
    let rest = Order::from(vec![5, 3, 7]).skip(1);
    let rows = batches(&images, rest, 2, SIZE).map(|batch| batch.unwrap().rows);
    assert_eq!(rows.collect::<Vec<_>>(), [vec![0; 0]]);
    // Left early, the decoder stops and is joined.
    drop(batches(&images, (0..30).cycle().take(1_000_000).collect(), 1, SIZE));
}

#[test]
fn a_folder_that_goes_away_ends_the_batches() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("disk");
    let ids = class_folders(&few(100), &root);
    let images = Dataset::open(&root).unwrap().images();
    // A few files may go.
    ids[..20].iter().for_each(|id| fs_err::remove_file(root.join(id)).unwrap());
    let order: Vec<usize> = (0..100).collect();
    let kept = batches(&images, order.clone().into(), 8, SIZE).map(|batch| batch.unwrap().rows);
    assert_eq!(kept.map(|rows| rows.len()).sum::<usize>(), 80);
    fs_err::rename(&root, dir.path().join("elsewhere")).unwrap();
    let error = batches(&images, order.into(), 8, SIZE).find_map(Result::err).unwrap();
    assert!(matches!(error, Error::Lost { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(&ids[63]) && message.contains("63 images before it"), "{message}");
}

#[test]
fn batches_come_inside_a_pool_of_one_thread() {
    let images = few(20).images();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let count = pool.install(|| batches(&images, (0..20).collect(), 3, SIZE).count());
    assert_eq!(count, 7);
}

fn all(images: &Images) -> Vec<Result<Vec<u8>, String>> {
    let decode = |i| images.decode_at(i, SIZE).map_err(|e| e.to_string());
    (0..images.len()).map(decode).collect()
}

#[test]
fn a_cache_serves_every_split_and_is_built_again_when_it_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let (root, caches) = (dir.path().join("set"), dir.path().join("caches"));
    let images = damaged_folder(&root);
    let expected = all(&images);
    let cached = |images: &Images| {
        let mut built = 0;
        let cached = images.cached(&caches, SIZE, &mut |done, _| built = done).unwrap();
        (cached, built)
    };
    let (first, built) = cached(&images.subset(&[5, 3]));
    assert_eq!(built, 30);
    assert_eq!(all(&first), [expected[5].clone(), expected[3].clone()]);
    let (whole, built) = cached(&images);
    assert_eq!((built, all(&whole)), (0, expected.clone()));
    // Another size is decoded as without a cache.
    assert!(whole.decode_at(0, Size::square(5)).is_ok());

    let files = || -> Vec<_> {
        fs_err::read_dir(&caches).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let [file] = &files()[..] else { panic!("one file: {:?}", files()) };
    let bytes = fs_err::read(file).unwrap();
    let tail = cache::HEADER_BYTES + 30 * SIZE.bytes();
    for cut in [0, 60, cache::HEADER_BYTES, 9_000, tail, bytes.len() - 1] {
        fs_err::write(file, &bytes[..cut]).unwrap();
        let (again, built) = cached(&images);
        assert_eq!((built, all(&again)), (30, expected.clone()), "cut at {cut}");
    }
    for flip in [0, 9, 20, 70, 100, 127, tail, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[flip] ^= 4;
        fs_err::write(file, damaged).unwrap();
        assert_eq!(cached(&images).1, 30, "byte {flip} changed");
    }
    // A changed image makes it stale.
    fs_err::copy(root.join(images.id(0)), root.join(images.id(3))).unwrap();
    let (fresh, built) = cached(&Dataset::open(&root).unwrap().images());
    assert_eq!(built, 30);
    assert_eq!(all(&fresh)[3], expected[0]);
    assert_eq!(files().len(), 1);
}

#[test]
fn a_photo_keeps_its_middle() {
    let Some(path) = shared("imagenet-samples-1000.tar") else { return };
    let images = Dataset::open(&path).unwrap().images();
    let size = Size::square(64);
    let batch = batches(&images, (0..64).collect(), 64, size).next().unwrap().unwrap();
    assert_eq!(batch.rows.len(), 64);
    for row in 0..8 {
        let photo = images.decode(row).unwrap();
        let side = photo.width().min(photo.height());
        let (x, y) = ((photo.width() - side) / 2, (photo.height() - side) / 2);
        let middle = image::imageops::crop_imm(&photo, x, y, side, side).to_image();
        let mean =
            |pixels: &[u8]| pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / pixels.len() as f64;
        let ours = mean(&batch.pixels[row * size.bytes()..][..size.bytes()]);
        assert!((ours - mean(&middle)).abs() < 2.0, "{}", images.id(row));
    }
}

proptest! {
    #[test]
    fn garbage_is_no_image(mut bytes in prop::collection::vec(any::<u8>(), 0..600), magic in 0usize..6) {
        let start: &[u8] = [
            b"\x89PNG\r\n\x1a\n".as_slice(), b"\xff\xd8\xff\xe0", b"RIFF\x40\0\0\0WEBPVP8 ", b"GIF89a", b"BM",
            b"II*\0",
        ][magic];
        bytes.splice(..0, start.iter().copied());
        let _ = decode::decode(&bytes);
        let _ = decode::header(&bytes);
        let _ = cache::Header::parse(&bytes);
    }

    #[test]
    fn a_damaged_image_never_panics(format in 0usize..6, at in 0usize..10_000, value: u8, cut in 0usize..10_000) {
        let image: DynamicImage = few(1).images().decode(0).unwrap().into();
        let format = [
            ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp,
            ImageFormat::Tiff,
        ][format];
        let mut bytes = encode(&image, format);
        let at = at % bytes.len();
        bytes[at] = value;
        let _ = decode::decode(&bytes);
        bytes.truncate(cut % bytes.len());
        let _ = decode::decode(&bytes);
    }

    #[test]
    fn a_cache_header_survives_its_bytes(h in 1usize..4096, w in 1usize..4096, count: u64, failures_len: u64) {
        let header = cache::Header {
            size: Size { height: h, width: w }, count, fingerprint: [7; 32], failures_len, failures_hash: [9; 32],
        };
        prop_assert_eq!(cache::Header::parse(&header.to_bytes()), Some(header));
    }
}

#[test]
fn progress_is_told_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = (0, 0);
    few(300).images().cached(dir.path(), SIZE, &mut |done, all| last = (done, all)).unwrap();
    // The whole source of these images is cached.
    assert_eq!(last, (2_000, 2_000));
}
