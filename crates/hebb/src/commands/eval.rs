//! `hebb eval`

use std::collections::HashMap;

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::network::{FeatureLayer, Model};
use hebbian::train::{accuracy, for_each_features, score};
use hebbian_data::{Dataset, Images};
use hebbian_lab::kernel;
use hebbian_search::metrics::{
    EvaluateOptions, MeanAveragePrecision, PrecisionAt, RetrievalReport, evaluate,
};
use hebbian_search::{Gallery, GalleryInfo, GalleryWriter, Vectors};
use serde::Serialize;

use super::shared::{cached, labels_in, load_model, open, print_json};
use crate::cli::EvalArgs;
use crate::ui::{Progress, percent, print_table, say};

/// How retrieval is measured.
pub struct Retrieval {
    /// Depths and the like.
    pub options: EvaluateOptions,
    /// Components of a Nystroem map fitted to the gallery, or none.
    pub nystroem: Option<usize>,
    /// Seed that draws its basis.
    pub seed: u64,
}

#[derive(Serialize, Default)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    classification: Option<Classification>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retrieval: Option<RetrievalReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nystroem: Option<usize>,
}

#[derive(Serialize)]
struct Classification {
    images: usize,
    skipped: usize,
    top1: f64,
    top5: f64,
}

/// Measures a model.
pub fn run(args: &EvalArgs) -> Result<()> {
    let device = Device::open(&args.common.device)?;
    kernel::check("--nystroem", args.nystroem)?;
    let model = load_model(&args.model)?;
    let data = open(&args.data)?;
    let mut progress = Progress::default();
    let images = cached(data.images(), &args.common, model.preprocess.size, &mut progress)?;
    if data.labelled() == 0 {
        let problem = "none of its images has a label, so there is nothing to measure against";
        return Err(hebbian::Error::file(data.path(), problem).into());
    }
    let mut report = Report::default();
    if model.head.is_some() {
        let truth = labels_in(&data, &model.classes);
        let found =
            score(&model, &images, &device, "classifying", &mut |event| progress.on(event))?;
        report.classification = Some(Classification {
            images: found.rows.iter().filter(|&&row| truth[row].is_some()).count(),
            skipped: found.skipped.len(),
            top1: accuracy(&found, 1, |row| truth[row]),
            top5: accuracy(&found, 5, |row| truth[row]),
        });
    } else if args.gallery.is_none() {
        let problem =
            "the model has no classifier; fine-tune it, or give --gallery to measure retrieval";
        return Err(hebbian::Error::config("--model", problem).into());
    }
    if let Some(path) = &args.gallery {
        let gallery = Gallery::open(path)?;
        gallery.check_model(&model.fingerprint()?)?;
        let (data, images) = match args.exclude_self {
            true => in_order(&gallery, data, images)?,
            false => (data, images),
        };
        let exclude_self = args.exclude_self;
        let options = EvaluateOptions { ks: args.k.clone(), truncate: args.truncate, exclude_self };
        let how = Retrieval { options, nystroem: args.nystroem, seed: 0 };
        report.retrieval =
            Some(retrieval(&model, &gallery, &data, &images, &how, &device, &mut progress)?);
        report.nystroem = args.nystroem;
    }
    if args.common.json {
        return print_json(&report);
    }
    if let Some(c) = &report.classification {
        say!("{} images: accuracy {} %, top-5 {} %", c.images, percent(c.top1), percent(c.top5));
    }
    if let Some(components) = report.nystroem {
        say!("Nystroem map of {components} components, fitted to the gallery");
    }
    if let Some(r) = &report.retrieval {
        print_retrieval(r)?;
    }
    Ok(())
}

/// The images in the gallery's order; refuses those that are not the gallery's, one by one.
fn in_order(gallery: &Gallery, data: Dataset, images: Images) -> Result<(Dataset, Images)> {
    let rows: HashMap<String, usize> = (0..data.len()).map(|row| (data.id(row), row)).collect();
    let order: Option<Vec<usize>> =
        gallery.items().map(|item| rows.get(&item.id).copied()).collect();
    match order {
        Some(order) if order.len() == data.len() => {
            Ok((data.subset(&order), images.subset(&order)))
        }
        _ => {
            let problem = "needs the very images that the gallery holds";
            Err(hebbian::Error::config("--exclude-self", problem).into())
        }
    }
}

/// Ranks the gallery for every image of `data`; the queries' features go
/// through a file, so that memory stays bounded.
pub fn retrieval(
    model: &Model,
    gallery: &Gallery,
    data: &Dataset,
    images: &Images,
    how: &Retrieval,
    device: &Device,
    progress: &mut Progress,
) -> Result<RetrievalReport> {
    let layer = FeatureLayer::of(model, Some(&gallery.info().layer))?;
    let beside = tempfile::tempdir()?;
    let dim = gallery.info().dim;
    let info = GalleryInfo::new(dim, model.fingerprint()?, "queries", layer.to_string());
    let mut writer = GalleryWriter::create(beside.path().join("queries"), info, false)?;
    let mut rows = Vec::new();
    for_each_features(model, layer, images, device, "queries", &mut |e| progress.on(e), |r, f| {
        rows.extend(r.to_vec());
        let items = super::index::items(data, r);
        writer.push(&items, &f).map_err(|e| hebbian::Error::Data(e.to_string()))
    })?;
    let queries = writer.finish()?;
    // Classes are matched by name: the two sets may number them differently.
    let mut names: Vec<String> = data.classes().to_vec();
    names.extend(gallery.items().filter_map(|item| item.label.clone()));
    names.sort();
    names.dedup();
    let number = |name: &String| names.binary_search(name).ok().and_then(|n| u32::try_from(n).ok());
    let of_query = |&row: &usize| data.label(row).and_then(|l| number(&data.classes()[l as usize]));
    let query_labels: Vec<_> = rows.iter().map(of_query).collect();
    let gallery_labels: Vec<_> =
        gallery.items().map(|item| item.label.as_ref().and_then(number)).collect();
    let mapped = match how.nystroem {
        None => None,
        Some(components) => {
            let map = kernel::fit(gallery, components, how.seed)?;
            let at = |name: &str| beside.path().join(name);
            let gallery = kernel::apply(&map, gallery, &at("mapped gallery"))?;
            Some((gallery, kernel::apply(&map, &queries, &at("mapped queries"))?))
        }
    };
    let (vectors, queries): (&dyn Vectors, &dyn Vectors) = match &mapped {
        None => (gallery, &queries),
        Some((gallery, queries)) => (gallery, queries),
    };
    let mut count = progress.counter("ranking");
    let (known, asked, options) = (&gallery_labels, &query_labels, &how.options);
    Ok(evaluate(vectors, known, queries, asked, options, &mut count)?)
}

/// Prints a retrieval report.
pub fn print_retrieval(r: &RetrievalReport) -> Result<()> {
    say!(
        "{} queries against {} images, Euclidean distance, ties {}; {} without a label and {} \
         without a relevant image left out",
        r.queries,
        r.gallery,
        r.ties,
        r.without_label,
        r.without_relevant
    );
    print_means(&r.mean_average_precision, &r.precision)?;
    // Ties that hardly occur change nothing.
    if let Some(expected) = r.expected_over_ties.as_ref().filter(|e| e.tied >= 0.01) {
        say!(
            "\n{} % of the distances are tied; in {}:",
            percent(expected.tied),
            expected.definition
        );
        print_means(&expected.mean_average_precision, &expected.precision)?;
    }
    Ok(())
}

fn print_means(all: &[MeanAveragePrecision], precision: &[PrecisionAt]) -> Result<()> {
    let rows = all.iter().map(|m| {
        let k = if m.whole_gallery { "whole gallery".into() } else { m.k.to_string() };
        let precision = precision.iter().find(|p| p.k == m.k);
        let precision = precision.map_or(String::new(), |p| percent(p.precision));
        vec![k, precision, percent(m.retrieved), percent(m.truncated), percent(m.relevant)]
    });
    let columns = ["rank", "precision", "mAP retrieved", "mAP truncated", "mAP relevant"];
    print_table(&columns, &rows.collect::<Vec<_>>())?;
    Ok(())
}
