//! An experiment's page: table, curves, filters, neighbours.

use std::path::Path;

use anyhow::Result;
use hebbian_lab::Summary;
use hebbian_lab::grid::percent;
use hebbian_lab::markdown;
use hebbian_lab::statistics::Sample;
use hebbian_lab::summary::Place;

use super::pictures;
use crate::report::{Frame, Measured, Report, ResultGroup, ResultRow, Section, Series};

/// Fewest runs whose interval is drawn: that of two is wider than the chart.
const DRAWN: usize = 3;

/// Least share of the longest time that a bar is drawn for.
const SHOWN: f64 = 0.005;

/// Most lines that an eye can follow in one chart; of more, tables say it better.
pub const LINES: usize = 8;

/// The whole page. Pictures come from `out`, the folder the work was done in.
pub fn report(summary: &Summary<'_>, file: &Path, out: Option<&Path>) -> Result<Report> {
    let e = summary.experiment;
    let mut sections = vec![table(summary)];
    sections.extend(gains(summary));
    sections.extend(charts(summary).into_iter().map(|(_, section)| section));
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

/// The charts, each with a name for its file.
pub fn charts(summary: &Summary<'_>) -> Vec<(&'static str, Section)> {
    let rows = summary.methods.iter().filter(|method| summary.is_measured(method)).count();
    let mut charts = Vec::new();
    if summary.layers.len() > 1 && rows <= LINES {
        charts.push(("by-layer", by_layer(summary)));
        charts.extend(gains_by_layer(summary).map(|section| ("gains", section)));
    }
    if summary.fractions.len() > 1 && rows <= LINES {
        charts.push(("by-labels", by_labels(summary)));
    }
    charts.extend(convergence(summary).map(|section| ("by-epoch", section)));
    if rows <= LINES {
        charts.extend(retrieval_by_labels(summary).map(|section| ("retrieval", section)));
    }
    charts
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
fn capital(word: &str) -> String {
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

fn same(a: f64, b: f64) -> bool {
    hebbian_lab::spec::same(a, b)
}

/// A number with its thousands set apart.
pub(super) fn thousands(n: usize) -> String {
    match n {
        0..1000 => n.to_string(),
        _ => format!("{},{:03}", n / 1000, n % 1000),
    }
}

/// What is drawn of a place: what was measured, and what the paper says of it.
type Drawn = fn(&Place) -> (Option<&Sample>, Option<f64>);

fn accuracy(place: &Place) -> (Option<&Sample>, Option<f64>) {
    (place.sample.as_ref(), place.paper)
}

/// The paper's values are accuracies.
fn gain(place: &Place) -> (Option<&Sample>, Option<f64>) {
    (place.gain.as_ref(), None)
}

/// A series a method: `drawn` of the places that `of` gives, at the x that `of`
/// gives them. A place that was not measured leaves a gap.
fn series<'s>(
    summary: &'s Summary<'_>,
    drawn: Drawn,
    of: impl Fn(&str) -> Vec<(f64, &'s Place)>,
) -> Vec<Series> {
    let series = summary.methods.iter().map(|method| {
        let mut series = Series { name: method.clone(), ..Series::default() };
        for (x, place) in of(method) {
            let (sample, paper) = drawn(place);
            series.points.push((x, sample.map_or(f64::NAN, |sample| sample.mean)));
            let interval = sample.filter(|sample| sample.n() >= DRAWN);
            let interval = interval.and_then(|sample| Some((sample.mean, sample.half_width?)));
            series.band.extend(interval.map(|(mean, half)| (x, mean - half, mean + half)));
            series.marks.extend(paper.map(|paper| (x, paper)));
        }
        series
    });
    series.collect()
}

fn bands() -> String {
    format!("Bands and strokes: 95% confidence intervals, where there are {DRAWN} runs or more.")
}

/// A panel for each amount of labels, with `drawn` of the places along the layers.
fn along_layers(summary: &Summary<'_>, drawn: Drawn) -> Vec<(String, Vec<Series>)> {
    let depth = |layer: &str| layer.trim_start_matches('L').parse::<f64>().unwrap_or(f64::NAN);
    let panels = summary.fractions.iter().map(|&fraction| {
        let of = |method: &str| {
            let row = summary.row(fraction, method);
            row.into_iter().map(|place| (depth(&place.layer), place)).collect()
        };
        (format!("{}% of the labels", percent(fraction)), series(summary, drawn, of))
    });
    panels.collect()
}

fn by_layer(summary: &Summary<'_>) -> Section {
    Section::Panels {
        heading: "Accuracy by layer".into(),
        caption: format!("Each panel has its own vertical axis. {}", bands()),
        frame: Frame {
            x_label: "layer".into(),
            y_label: "accuracy, %".into(),
            affixes: ["L", ""],
            ..Frame::default()
        },
        panels: along_layers(summary, accuracy),
    }
}

/// What is gained over the baseline, where the file names one.
fn gains_by_layer(summary: &Summary<'_>) -> Option<Section> {
    let baseline = summary.experiment.baseline.as_ref()?;
    Some(Section::Panels {
        heading: format!("Gain over {baseline} by layer"),
        caption: format!(
            "Means of the differences between runs of the same split and labels. All panels have \
             the same vertical axis. {}",
            bands()
        ),
        frame: Frame {
            x_label: "layer".into(),
            y_label: "gain, points".into(),
            affixes: ["L", ""],
            same_y: true,
            zero: true,
            ..Frame::default()
        },
        panels: along_layers(summary, gain),
    })
}

fn by_labels(summary: &Summary<'_>) -> Section {
    let panels = summary.layers.iter().map(|layer| {
        let of = |method: &str| {
            let places = summary.fractions.iter().filter_map(|&fraction| {
                let place = summary.place(fraction, method, layer)?;
                Some((100.0 * fraction, place))
            });
            places.collect()
        };
        (layer.clone(), series(summary, accuracy, of))
    });
    Section::Panels {
        heading: "Accuracy by number of labels".into(),
        caption: format!("All panels have the same vertical axis. {}", bands()),
        frame: along_labels("accuracy, %"),
        panels: panels.collect(),
    }
}

/// Axes of what is drawn along amounts of labels.
fn along_labels(y_label: &str) -> Frame {
    Frame {
        x_label: "share of the labels".into(),
        y_label: y_label.into(),
        log_x: true,
        affixes: ["", "%"],
        same_y: true,
        ..Frame::default()
    }
}

/// Mean average precision over the whole gallery, where several amounts of
/// labels were ranked.
fn retrieval_by_labels(summary: &Summary<'_>) -> Option<Section> {
    let whole = || summary.rankings.iter().filter(|ranking| ranking.k.is_none());
    let ranked = |fraction: &&f64| whole().any(|ranking| same(ranking.fraction, **fraction));
    let fractions: Vec<&f64> = summary.fractions.iter().filter(ranked).collect();
    let mut features: Vec<&String> = Vec::new();
    for ranking in whole() {
        if !features.contains(&&ranking.layer) {
            features.push(&ranking.layer);
        }
    }
    let panels = features.into_iter().map(|features| {
        let of = |method: &String| {
            let at = |&fraction: &&f64| {
                let here = whole().find(|ranking| {
                    ranking.method == *method
                        && ranking.layer == *features
                        && same(ranking.fraction, *fraction)
                });
                (
                    100.0 * fraction,
                    here.and_then(|r| r.relevant.as_ref()).map_or(f64::NAN, |of| of.mean),
                )
            };
            let points = fractions.iter().map(at).collect();
            Series { name: method.clone(), points, ..Series::default() }
        };
        (features.clone(), summary.methods.iter().map(of).collect())
    });
    let panels: Vec<(String, Vec<Series>)> = panels.collect();
    (fractions.len() > 1).then(|| Section::Panels {
        heading: "Retrieval by number of labels".into(),
        caption: format!(
            "Mean average precision of every {} image against all training images, over the \
             whole gallery, where its definitions are one. All panels have the same vertical axis.",
            summary.experiment.judged_on()
        ),
        frame: along_labels("mAP, %"),
        panels,
    })
}

fn convergence(summary: &Summary<'_>) -> Option<Section> {
    let e = summary.experiment;
    let asked = e.convergence.as_ref()?;
    let panels = summary.probed().filter_map(|layer| {
        let of_layer = |method: &String| Series {
            name: method.clone(),
            points: summary
                .convergence(method)
                .iter()
                .filter(|probe| probe.layer == *layer)
                .map(|probe| (probe.epoch as f64, 100.0 * probe.accuracy))
                .collect(),
            ..Series::default()
        };
        let series: Vec<Series> = summary.methods.iter().map(of_layer).collect();
        series.iter().any(|s| !s.points.is_empty()).then(|| (layer.clone(), series))
    });
    let panels: Vec<(String, Vec<Series>)> = panels.collect();
    (!panels.is_empty()).then(|| Section::Panels {
        heading: "Convergence without labels".into(),
        caption: format!(
            "{} accuracy of a linear classifier on each layer's features as they are after so \
             many epochs of pre-training, trained with {}% of the labels; first repetition. At \
             0 the weights are random and the normalisation has not seen an image yet.",
            capital(summary.experiment.judged_on()),
            percent(asked.fraction)
        ),
        frame: Frame {
            x_label: "epoch".into(),
            y_label: "accuracy, %".into(),
            same_y: true,
            ..Frame::default()
        },
        panels,
    })
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
