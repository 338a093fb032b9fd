//! All stages and cells of an experiment in an OUT folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use hebbian::error::Result;

use crate::cell::Job;
use crate::data::Draw;
use crate::lock::Lock;
use crate::results::{self, CellResult, Line, StageResult};
use crate::select::Options;
use crate::stage::Stage;
use crate::{Cell, Data, Experiment, grid};

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
    experiment: &'a Experiment,
    pub(crate) stages: Vec<Stage<'a>>,
    pub(crate) entries: Vec<Entry<'a>>,
    out: PathBuf,
    /// The file that results are added to.
    results: Option<PathBuf>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(
        experiment: &'a Experiment,
        data: &'a Data,
        draws: &'a Draws,
        options: &Options,
        out: &Path,
    ) -> Result<Self> {
        options.selection.check(experiment)?;
        let known = Known::read(options.results.as_deref())?;
        let mut stages: Vec<Stage<'a>> = Vec::new();
        let mut made: Vec<(&str, u64)> = Vec::new();
        let mut entries = Vec::new();
        let cells = grid(experiment);
        let mine = options.mine(&cells, experiment.layers.len());
        for (cell, mine) in cells.into_iter().zip(mine) {
            let Some((_, draw)) = draws.0.iter().find(|(seed, _)| *seed == cell.seed) else {
                continue;
            };
            let place = (cell.method.name.as_str(), cell.seed);
            let stage = match made.iter().position(|of| *of == place) {
                Some(stage) => stage,
                None => {
                    let repetition = (draw, cell.seed);
                    let stage = Stage::new(experiment, data, cell.method, repetition, out)?;
                    let result = known.stages.get(stage.id()).cloned();
                    stages.push(stage.knowing(result));
                    made.push(place);
                    made.len() - 1
                }
            };
            let job = Job::new(experiment, data, cell, draw, &stages[stage], out)?;
            let job = {
                let result = known.cells.get(job.id()).cloned();
                job.knowing(result)
            };
            entries.push(Entry { cell, job, stage, mine });
        }
        let (out, results) = (out.to_owned(), options.results.clone());
        Ok(Self { experiment, stages, entries, out, results })
    }

    /// Which stages diverged and can't be made.
    pub(crate) fn diverged(&self) -> Result<Vec<bool>> {
        self.stages.iter().map(|stage| Ok(stage.diverged()?.is_some())).collect()
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

    /// Writes the results so far to `OUT/NAME.jsonl`, and adds them to the file
    /// of results. One process at a time, so that the last to do it has seen
    /// all that was finished before.
    pub(crate) fn collect(&self) -> Result<Vec<Line>> {
        let name = format!("{}.jsonl", self.experiment.name);
        let _lock = Lock::take(&self.out.join("locks"), &name)?;
        let lines = self.lines()?;
        results::write(&self.out.join(name), lines.clone())?;
        if let Some(path) = &self.results {
            results::merge(path, lines.iter().cloned())?;
        }
        Ok(lines)
    }
}

/// Results of earlier runs, by the names of what they are results of.
#[derive(Default)]
struct Known {
    cells: HashMap<String, CellResult>,
    stages: HashMap<String, StageResult>,
}

impl Known {
    /// Those in a file, if it is there; lines from before results had names are
    /// nobody's.
    fn read(path: Option<&Path>) -> Result<Self> {
        let mut known = Self::default();
        let Some(path) = path.filter(|path| path.is_file()) else { return Ok(known) };
        for line in results::read(path)? {
            match line {
                Line::Cell(cell) => {
                    known.cells.extend(cell.id.clone().map(|id| (id, *cell)));
                }
                Line::Stage(stage) => {
                    known.stages.insert(stage.id.clone(), *stage);
                }
            }
        }
        Ok(known)
    }
}
