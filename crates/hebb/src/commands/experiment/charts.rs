//! An experiment's charts: by layer, by amount of labels, by epoch.

use hebbian_lab::Summary;
use hebbian_lab::grid::{depth_of, percent};
use hebbian_lab::spec::same;
use hebbian_lab::statistics::Sample;
use hebbian_lab::summary::Place;

use super::words::capital;
use crate::report::{Frame, Section, Series};

/// Fewest runs whose interval is drawn: that of two is wider than the chart.
const DRAWN: usize = 3;

/// Most lines that an eye can follow in one chart.
pub const LINES: usize = 8;

/// Which methods have a line in charts.
pub struct Lines<'a> {
    /// Those that have one, in the order of their colours.
    drawn: Vec<&'a str>,
    /// Those that are left to the tables; their colours come after.
    left: Vec<&'a str>,
}

impl<'a> Lines<'a> {
    /// All methods; of more than an eye can follow, those measured in the most
    /// places of the table, and none where the measured places don't tell them
    /// apart.
    pub fn of(summary: &'a Summary<'_>) -> Self {
        let places = |method: &str| {
            let places = summary.places.iter();
            places.filter(|place| place.method == method && place.sample.is_some()).count()
        };
        let mut counts: Vec<usize> = summary.methods.iter().map(|m| places(m)).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        // Of the first method that would be a line too many.
        let many = counts.get(LINES).copied().unwrap_or(0);
        let methods = summary.methods.iter().map(String::as_str);
        let (drawn, left) = methods.partition(|method| many == 0 || places(method) > many);
        Self { drawn, left }
    }

    /// The place of a method's colour.
    pub fn colour(&self, method: &str) -> usize {
        let mut all = self.drawn.iter().chain(&self.left);
        all.position(|other| *other == method).unwrap_or(0)
    }

    /// What the reader is told of those that are left out.
    fn note(&self) -> String {
        match self.left.is_empty() {
            true => String::new(),
            false => format!(" Not drawn, as they are in few places: {}.", self.left.join("; ")),
        }
    }
}

/// The charts, each with a name for its file.
pub fn charts(summary: &Summary<'_>) -> Vec<(&'static str, Section)> {
    let lines = &Lines::of(summary);
    let mut charts = Vec::new();
    if summary.layers.len() > 1 && !lines.drawn.is_empty() {
        charts.push(("by-layer", by_layer(summary, lines)));
        charts.extend(gains_by_layer(summary, lines).map(|section| ("gains", section)));
    }
    if summary.fractions.len() > 1 && !lines.drawn.is_empty() {
        charts.push(("by-labels", by_labels(summary, lines)));
    }
    charts.extend(convergence(summary, lines).map(|section| ("by-epoch", section)));
    if !lines.drawn.is_empty() {
        charts.extend(retrieval_by_labels(summary, lines).map(|section| ("retrieval", section)));
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
    lines: &Lines<'_>,
    drawn: Drawn,
    of: impl Fn(&str) -> Vec<(f64, &'s Place)>,
) -> Vec<Series> {
    let series = lines.drawn.iter().map(|method| {
        let mut series = Series { name: (*method).to_owned(), ..Series::default() };
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

/// What the reader is told of bands, where any is drawn, and of what is not.
fn notes(lines: &Lines<'_>, panels: &[(String, Vec<Series>)]) -> String {
    let bands = panels.iter().flat_map(|(_, series)| series).any(|s| !s.band.is_empty());
    let bands = match bands {
        true => format!(
            " Bands and strokes: 95% confidence intervals, where there are {DRAWN} runs or more."
        ),
        false => String::new(),
    };
    bands + &lines.note()
}

/// A panel for each amount of labels, with `drawn` of the places along the layers.
fn along_layers(
    summary: &Summary<'_>,
    lines: &Lines<'_>,
    drawn: Drawn,
) -> Vec<(String, Vec<Series>)> {
    let panels = summary.fractions.iter().map(|&fraction| {
        let of = |method: &str| {
            let row = summary.row(fraction, method);
            row.into_iter().map(|place| (depth_of(&place.layer) as f64, place)).collect()
        };
        (format!("{}% of the labels", percent(fraction)), series(lines, drawn, of))
    });
    panels.collect()
}

fn by_layer(summary: &Summary<'_>, lines: &Lines<'_>) -> Section {
    let panels = along_layers(summary, lines, accuracy);
    Section::Panels {
        heading: "Accuracy by layer".into(),
        caption: format!("Each panel has its own vertical axis.{}", notes(lines, &panels)),
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
fn gains_by_layer(summary: &Summary<'_>, lines: &Lines<'_>) -> Option<Section> {
    let baseline = summary.experiment.baseline.as_ref()?;
    let panels = along_layers(summary, lines, gain);
    Some(Section::Panels {
        heading: format!("Gain over {baseline} by layer"),
        caption: format!(
            "Means of the differences between runs of the same split and labels. All panels have \
             the same vertical axis.{}",
            notes(lines, &panels)
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

fn by_labels(summary: &Summary<'_>, lines: &Lines<'_>) -> Section {
    let panels = summary.layers.iter().map(|layer| {
        let of = |method: &str| {
            let places = summary.fractions.iter().filter_map(|&fraction| {
                let place = summary.place(fraction, method, layer)?;
                Some((100.0 * fraction, place))
            });
            places.collect()
        };
        (layer.clone(), series(lines, accuracy, of))
    });
    let panels: Vec<(String, Vec<Series>)> = panels.collect();
    Section::Panels {
        heading: "Accuracy by number of labels".into(),
        caption: format!("All panels have the same vertical axis.{}", notes(lines, &panels)),
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
fn retrieval_by_labels(summary: &Summary<'_>, lines: &Lines<'_>) -> Option<Section> {
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
        let of = |method: &&str| {
            let mut series = Series { name: (*method).to_owned(), ..Series::default() };
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
        (features.clone(), lines.drawn.iter().map(of).collect())
    });
    let panels: Vec<(String, Vec<Series>)> = panels.collect();
    (fractions.len() > 1).then(|| Section::Panels {
        heading: "Retrieval by number of labels".into(),
        caption: format!(
            "Mean average precision of every {} image against all training images, over the \
             whole gallery, where its definitions are one. All panels have the same vertical \
             axis.{}",
            summary.experiment.judged_on(),
            notes(lines, &panels)
        ),
        frame: along_labels("mAP, %"),
        panels,
    })
}

fn convergence(summary: &Summary<'_>, lines: &Lines<'_>) -> Option<Section> {
    let e = summary.experiment;
    let asked = e.convergence.as_ref()?;
    let panels = summary.probed().filter_map(|layer| {
        let of_layer = |method: &&str| Series {
            name: (*method).to_owned(),
            points: summary
                .convergence(method)
                .iter()
                .filter(|probe| probe.layer == *layer)
                .map(|probe| (probe.epoch as f64, 100.0 * probe.accuracy))
                .collect(),
            ..Series::default()
        };
        let series: Vec<Series> = lines.drawn.iter().chain(&lines.left).map(of_layer).collect();
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
