//! `hebb probe`

use std::path::Path;

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::network::{FeatureLayer, Head, HeadKind, Model};
use hebbian::train::{
    LabelledFeatures, SvmConfig, for_each_features, nearest_mean, train_head, train_svm,
};
use hebbian_data::{Dataset, Images};
use hebbian_search::metrics::knn_classify;
use hebbian_search::{Gallery, GalleryInfo, GalleryWriter, Item, Vectors, for_each_ranking};
use serde::Serialize;

use super::kernel;
use super::shared::{cached, labelled, labels_in, load_model, open, print_json};
use crate::cli::{ProbeArgs, ProbeClassifier};
use crate::settings::Settings;
use crate::ui::{Progress, percent, print_table, say};

/// Vectors classified at a time.
const BLOCK: usize = 256;

#[derive(Serialize)]
struct Row {
    layer: String,
    features: usize,
    labels: usize,
    /// By name of the classifier.
    accuracy: serde_json::Map<String, serde_json::Value>,
}

/// The features of images in a file, and the images' classes.
struct Features {
    vectors: Gallery,
    labels: Vec<Option<u32>>,
    classes: usize,
}

/// A classifier trained on them.
enum Trained {
    /// Scores of classes.
    Head(Box<Head>),
    /// A vote of so many nearest.
    Neighbours(usize),
}

/// Trains classifiers on features and measures them.
pub fn run(args: &ProbeArgs) -> Result<()> {
    let device = Device::open(&args.common.device)?;
    let mut settings = Settings::read(&args.settings, &[])?;
    // The published code decays a frozen trunk's classifier less.
    if !args.settings.set.iter().any(|s| s.starts_with("finetune.weight_decay")) {
        settings.finetune.weight_decay = 5e-4;
    }
    settings.finetune.check()?;
    if args.k == 0 {
        return Err(hebbian::Error::config("-k", "is 0; it must be at least 1").into());
    }
    kernel::check("--nystroem", args.nystroem)?;
    let model = load_model(&args.model)?;
    let layers = match &args.layer[..] {
        [] => (1..=model.network.depth()).map(FeatureLayer::Layer).collect(),
        names => {
            let named = names.iter().map(|name| FeatureLayer::of(&model, Some(name)));
            named.collect::<hebbian::Result<Vec<_>>>()?
        }
    };
    let data = open(&args.data)?;
    let train = labelled(&data, &args.amount, settings.seed)?;
    let test = Dataset::open(&args.test)?;
    let truth = labels_in(&test, data.classes());
    let known: Vec<_> = train.labels.iter().copied().map(Some).collect();
    let mut progress = Progress::default();
    let mut cache = |images| cached(images, &args.common, model.preprocess.size, &mut progress);
    let (train_images, test_images) = (cache(train.images)?, cache(test.images())?);
    let mut rows = Vec::new();
    for layer in layers {
        let folder = tempfile::tempdir()?;
        let source =
            Source { model: &model, layer, device: &device, classes: data.classes().len() };
        let path = folder.path().join("train");
        let mut features = source.write(&train_images, &known, &path, &mut progress)?;
        let path = folder.path().join("test");
        let mut asked = source.write(&test_images, &truth, &path, &mut progress)?;
        if let Some(components) = args.nystroem {
            let map = kernel::fit(&features.vectors, components, settings.seed)?;
            for (name, side) in [("mapped train", &mut features), ("mapped test", &mut asked)] {
                side.vectors = kernel::apply(&map, &side.vectors, &folder.path().join(name))?;
            }
        }
        let mut accuracy = serde_json::Map::new();
        for classifier in &args.classifier {
            let trained = features.train(*classifier, args, &settings, &mut progress)?;
            let mut count = progress.counter("classifying");
            let share = features.accuracy(&trained, &asked, &mut count)?;
            accuracy.insert(classifier.name().into(), share.into());
        }
        let (labels, dim) = (features.labels.len(), features.vectors.dim());
        rows.push(Row { layer: layer.to_string(), features: dim, labels, accuracy });
    }
    if args.common.json {
        return print_json(&rows);
    }
    say!("accuracy on {} with {} labels, %", args.test.display(), known.len());
    let titles = args.classifier.iter().map(|classifier| match classifier {
        ProbeClassifier::Knn => format!("{}-NN", args.k),
        other => other.name().to_owned(),
    });
    let titles: Vec<String> = titles.collect();
    let mut columns = vec!["layer", "features"];
    columns.extend(titles.iter().map(String::as_str));
    let cells = rows.iter().map(|row| {
        let values = args.classifier.iter().map(|c| row.accuracy[c.name()].as_f64());
        let values = values.map(|value| value.map_or(String::new(), percent));
        [row.layer.clone(), row.features.to_string()].into_iter().chain(values).collect()
    });
    print_table(&columns, &cells.collect::<Vec<Vec<String>>>())?;
    Ok(())
}

impl ProbeClassifier {
    /// As it is typed.
    fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::TwoLayer => "two-layer",
            Self::Knn => "knn",
            Self::Svm => "svm",
            Self::NearestMean => "nearest-mean",
        }
    }
}

/// Where features come from.
struct Source<'a> {
    model: &'a Model,
    layer: FeatureLayer,
    device: &'a Device,
    classes: usize,
}

impl Source<'_> {
    /// Streams the features of `images` into a file under `path`.
    fn write(
        &self,
        images: &Images,
        labels: &[Option<u32>],
        path: &Path,
        progress: &mut Progress,
    ) -> Result<Features> {
        let Self { model, layer, device, classes } = *self;
        let info = GalleryInfo::new(layer.len(model), model.fingerprint()?, "probe", "");
        let mut writer = GalleryWriter::create(path, info, false)?;
        let mut kept = Vec::new();
        let name = format!("features of {layer}");
        let observer = &mut |event: hebbian::train::Event<'_>| progress.on(event);
        for_each_features(model, layer, images, device, &name, observer, |rows, f| {
            kept.extend(rows.iter().map(|&row| labels[row]));
            let items = rows.iter().map(|row| Item { id: row.to_string(), ..Item::default() });
            writer.push(&items.collect::<Vec<_>>(), &f).map_err(as_error)
        })?;
        if kept.is_empty() {
            return Err(hebbian::Error::Data("none of the images could be read".into()).into());
        }
        Ok(Features { vectors: writer.finish()?, labels: kept, classes })
    }
}

impl Features {
    fn train(
        &self,
        classifier: ProbeClassifier,
        args: &ProbeArgs,
        settings: &Settings,
        progress: &mut Progress,
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
        let (config, seed) = (&settings.finetune, settings.seed);
        let observer = &mut |event: hebbian::train::Event<'_>| progress.on(event);
        let head = match classifier {
            ProbeClassifier::Knn => return Ok(Trained::Neighbours(args.k)),
            ProbeClassifier::Linear => {
                train_head(&features, HeadKind::Linear, config, seed, observer)?
            }
            ProbeClassifier::TwoLayer => {
                let kind = match config.classifier {
                    HeadKind::Linear => HeadKind::Hidden(HeadKind::PUBLISHED_HIDDEN),
                    hidden => hidden,
                };
                train_head(&features, kind, config, seed, observer)?
            }
            ProbeClassifier::Svm => {
                let svm = SvmConfig { penalty: args.svm_c, ..SvmConfig::default() };
                let found = train_svm(&features, &svm, seed, observer)?;
                if found.unsettled > 0 {
                    eprintln!(
                        "warning: the support vector machines of {} of {classes} classes had not \
                         settled after {} passes; a smaller --svm-c settles sooner",
                        found.unsettled, svm.epochs
                    );
                }
                found.linear.into()
            }
            ProbeClassifier::NearestMean => nearest_mean(&features, observer)?.into(),
        };
        Ok(Trained::Head(Box::new(head)))
    }

    /// Share of the vectors of `asked` that are given their own class, of those
    /// that have one.
    fn accuracy(
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
                })?;
            }
            Trained::Head(head) => {
                let mut vectors = Vec::new();
                for start in (0..total).step_by(BLOCK) {
                    asked.vectors.read(start, BLOCK.min(total - start), &mut vectors)?;
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

fn as_error(error: hebbian_search::Error) -> hebbian::Error {
    hebbian::Error::Data(error.to_string())
}
