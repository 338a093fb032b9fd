//! `hebb predict`

use std::io::Write;

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::network::softmax_rows;
use hebbian::train::score;
use hebbian_data::Dataset;
use serde::Serialize;

use super::shared::{cached, csv_field, load_model, print_json};
use crate::cli::PredictArgs;
use crate::ui::Progress;

#[derive(Serialize)]
struct Prediction {
    path: String,
    label: String,
    probability: f32,
}

/// Classifies images: CSV of path, label and probability, or JSON.
pub fn run(args: &PredictArgs) -> Result<()> {
    let device = Device::open(&args.common.device)?;
    let model = load_model(&args.model)?;
    let mut progress = Progress::default();
    let mut predictions = Vec::new();
    for path in &args.images {
        let data = Dataset::open(path)?;
        let images = cached(data.images(), &args.common, model.preprocess.size, &mut progress)?;
        let mut found =
            score(&model, &images, &device, "classifying", &mut |event| progress.on(event))?;
        softmax_rows(&mut found.scores, found.classes);
        for (&row, scores) in found.rows.iter().zip(found.scores.chunks_exact(found.classes)) {
            let best =
                scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
            let Some((class, &probability)) = best else { continue };
            let path = images.id(row);
            predictions.push(Prediction { path, label: model.classes[class].clone(), probability });
        }
    }
    if args.common.json {
        return print_json(&predictions);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    writeln!(out, "path,label,probability")?;
    for p in &predictions {
        writeln!(out, "{},{},{:.4}", csv_field(&p.path), csv_field(&p.label), p.probability)?;
    }
    out.flush()?;
    Ok(())
}
