//! `hebb demo`: the whole system on a small sample of real images.

mod page;

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::error::Error;
use hebbian::network::{FeatureLayer, Model, NetworkSpec, write_atomically};
use hebbian::rules;
use hebbian::train::{
    FinetuneConfig, LabelledImages, LayerRates, PretrainConfig, RunFolder, accuracy, finetune,
    for_each_features, pretrain,
};
use hebbian_data::{Amount, Dataset, Images, Preprocess, Size, Whitening, labelled_subset};
use hebbian_search::metrics::{EvaluateOptions, evaluate};
use hebbian_search::{Hit, Matrix, Vectors, search};
use serde::Serialize;

use super::shared::print_json;
use crate::cli::DemoArgs;
use crate::ui::{Progress, percent, print_table, say};

/// One over the length of a patch, about: a layer's step is stable up to there, and one rate does not
/// suit all.
const RATES: [f64; 5] = [1e-2, 1e-3, 7e-4, 5e-4, 1e-3];
const TRAIN: (&[u8], &[u8]) = (
    include_bytes!("../../../sample/fashion-mnist/train-images-idx3-ubyte.gz"),
    include_bytes!("../../../sample/fashion-mnist/train-labels-idx1-ubyte.gz"),
);
const TEST: (&[u8], &[u8]) = (
    include_bytes!("../../../sample/fashion-mnist/t10k-images-idx3-ubyte.gz"),
    include_bytes!("../../../sample/fashion-mnist/t10k-labels-idx1-ubyte.gz"),
);
const CLASSES: [&str; 10] = [
    "T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "trainer", "bag", "boot",
];
/// The sample's own size; the network takes any.
const SIDE: usize = 28;
/// Layer whose features are classified and searched: the one that the paper
/// found best with 1% of the labels.
const LAYER: usize = 3;
/// Share of the labels that fine-tuning sees.
const LABELS: f64 = 0.01;
/// Neighbours asked for.
const K: usize = 10;
/// What its figures mean (`experiments/fashion-mnist.toml`, `cifar10-table-1.toml`).
const READ_AS: [&str; 3] = [
    "One run and few labels: a few points between two rows are chance. Over three",
    "runs pre-training gains nothing on these images; on those of CIFAR-10, as",
    "JPEG, it gains four to five points of accuracy.",
];
/// Written into the folder, so that a later demo may replace it.
const MARK: &str = "demo.json";

/// What the demo found.
#[derive(Serialize)]
struct Findings {
    data: &'static str,
    train_images: usize,
    test_images: usize,
    labels: usize,
    layer: String,
    seed: u64,
    code_version: &'static str,
    accuracy_without_pretraining: f64,
    accuracy_with_pretraining: f64,
    retrieval: Vec<Retrieval>,
    seconds: Vec<(String, f64)>,
}

#[derive(Serialize)]
struct Retrieval {
    features: &'static str,
    dim: usize,
    mean_average_precision: f64,
    precision_at_10: f64,
}

/// Features of the gallery's and of the query images, with their neighbours.
struct Searched {
    retrieval: Retrieval,
    hits: Vec<Vec<Hit>>,
}

/// The two sets with their labels.
struct Sample {
    train: Dataset,
    test: Dataset,
}

/// Times steps by name.
#[derive(Default)]
struct Clock(Vec<(String, f64)>);

impl Clock {
    fn time<R>(&mut self, name: &str, work: impl FnOnce() -> Result<R>) -> Result<R> {
        let since = Instant::now();
        let result = work()?;
        self.0.push((name.to_owned(), since.elapsed().as_secs_f64()));
        Ok(result)
    }
}

/// Runs the demo.
pub fn run(args: &DemoArgs) -> Result<()> {
    let out = &args.out;
    prepare(out)?;
    let sample = Sample {
        train: Dataset::from_idx_bytes(TRAIN.0, TRAIN.1, &CLASSES)?,
        test: Dataset::from_idx_bytes(TEST.0, TEST.1, &CLASSES)?,
    };
    let Sample { train, test } = &sample;
    eprintln!(
        "Fashion-MNIST sample: {} images to learn from, {} to test with\n",
        train.len(),
        test.len()
    );
    let (mut clock, mut progress) = (Clock::default(), Progress::default());

    let rule = rules::build("hpca", toml::Table::new())?;
    let spec = NetworkSpec::find("cifar-6")?.with_input_size(SIDE, SIDE)?;
    let size = Size::square(SIDE);
    let none = Whitening::None;
    let preprocess = Preprocess::fit(&train.images(), size, none, 1e-2, &mut |_, _| {})?;
    let random = Model::new(spec, rule.as_ref(), preprocess, args.seed)?;

    let raw = clock.time("search by raw pixels", || raw_pixels(&sample))?;

    // Pre-training sees images alone: `images()` has no labels.
    let config = PretrainConfig {
        epochs: 1,
        lr: LayerRates::Each(RATES.to_vec()),
        ..PretrainConfig::default()
    };
    let pretrained = clock.time("pre-train without labels", || {
        let mut run = RunFolder::create(&out.join("pretrain"), &toml::to_string(&config)?, true)?;
        let (images, start) = (train.images(), random.clone());
        let observer = &mut |event: hebbian::train::Event<'_>| progress.on(event);
        let (model, _) = pretrain(
            start,
            rule.as_ref(),
            &images,
            &config,
            &Device::Cpu,
            Some(&mut run),
            None,
            observer,
        )?;
        run.finish(&model)?;
        Ok(model)
    })?;
    let (hebbian, _) = clock.time("search by Hebbian features", || {
        searched(&pretrained, "Hebbian features", &sample, &mut progress)
    })?;

    let all: Vec<usize> = (0..train.len()).collect();
    let amount = Amount::Fraction(LABELS);
    let chosen = labelled_subset(&all, &train.labels(), amount, true, args.seed)?;
    let labelled = super::shared::select(train, &chosen);
    eprintln!("\n{} labels from here on", labelled.labels.len());
    let tuned = clock.time("fine-tune", || {
        tune(&pretrained, &labelled, train.classes(), &out.join("tuned"), &mut progress)
    })?;
    let scratch = clock.time("train without pre-training", || {
        tune(&random, &labelled, train.classes(), &out.join("scratch"), &mut progress)
    })?;
    let (after, with) = clock.time("search by tuned features", || {
        searched(&tuned, "features after fine-tuning", &sample, &mut progress)
    })?;
    let without = clock.time("test without pre-training", || {
        let images = test.images();
        let scores = hebbian::train::score(&scratch, &images, &Device::Cpu, "testing", &mut |e| {
            progress.on(e)
        })?;
        Ok(accuracy(&scores, 1, |row| test.label(row)))
    })?;
    clock.time("build the gallery", || {
        let made = (&tuned, super::shared::absolute(&out.join("tuned")));
        let folder = out.join("gallery");
        super::index::build(
            made,
            FeatureLayer::layer(LAYER),
            (train, &train.images()),
            &folder,
            &Device::Cpu,
            &mut progress,
        )
    })?;

    let neighbours = after.hits;
    let raw_neighbours = raw.hits;
    let findings = Findings {
        data: "Fashion-MNIST, 8,000 + 2,000 images, evenly by class",
        train_images: train.len(),
        test_images: test.len(),
        labels: labelled.labels.len(),
        layer: format!("L{LAYER}"),
        seed: args.seed,
        code_version: env!("CARGO_PKG_VERSION"),
        accuracy_without_pretraining: without,
        accuracy_with_pretraining: with,
        retrieval: vec![raw.retrieval, hebbian.retrieval, after.retrieval],
        seconds: clock.0,
    };
    let report =
        page::report(&findings, &sample, &pretrained, out, (&raw_neighbours, &neighbours))?;
    write_atomically(&out.join("report.html"), report.to_html().as_bytes())?;
    write_atomically(&out.join(MARK), serde_json::to_string_pretty(&findings)?.as_bytes())?;
    if args.json {
        return print_json(&findings);
    }
    print(&findings, out)
}

/// Makes the folder; an earlier demo in it is replaced, nothing else is.
fn prepare(out: &Path) -> Result<()> {
    if out.is_dir() && fs_err::read_dir(out)?.next().is_some() {
        if !out.join(MARK).is_file() {
            let problem = "is not empty and holds no finished demo; give another folder with --out";
            return Err(Error::file(out, problem).into());
        }
        fs_err::remove_dir_all(out)?;
    }
    fs_err::create_dir_all(out)?;
    Ok(())
}

fn tune(
    base: &Model,
    labelled: &LabelledImages,
    classes: &[String],
    out: &Path,
    progress: &mut Progress,
) -> Result<Model> {
    let config = FinetuneConfig::default();
    let mut run = RunFolder::create(out, &toml::to_string(&config)?, true)?;
    let mut model = base.clone();
    model.network = model.network.cut(LAYER);
    let observer = &mut |event: hebbian::train::Event<'_>| progress.on(event);
    let (model, _) = finetune(
        model,
        labelled,
        None,
        classes,
        &config,
        &Device::Cpu,
        Some(&mut run),
        None,
        observer,
    )?;
    run.finish(&model)?;
    Ok(model)
}

/// Ranks the training images for every test image by the features of a model;
/// its test accuracy comes from the same pass.
fn searched(
    model: &Model,
    name: &'static str,
    sample: &Sample,
    progress: &mut Progress,
) -> Result<(Searched, f64)> {
    let dim = model.network.feature_len(LAYER);
    let mut features = |images: &Images, stage: &str| -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(images.len() * dim);
        for_each_features(
            model,
            FeatureLayer::layer(LAYER),
            images,
            &Device::Cpu,
            stage,
            &mut |e| progress.on(e),
            |_, f| {
                all.extend(f);
                Ok(())
            },
        )?;
        Ok(all)
    };
    let gallery = features(&sample.train.images(), "features of the gallery")?;
    let queries = features(&sample.test.images(), "features of the queries")?;
    let mut right = 0.0;
    if let Some(head) = &model.head {
        let scores = hebbian::train::Scores {
            rows: (0..sample.test.len()).collect(),
            scores: head.scores(&queries),
            classes: head.classes(),
            skipped: Vec::new(),
        };
        right = accuracy(&scores, 1, |row| sample.test.label(row));
    }
    let (gallery, queries) = (Matrix::new(dim, gallery)?, Matrix::new(dim, queries)?);
    Ok((rank(name, &gallery, &queries, sample)?, right))
}

fn raw_pixels(sample: &Sample) -> Result<Searched> {
    let size = Size::square(SIDE);
    let pixels = |images: Images| -> Result<Matrix> {
        let mut all = Vec::new();
        for i in 0..images.len() {
            all.extend(images.decode_at(i, size)?.iter().map(|&p| f32::from(p) / 255.0));
        }
        Ok(Matrix::new(size.height * size.width * 3, all)?)
    };
    let (gallery, queries) = (pixels(sample.train.images())?, pixels(sample.test.images())?);
    rank("raw pixels", &gallery, &queries, sample)
}

fn rank(
    features: &'static str,
    gallery: &Matrix,
    queries: &Matrix,
    sample: &Sample,
) -> Result<Searched> {
    let options = EvaluateOptions { ks: vec![K], truncate: None };
    let (known, asked) = (sample.train.labels(), sample.test.labels());
    let found = evaluate(gallery, &known, queries, &asked, None, &options, |_, _| {})?;
    let whole = found.mean_average_precision.iter().find(|m| m.whole_gallery);
    let at_k = found.precision.iter().find(|p| p.k == K);
    let retrieval = Retrieval {
        features,
        dim: gallery.dim(),
        mean_average_precision: whole.map_or(0.0, |m| m.relevant),
        precision_at_10: at_k.map_or(0.0, |p| p.precision),
    };
    // The queries shown: the first of each class.
    let firsts = (0..CLASSES.len()).filter_map(|class| page::first_of(&sample.test, class));
    let shown: Vec<f32> = firsts.filter_map(|row| queries.row(row)).flatten().copied().collect();
    let hits = search(gallery, &Matrix::new(queries.dim(), shown)?, K)?;
    Ok(Searched { retrieval, hits })
}

/// The rows of the closing table.
fn table(findings: &Findings) -> Vec<Vec<String>> {
    let mut rows = vec![
        vec![
            "accuracy, without pre-training".into(),
            percent(findings.accuracy_without_pretraining),
        ],
        vec![
            "accuracy, with Hebbian pre-training".into(),
            percent(findings.accuracy_with_pretraining),
        ],
    ];
    for r in &findings.retrieval {
        rows.push(vec![format!("mAP, {}", r.features), percent(r.mean_average_precision)]);
        rows.push(vec![format!("precision@{K}, {}", r.features), percent(r.precision_at_10)]);
    }
    rows
}

fn print(findings: &Findings, out: &Path) -> Result<()> {
    let labels = findings.labels;
    say!(
        "\n{}; {labels} labels (1%), layer {}, seed {}\n",
        findings.data,
        findings.layer,
        findings.seed
    );
    print_table(&["measured on the test images", "%"], &table(findings))?;
    say!("");
    let mut rows: Vec<_> =
        findings.seconds.iter().map(|(step, s)| vec![step.clone(), format!("{s:.1}")]).collect();
    let total: f64 = findings.seconds.iter().map(|(_, s)| s).sum();
    rows.push(vec!["all".into(), format!("{total:.1}")]);
    print_table(&["time of each step", "s"], &rows)?;
    say!("\n{}", READ_AS.join("\n"));
    let report = out.join("report.html");
    say!("\nPictures: {}\n", report.display());
    say!("On your own photos:");
    say!("  hebb pretrain PHOTOS --out runs/photos");
    say!("  hebb index PHOTOS --model runs/photos --out gallery");
    say!("  hebb search gallery PHOTO.jpg");
    Ok(())
}
