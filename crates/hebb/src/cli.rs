//! What can be typed: verbs, options, help.

mod data;
mod experiment;
mod gallery;
mod serve;
mod stores;
mod train;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hebbian::train::Every;
use hebbian_data::Share;

pub use self::data::{DataCommand, OfficialSet};
pub use self::experiment::{
    ExperimentCommand, ExperimentCompareArgs, ExperimentReportArgs, ExperimentRunArgs,
};
pub use self::gallery::{
    CompactArgs, DuplicatesArgs, ExportArgs, GalleryArgs, GalleryCommand, ImportArgs, IndexArgs,
    JoinArgs, RemoveArgs, SearchArgs,
};
pub use self::serve::ServeArgs;
pub use self::stores::{CompareArgs, PushArgs};
pub use self::train::{FinetuneArgs, PretrainArgs, ProbeArgs, ProbeClassifier};

/// Learn from a pile of images, nearly all without labels: features, a
/// classifier, an image search.
#[derive(Parser)]
#[command(
    name = "hebb",
    version,
    propagate_version = true,
    after_help = "\
Start with:
  hebb demo                          see it all on a small data set, in two minutes
  hebb data describe PHOTOS          what is in a folder, tar or CIFAR/IDX files
  hebb pretrain PHOTOS --out RUN     learn from images without labels

Standard output is data, standard error is talk. Exit code 2: the command line
or a setting is wrong; 1: something failed; 130 or 143: Ctrl-C or SIGTERM stopped
a training, which saved a checkpoint first (the second one ends it at once)."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Subcommand)]
pub enum Command {
    /// Show the whole system on a small sample of real images, offline.
    Demo(DemoArgs),
    /// Describe a data set, pack it into shards, or fetch an official one.
    #[command(subcommand)]
    Data(DataCommand),
    /// Train a network on images without labels, by PCA, a Hebbian rule or as a VAE.
    #[command(after_help = "\
Examples:
  hebb pretrain photos/ --out runs/photos
  hebb pretrain train.tar --rule soft-wta --epochs 3 --out runs/wta
  hebb pretrain 'shards/train-{000..150}.tar' --rule hpca --epochs 1 --out runs/large
  hebb pretrain photos/ --out runs/photos --resume            (go on where it stopped)
  hebb pretrain photos/ --rule hpca --out runs/hpca --checkpoint-every 500steps
  hebb pretrain photos/ --rule hpca --out runs/hpca --dashboard  (or: hebb watch runs/hpca)
  hebb pretrain photos/ --rule hpca --epochs 1 --set pretrain.lr=0 --out runs/random
  hebb pretrain photos/ --rule hpca --epochs 5 --set pretrain.lr='{ over_patch = 2.2 }' --out runs/p
  hebb pretrain photos/ --method vae --epochs 5 --set vae.beta=0.1 --out runs/vae
  mpirun -n 2 hebb pretrain photos/ --out runs/photos   (built with --features mpi)

Unless a rule, epochs or settings of `pretrain` are given, the network learns by
principal components, where the rule hpca ends: each layer's filters are the
eigenvectors of the products of its patches, each and its negative, computed layer
by layer from pca.patches (20) times as many patches as one has numbers, of at most
pca.images (2000) images. There is no rate, there are no epochs, and a checkpoint
follows each layer. With few labels it has gained more than training by any rule.

The VAE is the papers' baseline: the network is the encoder of a variational
autoencoder, trained by gradients on the same images. Its network is, unless
another is asked for, cifar-6-backprop, which has biases. The last epoch is
kept; with --validation, that of the lowest loss on those images, as published.

Ctrl-C or SIGTERM: the step in hand is finished and a checkpoint saved; the exit
code is 130 or 143, and --resume goes on to the same bits. OUT/metrics.jsonl and,
for `tensorboard --logdir OUT`, an event file have the curves; OUT/skipped.jsonl
names the images that could not be read.")]
    Pretrain(PretrainArgs),
    /// Tune a network and a classifier with the few labels there are.
    #[command(after_help = "\
Examples:
  hebb finetune photos/ --labels labels.csv --model runs/photos --out runs/tuned
  hebb finetune train.tar --fraction 0.01 --layer L3 --model runs/photos --out runs/l3
  hebb finetune train.tar --fraction 0.01 --out runs/none      (no pre-training)
  hebb finetune train.tar --fraction 0.01 --model runs/photos --out runs/codes --hidden 256
  hebb finetune train.tar --network cifar-6-backprop --out runs/backprop
  mpirun -n 2 hebb finetune train.tar --model runs/photos --out runs/tuned

A hidden layer of the classifier is tuned with the network; its output is the
image's `code`, a short vector to search by: hebb index --layer code-binary.
Only the labels trained on are ever used (protocol strict). --set
finetune.protocol=published keeps the epoch that is best on --validation.

Ctrl-C or SIGTERM saves a checkpoint first, as in hebb pretrain; --resume goes on.")]
    Finetune(FinetuneArgs),
    /// Watch a run on the terminal, while it goes on or afterwards.
    #[command(after_help = "\
Curves, winners' spread by layer, throughput against the best seen, time left,
memory, the last checkpoint and images left out, from what the run writes into
its folder: it may have been started anywhere. q quits, and the run goes on.
hebb pretrain and hebb finetune show the same with --dashboard, where q stops the
run as SIGTERM does.

Winners' spread says how evenly the neurons of a layer share the patches: the
perplexity of their shares over their number, 1 where all have the same. A
neuron's share is its part of the gates where neurons compete (soft-WTA and its
like), and of the squared responses elsewhere.

Example:
  hebb watch runs/photos")]
    Watch {
        /// The run's folder.
        #[arg(value_name = "RUN")]
        run: PathBuf,
    },
    /// Judge features that stay as they are by classifiers trained on them.
    #[command(after_help = "\
Classifiers:
  linear        one linear layer, by the optimiser and dropout of fine-tuning
  two-layer     a hidden layer of 256 units (finetune.classifier.hidden), likewise
  knn           majority of the -k nearest training images, exact Euclidean
                search; ties go to the smaller sum of distances
  svm           linear support vector machines, one class against the rest, squared
                hinge, C from --svm-c, as scikit-learn's LinearSVC
  nearest-mean  class of the nearest class mean
  hebbian       the Hebbian rule with a teacher signal: one vector a class, each
                following the mean of its class's features, as published at a rate of
                0.001, which few labels hardly move (--hebbian-lr)

The features of a layer at a time go to the folder for temporary files (TMPDIR), 4
bytes a number, and are read from there in blocks: memory does not grow with
them. Baselines: --layer pixels, and a model of random weights (hebb pretrain
photos/ --epochs 1 --set pretrain.lr=0 --out runs/random).

Examples:
  hebb probe train.tar test.tar --model runs/photos
  hebb probe train.tar test.tar --model runs/photos --layer L2 --fraction 0.05 -k 10
  hebb probe train.tar test.tar --model runs/photos --classifier knn,svm --json
  hebb probe train.tar test.tar --model runs/photos --layer pixels --classifier svm")]
    Probe(ProbeArgs),
    /// Classify images.
    #[command(after_help = "\
Examples:
  hebb predict new.jpg --model runs/tuned
  hebb predict new-photos/ --model runs/tuned > labels.csv
  hebb predict new-photos/ --model runs/tuned --json")]
    Predict(PredictArgs),
    /// Write the features of images to a safetensors file.
    #[command(after_help = "\
Example:
  hebb extract photos/ --model runs/photos --layer L4 --out features.safetensors
  hebb extract photos/ --model runs/photos --shard 1/2 --out first.safetensors &
  hebb extract photos/ --model runs/photos --shard 2/2 --out second.safetensors

Shards are images that follow each other: put together in order they are the
whole.")]
    Extract(ExtractArgs),
    /// Write a model as an ONNX file, to be used without hebb.
    #[command(after_help = "\
Examples:
  hebb export runs/tuned --out tuned.onnx                      (features and scores)
  hebb export runs/photos --layer L2-pool4-unit --out search.onnx

In go `images`, bytes, N x height x width x 3, RGB, of the network's size; all that
follows, whitening too, is in the file. Out come `features`, as of hebb extract, and
`scores`, a number a class, where the model has a classifier and no layer is asked
for. Metadata hold the names of the classes (JSON), the layer and the fingerprint
that galleries know the model by. In Python:

  import json, numpy, onnxruntime
  model = onnxruntime.InferenceSession('tuned.onnx')
  images = numpy.zeros([1, 32, 32, 3], numpy.uint8)             # your pixels
  features, scores = model.run(['features', 'scores'], {'images': images})
  classes = json.loads(model.get_modelmeta().custom_metadata_map['classes'])
  print(classes[scores[0].argmax()])")]
    Export(ModelExportArgs),
    /// Build a gallery, the features of images to be searched, or bring one up to date.
    #[command(after_help = gallery::INDEX_HELP)]
    Index(IndexArgs),
    /// Find the images of a gallery that are nearest to an image.
    #[command(after_help = gallery::SEARCH_HELP)]
    Search(SearchArgs),
    /// Search a gallery on a web page and over HTTP.
    #[command(after_help = serve::SERVE_HELP)]
    Serve(ServeArgs),
    /// Look after a gallery: what is in it, remove, export, import, near-duplicates.
    #[command(subcommand, after_help = gallery::GALLERY_HELP)]
    Gallery(GalleryCommand),
    /// Measure a model: accuracy, top-5, and, against a gallery, precision@k and mAP.
    #[command(after_help = "\
Average precision of a query is the sum of the precisions at its relevant
ranks over one of three denominators, and all three are printed:
  retrieved   the relevant images among the k ranked (published code from
              December 2022 on); never below the others
  truncated   the smaller of k and the relevant images in the gallery (published
              code before)
  relevant    the relevant images in the gallery (the standard definition)
Over the whole gallery (no --truncate) the three are one. Relevant is what has
the query's label; queries without a relevant image are counted and left out of
the means. Equal distances rank by index in the gallery; where at least 1 % are
tied, as between binary codes, a second table gives what all orders of equals
give in the mean (McSherry & Najork 2008; not with --truncate).

Examples:
  hebb eval test.tar --model runs/tuned
  hebb eval test.tar --model runs/tuned --gallery gallery
  hebb eval test.tar --model runs/tuned --gallery gallery --truncate 4000
  hebb eval test.tar --model runs/tuned --gallery gallery --truncate 1200 \
    --parts parts --shard 1/2 &                                (two processes)
  hebb eval test.tar --model runs/tuned --gallery gallery --truncate 1200 \
    --parts parts --shard 2/2

Memory is bounded with --truncate; a whole ranking of a large gallery takes 16
bytes an image and query, so few queries are ranked at a time.")]
    Eval(EvalArgs),
    /// Run a committed experiment file, and report what it found.
    #[command(subcommand)]
    Experiment(ExperimentCommand),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Options of every verb that computes.
#[derive(Args, Clone)]
pub struct Common {
    /// Write machine-readable JSON to standard output.
    #[arg(long)]
    pub json: bool,
    /// Where to compute: cpu; in a build with GPU support also vulkan (the
    /// best card), vulkan:N (card N, from 0), and vulkan-half or
    /// vulkan-half:N (matrix products in half precision).
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub device: String,
    /// Keep decoded images in this folder, so that later runs need not decode.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

/// A data set and its labels.
#[derive(Args, Clone)]
pub struct DataArgs {
    /// Folder of images or of class folders, tar, CIFAR or IDX files; many tar
    /// or Parquet files by a pattern in quotes ('train-{000..150}.tar') or by
    /// their folder.
    #[arg(value_name = "DATA")]
    pub data: PathBuf,
    /// Labels given apart: a CSV of path,label, or a folder of class folders.
    #[arg(long, value_name = "CSV|DIR")]
    pub labels: Option<PathBuf>,
    /// Which part of a data set that is split already.
    #[arg(long, value_enum, default_value_t = PartArg::All)]
    pub part: PartArg,
}

/// Official part of a data set.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PartArg {
    /// Everything.
    All,
    /// What is for training.
    Train,
    /// What is for testing.
    Test,
}

/// Settings from a file and from the command line.
#[derive(Args, Clone)]
pub struct SettingsArgs {
    /// Settings file (TOML); options below override it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, such as pretrain.lr=1e-3; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Seed of every random choice.
    #[arg(long)]
    pub seed: Option<u64>,
}

/// A run folder.
#[derive(Args, Clone)]
pub struct RunArgs {
    /// Folder of the run; its model goes into OUT/model.
    #[arg(long, short, value_name = "DIR")]
    pub out: PathBuf,
    /// Go on with a run that was stopped.
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,
    /// Throw away the run that is in the folder.
    #[arg(long)]
    pub overwrite: bool,
    /// Time between checkpoints (90s, 10m, 2h), or at every so many steps
    /// (500steps); at the ends of epochs there is one too.
    #[arg(long, default_value_t = Every::default(), value_name = "TIME|STEPS")]
    pub checkpoint_every: Every,
    /// Show curves, throughput and time left on the whole terminal.
    #[arg(long)]
    pub dashboard: bool,
}

/// How many of the labels to use.
#[derive(Args, Clone)]
pub struct AmountArgs {
    /// Use this share of the images' labels, such as 0.01.
    #[arg(long, value_name = "SHARE", conflicts_with = "count")]
    pub fraction: Option<f64>,
    /// Use so many labels.
    #[arg(long, value_name = "N")]
    pub count: Option<usize>,
    /// Draw the labels as published, without balancing the classes.
    #[arg(long)]
    pub unstratified: bool,
}

/// `hebb demo`
#[derive(Args)]
#[command(after_help = "Example:\n  hebb demo --out my-demo --seed 1")]
pub struct DemoArgs {
    /// Folder for the model, the gallery and report.html.
    #[arg(long, short, default_value = "hebb-demo", value_name = "DIR")]
    pub out: PathBuf,
    /// Seed of every random choice.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Write the table as JSON to standard output.
    #[arg(long)]
    pub json: bool,
}

/// `hebb predict`
#[derive(Args)]
pub struct PredictArgs {
    /// Images: files, folders or tars.
    #[arg(required = true, value_name = "IMAGES")]
    pub images: Vec<PathBuf>,
    /// Fine-tuned run or model folder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Common options.
    #[command(flatten)]
    pub common: Common,
}

/// `hebb extract`
#[derive(Args)]
pub struct ExtractArgs {
    /// The images.
    #[command(flatten)]
    pub data: DataArgs,
    /// Run or model folder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Layer: L1 to the last, pixels, or code and code-binary of a classifier
    /// with a hidden layer; L2-pool4-unit averages over 4 x 4 parts of the map
    /// and scales to length 1, so that distance goes by angle (default: the last
    /// L).
    #[arg(long)]
    pub layer: Option<String>,
    /// The file to write.
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
    /// Only this process's share of the images: the i-th of n.
    #[arg(long, value_name = "i/n")]
    pub shard: Option<Share>,
    /// Replace the file.
    #[arg(long)]
    pub overwrite: bool,
    /// Common options.
    #[command(flatten)]
    pub common: Common,
}

/// `hebb export`
#[derive(Args)]
pub struct ModelExportArgs {
    /// Run or model folder.
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// Layer, as of hebb extract (default: the last L, and scores).
    #[arg(long)]
    pub layer: Option<String>,
    /// The file to write.
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace the file.
    #[arg(long)]
    pub overwrite: bool,
    /// Write machine-readable JSON to standard output.
    #[arg(long)]
    pub json: bool,
}

/// `hebb eval`
#[derive(Args)]
pub struct EvalArgs {
    /// The images and their labels.
    #[command(flatten)]
    pub data: DataArgs,
    /// Run or model folder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Gallery to search, made with this model; the images are the queries.
    #[arg(long, value_name = "DIR")]
    pub gallery: Option<PathBuf>,
    /// Ranks to report precision and AP at.
    #[arg(short, default_values_t = [10, 100], value_name = "K")]
    pub k: Vec<usize>,
    /// Rank only the K nearest, as the published code does, not the whole gallery.
    #[arg(long, value_name = "K")]
    pub truncate: Option<usize>,
    /// Put a Nystroem map of the RBF kernel with so many components (published
    /// before 2023: 1000), fitted to the gallery, before the search.
    #[arg(long, value_name = "COMPONENTS", requires = "gallery")]
    pub nystroem: Option<usize>,
    /// The images are the gallery's own: leave each out of its own ranking.
    #[arg(long, requires = "gallery")]
    pub exclude_self: bool,
    /// Keep the sums over every 4,096 queries in this folder: after a stop the
    /// same command goes on, and processes with a --shard each share them.
    #[arg(long, value_name = "DIR", requires = "gallery")]
    pub parts: Option<PathBuf>,
    /// Rank only this process's share of the parts: the i-th of n. The one that
    /// finishes last reports.
    #[arg(long, value_name = "i/n", requires = "parts")]
    pub shard: Option<Share>,
    /// Common options.
    #[command(flatten)]
    pub common: Common,
}
