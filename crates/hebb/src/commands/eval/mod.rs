//! `hebb eval`

mod parts;
mod retrieval;

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::train::{accuracy, score};
use hebbian_lab::kernel;
use hebbian_search::Gallery;
use hebbian_search::metrics::{
    EvaluateOptions, MeanAveragePrecision, PrecisionAt, RetrievalReport,
};
use serde::Serialize;

use parts::Parts;
use retrieval::Retrieval;

use super::shared::{cached, labels_in, load_model, open, print_json};
use crate::cli::EvalArgs;
use crate::ui::{Progress, percent, print_table, say};

#[derive(Serialize, Default)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    classification: Option<Classification>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retrieval: Option<RetrievalReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nystroem: Option<usize>,
    /// Parts of the queries that other processes have to rank before there is a report.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_parts: Option<usize>,
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
        let options = EvaluateOptions { ks: args.k.clone(), truncate: args.truncate };
        let exclude_self = args.exclude_self;
        let how = Retrieval { options, exclude_self, nystroem: args.nystroem, seed: 0 };
        let work = how.work(&model, &gallery, (&data, &images), &device)?;
        let parts = Parts::open(args.parts.as_deref(), work.question())?;
        let shard = args.shard.map_or(0..work.parts(), |shard| shard.rows(work.parts()));
        for part in shard {
            if parts.load(part)?.is_none() {
                parts.store(part, &work.rank(part, &mut progress)?)?;
            }
        }
        match parts.sum(work.parts())? {
            Ok(sums) => report.retrieval = Some(sums.report()),
            Err(missing) => report.missing_parts = Some(missing),
        }
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
    if let Some(missing) = report.missing_parts {
        eprintln!("parts of the queries not ranked yet: {missing}; the last shard reports");
    }
    Ok(())
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
            "\n{} % of the relevant images are tied with others; in {}:",
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
