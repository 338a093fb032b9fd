//! Which numbers of a model are an image's features.

use std::borrow::Cow;
use std::fmt;

use super::Model;
use crate::error::{Error, Result};

/// What an image's features are, by name: `pixels`, `L1` to the last layer,
/// `code`, `code-binary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeatureLayer {
    /// The preprocessed pixels, which no layer has seen: a baseline.
    Pixels,
    /// The normalised map of a layer, 1 for `L1`.
    Layer(usize),
    /// The output of the classifier's hidden layer.
    Code,
    /// The same, 1 where it is not below 0 and else 0, so that the squared
    /// Euclidean distance counts differing bits (as the published code makes
    /// its retrieval codes).
    BinaryCode,
}

impl FeatureLayer {
    /// The layer of `model` called `name`, or the last one without a name.
    ///
    /// # Errors
    /// If it has no such features; the message lists those it has.
    pub fn of(model: &Model, name: Option<&str>) -> Result<Self> {
        let depth = model.network.depth();
        let Some(name) = name else { return Ok(Self::Layer(depth)) };
        let has_code = model.head.as_ref().is_some_and(|head| head.hidden.is_some());
        Self::parse(name, depth, has_code).map_err(|problem| Error::config("layer", problem))
    }

    /// The layer called `name` of a network of `depth` layers, whose classifier
    /// has a hidden layer where `has_code`.
    ///
    /// # Errors
    /// If there is none, a sentence that lists those there are.
    pub fn parse(name: &str, depth: usize, has_code: bool) -> std::result::Result<Self, String> {
        let number = name.strip_prefix(['L', 'l']).and_then(|n| n.parse().ok());
        match (name, number) {
            ("pixels", _) => Ok(Self::Pixels),
            ("code", _) if has_code => Ok(Self::Code),
            ("code-binary", _) if has_code => Ok(Self::BinaryCode),
            (_, Some(number)) if (1..=depth).contains(&number) => Ok(Self::Layer(number)),
            _ => {
                let more = match (has_code, name.starts_with("code")) {
                    (true, _) => ", code and code-binary",
                    (false, true) => {
                        "; a code takes a classifier with a hidden layer \
                         (finetune.classifier.hidden)"
                    }
                    (false, false) => "",
                };
                Err(format!("'{name}' is no layer here; there are pixels, L1 to L{depth}{more}"))
            }
        }
    }

    /// Layers of the network that the features take, from 0.
    pub fn depth(self, model: &Model) -> usize {
        match self {
            Self::Pixels => 0,
            Self::Layer(depth) => depth,
            Self::Code | Self::BinaryCode => model.network.depth(),
        }
    }

    /// Length of the features, 0 where `model` has none of this kind.
    pub fn len(self, model: &Model) -> usize {
        match (self, &model.head) {
            (Self::Pixels, _) => model.network.spec.input.iter().product(),
            (Self::Layer(depth), _) => model.network.feature_len(depth),
            (_, Some(head)) => head.hidden.as_ref().map_or(0, |hidden| hidden.linear.outputs()),
            (_, None) => 0,
        }
    }

    /// The features of a batch, from the map of layer [`FeatureLayer::depth`]
    /// (the input itself at depth 0).
    ///
    /// # Shapes
    /// `map`: batch x numbers of that map; result: batch x feature length.
    ///
    /// # Errors
    /// If a code is asked of a model without a hidden layer.
    pub fn features(self, model: &Model, map: Cow<'_, [f32]>) -> Result<Vec<f32>> {
        let code = || {
            let code = model.head.as_ref().and_then(|head| head.code(&map));
            code.ok_or_else(|| {
                let problem = "is no layer here: the classifier has no hidden layer";
                Error::config("layer", format!("'{self}' {problem}"))
            })
        };
        match self {
            Self::Code => code(),
            Self::BinaryCode => {
                let bit = |x: f32| if x >= 0.0 { 1.0 } else { 0.0 };
                Ok(code()?.into_iter().map(bit).collect())
            }
            Self::Pixels | Self::Layer(_) => Ok(map.into_owned()),
        }
    }
}

impl fmt::Display for FeatureLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pixels => f.write_str("pixels"),
            Self::Layer(depth) => write!(f, "L{depth}"),
            Self::Code => f.write_str("code"),
            Self::BinaryCode => f.write_str("code-binary"),
        }
    }
}
