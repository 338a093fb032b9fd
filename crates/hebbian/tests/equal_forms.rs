//! Every form of a rule computes the same update, on random shapes.

mod common;

use common::{any_geometry, is_decided, numbers};
use hebbian::ops::{Geometry, Response, Workspace, block_forward};
use hebbian::rules::{Projection, Projections, Rule, Samples};
use hebbian::update::{
    Moments, Order, UpdateSums, hebbian_step, hebbian_step_applied, naive_update, published_update,
    unfold, update_in_order,
};
use proptest::prelude::*;

fn geometry() -> impl Strategy<Value = (Geometry, usize)> {
    prop_oneof![3 => any_geometry(), 1 => squares()]
}

/// Layers whose products may be taken by Winograd's filtering.
fn squares() -> impl Strategy<Value = (Geometry, usize)> {
    (4usize..12, 4usize..12, 1usize..3, 1usize..4, 0usize..2, 1usize..4, 1usize..10).prop_map(
        |(height, width, channels, filters, padding, pool, batch)| {
            let (channels, filters) = (16 * channels, 16 * filters);
            let pool = pool.min(height - 2).min(width - 2);
            let (kernel, stride) = (3, 1);
            (Geometry { height, width, channels, kernel, stride, padding, filters, pool }, batch)
        },
    )
}

/// Largest difference over the largest entry, and over what single precision
/// can resolve of the terms that were summed.
fn close(got: &[f32], want: &[f64]) -> Result<(), TestCaseError> {
    close_within(2e-5, got, want)
}

fn close_within(tolerance: f64, got: &[f32], want: &[f64]) -> Result<(), TestCaseError> {
    let largest = want.iter().fold(1e-3f64, |m, w| m.max(w.abs()));
    for (g, w) in got.iter().zip(want) {
        let error = (f64::from(*g) - w).abs() / largest;
        prop_assert!(error < tolerance, "{g} against {w}, {error} of {largest}");
    }
    Ok(())
}

/// Every rule, those that adapt in the middle of a training of `c` neurons.
fn every_rule(c: usize, seed: u64) -> Vec<Box<dyn Rule>> {
    let variances: Vec<f32> = numbers(c, seed ^ 2, 0.9).iter().map(|v| v + 1.0).collect();
    let rules = common::every_rule().into_iter();
    rules.map(|rule| rule.with_variances(&variances).unwrap_or(rule)).collect()
}

/// Gates of all patches, in the rule's own words.
fn gates(rule: &dyn Rule, d: usize, patches: &[f32], w: &[f32]) -> Vec<f32> {
    let inner = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let norms = |x: &[f32]| x.chunks(d).map(|x| inner(x, x).sqrt()).collect::<Vec<_>>();
    let u: Vec<f32> = patches
        .chunks(d)
        .flat_map(|x| w.chunks(d).map(|w| inner(x, w)).collect::<Vec<_>>())
        .collect();
    let (patch_norm, weight_norm) = (norms(patches), norms(w));
    let projections = Projections { u: &u, patch_norm: &patch_norm, weight_norm: &weight_norm };
    let mut gates = vec![0.0; u.len()];
    let kept = if rule.adapts() { 3 } else { 1 } * weight_norm.len();
    rule.gate(&projections, &mut gates, &mut vec![0.0; kept]);
    gates
}

fn double(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn naive_published_and_engine_agree((g, batch) in geometry(), seed: u64) {
        let d = g.patch_len();
        let x = numbers(batch * g.input_len(), seed, 1.5);
        let w = numbers(g.weight_len(), seed ^ 1, 1.0 / (d as f32).sqrt());
        let patches = unfold(&g, batch, &x);
        for rule in every_rule(g.filters, seed) {
            if !is_decided(rule.as_ref(), d, &patches, &w) {
                continue;
            }
            let name = rule.name();
            let want = rule.naive_f64(&Samples { x: &double(&patches), w: &double(&w), d });
            // The naive form adds one patch after the other, so each addition
            // may round the whole sum; the others add parts.
            let roundings = (patches.len() / d) as f64 * f64::from(f32::EPSILON) / 2.0;
            let naive = naive_update(rule.as_ref(), d, &patches, &w);
            close_within(roundings.max(2e-5), &naive, &want)?;
            close(&published_update(rule.as_ref(), d, &patches, &w).delta(), &want)?;
            let mut out = vec![f32::NAN; batch * g.output_len()];
            let mut workspace = Workspace::default();
            let sums = hebbian_step(rule.as_ref(), &g, batch, &x, &w, &mut workspace, &mut out);
            close(&sums.delta(), &want)?;

            // Applied at once, the same bits.
            let (mut once, mut later) = (w.clone(), w.clone());
            sums.apply(0.1, &mut later);
            let step = hebbian_step_applied;
            let moments =
                step(rule.as_ref(), &g, batch, &x, &mut once, 0.1, &mut workspace, &mut out);
            prop_assert!(once == later && moments == sums.moments, "{name} applied at once");

            // Every order of the products, on the gates of the published form.
            for block in [1, 3, 32, 64] {
                let gates = gates(rule.as_ref(), d, &patches, &w);
                let order = (rule.reconstruction(), Order::Deflation { block });
                let rows = vec![1.0; g.filters];
                let gram = update_in_order((rule.reconstruction(), Order::Gram), d, (&patches, &gates), &w, rows.clone());
                let deflated = update_in_order(order, d, (&patches, &gates), &w, rows);
                close(&deflated.numerators, &double(&gram.numerators))?;
            }

            // The step's output is the forward pass's, to the bit.
            let norms: Vec<f32> = w.chunks_exact(d).map(|w| w.iter().map(|w| w * w).sum::<f32>().sqrt()).collect();
            let scale: Vec<f32> = norms.iter().map(|n| 1.0 / n).collect();
            let scale = (rule.projection() == Projection::Normalised).then_some(&scale[..]);
            let response = Response { scale, bias: None, activation: rule.activation() };
            let mut forward = vec![f32::NAN; out.len()];
            let mut winners = vec![0; out.len()];
            block_forward(&g, batch, &x, &w, &response, &mut workspace, &mut forward, Some(&mut winners));
            for (a, b) in out.iter().zip(&forward) {
                prop_assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{a} {b}");
            }
        }
    }

    #[test]
    fn sums_of_two_halves_add_up_to_the_whole((g, half) in geometry(), seed: u64) {
        let x = numbers(2 * half * g.input_len(), seed, 1.5);
        let w = numbers(g.weight_len(), seed ^ 1, 1.0 / (g.patch_len() as f32).sqrt());
        let d = g.patch_len();
        let patches = unfold(&g, 2 * half, &x);
        for rule in every_rule(g.filters, seed) {
            if !is_decided(rule.as_ref(), d, &patches, &w) {
                continue;
            }
            let step = |x: &[f32], batch: usize| {
                let mut out = vec![0.0; batch * g.output_len()];
                hebbian_step(rule.as_ref(), &g, batch, x, &w, &mut Workspace::default(), &mut out)
            };
            let whole = step(&x, 2 * half);
            let (a, b) = x.split_at(x.len() / 2);
            let (a, b) = (step(a, half), step(b, half));
            let add = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a + b).collect();
            let sum = UpdateSums {
                numerators: add(&a.numerators, &b.numerators),
                denominators: add(&a.denominators, &b.denominators),
                moments: Moments {
                    rows: a.moments.rows + b.moments.rows,
                    sums: add(&a.moments.sums, &b.moments.sums),
                    squares: add(&a.moments.squares, &b.moments.squares),
                },
            };
            close(&sum.delta(), &double(&whole.delta()))?;
            let run = |moments: &Moments| {
                let mut variances = vec![1.0; g.filters];
                moments.follow(&mut variances);
                variances
            };
            close(&run(&sum.moments), &double(&run(&whole.moments)))?;
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let spec = hebbian::network::NetworkSpec::find("cifar-6").unwrap();
    let batch = 13;
    for rule in common::every_rule() {
        for g in spec.geometries().unwrap() {
            let x = numbers(batch * g.input_len(), 1, 1.5);
            let w = numbers(g.weight_len(), 2, 1.0 / (g.patch_len() as f32).sqrt());
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let mut out = vec![0.0; batch * g.output_len()];
                    let mut workspace = Workspace::default();
                    (hebbian_step(rule.as_ref(), &g, batch, &x, &w, &mut workspace, &mut out), out)
                })
            };
            let one = run(1);
            for threads in [2, 3, 7] {
                assert!(run(threads) == one, "{}, {g:?}, {threads} threads", rule.name());
            }
        }
    }
}
