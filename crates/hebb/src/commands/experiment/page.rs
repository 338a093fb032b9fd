//! An experiment's page: tables, charts, filters, neighbours.

use std::path::Path;

use anyhow::Result;
use hebbian_lab::Summary;
use hebbian_lab::grid::percent;
use hebbian_lab::markdown;
use hebbian_lab::spec::same;
use hebbian_lab::statistics::Sample;
use hebbian_lab::summary::Place;

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
            "{}\n{runs} of {} runs; seeds {}; {}",
            e.data.name,
            summary.planned(),
            seeds.join(", "),
            summary.origins().unwrap_or_default()
        ),
        sections,
    })
}

fn table(summary: &Summary<'_>) -> Section {
    let e = summary.experiment;
    Section::Results {
        heading: format!("{} accuracy, %", capital(e.judged_on())),
        caption: summary.notes().join(" "),
        columns: summary.layers.clone(),
        groups: groups(summary, markdown::runs, measured),
    }
}

/// What each method gains over the baseline.
fn gains(summary: &Summary<'_>) -> Option<Section> {
    let e = summary.experiment;
    let baseline = e.baseline.as_ref()?;
    let groups = groups(summary, markdown::pairs, gained);
    (!groups.is_empty()).then(|| Section::Results {
        heading: format!("Gain over {baseline}, points"),
        caption: "The mean of the differences between runs of the same split and labels, ± its \
                  95% interval: what the draw of the labels does to both is in neither."
            .into(),
        columns: summary.layers.clone(),
        groups,
    })
}

/// The methods by amount of labels: the rows that have something in a cell.
fn groups(
    summary: &Summary<'_>,
    n: fn(&[&Place]) -> String,
    cell: fn(&Place, &[&Place]) -> Measured,
) -> Vec<ResultGroup> {
    let groups = summary.fractions.iter().map(|&fraction| {
        let labels = summary.cells.iter().find(|c| same(c.fraction, fraction));
        let count = labels.map(|c| format!(", {} images", thousands(c.labels)));
        let name = format!("{}% of the labels{}", percent(fraction), count.unwrap_or_default());
        let rows = summary.methods.iter().enumerate().filter_map(|(series, method)| {
            let row = summary.row(fraction, method);
            let cells: Vec<Measured> = row.iter().map(|place| cell(place, &row)).collect();
            let known = cells.iter().any(|cell| cell.value.is_some() || cell.paper.is_some());
            known.then(|| ResultRow { name: method.clone(), series, runs: n(&row), cells })
        });
        ResultGroup { name, rows: rows.collect() }
    });
    groups.filter(|group| !group.rows.is_empty()).collect()
}

/// A word at the beginning of a sentence.
pub(super) fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// A place of a row.
fn measured(place: &Place, row: &[&Place]) -> Measured {
    let sample = place.sample.as_ref();
    Measured {
        runs: sample.filter(|_| markdown::differ(row)).map(|s| s.n().to_string()),
        value: match sample {
            Some(sample) => Some(format!("{:.2}", sample.mean)),
            None => (place.diverged > 0).then(|| "diverges".into()),
        },
        margin: sample.and_then(|s| s.half_width).map(|h| format!("{h:.2}")),
        paper: place.paper.map(|p| format!("{p:.2}")),
        best: place.best,
    }
}

/// What a place gains.
fn gained(place: &Place, row: &[&Place]) -> Measured {
    let gain = place.gain.as_ref();
    Measured {
        runs: gain.filter(|_| markdown::pairs_differ(row)).map(|s| s.n().to_string()),
        value: gain.map(|s| format!("{:+.2}", s.mean)),
        margin: gain.and_then(|s| s.half_width).map(|h| format!("{h:.2}")),
        ..Measured::default()
    }
}

/// A number with its thousands set apart.
pub(super) fn thousands(n: usize) -> String {
    match n {
        0..1000 => n.to_string(),
        _ => format!("{},{:03}", n / 1000, n % 1000),
    }
}

fn rankings(summary: &Summary<'_>) -> Option<Section> {
    if summary.rankings.is_empty() {
        return None;
    }
    // Methods in the order of the file, within each amount of labels.
    let mut ranked: Vec<_> = summary.rankings.iter().collect();
    let method = |name: &String| summary.methods.iter().position(|method| method == name);
    ranked.sort_by(|a, b| {
        a.fraction.total_cmp(&b.fraction).then_with(|| method(&a.method).cmp(&method(&b.method)))
    });
    let rows = ranked.into_iter().map(|r| {
        let value =
            |sample: &Option<Sample>| sample.as_ref().map(Sample::to_string).unwrap_or_default();
        vec![
            format!("{}, {}, {}%", r.method, r.layer, percent(r.fraction)),
            r.k.map_or("all".into(), |k| k.to_string()),
            value(&r.precision),
            value(&r.retrieved),
            value(&r.truncated),
            value(&r.relevant),
            r.n.to_string(),
        ]
    });
    let columns =
        ["features", "rank", "precision", "mAP retrieved", "mAP truncated", "mAP relevant", "n"];
    Some(Section::Table {
        heading: "Retrieval, %".into(),
        caption: format!(
            "Every {} image against all training images, by Euclidean distance, ties by \
                  index. The three definitions of average precision divide by the relevant images \
                  among those ranked (retrieved), by the smaller of the rank and the relevant \
                  images (truncated), by the relevant images (relevant); over all images they are one.",
            summary.experiment.judged_on()
        ),
        columns: columns.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        best: Vec::new(),
    })
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
