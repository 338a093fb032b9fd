//! `hebb pretrain`

use std::path::Path;

use anyhow::Result;
use hebbian::Error;
use hebbian::engine::Device;
use hebbian::network::{Model, write_atomically};
use hebbian::train::{
    Checkpoint, Every, PcaConfig, RunFolder, check_components, check_rule, pretrain, pretrain_pca,
    pretrain_vae,
};
use hebbian_data::{Dataset, Images, Size, Skipped};
use serde_json::json;

use super::shared::{absolute, cached, model_of_first, open, open_run, print_json, trained};
use crate::cli::{PretrainArgs, RunArgs};
use crate::processes::Processes;
use crate::report::filters_png;
use crate::settings::{Method, QUICK_LAYERS, Settings};
use crate::ui::{Progress, say};

/// Layout of the picture of the first layer's filters.
const FILTERS_A_ROW: usize = 12;
/// Pixels a weight.
const FILTER_SCALE: usize = 8;

/// Pre-trains a network on images without labels.
pub fn run(args: &PretrainArgs) -> Result<()> {
    let processes = Processes::join()?;
    let prepare = || {
        let settings = settings(args)?;
        let group = processes.in_parts(settings.parts)?;
        let device = Device::open(&args.common.device)?.shared(&group)?;
        check(&settings, &device)?;
        // Only images from here on: labels stay behind.
        let images = open(&args.data)?.images();
        if settings.method == Method::Pca {
            check_components(&settings.network()?, images.len().min(settings.pca.images))?;
        }
        let validation = args.validation.as_deref().map(Dataset::open).transpose()?;
        Ok((device, settings, images, validation.map(|data| data.images())))
    };
    let (device, settings, images, validation) = processes.agree(prepare())?;
    let mut inputs = vec![("data", absolute(&args.data.data))];
    inputs.extend(args.validation.as_deref().map(|path| ("validation", absolute(path))));
    let config = settings.to_config(&inputs, settings.method.used())?;
    let (run, from) = open_run(&args.run, &config, &processes)?;
    processes.check_same("images", &images.len().to_string())?;
    let mut progress = Progress::of(&processes);
    let [height, width, _] = settings.network()?.input;
    let size = Size { height, width };
    let images = processes
        .first_alone(|| cached(images.clone(), &args.common, size, &mut Progress::default()))?;
    let images = settings.kept(images, size);
    let model = match &from {
        Some(checkpoint) => checkpoint.model.clone(),
        None => model_of_first(&processes, || settings.model(&images, &mut progress))?,
    };
    let trained = trained(&args.run, run, &mut progress, |run, progress| {
        let images = (&images, validation.as_ref());
        train(&settings, model, images, &device, (run, from), progress)
    })?;
    let Some((run, model, skipped)) = trained else { return Ok(()) };
    run.finish(&model)?;
    let first = &model.network.blocks[0];
    let picture = filters_png(&first.weights, first.geometry.kernel, FILTERS_A_ROW, FILTER_SCALE);
    write_atomically(&args.run.out.join("filters.png"), &picture)?;
    if args.common.json {
        return print_json(&json!({
            "model": run.model_path(),
            "method": settings.method,
            "rule": model.rule.as_ref().map(|rule| &rule.name),
            "images": model.provenance.pretrained_images,
            "skipped": skipped.len(),
            "epochs": model.provenance.pretrained_epochs,
            "seed": settings.seed,
        }));
    }
    say!("{}", run.model_path().display());
    let (seen, all) = (model.provenance.pretrained_images, images.len());
    if settings.method == Method::Pca && seen + skipped.len() < all {
        eprintln!("learned from {seen} of {all} images; --set pca.images=N takes more");
    }
    eprintln!("the first layer's filters: {}", args.run.out.join("filters.png").display());
    let (data, out) = (args.data.data.display(), args.run.out.display());
    eprintln!("hint: try `hebb index {data} --model {out} --out gallery`, or");
    eprintln!("      `hebb finetune {data} --labels LABELS.csv --model {out} --out tuned`");
    Ok(())
}

/// Pre-trains the first layers of the default network on images into folder `out`, or goes on with
/// what was begun there: by principal components, which take the least time; and while nothing is
/// tuned, averages of the second layer's map find more of the same class than other layers.
pub fn quick(
    images: &Images,
    (data, out): (&Path, &Path),
    device: &Device,
    progress: &mut Progress,
) -> Result<()> {
    let pca = PcaConfig { images: images.len(), ..PcaConfig::default() };
    let settings = Settings { method: Method::Pca, pca, ..Settings::default() };
    let config = settings.to_config(&[("data", absolute(data))], settings.method.used())?;
    // What was begun otherwise, as with fewer images, is begun anew.
    let resume = fs_err::read_to_string(out.join("config.toml")).is_ok_and(|old| old == config);
    let (out, checkpoint_every) = (out.to_owned(), Every::default());
    let run = RunArgs { out, resume, overwrite: !resume, checkpoint_every, dashboard: false };
    let (mut run, from) = open_run(&run, &config, &Processes::alone())?;
    let [height, width, _] = settings.network()?.input;
    let images = settings.kept(images.clone(), Size { height, width });
    let model = match &from {
        Some(checkpoint) => checkpoint.model.clone(),
        None => {
            let mut model = settings.model(&images, progress)?;
            model.network = model.network.cut(QUICK_LAYERS);
            model
        }
    };
    let observer = &mut |event: hebbian::train::Event<'_>| progress.on(event);
    let run_of = run.as_mut();
    let (model, _) = pretrain_pca(model, &images, &settings.pca, device, run_of, from, observer)?;
    Ok(run.map_or(Ok(()), |run| run.finish(&model))?)
}

/// The settings asked for.
fn settings(args: &PretrainArgs) -> Result<Settings> {
    let integer = |n: Option<usize>| n.map(|n| toml::Value::Integer(n.cast_signed() as i64));
    let method = args.method.map(toml::Value::try_from).transpose()?;
    let options = [
        ("method", method),
        ("rule.name", args.rule.clone().map(Into::into)),
        ("network", args.network.clone().map(Into::into)),
        ("size", integer(args.size)),
    ];
    let settings = Settings::read(&args.settings, &options, args.epochs)?;
    // What was typed for another method would be passed over in silence.
    let typed = |section: &str| {
        let set = args.settings.set.iter().map(|set| set.trim_start());
        set.map(|set| set.split('=').next().unwrap_or(set)).find(|key| key.starts_with(section))
    };
    let of_rule = || {
        let rule = args.rule.as_ref().map(|_| "--rule");
        rule.or(typed("rule.")).or(typed("pretrain."))
    };
    let of_vae = args.validation.as_ref().map(|_| "--validation").or(typed("vae."));
    let of_vae = of_vae.map(|field| (field, "is for a VAE; give --method vae, or leave it out"));
    let of_pca =
        typed("pca.").map(|field| (field, "is for --method pca; give it, or leave it out"));
    let found = match settings.method {
        Method::Pca => {
            let epochs = args.epochs.map(|_| "--epochs");
            let problem = "is for training by a rule: principal components have neither epochs \
                           nor a rate; leave it out, or give --method hebbian";
            epochs.or_else(of_rule).map(|field| (field, problem)).or(of_vae)
        }
        Method::Hebbian => of_vae.or(of_pca),
        Method::Vae => {
            let problem = "is for training by a rule; leave it out (settings of the VAE are \
                           vae.epochs and so on)";
            of_rule().map(|field| (field, problem)).or(of_pca)
        }
    };
    found.map_or(Ok(settings), |(field, problem)| Err(Error::config(field, problem).into()))
}

/// Whether a network can be pre-trained like this.
///
/// # Errors
/// What is wrong with the network, the settings of the method, or the device.
fn check(settings: &Settings, device: &Device) -> Result<()> {
    let spec = settings.network()?;
    match settings.method {
        Method::Hebbian => {
            check_rule(&spec)?;
            settings.rule()?;
            settings.pretrain.check(spec.blocks.len())?;
        }
        Method::Pca => {
            check_rule(&spec)?;
            settings.pca.check()?;
        }
        Method::Vae => {
            settings.vae.check()?;
            if device.group().is_split() {
                let problem = "a VAE trains in one process and part; start it once";
                return Err(Error::config("--method", problem).into());
            }
            if !matches!(device, Device::Cpu) {
                let problem = "a VAE trains on the CPU only; leave it out, or give cpu";
                return Err(Error::config("--device", problem).into());
            }
        }
    }
    Ok(())
}

/// Pre-trains a network by the method of the settings, from random weights or
/// from a checkpoint.
fn train(
    settings: &Settings,
    model: Model,
    (images, validation): (&Images, Option<&Images>),
    device: &Device,
    (run, from): (Option<&mut RunFolder>, Option<Checkpoint>),
    progress: &mut Progress,
) -> hebbian::Result<(Model, Vec<Skipped>)> {
    let observer = &mut |event: hebbian::train::Event<'_>| progress.on(event);
    match settings.method {
        Method::Hebbian => {
            let (rule, config) = (settings.rule()?, &settings.pretrain);
            pretrain(model, rule.as_ref(), images, config, device, run, from, observer)
        }
        Method::Vae => pretrain_vae(model, images, validation, &settings.vae, run, from, observer),
        Method::Pca => pretrain_pca(model, images, &settings.pca, device, run, from, observer),
    }
}
