//! The experiment file, checked into an [`Experiment`].

mod file;
mod methods;
mod source;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};

use hebbian::error::Result;
use hebbian::train::FinetuneConfig;
use hebbian_data::Amount;
use serde::{Deserialize, Serialize};

use crate::Method;
use crate::frozen::Frozen;
use crate::select::known_method;

/// A checked experiment.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Its name in file names and results.
    pub name: String,
    /// Its title in reports.
    pub title: String,
    /// The text it was read from.
    pub text: String,
    /// The data set.
    pub data: DataSection,
    /// How the training images are split.
    pub split: SplitSection,
    /// Rows of the table.
    pub methods: Vec<Method>,
    /// Layers whose features are classified, each by a network of its own.
    pub layers: Vec<String>,
    /// Amounts of labels.
    pub regimes: Vec<Regime>,
    /// Settings of fine-tuning.
    pub finetune: FinetuneConfig,
    /// What tells the classes apart.
    pub classifier: Classifier,
    /// Which cells are also ranked.
    pub retrieval: Option<Retrieval>,
    /// Whether the first repetition is looked at after each epoch.
    pub convergence: Option<Convergence>,
    /// What the paper says.
    pub paper: Vec<PaperValue>,
    /// Where the paper's values come from and under which conditions.
    pub reference: String,
    /// The method that the others are compared with, seed by seed.
    pub baseline: Option<String>,
}

/// The data set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// As it is called in every figure.
    pub name: String,
    /// Training images, from the folder given with `--data`.
    pub train: PathBuf,
    /// Test images, from there too; without them, cells are judged by the
    /// validation images of their split: to choose settings by.
    pub test: Option<PathBuf>,
}

/// How the training images are split, and how labels are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitSection {
    /// Images to learn from; default: all that validation leaves.
    pub train: Option<Amount>,
    /// Images to choose epochs by under protocol `published`, or to judge by
    /// where there are no test images.
    #[serde(default = "no_images")]
    pub validation: Amount,
    /// Seed of the split and of the labelled few.
    #[serde(default)]
    pub seed: u64,
    /// Whether every repetition draws anew, from `seed` plus its own seed.
    #[serde(default = "yes")]
    pub redraw: bool,
    /// Whether split and labelled few hold the classes in their shares; the
    /// published ones do not.
    #[serde(default = "yes")]
    pub stratified: bool,
}

fn no_images() -> Amount {
    Amount::Count(0)
}

fn yes() -> bool {
    true
}

impl SplitSection {
    /// Seed of the split in the repetition of seed `seed`.
    pub fn seed_of(&self, seed: u64) -> u64 {
        if self.redraw { self.seed.wrapping_add(seed) } else { self.seed }
    }
}

/// An amount of labels and its repetitions.
#[derive(Clone, Debug, PartialEq)]
pub struct Regime {
    /// Share of the training images whose labels are seen, above 0 to 1.
    pub fraction: f64,
    /// Seeds of its repetitions.
    pub seeds: Vec<u64>,
}

/// What tells the classes apart. A new kind is a case here and an arm in
/// [`crate::cell`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Classifier {
    /// That of `finetune.classifier`, tuned end to end with the layers below it.
    #[default]
    FineTuned,
    /// One trained on the layer's features as they are.
    Frozen(Frozen),
}

/// Which cells' features are ranked, and how the rankings are judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Retrieval {
    /// Layers.
    pub layers: Vec<String>,
    /// Amounts of labels.
    pub fractions: Vec<f64>,
    /// Features that are ranked (`code`, `code-binary`, `pixels`, a layer
    /// below; [`hebbian::network::FeatureLayer`] has the names), one after the
    /// other; none: those of the cell's layer.
    pub features: Vec<String>,
    /// Ranks reported beside the whole ranking.
    pub ks: Vec<usize>,
    /// Length at which rankings are cut; none: the whole gallery.
    pub truncate: Option<usize>,
}

/// A linear probe of every layer after each epoch of pre-training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Convergence {
    /// Share of the labels that the probe is trained with.
    pub fraction: f64,
    /// Layers.
    pub layers: Vec<String>,
}

/// A value of the paper's table.
#[derive(Clone, Debug, PartialEq)]
pub struct PaperValue {
    /// Method; it need not be one that is run.
    pub method: String,
    /// Amount of labels.
    pub fraction: f64,
    /// Layer.
    pub layer: String,
    /// Accuracy, %.
    pub accuracy: f64,
}

impl Experiment {
    /// Reads an experiment file.
    ///
    /// # Errors
    /// If there is none, or it is not right; the message names file, line and
    /// field.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&fs_err::read_to_string(path)?, path)
    }

    /// Parses and checks an experiment file. `path` is for messages, and
    /// network files are looked for beside it.
    ///
    /// # Errors
    /// As [`Experiment::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        file::parse(text, path)
    }

    /// The images that cells are judged by, in a word: `test` or `validation`.
    pub fn judged_on(&self) -> &'static str {
        if self.data.test.is_some() { "test" } else { "validation" }
    }

    /// The method named so.
    pub fn method(&self, name: &str) -> Option<&Method> {
        self.methods.iter().find(|method| method.name == name)
    }

    /// Takes another method for the baseline.
    ///
    /// # Errors
    /// If there is no such method; the message says which there are.
    pub fn compare_with(&mut self, method: &str) -> Result<()> {
        known_method(self, "--baseline", method)?;
        self.baseline = Some(method.to_owned());
        Ok(())
    }

    /// Seeds of all repetitions, without duplicates, in the file's order.
    pub fn seeds(&self) -> Vec<u64> {
        let mut seeds: Vec<u64> = Vec::new();
        for &seed in self.regimes.iter().flat_map(|regime| &regime.seeds) {
            if !seeds.contains(&seed) {
                seeds.push(seed);
            }
        }
        seeds
    }

    /// What the paper found, %.
    pub fn paper(&self, method: &str, fraction: f64, layer: &str) -> Option<f64> {
        let value = self.paper.iter().find(|value| {
            value.method == method && value.layer == layer && same(value.fraction, fraction)
        });
        value.map(|value| value.accuracy)
    }
}

/// Whether two shares are the same number, whatever file they were read from.
pub fn same(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}
