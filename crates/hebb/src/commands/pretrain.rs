//! `hebb pretrain`

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::network::{Model, write_atomically};
use hebbian::train::pretrain;
use hebbian_data::{Preprocess, Size};
use serde_json::json;

use super::shared::{absolute, cached, open, open_run, print_json};
use crate::cli::PretrainArgs;
use crate::report::filters_png;
use crate::settings::Settings;
use crate::ui::{Progress, say};

/// Layout of the picture of the first layer's filters.
const FILTERS_A_ROW: usize = 12;
/// Pixels a weight.
const FILTER_SCALE: usize = 8;

/// Pre-trains a network on images without labels.
pub fn run(args: &PretrainArgs) -> Result<()> {
    let device = Device::open(&args.common.device)?;
    let integer = |n: Option<usize>| n.map(|n| toml::Value::Integer(n.cast_signed() as i64));
    let settings = Settings::read(
        &args.settings,
        &[
            ("rule.name", args.rule.clone().map(Into::into)),
            ("network", args.network.clone().map(Into::into)),
            ("size", integer(args.size)),
            ("pretrain.epochs", integer(args.epochs)),
        ],
    )?;
    let (rule, spec) = (settings.rule()?, settings.network()?);
    settings.pretrain.check(spec.blocks.len())?;
    // Only images from here on: labels stay behind.
    let images = open(&args.data)?.images();
    let config = settings.to_config(&[("data", absolute(&args.data.data))])?;
    let (mut run, from) = open_run(&args.run, &config)?;
    let mut progress = Progress::default();
    let size = Size { height: spec.input[0], width: spec.input[1] };
    let images = cached(images, &args.common, size, &mut progress)?;
    let model = match &from {
        Some(checkpoint) => checkpoint.model.clone(),
        None => {
            let whitening = settings.whitening()?;
            let mut count = progress.counter("channel statistics");
            let preprocess =
                Preprocess::fit(&images, size, whitening, settings.smoothing, &mut count)?;
            Model::new(spec, rule.as_ref(), preprocess, settings.seed)?
        }
    };
    let config = &settings.pretrain;
    let (model, skipped) = pretrain(
        model,
        rule.as_ref(),
        &images,
        config,
        &device,
        Some(&mut run),
        from,
        &mut |event| progress.on(event),
    )?;
    model.save(&run.model_path())?;
    let first = &model.network.blocks[0];
    let picture = filters_png(&first.weights, first.geometry.kernel, FILTERS_A_ROW, FILTER_SCALE);
    write_atomically(&args.run.out.join("filters.png"), &picture)?;
    if args.common.json {
        return print_json(&json!({
            "model": run.model_path(),
            "rule": rule.name(),
            "images": model.provenance.pretrained_images,
            "skipped": skipped.len(),
            "epochs": config.epochs,
            "seed": settings.seed,
        }));
    }
    say!("{}", run.model_path().display());
    eprintln!("the first layer's filters: {}", args.run.out.join("filters.png").display());
    let (data, out) = (args.data.data.display(), args.run.out.display());
    eprintln!("hint: try `hebb index {data} --model {out} --out gallery`, or");
    eprintln!("      `hebb finetune {data} --labels LABELS.csv --model {out} --out tuned`");
    Ok(())
}
