//! `hebb finetune`

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::train::{LabelledImages, Protocol, check_labels, finetune};
use hebbian_data::Dataset;
use serde_json::json;

use super::shared::{
    absolute, cached, depth, labelled, labels_in, load_model, model_of_first, open, open_run,
    print_json, trained,
};
use crate::cli::FinetuneArgs;
use crate::processes::Processes;
use crate::settings::{Method, Settings};
use crate::ui::{Progress, say};

/// Fine-tunes a network and a classifier.
pub fn run(args: &FinetuneArgs) -> Result<()> {
    let processes = Processes::join()?;
    let prepare = || -> Result<_> {
        let hidden = args.hidden.map(|units| {
            let units = toml::Value::Integer(units.cast_signed() as i64);
            toml::Table::from_iter([("hidden".to_owned(), units)]).into()
        });
        let size = args.size.map(|n| toml::Value::Integer(n.cast_signed() as i64));
        let network = args.network.clone().map(Into::into);
        let options = [("finetune.classifier", hidden), ("network", network), ("size", size)];
        let settings = Settings::read(&args.settings, &options, None)?;
        let group = processes.in_parts(settings.parts)?;
        let device = Device::open(&args.common.device)?.shared(&group)?;
        settings.finetune.check()?;
        if args.model.is_none() {
            settings.network()?;
        }
        let data = open(&args.data)?;
        let train = labelled(&data, &args.amount, settings.seed)?;
        check_labels(&train, data.classes())?;
        let validation = match (&args.validation, settings.finetune.protocol) {
            (Some(path), Protocol::Published) => Some(validation_images(path, data.classes())?),
            (None, Protocol::Strict) => None,
            _ => {
                let problem = "published needs --validation, strict must go without";
                return Err(hebbian::Error::config("finetune.protocol", problem).into());
            }
        };
        Ok((device, settings, data, train, validation))
    };
    let (device, settings, data, mut train, validation) = processes.agree(prepare())?;
    let base = match &args.model {
        None => "random weights".to_owned(),
        Some(path) => {
            let model = processes.agree(load_model(path))?;
            format!("{} {}", absolute(path), model.fingerprint()?)
        }
    };
    let inputs = [
        ("data", absolute(&args.data.data)),
        ("labels", format!("{} of {}", train.labels.len(), data.labelled())),
        ("model", base),
        ("layer", args.layer.clone().unwrap_or_else(|| "last".into())),
    ];
    // Random weights are those of a network for the rule, where one is asked for.
    let used: &[&str] = match settings.method {
        Method::Hebbian => &["method", "rule", "finetune"],
        Method::Pca | Method::Vae => &["finetune"],
    };
    let (run, from) = open_run(&args.run, &settings.to_config(&inputs, used)?, &processes)?;
    let mut progress = Progress::of(&processes);
    let mut model = match (&from, &args.model) {
        (Some(checkpoint), _) => checkpoint.model.clone(),
        (None, Some(path)) => load_model(path)?,
        (None, None) => {
            model_of_first(&processes, || settings.model(&data.images(), &mut progress))?
        }
    };
    if from.is_none() {
        let depth = processes.agree(depth(&model, args.layer.as_deref()))?;
        model.network = model.network.cut(depth);
        model.provenance.seed = settings.seed;
    }
    train.images = processes.first_alone(|| {
        let (images, size) = (train.images.clone(), model.preprocess.size);
        cached(images, &args.common, size, &mut Progress::default())
    })?;
    let (labels, classes) = (train.labels.len(), data.classes().to_vec());
    let trained = trained(&args.run, run, &mut progress, |run, progress| {
        finetune(
            model,
            &train,
            validation.as_ref(),
            &classes,
            &settings.finetune,
            &device,
            run,
            from,
            &mut |event| progress.on(event),
        )
    })?;
    let Some((run, model, skipped)) = trained else { return Ok(()) };
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
