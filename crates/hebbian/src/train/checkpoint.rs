//! Run folders and checkpoints: a killed run goes on from its last checkpoint
//! to the same bits as one never killed.
//!
//! ```text
//! RUN/config.toml          what was asked for
//!     metrics.jsonl        one line a logged step
//!     events.out.tfevents* the same for TensorBoard
//!     skipped.jsonl        the images that were left out
//!     checkpoints/NNNNNNNN a model folder, with state.toml and, in
//!                          fine-tuning, optimizer.safetensors
//!     model/               the finished model
//! ```

use std::path::{Path, PathBuf};
use std::time::Instant;

use hebbian_data::Skipped;
use serde::{Deserialize, Serialize};

use super::events::EventFile;
use super::metrics::{append, forget_after, skipped_of_epoch};
use super::{Every, Stop};
use crate::error::{Error, Result};
use crate::network::{Model, Tensors, toml_problem, write_atomically};

/// Version of the checkpoint folder.
const FORMAT_VERSION: u32 = 1;
/// The list of the images that were left out.
const SKIPPED: &str = "skipped.jsonl";
/// Checkpoints kept.
const KEEP: usize = 2;

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Turn of a successive pre-training: index of the layer that learns.
    pub turn: usize,
    /// Epoch, from 0, within the turn.
    pub epoch: usize,
    /// Batches done of that epoch.
    pub batch: usize,
    /// Steps done in all.
    pub step: usize,
    /// Sums over the epoch so far, for its metrics.
    #[serde(default)]
    pub sums: Vec<f64>,
    /// The same since the last line of metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<f64>,
}

impl Cursor {
    /// Adds to both sums.
    pub(super) fn add(&mut self, values: [f64; 3]) {
        for sums in [&mut self.sums, &mut self.recent] {
            sums.resize(values.len(), 0.0);
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    format_version: u32,
    cursor: Cursor,
}

/// What a run is resumed from.
pub struct Checkpoint {
    /// The model as it was.
    pub model: Model,
    /// Where the run stood.
    pub cursor: Cursor,
    /// Momentum and the like.
    pub extra: Tensors,
    /// Images left out in the epoch so far.
    pub skipped: Vec<Skipped>,
}

impl Checkpoint {
    /// That of step `step` of the run in folder `run`, for a process that has no
    /// part in writing it.
    pub fn of_step(run: &Path, step: usize) -> Result<Self> {
        Self::read(run, &run.join("checkpoints").join(name(step)))
    }

    fn read(run: &Path, folder: &Path) -> Result<Self> {
        let path = folder.join("state.toml");
        let text = fs_err::read_to_string(&path)?;
        let cursor = parse_state(&path, &text)?;
        let model = Model::load(folder)?;
        let path = folder.join("optimizer.safetensors");
        let extra = Tensors::from_bytes(&path, &fs_err::read(&path)?)?;
        let left_out = forget_after(&run.join(SKIPPED), cursor.step)?;
        let skipped = skipped_of_epoch(left_out, &cursor);
        Ok(Self { model, cursor, extra, skipped })
    }
}

/// Name of the checkpoint of a step.
fn name(step: usize) -> String {
    format!("{step:08}")
}

/// A run's folder.
pub struct RunFolder {
    path: PathBuf,
    every: Every,
    last: Instant,
    stop: Stop,
    events: EventFile,
}

impl RunFolder {
    /// Makes a new run folder holding `config` (the text of `config.toml`).
    ///
    /// # Errors
    /// If the folder is in use, unless `overwrite`.
    pub fn create(path: &Path, config: &str, overwrite: bool) -> Result<Self> {
        let used = path.is_dir() && !is_unused(path)?;
        if used && !overwrite {
            let problem = "is in use; give --resume to go on, --overwrite to start anew, \
                           or another folder";
            return Err(Error::file(path, problem));
        }
        if used {
            if !path.join("config.toml").is_file() {
                let problem = "is no run folder, so it is not overwritten; give another folder";
                return Err(Error::file(path, problem));
            }
            fs_err::remove_dir_all(path)?;
        }
        fs_err::create_dir_all(path.join("checkpoints"))?;
        write_atomically(&path.join("config.toml"), config.as_bytes())?;
        Ok(Self::at(path))
    }

    /// Opens a run folder to go on with it, or makes it where there is none.
    ///
    /// # Errors
    /// If the folder is in use by something else, or its run was started with
    /// another configuration.
    pub fn resume(path: &Path, config: &str) -> Result<Self> {
        let file = path.join("config.toml");
        if !file.is_file() {
            return Self::create(path, config, false);
        }
        let found = fs_err::read_to_string(&file)?;
        if found != config {
            let line = found.lines().zip(config.lines()).position(|(a, b)| a != b);
            let line = line.unwrap_or_else(|| found.lines().count().min(config.lines().count()));
            let was = found.lines().nth(line).unwrap_or("nothing");
            let now = config.lines().nth(line).unwrap_or("nothing");
            let problem = format!(
                "line {}: the run was started with '{was}', not '{now}'; resume it with the \
                 same settings",
                line + 1
            );
            return Err(Error::file(file, problem));
        }
        Ok(Self::at(path))
    }

    fn at(path: &Path) -> Self {
        let (every, last, stop) = (Every::default(), Instant::now(), Stop::default());
        Self { path: path.to_owned(), every, last, stop, events: EventFile::of(path) }
    }

    /// Sets how often [`RunFolder::due`] asks for a checkpoint.
    #[must_use]
    pub fn every(self, every: Every) -> Self {
        Self { every, ..self }
    }

    /// Lets the run be stopped.
    #[must_use]
    pub fn until(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the finished model.
    ///
    /// # Errors
    /// If it can't be written; the run goes on from its last checkpoint.
    pub fn finish(&self, model: &Model) -> Result<()> {
        let path = self.model_path();
        model.save(&path).map_err(|error| Error::unwritten(path, error))
    }

    /// Where the finished model goes.
    pub fn model_path(&self) -> PathBuf {
        self.path.join("model")
    }

    /// Whether it is time for a checkpoint after step `step`: by the clock, by
    /// the steps, or since the run is to stop.
    pub fn due(&self, step: usize) -> bool {
        let regular = match self.every {
            Every::Time(time) => self.last.elapsed() >= time,
            Every::Steps(steps) => step.is_multiple_of(steps),
        };
        regular || self.stop.is_asked()
    }

    /// Whether the run goes on from step `step`, whose checkpoint is saved.
    ///
    /// # Errors
    /// [`Error::Stopped`] if it was asked to stop.
    pub fn go_on(&self, step: usize) -> Result<()> {
        if self.stop.is_asked() { Err(Error::Stopped { step }) } else { Ok(()) }
    }

    /// Writes a checkpoint and removes the oldest ones. Where there is no room
    /// for it, those but the last are removed first.
    ///
    /// # Errors
    /// If it can't be written; the last one stays as it was.
    pub fn save(&mut self, model: &Model, cursor: &Cursor, extra: &Tensors) -> Result<()> {
        if self.write(model, cursor, extra).is_err() {
            self.keep(1)?;
            let name = self.path.join("checkpoints").join(name(cursor.step));
            let unwritten = |error| Error::unwritten(name, error);
            self.write(model, cursor, extra).map_err(unwritten)?;
        }
        self.keep(KEEP)?;
        self.last = Instant::now();
        Ok(())
    }

    /// Removes all checkpoints but the last `count`.
    fn keep(&self, count: usize) -> Result<()> {
        let mut found = self.checkpoints()?;
        found.truncate(found.len().saturating_sub(count));
        found.iter().try_for_each(fs_err::remove_dir_all)?;
        Ok(())
    }

    fn write(&self, model: &Model, cursor: &Cursor, extra: &Tensors) -> Result<()> {
        let name = name(cursor.step);
        let folder = self.path.join("checkpoints").join(&name);
        if folder.is_dir() {
            return Ok(());
        }
        let beside = self.path.join("checkpoints").join(format!("{name}.tmp"));
        if beside.exists() {
            fs_err::remove_dir_all(&beside)?;
        }
        let write = || -> Result<()> {
            model.save(&beside)?;
            let extra = extra.to_bytes()?;
            write_atomically(&beside.join("optimizer.safetensors"), &extra)?;
            let state = StateFile { format_version: FORMAT_VERSION, cursor: cursor.clone() };
            let path = beside.join("state.toml");
            let state = toml::to_string(&state).map_err(|e| Error::file(&path, e.to_string()))?;
            write_atomically(&path, state.as_bytes())?;
            fs_err::rename(&beside, &folder)?;
            Ok(())
        };
        write().inspect_err(|_| {
            let _ = fs_err::remove_dir_all(&beside);
        })
    }

    /// The last checkpoint, if there is one; leftovers of a killed run are
    /// swept away.
    pub fn load(&self) -> Result<Option<Checkpoint>> {
        for entry in fs_err::read_dir(self.path.join("checkpoints"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "tmp") {
                fs_err::remove_dir_all(path)?;
            }
        }
        let Some(folder) = self.checkpoints()?.pop() else { return Ok(None) };
        let checkpoint = Checkpoint::read(&self.path, &folder)?;
        let step = checkpoint.cursor.step;
        self.events.replace_earlier(&forget_after(&self.metrics_path(), step)?)?;
        Ok(Some(checkpoint))
    }

    fn checkpoints(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs_err::read_dir(self.path.join("checkpoints"))? {
            let path = entry?.path();
            if path.extension().is_none() && path.is_dir() {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The list of the images that were left out.
    pub fn skipped_path(&self) -> PathBuf {
        self.path.join(SKIPPED)
    }

    /// Adds a line to `metrics.jsonl`, and its numbers to TensorBoard's file.
    pub(super) fn log(&self, line: &impl Serialize) -> Result<()> {
        let path = self.metrics_path();
        append(&path, [line].into_iter())?;
        let value = serde_json::to_value(line).map_err(|e| Error::file(&path, e.to_string()))?;
        self.events.add(&[value])
    }

    /// Adds images that were left out to their list.
    pub(super) fn note_skipped<T: Serialize>(&self, images: impl Iterator<Item = T>) -> Result<()> {
        append(&self.skipped_path(), images)
    }
}

/// Whether a folder holds nothing, or what a run leaves that was killed before
/// its `config.toml` was written.
fn is_unused(path: &Path) -> Result<bool> {
    for entry in fs_err::read_dir(path)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let name = name.to_string_lossy();
        let leftover = match &*name {
            "checkpoints" => path.is_dir() && fs_err::read_dir(&path)?.next().is_none(),
            _ => name.starts_with("config.toml.") && name.ends_with(".tmp"),
        };
        if !leftover {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads a checkpoint's `state.toml`; `path` is for messages.
fn parse_state(path: &Path, text: &str) -> Result<Cursor> {
    let state: StateFile =
        toml::from_str(text).map_err(|e| Error::file(path, toml_problem(&e, text)))?;
    if state.format_version != FORMAT_VERSION {
        let version = state.format_version;
        let problem = format!("format_version is {version}; this program reads {FORMAT_VERSION}");
        return Err(Error::file(path, problem));
    }
    Ok(state.cursor)
}
