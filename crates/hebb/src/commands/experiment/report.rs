//! `hebb experiment report`

use std::path::{Path, PathBuf};

use anyhow::Result;
use hebbian::error::Error;
use hebbian::network::write_atomically;
use hebbian_lab::{Experiment, Line, Summary, markdown, quoted, results};

use super::{charts, page, unusable};
use crate::cli::ExperimentReportArgs;
use crate::ui::say;

/// Prints the table, and draws the page where asked for.
pub fn run(args: &ExperimentReportArgs) -> Result<()> {
    let (file, out) = places(&args.of)?;
    let mut experiment = Experiment::read(&file)?;
    if let Some(baseline) = &args.baseline {
        experiment.compare_with(baseline)?;
    }
    let selection = args.part.selection();
    selection.check(&experiment)?;
    let (lines, from) = lines(&experiment, &file, out, args.results.as_deref())?;
    let summary = Summary::of(&experiment, &lines, &selection);
    if summary.foreign > 0 {
        let n = summary.foreign;
        let from = from.display();
        eprintln!("warning: {n} lines of {from} are of no cell of this file, or of other settings");
    }
    say!("{}", markdown::report(&summary, &file).trim_end());
    if let Some(html) = &args.html {
        // Pictures lie where the work was done.
        let pictures = args.out.as_deref().or(out);
        let report = page::report(&summary, &file, pictures)?;
        write_atomically(html, report.to_html().as_bytes())?;
        eprintln!("the page: {}", html.display());
    }
    if let Some(folder) = &args.figures {
        let baseline = args.baseline.as_ref().map(|b| format!(" --baseline {}", quoted(b)));
        let (file, baseline) = (file.display(), baseline.unwrap_or_default());
        let origin = format!("hebb experiment report {file}{selection}{baseline} --figures DIR");
        figures(&summary, &origin, folder)?;
    }
    Ok(())
}

/// Draws each chart of the page into a file of its own, which holds its origin.
fn figures(summary: &Summary<'_>, origin: &str, folder: &Path) -> Result<()> {
    let e = summary.experiment;
    let drawn = charts::charts(summary).into_iter().filter_map(|(name, section)| {
        let svg = section.to_svg(&e.title, origin)?;
        Some((folder.join(format!("{}-{name}.svg", e.name)), svg))
    });
    let drawn: Vec<(PathBuf, String)> = drawn.collect();
    if drawn.is_empty() {
        let most = charts::LINES;
        return Err(Error::config(
            "--figures",
            format!(
                "there is nothing to draw: charts are of up to {most} methods, those measured in \
                 the most places of the table, if they are not equal (--only chooses them), and of \
                 two layers, amounts of labels or epochs at least"
            ),
        )
        .into());
    }
    fs_err::create_dir_all(folder)?;
    for (path, svg) in drawn {
        write_atomically(&path, svg.as_bytes())?;
        eprintln!("a figure: {}", path.display());
    }
    Ok(())
}

/// The results that a path stands for: a file of them, an OUT folder, or an
/// experiment file with results kept beside it; and the file they are in.
pub(super) fn kept(of: &Path) -> Result<(Vec<Line>, PathBuf)> {
    if of.extension().is_some_and(|e| e == "jsonl") {
        return Ok((results::read(of)?, of.to_owned()));
    }
    let (file, out) = places(of)?;
    lines(&Experiment::read(&file)?, &file, out, None)
}

/// The experiment file, and the OUT folder if that is what was given.
fn places(of: &Path) -> Result<(PathBuf, Option<&Path>)> {
    if !of.is_dir() {
        return Ok((of.to_owned(), None));
    }
    let mut files = Vec::new();
    for entry in fs_err::read_dir(of)? {
        let path = entry?.path();
        // A network's file has no results beside it.
        let results = path.with_extension("jsonl");
        if path.extension().is_some_and(|e| e == "toml") && results.is_file() {
            files.push(path);
        }
    }
    files.sort();
    match files.len() {
        1 => Ok((files.remove(0), Some(of))),
        0 => Err(unusable(of, "holds no experiment; give an experiment file, or the --out of one")),
        _ => {
            let names: Vec<_> = files.iter().map(|f| f.display().to_string()).collect();
            let problem = format!("holds several experiments; give one: {}", names.join(", "));
            Err(unusable(of, problem))
        }
    }
}

/// The results, and where they were read from: the file asked for, or the OUT
/// folder's, or those kept in `results/` beside the experiment file.
fn lines(
    experiment: &Experiment,
    file: &Path,
    out: Option<&Path>,
    asked: Option<&Path>,
) -> Result<(Vec<Line>, PathBuf)> {
    let name = format!("{}.jsonl", experiment.name);
    let folder = file.parent().unwrap_or(Path::new(""));
    let kept = folder.join("results").join(&name);
    let beside = folder.join(&name);
    let path = match (asked, out) {
        (Some(path), _) => path.to_owned(),
        (None, Some(out)) => out.join(&name),
        // A file inside an OUT folder has its results beside it.
        (None, None) if !kept.is_file() && beside.is_file() => beside,
        (None, None) => kept,
    };
    if !path.is_file() {
        let problem = "is not there; run the experiment, or give --results";
        return Err(unusable(&path, problem));
    }
    Ok((results::read(&path)?, path))
}
