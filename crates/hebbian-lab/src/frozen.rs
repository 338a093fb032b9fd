//! Classifiers of features that stay as they are.
//!
//! Features go through a file, so memory does not grow with their number.

use std::path::Path;

use hebbian::engine::Device;
use hebbian::error::{Error, Result};
use hebbian::network::{FeatureLayer, Head, HeadKind, Model};
use hebbian::train::{
    self, FinetuneConfig, HebbianHeadConfig, LabelledFeatures, SvmConfig, for_each_features,
    nearest_mean, train_head, train_hebbian_head, train_svm,
};
use hebbian_data::Images;
use hebbian_search::metrics::knn_classify;
use hebbian_search::{Gallery, GalleryInfo, GalleryWriter, Item, Vectors, for_each_ranking};
use serde::{Deserialize, Serialize};

use crate::{as_error, kernel};

/// Vectors classified at a time.
const BLOCK: usize = 256;

/// Weight decay of a classifier on a frozen trunk, as published; that of
/// fine-tuning is higher.
pub const WEIGHT_DECAY: f64 = 5e-4;

/// A kind of classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One linear layer, by SGD.
    Linear,
    /// A hidden layer, then a linear one, by SGD.
    TwoLayer,
    /// A vote of the nearest training images.
    Knn,
    /// Linear support vector machines, one a class.
    Svm,
    /// The nearest class mean.
    NearestMean,
    /// Class vectors by the Hebbian rule with a teacher signal.
    Hebbian,
}

impl Kind {
    /// Its name, as it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::TwoLayer => "two-layer",
            Self::Knn => "knn",
            Self::Svm => "svm",
            Self::NearestMean => "nearest-mean",
            Self::Hebbian => "hebbian",
        }
    }
}

/// A classifier and what it needs to know beside the settings of SGD.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frozen {
    /// Its kind.
    pub by: Kind,
    /// Neighbours that vote; default 10.
    #[serde(default = "ten")]
    pub k: usize,
    /// Weight of a support vector machine's loss beside its regularisation;
    /// default 1.
    #[serde(default = "one")]
    pub c: f64,
    /// Learning rate of the Hebbian class vectors; default 1e-3, as published.
    /// Their epochs and batches are those of SGD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Components of a Nystroem map of the RBF kernel, fitted to the training
    /// features, before the classifier; default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nystroem: Option<usize>,
}

fn ten() -> usize {
    10
}

fn one() -> f64 {
    1.0
}

impl Frozen {
    /// Checks every field; `k`, `c`, `lr` and `nystroem` are their names in
    /// messages.
    ///
    /// # Errors
    /// If one is out of range.
    pub fn check(&self, [k, c, lr, nystroem]: [&str; 4]) -> Result<()> {
        if self.k == 0 {
            return Err(Error::config(k, "is 0; it must be at least 1"));
        }
        for (name, value) in [(c, Some(self.c)), (lr, self.lr)] {
            if let Some(value) = value.filter(|&value| !(value > 0.0 && value.is_finite())) {
                return Err(Error::config(
                    name,
                    format!("is {value}; it must be a number above 0"),
                ));
            }
        }
        kernel::check(nystroem, self.nystroem)
    }
}

/// Where features come from.
pub struct Source<'a> {
    /// The model.
    pub model: &'a Model,
    /// Which of its features.
    pub layer: FeatureLayer,
    /// What computes them.
    pub device: &'a Device,
    /// Number of classes of the labels.
    pub classes: usize,
}

/// The features of images in a file, and the images' classes.
pub struct Features {
    /// The features.
    pub vectors: Gallery,
    /// Classes, one a vector.
    pub labels: Vec<Option<u32>>,
    /// Number of classes.
    pub classes: usize,
}

/// A classifier trained on features.
pub enum Trained {
    /// Scores of classes.
    Head(Box<Head>),
    /// A vote of so many nearest.
    Neighbours(usize),
}

impl Source<'_> {
    /// Streams the features of `images` into a file under `path`; an image that
    /// can't be read is left out.
    ///
    /// # Shapes
    /// `labels`: one an image.
    ///
    /// # Errors
    /// Those of reading and writing; if none of the images can be read.
    pub fn write(
        &self,
        images: &Images,
        labels: &[Option<u32>],
        path: &Path,
        observer: train::Observer<'_>,
    ) -> Result<Features> {
        let Self { model, layer, device, classes } = *self;
        let info = GalleryInfo::new(layer.len(model), model.fingerprint()?, "features", "");
        let mut writer = GalleryWriter::create(path, info, false).map_err(as_error)?;
        let mut kept = Vec::new();
        let name = format!("features of {layer}");
        for_each_features(model, layer, images, device, &name, observer, |rows, f| {
            kept.extend(rows.iter().map(|&row| labels[row]));
            let items = rows.iter().map(|row| Item { id: row.to_string(), ..Item::default() });
            writer.push(&items.collect::<Vec<_>>(), &f).map_err(as_error)
        })?;
        if kept.is_empty() {
            return Err(Error::Data("none of the images could be read".into()));
        }
        Ok(Features { vectors: writer.finish().map_err(as_error)?, labels: kept, classes })
    }
}

impl Features {
    /// Puts a Nystroem map of so many components, fitted to these features,
    /// before them and those of `asked`; files go into `folder`.
    ///
    /// # Errors
    /// Those of [`kernel::fit`] and [`kernel::apply`].
    pub fn map(
        &mut self,
        asked: &mut Self,
        components: usize,
        seed: u64,
        folder: &Path,
    ) -> Result<()> {
        let map = kernel::fit(&self.vectors, components, seed)?;
        for (name, side) in [("mapped train", self), ("mapped test", asked)] {
            side.vectors = kernel::apply(&map, &side.vectors, &folder.join(name))?;
        }
        Ok(())
    }

    /// Trains a classifier; `warn` is told what is not as it should be.
    ///
    /// # Errors
    /// Those of reading; training that diverges.
    pub fn train(
        &self,
        frozen: &Frozen,
        config: &FinetuneConfig,
        seed: u64,
        observer: train::Observer<'_>,
        warn: impl FnOnce(String),
    ) -> Result<Trained> {
        let read = |rows: &[usize], out: &mut Vec<f32>| {
            let mut vector = Vec::new();
            out.clear();
            for &row in rows {
                self.vectors.read(row, 1, &mut vector).map_err(as_error)?;
                out.extend_from_slice(&vector);
            }
            Ok(())
        };
        let labels: Vec<u32> = self.labels.iter().copied().flatten().collect();
        let (labels, classes) = (&labels[..], self.classes);
        let features = LabelledFeatures { dim: self.vectors.dim(), labels, classes, read: &read };
        let head = match frozen.by {
            Kind::Knn => return Ok(Trained::Neighbours(frozen.k)),
            Kind::Linear => train_head(&features, HeadKind::Linear, config, seed, observer)?,
            Kind::TwoLayer => {
                let kind = match config.classifier {
                    HeadKind::Linear => HeadKind::Hidden(HeadKind::PUBLISHED_HIDDEN),
                    hidden => hidden,
                };
                train_head(&features, kind, config, seed, observer)?
            }
            Kind::Svm => {
                let svm = SvmConfig { penalty: frozen.c, ..SvmConfig::default() };
                let found = train_svm(&features, &svm, seed, observer)?;
                if found.unsettled > 0 {
                    warn(format!(
                        "the support vector machines of {} of {classes} classes had not settled \
                         after {} passes; a smaller c settles sooner",
                        found.unsettled, svm.epochs
                    ));
                }
                found.linear.into()
            }
            Kind::NearestMean => nearest_mean(&features, observer)?.into(),
            Kind::Hebbian => {
                let lr = frozen.lr.unwrap_or(HebbianHeadConfig::default().lr);
                let hebbian = HebbianHeadConfig { lr, batch: config.batch, epochs: config.epochs };
                train_hebbian_head(&features, &hebbian, seed, observer)?.to_linear().into()
            }
        };
        Ok(Trained::Head(Box::new(head)))
    }

    /// Share of the vectors of `asked` that are given their own class, of those
    /// that have one.
    ///
    /// # Errors
    /// Those of reading.
    pub fn accuracy(
        &self,
        by: &Trained,
        asked: &Self,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<f64> {
        let total = asked.labels.len();
        let (mut right, mut all) = (0usize, 0usize);
        let mut judge = |row: usize, class: Option<u32>| {
            if let Some(truth) = asked.labels[row] {
                all += 1;
                right += usize::from(class == Some(truth));
            }
            progress(row + 1, total);
        };
        match by {
            Trained::Neighbours(k) => {
                for_each_ranking(&self.vectors, &asked.vectors, Some(*k), |row, hits| {
                    judge(row, knn_classify(hits, &self.labels, *k));
                })
                .map_err(as_error)?;
            }
            Trained::Head(head) => {
                let mut vectors = Vec::new();
                for start in (0..total).step_by(BLOCK) {
                    let n = BLOCK.min(total - start);
                    asked.vectors.read(start, n, &mut vectors).map_err(as_error)?;
                    let scores = head.scores(&vectors);
                    let classes = scores.chunks_exact(head.classes()).map(best);
                    classes.enumerate().for_each(|(i, class)| judge(start + i, class));
                }
            }
        }
        Ok(right as f64 / all.max(1) as f64)
    }
}

/// The class of the highest score; the lowest of equals.
fn best(scores: &[f32]) -> Option<u32> {
    let all = scores.iter().enumerate();
    let (class, _) = all.max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)))?;
    u32::try_from(class).ok()
}
