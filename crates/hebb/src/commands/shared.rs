//! What several verbs need: data sets, models, runs, labels.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hebbian::error::Error;
use hebbian::network::Model;
use hebbian::train::{Checkpoint, LabelledImages, RunFolder};
use hebbian_data::{
    Amount, Dataset, Images, OpenOptions, Part, Share, Size, Skipped, labelled_subset,
};
pub use hebbian_lab::data::{labels_in, select};
use hebbian_search::{Gallery, Store};
use hebbian_stores::{ServerStore, check_address, is_address};
use serde::Serialize;

use crate::cli::{AmountArgs, Common, DataArgs, PartArg, RunArgs};
use crate::dashboard;
use crate::interrupt::stoppable;
use crate::processes::Processes;
use crate::ui::{Progress, report_skipped};

/// Opens a data set with the labels given beside it.
pub fn open(args: &DataArgs) -> Result<Dataset> {
    let part = match args.part {
        PartArg::All => Part::All,
        PartArg::Train => Part::Train,
        PartArg::Test => Part::Test,
    };
    Ok(Dataset::open_with(&args.data, &OpenOptions { labels: args.labels.clone(), part })?)
}

/// A process's share of a data set, or all of it.
pub fn share_of(data: Dataset, share: Option<Share>) -> Dataset {
    match share {
        None => data,
        Some(share) => data.subset(&share.rows(data.len()).collect::<Vec<_>>()),
    }
}

/// The images, through the decoded cache where one is asked for.
pub fn cached(
    images: Images,
    common: &Common,
    size: Size,
    progress: &mut Progress,
) -> Result<Images> {
    match &common.cache {
        None => Ok(images),
        Some(folder) => Ok(images.cached(folder, size, &mut progress.counter("decoding"))?),
    }
}

/// The model that the first process makes, for all of them.
pub fn model_of_first(
    processes: &Processes,
    make: impl FnOnce() -> Result<Model>,
) -> Result<Model> {
    if !processes.group().is_shared() {
        return make();
    }
    let bytes = processes.of_first(|| {
        let (text, tensors) = make()?.to_files()?;
        Ok([&(text.len() as u64).to_le_bytes(), text.as_bytes(), &tensors].concat())
    })?;
    let path = Path::new("the model of process 0");
    let parts = || {
        let (len, rest) = bytes.split_first_chunk()?;
        let (text, tensors) = rest.split_at_checked(u64::from_le_bytes(*len) as usize)?;
        Some((std::str::from_utf8(text).ok()?, tensors))
    };
    let (text, tensors) = parts().ok_or_else(|| Error::file(path, "came in pieces"))?;
    Ok(Model::from_files(path, text, path, tensors)?)
}

/// Loads a model from a model folder, or from a run folder that holds one.
pub fn load_model(path: &Path) -> Result<Model> {
    Ok(Model::load(&model_folder(path)?)?)
}

fn model_folder(path: &Path) -> Result<PathBuf> {
    let inside = path.join("model");
    if inside.join("model.toml").is_file() {
        return Ok(inside);
    }
    if path.join("config.toml").is_file() && !path.join("model.toml").is_file() {
        let problem = "the run in this folder is not finished; go on with it with --resume";
        return Err(Error::file(path, problem).into());
    }
    Ok(path.to_owned())
}

/// The depth of a layer named on the command line, or of the last.
pub fn depth(model: &Model, layer: Option<&str>) -> Result<usize> {
    match layer {
        None => Ok(model.network.depth()),
        Some(layer) => Ok(model.network.depth_of(layer)?),
    }
}

/// Makes or reopens a run folder, which only the first of several processes
/// writes; all go on from the same checkpoint.
pub fn open_run(
    args: &RunArgs,
    config: &str,
    processes: &Processes,
) -> Result<(Option<RunFolder>, Option<Checkpoint>)> {
    processes.check_same("settings or paths", config)?;
    let mut run = None;
    let step = processes.of_first(|| {
        let (folder, from) = open_first(args, config)?;
        let step = from.as_ref().map(|checkpoint| checkpoint.cursor.step);
        run = Some((folder, from));
        Ok(serde_json::to_vec(&step)?)
    })?;
    let Some((folder, from)) = run else {
        let step: Option<usize> = serde_json::from_slice(&step)?;
        let from = step.map(|step| Checkpoint::of_step(&args.out, step)).transpose();
        return Ok((None, processes.agree(from.map_err(Into::into))?));
    };
    Ok((Some(folder), processes.agree(Ok(from))?))
}

fn open_first(args: &RunArgs, config: &str) -> Result<(RunFolder, Option<Checkpoint>)> {
    if args.dashboard {
        dashboard::check("--dashboard")?;
    }
    let run = if args.resume {
        RunFolder::resume(&args.out, config)?
    } else {
        RunFolder::create(&args.out, config, args.overwrite)?
    };
    let from = run.load()?;
    Ok((run.every(args.checkpoint_every), from))
}

/// How to go on with a run that was stopped.
const GO_ON: &str = "go on with the same command and --resume";

/// Trains a run, which signals stop, with its dashboard if that is asked for; returns the run and
/// what came of it. A process without the run's folder trains along, and is stopped by the one
/// that has it.
pub fn trained(
    args: &RunArgs,
    run: Option<RunFolder>,
    progress: &mut Progress,
    train: impl FnOnce(Option<&mut RunFolder>, &mut Progress) -> hebbian::Result<(Model, Vec<Skipped>)>,
) -> Result<Option<(RunFolder, Model, Vec<Skipped>)>> {
    let shown = (args.dashboard && run.is_some()).then_some(args.out.as_path());
    let tell = run.is_some() && shown.is_none();
    if shown.is_some() {
        progress.silence(true);
    }
    let trained = stoppable(GO_ON, (shown, tell), |stop| {
        let mut run = run.map(|run| run.until(stop));
        let (model, skipped) = train(run.as_mut(), progress)?;
        Ok(run.map(|run| (run, model, skipped)))
    });
    if shown.is_some() {
        progress.silence(false);
    }
    if let Ok(Some((_, _, skipped))) = &trained
        && shown.is_some()
        && !skipped.is_empty()
    {
        report_skipped(skipped);
    }
    trained
}

/// The labelled images of a data set: all of them, or the share asked for.
pub fn labelled(data: &Dataset, amount: &AmountArgs, seed: u64) -> Result<LabelledImages> {
    let labels = data.labels();
    let with_label: Vec<usize> = (0..data.len()).filter(|&i| labels[i].is_some()).collect();
    if with_label.is_empty() {
        let problem = "none of its images has a label; give class folders or --labels FILE.csv";
        return Err(Error::file(data.path(), problem).into());
    }
    let amount_of = match (amount.fraction, amount.count) {
        (Some(fraction), _) => Some(Amount::Fraction(fraction)),
        (None, Some(count)) => Some(Amount::Count(count)),
        (None, None) => None,
    };
    let chosen = match amount_of {
        None => with_label,
        Some(of) => labelled_subset(&with_label, &labels, of, !amount.unstratified, seed)
            .map_err(|e| Error::config("--fraction", e.to_string()))?,
    };
    Ok(select(data, &chosen))
}

/// An address of a server, if it is one.
pub fn address<'a>(option: &str, text: &'a str) -> Result<&'a str> {
    check_address(text).map_err(|error| Error::config(option, error.to_string()))?;
    Ok(text)
}

/// What can be searched: a gallery in a folder, or where one was pushed to.
pub enum Searched {
    /// In a folder.
    Folder(Gallery),
    /// On a server.
    Server(ServerStore),
}

impl Searched {
    /// Opens what `path` names.
    pub fn open(path: &Path) -> Result<Self> {
        match path.to_str().filter(|text| is_address(text)) {
            Some(text) => Ok(Self::Server(ServerStore::open(address("GALLERY", text)?)?)),
            None => Ok(Self::Folder(Gallery::open(path)?)),
        }
    }

    /// As any store.
    pub fn store(&self) -> &dyn Store {
        match self {
            Self::Folder(gallery) => gallery,
            Self::Server(store) => store,
        }
    }
}

/// Absolute path for records; the path as given where there is none.
pub fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Writes a value as JSON to standard output.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    std::io::stdout().write_all(text.as_bytes()).context("standard output")?;
    Ok(())
}

/// Holds that a file may be written: it is not there, or may be replaced.
pub fn may_write(path: &Path, overwrite: bool) -> Result<()> {
    match path.exists() && !overwrite {
        false => Ok(()),
        true => Err(Error::file(path, "exists; give --overwrite to replace it").into()),
    }
}

/// A CSV field, in quotes where it needs them.
pub fn csv_field(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}
