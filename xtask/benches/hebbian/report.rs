//! Results as files and as a table.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use hebbian::network::write_atomically;
use serde::Serialize;

use crate::forms::Form;
use crate::machine::{GemmRates, Machine};
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
}

/// All results of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Day, in UTC.
    pub(crate) date: String,
    /// The command that measures it again.
    pub(crate) command: String,
    /// Where it was measured.
    pub(crate) machine: Machine,
    /// Rates of matrix products, the better of before and after.
    pub(crate) gemm_macs_per_second: GemmRates,
    /// Network measured.
    pub(crate) network: String,
    /// Images measured on.
    pub(crate) input: String,
    /// Largest relative difference of the forms of a rule.
    pub(crate) largest_difference: f64,
    /// Whether memory is of each row and not of the process so far.
    pub(crate) memory_by_row: bool,
    /// What was measured; written line by line, with what follows from it.
    #[serde(skip)]
    pub(crate) rows: Vec<Row>,
}

impl Report {
    fn lines(&self) -> Vec<Line<'_>> {
        self.rows.iter().map(|row| self.line(row)).collect()
    }

    fn line<'a>(&'a self, row: &'a Row) -> Line<'a> {
        let [seconds_min, seconds_median, seconds_max] = row.timing.summary();
        let floor_seconds = row.floor_macs as f64 / self.gemm_macs_per_second.all_threads;
        let over = |form: Form| {
            // The naive form is measured on one image only.
            let is_other = |other: &&Row| {
                let same_size = form == Form::Naive || other.images == row.images;
                other.form == Some(form) && other.what == row.what && same_size
            };
            let other = self.rows.iter().find(is_other).filter(|_| row.form != Some(form))?;
            Some(rate(row) / rate(other))
        };
        Line {
            row,
            seconds_min,
            seconds_median,
            seconds_max,
            images_per_second: rate(row),
            floor_seconds,
            times_floor: seconds_median / floor_seconds,
            over_published: over(Form::Published),
            over_naive: over(Form::Naive),
        }
    }

    /// A page of Markdown that also reads well in a terminal.
    pub(crate) fn page(&self) -> String {
        let machine = &self.machine;
        let unknown = || "unknown".to_owned();
        let gflops = |macs: f64| 2e-9 * macs;
        let mut page = format!(
            "# {} on {}, {}\n\n\
             - command: `{}`\n\
             - machine: {}, {} cores, {} threads, vector units {}; load average before: {}\n\
             - built from: version {}, revision {}, {}\n\
             - images: {}; weights: random, seed 0\n\
             - matrix products: {:.1} GFLOP/s on one thread, {:.1} on all\n\
             - the forms of a rule agree within {:.1e} of their largest entry\n\
             - times are of {} runs after one to warm up; the floor is the fewest \
             multiply-accumulates over the rate of matrix products on all threads\n\
             - the naive form updates from one image on one thread, whatever the batch\n\
             - peak memory is the most the process held during {}, added memory what of it was \
             not held before\n\n",
            self.network,
            machine.processor,
            self.date,
            self.command,
            machine.processor,
            machine.cores,
            machine.threads,
            machine.vector_units.join(" "),
            machine.load.clone().unwrap_or_else(unknown),
            machine.version,
            machine.revision.clone().unwrap_or_else(unknown),
            machine.compiler.clone().unwrap_or_else(unknown),
            self.input,
            gflops(self.gemm_macs_per_second.one_thread),
            gflops(self.gemm_macs_per_second.all_threads),
            self.largest_difference,
            self.rows.first().map_or(0, |row| row.timing.runs.len()),
            if self.memory_by_row { "the row" } else { "the whole run so far" },
        );
        let head = [
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
            "peak MiB",
            "added MiB",
        ];
        let mut table = vec![head.map(str::to_owned)];
        for line in self.lines() {
            let ms = |seconds: f64| format!("{:.1}", 1e3 * seconds);
            let times = |ratio: Option<f64>| ratio.map_or_else(String::new, |r| format!("{r:.1}"));
            let mib = |mib: Option<f64>| mib.map_or_else(String::new, |mib| format!("{mib:.0}"));
            table.push([
                line.row.what.clone(),
                line.row.form.map_or_else(String::new, |form| form.to_string()),
                line.row.images.to_string(),
                ms(line.seconds_median),
                ms(line.seconds_min),
                ms(line.seconds_max),
                format!("{:.1}", line.images_per_second),
                ms(line.floor_seconds),
                times(Some(line.times_floor)),
                times(line.over_published),
                times(line.over_naive),
                mib(line.row.timing.peak_mib),
                mib(line.row.timing.added_mib()),
            ]);
        }
        page.push_str(&aligned(&table));
        page
    }

    /// Writes `bench.json` and `bench.md` into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        #[derive(Serialize)]
        struct File<'a> {
            #[serde(flatten)]
            report: &'a Report,
            rows: Vec<Line<'a>>,
        }
        let report = File { report: self, rows: self.lines() };
        fs_err::create_dir_all(folder)?;
        let json = serde_json::to_string_pretty(&report)? + "\n";
        write_atomically(&folder.join("bench.json"), json.as_bytes())?;
        write_atomically(&folder.join("bench.md"), self.page().as_bytes())?;
        Ok(())
    }
}

/// Images a second, by the median.
fn rate(row: &Row) -> f64 {
    row.images as f64 / row.timing.summary()[1]
}

/// A Markdown table with columns of even width, numbers to the right.
fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(2);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut table = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, (text, width)) in row.iter().zip(widths).enumerate() {
            // Writing to a string does not fail.
            let _ = if column < 2 {
                write!(table, "| {text:<width$} ")
            } else {
                write!(table, "| {text:>width$} ")
            };
        }
        table.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.into_iter().enumerate() {
                let dashes = "-".repeat(width);
                let _ = if column < 2 {
                    write!(table, "| {dashes} ")
                } else {
                    write!(table, "| {}: ", &dashes[1..])
                };
            }
            table.push_str("|\n");
        }
    }
    table
}
