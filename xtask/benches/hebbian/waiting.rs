//! How long training waits for images.

use std::time::Instant;

use anyhow::Result;
use hebbian::engine::{Device, HebbianStep};
use hebbian::rules;
use hebbian_data::batches;
use serde::Serialize;
use serde_json::{Value, json};

use crate::Bench;
use crate::machine::GemmRates;
use crate::report::{Section, Table};
use crate::steps::{RULES, rule};

/// Steps of pre-training.
const STEPS: usize = 48;
/// Images a step.
const BATCH: usize = 64;

/// Pre-training from files by one rule.
#[derive(Serialize)]
struct Row {
    rule: &'static str,
    steps: usize,
    images: usize,
    seconds: f64,
    /// For the next batch to be decoded, the first included.
    seconds_waiting: f64,
    /// Of it, for the first batch.
    seconds_first: f64,
    /// Normalising batches.
    seconds_preprocessing: f64,
}

/// How long training waits.
pub(crate) struct Waiting {
    rows: Vec<Row>,
}

/// Pre-trains from files by each rule.
///
/// # Errors
/// If images can't be read.
pub(crate) fn measure(bench: &Bench) -> Result<Waiting> {
    let rows = RULES.into_iter().map(|name| pretrain(bench, name)).collect::<Result<_>>()?;
    Ok(Waiting { rows })
}

fn pretrain(bench: &Bench, name: &'static str) -> Result<Row> {
    eprintln!("{name}: {STEPS} steps from files");
    let rule = rule(name)?;
    let mut network = bench.subject(BATCH)?.projecting(rule.projection());
    let depth = network.depth();
    let rates = vec![rules::info(name)?.learning_rate; depth];
    let mut engine = Device::Cpu.engine();
    let (images, preprocess) = (&bench.input.images, &bench.input.preprocess);
    let order = (0..STEPS * BATCH).map(|i| i % images.len()).collect();
    let mut x = Vec::new();
    let mut row = Row {
        rule: name,
        steps: 0,
        images: 0,
        seconds: 0.0,
        seconds_waiting: 0.0,
        seconds_first: 0.0,
        seconds_preprocessing: 0.0,
    };
    let start = Instant::now();
    let mut stream = batches(images, order, BATCH, preprocess.size);
    loop {
        let asked = Instant::now();
        let batch = stream.next().transpose()?;
        row.seconds_waiting += asked.elapsed().as_secs_f64();
        let Some(batch) = batch else { break };
        if row.steps == 0 {
            row.seconds_first = row.seconds_waiting;
        }
        let decoded = Instant::now();
        preprocess.apply(&batch, &mut x)?;
        row.seconds_preprocessing += decoded.elapsed().as_secs_f64();
        let rule = rule.as_ref();
        let step = HebbianStep { rule, x: &x, learning: 0..depth, rates: &rates, measure: false };
        engine.hebbian_step(&mut network, &step)?;
        row.steps += 1;
        row.images += batch.rows.len();
    }
    row.seconds = start.elapsed().as_secs_f64();
    Ok(row)
}

impl Section for Waiting {
    fn key(&self) -> &'static str {
        "waiting"
    }

    fn json(&self, _: &GemmRates) -> Result<Value> {
        Ok(json!({ "rows": self.rows }))
    }

    fn page(&self, _: &GemmRates) -> String {
        let head = ["rule", "steps", "images/s", "waiting %", "of it first %", "normalising %"];
        let mut table = Table::new(1, &head);
        for row in &self.rows {
            let percent = |seconds: f64| format!("{:.2}", 100.0 * seconds / row.seconds);
            table.push([
                row.rule.to_owned(),
                row.steps.to_string(),
                format!("{:.1}", row.images as f64 / row.seconds),
                percent(row.seconds_waiting),
                percent(row.seconds_first),
                percent(row.seconds_preprocessing),
            ]);
        }
        format!(
            "## Waiting for images\n\n\
             Pre-training from files, {BATCH} images a step, decoded on the same cores: share of \
             the time spent waiting for the next batch, the first included, and normalising:\n\n{}",
            table.to_markdown()
        )
    }
}
