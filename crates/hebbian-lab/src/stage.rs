//! Stages: what cells share, made once, named by everything that decides it.

use std::path::{Path, PathBuf};

use hebbian::engine::Device;
use hebbian::error::{Error, Result};
use hebbian::network::{FeatureLayer, HeadKind, Model, NetworkSpec};
use hebbian::rules;
use hebbian::train::{
    self, FinetuneConfig, LabelledFeatures, PretrainConfig, RunFolder, Scores, Stop, VaeConfig,
    accuracy, for_each_features, pretrain, pretrain_pca, pretrain_vae, train_head,
};
use hebbian_data::{Preprocess, Size, Whitening};
use serde::Serialize;
use serde_json::json;

use crate::data::{Draw, labels_in, select};
use crate::frozen::WEIGHT_DECAY;
use crate::key::Key;
use crate::results::{Probe, StageResult, load, save};
use crate::spec::Convergence;
use crate::stopwatch::Stopwatch;
use crate::{Data, Experiment, Method, Pretraining, counter, machine};

/// Version of what a stage's name stands for; a change of the program that
/// changes results beyond rounding raises it.
const FORMAT_VERSION: u32 = 1;

/// Everything that decides a stage.
#[derive(Serialize)]
struct Record<'a> {
    format_version: u32,
    /// The very images it learns from, in their order.
    images: String,
    seed: u64,
    whitening: Whitening,
    smoothing: f64,
    pretraining: &'a Pretraining,
    network: &'a NetworkSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    convergence: Option<Look<'a>>,
}

/// What the probes of a stage are made with.
#[derive(Serialize)]
struct Look<'a> {
    labelled: String,
    test: String,
    #[serde(flatten)]
    asked: &'a Convergence,
    finetune: FinetuneConfig,
}

/// A stage: a method's network with the seed of a repetition, before it sees
/// a label.
pub(crate) struct Stage<'a> {
    experiment: &'a Experiment,
    data: &'a Data,
    method: &'a Method,
    draw: &'a Draw,
    seed: u64,
    convergence: Option<&'a Convergence>,
    key: Key,
    folder: PathBuf,
    /// What it took in an earlier run, which left no model here.
    known: Option<StageResult>,
}

impl<'a> Stage<'a> {
    /// The stage of `method` in the repetition of seed `seed`, in `out`.
    pub(crate) fn new(
        experiment: &'a Experiment,
        data: &'a Data,
        method: &'a Method,
        (draw, seed): (&'a Draw, u64),
        out: &Path,
    ) -> Result<Self> {
        // The first repetition alone is looked at on its way.
        let first = experiment.seeds().first() == Some(&seed);
        let convergence = experiment.convergence.as_ref();
        let convergence = convergence.filter(|_| first && method.pretraining.has_epochs());
        let look = match convergence {
            None => None,
            Some(asked) => Some(Look {
                labelled: data.labelled_digest(&data.labelled(draw, asked.fraction)?),
                test: data.judges_digest(draw),
                asked,
                finetune: probe_config(),
            }),
        };
        let record = Record {
            format_version: FORMAT_VERSION,
            images: data.images_digest(&draw.split.train),
            seed,
            whitening: method.whitening,
            smoothing: method.smoothing,
            pretraining: &method.pretraining,
            network: &method.network,
            convergence: look,
        };
        let key = Key::of(&record)?;
        let folder = out.join("stages").join(&key.id);
        Ok(Self { experiment, data, method, draw, seed, convergence, key, folder, known: None })
    }

    /// The same, with what it took in an earlier run.
    pub(crate) fn knowing(self, known: Option<StageResult>) -> Self {
        Self { known, ..self }
    }

    /// Its name.
    pub(crate) fn id(&self) -> &str {
        &self.key.id
    }

    /// Images it learns from.
    pub(crate) fn images_len(&self) -> usize {
        self.draw.split.train.len()
    }

    fn path(&self) -> PathBuf {
        self.folder.join("stage.json")
    }

    /// Where it is written that it can't be made.
    fn path_diverged(&self) -> PathBuf {
        self.folder.join("diverged.json")
    }

    /// Whether it is finished, and its model here.
    pub(crate) fn is_made(&self) -> bool {
        self.path().is_file()
    }

    /// Where its numbers diverged, here or in an earlier run: it can't be made.
    pub(crate) fn diverged(&self) -> Result<Option<String>> {
        Ok(self.result()?.and_then(|result| result.diverged))
    }

    /// What it took, if it is finished, has diverged, or is known from an
    /// earlier run.
    pub(crate) fn result(&self) -> Result<Option<StageResult>> {
        let mut paths = [self.path(), self.path_diverged()].into_iter();
        let found = match paths.find(|path| path.is_file()) {
            Some(path) => Some(load(&path)?),
            None => self.known.clone(),
        };
        // It may have been made for a method of another name or file.
        Ok(found.map(|found: StageResult| StageResult {
            experiment: self.experiment.name.clone(),
            data: self.experiment.data.name.clone(),
            method: self.method.name.clone(),
            ..found
        }))
    }

    /// Its model, once it is finished.
    pub(crate) fn model(&self) -> Result<Model> {
        Model::load(&self.folder.join("model"))
    }

    /// Makes it; goes on from where a killed process left it. The caller
    /// holds its lock.
    pub(crate) fn make(
        &self,
        device: &Device,
        stop: &Stop,
        observer: train::Observer<'_>,
    ) -> Result<()> {
        let run = RunFolder::resume(&self.folder, &self.key.text)?;
        let mut run = run.until(stop.clone());
        let mut watch = Stopwatch::open(&self.folder);
        let mut ticking = |event: train::Event<'_>| {
            // A clock that can't be written down only forgets.
            let _ = watch.tick();
            observer(event);
        };
        let work = Work { run: &mut run, device, observer: &mut ticking };
        let epochs = self.method.pretraining.epochs();
        let made = match self.convergence {
            None => self.pretrained(epochs, work).map(|model| (model, Vec::new())),
            Some(asked) => self.pretrained_by_epochs(asked, work),
        };
        let (model, convergence) = match made {
            Ok(made) => made,
            Err(error) => {
                if let Error::Diverged { .. } = error {
                    let diverged = Some(error.to_string());
                    let found = self.found(device, epochs, watch.seconds());
                    save(&self.path_diverged(), &StageResult { diverged, ..found })?;
                    self.clear()?;
                }
                return Err(error);
            }
        };
        run.finish(&model)?;
        let found = self.found(device, model.provenance.pretrained_epochs, watch.seconds());
        save(&self.path(), &StageResult { convergence, ..found })?;
        self.clear()
    }

    /// A record of it.
    fn found(&self, device: &Device, epochs: usize, seconds: f64) -> StageResult {
        StageResult {
            experiment: self.experiment.name.clone(),
            data: self.experiment.data.name.clone(),
            method: self.method.name.clone(),
            seed: self.seed,
            id: self.key.id.clone(),
            images: self.draw.split.train.len(),
            epochs,
            diverged: None,
            seconds,
            convergence: Vec::new(),
            config: self.config(),
            code_version: machine::code_version().into(),
            machine: machine::name(),
            device: device.to_string(),
            finished: machine::now(),
        }
    }

    /// Removes what is not needed once its result is written.
    fn clear(&self) -> Result<()> {
        for leftover in ["checkpoints", "probes.json", "seconds"].map(|n| self.folder.join(n)) {
            if leftover.is_dir() {
                fs_err::remove_dir_all(leftover)?;
            } else if leftover.exists() {
                fs_err::remove_file(leftover)?;
            }
        }
        Ok(())
    }

    /// Its settings, for the records.
    pub(crate) fn config(&self) -> serde_json::Value {
        let mut config = json!({
            "network": self.method.network.name,
            "input": self.method.network.input,
            "whitening": self.method.whitening,
            "smoothing": self.method.smoothing,
            "pretraining": self.method.pretraining,
            "split": {
                "train": self.draw.split.train.len(),
                "validation": self.draw.split.validation.len(),
                "stratified": self.experiment.split.stratified,
            },
        });
        // Test images are not named, as they were not before there was a choice.
        if self.experiment.data.test.is_none() {
            config["judged_on"] = self.experiment.judged_on().into();
        }
        config
    }

    fn images(&self) -> hebbian_data::Images {
        self.data.train.images().subset(&self.draw.split.train)
    }

    /// The network with random weights.
    fn random(&self, observer: train::Observer<'_>) -> Result<Model> {
        let Method { network, whitening, smoothing, pretraining, .. } = self.method;
        let size = Size { height: network.input[0], width: network.input[1] };
        let mut count = counter("channel statistics", observer);
        let preprocess = Preprocess::fit(&self.images(), size, *whitening, *smoothing, &mut count)?;
        match pretraining.rule()? {
            Some(rule) => Model::new(network.clone(), rule.as_ref(), preprocess, self.seed),
            None => Model::without_rule(network.clone(), preprocess, self.seed),
        }
    }

    /// After so many epochs of pre-training, on images alone.
    fn pretrained(&self, epochs: usize, work: Work<'_>) -> Result<Model> {
        let Work { run, device, observer } = work;
        let from = run.load()?;
        let model = match &from {
            Some(checkpoint) => checkpoint.model.clone(),
            None => self.random(observer)?,
        };
        let (images, run) = (self.images(), Some(run));
        let trained = match &self.method.pretraining {
            Pretraining::None => return Ok(model),
            Pretraining::Hebbian { rule, config } => {
                let rule = rules::build(&rule.name, rule.params.clone())?;
                let config = PretrainConfig { epochs, ..config.clone() };
                pretrain(model, rule.as_ref(), &images, &config, device, run, from, observer)?
            }
            Pretraining::Vae { config } => {
                let config = VaeConfig { epochs, ..config.clone() };
                pretrain_vae(model, &images, None, &config, run, from, observer)?
            }
            Pretraining::Pca { config } => {
                pretrain_pca(model, &images, config, device, run, from, observer)?
            }
        };
        Ok(trained.0)
    }

    /// The same, stopped after each epoch for a look. An epoch begins where
    /// the one before it ended, so the model is the same in the end.
    fn pretrained_by_epochs(
        &self,
        asked: &Convergence,
        work: Work<'_>,
    ) -> Result<(Model, Vec<Probe>)> {
        let Work { run, device, observer } = work;
        let epochs = self.method.pretraining.epochs();
        let path = self.folder.join("probes.json");
        let mut probes: Vec<Probe> = if path.is_file() { load(&path)? } else { Vec::new() };
        let done = |probes: &[Probe], epoch| probes.iter().any(|probe| probe.epoch == epoch);
        if !done(&probes, 0) {
            let model = self.random(observer)?;
            self.probe(&model, 0, asked, device, observer, &mut probes)?;
            save(&path, &probes)?;
        }
        for epoch in 1..=epochs {
            if done(&probes, epoch) && epoch < epochs {
                continue;
            }
            let model = self.pretrained(epoch, Work { run, device, observer })?;
            if !done(&probes, epoch) {
                self.probe(&model, epoch, asked, device, observer, &mut probes)?;
                save(&path, &probes)?;
            }
            if epoch == epochs {
                return Ok((model, probes));
            }
        }
        Err(Error::config("pretrain.epochs", "is 0; it must be at least 1"))
    }

    /// A linear classifier on each layer's features as they are, trained with
    /// a share of the labels, judged as the cells are.
    fn probe(
        &self,
        model: &Model,
        epoch: usize,
        asked: &Convergence,
        device: &Device,
        observer: train::Observer<'_>,
        probes: &mut Vec<Probe>,
    ) -> Result<()> {
        let (train, test) = (&self.data.train, self.data.judges(self.draw));
        let few = select(train, &self.data.labelled(self.draw, asked.fraction)?);
        let truth = labels_in(&test, train.classes());
        let (classes, config) = (train.classes().len(), probe_config());
        for layer in &asked.layers {
            let of = FeatureLayer::of(model, Some(layer))?;
            let (mut features, mut labels) = (Vec::new(), Vec::new());
            let name = format!("probe of {layer}");
            for_each_features(model, of, &few.images, device, &name, observer, |rows, f| {
                features.extend(f);
                labels.extend(rows.iter().map(|&row| few.labels[row]));
                Ok(())
            })?;
            let dim = of.len(model);
            let read = |rows: &[usize], out: &mut Vec<f32>| {
                out.clear();
                rows.iter().for_each(|row| out.extend(&features[row * dim..][..dim]));
                Ok(())
            };
            let given = LabelledFeatures { dim, labels: &labels, classes, read: &read };
            let head = train_head(&given, HeadKind::Linear, &config, self.seed, observer)?;
            let mut scores = Scores { classes, ..Scores::default() };
            for_each_features(model, of, &test.images(), device, &name, observer, |rows, f| {
                scores.rows.extend(rows);
                scores.scores.extend(head.scores(&f));
                Ok(())
            })?;
            let accuracy = accuracy(&scores, 1, |row| truth[row]);
            probes.push(Probe { epoch, layer: layer.clone(), accuracy });
        }
        Ok(())
    }
}

/// What a stage is made with.
struct Work<'a> {
    run: &'a mut RunFolder,
    device: &'a Device,
    observer: train::Observer<'a>,
}

/// Settings of the probes: as published, with the decay of a classifier on a
/// frozen trunk. Not the experiment's, whose change would make the stage anew.
fn probe_config() -> FinetuneConfig {
    FinetuneConfig { weight_decay: WEIGHT_DECAY, ..FinetuneConfig::default() }
}
