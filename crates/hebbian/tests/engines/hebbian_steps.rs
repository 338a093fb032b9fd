//! Hebbian steps against the oracle in double precision, the golden files and the CPU's.

use hebbian::engine::{Device, Engine, HebbianStep};
use hebbian::network::{BatchNorm, Block, Network, NetworkSpec, NormKind};
use hebbian::ops::{Geometry, Workspace};
use hebbian::rules::{Rule, Samples};
use hebbian::update::hebbian_step;
use proptest::prelude::*;

use crate::common::golden::{self, single};
use crate::common::{self, any_geometry, every_rule, is_decided, numbers};
use crate::shared::{close_networks, devices, devices_for, double, error, small};

/// A network of one layer.
fn layer(g: Geometry, kind: NormKind, rule: &dyn Rule, seed: u64) -> Network {
    let weights = numbers(g.weight_len(), seed, 1.0 / (g.patch_len() as f32).sqrt());
    let mut norm = BatchNorm::new(kind, g.filters);
    norm.gamma = numbers(g.filters, seed ^ 2, 1.0).iter().map(|x| x + 1.5).collect();
    norm.beta = numbers(g.filters, seed ^ 3, 0.5);
    let spec = NetworkSpec { name: "layer".into(), input: [g.height, g.width, 3], blocks: vec![] };
    let spread = || numbers(g.filters, seed ^ 4, 0.9).iter().map(|x| x + 1.0).collect();
    let variances = rule.adapts().then(spread);
    Network {
        spec,
        projection: rule.projection(),
        activation: rule.activation(),
        blocks: vec![Block { geometry: g, weights, bias: None, norm, variances }],
    }
}

/// One step of the layers from `first` on.
fn learn(
    engine: &mut dyn Engine,
    network: &mut Network,
    rule: &dyn Rule,
    x: &[f32],
    (first, rates): (usize, &[f64]),
    measure: bool,
) -> Vec<f64> {
    let learning = first..first + rates.len();
    let step = HebbianStep { rule, x, learning, rates, measure };
    engine.hebbian_step(network, &step).unwrap().into_iter().map(|of| of.change).collect()
}

/// The update `dW` of one step of a network of one layer, which it moves on.
/// The rate is a large power of two, so that rounding `W + lr dW` to single
/// precision costs the update no digits.
fn delta(network: &mut Network, rule: &dyn Rule, device: &Device, x: &[f32]) -> Vec<f32> {
    const RATE: f64 = 1024.0;
    let before = network.blocks[0].weights.clone();
    let mut engine = device.engine();
    learn(engine.as_mut(), network, rule, x, (0, &[RATE]), false);
    engine.fetch(network, None).unwrap();
    let pairs = double(&network.blocks[0].weights).zip(double(&before));
    pairs.map(|(after, before)| ((after - before) / RATE) as f32).collect()
}

/// Running variances (C) after a batch: a tenth of the way to those of its
/// projections.
fn followed(before: &[f32], samples: &Samples<'_, f64>) -> Vec<f64> {
    let neurons = double(before).zip(samples.weights());
    let follow = |(before, w): (f64, &[f64])| {
        let inner = |x: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
        let u: Vec<f64> = samples.patches().map(inner).collect();
        let mean = u.iter().sum::<f64>() / u.len() as f64;
        let variance = u.iter().map(|u| (u - mean).powi(2)).sum::<f64>() / u.len() as f64;
        before + 0.1 * (variance - before)
    };
    neurons.map(follow).collect()
}

/// All patches of a batch in the order of the weights.
fn patches(g: &Geometry, batch: usize, x: &[f32]) -> Vec<f64> {
    double(&hebbian::update::unfold(g, batch, x)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn update_and_statistics_agree_with_the_oracle((g, batch) in any_geometry(), seed: u64) {
        let x = numbers(batch * g.input_len(), seed, 1.5);
        for (index, rule) in every_rule().iter().enumerate() {
            let kind = [NormKind::Batch, NormKind::Relative, NormKind::BatchRelu][index % 3];
            let (name, start) = (rule.name(), layer(g, kind, rule.as_ref(), seed));
            // With patches of one number all neurons tie, but for a card's rounding.
            let (d, unfolded) = (g.patch_len(), hebbian::update::unfold(&g, batch, &x));
            let ties = d == 1 && name == "k-wta";
            if ties || !is_decided(rule.as_ref(), d, &unfolded, &start.blocks[0].weights) {
                continue;
            }
            let weights: Vec<f64> = double(&start.blocks[0].weights).collect();
            let unfolded = patches(&g, batch, &x);
            let samples = Samples { x: &unfolded, w: &weights, d };
            let adapted = start.blocks[0].variances.as_deref().and_then(|v| rule.with_variances(v));
            let oracle = adapted.as_ref().unwrap_or(rule);
            let want = oracle.naive_f64(&samples);

            let mut out = vec![0.0; batch * g.output_len()];
            let mut norm = start.blocks[0].norm.clone();
            let w = &start.blocks[0].weights;
            hebbian_step(oracle.as_ref(), &g, batch, &x, w, &mut Workspace::default(), &mut out);
            norm.train(&mut out);
            for device in devices_for(rule.as_ref()) {
                let mut network = start.clone();
                let got = delta(&mut network, rule.as_ref(), device, &x);
                let wrong = error(&got, want.iter().copied());
                prop_assert!(wrong < 2e-5, "{name} on {device}: {wrong}");
                let spread = |network: &Network| network.blocks[0].variances.clone();
                if let Some((got, before)) = spread(&network).zip(spread(&start)) {
                    let want = followed(&before, &samples);
                    prop_assert!(error(&got, want) < 2e-5, "{name}: running variances");
                }
                let got = &network.blocks[0].norm;
                prop_assert!(error(&got.mean, double(&norm.mean)) < 2e-5, "mean on {device}");
                prop_assert!(error(&got.var, double(&norm.var)) < 2e-5, "variance on {device}");
            }
        }
    }
}

#[test]
fn golden_updates_of_the_published_code() {
    golden::for_each(|rule, file, golden| {
        let (x, weights) = (single(&golden.x), single(&golden.weights));
        for device in devices() {
            let mut network = layer(golden.g, NormKind::Batch, rule, 0);
            network.blocks[0].weights.copy_from_slice(&weights);
            let delta = delta(&mut network, rule, device, &x);
            let error = error(&delta, golden.delta.iter().copied());
            assert!(error < 1e-5, "{file} on {device}: {error}");
        }
    });
}

#[test]
fn hebbian_steps_in_a_row_agree_with_the_cpu() {
    // Where the winner takes all, rounding sets apart what follows.
    for rule in every_rule().iter().filter(|rule| rule.name() != "k-wta") {
        let (name, start) = (rule.name(), small(rule.projection(), rule.activation(), false));
        let devices = devices_for(rule.as_ref()).iter();
        let mut runs: Vec<_> = devices.map(|d| (d.engine(), start.clone())).collect();
        let steps = [(0..4, 5), (0..4, 12), (0..4, 5), (2..3, 5), (3..4, 2), (0..1, 12)];
        for (step, (layers, batch)) in steps.into_iter().enumerate() {
            let x = numbers(batch * 14 * 14 * 3, step as u64, 1.0);
            let rates: Vec<f64> = layers.clone().map(|layer| 0.02 / (layer + 1) as f64).collect();
            let (measure, layers) = (step % 2 == 0, (layers.start, &rates[..]));
            let changes: Vec<_> = runs
                .iter_mut()
                .map(|(engine, network)| {
                    learn(engine.as_mut(), network, rule.as_ref(), &x, layers, measure)
                })
                .collect();
            for got in &changes {
                assert_eq!(got.len(), if measure { rates.len() } else { 0 });
                for (got, want) in got.iter().zip(&changes[0]) {
                    assert!((got - want).abs() < 1e-4 * want, "{name} {step}: {got} {want}");
                }
            }
        }
        for (engine, network) in &mut runs {
            engine.fetch(network, None).unwrap();
            assert!(network.blocks[3].weights != start.blocks[3].weights);
        }
        for (_, network) in &runs {
            close_networks(name, network, &runs[0].1);
        }
    }
}

#[test]
fn deflation_over_several_blocks() {
    let g = Geometry {
        height: 3,
        width: 3,
        channels: 11,
        kernel: 3,
        stride: 1,
        padding: 0,
        filters: 600,
        pool: 1,
    };
    let batch = 30;
    let x = numbers(batch * g.input_len(), 1, 1.0);
    let adaptive = ["hpca-tanh-adaptive", "ica-normalised", "hica-normalised"];
    let others = ["hpca", "hpca-tanh", "oja-subspace", "ica", "hica"];
    for rule in others.into_iter().chain(adaptive).map(|r| common::rule(r, "")) {
        let mut start = layer(g, NormKind::Batch, rule.as_ref(), 2);
        // As the rule takes them to be that is asked for the update below.
        start.blocks[0].variances = None;
        let weights: Vec<f64> = double(&start.blocks[0].weights).collect();
        let samples = Samples { x: &patches(&g, batch, &x), w: &weights, d: g.patch_len() };
        let want = rule.naive_f64(&samples);
        for device in devices_for(rule.as_ref()) {
            let got = delta(&mut start.clone(), rule.as_ref(), device, &x);
            let wrong = error(&got, want.iter().copied());
            assert!(wrong < 2e-5, "{} on {device}: {wrong}", rule.name());
        }
    }
}

#[test]
fn the_same_steps_give_the_same_bits() {
    for rule in every_rule() {
        let name = rule.name();
        let x = numbers(9 * 14 * 14 * 3, 1, 1.0);
        for device in devices_for(rule.as_ref()) {
            let run = || {
                let (mut network, mut engine) =
                    (small(rule.projection(), rule.activation(), false), device.engine());
                for _ in 0..2 {
                    let layers = (0, &[0.01; 4][..]);
                    learn(engine.as_mut(), &mut network, rule.as_ref(), &x, layers, false);
                }
                engine.fetch(&mut network, None).unwrap();
                network
            };
            assert!(run() == run(), "{name} on {device}");
        }
    }
}

#[test]
fn a_rule_without_a_form_for_the_card_is_refused_by_name() {
    let Some(card) = devices().get(1) else { return };
    let rule = common::rule("hpca-tanh-adaptive", "");
    let mut network = small(rule.projection(), rule.activation(), false);
    let x = numbers(2 * 14 * 14 * 3, 1, 1.0);
    let step =
        HebbianStep { rule: rule.as_ref(), x: &x, learning: 0..1, rates: &[0.1], measure: false };
    let error = card.engine().hebbian_step(&mut network, &step).unwrap_err().to_string();
    assert!(error.contains("hpca-tanh-adaptive") && error.contains("CPU"), "{error}");
}

/// Half precision rounds each operand by up to 2^-11, that is 5e-4.
#[test]
fn half_precision_stays_near_the_oracle() {
    let device = match Device::open("vulkan-half") {
        Ok(device) => device,
        Err(problem) => {
            eprintln!("skipped: {problem}");
            return;
        }
    };
    let g = Geometry {
        height: 12,
        width: 12,
        channels: 16,
        kernel: 3,
        stride: 1,
        padding: 1,
        filters: 40,
        pool: 2,
    };
    let batch = 8;
    let x = numbers(batch * g.input_len(), 1, 1.5);
    for (name, bound) in [("hpca", 2e-3), ("soft-wta", 2e-3)] {
        let rule = common::rule(name, "");
        let mut network = layer(g, NormKind::Batch, rule.as_ref(), 2);
        let weights: Vec<f64> = double(&network.blocks[0].weights).collect();
        let samples = Samples { x: &patches(&g, batch, &x), w: &weights, d: g.patch_len() };
        let want = rule.naive_f64(&samples);
        let wrong = error(&delta(&mut network, rule.as_ref(), &device, &x), want);
        eprintln!("{name}: {wrong:.1e} of the largest entry on {device} in half precision");
        assert!(wrong < bound, "{name}: {wrong}");
        assert!(wrong > 2e-6, "{name}: {wrong} is single precision");
    }
}
