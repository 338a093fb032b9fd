//! How steps grow with threads and images, and the orders of products with
//! channels.

use anyhow::{Result, bail};
use hebbian::engine::Device;
use hebbian::linalg::{Mat, MatMut, gemm};
use hebbian::rules::Reconstruction;
use hebbian::update::{Order, choose_order, update_in_order};
use rayon::ThreadPoolBuilder;
use serde::Serialize;
use serde_json::{Value, json};

use crate::Bench;
use crate::machine::GemmRates;
use crate::report::{Section, Table, ms, times};
use crate::steps::{Form, RULES, TOLERANCE, Work, difference};
use crate::timing::Timing;

/// Images a step, where batches grow.
pub(crate) const BATCHES: [usize; 3] = [16, 64, 256];
/// Images a step, where threads grow.
const BATCH: usize = 64;
/// Patches and their length, where channels grow: the fully connected layer of
/// the network at a batch of 64, and its last convolution.
const LAYERS: [(usize, usize); 2] = [(64, 2304), (576, 1728)];
const CHANNELS: [usize; 6] = [256, 512, 1024, 2048, 4096, 8192];
const BLOCKS: [usize; 4] = [32, 64, 128, 256];

/// A step of the engine.
#[derive(Serialize)]
struct StepRow {
    what: String,
    threads: usize,
    images: usize,
    timing: Timing,
}

/// A layer's prefix reconstruction in each order.
#[derive(Serialize)]
struct OrderRow {
    patches: usize,
    patch_len: usize,
    channels: usize,
    gram: Timing,
    /// One for each of [`BLOCKS`].
    deflation: Vec<Timing>,
    /// What the engine picks: neurons a block, or none for the Gram order.
    chosen_block: Option<usize>,
    /// Seconds of what it picks over those of the fastest, by medians.
    chosen_over_fastest: f64,
}

/// How cost grows.
pub(crate) struct Scaling {
    steps: Vec<StepRow>,
    orders: Vec<OrderRow>,
}

/// Measures all of it.
///
/// # Errors
/// If images can't be read, or orders do not agree.
pub(crate) fn measure(bench: &Bench) -> Result<Scaling> {
    let all = rayon::current_num_threads();
    let doubled = std::iter::successors(Some(1), |threads| Some(threads * 2));
    let mut threads: Vec<usize> = doubled.take_while(|&threads| threads < all).collect();
    threads.push(all);
    let mut steps = Vec::new();
    for what in RULES.map(Work::Hebbian) {
        for (threads, images) in threads
            .iter()
            .map(|&threads| (threads, BATCH))
            .chain(BATCHES.map(|images| (all, images)).into_iter().filter(|&(_, n)| n != BATCH))
        {
            eprintln!("{what}: {threads} threads, {images} images");
            let subject = bench.subject(images)?;
            let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
            let timing = pool.install(|| {
                what.measure(&Device::Cpu, Form::Engine, subject, images, bench.runs)
            })?;
            steps.push(StepRow { what: what.to_string(), threads, images, timing });
        }
    }
    let mut orders = Vec::new();
    for (n, d) in LAYERS {
        for c in CHANNELS {
            eprintln!("orders of products: {n} patches of {d}, {c} channels");
            orders.push(order(bench.runs, n, c, d)?);
        }
    }
    Ok(Scaling { steps, orders })
}

/// Every order on one layer of random patches and weights.
fn order(runs: usize, n: usize, c: usize, d: usize) -> Result<OrderRow> {
    // Any numbers about zero will do, if no two rows are alike.
    let number = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) % 2001;
    let numbers = |len: usize, scale: f32| -> Vec<f32> {
        (0..len).map(|i| scale * (number(i) as f32 / 1000.0 - 1.0)).collect()
    };
    let (patches, weights) = (numbers(n * d, 1.0), numbers(c * d, 1.0 / (d as f32).sqrt()));
    let mut gates = vec![0.0; n * c];
    let (x, w) = (Mat::new(&patches, n, d), Mat::new(&weights, c, d));
    gemm(&mut MatMut::new(&mut gates, n, c), 0.0, 1.0, x, w.t());
    gates.iter_mut().for_each(|a| *a = a.max(0.0));

    let run = |order| {
        let (order, given) = ((Reconstruction::Prefix, order), (&patches[..], &gates[..]));
        update_in_order(order, d, given, &weights, vec![n as f32; c]).numerators
    };
    let want = run(Order::Gram);
    let measure = |order| -> Result<Timing> {
        let apart = difference(&run(order), &want);
        if apart.is_nan() || apart > TOLERANCE {
            bail!("{order:?} differs from the Gram order by {apart:.1e} at {c} channels");
        }
        Timing::of(runs, || {
            run(order);
            Ok(())
        })
    };
    let gram = measure(Order::Gram)?;
    let deflation = BLOCKS.map(|block| measure(Order::Deflation { block }));
    let deflation = deflation.into_iter().collect::<Result<Vec<_>>>()?;
    let median = |timing: &Timing| timing.summary()[1];
    let fastest = deflation.iter().map(median).fold(median(&gram), f64::min);
    let (chosen_block, chosen) = match choose_order(Reconstruction::Prefix, n, c, d) {
        Order::Gram => (None, median(&gram)),
        Order::Deflation { block } => {
            let measured = BLOCKS.iter().position(|&size| size == block);
            let timing = match measured {
                Some(index) => deflation[index].clone(),
                None => measure(Order::Deflation { block })?,
            };
            (Some(block), median(&timing))
        }
    };
    let chosen_over_fastest = chosen / fastest;
    Ok(OrderRow {
        patches: n,
        patch_len: d,
        channels: c,
        gram,
        deflation,
        chosen_block,
        chosen_over_fastest,
    })
}

impl Section for Scaling {
    fn key(&self) -> &'static str {
        "scaling"
    }

    fn json(&self, _: &GemmRates) -> Result<Value> {
        Ok(json!({ "steps": self.steps, "blocks": BLOCKS, "orders": self.orders }))
    }

    fn page(&self, _: &GemmRates) -> String {
        let head = [
            "what",
            "threads",
            "images",
            "median ms",
            "min ms",
            "max ms",
            "images/s",
            "over one thread",
        ];
        let mut steps = Table::new(1, &head);
        for row in &self.steps {
            let [low, median, high] = row.timing.summary();
            let is_one = |other: &&StepRow| {
                other.what == row.what && other.images == row.images && other.threads == 1
            };
            let one = self.steps.iter().find(is_one).map(|one| one.timing.summary()[1] / median);
            steps.push([
                row.what.clone(),
                row.threads.to_string(),
                row.images.to_string(),
                ms(median),
                ms(low),
                ms(high),
                format!("{:.1}", row.images as f64 / median),
                times(one),
            ]);
        }
        let head = [
            "patches",
            "length",
            "channels",
            "Gram ms",
            "blocks of 32",
            "of 64",
            "of 128",
            "of 256",
            "chosen",
            "over fastest",
        ];
        let mut orders = Table::new(0, &head);
        for row in &self.orders {
            let median = |timing: &Timing| ms(timing.summary()[1]);
            orders.push([
                row.patches.to_string(),
                row.patch_len.to_string(),
                row.channels.to_string(),
                median(&row.gram),
                median(&row.deflation[0]),
                median(&row.deflation[1]),
                median(&row.deflation[2]),
                median(&row.deflation[3]),
                row.chosen_block.map_or_else(|| "Gram".to_owned(), |block| block.to_string()),
                times(Some(row.chosen_over_fastest)),
            ]);
        }
        format!(
            "## Scaling\n\n\
             Steps of the engine over threads and images:\n\n{}\n\
             A layer's prefix reconstruction (HPCA) as channels grow, in the Gram order and by \
             deflation in blocks of channels, medians in ms; chosen: what the engine picks, and \
             its time over that of the fastest:\n\n{}",
            steps.to_markdown(),
            orders.to_markdown()
        )
    }
}
