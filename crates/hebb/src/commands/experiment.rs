//! `hebb experiment`: one committed file, one command, one table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::error::Error;
use hebbian::network::{FeatureLayer, Model, toml_problem, write_atomically};
use hebbian::train::{RunFolder, accuracy, finetune, pretrain, score};
use hebbian_data::{Amount, Dataset, OpenOptions, Preprocess, Size, SplitSpec, labelled_subset};
use hebbian_search::Gallery;
use hebbian_search::metrics::{EvaluateOptions, RetrievalReport};
use serde::{Deserialize, Serialize};

use super::eval::Retrieval;
use super::shared::{labels_in, print_json, select};
use crate::cli::ExperimentArgs;
use crate::settings::Settings;
use crate::ui::{Progress, percent, print_table, say};

/// An experiment file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Experiment {
    /// Its name.
    name: String,
    /// The data set.
    data: DataSection,
    /// The split of the training images.
    split: SplitSection,
    /// The labels that fine-tuning sees.
    labels: LabelSection,
    /// Whether the network is pre-trained.
    pretrained: bool,
    /// Layers fine-tuned, each apart.
    layers: Vec<String>,
    /// Network, rule, training.
    #[serde(default)]
    settings: Settings,
    /// Retrieval, after fine-tuning.
    retrieval: Option<RetrievalSection>,
    /// The paper's accuracies, %, by layer.
    #[serde(default)]
    paper: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DataSection {
    /// As it is called in every figure.
    name: String,
    /// Training images, from the folder given with --data.
    train: PathBuf,
    /// Test images.
    test: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitSection {
    train: usize,
    validation: usize,
    seed: u64,
    stratified: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelSection {
    fraction: f64,
    stratified: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetrievalSection {
    /// Layer after whose fine-tuning it is done.
    layer: String,
    /// Features that are ranked, if not those of that layer: `code`,
    /// `code-binary`, `pixels` or a layer below.
    features: Option<String>,
    /// Components of a Nystroem map between features and search, as published
    /// before 2023 (1000); none without it.
    nystroem: Option<usize>,
    /// Ranks reported beside the whole gallery.
    ks: Vec<usize>,
}

impl RetrievalSection {
    /// Name of the features that are ranked.
    fn features(&self) -> &str {
        self.features.as_deref().unwrap_or(&self.layer)
    }

    /// Refuses, before anything is computed, a layer that is not fine-tuned
    /// and features that its model will not have.
    fn check(&self, experiment: &Experiment, depth: usize, file: &Path) -> Result<()> {
        let wrong = |field: &str, problem: String| {
            Error::config(format!("{}: retrieval.{field}", file.display()), problem)
        };
        if !experiment.layers.contains(&self.layer) {
            let layers = experiment.layers.join(", ");
            let problem = format!("'{}' is not among layers: {layers}", self.layer);
            return Err(wrong("layer", problem).into());
        }
        let layer = FeatureLayer::parse(&self.layer, depth, false);
        let depth = match layer.map_err(|problem| wrong("layer", problem))? {
            FeatureLayer::Layer(depth) => depth,
            _ => return Err(wrong("layer", "is not fine-tuned".into()).into()),
        };
        let field = format!("{}: retrieval.nystroem", file.display());
        super::kernel::check(&field, self.nystroem)?;
        let has_code = !experiment.settings.finetune.classifier.is_linear();
        FeatureLayer::parse(self.features(), depth, has_code)
            .map_err(|problem| wrong("features", problem))?;
        Ok(())
    }
}

/// One line of the results.
#[derive(Clone, Serialize, Deserialize)]
struct Cell {
    experiment: String,
    data: String,
    rule: String,
    layer: String,
    labels: usize,
    protocol: String,
    accuracy: f64,
    top5: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    paper: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retrieval: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory_mib: Option<u64>,
    seed: u64,
    n: usize,
    test_images: usize,
    skipped: usize,
    seconds: f64,
    code_version: String,
    machine: String,
}

/// Runs an experiment file; what its output folder holds already is kept.
pub fn run(args: &ExperimentArgs) -> Result<()> {
    let device = Device::open(&args.device)?;
    let text = fs_err::read_to_string(&args.file)?;
    let experiment: Experiment = toml::from_str(&text)
        .map_err(|e| Error::config(args.file.display().to_string(), toml_problem(&e, &text)))?;
    let settings = &experiment.settings;
    let spec = settings.network()?;
    let rule = settings.rule()?;
    settings.pretrain.check(spec.blocks.len())?;
    settings.finetune.check()?;
    if let Some(section) = &experiment.retrieval {
        section.check(&experiment, spec.blocks.len(), &args.file)?;
    }
    let size = Size { height: spec.input[0], width: spec.input[1] };
    let open = |path: &Path| Dataset::open_with(&args.data.join(path), &OpenOptions::default());
    let (data, test) = (open(&experiment.data.train)?, open(&experiment.data.test)?);
    let split = SplitSpec {
        train: Some(Amount::Count(experiment.split.train)),
        validation: Amount::Count(experiment.split.validation),
        test: Amount::Count(0),
        seed: experiment.split.seed,
        stratified: experiment.split.stratified,
    };
    let split = split.split(&data.labels())?;
    let LabelSection { fraction, stratified } = experiment.labels;
    let seed = experiment.split.seed;
    let amount = Amount::Fraction(fraction);
    let chosen = labelled_subset(&split.train, &data.labels(), amount, stratified, seed)?;

    fs_err::create_dir_all(&args.out)?;
    let results = args.out.join("results.jsonl");
    let mut cells = done(&results, &args.out.join("experiment.toml"), &text)?;
    let mut progress = Progress::default();
    let train_set = data.subset(&split.train);
    let base = pretrained(&experiment, &train_set, size, &args.out, &device, &mut progress)?;
    let labelled = select(&data, &chosen);
    let truth = labels_in(&test, data.classes());
    for layer in &experiment.layers {
        if cells.iter().any(|cell| cell.layer == *layer) {
            continue;
        }
        let since = Instant::now();
        eprintln!("{}: fine-tuning {layer} with {} labels", experiment.name, labelled.labels.len());
        let mut model = base.clone();
        let depth = model.network.depth_of(layer)?;
        model.network = model.network.cut(depth);
        let mut run = open_run(&args.out.join(layer), &text)?;
        let from = run.load()?;
        let observer = &mut |event: hebbian::train::Event<'_>| progress.on(event);
        let classes = data.classes();
        let config = &settings.finetune;
        let (model, _) = finetune(
            model,
            &labelled,
            None,
            classes,
            config,
            &device,
            Some(&mut run),
            from,
            observer,
        )?;
        model.save(&run.model_path())?;
        let images = test.images();
        let found = score(&model, &images, &device, "test", &mut |event| progress.on(event))?;
        let ranked = match &experiment.retrieval {
            Some(section) if section.layer == *layer => {
                let folder = args.out.join("gallery");
                let report = retrieval(
                    &model,
                    section,
                    settings.seed,
                    (&train_set, &test),
                    &folder,
                    &device,
                    &mut progress,
                )?;
                Some(serde_json::to_value(report)?)
            }
            _ => None,
        };
        cells.push(Cell {
            experiment: experiment.name.clone(),
            data: experiment.data.name.clone(),
            rule: if experiment.pretrained { rule.name().into() } else { "none".into() },
            layer: layer.clone(),
            labels: labelled.labels.len(),
            protocol: model.provenance.protocol.clone(),
            accuracy: accuracy(&found, 1, |row| truth[row]),
            top5: accuracy(&found, 5, |row| truth[row]),
            paper: experiment.paper.get(layer).copied(),
            peak_memory_mib: ranked.as_ref().and_then(|_| peak_memory_mib()),
            retrieval: ranked,
            seed: settings.seed,
            n: 1,
            test_images: found.rows.len(),
            skipped: found.skipped.len(),
            seconds: since.elapsed().as_secs_f64(),
            code_version: env!("CARGO_PKG_VERSION").into(),
            machine: machine(),
        });
        let lines: std::result::Result<Vec<String>, _> =
            cells.iter().map(serde_json::to_string).collect();
        write_atomically(&results, (lines?.join("\n") + "\n").as_bytes())?;
    }
    if let Some(path) = &args.results {
        write_atomically(path, &fs_err::read(&results)?)?;
    }
    if args.json {
        return print_json(&cells);
    }
    print(&experiment, &cells)
}

/// The results of an earlier, stopped run of the same file.
fn done(results: &Path, kept: &Path, text: &str) -> Result<Vec<Cell>> {
    if kept.is_file() && fs_err::read_to_string(kept)? != text {
        let problem = "holds another experiment; give another --out folder";
        return Err(Error::file(kept, problem).into());
    }
    write_atomically(kept, text.as_bytes())?;
    if !results.is_file() {
        return Ok(Vec::new());
    }
    let lines = fs_err::read_to_string(results)?;
    let cells = lines.lines().enumerate().map(|(number, line)| {
        serde_json::from_str(line)
            .map_err(|e| Error::file(results, format!("line {}: {e}", number + 1)).into())
    });
    cells.collect()
}

fn open_run(path: &Path, config: &str) -> Result<RunFolder> {
    if path.join("config.toml").is_file() {
        return Ok(RunFolder::resume(path, config)?);
    }
    Ok(RunFolder::create(path, config, true)?)
}

/// The network before fine-tuning: pre-trained, once, or random.
fn pretrained(
    experiment: &Experiment,
    train: &Dataset,
    size: Size,
    out: &Path,
    device: &Device,
    progress: &mut Progress,
) -> Result<Model> {
    let settings = &experiment.settings;
    let (rule, spec) = (settings.rule()?, settings.network()?);
    let folder = out.join(if experiment.pretrained { "pretrain" } else { "random" });
    if folder.join("model/model.toml").is_file() {
        return Ok(Model::load(&folder.join("model"))?);
    }
    // Pre-training is given images alone.
    let images = train.images();
    let text = settings.to_config(&[("experiment", experiment.name.clone())])?;
    let mut run = open_run(&folder, &text)?;
    let from = run.load()?;
    let model = match &from {
        Some(checkpoint) => checkpoint.model.clone(),
        None => {
            let mut count = progress.counter("channel statistics");
            let whitening = settings.whitening()?;
            let preprocess =
                Preprocess::fit(&images, size, whitening, settings.smoothing, &mut count)?;
            Model::new(spec, rule.as_ref(), preprocess, settings.seed)?
        }
    };
    let model = if experiment.pretrained {
        let config = &settings.pretrain;
        let observer = &mut |event: hebbian::train::Event<'_>| progress.on(event);
        pretrain(model, rule.as_ref(), &images, config, device, Some(&mut run), from, observer)?.0
    } else {
        model
    };
    model.save(&run.model_path())?;
    Ok(model)
}

/// Every test image against every training image.
fn retrieval(
    model: &Model,
    section: &RetrievalSection,
    seed: u64,
    (train, test): (&Dataset, &Dataset),
    folder: &Path,
    device: &Device,
    progress: &mut Progress,
) -> Result<RetrievalReport> {
    let layer = FeatureLayer::of(model, Some(section.features()))?;
    let made = (model, String::new());
    let gallery: Gallery =
        super::index::build(made, layer, train, &train.images(), folder, true, device, progress)?;
    let options = EvaluateOptions { ks: section.ks.clone(), truncate: None, exclude_self: false };
    let how = Retrieval { options, nystroem: section.nystroem, seed };
    super::eval::retrieval(model, &gallery, test, &test.images(), &how, device, progress)
}

fn print(experiment: &Experiment, cells: &[Cell]) -> Result<()> {
    let Some(first) = cells.first() else { return Ok(()) };
    say!(
        "{}: test accuracy, %, on {}, {} labels, protocol {}, n = 1, seed {}",
        experiment.name,
        first.data,
        first.labels,
        first.protocol,
        first.seed
    );
    let rows = cells.iter().map(|cell| {
        let paper = cell.paper.map_or(String::new(), |p| format!("{p:.2}"));
        vec![cell.layer.clone(), percent(cell.accuracy), paper, percent(cell.top5)]
    });
    print_table(&["layer", "ours", "paper", "top-5"], &rows.collect::<Vec<_>>())?;
    for cell in cells {
        if let Some(found) = &cell.retrieval {
            let features = experiment.retrieval.as_ref().map_or("", RetrievalSection::features);
            say!("\nretrieval by {features} features:");
            say!("{found:#}");
        }
        if let Some(peak) = cell.peak_memory_mib {
            say!("peak memory of this process: {peak} MiB");
        }
    }
    Ok(())
}

/// The processor's name and the number of threads.
fn machine() -> String {
    let info = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let name = name.map_or("unknown processor", |(_, name)| name);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {threads} threads")
}

/// Most memory this process has held so far, MiB.
fn peak_memory_mib() -> Option<u64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib >> 10)
}
