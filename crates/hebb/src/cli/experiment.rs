//! What can be typed about experiments.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hebbian_data::Share;
use hebbian_lab::{Only, Selection};

/// `hebb experiment`
#[derive(Subcommand)]
pub enum ExperimentCommand {
    /// Run what an experiment file says; what is done already is not done again.
    #[command(after_help = "\
The cells of a file are its methods, layers, amounts of labels and seeds. Each
is one file under OUT/cells; the pre-training that cells share is made once,
under OUT/stages. Results so far are in OUT/NAME.jsonl. Stop it at any time,
also by kill -9: the same command goes on, and has lost at most the last minute
of a training. Several processes may work on one OUT at the same time.

Results that are kept elsewhere count too: with --results FILE, cells whose
images, labels, network and settings are those of a line in FILE are taken
from there, with the version, machine and date of that line. Without it,
everything is computed that OUT does not hold.

Examples:
  hebb experiment run experiments/cifar10-table-1.toml --data DATA --out runs/table-1
  hebb experiment run FILE --data DATA --out OUT --dry-run        (cells and time)
  hebb experiment run FILE --data DATA --out OUT --only HPCA/L3 --only none/L3
  hebb experiment run FILE --data DATA --out OUT --labels 1% --seed 0,1 --layer L3
  hebb experiment run experiments/cifar10-table-1.toml --data DATA --out OUT \\
    --results experiments/results/cifar10-table-1.jsonl        (only what is missing)
  hebb experiment run FILE --data DATA --out OUT --shard 1/2 &    (two processes)
  hebb experiment run FILE --data DATA --out OUT --shard 2/2")]
    Run(Box<ExperimentRunArgs>),
    /// Print the table of an experiment as Markdown, and draw its page.
    #[command(after_help = "\
The results are those in OUT, or those kept beside the experiment file in
results/NAME.jsonl, or those given with --results. Learned filters and nearest
images need the OUT folder that they were made in. Tables have a column for each
layer, or, where one is shown, for each amount of labels. Charts show up to eight
methods: of more, those measured in the most places, or those chosen with --only;
gains are over the file's baseline or that of --baseline, shown or not.

Examples:
  hebb experiment report runs/table-1 --html table-1.html
  hebb experiment report experiments/cifar10-table-1.toml
  hebb experiment report FILE --baseline HPCA          (is anything better than HPCA?)
  hebb experiment report FILE --labels 1% --only none --only HPCA --figures talk/")]
    Report(ExperimentReportArgs),
    /// Compare two sets of results, run by run.
    #[command(after_help = "\
Cells are paired by amount of labels, method, layer and seed, pre-trainings by
method and seed. Prints what accuracy changed by, place by place, with its
interval; how many accuracies, rankings and probes are equal, and the largest
difference; the settings that differ.

Either side is a file of results, the OUT folder of a run, or an experiment
file, which stands for the results kept beside it in results/NAME.jsonl.

Examples:
  hebb experiment compare runs/before runs/after       (a rule was changed)
  hebb experiment run FILE --data DATA --out again --sample 5
  hebb experiment compare FILE again --within 1        (are kept results right?)")]
    Compare(ExperimentCompareArgs),
}

/// `hebb experiment run`
#[derive(Args)]
pub struct ExperimentRunArgs {
    /// The experiment file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Folder that the file's data paths start from.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Folder for results and everything on the way to them.
    #[arg(long, short, value_name = "DIR")]
    pub out: PathBuf,
    /// Only this process's share of the cells: the i-th of n.
    #[arg(long, value_name = "i/n")]
    pub shard: Option<Share>,
    #[command(flatten)]
    pub part: PartArgs,
    /// Only so many of these cells, drawn at random, the same ones each time.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub sample: Option<usize>,
    /// Stop after so many cells.
    #[arg(long, value_name = "N")]
    pub max_cells: Option<usize>,
    /// Print the cells and the time they will take, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Where to compute: cpu; in a build with GPU support also vulkan (the
    /// best card), vulkan:N (card N, from 0), and vulkan-half or
    /// vulkan-half:N (matrix products in half precision).
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub device: String,
    /// Keep decoded images in this folder, so that they are decoded once.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Gather results (JSON lines) in this file, over runs and machines: cells
    /// that it holds already are not done again, new ones are added.
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
    /// Write the results as JSON to standard output.
    #[arg(long)]
    pub json: bool,
}

/// A part of an experiment's grid.
#[derive(Args)]
pub struct PartArgs {
    /// Only cells of this method, or of this layer of it; may be repeated.
    #[arg(long, value_name = "METHOD[/LAYER]")]
    only: Vec<Only>,
    /// Only cells of these layers, such as L3,L4.
    #[arg(long, value_name = "LAYER", value_delimiter = ',')]
    layer: Vec<String>,
    /// Only cells with these amounts of labels, such as 1%,5% or 0.01.
    #[arg(long, value_name = "SHARE", value_delimiter = ',', value_parser = share)]
    labels: Vec<f64>,
    /// Only cells of these seeds, such as 0,1.
    #[arg(long, value_name = "SEED", value_delimiter = ',')]
    seed: Vec<u64>,
}

impl PartArgs {
    /// The part of the grid that is asked for.
    pub fn selection(&self) -> Selection {
        Selection {
            only: self.only.clone(),
            layers: self.layer.clone(),
            fractions: self.labels.clone(),
            seeds: self.seed.clone(),
        }
    }
}

/// A share of the labels, as `1%` or `0.01`.
fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let share = number.trim().parse::<f64>().map(|number| number / whole);
    share.map_err(|_| format!("'{text}' is no share of the labels; say 5% or 0.05"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().map_err(|_| format!("'{text}' is no number of cells"))?;
    if number == 0 { Err("must be at least 1".into()) } else { Ok(number) }
}

/// `hebb experiment compare`
#[derive(Args)]
pub struct ExperimentCompareArgs {
    /// The earlier results.
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,
    /// The later ones.
    #[arg(value_name = "AFTER")]
    pub after: PathBuf,
    /// Fail if any difference is larger than so many points.
    #[arg(long, value_name = "POINTS", value_parser = points, allow_negative_numbers = true)]
    pub within: Option<f64>,
    /// Write the comparison as JSON to standard output.
    #[arg(long)]
    pub json: bool,
}

fn points(text: &str) -> Result<f64, String> {
    let points = text.parse::<f64>().ok().filter(|points| *points >= 0.0);
    points.ok_or_else(|| format!("'{text}' is no number of points from 0 on"))
}

/// `hebb experiment report`
#[derive(Args)]
pub struct ExperimentReportArgs {
    /// The experiment file, or the OUT folder of its run.
    #[arg(value_name = "FILE|OUT")]
    pub of: PathBuf,
    /// Results (JSON lines) to report.
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
    /// OUT folder to take pictures from, where a file is given.
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub part: PartArgs,
    /// Compare the others with this method, run by run, not with the file's
    /// baseline.
    #[arg(long, value_name = "METHOD")]
    pub baseline: Option<String>,
    /// Write a self-contained HTML page.
    #[arg(long, value_name = "PAGE")]
    pub html: Option<PathBuf>,
    /// Write each chart of the page as an SVG file in this folder.
    #[arg(long, value_name = "DIR")]
    pub figures: Option<PathBuf>,
}
