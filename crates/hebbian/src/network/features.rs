//! Which numbers of a model are an image's features.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZero;
use std::ops::Range;

use rayon::prelude::*;

use super::Model;
use crate::error::{Error, Result};

/// What follows the name of features that are averages, before how many a side.
const POOL: &str = "-pool";
/// What follows the name of features that are scaled to length 1.
const UNIT: &str = "-unit";

/// What an image's features are, by name: `pixels`, `L1` to the last layer,
/// `code`, `code-binary`; averaged over parts of the map where `-pool4` (or
/// another number) follows a map's name, and scaled to length 1 where `-unit`
/// ends any name but the last: `L2-pool4-unit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FeatureLayer {
    /// Where they are taken from.
    pub source: FeatureSource,
    /// Whether a map is averaged over so many by so many parts, which overlap
    /// where they can't be even (adaptive average pooling). A map no larger than
    /// that stays as it is; so does a code.
    pub pool: Option<NonZero<usize>>,
    /// Whether each image's are scaled to length 1, so that the squared
    /// Euclidean distance of two is `2 - 2 cos` of the angle between them: what
    /// an image shows counts, how strongly it does not. Features that are all 0
    /// have no direction and stay as they are.
    pub unit: bool,
}

/// Which numbers of a network and its classifier features are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeatureSource {
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
    /// The map of a layer as it is, 1 for `L1`.
    pub const fn layer(depth: usize) -> Self {
        Self { source: FeatureSource::Layer(depth), pool: None, unit: false }
    }

    /// The layer of `model` called `name`, or the last one without a name.
    ///
    /// # Errors
    /// If it has no such features; the message lists those it has.
    pub fn of(model: &Model, name: Option<&str>) -> Result<Self> {
        let depth = model.network.depth();
        let Some(name) = name else { return Ok(Self::layer(depth)) };
        let has_code = model.head.as_ref().is_some_and(|head| head.hidden.is_some());
        Self::parse(name, depth, has_code).map_err(|problem| Error::config("layer", problem))
    }

    /// The layer called `name` of a network of `depth` layers, whose classifier
    /// has a hidden layer where `has_code`.
    ///
    /// # Errors
    /// If there is none, a sentence that lists those there are.
    pub fn parse(name: &str, depth: usize, has_code: bool) -> std::result::Result<Self, String> {
        let (plain, unit) = match name.strip_suffix(UNIT) {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let pooled = plain.rsplit_once(POOL).and_then(|(map, n)| Some((map, n.parse().ok()?)));
        let (plain, pool) = pooled.map_or((plain, None), |(map, n)| (map, Some(n)));
        let number = plain.strip_prefix(['L', 'l']).and_then(|n| n.parse().ok());
        let source = match (plain, number) {
            ("pixels", _) => FeatureSource::Pixels,
            ("code", _) if has_code && pool.is_none() => FeatureSource::Code,
            ("code-binary", _) if has_code && pool.is_none() && !unit => FeatureSource::BinaryCode,
            (_, Some(number)) if (1..=depth).contains(&number) => FeatureSource::Layer(number),
            _ => {
                let more = match (has_code, name.starts_with("code")) {
                    (true, _) => ", code and code-binary",
                    (false, true) => {
                        "; a code takes a classifier with a hidden layer \
                         (finetune.classifier.hidden)"
                    }
                    (false, false) => "",
                };
                return Err(format!(
                    "'{name}' is no layer here; there are pixels, L1 to L{depth}{more}"
                ));
            }
        };
        Ok(Self { source, pool, unit })
    }

    /// Layers of the network that the features take, from 0.
    pub fn depth(self, model: &Model) -> usize {
        match self.source {
            FeatureSource::Pixels => 0,
            FeatureSource::Layer(depth) => depth,
            FeatureSource::Code | FeatureSource::BinaryCode => model.network.depth(),
        }
    }

    /// Length of the features, 0 where `model` has none of this kind.
    pub fn len(self, model: &Model) -> usize {
        match (self.map(model), &model.head) {
            (Some([height, width, channels]), _) => {
                let most = self.pool.map_or(usize::MAX, NonZero::get);
                height.min(most) * width.min(most) * channels
            }
            (None, Some(head)) => head.hidden.as_ref().map_or(0, |hidden| hidden.linear.outputs()),
            (None, None) => 0,
        }
    }

    /// Height, width and channels of the map that the features are of, before
    /// any pooling; none of a code.
    pub(crate) fn map(self, model: &Model) -> Option<[usize; 3]> {
        match self.source {
            FeatureSource::Pixels => Some(model.network.spec.input),
            FeatureSource::Layer(depth) => Some(model.network.map_shape(depth)),
            FeatureSource::Code | FeatureSource::BinaryCode => None,
        }
    }

    /// What is wrong where a code is asked of a model without a hidden layer.
    pub(crate) fn without_code(self) -> Error {
        let problem = "is no layer here: the classifier has no hidden layer";
        Error::config("layer", format!("'{self}' {problem}"))
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
            code.ok_or_else(|| self.without_code())
        };
        let pooled = self.pool.zip(self.map(model));
        let mut features = match (self.source, pooled) {
            (FeatureSource::Code, _) => code()?,
            (FeatureSource::BinaryCode, _) => {
                let bit = |x: f32| if x >= 0.0 { 1.0 } else { 0.0 };
                code()?.into_iter().map(bit).collect()
            }
            (_, Some((n, shape))) => averages(&map, shape, n.get()),
            (_, None) => map.into_owned(),
        };
        if self.unit {
            features.par_chunks_mut(self.len(model)).for_each(to_unit_length);
        }
        Ok(features)
    }
}

/// The `n` parts of a side of `len`, or fewer of a shorter one: part `i` is from `i len / n`
/// rounded down to `(i + 1) len / n` rounded up, as PyTorch's `AdaptiveAvgPool2d` has it.
pub(crate) fn parts(len: usize, n: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let n = n.min(len);
    (0..n).map(move |i| i * len / n..((i + 1) * len).div_ceil(n))
}

/// Averages of maps over `n` by `n` [`parts`].
fn averages(maps: &[f32], [height, width, channels]: [usize; 3], n: usize) -> Vec<f32> {
    let (rows, columns) = (height.min(n), width.min(n));
    let mut pooled = vec![0.0; maps.len() / (height * width) * rows * columns];
    let images = maps.par_chunks_exact(height * width * channels);
    images.zip(pooled.par_chunks_exact_mut(rows * columns * channels)).for_each(|(map, pooled)| {
        let places =
            parts(height, n).flat_map(|ys| parts(width, n).map(move |xs| (ys.clone(), xs)));
        for ((ys, xs), pooled) in places.zip(pooled.chunks_exact_mut(channels)) {
            let count = (ys.len() * xs.len()) as f32;
            for place in ys.flat_map(|y| xs.clone().map(move |x| y * width + x)) {
                let values = &map[place * channels..][..channels];
                pooled.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
            pooled.iter_mut().for_each(|sum| *sum /= count);
        }
    });
    pooled
}

/// Scales an image's features to length 1, unless they are all 0.
fn to_unit_length(features: &mut [f32]) {
    let squared: f64 = features.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    if squared > 0.0 {
        let length = squared.sqrt();
        features.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

impl fmt::Display for FeatureLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            FeatureSource::Pixels => f.write_str("pixels")?,
            FeatureSource::Layer(depth) => write!(f, "L{depth}")?,
            FeatureSource::Code => f.write_str("code")?,
            FeatureSource::BinaryCode => f.write_str("code-binary")?,
        }
        if let Some(n) = self.pool {
            write!(f, "{POOL}{n}")?;
        }
        f.write_str(if self.unit { UNIT } else { "" })
    }
}
