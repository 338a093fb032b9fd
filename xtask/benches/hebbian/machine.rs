//! What it is measured on, and how fast that multiplies matrices.

use std::process::Command;

use anyhow::Result;
use hebbian::linalg::products_rate;
use rayon::ThreadPoolBuilder;
use serde::Serialize;

use crate::timing::summary;

/// The machine and what the program was built with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Name of the processor.
    pub(crate) processor: String,
    /// Processors the system gives this process.
    pub(crate) cores: usize,
    /// Threads that compute.
    pub(crate) threads: usize,
    /// Vector units of the processor.
    pub(crate) vector_units: Vec<String>,
    /// Load averages over 1, 5 and 15 minutes before the run.
    pub(crate) load: Option<String>,
    /// Version of the crates measured.
    pub(crate) version: &'static str,
    /// Their state in version control, where it can be told.
    pub(crate) revision: Option<String>,
    /// Version of the compiler.
    pub(crate) compiler: Option<String>,
}

impl Machine {
    /// Looks at the machine.
    pub(crate) fn look() -> Self {
        let cpuinfo = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            line.split_once(':').map(|(_, value)| value.trim())
        };
        let is_vector = |flag: &&str| flag.starts_with("avx") || *flag == "fma";
        let load = fs_err::read_to_string("/proc/loadavg").ok();
        let root = env!("CARGO_MANIFEST_DIR");
        Self {
            processor: field("model name").unwrap_or(std::env::consts::ARCH).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads: rayon::current_num_threads(),
            vector_units: field("flags")
                .map(|flags| flags.split(' ').filter(is_vector).map(str::to_owned).collect())
                .unwrap_or_default(),
            load: load.map(|load| load.split(' ').take(3).collect::<Vec<_>>().join(" ")),
            version: env!("CARGO_PKG_VERSION"),
            revision: answer("git", &["-C", root, "describe", "--always", "--dirty", "--tags"]),
            compiler: answer("rustc", &["--version"]),
        }
    }

    /// Name for a folder: `amd-epyc-2-cores`.
    pub(crate) fn slug(&self) -> String {
        let text = format!("{} {} cores", self.processor, self.cores).to_lowercase();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
    }
}

fn answer(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty())
}

/// Best rates of large matrix products, in multiply-accumulates a second.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct GemmRates {
    /// On one thread.
    pub(crate) one_thread: f64,
    /// On all threads together, each with products of its own.
    pub(crate) all_threads: f64,
}

/// Sides of the square matrices that are tried, and products a run.
const PRODUCTS: [(usize, usize); 3] = [(512, 16), (1024, 2), (2048, 1)];
const RUNS: usize = 5;

impl GemmRates {
    /// Measures both.
    pub(crate) fn measure() -> Result<Self> {
        let one = ThreadPoolBuilder::new().num_threads(1).build()?;
        Ok(Self { one_thread: one.install(rate), all_threads: rate() })
    }

    /// The medians of several measurements.
    pub(crate) fn median(all: &[Self]) -> Self {
        let of = |rate: fn(&Self) -> f64| summary(all.iter().map(rate).collect())[1];
        Self {
            one_thread: of(|rates| rates.one_thread),
            all_threads: of(|rates| rates.all_threads),
        }
    }
}

/// The best rate with every thread of the current pool busy.
fn rate() -> f64 {
    let rates = PRODUCTS.map(|(side, products)| products_rate(side, products, RUNS));
    rates.into_iter().fold(0.0, f64::max)
}
