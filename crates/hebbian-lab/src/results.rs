//! Lines of results: what a cell or a stage found, and all that is needed to
//! find it again.

use std::collections::BTreeMap;
use std::path::Path;

use hebbian::error::{Error, Result};
use hebbian::network::write_atomically;
use serde::{Deserialize, Serialize};

use crate::spec::same;

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Line {
    /// A cell.
    Cell(Box<CellResult>),
    /// A pre-training that cells share.
    Stage(Box<StageResult>),
}

/// What a cell found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// Name of the experiment.
    pub experiment: String,
    /// Name of the data set.
    pub data: String,
    /// Name of the method.
    pub method: String,
    /// Layer whose features are classified.
    pub layer: String,
    /// Share of the labels.
    pub fraction: f64,
    /// Labels trained on.
    pub labels: usize,
    /// Seed of weights and shuffles.
    pub seed: u64,
    /// Seed of the split and of the labelled few.
    pub split_seed: u64,
    /// Which labels were looked at: `strict` or `published`.
    pub protocol: String,
    /// Share of the test images (of those judged by) classified right.
    pub accuracy: f64,
    /// Share whose class is among the five highest scores, of a network's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// Test images that could be read.
    pub test_images: usize,
    /// Test images that could not.
    pub skipped: usize,
    /// Quality of rankings by the layer's features, where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrieval: Option<serde_json::Value>,
    /// Seconds of fine-tuning and scoring.
    pub seconds: f64,
    /// Seconds of indexing and ranking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrieval_seconds: Option<f64>,
    /// Most memory of the process up to here, MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_mib: Option<u64>,
    /// Hash of everything that decides the result; none in lines from before
    /// there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The stage it went on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Its settings.
    pub config: serde_json::Value,
    /// Version of the program.
    pub code_version: String,
    /// Processor and threads.
    pub machine: String,
    /// Device.
    pub device: String,
    /// When it was done, seconds since 1970 (UTC); unknown for older lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<u64>,
}

impl CellResult {
    /// Its share of the labels, in billionths: a number to sort and look up by.
    pub(crate) fn share(&self) -> u64 {
        (self.fraction * 1e9).round() as u64
    }
}

/// What a stage took, and what it was like on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageResult {
    /// Name of the experiment that made it.
    pub experiment: String,
    /// Name of the data set.
    pub data: String,
    /// Name of the method.
    pub method: String,
    /// Seed of weights and shuffles.
    pub seed: u64,
    /// Hash of everything that decides it: the name of its folder.
    pub id: String,
    /// Images it learned from.
    pub images: usize,
    /// Passes over them; of one that diverged, those asked for.
    pub epochs: usize,
    /// Where its numbers were no longer finite, if it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<String>,
    /// Seconds of pre-training, without probes.
    pub seconds: f64,
    /// A linear probe after each epoch, where asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub convergence: Vec<Probe>,
    /// Its settings.
    pub config: serde_json::Value,
    /// Version of the program.
    pub code_version: String,
    /// Processor and threads.
    pub machine: String,
    /// Device.
    pub device: String,
    /// When it was done, seconds since 1970 (UTC).
    pub finished: u64,
}

/// How well a linear classifier reads a layer after some epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Epochs of pre-training before it.
    pub epoch: usize,
    /// Layer.
    pub layer: String,
    /// Share of the test images classified right.
    pub accuracy: f64,
}

impl Line {
    /// What a reader looks for a line by; two lines that agree in it are the
    /// same measurement, once and again.
    fn place(&self) -> (u8, String, u64, String, String, u64) {
        match self {
            Self::Cell(c) => {
                (0, c.experiment.clone(), c.share(), c.method.clone(), c.layer.clone(), c.seed)
            }
            Self::Stage(s) => (1, s.experiment.clone(), 0, s.method.clone(), String::new(), s.seed),
        }
    }

    /// Whether a cell's line is about this cell.
    pub fn is_cell(&self, method: &str, layer: &str, fraction: f64) -> Option<&CellResult> {
        let Self::Cell(c) = self else { return None };
        (c.method == method && c.layer == layer && same(c.fraction, fraction)).then_some(&**c)
    }
}

/// Lines in the order of files, each measurement once: the last of several.
pub fn sorted(lines: impl IntoIterator<Item = Line>) -> Vec<Line> {
    let by_place: BTreeMap<_, _> = lines.into_iter().map(|line| (line.place(), line)).collect();
    by_place.into_values().collect()
}

/// What cells were computed by: versions of the program, machines with their
/// devices; none of no cells.
pub fn origins<'a>(cells: impl Iterator<Item = &'a CellResult> + Clone) -> Option<String> {
    let versions = distinct(cells.clone().map(|cell| cell.code_version.as_str()));
    let machines: Vec<String> =
        cells.map(|cell| format!("{} ({})", cell.machine, cell.device)).collect();
    let machines = distinct(machines.iter().map(String::as_str));
    (!versions.is_empty()).then(|| format!("hebb {}; {}", versions.join(", "), machines.join("; ")))
}

/// Each once, in order.
pub(crate) fn distinct<'a>(of: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all: Vec<&str> = of.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Reads a file of lines.
///
/// # Errors
/// If it can't be read, or a line is none; the message names the line.
pub fn read(path: &Path) -> Result<Vec<Line>> {
    let text = fs_err::read_to_string(path)?;
    let parse = |(number, line): (usize, &str)| {
        let problem = |e: serde_json::Error| format!("line {}: {e}", number + 1);
        serde_json::from_str(line).map_err(|e| Error::file(path, problem(e)))
    };
    text.lines().enumerate().map(parse).collect()
}

/// Writes lines, sorted, a measurement once.
///
/// # Errors
/// If the file can't be written.
pub fn write(path: &Path, lines: impl IntoIterator<Item = Line>) -> Result<()> {
    let mut text = String::new();
    for line in sorted(lines) {
        text += &to_json(path, &line)?;
        text.push('\n');
    }
    write_atomically(path, text.as_bytes())
}

/// Writes lines into a file that may hold some already: what was measured
/// again is replaced, the rest stays.
///
/// # Errors
/// If the file can't be read or written.
pub fn merge(path: &Path, lines: impl IntoIterator<Item = Line>) -> Result<()> {
    let earlier = if path.is_file() { read(path)? } else { Vec::new() };
    write(path, earlier.into_iter().chain(lines))
}

/// A record as one line of JSON; `path` is for messages.
pub(crate) fn to_json(path: &Path, record: &impl Serialize) -> Result<String> {
    serde_json::to_string(record).map_err(|e| Error::file(path, e.to_string()))
}

/// Writes a record as a file of its own.
pub(crate) fn save(path: &Path, record: &impl Serialize) -> Result<()> {
    write_atomically(path, (to_json(path, record)? + "\n").as_bytes())
}

/// Reads a record of [`save`].
pub(crate) fn load<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs_err::read_to_string(path)?;
    serde_json::from_str(&text).map_err(|e| Error::file(path, e.to_string()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn cell(method: &str, layer: &str, fraction: f64, seed: u64, a: f64) -> Line {
        Line::Cell(Box::new(CellResult {
            experiment: "example".into(),
            data: "pictures".into(),
            method: method.into(),
            layer: layer.into(),
            fraction,
            labels: (80.0 * fraction) as usize,
            seed,
            split_seed: 200 + seed,
            protocol: "strict".into(),
            accuracy: a,
            top5: Some(1.0),
            test_images: 50,
            skipped: 0,
            retrieval: None,
            seconds: 2.0,
            retrieval_seconds: None,
            peak_memory_mib: None,
            id: Some("0123".into()),
            stage: None,
            config: serde_json::json!({ "network": "cifar-6" }),
            code_version: "0.1.0".into(),
            machine: "a machine".into(),
            device: "cpu".into(),
            finished: Some(1),
        }))
    }

    #[test]
    fn files_are_sorted_and_a_measurement_is_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.jsonl");
        let old = [
            cell("b", "L1", 0.1, 0, 0.3),
            cell("a", "L2", 0.1, 0, 0.1),
            cell("a", "L1", 1.0, 0, 0.9),
        ];
        merge(&path, old.clone()).unwrap();
        let first = std::fs::read(&path).unwrap();
        // The order that lines come in does not matter.
        write(&path, old.iter().rev().cloned()).unwrap();
        assert!(std::fs::read(&path).unwrap() == first);
        merge(&path, [cell("a", "L2", 0.1, 0, 0.2), cell("a", "L2", 0.1, 1, 0.4)]).unwrap();
        let found: Vec<f64> = read(&path)
            .unwrap()
            .iter()
            .map(|line| match line {
                Line::Cell(c) => c.accuracy,
                Line::Stage(_) => unreachable!(),
            })
            .collect();
        assert_eq!(found, [0.2, 0.4, 0.3, 0.9]);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.jsonl");
        write(&path, [cell("a", "L1", 0.1, 0, 0.5)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.clone() + &text[..text.len() / 2]).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("r.jsonl") && error.contains("line 2"), "{error}");
    }
}
