//! The rules against weight updates that the published implementation
//! computed in double precision (kept outside the repository; where they are
//! absent the tests say so and pass).
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::{Path, PathBuf};

use common::GOLDEN;
use hebbian::ops::{Geometry, Workspace};
use hebbian::rules::{Rule, Samples};
use hebbian::update::{hebbian_step, published_update, unfold};
use safetensors::SafeTensors;

const SHAPES: [&str; 3] = ["conv", "deep", "fc"];

struct Golden {
    g: Geometry,
    batch: usize,
    x: Vec<f64>,
    weights: Vec<f64>,
    output: Vec<f64>,
    delta: Vec<f64>,
}

/// Channels-first to channels-last: the field's files are NCHW, ours NHWC.
fn channels_last(data: &[f64], n: usize, c: usize, pixels: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(data.len());
    for item in 0..n {
        for pixel in 0..pixels {
            out.extend((0..c).map(|channel| data[(item * c + channel) * pixels + pixel]));
        }
    }
    out
}

fn load(file: &str) -> Option<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    let path: PathBuf = folder.join(format!("{file}.safetensors"));
    let Ok(bytes) = std::fs::read(&path) else {
        println!("skipped: {} is not here", path.display());
        return None;
    };
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let get = |name: &str| {
        let view = tensors.tensor(name).unwrap();
        let s = view.shape().to_vec();
        let (numbers, _) = view.data().as_chunks::<8>();
        let data: Vec<f64> = numbers.iter().map(|&b| f64::from_le_bytes(b)).collect();
        (channels_last(&data, s[0], s[1], s[2] * s[3]), s)
    };
    let ((x, xs), (weights, ws)) = (get("x"), get("weight"));
    let ((output, _), (delta, _)) = (get("output"), get("delta"));
    let g = Geometry {
        height: xs[2],
        width: xs[3],
        channels: xs[1],
        kernel: ws[2],
        stride: 1,
        padding: 0,
        filters: ws[0],
        pool: 1,
    };
    Some(Golden { g, batch: xs[0], x, weights, output, delta })
}

fn single(data: &[f64]) -> Vec<f32> {
    data.iter().map(|&x| x as f32).collect()
}

/// Largest difference over the largest entry.
fn error(got: impl IntoIterator<Item = f64>, want: &[f64]) -> f64 {
    let largest = want.iter().fold(0.0f64, |m, w| m.max(w.abs()));
    got.into_iter().zip(want).fold(0.0f64, |m, (g, w)| m.max((g - w).abs())) / largest
}

fn for_each(test: impl Fn(&dyn Rule, &str, Golden)) {
    for (name, params, file) in GOLDEN {
        let rule = common::rule(name, params);
        for shape in SHAPES {
            let file = format!("{file}-{shape}");
            if let Some(golden) = load(&file) {
                test(rule.as_ref(), &file, golden);
            }
        }
    }
}

#[test]
fn naive_form_in_double_precision() {
    for_each(|rule, file, golden| {
        // Unfolding is exact in single precision only for single-precision
        // data, so the oracle's patches are unfolded here in double.
        let (g, d) = (golden.g, golden.g.patch_len());
        let mut patches = Vec::new();
        for image in golden.x.chunks_exact(g.input_len()) {
            for oy in 0..g.out_height() {
                for ox in 0..g.out_width() {
                    for ky in 0..g.kernel {
                        let start = ((oy + ky) * g.width + ox) * g.channels;
                        patches.extend(&image[start..start + g.kernel * g.channels]);
                    }
                }
            }
        }
        let delta = rule.naive_f64(&Samples { x: &patches, w: &golden.weights, d });
        let error = error(delta, &golden.delta);
        assert!(error < 1e-12, "{file}: {error}");
    });
}

#[test]
fn published_order_in_single_precision() {
    for_each(|rule, file, golden| {
        let patches = unfold(&golden.g, golden.batch, &single(&golden.x));
        let (d, weights) = (golden.g.patch_len(), single(&golden.weights));
        let delta = published_update(rule, d, &patches, &weights).delta();
        let error = error(delta.into_iter().map(f64::from), &golden.delta);
        assert!(error < 1e-5, "{file}: {error}");
    });
}

#[test]
fn engine_in_single_precision_with_its_output() {
    for_each(|rule, file, golden| {
        let (g, batch) = (golden.g, golden.batch);
        let (x, weights) = (single(&golden.x), single(&golden.weights));
        let mut out = vec![0.0; batch * g.output_len()];
        let sums = hebbian_step(rule, &g, batch, &x, &weights, &mut Workspace::default(), &mut out);
        let delta = error(sums.delta().into_iter().map(f64::from), &golden.delta);
        assert!(delta < 1e-5, "{file}: delta {delta}");
        let output = error(out.into_iter().map(f64::from), &golden.output);
        assert!(output < 1e-5, "{file}: output {output}");
    });
}
