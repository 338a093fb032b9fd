//! Results as files and as a page.

mod table;

use std::path::Path;

use anyhow::Result;
use hebbian::network::write_atomically;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::machine::{GemmRates, Machine};
use crate::timing::summary;
pub(crate) use table::{Table, mib, ms, times};

/// What one group of measurements found.
pub(crate) trait Section {
    /// Its key in `bench.json`.
    fn key(&self) -> &'static str;

    /// What was measured, with what follows from it.
    ///
    /// # Errors
    /// If it can't be written as JSON.
    fn json(&self, rates: &GemmRates) -> Result<Value>;

    /// Markdown, from its heading on.
    fn page(&self, rates: &GemmRates) -> String;
}

/// All results of a run.
#[derive(Serialize)]
pub(crate) struct Report {
    /// Day, in UTC.
    pub(crate) date: String,
    /// The command that measures it again.
    pub(crate) command: String,
    /// Where it was measured.
    pub(crate) machine: Machine,
    /// Rates of matrix products, the medians of all measurements.
    pub(crate) gemm_macs_per_second: GemmRates,
    /// Those measurements: before each round, and at the end.
    pub(crate) gemm_measurements: Vec<GemmRates>,
    /// Network measured.
    pub(crate) network: String,
    /// What its steps ran on.
    pub(crate) device: String,
    /// Images measured on.
    pub(crate) input: String,
    /// Rounds through the rows of steps and PyTorch.
    pub(crate) rounds: usize,
    /// Runs of each row in a round, after one to warm up.
    pub(crate) runs: usize,
    /// What was found; written by key, beside the above.
    #[serde(skip)]
    pub(crate) sections: Vec<Box<dyn Section>>,
}

impl Report {
    /// A page of Markdown that also reads well in a terminal.
    pub(crate) fn page(&self) -> String {
        let machine = &self.machine;
        let unknown = || "unknown".to_owned();
        let gflops = |macs: f64| 2e-9 * macs;
        let all_threads = self.gemm_measurements.iter().map(|rates| rates.all_threads);
        let [slowest, _, fastest] = summary(all_threads.collect());
        let mut page = format!(
            "# {} on {}, {}\n\n\
             - command: `{}`\n\
             - machine: {}, {} cores, {} threads, vector units {}; load average before: {}\n\
             - built from: version {}, revision {}, {}\n\
             - images: {}; weights: random, seed 0; steps on {}\n\
             - matrix products: {:.1} GFLOP/s on one thread, {:.1} on all ({:.1} to {:.1}): the \
             median of the bests before each round and at the end\n\
             - times are of {} x {} runs, each time after one to warm up: the rounds take turns \
             through the rows, so that a clock that drifts is the same for all\n",
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
            self.device,
            gflops(self.gemm_macs_per_second.one_thread),
            gflops(self.gemm_macs_per_second.all_threads),
            gflops(slowest),
            gflops(fastest),
            self.rounds,
            self.runs,
        );
        for section in &self.sections {
            page.push('\n');
            page.push_str(&section.page(&self.gemm_macs_per_second));
        }
        page
    }

    /// Writes `bench.json` and `bench.md` into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        #[derive(Serialize)]
        struct File<'a> {
            #[serde(flatten)]
            report: &'a Report,
            #[serde(flatten)]
            sections: Map<String, Value>,
        }
        let mut sections = Map::new();
        for section in &self.sections {
            let found = section.json(&self.gemm_macs_per_second)?;
            sections.insert(section.key().to_owned(), found);
        }
        fs_err::create_dir_all(folder)?;
        let json = serde_json::to_string_pretty(&File { report: self, sections })? + "\n";
        write_atomically(&folder.join("bench.json"), json.as_bytes())?;
        write_atomically(&folder.join("bench.md"), self.page().as_bytes())?;
        Ok(())
    }
}
