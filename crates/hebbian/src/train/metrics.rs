//! What a run writes down on its way: `metrics.jsonl`, the same for TensorBoard,
//! and the images that were left out.

use std::io::Write;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hebbian_data::{Batch, Skipped};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cursor, RunFolder};
use crate::engine::Device;
use crate::error::{Error, Result};
use crate::memory::status_mib;
use crate::network::write_atomically;

/// Steps between two lines of metrics.
pub(super) const LOG_EVERY: usize = 10;

/// Whether a line is due after step `step` (from 1).
pub(super) fn is_due(step: usize) -> bool {
    step.is_multiple_of(LOG_EVERY)
}

/// A line of `metrics.jsonl`: what all have, and the values of its stage.
#[derive(Serialize)]
pub(super) struct Line<'a, V> {
    /// Seconds since 1970.
    time: f64,
    stage: &'static str,
    step: usize,
    /// Steps of the whole run.
    steps: usize,
    epoch: usize,
    /// Over the steps since the line before.
    #[serde(skip_serializing_if = "Option::is_none")]
    images_per_second: Option<f64>,
    /// Time of these steps over what their matrix products alone take at the rate
    /// measured as the run began ([`crate::floor`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    over_floor: Option<f64>,
    /// Images of the epoch that were left out so far.
    skipped: usize,
    /// Held by the process, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_mib: Option<f64>,
    #[serde(flatten)]
    values: &'a V,
}

/// An image that was left out, as a line of `skipped.jsonl`.
#[derive(Serialize, Deserialize)]
struct LeftOut {
    step: usize,
    epoch: usize,
    #[serde(flatten)]
    image: Skipped,
}

/// Counts what a run does, for its lines.
pub(super) struct Meter {
    stage: &'static str,
    steps: usize,
    since: Instant,
    seen: usize,
    /// Images of the epoch that were left out.
    pub(super) skipped: Vec<Skipped>,
    /// Multiply-accumulates a second of matrix products, where they are known.
    products: Option<f64>,
    /// Images a second that these would allow.
    floor: Option<f64>,
}

impl Meter {
    /// For a run of `steps` steps on `device`, whose current epoch left out
    /// `skipped` before; `floors` where lines say how near to their floor steps are.
    pub(super) fn new(
        stage: &'static str,
        steps: usize,
        skipped: Vec<Skipped>,
        device: &Device,
        floors: bool,
    ) -> Self {
        let products = if floors { device.products_rate() } else { None };
        Self { stage, steps, since: Instant::now(), seen: 0, skipped, products, floor: None }
    }

    /// From now on a step of `images` images takes at least so many
    /// multiply-accumulates.
    pub(super) fn set_floor(&mut self, macs: u64, images: usize) {
        self.floor = self.products.map(|products| products * images as f64 / macs as f64);
    }

    /// An epoch goes on or, where none of its batches is done, begins.
    pub(super) fn begin_epoch(&mut self, cursor: &Cursor) {
        if cursor.batch == 0 {
            self.skipped.clear();
        }
        (self.since, self.seen) = (Instant::now(), 0);
    }

    /// A batch is done, of which `used` images were read, by all processes;
    /// `cursor` stands after it.
    pub(super) fn count(
        &mut self,
        used: usize,
        batch: &mut Batch,
        cursor: &Cursor,
        run: Option<&RunFolder>,
    ) -> Result<()> {
        self.see(used);
        self.leave_out(std::mem::take(&mut batch.skipped), cursor, run)
    }

    /// So many images were learned from, by all processes.
    pub(super) fn see(&mut self, images: usize) {
        self.seen += images;
    }

    /// Images were left out in a step that `cursor` stands after.
    pub(super) fn leave_out(
        &mut self,
        mut images: Vec<Skipped>,
        cursor: &Cursor,
        run: Option<&RunFolder>,
    ) -> Result<()> {
        if let Some(run) = run.filter(|_| !images.is_empty()) {
            let (step, epoch) = (cursor.step, cursor.epoch);
            let left_out = images.iter().cloned();
            run.note_skipped(left_out.map(|image| LeftOut { step, epoch, image }))?;
        }
        self.skipped.append(&mut images);
        Ok(())
    }

    /// Writes a line of `values`; `cursor` stands after its step.
    pub(super) fn log(
        &mut self,
        run: &RunFolder,
        cursor: &Cursor,
        values: &impl Serialize,
    ) -> Result<()> {
        let rate = self.seen as f64 / self.since.elapsed().as_secs_f64();
        let rate = Some(rate).filter(|&rate| rate > 0.0 && rate.is_finite());
        let line = Line {
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64()),
            stage: self.stage,
            step: cursor.step,
            steps: self.steps,
            epoch: cursor.epoch,
            images_per_second: rate,
            over_floor: self.floor.zip(rate).map(|(floor, rate)| floor / rate),
            skipped: self.skipped.len(),
            memory_mib: status_mib(std::process::id(), "VmRSS")
                .map(|mib| (mib * 10.0).round() / 10.0),
            values,
        };
        (self.since, self.seen) = (Instant::now(), 0);
        run.log(&line)
    }
}

/// Keys of a line that are no curve.
const NO_CURVES: [&str; 4] = ["time", "stage", "step", "steps"];

/// The numbers of a line of `metrics.jsonl` by name; those of layers as
/// `change/L1`.
pub fn curves(line: &Value) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    let mut add = |name: String, value: &Value| found.extend(value.as_f64().map(|v| (name, v)));
    let fields = line.as_object().into_iter().flatten();
    for (key, value) in fields.filter(|(key, _)| !NO_CURVES.contains(&key.as_str())) {
        match value.as_array() {
            None => add(key.clone(), value),
            Some(layers) => {
                (1..).zip(layers).for_each(|(layer, value)| add(format!("{key}/L{layer}"), value));
            }
        }
    }
    found
}

/// Adds lines of JSON to a file.
pub(super) fn append<T: Serialize>(path: &Path, lines: impl Iterator<Item = T>) -> Result<()> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, &line).map_err(|e| Error::file(path, e.to_string()))?;
        text.push(b'\n');
    }
    append_bytes(path, &text)
}

/// Adds bytes to a file.
pub(super) fn append_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(bytes));
    written.map_err(|error| Error::unwritten(path, error))
}

/// Drops the lines of steps that will be done again, and what a kill left half
/// written; returns those that stay.
pub(super) fn forget_after(path: &Path, step: usize) -> Result<Vec<Value>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&fs_err::read(path)?).into_owned();
    let mut values = Vec::new();
    let mut kept = String::new();
    for line in text.lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        if value["step"].as_u64().is_some_and(|of| of <= step as u64) {
            kept.extend([line, "\n"]);
            values.push(value);
        }
    }
    if kept != text {
        write_atomically(path, kept.as_bytes())?;
    }
    Ok(values)
}

/// The images that a list of those left out names for the epoch in which
/// `cursor` stands.
pub(super) fn skipped_of_epoch(lines: Vec<Value>, cursor: &Cursor) -> Vec<Skipped> {
    let begun = cursor.step - cursor.batch.min(cursor.step);
    let lines = lines.into_iter().filter_map(|line| serde_json::from_value::<LeftOut>(line).ok());
    lines.filter(|line| line.step > begun).map(|line| line.image).collect()
}
