//! The rules against weight updates that the published implementation
//! computed in double precision (kept outside the repository; where they are
//! absent the tests say so and pass).
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::golden::{for_each, single};
use hebbian::ops::Workspace;
use hebbian::rules::Samples;
use hebbian::update::{hebbian_step, published_update, unfold};

/// Largest difference over the largest entry.
fn error(got: impl IntoIterator<Item = f64>, want: &[f64]) -> f64 {
    let largest = want.iter().fold(0.0f64, |m, w| m.max(w.abs()));
    got.into_iter().zip(want).fold(0.0f64, |m, (g, w)| m.max((g - w).abs())) / largest
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
