//! `hebb finetune`

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::train::{LabelledImages, Protocol, check_labels, finetune};
use hebbian_data::Dataset;
use serde_json::json;

use super::shared::{
    absolute, cached, depth, labelled, labels_in, load_model, open, open_run, print_json, trained,
};
use crate::cli::FinetuneArgs;
use crate::settings::Settings;
use crate::ui::{Progress, say};

/// Fine-tunes a network and a classifier.
pub fn run(args: &FinetuneArgs) -> Result<()> {
    let device = Device::open(&args.common.device)?;
    let hidden = args.hidden.map(|units| {
        let units = toml::Value::Integer(units.cast_signed() as i64);
        toml::Table::from_iter([("hidden".to_owned(), units)]).into()
    });
    let size = args.size.map(|n| toml::Value::Integer(n.cast_signed() as i64));
    let network = args.network.clone().map(Into::into);
    let options = [("finetune.classifier", hidden), ("network", network), ("size", size)];
    let settings = Settings::read(&args.settings, &options)?;
    settings.finetune.check()?;
    if args.model.is_none() {
        settings.network()?;
    }
    let data = open(&args.data)?;
    let mut train = labelled(&data, &args.amount, settings.seed)?;
    check_labels(&train, data.classes())?;
    let validation = match (&args.validation, settings.finetune.protocol) {
        (Some(path), Protocol::Published) => Some(validation_images(path, data.classes())?),
        (None, Protocol::Strict) => None,
        _ => {
            let problem = "published needs --validation, strict must go without";
            return Err(hebbian::Error::config("finetune.protocol", problem).into());
        }
    };
    let base = match &args.model {
        None => "random weights".to_owned(),
        Some(path) => format!("{} {}", absolute(path), load_model(path)?.fingerprint()?),
    };
    let inputs = [
        ("data", absolute(&args.data.data)),
        ("labels", format!("{} of {}", train.labels.len(), data.labelled())),
        ("model", base),
        ("layer", args.layer.clone().unwrap_or_else(|| "last".into())),
    ];
    let (run, from) = open_run(&args.run, &settings.to_config(&inputs)?)?;
    let mut progress = Progress::default();
    let mut model = match (&from, &args.model) {
        (Some(checkpoint), _) => checkpoint.model.clone(),
        (None, Some(path)) => load_model(path)?,
        (None, None) => settings.model(&data.images(), &mut progress)?,
    };
    if from.is_none() {
        let depth = depth(&model, args.layer.as_deref())?;
        model.network = model.network.cut(depth);
        model.provenance.seed = settings.seed;
    }
    train.images = cached(train.images, &args.common, model.preprocess.size, &mut progress)?;
    let (labels, classes) = (train.labels.len(), data.classes().to_vec());
    let (run, model, skipped) = trained(&args.run, run, &mut progress, |run, progress| {
        finetune(
            model,
            &train,
            validation.as_ref(),
            &classes,
            &settings.finetune,
            &device,
            Some(run),
            from,
            &mut |event| progress.on(event),
        )
    })?;
    run.finish(&model)?;
    if args.common.json {
        return print_json(&json!({
            "model": run.model_path(),
            "layer": model.layer(),
            "classifier": settings.finetune.classifier,
            "labels": labels,
            "classes": classes.len(),
            "skipped": skipped.len(),
            "protocol": settings.finetune.protocol,
            "seed": settings.seed,
        }));
    }
    say!("{}", run.model_path().display());
    eprintln!(
        "hint: `hebb predict IMAGES --model {}` classifies new images",
        args.run.out.display()
    );
    Ok(())
}

fn validation_images(path: &std::path::Path, classes: &[String]) -> Result<LabelledImages> {
    let data = Dataset::open(path)?;
    let labels = labels_in(&data, classes);
    let rows: Vec<usize> = (0..data.len()).filter(|&i| labels[i].is_some()).collect();
    let kept = rows.iter().filter_map(|&i| labels[i]).collect();
    Ok(LabelledImages { images: data.images().subset(&rows), labels: kept })
}
