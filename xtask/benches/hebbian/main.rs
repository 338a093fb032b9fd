//! Rates, times and memory of one run of the project on this machine:
//! `cargo xtask bench`.

mod floor;
mod forms;
mod input;
mod machine;
mod report;
mod timing;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use hebbian::engine::{Device, Trainer};
use hebbian::network::{Head, Model, Network, NetworkSpec};
use hebbian::ops::Workspace;
use hebbian::rules::{self, Projection};
use hebbian::train::{FinetuneConfig, for_each_features};

use forms::Form;
use input::Input;
use machine::{GemmRates, Machine};
use report::{Report, Row};
use timing::Timing;

const NETWORK: &str = "cifar-6";
const RULES: [&str; 2] = ["soft-wta", "hpca"];
const CLASSES: usize = 10;

/// Measures rates, times and memory on an optimised build
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Options {
    /// Images a step; several may be given, with commas
    #[arg(long, value_delimiter = ',', default_value = "64", value_parser = clap::value_parser!(u16).range(2..))]
    batch: Vec<u16>,
    /// Runs of each row, after one to warm up
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(5..))]
    runs: u16,
    /// Images whose features are extracted
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u16).range(128..))]
    images: u16,
    /// Folder for the results instead of benches/runs/<date>-<machine>
    #[arg(long)]
    out: Option<PathBuf>,
    /// Cargo adds it
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace root")?;
    let machine = Machine::look();
    let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let date = date.split('T').next().unwrap_or_default().to_owned();
    let folder = options
        .out
        .clone()
        .unwrap_or_else(|| root.join("benches/runs").join(format!("{date}-{}", machine.slug())));

    eprintln!("matrix products");
    let before = GemmRates::measure()?;
    let largest_batch = options.batch.iter().copied().max().unwrap_or_default();
    let input = Input::open(root, options.images.max(largest_batch).into())?;
    let mut bench = Bench::new(input, options)?;
    let largest_difference = bench.steps(&options.batch)?;
    bench.extraction(options.images.into())?;
    eprintln!("matrix products again");
    let after = GemmRates::measure()?;

    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let command = ["cargo", "xtask", "bench"].map(str::to_owned).into_iter().chain(words);
    let report = Report {
        date,
        command: command.collect::<Vec<_>>().join(" "),
        machine,
        gemm_macs_per_second: before.best(after),
        network: NETWORK.into(),
        input: bench.input.name.into(),
        largest_difference,
        memory_by_row: timing::reset_peak(),
        rows: bench.rows,
    };
    print!("{}", report.page());
    report.write(&folder)?;
    eprintln!("written to {}", folder.display());
    Ok(())
}

struct Bench {
    input: Input,
    spec: NetworkSpec,
    runs: usize,
    rows: Vec<Row>,
}

impl Bench {
    fn new(input: Input, options: &Options) -> Result<Self> {
        let spec = NetworkSpec::find(NETWORK)?;
        Ok(Self { input, spec, runs: options.runs.into(), rows: Vec::new() })
    }

    fn row(
        &mut self,
        (what, form): (&str, Option<Form>),
        images: usize,
        floor_macs: u64,
        body: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        eprintln!("{what} {} {images}", form.map_or_else(String::new, |form| form.to_string()));
        let timing = Timing::of(self.runs, body)?;
        self.rows.push(Row { what: what.to_owned(), form, images, floor_macs, timing });
        Ok(())
    }

    /// Forward passes, Hebbian steps in all forms and supervised steps.
    /// Returns the largest relative difference of two forms.
    fn steps(&mut self, batches: &[u16]) -> Result<f64> {
        let layers = self.spec.geometries()?;
        let mut worst = 0.0f64;
        for (index, &batch) in batches.iter().enumerate() {
            let batch = usize::from(batch);
            let (x, labels) = self.input.batch(batch)?;
            ensure!(labels.len() == batch, "only {} of {batch} images can be read", labels.len());
            let network = Network::new(self.spec.clone(), Projection::Plain, 0)?;
            let mut workspace = Workspace::default();
            self.row(("forward", None), batch, floor::forward(&layers, batch), || {
                network.features(network.depth(), &x, &mut workspace);
                Ok(())
            })?;
            for name in RULES {
                let rule = rules::build(name, toml::Table::new())?;
                let rule = rule.as_ref();
                let lr = rules::info(name)?.learning_rate as f32;
                let network = Network::new(self.spec.clone(), rule.projection(), 0)?;
                eprintln!("{name}: do its forms agree on {batch} images?");
                worst = worst.max(forms::compare(rule, network.clone(), &x)?);
                let what = format!("{name} step");
                for form in [Form::Naive, Form::Published, Form::Engine] {
                    // One image at any batch size: its time is in proportion.
                    let images = if form == Form::Naive { 1 } else { batch };
                    if form == Form::Naive && index > 0 {
                        continue;
                    }
                    let x = &x[..images * layers[0].input_len()];
                    let mut network = network.clone();
                    let mut workspace = Workspace::default();
                    let floor = floor::hebbian(&layers, images, rule.reconstruction());
                    self.row((&what, Some(form)), images, floor, || {
                        forms::step(form, rule, lr, &mut network, x, &mut workspace);
                        Ok(())
                    })?;
                }
            }
            let mut network = network;
            let mut head = Head::new(network.feature_len(network.depth()), CLASSES, 0);
            let (mut trainer, config) = (Trainer::default(), FinetuneConfig::default());
            let floor = floor::supervised(&layers, batch, CLASSES);
            self.row(("supervised step", None), batch, floor, || {
                trainer.gradients(&mut network, &head, &x, &labels, &[], false);
                trainer.step(&mut network, &mut head, &config.sgd(config.lr));
                Ok(())
            })?;
        }
        Ok(worst)
    }

    /// Features of `count` images, decoding included.
    fn extraction(&mut self, count: usize) -> Result<()> {
        let floor = floor::forward(&self.spec.geometries()?, count);
        let rule = rules::build(RULES[1], toml::Table::new())?;
        let preprocess = self.input.preprocess.clone();
        let model = Model::new(self.spec.clone(), rule.as_ref(), preprocess, 0)?;
        let images = self.input.images.subset(&(0..count).collect::<Vec<_>>());
        let depth = model.network.depth();
        self.row(("extraction from files", None), images.len(), floor, || {
            let mut seen = 0;
            for_each_features(
                &model,
                depth,
                &images,
                &Device::Cpu,
                "extraction",
                &mut |_| {},
                |rows, _| {
                    seen += rows.len();
                    Ok(())
                },
            )?;
            ensure!(seen == images.len(), "only {seen} of {} images can be read", images.len());
            Ok(())
        })
    }
}
