//! `hebb experiment`: one committed file, one command, one table.

mod charts;
mod compare;
mod page;
mod pictures;
mod report;
mod words;

use std::path::Path;

use anyhow::{Result, bail};
use hebbian::engine::Device;
use hebbian::error::Error;
use hebbian_lab::estimate::duration;
use hebbian_lab::grid::percent;
use hebbian_lab::run::{Event, Outcome, Preview, State, preview};
use hebbian_lab::{Data, Experiment, Options, Summary, markdown, run as run_cells};
use serde_json::json;

use super::shared::print_json;
use crate::cli::{ExperimentCommand, ExperimentRunArgs};
use crate::interrupt::stoppable;
use crate::ui::{Progress, print_table, say};

/// Does what was typed.
pub fn run(command: &ExperimentCommand) -> Result<()> {
    match command {
        ExperimentCommand::Run(args) => run_file(args),
        ExperimentCommand::Report(args) => report::run(args),
        ExperimentCommand::Compare(args) => compare::run(args),
    }
}

/// Runs the cells of a file that are not done yet.
fn run_file(args: &ExperimentRunArgs) -> Result<()> {
    let device = Device::open(&args.device)?;
    let experiment = Experiment::read(&args.file)?;
    let options = Options {
        selection: args.part.selection(),
        shard: args.shard,
        sample: args.sample,
        max_cells: args.max_cells,
        results: args.results.clone(),
        ..Options::default()
    };
    let mut progress = Progress::default();
    let observer = &mut |event: hebbian::train::Event<'_>| progress.on(event);
    let data = Data::open(&experiment, &args.data, args.cache.as_deref(), observer)?;
    if args.dry_run {
        return show(&preview(&experiment, &data, &args.out, &device, &options)?, args.json);
    }
    let outcome = stoppable("the same command goes on", (None, true), |stop| {
        let options = Options { stop, ..options };
        let observer = &mut |event: Event<'_>| tell(&mut progress, event);
        Ok(run_cells(&experiment, &data, &args.out, &device, &options, observer)?)
    })?;
    if args.json {
        print_json(&outcome.lines)?;
    } else {
        let table = markdown::report(&Summary::new(&experiment, &outcome.lines), &args.file);
        say!("{}", table.trim_end());
    }
    end(&outcome, &args.file, &args.out)
}

/// What people see of a run.
fn tell(progress: &mut Progress, event: Event<'_>) {
    match event {
        Event::Training(event) => progress.on(event),
        Event::Stage { method, seed } => eprintln!("\n{method}, seed {seed}: without labels"),
        Event::Cell { cell, done, of, left } => {
            eprintln!("\n[{} of {of}] {cell}; left: {left}", done + 1);
        }
        Event::Found(found) => {
            let accuracy = 100.0 * found.accuracy;
            eprintln!("accuracy {accuracy:.2} %, in {}", duration(found.seconds));
        }
        Event::Failed { cell, problem } => eprintln!("warning: {cell}: {problem}"),
        Event::Waiting { cells } => {
            eprintln!("\n{cells} cells are being done by other processes; waiting for them");
        }
    }
}

/// Prints what would be done.
fn show(preview: &Preview<'_>, json: bool) -> Result<()> {
    if json {
        let cells = preview.cells.iter().map(|(cell, state)| {
            json!({
                "method": cell.method.name,
                "layer": cell.layer,
                "fraction": cell.fraction,
                "seed": cell.seed,
                "done": state.is_done(),
                "known": *state == State::Known,
                "diverges": *state == State::Diverged,
            })
        });
        return print_json(&json!({
            "cells": cells.collect::<Vec<_>>(),
            "stages": preview.stages,
            "stages_done": preview.stages_done,
            "seconds_left": preview.left.seconds,
            "parts_guessed": preview.left.guessed,
        }));
    }
    let rows = preview.cells.iter().map(|(cell, state)| {
        let labels = format!("{}%", percent(cell.fraction));
        let state = match state {
            State::Missing => "",
            State::Done => "done",
            State::Known => "known",
            State::Diverged => "diverges",
        };
        let row = [&cell.method.name, cell.layer, &labels, &cell.seed.to_string(), state];
        row.map(str::to_owned).to_vec()
    });
    let rows: Vec<_> = rows.collect();
    print_table(&["method", "layer", "labels", "seed", ""], &rows)?;
    let done = preview.cells.iter().filter(|(_, state)| state.is_done()).count();
    say!(
        "\n{done} of {} cells done, {} of {} pre-trainings; time left: {}",
        preview.cells.len(),
        preview.stages_done,
        preview.stages,
        preview.left
    );
    if preview.left.guessed > 0 {
        eprintln!("hint: `--max-cells 1` runs the first cell, from which times are known better");
    }
    Ok(())
}

/// Says what is missing, if anything is.
fn end(outcome: &Outcome, file: &Path, out: &Path) -> Result<()> {
    let Outcome { cells, done, known, diverged, failed, .. } = outcome;
    if *known > 0 {
        eprintln!("{known} of {cells} cells were known from the results given");
    }
    if let Some((cell, problem)) = diverged.first() {
        let n = diverged.len();
        eprintln!(
            "{n} of {cells} cells have no model: their pre-training diverged; the first, {cell}: {problem}"
        );
    }
    if let Some((cell, problem)) = failed.first() {
        bail!("{} of {cells} cells can't be done; the first, {cell}: {problem}", failed.len());
    }
    if done + diverged.len() < *cells {
        eprintln!("{done} of {cells} cells are done; the same command goes on");
    }
    let (file, out) = (file.display(), out.display());
    eprintln!(
        "hint: `hebb experiment report {out} --html report.html` draws the results of {file}"
    );
    Ok(())
}

/// An OUT folder or an experiment file that can't be reported on.
fn unusable(path: &Path, problem: impl Into<String>) -> anyhow::Error {
    Error::config(path.display().to_string(), problem).into()
}
