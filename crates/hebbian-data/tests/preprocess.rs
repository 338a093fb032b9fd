//! Normalisation and whitening against their definitions.
#![allow(clippy::unwrap_used)]

mod common;

use common::{few, shared};
use hebbian_data::preprocess::{Parts, Tensor};
use hebbian_data::{
    Batch, Dataset, Error, Images, OpenOptions, Part, Preprocess, Size, Whitening, batches,
};

fn fit(images: &Images, size: Size, whitening: Whitening) -> Preprocess {
    Preprocess::fit(images, size, whitening, 0.01, &mut |_, _| {}).unwrap()
}

fn one_batch(images: &Images, size: Size) -> Batch {
    let mut run = batches(images, (0..images.len()).collect(), images.len(), size);
    run.next().unwrap().unwrap()
}

/// Mean and population standard deviation of each channel, pixels in 0 to 1.
fn channels(batch: &Batch) -> ([f64; 3], [f64; 3]) {
    let mut result = ([0.0; 3], [0.0; 3]);
    for c in 0..3 {
        let values: Vec<f64> =
            batch.pixels.iter().skip(c).step_by(3).map(|&p| f64::from(p) / 255.0).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
        (result.0[c], result.1[c]) = (mean, variance.sqrt());
    }
    result
}

#[test]
fn normalised_channels_have_mean_0_and_deviation_1() {
    let (images, size) = (few(200).images(), Size { height: 12, width: 20 });
    let preprocess = fit(&images, size, Whitening::None);
    let batch = one_batch(&images, size);
    let (mean, std) = channels(&batch);
    let mut out = Vec::new();
    preprocess.apply(&batch, &mut out).unwrap();
    for c in 0..3 {
        assert!((f64::from(preprocess.mean[c]) - mean[c]).abs() < 1e-7);
        assert!((f64::from(preprocess.std[c]) - std[c]).abs() < 1e-7);
        let due = (f64::from(batch.pixels[300 + c]) / 255.0 - mean[c]) / std[c];
        assert!((f64::from(out[300 + c]) - due).abs() < 1e-5);
    }
    let other = one_batch(&images, Size::square(5));
    assert!(matches!(preprocess.apply(&other, &mut out), Err(Error::BadSize { .. })));
}

/// Checks Z (C + smoothing I) Z = I, which with Z symmetric and positive is its
/// definition, for vectors `x` whose covariance C is over `count - 1`, on a few vectors.
fn check_matrix(z: &[f32], x: &[Vec<f64>], count: usize, smoothing: f64) {
    let dim = x[0].len();
    let times_z = |v: &[f64]| -> Vec<f64> {
        z.chunks(dim).map(|row| row.iter().zip(v).map(|(a, b)| f64::from(*a) * b).sum()).collect()
    };
    for probe in 0..4 {
        let v: Vec<f64> = (0..dim).map(|i| ((i * 7 + probe * 13) % 11) as f64 - 5.0).collect();
        let zv = times_z(&v);
        let mut cv: Vec<f64> = zv.iter().map(|value| value * smoothing).collect();
        for row in x {
            let weight = row.iter().zip(&zv).map(|(a, b)| a * b).sum::<f64>() / (count - 1) as f64;
            cv.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
        }
        let back = times_z(&cv);
        let apart = back.iter().zip(&v).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-3, "probe {probe}: {apart}");
    }
}

#[test]
fn hl_21_centres_each_pixel_and_whitens_whole_images() {
    let (images, size) = (few(300).images(), Size { height: 6, width: 9 });
    let preprocess = fit(&images, size, Whitening::Hl21);
    let batch = one_batch(&images, size);
    let dim = size.bytes();
    let pixel = |row: usize, i: usize| f64::from(batch.pixels[row * dim + i]) / 255.0;
    let mean: Vec<f64> =
        (0..dim).map(|i| (0..300).map(|row| pixel(row, i)).sum::<f64>() / 300.0).collect();
    let x: Vec<Vec<f64>> =
        (0..300).map(|row| (0..dim).map(|i| pixel(row, i) - mean[i]).collect()).collect();
    let zca = preprocess.whitening.as_ref().unwrap();
    check_matrix(&zca.matrix, &x, 300, 0.01);
    let mut out = Vec::new();
    preprocess.apply(&batch, &mut out).unwrap();
    for (row, out) in x.iter().zip(out.chunks(dim)).step_by(50) {
        for (z, out) in zca.matrix.chunks(dim).zip(out) {
            let due: f64 = z.iter().zip(row).map(|(a, b)| f64::from(*a) * b).sum();
            assert!((due - f64::from(*out)).abs() < 1e-3, "{due} {out}");
        }
    }
}

/// One fit over two patches an image, since it decomposes a matrix of 3,072 rows.
#[test]
fn hl_22_whitens_normalised_patches_apart() {
    let (images, size) = (few(60).images(), Size { height: 32, width: 64 });
    let preprocess = fit(&images, size, Whitening::Fh);
    let batch = one_batch(&images, size);
    let (mean, std) = channels(&batch);
    let value = |row: usize, y: usize, x: usize, c: usize| {
        let pixel = batch.pixels[row * size.bytes() + (y * 64 + x) * 3 + c];
        (f64::from(pixel) / 255.0 - mean[c]) / std[c]
    };
    let patch = |row: usize, left: usize| -> Vec<f64> {
        (0..3072).map(|i| value(row, i / 96, left + i % 96 / 3, i % 3)).collect()
    };
    let x: Vec<Vec<f64>> = (0..60).flat_map(|row| [patch(row, 0), patch(row, 32)]).collect();
    let zca = preprocess.whitening.as_ref().unwrap();
    // Over the images less one, not the patches.
    check_matrix(&zca.matrix, &x, 60, 0.01);

    let mut out = Vec::new();
    preprocess.apply(&batch, &mut out).unwrap();
    let (row, y, column, c) = (17, 9, 41, 1);
    let z = &zca.matrix[((y * 32 + column - 32) * 3 + c) * 3072..][..3072];
    let due: f64 = z.iter().zip(&x[row * 2 + 1]).map(|(a, b)| f64::from(*a) * b).sum();
    let found = f64::from(out[row * size.bytes() + (y * 64 + column) * 3 + c]);
    assert!((due - found).abs() < 2e-3, "{due} {found}");

    // Stored and read back; damaged parts are refused.
    let (parts, tensors) = preprocess.to_parts();
    assert_eq!(Preprocess::from_parts(&parts, &tensors).unwrap(), preprocess);
    let refused = |parts: &Parts, tensors: &[Tensor]| {
        Preprocess::from_parts(parts, tensors).unwrap_err().to_string()
    };
    assert!(refused(&parts, &[]).contains("whitening.matrix is missing"));
    let mut wrong = tensors.clone();
    wrong[0].1 = vec![3072, 3071];
    assert!(refused(&parts, &wrong).contains("shape [3072, 3071], [3072, 3072] is due"));
    wrong = tensors.clone();
    wrong[0].2[5] = f32::NAN;
    assert!(refused(&parts, &wrong).contains("not finite"));
    let flat = Parts { std: [0.0; 3], ..parts };
    assert!(refused(&flat, &tensors).contains("std is not above 0"));
}

/// Stored, since fitting at this size would decompose a matrix of 3,072 rows.
#[test]
fn hl_21_takes_an_image_with_as_many_numbers_as_a_patch() {
    let (images, size) = (few(2).images(), Size { height: 16, width: 64 });
    let whitening = Whitening::Hl21;
    let parts = Parts { size, mean: [0.5; 3], std: [0.25; 3], whitening, smoothing: 0.01 };
    let mut matrix = vec![0.0; 3072 * 3072];
    matrix.iter_mut().step_by(3073).for_each(|diagonal| *diagonal = 2.0);
    let tensors = [
        ("whitening.matrix".to_owned(), vec![3072, 3072], matrix),
        ("whitening.mean".to_owned(), vec![3072], vec![0.5; 3072]),
    ];
    let batch = one_batch(&images, size);
    let mut out = Vec::new();
    Preprocess::from_parts(&parts, &tensors).unwrap().apply(&batch, &mut out).unwrap();
    let due = batch.pixels.iter().map(|&p| 2.0 * (f32::from(p) / 255.0 - 0.5));
    assert!(due.eq(out.iter().copied()));
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let (images, size) = (few(120).images(), Size::square(12));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let preprocess = fit(&images, size, Whitening::Hl21);
            let mut out = Vec::new();
            preprocess.apply(&one_batch(&images, size), &mut out).unwrap();
            (preprocess, out)
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5));
}

/// One line of an antialiased bilinear resampling: a triangle as wide as a pixel of the coarser
/// side, at the centres of the new pixels.
fn resampled(line: &[f64], len: usize) -> Vec<f64> {
    let step = line.len() as f64 / len as f64;
    let reach = step.max(1.0);
    let pixel = |i: usize| {
        let centre = (i as f64 + 0.5) * step - 0.5;
        let weight = |j: usize| (1.0 - (j as f64 - centre).abs() / reach).max(0.0);
        let total: f64 = (0..line.len()).map(weight).sum();
        (0..line.len()).map(|j| weight(j) * line[j]).sum::<f64>() / total
    };
    (0..len).map(pixel).collect()
}

/// Height x width resampled to `to`, across and then down.
fn resampled_map(map: &[f64], width: usize, to: Size) -> Vec<f64> {
    let rows: Vec<Vec<f64>> = map.chunks(width).map(|row| resampled(row, to.width)).collect();
    let column = |x: usize| -> Vec<f64> {
        resampled(&rows.iter().map(|row| row[x]).collect::<Vec<_>>(), to.height)
    };
    let columns: Vec<Vec<f64>> = (0..to.width).map(column).collect();
    (0..to.height).flat_map(|y| columns.iter().map(move |column| column[y])).collect()
}

/// 40 x 90 becomes 64 x 96, is whitened there patch by patch, here by a diagonal that differs from
/// place to place, and comes back.
#[test]
fn hl_22_takes_sides_that_patches_do_not_fill() {
    let (images, size, whole) =
        (few(3).images(), Size { height: 40, width: 90 }, Size { height: 64, width: 96 });
    let along = |i: usize| 1.0 + (i / 96) as f64 / 8.0 - (i % 96 / 3) as f64 / 64.0;
    let mut matrix = vec![0.0; 3072 * 3072];
    (0..3072).for_each(|i| matrix[i * 3073] = along(i) as f32);
    let whitening = Whitening::Fh;
    let parts = Parts { size, mean: [0.4; 3], std: [0.2; 3], whitening, smoothing: 0.01 };
    let tensors = [("whitening.matrix".to_owned(), vec![3072, 3072], matrix)];
    let preprocess = Preprocess::from_parts(&parts, &tensors).unwrap();
    let batch = one_batch(&images, size);
    let mut out = Vec::new();
    preprocess.apply(&batch, &mut out).unwrap();
    assert_eq!(out.len(), batch.pixels.len());
    for (image, out) in batch.pixels.chunks(size.bytes()).zip(out.chunks(size.bytes())) {
        for c in 0..3 {
            let pixels = image.iter().skip(c).step_by(3);
            let map: Vec<f64> = pixels.map(|&p| (f64::from(p) / 255.0 - 0.4) / 0.2).collect();
            let mut up = resampled_map(&map, size.width, whole);
            for (i, value) in up.iter_mut().enumerate() {
                let (y, x) = (i / whole.width % 32, i % whole.width % 32);
                *value *= along((y * 32 + x) * 3 + c);
            }
            let due = resampled_map(&up, whole.width, size);
            let found = out.iter().skip(c).step_by(3);
            // Scaled up, pixels are whole levels again; the diagonal is 5 at most.
            for (i, (due, &found)) in due.iter().zip(found).enumerate() {
                assert!((due - f64::from(found)).abs() < 5.0 / 255.0 / 0.2, "{i}: {due} {found}");
            }
        }
    }
}

#[test]
fn what_can_not_be_fitted_is_refused() {
    let images = few(4).images();
    let fit = |images: &Images, side, whitening, smoothing| {
        Preprocess::fit(images, Size::square(side), whitening, smoothing, &mut |_, _| {})
            .unwrap_err()
            .to_string()
    };
    assert!(fit(&images, 64, Whitening::Hl21, 0.01).contains("52x52"));
    assert!(fit(&images, 8, Whitening::Hl21, 0.0).contains("smoothing is 0; it must be"));
    assert!(fit(&images.subset(&[0]), 8, Whitening::None, 0.0).contains("at least 2"));
    let names = [Whitening::None, Whitening::Hl21, Whitening::Fh]
        .map(|whitening| serde_json::to_string(&whitening).unwrap());
    assert_eq!(names, ["\"none\"", "\"hl-21\"", "\"hl-22\""]);
}

/// `cargo test -p hebbian-data --test preprocess -- --ignored --nocapture`
#[test]
#[ignore = "takes a minute; prints timings"]
fn timing_on_40_000_cifar_images() {
    let Some(path) = shared("cifar-10-jpeg/train.tar") else { return };
    let options = OpenOptions { part: Part::Train, ..OpenOptions::default() };
    let data = Dataset::open_with(&path, &options).unwrap();
    let size = Size::square(32);
    let dir = tempfile::tempdir().unwrap();
    let timed = |what: &str, start: std::time::Instant| {
        println!("{what}: {:.2} s", start.elapsed().as_secs_f64());
    };
    let start = std::time::Instant::now();
    let images = data.images().cached(dir.path(), size, &mut |_, _| {}).unwrap();
    timed("cache of 50,000 images", start);
    let images = images.subset(&(0..40_000).collect::<Vec<_>>());
    let start = std::time::Instant::now();
    let read: usize =
        batches(&images, (0..40_000).collect(), 64, size).map(|b| b.unwrap().rows.len()).sum();
    timed("40,000 images in batches of 64 from the cache", start);
    assert_eq!(read, 40_000);
    for kind in [Whitening::Hl21, Whitening::Fh] {
        let start = std::time::Instant::now();
        let preprocess = fit(&images, size, kind);
        timed(&format!("fit {kind:?}"), start);
        let (mut out, mut applied) = (Vec::new(), std::time::Duration::ZERO);
        for batch in batches(&images, (0..6_400).collect(), 64, size) {
            let batch = batch.unwrap();
            let start = std::time::Instant::now();
            preprocess.apply(&batch, &mut out).unwrap();
            applied += start.elapsed();
        }
        println!("apply {kind:?} to a batch of 64: {:.2} ms", applied.as_secs_f64() * 10.0);
    }
}
