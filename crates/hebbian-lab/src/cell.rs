//! A cell's work: cut, fine-tune or classify as it is, score, rank.

use std::path::{Path, PathBuf};

use hebbian::engine::Device;
use hebbian::error::Result;
use hebbian::network::{FeatureLayer, Model};
use hebbian::train::{
    self, FinetuneConfig, LabelledImages, Protocol, RunFolder, Stop, accuracy, check_labels,
    finetune, score,
};
use hebbian_data::Dataset;
use serde::Serialize;

use crate::data::{Draw, labels_in, select};
use crate::frozen::{Frozen, Source};
use crate::key::Key;
use crate::results::{CellResult, load, save};
use crate::spec::{Classifier, same};
use crate::stage::Stage;
use crate::stopwatch::Stopwatch;
use crate::{Cell, Data, Experiment, counter, machine, retrieval};

/// Version of what a cell's name stands for; a change of the program that
/// changes results beyond rounding raises it.
const FORMAT_VERSION: u32 = 1;

/// Everything that decides a cell.
#[derive(Serialize)]
struct Record<'a> {
    format_version: u32,
    stage: &'a str,
    layer: &'a str,
    seed: u64,
    labelled: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation: Option<String>,
    test: String,
    classifier: Classifier,
    finetune: &'a FinetuneConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    retrieval: Option<Ranked<'a>>,
}

/// What a cell's rankings are made of.
#[derive(Serialize)]
struct Ranked<'a> {
    gallery: String,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    features: &'a [String],
    ks: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate: Option<usize>,
}

/// A cell with its place in an OUT folder.
pub(crate) struct Job<'a> {
    experiment: &'a Experiment,
    data: &'a Data,
    cell: Cell<'a>,
    draw: &'a Draw,
    labelled: Vec<usize>,
    key: Key,
    out: PathBuf,
    /// What an earlier run found, elsewhere.
    known: Option<CellResult>,
}

impl<'a> Job<'a> {
    /// The job of `cell` after `stage`.
    pub(crate) fn new(
        experiment: &'a Experiment,
        data: &'a Data,
        cell: Cell<'a>,
        draw: &'a Draw,
        stage: &Stage<'_>,
        out: &Path,
    ) -> Result<Self> {
        let labelled = data.labelled(draw, cell.fraction)?;
        let published = experiment.finetune.protocol == Protocol::Published;
        let ranked = is_ranked(experiment, &cell);
        let record = Record {
            format_version: FORMAT_VERSION,
            stage: stage.id(),
            layer: cell.layer,
            seed: cell.seed,
            labelled: data.labelled_digest(&labelled),
            validation: published.then(|| data.labelled_digest(&draw.split.validation)),
            test: data.judges_digest(draw),
            classifier: experiment.classifier,
            finetune: &experiment.finetune,
            retrieval: ranked.then_some(experiment.retrieval.as_ref()).flatten().map(|asked| {
                let gallery = data.labelled_digest(&draw.split.train);
                Ranked {
                    gallery,
                    features: &asked.features,
                    ks: &asked.ks,
                    truncate: asked.truncate,
                }
            }),
        };
        let key = Key::of(&record)?;
        let (out, known) = (out.to_owned(), None);
        Ok(Self { experiment, data, cell, draw, labelled, key, out, known })
    }

    /// The same, with what an earlier run found.
    pub(crate) fn knowing(self, known: Option<CellResult>) -> Self {
        Self { known, ..self }
    }

    /// Its name.
    pub(crate) fn id(&self) -> &str {
        &self.key.id
    }

    /// Its repetition's images.
    pub(crate) fn draw(&self) -> &Draw {
        self.draw
    }

    /// Labels it trains on.
    pub(crate) fn labels(&self) -> usize {
        self.labelled.len()
    }

    fn path(&self) -> PathBuf {
        self.out.join("cells").join(format!("{}.json", self.key.id))
    }

    /// Whether it is finished, or known from an earlier run.
    pub(crate) fn is_done(&self) -> bool {
        self.path().is_file() || self.known.is_some()
    }

    /// Whether it is known from an earlier run only.
    pub(crate) fn is_known(&self) -> bool {
        self.known.is_some() && !self.path().is_file()
    }

    /// What it found, if it is finished.
    pub(crate) fn result(&self) -> Result<Option<CellResult>> {
        let path = self.path();
        let found = if path.is_file() { Some(load(&path)?) } else { self.known.clone() };
        // The same numbers may belong to a cell of another name, in a file
        // that was edited: they are this one's too.
        Ok(found.map(|found: CellResult| CellResult {
            experiment: self.experiment.name.clone(),
            data: self.experiment.data.name.clone(),
            method: self.cell.method.name.clone(),
            ..found
        }))
    }

    /// Does it; goes on from where a killed process left it. The caller holds
    /// its lock.
    pub(crate) fn run(
        &self,
        stage: &Stage<'_>,
        device: &Device,
        stop: &Stop,
        observer: train::Observer<'_>,
    ) -> Result<CellResult> {
        let work = self.out.join("work").join(&self.key.id);
        fs_err::create_dir_all(&work)?;
        let mut watch = Stopwatch::open(&work);
        let mut ticking = |event: train::Event<'_>| {
            // A clock that can't be written down only forgets.
            let _ = watch.tick();
            observer(event);
        };
        let (train, test) = (&self.data.train, self.data.judges(self.draw));
        let few = select(train, &self.labelled);
        check_labels(&few, train.classes())?;
        let Judged { model, protocol, accuracy, top5, test_images } =
            match &self.experiment.classifier {
                Classifier::FineTuned => {
                    let run = RunFolder::resume(&work.join("finetune"), &self.key.text)?;
                    let run = run.until(stop.clone());
                    let model = self.finetuned(stage, &few, run, device, &mut ticking)?;
                    self.judge(model, &test, device, &mut ticking)?
                }
                Classifier::Frozen(frozen) => {
                    let sets = (&few, &test);
                    self.frozen(stage, frozen, sets, &work, device, &mut ticking)?
                }
            };
        let seconds = watch.seconds();
        let mut ranked = None;
        if let Some(asked) = self.experiment.retrieval.as_ref().filter(|_| self.is_ranked()) {
            let gallery = train.subset(&self.draw.split.train);
            let show = self.cell.first.then(|| self.strips_path());
            let folder = work.join("gallery");
            let sets = (&gallery, &test);
            let found =
                retrieval::rank(&model, sets, asked, &folder, device, &mut |e| observer(e))?;
            if let Some(path) = show {
                save(&path, &found.strips)?;
            }
            ranked = Some(found.report);
        }
        let config = &self.experiment.finetune;
        let mut settings = stage.config();
        settings["finetune"] = serde_json::to_value(config).unwrap_or_default();
        settings["classifier"] =
            serde_json::to_value(self.experiment.classifier).unwrap_or_default();
        let result = CellResult {
            experiment: self.experiment.name.clone(),
            data: self.experiment.data.name.clone(),
            method: self.cell.method.name.clone(),
            layer: self.cell.layer.to_owned(),
            fraction: self.cell.fraction,
            labels: few.labels.len(),
            seed: self.cell.seed,
            split_seed: self.draw.seed,
            protocol,
            accuracy,
            top5,
            test_images,
            skipped: test.len() - test_images,
            retrieval_seconds: ranked.is_some().then(|| watch.seconds() - seconds),
            retrieval: ranked,
            seconds,
            peak_memory_mib: machine::peak_memory_mib(),
            id: Some(self.key.id.clone()),
            stage: Some(stage.id().to_owned()),
            config: settings,
            code_version: machine::code_version().into(),
            machine: machine::name(),
            device: device.to_string(),
            finished: Some(machine::now()),
        };
        save(&self.path(), &result)?;
        fs_err::remove_dir_all(&work)?;
        Ok(result)
    }

    /// Where the strips of its rankings are kept.
    fn strips_path(&self) -> PathBuf {
        retrieval::strips_path(&self.out, &self.key.id)
    }

    fn is_ranked(&self) -> bool {
        is_ranked(self.experiment, &self.cell)
    }

    /// The stage's network, cut to the cell's layer.
    fn cut(&self, stage: &Stage<'_>) -> Result<Model> {
        let mut model = stage.model()?;
        let depth = model.network.depth_of(self.cell.layer)?;
        model.network = model.network.cut(depth);
        Ok(model)
    }

    /// A network with a classifier, judged by `test`.
    fn judge(
        &self,
        model: Model,
        test: &Dataset,
        device: &Device,
        observer: train::Observer<'_>,
    ) -> Result<Judged> {
        let truth = labels_in(test, self.data.train.classes());
        let scores = score(&model, &test.images(), device, "testing", observer)?;
        Ok(Judged {
            protocol: model.provenance.protocol.clone(),
            accuracy: accuracy(&scores, 1, |row| truth[row]),
            top5: Some(accuracy(&scores, 5, |row| truth[row])),
            test_images: scores.rows.len(),
            model,
        })
    }

    /// A classifier of the layer's features as they are. A killed one starts
    /// over: it takes little beside what made the features.
    fn frozen(
        &self,
        stage: &Stage<'_>,
        frozen: &Frozen,
        (few, test): (&LabelledImages, &Dataset),
        work: &Path,
        device: &Device,
        observer: train::Observer<'_>,
    ) -> Result<Judged> {
        let folder = work.join("features");
        if folder.exists() {
            fs_err::remove_dir_all(&folder)?;
        }
        fs_err::create_dir_all(&folder)?;
        let (model, classes) = (self.cut(stage)?, self.data.train.classes());
        let layer = FeatureLayer::of(&model, None)?;
        let source = Source { model: &model, layer, device, classes: classes.len() };
        let known: Vec<_> = few.labels.iter().copied().map(Some).collect();
        let mut features = source.write(&few.images, &known, &folder.join("train"), observer)?;
        let (images, truth) = (test.images(), labels_in(test, classes));
        let mut asked = source.write(&images, &truth, &folder.join("test"), observer)?;
        if let Some(components) = frozen.nystroem {
            features.map(&mut asked, components, self.cell.seed, &folder)?;
        }
        let (config, seed) = (&self.experiment.finetune, self.cell.seed);
        // Known from the settings, and the same for all cells: not said again and again.
        let trained = features.train(frozen, config, seed, observer, |_| {})?;
        let mut count = counter("testing", observer);
        let accuracy = features.accuracy(&trained, &asked, &mut count)?;
        let (protocol, test_images) = ("strict".to_owned(), asked.labels.len());
        drop(count);
        Ok(Judged { model, protocol, accuracy, top5: None, test_images })
    }

    /// The stage's network, cut to the cell's layer and tuned end to end.
    fn finetuned(
        &self,
        stage: &Stage<'_>,
        few: &LabelledImages,
        mut run: RunFolder,
        device: &Device,
        observer: train::Observer<'_>,
    ) -> Result<Model> {
        if run.model_path().join("model.toml").is_file() {
            return Model::load(&run.model_path());
        }
        let from = run.load()?;
        let model = match &from {
            Some(checkpoint) => checkpoint.model.clone(),
            None => self.cut(stage)?,
        };
        let train = &self.data.train;
        let config = &self.experiment.finetune;
        let validation = (config.protocol == Protocol::Published)
            .then(|| select(train, &self.draw.split.validation));
        let (validation, classes) = (validation.as_ref(), train.classes());
        let run_in = Some(&mut run);
        let made =
            finetune(model, few, validation, classes, config, device, run_in, from, observer)?;
        run.finish(&made.0)?;
        Ok(made.0)
    }
}

/// A classifier's judgement, with the network of its features.
struct Judged {
    model: Model,
    protocol: String,
    accuracy: f64,
    top5: Option<f64>,
    /// Images that could be read.
    test_images: usize,
}

/// Whether a cell's features are ranked.
pub(crate) fn is_ranked(experiment: &Experiment, cell: &Cell<'_>) -> bool {
    experiment.retrieval.as_ref().is_some_and(|asked| {
        asked.layers.iter().any(|layer| layer == cell.layer)
            && asked.fractions.iter().any(|&fraction| same(fraction, cell.fraction))
    })
}
