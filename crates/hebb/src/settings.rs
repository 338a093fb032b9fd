//! Settings of a run: a TOML file, then `--set`, then options.

use std::path::Path;

use anyhow::Result;
use hebbian::error::Error;
use hebbian::network::{Model, NetworkSpec, RuleRecord, toml_problem};
use hebbian::rules::{self, Rule};
use hebbian::train::{FinetuneConfig, PcaConfig, PretrainConfig, VaeConfig};
use hebbian_data::{Images, Preprocess, Size, Whitening};
use serde::{Deserialize, Serialize};

use crate::cli::SettingsArgs;
use crate::ui::Progress;

/// Network of a VAE where none is asked for: the published trunk, with biases.
const VAE_NETWORK: &str = "cifar-6-backprop";

/// Layers of the default network that are trained where somebody waits.
pub const QUICK_LAYERS: usize = 2;

/// How a network is pre-trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// By the principal components of each layer's patches, where the rule hpca
    /// ends: no rate, no epochs.
    #[default]
    Pca,
    /// By a Hebbian rule.
    Hebbian,
    /// As the encoder of a variational autoencoder.
    Vae,
}

impl Method {
    /// Settings that pre-training by it reads, of those that not all methods do.
    pub fn used(self) -> &'static [&'static str] {
        match self {
            Self::Pca => &["method", "pca"],
            Self::Hebbian => &["method", "rule", "pretrain"],
            Self::Vae => &["method", "vae"],
        }
    }
}

/// All settings with their defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Seed of every random choice.
    pub seed: u64,
    /// Network preset or file.
    pub network: String,
    /// Side of the square images; the network's own if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Whitening; the rule's published one if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whitening: Option<Whitening>,
    /// Smoothing of the whitening.
    pub smoothing: f64,
    /// Images that the channel statistics and the whitening are taken from, a
    /// random choice where there are more.
    pub statistics_images: usize,
    /// Parts that batches are computed in, a power of 2, so that any number of
    /// processes that divides it gives the same bits; 1 to leave it to their
    /// number.
    #[serde(skip_serializing_if = "is_one")]
    pub parts: usize,
    /// How the network is pre-trained.
    pub method: Method,
    /// The rule.
    pub rule: RuleRecord,
    /// Pre-training by the rule.
    pub pretrain: PretrainConfig,
    /// Pre-training as a VAE.
    pub vae: VaeConfig,
    /// Pre-training by principal components.
    pub pca: PcaConfig,
    /// Fine-tuning.
    pub finetune: FinetuneConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            network: "cifar-6".into(),
            size: None,
            whitening: None,
            smoothing: 1e-2,
            statistics_images: 50_000,
            parts: 1,
            method: Method::default(),
            rule: RuleRecord { name: "hpca".into(), params: toml::Table::new() },
            pretrain: PretrainConfig::default(),
            vae: VaeConfig::default(),
            pca: PcaConfig::default(),
            finetune: FinetuneConfig::default(),
        }
    }
}

fn is_one(parts: &usize) -> bool {
    *parts == 1
}

impl Settings {
    /// Settings from a file, `--set`, options (dotted key and value) and, where
    /// they are given, the epochs of whatever method is asked for.
    ///
    /// # Errors
    /// Names the file and line, or the key, that is wrong.
    pub fn read(
        args: &SettingsArgs,
        options: &[(&str, Option<toml::Value>)],
        epochs: Option<usize>,
    ) -> Result<Self> {
        let mut table = match &args.config {
            None => toml::Table::new(),
            Some(path) => {
                let text = fs_err::read_to_string(path)?;
                // Parsed as settings first, for a message with its line.
                Self::parse(&text, path)?;
                text.parse()?
            }
        };
        for assignment in &args.set {
            let (key, value) = assignment.split_once('=').ok_or_else(|| {
                Error::config("--set", format!("'{assignment}' is not of the form key=value"))
            })?;
            insert(&mut table, key.trim(), parse_value(value.trim()))?;
        }
        let seed = args.seed.map(|seed| toml::Value::Integer(seed.cast_signed()));
        let options = options.iter().cloned().chain([("seed", seed)]);
        for (key, value) in options {
            if let Some(value) = value {
                insert(&mut table, key, value)?;
            }
        }
        let is_vae = table.get("method").and_then(toml::Value::as_str) == Some("vae");
        if let Some(epochs) = epochs {
            let key = if is_vae { "vae.epochs" } else { "pretrain.epochs" };
            insert(&mut table, key, toml::Value::Integer(epochs.cast_signed() as i64))?;
        }
        if is_vae {
            table.entry("network").or_insert_with(|| VAE_NETWORK.into());
        }
        // Who sets a rule, or how it trains, asks for one.
        if ["rule", "pretrain"].iter().any(|&section| table.contains_key(section)) {
            table.entry("method").or_insert_with(|| "hebbian".into());
        }
        if let Some(rule) = table.get_mut("rule").and_then(toml::Value::as_table_mut) {
            rule.entry("name").or_insert_with(|| Self::default().rule.name.into());
        }
        let settings: Self = table.try_into().map_err(|e: toml::de::Error| {
            Error::config("settings", e.to_string().trim().replace('\n', " "))
        })?;
        settings.rule()?;
        Ok(settings)
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text)
            .map_err(|e| Error::config(path.display().to_string(), toml_problem(&e, text)).into())
    }

    /// The rule, with checked parameters.
    pub fn rule(&self) -> hebbian::Result<Box<dyn Rule>> {
        rules::build(&self.rule.name, self.rule.params.clone())
    }

    /// The rule that a network is made for; none where it has biases or is
    /// trained by another method: then its projections are plain.
    pub fn rule_of(&self, spec: &NetworkSpec) -> Result<Option<Box<dyn Rule>>> {
        let has_rule = self.method == Method::Hebbian && spec.biased_layer().is_none();
        Ok(has_rule.then(|| self.rule()).transpose()?)
    }

    /// The network, for the size of images asked for.
    pub fn network(&self) -> Result<NetworkSpec> {
        let spec = NetworkSpec::find(&self.network)?;
        Ok(match self.size {
            Some(side) => spec.with_input_size(side, side)?,
            None => spec,
        })
    }

    /// The whitening asked for, or the rule's published one.
    pub fn whitening(&self, rule: Option<&dyn Rule>) -> Whitening {
        let published = match rule {
            Some(rule) if rule.wants_whitening() => Whitening::Fh,
            _ => Whitening::None,
        };
        self.whitening.unwrap_or(published)
    }

    /// The same images; where principal components are taken from a few of them,
    /// large photos are decoded once, for statistics and all passes.
    pub fn kept(&self, images: Images, size: Size) -> Images {
        match self.method {
            Method::Pca => self.pca.keep(&images, self.seed, size),
            _ => images,
        }
    }

    /// A model with random weights, its preprocessing fitted to `images`.
    pub fn model(&self, images: &Images, progress: &mut Progress) -> Result<Model> {
        let spec = self.network()?;
        let rule = self.rule_of(&spec)?;
        let size = Size { height: spec.input[0], width: spec.input[1] };
        let whitening = self.whitening(rule.as_deref());
        let most = self.statistics_images;
        let rows = match (self.method, whitening) {
            // What learns from a few of many images waits for no pass over others.
            (Method::Pca, Whitening::None) => self.pca.draw(images, most, self.seed),
            _ => images.drawn(most, self.seed, "statistics"),
        };
        let sample = images.subset(&rows);
        let mut count = progress.counter("channel statistics");
        let preprocess = Preprocess::fit(&sample, size, whitening, self.smoothing, &mut count)?;
        Ok(match rule {
            Some(rule) => Model::new(spec, rule.as_ref(), preprocess, self.seed)?,
            None => Model::without_rule(spec, preprocess, self.seed)?,
        })
    }

    /// The text of a run's `config.toml`: what these settings are applied to and,
    /// of those that are for one step or method, the `used`.
    pub fn to_config(&self, inputs: &[(&str, String)], used: &[&str]) -> Result<String> {
        const FOR_ONE: [&str; 6] = ["method", "rule", "pretrain", "vae", "pca", "finetune"];
        let mut config = String::new();
        for (key, value) in inputs {
            config += &format!("# {key} = {value}\n");
        }
        let mut settings = toml::Table::try_from(self)?;
        settings.retain(|key, _| used.contains(&key) || !FOR_ONE.contains(&key));
        Ok(config + &toml::to_string(&settings)?)
    }
}

/// A value as TOML would read it, or else a string.
fn parse_value(text: &str) -> toml::Value {
    let table: Option<toml::Table> = format!("v = {text}").parse().ok();
    table.and_then(|mut t| t.remove("v")).unwrap_or_else(|| text.into())
}

fn insert(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<()> {
    let mut at = table;
    let mut parts: Vec<&str> = key.split('.').collect();
    let Some(last) = parts.pop().filter(|last| !last.is_empty()) else {
        return Err(Error::config("--set", "has an empty key").into());
    };
    // Rule parameters are given beside its name: rule.temperature.
    if parts == ["rule"] && last != "name" && last != "params" {
        parts.push("params");
    }
    for part in parts {
        let entry = at.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        at = entry
            .as_table_mut()
            .ok_or_else(|| Error::config(key, format!("'{part}' is a value, not a table")))?;
    }
    at.insert(last.into(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use hebbian::train::LayerRates;

    use super::*;

    fn read(set: &[&str]) -> Result<Settings> {
        let set = set.iter().map(|s| (*s).to_owned()).collect();
        Settings::read(&SettingsArgs { config: None, set, seed: None }, &[], None)
    }

    #[test]
    fn values_and_parameters_are_set_by_key() {
        let settings = read(&[
            "rule.name=soft-wta",
            "rule.temperature=0.05",
            "pretrain.lr=[1e-2, 1e-3]",
            "network=cifar-6",
        ])
        .unwrap();
        assert_eq!(settings.rule.params["temperature"].as_float(), Some(0.05));
        assert_eq!(settings.pretrain.lr, LayerRates::Each(vec![1e-2, 1e-3]));
        let rule = settings.rule_of(&settings.network().unwrap()).unwrap();
        assert_eq!(settings.whitening(rule.as_deref()), Whitening::Fh);
    }

    #[test]
    fn a_rate_over_the_length_of_patches_is_kept() {
        let settings = read(&["pretrain.lr={ over_patch = 2.2 }"]).unwrap();
        assert_eq!(settings.pretrain.lr, LayerRates::OverPatch { over_patch: 2.2 });
        let text = toml::to_string(&settings).unwrap();
        assert_eq!(Settings::parse(&text, Path::new("config.toml")).unwrap(), settings);
    }

    #[test]
    fn a_vae_has_its_network_and_no_rule() {
        let settings = read(&["method=vae", "vae.beta=0.25"]).unwrap();
        let spec = settings.network().unwrap();
        assert_eq!((spec.name.as_str(), settings.vae.beta), ("cifar-6-backprop", 0.25));
        assert!(settings.rule_of(&spec).unwrap().is_none());
        assert_eq!(read(&["method=vae", "network=cifar-6"]).unwrap().network, "cifar-6");
        assert_eq!(read(&[]).unwrap().network, "cifar-6");
    }

    #[test]
    fn the_method_is_that_of_the_settings_given() {
        let method = |set: &[&str]| read(set).unwrap().method;
        assert_eq!(method(&[]), Method::Pca);
        assert_eq!(method(&["pca.images=100", "seed=3"]), Method::Pca);
        assert_eq!(method(&["rule.name=soft-wta"]), Method::Hebbian);
        assert_eq!(method(&["pretrain.lr=1e-2"]), Method::Hebbian);
        assert_eq!(method(&["method=pca", "pretrain.lr=1e-2"]), Method::Pca);
        let with_epochs = |set: &[&str]| {
            let set = set.iter().map(|s| (*s).to_owned()).collect();
            Settings::read(&SettingsArgs { config: None, set, seed: None }, &[], Some(7)).unwrap()
        };
        let (rule, vae) = (with_epochs(&[]), with_epochs(&["method=vae"]));
        assert_eq!((rule.method, rule.pretrain.epochs), (Method::Hebbian, 7));
        assert_eq!((vae.method, vae.vae.epochs), (Method::Vae, 7));
        assert_eq!(vae.pretrain, PretrainConfig::default());
    }

    #[test]
    fn a_run_notes_what_it_used_and_reads_it_again() {
        for set in [&["seed=3"][..], &["method=vae", "vae.beta=0.25"], &["rule.name=ica"]] {
            let settings = read(set).unwrap();
            let text = settings.to_config(&[("data", "photos".into())], settings.method.used());
            let text = text.unwrap();
            let (vae, rule) = (settings.method == Method::Vae, settings.method == Method::Hebbian);
            for (section, used) in [("[vae]", vae), ("[rule]", rule), ("[pca]", !vae && !rule)] {
                assert_eq!(text.contains(section), used, "{text}");
            }
            assert!(text.starts_with("# data = photos\n") && !text.contains("finetune"), "{text}");
            assert_eq!(Settings::parse(&text, Path::new("config.toml")).unwrap(), settings);
        }
    }

    #[test]
    fn unknown_keys_are_named() {
        for (bad, named) in [
            ("pretrain.epocs=3", "epocs"),
            ("epochs=3", "epochs"),
            ("rule.temperature=1", "temperature"),
            ("vae.betta=1", "betta"),
            ("method=gan", "gan"),
            ("seed", "key=value"),
        ] {
            let error = read(&[bad]).unwrap_err().to_string();
            assert!(error.contains(named), "{bad}: {error}");
        }
    }
}
