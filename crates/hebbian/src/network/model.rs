//! Models on disk: a folder of `model.toml` and `model.safetensors`.

use std::path::Path;

use hebbian_data::Preprocess;
use hebbian_data::preprocess::Parts;
use serde::{Deserialize, Serialize};

use super::{Block, Head, HeadKind, Network, NetworkSpec, Tensors, toml_problem, write_atomically};
use crate::error::{Error, Result};
use crate::ops::Activation;
use crate::rules::{self, Projection};

/// Version of the model folder.
const FORMAT_VERSION: u32 = 1;

/// Everything needed to turn an image into features and, once it has a head,
/// into a class.
#[derive(Clone, Debug)]
pub struct Model {
    /// The layers.
    pub network: Network,
    /// The classifier, after fine-tuning.
    pub head: Option<Head>,
    /// From pixels to the network's input.
    pub preprocess: Preprocess,
    /// Names of the classes the head tells apart; empty without a head.
    pub classes: Vec<String>,
    /// The Hebbian rule its layers are made for; none for networks that are
    /// trained by gradients alone.
    pub rule: Option<RuleRecord>,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// A rule's name and parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleRecord {
    /// Its name.
    pub name: String,
    /// Its parameters.
    #[serde(default)]
    pub params: toml::Table,
}

/// How a model was pre-trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pretraining {
    /// Not at all: its weights were random.
    #[default]
    None,
    /// By its Hebbian rule.
    Hebbian,
    /// As the encoder of a variational autoencoder.
    Vae,
    /// By the principal components of each layer's patches.
    Pca,
}

/// Where a model comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provenance {
    /// Version of the program.
    pub code_version: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// How it was pre-trained. A file of before this was noted, of a model
    /// pre-trained on some images, reads as [`Pretraining::Hebbian`].
    pub pretraining: Pretraining,
    /// Images it was pre-trained on, 0 for none.
    pub pretrained_images: usize,
    /// Epochs of pre-training.
    pub pretrained_epochs: usize,
    /// Labels it was fine-tuned with, 0 for none.
    pub labels: usize,
    /// Protocol of the fine-tuning.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    format_version: u32,
    classes: Vec<String>,
    /// Absent from the files of linear classifiers and of models without one.
    #[serde(default, skip_serializing_if = "HeadKind::is_linear")]
    classifier: HeadKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<RuleRecord>,
    provenance: Provenance,
    preprocess: Parts,
    network: NetworkSpec,
}

impl Model {
    /// A model with random weights, made for a Hebbian rule.
    pub fn new(
        spec: NetworkSpec,
        rule: &dyn rules::Rule,
        preprocess: Preprocess,
        seed: u64,
    ) -> Result<Self> {
        let network = Network::new(spec, rule.projection(), rule.activation(), seed)?;
        let network = network.adapting(rule.adapts());
        let rule = RuleRecord { name: rule.name().into(), params: rule.params() };
        Ok(Self { rule: Some(rule), ..Self::of(network, preprocess, seed) })
    }

    /// A model with random weights and no rule: plain projections and ReLU,
    /// as the published baselines.
    pub fn without_rule(spec: NetworkSpec, preprocess: Preprocess, seed: u64) -> Result<Self> {
        let network = Network::new(spec, Projection::Plain, Activation::Relu, seed)?;
        Ok(Self::of(network, preprocess, seed))
    }

    fn of(network: Network, preprocess: Preprocess, seed: u64) -> Self {
        let code_version = env!("CARGO_PKG_VERSION").into();
        let provenance = Provenance { code_version, seed, ..Provenance::default() };
        Self { network, head: None, preprocess, classes: Vec::new(), rule: None, provenance }
    }

    /// Its last layer, by name.
    pub fn layer(&self) -> String {
        format!("L{}", self.network.depth())
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        self.network.write("", &mut tensors);
        if let Some(head) = &self.head {
            head.write(&mut tensors);
        }
        for (name, shape, data) in self.preprocess.to_parts().1 {
            tensors.insert(format!("preprocess.{name}"), &shape, &data);
        }
        tensors
    }

    /// Adds what training changes, network and classifier, to the tensors of a
    /// checkpoint.
    pub(crate) fn write_learned(&self, prefix: &str, tensors: &mut Tensors) {
        let mut own = Tensors::default();
        self.network.write("", &mut own);
        if let Some(head) = &self.head {
            head.write(&mut own);
        }
        for (name, shape, data) in own.take_prefix("") {
            tensors.insert(format!("{prefix}{name}"), &shape, &data);
        }
    }

    /// Takes it out again into a model of the same form; `path` is for messages.
    ///
    /// # Errors
    /// If a tensor is missing, or of another shape.
    pub(crate) fn read_learned(
        &mut self,
        prefix: &str,
        path: &Path,
        tensors: &mut Tensors,
    ) -> Result<()> {
        let mut own = Tensors::default();
        for (name, shape, data) in tensors.take_prefix(prefix) {
            own.insert(name, &shape, &data);
        }
        let Network { spec, projection, activation, .. } = &self.network;
        let (spec, like) = (spec.clone(), (*projection, *activation));
        self.network = Network::read(spec, like.0, like.1, "", path, &mut own)?;
        if let Some(head) = &mut self.head {
            *head = Head::read(&mut own, path, head.kind(), head.features(), head.classes())?;
        }
        Ok(())
    }

    /// Name of exactly these numbers: a hash of every tensor. A gallery keeps
    /// it, so that it is never searched with another model.
    pub fn fingerprint(&self) -> Result<String> {
        let hash = blake3::hash(&self.tensors().to_bytes()?);
        Ok(hash.to_hex().as_str()[..32].to_owned())
    }

    /// The contents of its two files, `model.toml` and `model.safetensors`.
    pub fn to_files(&self) -> Result<(String, Vec<u8>)> {
        let file = ModelFile {
            format_version: FORMAT_VERSION,
            classes: self.classes.clone(),
            classifier: self.head.as_ref().map_or(HeadKind::Linear, Head::kind),
            rule: self.rule.clone(),
            provenance: self.provenance.clone(),
            preprocess: self.preprocess.to_parts().0,
            network: self.network.spec.clone(),
        };
        let text = toml::to_string(&file)
            .map_err(|e| Error::Data(format!("model.toml cannot be written: {e}")))?;
        Ok((text, self.tensors().to_bytes()?))
    }

    /// Writes the model into a folder; `model.toml` comes last, so a folder
    /// that has it is whole.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let (text, tensors) = self.to_files()?;
        fs_err::create_dir_all(folder)?;
        write_atomically(&folder.join("model.safetensors"), &tensors)?;
        write_atomically(&folder.join("model.toml"), text.as_bytes())
    }

    /// Reads a model folder.
    ///
    /// # Errors
    /// If it is not a model folder, of another version, cut short or
    /// tampered with; the message names file and field.
    pub fn load(folder: &Path) -> Result<Self> {
        let toml_path = folder.join("model.toml");
        if !toml_path.is_file() {
            let problem = "is no model folder: it has no model.toml";
            return Err(Error::file(folder, problem));
        }
        let text = fs_err::read_to_string(&toml_path)?;
        let path = folder.join("model.safetensors");
        let bytes = fs_err::read(&path)?;
        Self::from_files(&toml_path, &text, &path, &bytes)
    }

    /// [`Model::load`] from the contents of its two files; the paths are for
    /// messages only.
    pub fn from_files(toml_path: &Path, text: &str, path: &Path, bytes: &[u8]) -> Result<Self> {
        let file: ModelFile =
            toml::from_str(text).map_err(|e| Error::file(toml_path, toml_problem(&e, text)))?;
        if file.format_version != FORMAT_VERSION {
            let problem = format!(
                "format_version is {}; this program reads {FORMAT_VERSION}",
                file.format_version
            );
            return Err(Error::file(toml_path, problem));
        }
        let in_file = |e: Error| Error::file(toml_path, e.to_string());
        let (projection, activation, adapts) = match &file.rule {
            Some(RuleRecord { name, params }) => {
                let rule = rules::build(name, params.clone()).map_err(in_file)?;
                (rule.projection(), rule.activation(), rule.adapts())
            }
            None => (Projection::Plain, Activation::Relu, false),
        };
        let geometries = file.network.geometries().map_err(in_file)?;
        let mut tensors = Tensors::from_bytes(path, bytes)?;
        let network = Network::read(file.network, projection, activation, "", path, &mut tensors)?;
        let lacks = |block: &Block| adapts && block.variances.is_none();
        if let Some(layer) = network.blocks.iter().position(lacks) {
            let problem = format!("the tensor 'L{}.variances' is missing", layer + 1);
            return Err(Error::file(path, problem));
        }
        let classes = file.classes.len();
        let head = if classes == 0 {
            None
        } else {
            let features = geometries.last().map_or(0, |g| g.output_len());
            file.classifier.check("classifier").map_err(in_file)?;
            Some(Head::read(&mut tensors, path, file.classifier, features, classes)?)
        };
        let preprocess =
            Preprocess::from_parts(&file.preprocess, &tensors.take_prefix("preprocess."))
                .map_err(|e| Error::file(toml_path, e.to_string()))?;
        let size = preprocess.size;
        let [height, width, _] = network.spec.input;
        if [size.height, size.width] != [height, width] {
            let problem = format!(
                "preprocess.size is {} x {} but network.input is {height} x {width}",
                size.height, size.width
            );
            return Err(Error::file(toml_path, problem));
        }
        let (classes, rule, mut provenance) = (file.classes, file.rule, file.provenance);
        if provenance.pretraining == Pretraining::None && provenance.pretrained_images > 0 {
            provenance.pretraining = Pretraining::Hebbian;
        }
        Ok(Self { network, head, preprocess, classes, rule, provenance })
    }

    /// Whether its weights are normalised in the forward pass.
    pub fn projection(&self) -> Projection {
        self.network.projection
    }
}
