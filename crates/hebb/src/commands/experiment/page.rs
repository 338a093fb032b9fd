//! An experiment's page: tables, charts, filters, neighbours.

use std::path::Path;

use anyhow::Result;
use hebbian_lab::Summary;
use hebbian_lab::grid::percent;
use hebbian_lab::spec::same;
use hebbian_lab::tables::{self, Group, Kind, Row, Value};

use super::words::{capital, thousands};
use super::{charts, pictures};
use crate::report::{Measured, Report, ResultGroup, ResultRow, Section};

/// Least share of the longest time that a bar is drawn for.
const SHOWN: f64 = 0.005;

/// The whole page. Pictures come from `out`, the folder the work was done in.
pub fn report(summary: &Summary<'_>, file: &Path, out: Option<&Path>) -> Result<Report> {
    let e = summary.experiment;
    let mut sections = vec![table(summary)];
    sections.extend(gains(summary));
    sections.extend(charts::charts(summary).into_iter().map(|(_, section)| section));
    if let Some(out) = out {
        sections.extend(pictures::filters(summary, out)?);
    }
    sections.extend(rankings(summary));
    if let Some(out) = out {
        sections.extend(pictures::strips(summary, out)?);
    }
    sections.extend(times(summary));
    sections.push(repeat(summary, file));
    let runs = summary.cells.len();
    let seeds = e.seeds().into_iter().filter(|&seed| summary.selection.has_seed(seed));
    let seeds: Vec<String> = seeds.map(|seed| seed.to_string()).collect();
    Ok(Report {
        title: e.title.clone(),
        subtitle: format!(
            "{}\n{runs} of {} runs; seed{} {}; {}",
            e.data.name,
            summary.planned(),
            if seeds.len() == 1 { "" } else { "s" },
            seeds.join(", "),
            summary.origins().unwrap_or_default()
        ),
        sections,
    })
}

fn table(summary: &Summary<'_>) -> Section {
    let e = summary.experiment;
    let heading = format!("{} accuracy, %", capital(e.judged_on()));
    results(summary, heading, summary.notes().join(" "), tables::accuracies(summary))
}

/// What each method gains over the baseline.
fn gains(summary: &Summary<'_>) -> Option<Section> {
    let baseline = summary.experiment.baseline.as_ref()?;
    let gains = tables::gains(summary);
    let caption = "The mean of the differences between runs of the same split and labels, ± its \
                   95% interval: what the draw of the labels does to both is in neither.";
    let heading = format!("Gain over {baseline}, points");
    (!gains.groups.is_empty()).then(|| results(summary, heading, caption.into(), gains))
}

/// A table of the report.
fn results(
    summary: &Summary<'_>,
    heading: String,
    caption: String,
    table: tables::Table<'_>,
) -> Section {
    let lines = charts::Lines::of(summary);
    let row = |row: &Row<'_>| ResultRow {
        name: row.method.to_owned(),
        series: lines.colour(row.method),
        runs: if row.n > 0 { row.n.to_string() } else { "–".into() },
        cells: row.values.iter().map(|value| measured(&table, row, value)).collect(),
    };
    let groups = table.groups.iter().map(|group| ResultGroup {
        name: title(summary, group.of),
        rows: group.rows.iter().map(row).collect(),
    });
    Section::Results { heading, caption, groups: groups.collect(), columns: table.columns.clone() }
}

/// What the rows of a group have in common.
fn title(summary: &Summary<'_>, of: Kind<'_>) -> String {
    match of {
        Kind::Labels(fraction) => {
            let labels = summary.cells.iter().find(|c| same(c.fraction, fraction));
            let count = labels.map(|c| format!(", {} images", thousands(c.labels)));
            format!("{}% of the labels{}", percent(fraction), count.unwrap_or_default())
        }
        Kind::Layer(layer) => layer.to_owned(),
        Kind::Ranking(features, None, Some(_)) => features.to_owned(),
        Kind::Ranking(features, None, None) => format!("{features}, the whole gallery"),
        Kind::Ranking(features, Some(k), None) => format!("{features}, the first {k}"),
        Kind::Ranking(features, Some(k), Some(measure)) => {
            format!("{features}, the first {k}: {measure}")
        }
    }
}

/// A value of a row.
fn measured(table: &tables::Table<'_>, row: &Row<'_>, value: &Value<'_>) -> Measured {
    let mean = value.sample.map(|sample| match table.signed {
        true => format!("{:+.2}", sample.mean),
        false => format!("{:.2}", sample.mean),
    });
    Measured {
        runs: row.fewer(value).map(|n| n.to_string()),
        value: mean.or_else(|| (value.diverged > 0).then(|| "diverges".into())),
        margin: value.sample.and_then(|s| s.half_width).map(|h| format!("{h:.2}")),
        paper: value.paper.map(|paper| format!("{paper:.2}")),
        best: value.best,
    }
}

/// Rankings: of the whole gallery, and cut, where there are many of both.
fn rankings(summary: &Summary<'_>) -> Vec<Section> {
    let judged = summary.experiment.judged_on();
    let how = format!(
        "Every {judged} image against all training images, by Euclidean distance, ties by index."
    );
    let definitions = "The three definitions of average precision divide by the relevant images \
                       among those ranked (retrieved), by the smaller of the rank and the relevant \
                       images (truncated), by the relevant images (relevant); over all images they \
                       are one.";
    let all = tables::rankings(summary);
    let is_whole = |group: &Group<'_>| matches!(group.of, Kind::Ranking(_, None, Some(_)));
    let columns = all.columns.clone();
    let (whole, cut): (Vec<_>, Vec<_>) = all.groups.into_iter().partition(is_whole);
    let parts = [
        ("Retrieval from the whole gallery: mAP, %", how.clone(), whole),
        ("Retrieval, %", format!("{how} {definitions}"), cut),
    ];
    let parts = parts.into_iter().filter(|(_, _, groups)| !groups.is_empty());
    let section = |(heading, caption, groups): (&str, String, Vec<Group<'_>>)| {
        let table = tables::Table { columns: columns.clone(), groups, signed: false };
        results(summary, heading.to_owned(), caption, table)
    };
    parts.map(section).collect()
}

fn times(summary: &Summary<'_>) -> Option<Section> {
    let mut bars = Vec::new();
    for method in &summary.experiment.methods {
        let stages = summary.stages.iter().filter(|s| s.method == method.name);
        let cells = || summary.cells.iter().filter(|c| c.method == method.name);
        let parts = [
            ("without labels", stages.map(|s| s.seconds).sum::<f64>()),
            ("fine-tuning and testing", cells().map(|c| c.seconds).sum()),
            ("ranking", cells().filter_map(|c| c.retrieval_seconds).sum()),
        ];
        for (name, seconds) in parts.into_iter().filter(|(_, seconds)| *seconds > 0.0) {
            bars.push((format!("{}: {name}", method.name), seconds / 60.0));
        }
    }
    let longest = bars.iter().map(|bar: &(String, f64)| bar.1).fold(0.0, f64::max);
    bars.retain(|bar| bar.1 >= SHOWN * longest);
    (!bars.is_empty()).then(|| Section::Bars {
        heading: "Where the time went".into(),
        caption: "All runs together.".into(),
        unit: "min".into(),
        bars,
    })
}

fn repeat(summary: &Summary<'_>, file: &Path) -> Section {
    let e = summary.experiment;
    let seeds = if e.split.redraw { "plus the run's seed" } else { "in every run" };
    let split = format!(
        "Split and labelled few: {}, seed {} {seeds}.",
        if e.split.stratified {
            "classes in their shares"
        } else {
            "one shuffle, classes not balanced"
        },
        e.split.seed,
    );
    let f = &e.finetune;
    let tuning = format!(
        "Fine-tuning: {} epochs, batches of {}, learning rate {}, times {} after each epoch from \
         the {}th on, momentum {}, weight decay {}, dropout {}.",
        f.epochs, f.batch, f.lr, f.gamma, f.decay_after, f.momentum, f.weight_decay, f.dropout
    );
    let (file, part) = (file.display(), &summary.selection);
    let command = format!("hebb experiment run {file}{part} --data DATA --out OUT");
    Section::Text { heading: "To repeat it".into(), paragraphs: vec![command, split, tuning] }
}
