//! `hebb probe`

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::train::{
    FinetuneConfig, LabelledImages, Scores, accuracy, for_each_features, train_head,
};
use hebbian_data::Dataset;
use hebbian_search::metrics::knn_classify;
use hebbian_search::{Matrix, search};
use serde::Serialize;

use super::shared::{cached, depth, labelled, labels_in, load_model, open, print_json};
use crate::cli::ProbeArgs;
use crate::settings::Settings;
use crate::ui::{Progress, percent, print_table, say};

/// Test images classified at a time.
const BLOCK: usize = 512;

#[derive(Serialize)]
struct Row {
    layer: String,
    features: usize,
    linear: f64,
    nearest_neighbours: f64,
}

/// Trains a linear and a nearest-neighbour classifier on frozen features.
pub fn run(args: &ProbeArgs) -> Result<()> {
    let device = Device::open(&args.common.device)?;
    let mut settings = Settings::read(&args.settings, &[])?;
    // The published code decays a frozen trunk's classifier less.
    if !args.settings.set.iter().any(|s| s.starts_with("finetune.weight_decay")) {
        settings.finetune.weight_decay = 5e-4;
    }
    settings.finetune.check()?;
    let model = load_model(&args.model)?;
    let data = open(&args.data)?;
    let mut train = labelled(&data, &args.amount, settings.seed)?;
    let test = Dataset::open(&args.test)?;
    let truth = labels_in(&test, data.classes());
    let mut progress = Progress::default();
    let size = model.preprocess.size;
    train.images = cached(train.images, &args.common, size, &mut progress)?;
    let test_images = cached(test.images(), &args.common, size, &mut progress)?;
    let layers = match &args.layer {
        Some(layer) => vec![depth(&model, Some(layer))?],
        None => (1..=model.network.depth()).collect(),
    };
    let mut rows = Vec::new();
    for depth in layers {
        let (features, labels) = features(&model, depth, &train, &device, &mut progress)?;
        let len = model.network.feature_len(depth);
        let config: &FinetuneConfig = &settings.finetune;
        let head =
            train_head(&features, &labels, data.classes().len(), config, settings.seed, &mut |e| {
                progress.on(e);
            });
        let gallery = Matrix::new(len, features)?;
        let known: Vec<Option<u32>> = labels.iter().copied().map(Some).collect();
        let mut scores = Scores { classes: data.classes().len(), ..Scores::default() };
        let (mut right, mut asked) = (0usize, 0usize);
        let name = format!("classifying by L{depth}");
        for_each_features(
            &model,
            depth,
            &test_images,
            &device,
            &name,
            &mut |e| progress.on(e),
            |r, f| {
                scores.rows.extend(r);
                scores.scores.extend(head.scores(&f));
                for (rows, block) in r.chunks(BLOCK).zip(f.chunks(BLOCK * len)) {
                    let as_error = |e: hebbian_search::Error| hebbian::Error::Data(e.to_string());
                    let queries = Matrix::new(len, block.to_vec()).map_err(as_error)?;
                    let found = search(&gallery, &queries, args.k).map_err(as_error)?;
                    for (&row, hits) in rows.iter().zip(&found) {
                        if let Some(label) = truth[row] {
                            asked += 1;
                            right += usize::from(knn_classify(hits, &known, args.k) == Some(label));
                        }
                    }
                }
                Ok(())
            },
        )?;
        rows.push(Row {
            layer: format!("L{depth}"),
            features: len,
            linear: accuracy(&scores, 1, |row| truth[row]),
            nearest_neighbours: right as f64 / asked.max(1) as f64,
        });
    }
    if args.common.json {
        return print_json(&rows);
    }
    say!("accuracy on {} with {} labels, %", args.test.display(), train.labels.len());
    let knn = format!("{}-NN", args.k);
    let cells = rows.iter().map(|row| {
        let len = row.features.to_string();
        vec![row.layer.clone(), len, percent(row.linear), percent(row.nearest_neighbours)]
    });
    print_table(&["layer", "features", "linear", &knn], &cells.collect::<Vec<_>>())?;
    Ok(())
}

fn features(
    model: &hebbian::network::Model,
    depth: usize,
    train: &LabelledImages,
    device: &Device,
    progress: &mut Progress,
) -> Result<(Vec<f32>, Vec<u32>)> {
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    let name = format!("features of L{depth}");
    for_each_features(
        model,
        depth,
        &train.images,
        device,
        &name,
        &mut |e| progress.on(e),
        |rows, f| {
            features.extend(f);
            labels.extend(rows.iter().map(|&row| train.labels[row]));
            Ok(())
        },
    )?;
    Ok((features, labels))
}
