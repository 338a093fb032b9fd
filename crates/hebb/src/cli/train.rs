//! What can be typed after the commands that train.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hebbian::rules::RULES;
use hebbian::train::HebbianHeadConfig;

use super::{AmountArgs, Common, DataArgs, RunArgs, SettingsArgs};
use crate::settings::Method;

/// The learning rules, by name.
fn rule_names() -> String {
    let names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
    format!("Learning rule: {}", names.join(", "))
}

/// The learning rules, a line each.
fn rule_summaries() -> String {
    let lines = RULES.iter().map(|rule| format!("\n- {}: {}", rule.name, rule.summary));
    "Learning rule:".to_owned() + &lines.collect::<String>()
}

/// `hebb pretrain`
#[derive(Args)]
pub struct PretrainArgs {
    /// The images; labels, if there are any, are never looked at.
    #[command(flatten)]
    pub data: DataArgs,
    /// The run.
    #[command(flatten)]
    pub run: RunArgs,
    /// How (default: pca; hebbian where a rule, epochs or settings of `pretrain` are given).
    #[arg(long, value_enum)]
    pub method: Option<Method>,
    /// Learning rule.
    #[arg(long, help = rule_names(), long_help = rule_summaries())]
    pub rule: Option<String>,
    /// Network preset or file.
    #[arg(long)]
    pub network: Option<String>,
    /// Side of the square images the network takes.
    #[arg(long, value_name = "PIXELS")]
    pub size: Option<usize>,
    /// Passes over the images.
    #[arg(long)]
    pub epochs: Option<usize>,
    /// Images, without labels, that choose the epoch of a VAE.
    #[arg(long, value_name = "DATA")]
    pub validation: Option<PathBuf>,
    /// Settings.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Common options.
    #[command(flatten)]
    pub common: Common,
}

/// `hebb finetune`
#[derive(Args)]
pub struct FinetuneArgs {
    /// The images and their labels.
    #[command(flatten)]
    pub data: DataArgs,
    /// The run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Pre-trained run or model folder; without it, random weights.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Network preset or file, for random weights.
    #[arg(long, conflicts_with = "model")]
    pub network: Option<String>,
    /// Side of the square images it takes.
    #[arg(long, value_name = "PIXELS", conflicts_with = "model")]
    pub size: Option<usize>,
    /// Layer whose features the classifier takes (default: the last).
    #[arg(long)]
    pub layer: Option<String>,
    /// Put a hidden layer of so many units into the classifier (published for
    /// retrieval: 256); its output is the layer `code` of the model.
    #[arg(long, value_name = "UNITS")]
    pub hidden: Option<usize>,
    /// Which labels.
    #[command(flatten)]
    pub amount: AmountArgs,
    /// Labelled images that choose the epoch under the published protocol.
    #[arg(long, value_name = "DATA")]
    pub validation: Option<PathBuf>,
    /// Settings.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Common options.
    #[command(flatten)]
    pub common: Common,
}

/// `hebb probe`
#[derive(Args)]
pub struct ProbeArgs {
    /// Images and labels to train the classifiers on.
    #[command(flatten)]
    pub data: DataArgs,
    /// Images and labels to judge them by.
    #[arg(value_name = "TEST")]
    pub test: PathBuf,
    /// Run or model folder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Layers: L1 to the last, pixels, code, code-binary; L2-pool4-unit averages
    /// over 4 x 4 parts of the map and scales to length 1 (default: every L).
    #[arg(long, value_delimiter = ',', value_name = "LAYERS")]
    pub layer: Vec<String>,
    /// Classifiers, several separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES",
          default_values_t = [ProbeClassifier::Linear, ProbeClassifier::Knn])]
    pub classifier: Vec<ProbeClassifier>,
    /// Neighbours that vote.
    #[arg(short, default_value_t = 10)]
    pub k: usize,
    /// Put a Nystroem map of the RBF kernel with so many components (published:
    /// 1000), fitted to the training features, before every classifier.
    #[arg(long, value_name = "COMPONENTS")]
    pub nystroem: Option<usize>,
    /// Weight of the support vector machine's loss beside its regularisation.
    #[arg(long, default_value_t = 1.0, value_name = "C")]
    pub svm_c: f64,
    /// Learning rate of the Hebbian class vectors; their passes and batches are
    /// finetune.epochs and finetune.batch.
    #[arg(long, default_value_t = HebbianHeadConfig::default().lr, value_name = "RATE")]
    pub hebbian_lr: f64,
    /// Which labels.
    #[command(flatten)]
    pub amount: AmountArgs,
    /// Settings.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Common options.
    #[command(flatten)]
    pub common: Common,
}

/// A classifier of frozen features.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProbeClassifier {
    /// One linear layer.
    Linear,
    /// A hidden layer, then a linear one.
    TwoLayer,
    /// The nearest training images.
    Knn,
    /// Linear support vector machines.
    Svm,
    /// The nearest class mean.
    NearestMean,
    /// Class vectors by a Hebbian rule with a teacher.
    Hebbian,
}
