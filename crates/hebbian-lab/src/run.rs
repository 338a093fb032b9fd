//! The loop over cells: whatever is free is done, whatever another process is
//! doing is left to it and waited for in the end.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use hebbian::engine::Device;
use hebbian::error::{Error, Result};
use hebbian::network::write_atomically;
use hebbian::train::{self, Stop};

use crate::estimate::{Estimate, Rates, measure_forward};
use crate::lock::Lock;
use crate::plan::{Draws, Entry, Plan};
use crate::results::{CellResult, Line};
use crate::{Cell, Data, Experiment};

pub use crate::select::Options;

/// How often it is looked whether another process is done.
const PATIENCE: Duration = Duration::from_millis(200);

/// What a run tells whoever watches it.
pub enum Event<'a> {
    /// A method's network is made ready, for all cells of a seed.
    Stage {
        /// The method.
        method: &'a str,
        /// The seed.
        seed: u64,
    },
    /// A cell begins.
    Cell {
        /// The cell.
        cell: &'a Cell<'a>,
        /// Cells of this process done before.
        done: usize,
        /// Cells of this process in all.
        of: usize,
        /// Time of what is left, this cell included.
        left: Estimate,
    },
    /// Part of either.
    Training(train::Event<'a>),
    /// A cell is done.
    Found(&'a CellResult),
    /// A cell can't be done; the others go on.
    Failed {
        /// The cell.
        cell: &'a Cell<'a>,
        /// Why.
        problem: &'a str,
    },
    /// All that is left of this process's cells is being done by others.
    Waiting {
        /// So many.
        cells: usize,
    },
}

/// Receives the events of a run.
pub type Observer<'a> = &'a mut dyn FnMut(Event<'_>);

/// How a run ended.
pub struct Outcome {
    /// All results of the experiment so far.
    pub lines: Vec<Line>,
    /// Cells of this process's share.
    pub cells: usize,
    /// How many of them are done.
    pub done: usize,
    /// How many of those are known from the results given.
    pub known: usize,
    /// Cells whose pre-training diverged, which is a result, and how.
    pub diverged: Vec<(String, String)>,
    /// Cells whose fine-tuning diverged, and how.
    pub failed: Vec<(String, String)>,
}

/// What is to be done, before it is done.
pub struct Preview<'a> {
    /// Cells of this process's share.
    pub cells: Vec<(Cell<'a>, State)>,
    /// Stages of these cells that are there already, or still needed.
    pub stages: usize,
    /// How many of those are there already.
    pub stages_done: usize,
    /// Time of what is left.
    pub left: Estimate,
}

/// Where a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// To be done.
    Missing,
    /// Done in the folder of this run.
    Done,
    /// Done by an earlier run, whose results are given.
    Known,
    /// Can't be done: the pre-training it goes on from diverged.
    Diverged,
}

impl State {
    /// Whether it has a result.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Done | Self::Known)
    }
}

/// Says what [`run()`] would do.
///
/// # Errors
/// As [`run()`], but for those of the work itself.
pub fn preview<'a>(
    experiment: &'a Experiment,
    data: &Data,
    out: &Path,
    device: &Device,
    options: &Options,
) -> Result<Preview<'a>> {
    let draws = Draws::new(experiment, data)?;
    let plan = Plan::new(experiment, data, &draws, options, out)?;
    let mine = || plan.entries.iter().filter(|entry| entry.mine);
    let made = |stage: usize| plan.stages[stage].is_made();
    let diverged = plan.diverged()?;
    let possible = |entry: &Entry<'_>| !entry.job.is_done() && !diverged[entry.stage];
    let needed = mine().filter(|entry| made(entry.stage) || possible(entry));
    let mut needed: Vec<usize> = needed.map(|entry| entry.stage).collect();
    needed.sort_unstable();
    needed.dedup();
    let stages_done = needed.iter().filter(|&&stage| made(stage)).count();
    let forward = measure_forward(experiment, device)?;
    let left = left(experiment, data, &plan, forward)?;
    let of_grid = crate::grid(experiment).into_iter().zip(&plan.entries);
    let cells = of_grid.filter(|(_, entry)| entry.mine);
    let state = |entry: &Entry<'_>| match (entry.job.is_done(), entry.job.is_known()) {
        (false, _) if diverged[entry.stage] => State::Diverged,
        (false, _) => State::Missing,
        (true, false) => State::Done,
        (true, true) => State::Known,
    };
    let cells = cells.map(|(cell, entry)| (cell, state(entry))).collect();
    Ok(Preview { cells, stages: needed.len(), stages_done, left })
}

/// Runs the cells of an experiment that are not done yet, into `out`.
///
/// A cell whose numbers diverge is reported and left; everything else that
/// goes wrong ends the run.
///
/// # Errors
/// Data that does not fit the experiment, reading and writing;
/// [`Error::Stopped`] if it was asked to stop.
pub fn run(
    experiment: &Experiment,
    data: &Data,
    out: &Path,
    device: &Device,
    options: &Options,
    observer: Observer<'_>,
) -> Result<Outcome> {
    let draws = Draws::new(experiment, data)?;
    let plan = Plan::new(experiment, data, &draws, options, out)?;
    fs_err::create_dir_all(out.join("cells"))?;
    keep(experiment, out)?;
    plan.collect()?;
    let mine: Vec<&Entry<'_>> = plan.entries.iter().filter(|entry| entry.mine).collect();
    let (forward, failed) = (measure_forward(experiment, device)?, HashMap::new());
    let (plan, stop) = (&plan, &options.stop);
    let mut worker = Worker { experiment, data, out, device, plan, stop, forward, failed };
    let (mut count, mut told) = (0, false);
    loop {
        let (mut busy, mut progress) = (0, false);
        for entry in &mine {
            if options.max_cells.is_some_and(|most| count >= most) {
                busy = 0;
                break;
            }
            if entry.job.is_done() || worker.failed.contains_key(entry.job.id()) {
                continue;
            }
            check(stop)?;
            match worker.attempt(entry, &mine, observer)? {
                Attempt::Busy => busy += 1,
                Attempt::NothingToDo => {}
                Attempt::Ran => {
                    (count, progress) = (count + 1, true);
                }
            }
        }
        if busy == 0 {
            break;
        }
        if !progress {
            if !std::mem::replace(&mut told, true) {
                observer(Event::Waiting { cells: busy });
            }
            check(stop)?;
            std::thread::sleep(PATIENCE);
        }
    }
    let lines = plan.collect()?;
    let done = mine.iter().filter(|entry| entry.job.is_done()).count();
    let known = mine.iter().filter(|entry| entry.job.is_known()).count();
    let (mut diverged, mut failed) = (Vec::new(), Vec::new());
    let no_model = plan.diverged()?;
    for entry in &mine {
        let Some(problem) = worker.failed.get(entry.job.id()) else { continue };
        let of = if no_model[entry.stage] { &mut diverged } else { &mut failed };
        of.push((entry.cell.to_string(), problem.clone()));
    }
    Ok(Outcome { lines, cells: mine.len(), done, known, diverged, failed })
}

/// Whether the run goes on with the next cell.
fn check(stop: &Stop) -> Result<()> {
    if stop.is_asked() { Err(Error::Stopped { step: 0 }) } else { Ok(()) }
}

/// Keeps the experiment in its folder, with the networks it names.
fn keep(experiment: &Experiment, out: &Path) -> Result<()> {
    for method in &experiment.methods {
        let Some(file) = &method.network_file else { continue };
        let text = toml::to_string(&method.network).map_err(|e| Error::Data(e.to_string()))?;
        write_atomically(&out.join(file), text.as_bytes())?;
    }
    write_atomically(&out.join(format!("{}.toml", experiment.name)), experiment.text.as_bytes())
}

/// What came of trying a cell.
enum Attempt {
    /// Another process has it, or its stage.
    Busy,
    /// It was done, or can't be done.
    NothingToDo,
    /// It is done now.
    Ran,
}

struct Worker<'a> {
    experiment: &'a Experiment,
    data: &'a Data,
    out: &'a Path,
    device: &'a Device,
    plan: &'a Plan<'a>,
    stop: &'a Stop,
    /// Seconds an operation of a forward pass.
    forward: f64,
    /// Cells that can't be done, by name, and why.
    failed: HashMap<String, String>,
}

impl Worker<'_> {
    fn attempt(
        &mut self,
        entry: &Entry<'_>,
        mine: &[&Entry<'_>],
        observer: Observer<'_>,
    ) -> Result<Attempt> {
        let locks = self.out.join("locks");
        let Some(_cell) = Lock::try_take(&locks, entry.job.id())? else {
            return Ok(Attempt::Busy);
        };
        if entry.job.is_done() {
            return Ok(Attempt::NothingToDo);
        }
        let stage = &self.plan.stages[entry.stage];
        if let Some(problem) = stage.diverged()? {
            return Ok(self.give_up(entry, problem, observer));
        }
        if !stage.is_made() {
            let Some(_stage) = Lock::try_take(&locks, stage.id())? else {
                return Ok(Attempt::Busy);
            };
            if !stage.is_made() {
                let (method, seed) = (entry.cell.method.name.as_str(), entry.cell.seed);
                observer(Event::Stage { method, seed });
                let training = &mut |event: train::Event<'_>| observer(Event::Training(event));
                let made = stage.make(self.device, self.stop, training);
                if let Err(error) = made {
                    let problem = diverged(error)?;
                    self.plan.collect()?;
                    return Ok(self.give_up(entry, problem, observer));
                }
            }
        }
        let done = mine.iter().filter(|entry| entry.job.is_done()).count();
        let left = left(self.experiment, self.data, self.plan, self.forward)?;
        observer(Event::Cell { cell: &entry.cell, done, of: mine.len(), left });
        let training = &mut |event: train::Event<'_>| observer(Event::Training(event));
        match entry.job.run(stage, self.device, self.stop, training) {
            Ok(result) => observer(Event::Found(&result)),
            Err(error) => {
                let problem = diverged(error)?;
                return Ok(self.give_up(entry, problem, observer));
            }
        }
        self.plan.collect()?;
        Ok(Attempt::Ran)
    }

    fn give_up(&mut self, entry: &Entry<'_>, problem: String, observer: Observer<'_>) -> Attempt {
        observer(Event::Failed { cell: &entry.cell, problem: &problem });
        self.failed.insert(entry.job.id().to_owned(), problem);
        Attempt::NothingToDo
    }
}

/// The message of a training that diverged; any other error ends the run.
fn diverged(error: Error) -> Result<String> {
    match error {
        Error::Diverged { .. } => Ok(error.to_string()),
        error => Err(error),
    }
}

/// Time of this process's cells that are not done, and of their stages.
fn left(experiment: &Experiment, data: &Data, plan: &Plan<'_>, forward: f64) -> Result<Estimate> {
    let rates = Rates::measured(experiment, &plan.lines()?, forward);
    let mut left = Estimate::default();
    let mut stages: Vec<usize> = Vec::new();
    let diverged = plan.diverged()?;
    let possible = |entry: &&Entry<'_>| !entry.job.is_done() && !diverged[entry.stage];
    for entry in plan.entries.iter().filter(|entry| entry.mine).filter(possible) {
        let (stage, judges) = (&plan.stages[entry.stage], data.judges_len(entry.job.draw()));
        left += rates.cell(&entry.cell, entry.job.labels(), judges, stage.images_len());
        if !stages.contains(&entry.stage) && !stage.is_made() {
            stages.push(entry.stage);
            left += rates.stage(entry.cell.method, stage.images_len());
        }
    }
    Ok(left)
}
