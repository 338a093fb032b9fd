//! The rows of steps, with what follows from them.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Form, Work};
use crate::machine::GemmRates;
use crate::report::{Section, Table, mib, ms, times};
use crate::timing::Timing;

/// One thing measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// What was run.
    pub(crate) what: String,
    /// Form of the update, where there are several.
    pub(crate) form: Option<Form>,
    /// Images a step, or a pass.
    pub(crate) images: usize,
    /// The fewest multiply-accumulates that could do.
    pub(crate) floor_macs: u64,
    /// What it took.
    pub(crate) timing: Timing,
}

/// A row with what follows from it and its neighbours.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    row: &'a Row,
    seconds_min: f64,
    seconds_median: f64,
    seconds_max: f64,
    images_per_second: f64,
    floor_seconds: f64,
    times_floor: f64,
    /// How many times as many images a second as the published form.
    over_published: Option<f64>,
    /// How many times as many images a second as the naive form.
    over_naive: Option<f64>,
    /// How many times as many images a second as the baseline's VAE: of the
    /// engine's Hebbian steps.
    over_vae: Option<f64>,
}

/// All rows of steps.
#[derive(Default)]
pub(crate) struct Steps {
    /// What was measured.
    pub(crate) rows: Vec<Row>,
    /// Largest relative difference of the forms of a rule.
    pub(crate) largest_difference: f64,
}

impl Steps {
    fn line<'a>(&'a self, row: &'a Row, rates: &GemmRates) -> Line<'a> {
        let [seconds_min, seconds_median, seconds_max] = row.timing.summary();
        let floor_seconds = row.floor_macs as f64 / rates.all_threads;
        let over = |form: Form| {
            // The naive form is measured on one image only.
            let is_other = |other: &&Row| {
                let same_size = form == Form::Naive || other.images == row.images;
                other.form == Some(form) && other.what == row.what && same_size
            };
            let other = self.rows.iter().find(is_other).filter(|_| row.form != Some(form))?;
            Some(row.rate() / other.rate())
        };
        let over_vae = || {
            let vae = Work::Vae.to_string();
            let is_vae = |other: &&Row| other.what == vae && other.images == row.images;
            let vae = self.rows.iter().find(is_vae)?;
            (row.form == Some(Form::Engine)).then(|| row.rate() / vae.rate())
        };
        Line {
            row,
            seconds_min,
            seconds_median,
            seconds_max,
            images_per_second: row.rate(),
            floor_seconds,
            times_floor: seconds_median / floor_seconds,
            over_published: over(Form::Published),
            over_naive: over(Form::Naive),
            over_vae: over_vae(),
        }
    }
}

impl Row {
    /// Images a second, by the median.
    pub(crate) fn rate(&self) -> f64 {
        self.images as f64 / self.timing.summary()[1]
    }
}

impl Section for Steps {
    fn key(&self) -> &'static str {
        "steps"
    }

    fn json(&self, rates: &GemmRates) -> Result<Value> {
        let rows: Vec<_> = self.rows.iter().map(|row| self.line(row, rates)).collect();
        Ok(json!({ "largest_difference": self.largest_difference, "rows": rows }))
    }

    fn page(&self, rates: &GemmRates) -> String {
        let mut table = Table::new(
            2,
            &[
                "what",
                "form",
                "images",
                "median ms",
                "min ms",
                "max ms",
                "images/s",
                "floor ms",
                "x floor",
                "x published",
                "x naive",
                "x VAE",
                "peak MiB",
                "added MiB",
            ],
        );
        for row in &self.rows {
            let line = self.line(row, rates);
            table.push([
                row.what.clone(),
                row.form.map_or_else(String::new, |form| form.to_string()),
                row.images.to_string(),
                ms(line.seconds_median),
                ms(line.seconds_min),
                ms(line.seconds_max),
                format!("{:.1}", line.images_per_second),
                ms(line.floor_seconds),
                times(Some(line.times_floor)),
                times(line.over_published),
                times(line.over_naive),
                times(line.over_vae),
                mib(row.timing.peak_mib),
                mib(row.timing.added_mib()),
            ]);
        }
        format!(
            "## Steps\n\n\
             - the forms of a rule agree within {:.1e} of their largest entry\n\
             - the floor is the fewest multiply-accumulates over the rate of matrix products on \
             all threads\n\
             - x VAE: the Hebbian step's images a second over those of the baseline's step, \
             forward, gradients and optimiser of encoder and decoder\n\
             - the naive form updates from one image on one thread, whatever the batch\n\
             - each step runs in a process of its own; peak memory is the most it held, added \
             memory what of it beyond network and images\n\n{}",
            self.largest_difference,
            table.to_markdown()
        )
    }
}
