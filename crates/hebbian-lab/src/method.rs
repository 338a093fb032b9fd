//! Methods: what a network goes through before it sees a label.

use hebbian::error::{Error, Result};
use hebbian::network::{NetworkSpec, RuleRecord};
use hebbian::rules::{self, RULES, Rule};
use hebbian::train::{PcaConfig, PretrainConfig, PretrainOrder, VaeConfig};
use hebbian_data::Whitening;
use serde::Serialize;

use crate::grid::Part;

/// Word for a network that is not pre-trained.
pub const NONE: &str = "none";
/// Word for the published baseline, the encoder of a variational autoencoder.
pub const VAE: &str = "vae";
/// Word for the principal components that HPCA ends at.
pub const PCA: &str = "pca";

/// A row of the grid, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// Its name in tables.
    pub name: String,
    /// Its network.
    pub network: NetworkSpec,
    /// Name of the file that the network was read from; none for a preset.
    pub network_file: Option<String>,
    /// What its images go through.
    pub whitening: Whitening,
    /// Smoothing of the whitening.
    pub smoothing: f64,
    /// How it learns without labels.
    pub pretraining: Pretraining,
    /// The cells it is run on.
    pub only: Part,
}

/// Learning without labels. A new kind is a case here, an arm in
/// [`Pretraining::parse`], and one in [`crate::stage`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Pretraining {
    /// Random weights.
    None,
    /// By a Hebbian rule.
    Hebbian {
        /// The rule, with all its parameters.
        rule: RuleRecord,
        /// How it is applied.
        config: PretrainConfig,
    },
    /// As the encoder of a variational autoencoder.
    Vae {
        /// How that is trained.
        config: VaeConfig,
    },
    /// By the principal components of each layer's patches.
    Pca {
        /// How they are found.
        config: PcaConfig,
    },
}

impl Pretraining {
    /// The kind named `name` (`none`, `vae`, `pca` or a rule's name) with its parameters
    /// and settings, for a network of `layers` layers.
    ///
    /// # Errors
    /// An unknown name, parameter or setting, or one out of range.
    pub fn parse(
        name: &str,
        params: toml::Table,
        settings: toml::Table,
        layers: usize,
    ) -> Result<Self> {
        if name == NONE {
            if let Some(key) = params.keys().chain(settings.keys()).next() {
                let problem = format!("'{key}' is set, but without pre-training nothing is");
                return Err(Error::config("settings", problem));
            }
            return Ok(Self::None);
        }
        let wrong = |e: toml::de::Error| Error::config("settings", e.message().trim());
        if let (VAE | PCA, Some(key)) = (name, params.keys().next()) {
            let problem = format!("'{key}' is set, but '{name}' learns by no rule");
            return Err(Error::config("rule", problem));
        }
        if name == VAE {
            let config: VaeConfig = settings.try_into().map_err(wrong)?;
            config.check()?;
            return Ok(Self::Vae { config });
        }
        if name == PCA {
            let config: PcaConfig = settings.try_into().map_err(wrong)?;
            config.check()?;
            return Ok(Self::Pca { config });
        }
        if !RULES.iter().any(|info| info.name == name) {
            let known: Vec<_> = RULES.iter().map(|info| info.name).collect();
            let problem = format!("'{name}' is none of none, vae, pca, {}", known.join(", "));
            return Err(Error::config("pretrain", problem));
        }
        let rule = rules::build(name, params)?;
        let config: PretrainConfig = settings.try_into().map_err(wrong)?;
        config.check(layers)?;
        let rule = RuleRecord { name: rule.name().into(), params: rule.params() };
        Ok(Self::Hebbian { rule, config })
    }

    /// Its name in files: `none`, `vae`, `pca`, or the rule's.
    pub fn name(&self) -> &str {
        match self {
            Self::None => NONE,
            Self::Vae { .. } => VAE,
            Self::Pca { .. } => PCA,
            Self::Hebbian { rule, .. } => &rule.name,
        }
    }

    /// The rule it learns by, if it is one.
    pub fn rule(&self) -> Result<Option<Box<dyn Rule>>> {
        match self {
            Self::None | Self::Vae { .. } | Self::Pca { .. } => Ok(None),
            Self::Hebbian { rule, .. } => rules::build(&rule.name, rule.params.clone()).map(Some),
        }
    }

    /// Passes over the images; none without pre-training.
    pub fn epochs(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Hebbian { config, .. } => config.epochs,
            Self::Vae { config } => config.epochs,
            Self::Pca { .. } => 1,
        }
    }

    /// Whether it can be looked at after each epoch: all layers learn
    /// together, for a fixed number of epochs, which does not decide the rate.
    pub fn has_epochs(&self) -> bool {
        match self {
            Self::None | Self::Pca { .. } => false,
            Self::Vae { .. } => true,
            Self::Hebbian { config, .. } => {
                config.order == PretrainOrder::Together
                    && config.schedule.is_constant()
                    && config.tolerance == 0.0
            }
        }
    }

    /// The whitening that the published protocol gives it.
    pub fn published_whitening(&self) -> Result<Whitening> {
        let wants = self.rule()?.is_some_and(|rule| rule.wants_whitening());
        Ok(if wants { Whitening::Fh } else { Whitening::None })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn principal_components_by_their_word_and_settings() {
        let parse = |params: &str, settings: &str| {
            Pretraining::parse(PCA, params.parse().unwrap(), settings.parse().unwrap(), 5)
        };
        let found = parse("", "patches = 30").unwrap();
        let config = PcaConfig { patches: 30, ..PcaConfig::default() };
        assert_eq!(found, Pretraining::Pca { config });
        assert_eq!((found.name(), found.epochs(), found.has_epochs()), ("pca", 1, false));
        assert!(found.rule().unwrap().is_none());
        assert_eq!(found.published_whitening().unwrap(), Whitening::None);
        for (params, settings, named) in [
            ("temperature = 1", "", "'temperature'"),
            ("", "epochs = 2", "epochs"),
            ("", "images = 0", "pca.images"),
        ] {
            let error = parse(params, settings).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
