//! `hebb probe`

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::network::FeatureLayer;
use hebbian_data::Dataset;
use hebbian_lab::frozen::{Frozen, Kind, Source, WEIGHT_DECAY};
use hebbian_search::Vectors;
use serde::Serialize;

use super::shared::{cached, labelled, labels_in, load_model, open, print_json};
use crate::cli::{ProbeArgs, ProbeClassifier};
use crate::settings::Settings;
use crate::ui::{Progress, percent, print_table, say};

#[derive(Serialize)]
struct Row {
    layer: String,
    features: usize,
    labels: usize,
    /// By name of the classifier.
    accuracy: serde_json::Map<String, serde_json::Value>,
}

/// Trains classifiers on features and measures them.
pub fn run(args: &ProbeArgs) -> Result<()> {
    let device = Device::open(&args.common.device)?;
    let mut settings = Settings::read(&args.settings, &[], None)?;
    // The published code decays a frozen trunk's classifier less.
    if !args.settings.set.iter().any(|s| s.starts_with("finetune.weight_decay")) {
        settings.finetune.weight_decay = WEIGHT_DECAY;
    }
    settings.finetune.check()?;
    let frozen = |by| Frozen {
        by,
        k: args.k,
        c: args.svm_c,
        lr: Some(args.hebbian_lr),
        nystroem: args.nystroem,
    };
    let classifiers: Vec<Frozen> = args.classifier.iter().map(|c| frozen(c.kind())).collect();
    frozen(Kind::Linear).check(["-k", "--svm-c", "--hebbian-lr", "--nystroem"])?;
    let model = load_model(&args.model)?;
    let layers = match &args.layer[..] {
        [] => (1..=model.network.depth()).map(FeatureLayer::layer).collect(),
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
        let observer = &mut |event: hebbian::train::Event<'_>| progress.on(event);
        let mut features = source.write(&train_images, &known, &path, observer)?;
        let path = folder.path().join("test");
        let mut asked = source.write(&test_images, &truth, &path, observer)?;
        if let Some(components) = args.nystroem {
            features.map(&mut asked, components, settings.seed, folder.path())?;
        }
        let mut accuracy = serde_json::Map::new();
        for frozen in &classifiers {
            let observer = &mut |event: hebbian::train::Event<'_>| progress.on(event);
            let warn = |problem| eprintln!("warning: {problem}");
            let (config, seed) = (&settings.finetune, settings.seed);
            let trained = features.train(frozen, config, seed, observer, warn)?;
            let mut count = progress.counter("classifying");
            let share = features.accuracy(&trained, &asked, &mut count)?;
            accuracy.insert(frozen.by.name().into(), share.into());
        }
        let (labels, dim) = (features.labels.len(), features.vectors.dim());
        rows.push(Row { layer: layer.to_string(), features: dim, labels, accuracy });
    }
    if args.common.json {
        return print_json(&rows);
    }
    say!("accuracy on {} with {} labels, %", args.test.display(), known.len());
    let titles = classifiers.iter().map(|frozen| match frozen.by {
        Kind::Knn => format!("{}-NN", frozen.k),
        other => other.name().to_owned(),
    });
    let titles: Vec<String> = titles.collect();
    let mut columns = vec!["layer", "features"];
    columns.extend(titles.iter().map(String::as_str));
    let cells = rows.iter().map(|row| {
        let values = classifiers.iter().map(|c| row.accuracy[c.by.name()].as_f64());
        let values = values.map(|value| value.map_or(String::new(), percent));
        [row.layer.clone(), row.features.to_string()].into_iter().chain(values).collect()
    });
    print_table(&columns, &cells.collect::<Vec<Vec<String>>>())?;
    Ok(())
}

impl ProbeClassifier {
    fn kind(self) -> Kind {
        match self {
            Self::Linear => Kind::Linear,
            Self::TwoLayer => Kind::TwoLayer,
            Self::Knn => Kind::Knn,
            Self::Svm => Kind::Svm,
            Self::NearestMean => Kind::NearestMean,
            Self::Hebbian => Kind::Hebbian,
        }
    }
}
