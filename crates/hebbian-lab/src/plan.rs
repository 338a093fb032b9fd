//! All stages and cells of an experiment in an OUT folder.

use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use hebbian::error::{Error, Result};

use crate::cell::Job;
use crate::data::Draw;
use crate::lock::Lock;
use crate::results::{self, Line};
use crate::stage::Stage;
use crate::{Cell, Data, Experiment, grid};

/// A process's share of the cells: the `index`-th (from 0) of `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    of: usize,
}

impl Shard {
    /// Its share of `len` things that lie in a row.
    #[must_use]
    pub fn rows(self, len: usize) -> Range<usize> {
        let bound = |share: usize| (len as u128 * share as u128 / self.of as u128) as usize;
        bound(self.index)..bound(self.index + 1)
    }
}

impl FromStr for Shard {
    type Err = String;

    /// `i/n`, from `1/n` to `n/n`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((i, of)) if (1..=of).contains(&i) => Ok(Self { index: i - 1, of }),
            _ => Err(format!("'{text}' is no shard; the second of three is 2/3")),
        }
    }
}

/// Cells of a method, or of one of its layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Only {
    method: String,
    layer: Option<String>,
}

impl FromStr for Only {
    type Err = String;

    /// `METHOD` or `METHOD/LAYER`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (method, layer) = match text.split_once('/') {
            Some((method, layer)) => (method, Some(layer.to_owned())),
            None => (text, None),
        };
        Ok(Self { method: method.to_owned(), layer })
    }
}

/// Which cells a process runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Its share of them; all if absent.
    pub shard: Option<Shard>,
    /// Only these methods and layers; all if empty.
    pub only: Vec<Only>,
    /// At most so many.
    pub max_cells: Option<usize>,
}

impl Options {
    /// Whether the cell at `index` of the grid is this process's.
    fn takes(&self, index: usize, cell: &Cell<'_>, layers: usize) -> bool {
        // Turned by one whenever layers and shards meet in the same way again:
        // else a shard might be a single layer.
        let share = self
            .shard
            .is_none_or(|s| (index + index / common_multiple(layers, s.of)) % s.of == s.index);
        let named = |only: &Only| {
            only.method == cell.method.name && only.layer.as_ref().is_none_or(|l| l == cell.layer)
        };
        share && (self.only.is_empty() || self.only.iter().any(named))
    }

    fn check(&self, experiment: &Experiment) -> Result<()> {
        for only in &self.only {
            if experiment.method(&only.method).is_none() {
                let known: Vec<_> = experiment.methods.iter().map(|m| m.name.as_str()).collect();
                let problem = format!("'{}' is none of {}", only.method, known.join(", "));
                return Err(Error::config("--only", problem));
            }
            if let Some(layer) = only.layer.as_ref().filter(|l| !experiment.layers.contains(l)) {
                let problem = format!("'{layer}' is none of {}", experiment.layers.join(", "));
                return Err(Error::config("--only", problem));
            }
        }
        Ok(())
    }
}

/// The least common multiple of two numbers above 0.
fn common_multiple(a: usize, b: usize) -> usize {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a / divisor * b
}

/// The splits of all repetitions.
pub(crate) struct Draws(Vec<(u64, Draw)>);

impl Draws {
    pub(crate) fn new(experiment: &Experiment, data: &Data) -> Result<Self> {
        let draw = |seed| Ok((seed, data.draw(experiment, seed)?));
        experiment.seeds().into_iter().map(draw).collect::<Result<_>>().map(Self)
    }
}

/// A cell's job with its stage, and whether it is this process's.
pub(crate) struct Entry<'a> {
    pub(crate) cell: Cell<'a>,
    pub(crate) job: Job<'a>,
    /// Index into [`Plan::stages`].
    pub(crate) stage: usize,
    pub(crate) mine: bool,
}

/// Every cell of the grid, in order, and the stages they share.
pub(crate) struct Plan<'a> {
    pub(crate) stages: Vec<Stage<'a>>,
    pub(crate) entries: Vec<Entry<'a>>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(
        experiment: &'a Experiment,
        data: &'a Data,
        draws: &'a Draws,
        options: &Options,
        out: &Path,
    ) -> Result<Self> {
        options.check(experiment)?;
        let mut stages: Vec<Stage<'a>> = Vec::new();
        let mut made: Vec<(&str, u64)> = Vec::new();
        let mut entries = Vec::new();
        for (index, cell) in grid(experiment).into_iter().enumerate() {
            let Some((_, draw)) = draws.0.iter().find(|(seed, _)| *seed == cell.seed) else {
                continue;
            };
            let place = (cell.method.name.as_str(), cell.seed);
            let stage = match made.iter().position(|of| *of == place) {
                Some(stage) => stage,
                None => {
                    let repetition = (draw, cell.seed);
                    stages.push(Stage::new(experiment, data, cell.method, repetition, out)?);
                    made.push(place);
                    made.len() - 1
                }
            };
            let job = Job::new(experiment, data, cell, draw, &stages[stage], out)?;
            let mine = options.takes(index, &cell, experiment.layers.len());
            entries.push(Entry { cell, job, stage, mine });
        }
        Ok(Self { stages, entries })
    }

    /// Results so far, of this process and of others.
    pub(crate) fn lines(&self) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for entry in &self.entries {
            lines.extend(entry.job.result()?.map(|cell| Line::Cell(Box::new(cell))));
        }
        for stage in &self.stages {
            lines.extend(stage.result()?.map(|stage| Line::Stage(Box::new(stage))));
        }
        Ok(results::sorted(lines))
    }

    /// Writes the results so far to `OUT/NAME.jsonl`. One process at a time,
    /// so that the last to do it has seen all that was finished before.
    pub(crate) fn collect(&self, experiment: &Experiment, out: &Path) -> Result<Vec<Line>> {
        let _lock = Lock::take(&out.join("locks"), &format!("{}.jsonl", experiment.name))?;
        let lines = self.lines()?;
        results::write(&out.join(format!("{}.jsonl", experiment.name)), lines.clone())?;
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::example;

    #[test]
    fn shards_part_the_cells_and_mix_the_layers() {
        let experiment = example();
        let cells = grid(&experiment);
        for of in 1..6 {
            let options = (1..=of).map(|i| Options {
                shard: Some(format!("{i}/{of}").parse().unwrap()),
                ..Options::default()
            });
            let mut owners = vec![0; cells.len()];
            for options in options {
                let mut layers: Vec<&str> = Vec::new();
                for (index, cell) in cells.iter().enumerate() {
                    if options.takes(index, cell, experiment.layers.len()) {
                        owners[index] += 1;
                        layers.push(cell.layer);
                    }
                }
                assert!(layers.contains(&"L1") && layers.contains(&"L2"), "{options:?}");
            }
            assert_eq!(owners, vec![1; cells.len()], "{of} shards");
        }
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        for text in ["", "1", "0/2", "3/2", "a/b", "1/0", "-1/2", "1/2/3"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        assert_eq!("2/3".parse(), Ok(Shard { index: 1, of: 3 }));
        let rows = ["1/3", "2/3", "3/3"].map(|text| text.parse::<Shard>().unwrap().rows(10));
        assert_eq!(rows, [0..3, 3..6, 6..10]);
    }

    #[test]
    fn only_names_a_method_or_a_layer_of_it() {
        let experiment = example();
        let cells = grid(&experiment);
        let count = |text: &str| {
            let options = Options { only: vec![text.parse().unwrap()], ..Options::default() };
            options
                .check(&experiment)
                .map(|()| cells.iter().enumerate().filter(|(i, c)| options.takes(*i, c, 2)).count())
        };
        assert_eq!((count("HPCA").unwrap(), count("HPCA/L2").unwrap()), (8, 4));
        assert!(count("hpca").unwrap_err().to_string().contains("none, HPCA"));
        assert!(count("HPCA/L7").unwrap_err().to_string().contains("L1, L2"));
    }
}
