//! Rates, times and memory of one run of the project on this machine:
//! `cargo xtask bench`.

mod epochs;
mod growth;
mod input;
mod layers;
mod loader;
mod machine;
mod peers;
mod processes;
mod report;
mod scaling;
mod search;
mod serve;
mod steps;
mod timing;
mod waiting;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use hebbian::engine::Device;
use hebbian::network::NetworkSpec;
use hebbian_data::Size;

use input::Input;
use machine::{GemmRates, Machine};
use peers::Python;
use peers::pytorch::{self, PyTorch};
use report::{Report, Section};
use steps::{Form, Steps, Subject, VaeSubject, Work};

/// The network that everything is compared on.
const NETWORK: &str = "cifar-6";

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench                              steps at batch 64, against their floors
  cargo xtask bench steps peers --batch 64,256   the same beside PyTorch
  cargo xtask bench steps peers --rounds 3 --runs 3   the same in turns, on a restless machine
  cargo xtask bench steps peers loader waiting scaling --python ~/torch/bin/python
  cargo xtask bench epochs --runs 3              Lagani 2023, Table 1: time of pre-training
  cargo xtask bench growth                       tar shards of up to 1.28 million images
  cargo xtask bench scaling --runs 3 --out /tmp/trial
  cargo xtask bench steps layers --network imagenet-10 --batch 32 --runs 3
  cargo xtask bench processes --batch 64,256     (needs Open MPI and libclang)
  cargo xtask bench search --queries 500 --gallery 5000
  cargo xtask bench serve --seconds 10           hebb serve under load
  cargo xtask bench steps --device vulkan --batch 64,256   (built with --features vulkan)

Peers run in Python. Without --python, what benches/peers/requirements.txt lists is installed
from PyPI into target/peers once: a download of gigabytes.";

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Forward pass, Hebbian steps in all forms, supervised and VAE step, extraction
    Steps,
    /// Each layer of forward pass and Hebbian steps by itself, against its floor
    Layers,
    /// PyTorch's forward pass and steps, and ours over them (takes steps too)
    Peers,
    /// JPEG files to batches, ours over PyTorch's DataLoader with PIL and with PyTurboJPEG
    Loader,
    /// An epoch and all of pre-training, VAE, naive and fast rules: Lagani 2023, Table 1
    Epochs,
    /// Start-up, rate and memory over 1,000 to 1.28 million images in shards (writes 5 GB)
    Growth,
    /// How long pre-training from files waits for its batches
    Waiting,
    /// Hebbian steps over threads and batches; orders of products over channels
    Scaling,
    /// Steps of two processes, what they exchange, and more processes on paper
    Processes,
    /// Exact search, ours over faiss's flat index
    Search,
    /// Search over HTTP under load
    Serve,
}

impl Group {
    /// Whether it compares with something that runs in Python.
    fn has_peer(self) -> bool {
        matches!(self, Self::Peers | Self::Loader | Self::Search)
    }
}

/// Measures rates, times and memory on an optimised build
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench", after_help = EXAMPLES)]
struct Options {
    /// What to measure
    #[arg(value_enum, default_value = "steps")]
    groups: Vec<Group>,
    /// Images a step; several may be given, with commas
    #[arg(long, value_delimiter = ',', default_value = "64", value_parser = clap::value_parser!(u16).range(2..))]
    batch: Vec<u16>,
    /// Network of steps and layers; another than this one without naive and published forms
    #[arg(long, default_value = NETWORK)]
    network: String,
    /// Runs of each row, after one to warm up
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Rounds through all rows of steps and peers, each of so many runs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Images whose features are extracted
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u16).range(1..))]
    images: u16,
    /// Queries of a search
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    queries: u32,
    /// Vectors that are searched
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(10..))]
    gallery: u32,
    /// Seconds of the longest load of a server
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..))]
    seconds: u16,
    /// What our steps run on: cpu, or a graphics card as in `hebb --device`
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    device: String,
    /// Python that has the packages of benches/peers/requirements.txt
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Folder for the results instead of benches/runs/<date>-<machine>
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Measure this one thing on `inputs` and write what it took
    #[arg(long, hide = true, requires_all = ["form", "inputs"])]
    row: Option<Work>,
    /// Of its batch, this process's part
    #[arg(long, hide = true)]
    part: bool,
    /// Read these shards and write what it took
    #[arg(long, hide = true)]
    stream: Option<PathBuf>,
    #[arg(long, hide = true)]
    form: Option<Form>,
    #[arg(long, hide = true)]
    inputs: Option<PathBuf>,
    /// Cargo adds it
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match (options.row, options.form, &options.inputs, &options.stream) {
        (Some(work), _, Some(inputs), _) if options.part => {
            processes::part(work, inputs, options.runs.into())
        }
        (Some(work), Some(form), Some(inputs), _) => row(&options, work, form, inputs),
        (_, _, _, Some(pattern)) => growth::stream(pattern),
        _ => run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One row, for the process that asked for it.
fn row(options: &Options, work: Work, form: Form, inputs: &Path) -> Result<()> {
    let spec = NetworkSpec::find(&options.network)?;
    let subject = Subject::read(&spec, inputs)?;
    let device = Device::open(&options.device)?;
    let (images, runs) = (options.images.into(), options.runs.into());
    let timing = work.measure(&device, form, subject, images, runs)?;
    println!("{}", serde_json::to_string(&timing)?);
    Ok(())
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
    let has = |group| options.groups.contains(&group);
    let wants_python = options.groups.iter().any(|group| group.has_peer());
    let python = wants_python.then(|| Python::open(root, options.python.as_deref())).transpose()?;

    let bench = Bench::new(root, options)?;
    let alone = |group: &Group| matches!(group, Group::Steps | Group::Layers);
    ensure!(
        bench.is_usual() || options.groups.iter().all(alone),
        "--network is for steps and layers; the other groups compare on {NETWORK}"
    );
    let mut rates = Vec::new();
    let (mut steps, mut peers) = (None::<Steps>, None::<PyTorch>);
    for round in 0..options.rounds.into() {
        eprintln!("matrix products");
        rates.push(GemmRates::measure()?);
        if has(Group::Steps) || has(Group::Peers) {
            let found = steps::measure(&bench, round)?;
            match &mut steps {
                Some(steps) => steps.merge(found),
                None => steps = Some(found),
            }
        }
        if let Some(python) = python.as_ref().filter(|_| has(Group::Peers)) {
            let found = pytorch::measure(&bench, python)?;
            match &mut peers {
                Some(peers) => peers.merge(found),
                None => peers = Some(found),
            }
        }
    }
    let mut sections: Vec<Box<dyn Section>> = Vec::new();
    if let Some(steps) = steps {
        if let Some(peers) = &mut peers {
            peers.compare(&steps);
        }
        sections.push(Box::new(steps));
    }
    if let Some(peers) = peers {
        sections.push(Box::new(peers));
    }
    if has(Group::Layers) {
        sections.push(Box::new(layers::measure(&bench)?));
    }
    if let Some(python) = python.as_ref().filter(|_| has(Group::Loader)) {
        sections.push(Box::new(loader::measure(&bench, python, root)?));
    }
    if has(Group::Epochs) {
        sections.push(Box::new(epochs::measure(&bench)?));
    }
    if has(Group::Growth) {
        sections.push(Box::new(growth::measure(&bench)?));
    }
    if has(Group::Waiting) {
        sections.push(Box::new(waiting::measure(&bench)?));
    }
    if has(Group::Scaling) {
        sections.push(Box::new(scaling::measure(&bench)?));
    }
    if has(Group::Processes) {
        sections.push(Box::new(processes::measure(&bench)?));
    }
    if let Some(python) = python.as_ref().filter(|_| has(Group::Search)) {
        let size = search::Size {
            queries: usize::try_from(options.queries)?,
            gallery: usize::try_from(options.gallery)?,
        };
        sections.push(Box::new(search::measure(&bench, python, size)?));
    }
    if has(Group::Serve) {
        sections.push(Box::new(serve::measure(&bench, root, options.seconds.into())?));
    }
    eprintln!("matrix products again");
    rates.push(GemmRates::measure()?);

    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let command = ["cargo", "xtask", "bench"].map(str::to_owned).into_iter().chain(words);
    let report = Report {
        date,
        command: command.collect::<Vec<_>>().join(" "),
        machine,
        gemm_macs_per_second: GemmRates::median(&rates),
        gemm_measurements: rates,
        network: options.network.clone(),
        device: Device::open(&options.device)?.to_string(),
        input: bench.input.name.into(),
        rounds: options.rounds.into(),
        runs: bench.runs,
        sections,
    };
    print!("{}", report.page());
    report.write(&folder)?;
    eprintln!("written to {}", folder.display());
    Ok(())
}

/// What all groups measure on.
struct Bench {
    /// Real images.
    input: Input,
    /// Images a step; at least one size.
    batches: Vec<usize>,
    /// Runs of each row.
    runs: usize,
    /// Images whose features are extracted.
    images: usize,
    /// The network measured.
    spec: NetworkSpec,
    /// What the steps run on.
    device: String,
    /// Files handed to other processes.
    scratch: tempfile::TempDir,
}

impl Bench {
    fn new(root: &Path, options: &Options) -> Result<Self> {
        let batches: Vec<usize> = options.batch.iter().map(|&batch| batch.into()).collect();
        let images = usize::from(options.images);
        let most = batches.iter().copied().chain(scaling::BATCHES).fold(images, usize::max);
        let spec = NetworkSpec::find(&options.network)?;
        let [height, width, _] = spec.input;
        let input = Input::open(root, Size { height, width }, most)?;
        let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let device = options.device.clone();
        let runs = options.runs.into();
        Ok(Self { input, batches, runs, images, spec, device, scratch })
    }

    /// Whether it is the network that everything is compared on.
    fn is_usual(&self) -> bool {
        self.spec.name == NETWORK
    }

    /// Network and images of a batch.
    fn subject(&self, batch: usize) -> Result<Subject> {
        Subject::read(&self.spec, &self.inputs(batch)?)
    }

    /// The file of [`Bench::subject`], written when first asked for.
    fn inputs(&self, batch: usize) -> Result<PathBuf> {
        let path = self.scratch.path().join(format!("inputs-{batch}.safetensors"));
        if !path.exists() {
            Subject::new(&self.spec, &self.input, batch)?.write(&path)?;
        }
        Ok(path)
    }

    /// The file that the peers' VAE starts from, with the same images.
    fn vae_inputs(&self, batch: usize) -> Result<PathBuf> {
        let path = self.scratch.path().join(format!("vae-inputs-{batch}.safetensors"));
        if !path.exists() {
            VaeSubject::new(batch)?.write(self.subject(batch)?.first(batch), &path)?;
        }
        Ok(path)
    }
}
