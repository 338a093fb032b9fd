//! Where a step's time goes: each layer by itself, and its normalisation.

use anyhow::Result;
use hebbian::floor;
use hebbian::network::Block;
use hebbian::ops::{Workspace, block_forward};
use hebbian::rules::Rule;
use hebbian::update::hebbian_step_applied;
use serde::Serialize;
use serde_json::{Value, json};

use crate::Bench;
use crate::machine::GemmRates;
use crate::report::{Section, Table, ms, times};
use crate::steps::{RULES, Work, rule};
use crate::timing::Timing;

/// One layer of one pass.
#[derive(Serialize)]
struct LayerRow {
    what: String,
    images: usize,
    layer: String,
    floor_macs: u64,
    /// The layer up to pooling, with its update in a Hebbian step.
    block: Timing,
    /// Normalisation of what it gives.
    norm: Timing,
}

/// All layers of all passes.
pub(crate) struct Layers {
    rows: Vec<LayerRow>,
}

/// Measures every layer on the map that the layers before it make of the batch.
///
/// # Errors
/// If images can't be read.
pub(crate) fn measure(bench: &Bench) -> Result<Layers> {
    let mut rows = Vec::new();
    for &batch in &bench.batches {
        for name in RULES {
            let rule = rule(name)?;
            let subject = bench.subject(batch)?;
            let mut map = subject.x.clone();
            let mut workspace = Workspace::default();
            let network = subject.projecting(rule.projection());
            for (index, mut block) in network.blocks.into_iter().enumerate() {
                let layer = Layer { name, rule: rule.as_ref(), batch, map: &map, index };
                // The forward pass is the same for all rules but for a scale.
                if name == RULES[0] {
                    rows.push(layer.forward(bench.runs, &mut block, &mut workspace)?);
                }
                let (row, out) = layer.step(bench.runs, &mut block, &mut workspace)?;
                rows.push(row);
                map = out;
            }
        }
    }
    rows.sort_by(|a, b| (a.images, &a.what).cmp(&(b.images, &b.what)));
    Ok(Layers { rows })
}

struct Layer<'a> {
    name: &'static str,
    rule: &'a dyn Rule,
    batch: usize,
    map: &'a [f32],
    index: usize,
}

impl Layer<'_> {
    fn forward(
        &self,
        runs: usize,
        block: &mut Block,
        workspace: &mut Workspace,
    ) -> Result<LayerRow> {
        let (g, mut out) = (block.geometry, vec![0.0; self.batch * block.geometry.output_len()]);
        let scale = block.scale(self.rule.projection());
        let response = block.response(scale.as_deref(), self.rule.activation());
        let (weights, map) = (&block.weights, self.map);
        let timing = time(runs, || {
            block_forward(&g, self.batch, map, weights, &response, workspace, &mut out, None);
        })?;
        let norm = block.norm.clone();
        let norm = time(runs, || norm.infer(&mut out))?;
        Ok(self.row(Work::Forward, floor::forward(&[g], self.batch), timing, norm))
    }

    fn step(
        &self,
        runs: usize,
        block: &mut Block,
        workspace: &mut Workspace,
    ) -> Result<(LayerRow, Vec<f32>)> {
        let (g, mut out) = (block.geometry, vec![0.0; self.batch * block.geometry.output_len()]);
        // At rate 0 all is computed and the weights stay what they are.
        let (weights, map, rule) = (&mut block.weights, self.map, self.rule);
        let timing = time(runs, || {
            hebbian_step_applied(rule, &g, self.batch, map, weights, 0.0, workspace, &mut out);
        })?;
        let mut normalised = out.clone();
        block.norm.train(&mut normalised);
        let norm = time(runs, || {
            block.norm.train(&mut out);
        })?;
        let floor = floor::hebbian(&[g], 0..1, self.batch, rule.reconstruction());
        Ok((self.row(Work::Hebbian(self.name), floor, timing, norm), normalised))
    }

    fn row(&self, what: Work, floor_macs: u64, block: Timing, norm: Timing) -> LayerRow {
        let layer = format!("L{}", self.index + 1);
        LayerRow { what: what.to_string(), images: self.batch, layer, floor_macs, block, norm }
    }
}

/// Times what can't fail.
fn time(runs: usize, mut body: impl FnMut()) -> Result<Timing> {
    Timing::of(runs, || {
        body();
        Ok(())
    })
}

impl Section for Layers {
    fn key(&self) -> &'static str {
        "layers"
    }

    fn json(&self, _: &GemmRates) -> Result<Value> {
        Ok(json!(self.rows))
    }

    fn page(&self, rates: &GemmRates) -> String {
        let head = [
            "what",
            "layer",
            "images",
            "floor ms",
            "median ms",
            "min ms",
            "norm ms",
            "beyond ms",
            "x floor",
        ];
        let mut table = Table::new(2, &head);
        for group in self.rows.chunk_by(|a, b| a.what == b.what && a.images == b.images) {
            let mut all = [0.0; 4];
            let mut push = |what: &str, layer: &str, images: usize, parts: [f64; 4]| {
                let [floor, median, least, norm] = parts;
                table.push([
                    what.to_owned(),
                    layer.to_owned(),
                    images.to_string(),
                    ms(floor),
                    ms(median),
                    ms(least),
                    ms(norm),
                    ms(median + norm - floor),
                    times(Some((median + norm) / floor)),
                ]);
            };
            for row in group {
                let floor = row.floor_macs as f64 / rates.all_threads;
                let [least, median, _] = row.block.summary();
                let parts = [floor, median, least, row.norm.summary()[1]];
                all.iter_mut().zip(parts).for_each(|(all, part)| *all += part);
                push(&row.what, &row.layer, row.images, parts);
            }
            if let [first, ..] = group {
                push(&first.what, "all", first.images, all);
            }
        }
        format!(
            "## Layers\n\n\
             Each layer by itself, again and again on the same map, so with its weights and map \
             as warm as caches keep them; beyond: what median and normalisation take more than \
             the floor.\n\n{}",
            table.to_markdown()
        )
    }
}
