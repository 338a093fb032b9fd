//! An experiment's charts: by layer, by amount of labels, by epoch.

use hebbian_lab::Summary;
use hebbian_lab::grid::{depth_of, percent};
use hebbian_lab::spec::same;
use hebbian_lab::statistics::Sample;
use hebbian_lab::summary::Place;

use super::page::capital;
use crate::report::{Frame, Section, Series};

/// Fewest runs whose interval is drawn: that of two is wider than the chart.
const DRAWN: usize = 3;

/// Most lines that an eye can follow in one chart; of more, tables say it better.
pub const LINES: usize = 8;

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
            add(&mut series, x, sample);
            series.marks.extend(paper.map(|paper| (x, paper)));
        }
        series
    });
    series.collect()
}

/// A mean, and its interval where there are runs enough; a gap for none.
fn add(series: &mut Series, x: f64, sample: Option<&Sample>) {
    series.points.push((x, sample.map_or(f64::NAN, |sample| sample.mean)));
    let interval = sample.filter(|sample| sample.n() >= DRAWN);
    let interval = interval.and_then(|sample| Some((sample.mean, sample.half_width?)));
    series.band.extend(interval.map(|(mean, half)| (x, mean - half, mean + half)));
}

/// What the reader is told of bands, where any is drawn.
fn bands(panels: &[(String, Vec<Series>)]) -> String {
    match panels.iter().flat_map(|(_, series)| series).any(|series| !series.band.is_empty()) {
        true => format!(
            " Bands and strokes: 95% confidence intervals, where there are {DRAWN} runs or more."
        ),
        false => String::new(),
    }
}

/// A panel for each amount of labels, with `drawn` of the places along the layers.
fn along_layers(summary: &Summary<'_>, drawn: Drawn) -> Vec<(String, Vec<Series>)> {
    let panels = summary.fractions.iter().map(|&fraction| {
        let of = |method: &str| {
            let row = summary.row(fraction, method);
            row.into_iter().map(|place| (depth_of(&place.layer) as f64, place)).collect()
        };
        (format!("{}% of the labels", percent(fraction)), series(summary, drawn, of))
    });
    panels.collect()
}

fn by_layer(summary: &Summary<'_>) -> Section {
    let panels = along_layers(summary, accuracy);
    Section::Panels {
        heading: "Accuracy by layer".into(),
        caption: format!("Each panel has its own vertical axis.{}", bands(&panels)),
        frame: Frame {
            x_label: "layer".into(),
            y_label: "accuracy, %".into(),
            affixes: ["L", ""],
            ..Frame::default()
        },
        panels,
    }
}

/// What is gained over the baseline, where the file names one.
fn gains_by_layer(summary: &Summary<'_>) -> Option<Section> {
    let baseline = summary.experiment.baseline.as_ref()?;
    let panels = along_layers(summary, gain);
    Some(Section::Panels {
        heading: format!("Gain over {baseline} by layer"),
        caption: format!(
            "Means of the differences between runs of the same split and labels. All panels have \
             the same vertical axis.{}",
            bands(&panels)
        ),
        frame: Frame {
            x_label: "layer".into(),
            y_label: "gain, points".into(),
            affixes: ["L", ""],
            same_y: true,
            zero: true,
            ..Frame::default()
        },
        panels,
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
    let panels: Vec<(String, Vec<Series>)> = panels.collect();
    Section::Panels {
        heading: "Accuracy by number of labels".into(),
        caption: format!("All panels have the same vertical axis.{}", bands(&panels)),
        frame: along_labels("accuracy, %"),
        panels,
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
            let mut series = Series { name: method.clone(), ..Series::default() };
            for &&fraction in &fractions {
                let here = whole().find(|ranking| {
                    ranking.method == *method
                        && ranking.layer == *features
                        && same(ranking.fraction, fraction)
                });
                add(&mut series, 100.0 * fraction, here.and_then(|here| here.relevant.as_ref()));
            }
            series
        };
        (features.clone(), summary.methods.iter().map(of).collect())
    });
    let panels: Vec<(String, Vec<Series>)> = panels.collect();
    (fractions.len() > 1).then(|| Section::Panels {
        heading: "Retrieval by number of labels".into(),
        caption: format!(
            "Mean average precision of every {} image against all training images, over the \
             whole gallery, where its definitions are one. All panels have the same vertical \
             axis.{}",
            summary.experiment.judged_on(),
            bands(&panels)
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
