//! The demo's report: filters, curves, neighbours.

use std::path::Path;

use anyhow::Result;
use hebbian::network::Model;
use hebbian_data::{Dataset, Size};
use hebbian_search::Hit;

use super::{CLASSES, Findings, K, READ_AS, SIDE, Sample, table};
use crate::report::{NeighbourRow, Report, Section, Series, Thumb};

/// Position of the first image of a class.
pub fn first_of(data: &Dataset, class: usize) -> Option<usize> {
    (0..data.len()).find(|&row| data.label(row).is_some_and(|label| label as usize == class))
}

/// The whole report.
pub fn report(
    findings: &Findings,
    sample: &Sample,
    pretrained: &Model,
    out: &Path,
    (raw, tuned): (&[Vec<Hit>], &[Vec<Hit>]),
) -> Result<Report> {
    let first = &pretrained.network.blocks[0];
    let pretraining = metrics(&out.join("pretrain"))?;
    let (with, without) = (metrics(&out.join("tuned"))?, metrics(&out.join("scratch"))?);
    let layers = (0..pretrained.network.depth()).map(|layer| Series {
        name: format!("L{}", layer + 1),
        points: points(&pretraining, |line| line["change"][layer].as_f64()),
        ..Series::default()
    });
    let both = |field: &str, factor: f64| {
        let series = |name: &str, lines: &[serde_json::Value]| Series {
            name: name.into(),
            points: lines
                .iter()
                .filter_map(|line| {
                    Some((line["epoch"].as_f64()? + 1.0, line[field].as_f64()? * factor))
                })
                .collect(),
            ..Series::default()
        };
        vec![series("with pre-training", &with), series("without", &without)]
    };
    let sections = vec![
        Section::Table {
            heading: "What came out".into(),
            caption: format!(
                "Test images: {}. Labels: {} of {} (1%), protocol strict: no other label is \
                 looked at. mAP over the whole gallery. {}",
                findings.test_images,
                findings.labels,
                findings.train_images,
                READ_AS.join(" ")
            ),
            columns: vec!["measured".into(), "%".into()],
            rows: table(findings),
            best: Vec::new(),
        },
        Section::Filters {
            heading: "What the first layer learned, without labels".into(),
            caption: "The 96 weight vectors of L1, each in its own range about its mean, in \
                      the order of the components. The first have found the grey patches' \
                      principal components; the later ones still look like the coloured \
                      noise they began as."
                .into(),
            kernel: first.geometry.kernel,
            filters: first.weights.clone(),
        },
        neighbours("Nearest by features after fine-tuning", sample, tuned)?,
        neighbours("Nearest by raw pixels", sample, raw)?,
        Section::Chart {
            heading: "Pre-training: how far a step moves each layer".into(),
            caption: "Norm of a step's change over the norm of the weights.".into(),
            x_label: "step".into(),
            y_label: "relative change".into(),
            log_y: true,
            series: layers.collect(),
        },
        Section::Chart {
            heading: "Fine-tuning: loss".into(),
            caption: format!("Mean cross-entropy over the {} labelled images.", findings.labels),
            x_label: "epoch".into(),
            y_label: "loss".into(),
            log_y: false,
            series: both("loss", 1.0),
        },
        Section::Chart {
            heading: "Fine-tuning: accuracy on the labelled images".into(),
            caption: "Measured while training, with dropout.".into(),
            x_label: "epoch".into(),
            y_label: "accuracy, %".into(),
            log_y: false,
            series: both("train_accuracy", 100.0),
        },
        Section::Bars {
            heading: "Where the time went".into(),
            caption: String::new(),
            unit: "s".into(),
            bars: findings.seconds.clone(),
        },
        Section::Text {
            heading: "On your own photos".into(),
            paragraphs: vec![
                "hebb pretrain PHOTOS --out runs/photos".into(),
                "hebb index PHOTOS --model runs/photos --out gallery".into(),
                "hebb search gallery PHOTO.jpg".into(),
            ],
        },
    ];
    Ok(Report {
        title: "Hebbian learning on a small sample".into(),
        subtitle: format!(
            "{}\nnetwork cifar-6, rule HPCA, one pass; layer {}; seed {}; hebb {}",
            findings.data, findings.layer, findings.seed, findings.code_version
        ),
        sections,
    })
}

/// The lines of a run's metrics.
fn metrics(run: &Path) -> Result<Vec<serde_json::Value>> {
    let text = fs_err::read_to_string(run.join("metrics.jsonl"))?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn points(
    lines: &[serde_json::Value],
    y: impl Fn(&serde_json::Value) -> Option<f64>,
) -> Vec<(f64, f64)> {
    lines.iter().filter_map(|line| Some((line["step"].as_f64()?, y(line)?))).collect()
}

fn neighbours(heading: &str, sample: &Sample, hits: &[Vec<Hit>]) -> Result<Section> {
    let queries = (0..CLASSES.len()).filter_map(|class| first_of(&sample.test, class));
    let rows = queries.zip(hits).map(|(query, hits)| -> Result<NeighbourRow> {
        let label = sample.test.label(query);
        let hits = hits.iter().map(|hit| -> Result<Thumb> {
            let matches = sample.train.label(hit.index).zip(label).map(|(a, b)| a == b);
            let thumb = thumb(&sample.train, hit.index)?;
            Ok(Thumb { distance: Some(hit.distance), matches, ..thumb })
        });
        Ok(NeighbourRow { query: thumb(&sample.test, query)?, hits: hits.collect::<Result<_>>()? })
    });
    Ok(Section::Neighbours {
        heading: heading.into(),
        caption: format!(
            "The first test image of each class and its {K} nearest of {} images, with their \
             Euclidean distance.",
            sample.train.len()
        ),
        rows: rows.collect::<Result<_>>()?,
    })
}

fn thumb(data: &Dataset, row: usize) -> Result<Thumb> {
    let rgb = data.images().decode_at(row, Size::square(SIDE))?;
    let label = data.label(row).and_then(|l| data.classes().get(l as usize).cloned());
    Ok(Thumb { rgb, width: SIDE, height: SIDE, label, ..Thumb::default() })
}
