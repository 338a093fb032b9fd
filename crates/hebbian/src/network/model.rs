//! Models on disk: a folder of `model.toml` and `model.safetensors`.

use std::path::Path;

use hebbian_data::Preprocess;
use hebbian_data::preprocess::Parts;
use serde::{Deserialize, Serialize};

use super::{
    BatchNorm, Block, Head, HeadKind, Network, NetworkSpec, Tensors, toml_problem, write_atomically,
};
use crate::error::{Error, Result};
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
    /// The rule it was pre-trained for.
    pub rule: RuleRecord,
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

/// Where a model comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provenance {
    /// Version of the program.
    pub code_version: String,
    /// Seed of every random choice.
    pub seed: u64,
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
    rule: RuleRecord,
    provenance: Provenance,
    preprocess: Parts,
    network: NetworkSpec,
}

impl Model {
    /// A model with random weights.
    pub fn new(
        spec: NetworkSpec,
        rule: &dyn rules::Rule,
        preprocess: Preprocess,
        seed: u64,
    ) -> Result<Self> {
        let code_version = env!("CARGO_PKG_VERSION").into();
        Ok(Self {
            network: Network::new(spec, rule.projection(), rule.activation(), seed)?,
            head: None,
            preprocess,
            classes: Vec::new(),
            rule: RuleRecord { name: rule.name().into(), params: rule.params() },
            provenance: Provenance { code_version, seed, ..Provenance::default() },
        })
    }

    /// Its last layer, by name.
    pub fn layer(&self) -> String {
        format!("L{}", self.network.depth())
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (index, block) in self.network.blocks.iter().enumerate() {
            let (g, layer) = (&block.geometry, format!("L{}", index + 1));
            let shape = [g.filters, g.kernel, g.kernel, g.channels];
            tensors.insert(format!("{layer}.weight"), &shape, &block.weights);
            if let Some(bias) = &block.bias {
                tensors.insert(format!("{layer}.bias"), &[bias.len()], bias);
            }
            for (name, values) in norm_parts(&block.norm) {
                tensors.insert(format!("{layer}.norm.{name}"), &[values.len()], values);
            }
        }
        if let Some(head) = &self.head {
            head.write(&mut tensors);
        }
        for (name, shape, data) in self.preprocess.to_parts().1 {
            tensors.insert(format!("preprocess.{name}"), &shape, &data);
        }
        tensors
    }

    /// Name of exactly these numbers: a hash of every tensor. A gallery keeps
    /// it, so that it is never searched with another model.
    pub fn fingerprint(&self) -> Result<String> {
        let hash = blake3::hash(&self.tensors().to_bytes()?);
        Ok(hash.to_hex().as_str()[..32].to_owned())
    }

    /// Writes the model into a folder; `model.toml` comes last, so a folder
    /// that has it is whole.
    pub fn save(&self, folder: &Path) -> Result<()> {
        fs_err::create_dir_all(folder)?;
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
            .map_err(|e| Error::file(folder.join("model.toml"), e.to_string()))?;
        write_atomically(&folder.join("model.safetensors"), &self.tensors().to_bytes()?)?;
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
        let rule = rules::build(&file.rule.name, file.rule.params.clone()).map_err(in_file)?;
        let geometries = file.network.geometries().map_err(in_file)?;
        let mut tensors = Tensors::from_bytes(path, bytes)?;
        let mut blocks = Vec::with_capacity(geometries.len());
        for (index, (geometry, spec)) in geometries.iter().zip(&file.network.blocks).enumerate() {
            let (g, layer) = (*geometry, format!("L{}", index + 1));
            let shape = [g.filters, g.kernel, g.kernel, g.channels];
            let weights = tensors.take(path, &format!("{layer}.weight"), &shape)?;
            let mut norm = BatchNorm::new(spec.norm, g.filters);
            for (name, values) in norm_parts_mut(&mut norm) {
                *values = tensors.take(path, &format!("{layer}.norm.{name}"), &[g.filters])?;
            }
            if norm.var.iter().any(|&v| v < 0.0) {
                let problem = format!("the tensor '{layer}.norm.var' holds a negative variance");
                return Err(Error::file(path, problem));
            }
            let bias = match spec.bias {
                true => Some(tensors.take(path, &format!("{layer}.bias"), &[g.filters])?),
                false => None,
            };
            blocks.push(Block { geometry: g, weights, bias, norm });
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
        if [size.height, size.width] != file.network.input[..2] {
            let problem = format!(
                "preprocess.size is {} x {} but network.input is {} x {}",
                size.height, size.width, file.network.input[0], file.network.input[1]
            );
            return Err(Error::file(toml_path, problem));
        }
        let (projection, activation) = (rule.projection(), rule.activation());
        let network = Network { spec: file.network, projection, activation, blocks };
        let (classes, rule, provenance) = (file.classes, file.rule, file.provenance);
        Ok(Self { network, head, preprocess, classes, rule, provenance })
    }

    /// Whether its weights are normalised in the forward pass.
    pub fn projection(&self) -> Projection {
        self.network.projection
    }
}

pub(super) fn norm_parts(norm: &BatchNorm) -> [(&'static str, &Vec<f32>); 4] {
    [("gamma", &norm.gamma), ("beta", &norm.beta), ("mean", &norm.mean), ("var", &norm.var)]
}

pub(super) fn norm_parts_mut(norm: &mut BatchNorm) -> [(&'static str, &mut Vec<f32>); 4] {
    let BatchNorm { gamma, beta, mean, var, .. } = norm;
    [("gamma", gamma), ("beta", beta), ("mean", mean), ("var", var)]
}
