//! `hebb serve`

mod photos;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::Result;
use hebbian::engine::{Device, Engine};
use hebbian::error::Error;
use hebbian::network::{FeatureLayer, Model, Pretraining};
use hebbian_data::Batch;
use hebbian_search::Gallery;
use hebbian_serve::{Card, Embed, Options, Server, check_token, new_token};

use super::shared::load_model;
use crate::cli::ServeArgs;
use crate::report::filters_png;
use crate::ui::{self, say};

/// Serves a gallery, or the gallery made of photos, until it is told to stop.
pub fn run(args: &ServeArgs) -> Result<()> {
    if args.queue == 0 {
        return Err(Error::config("--queue", "is 0; it must be at least 1").into());
    }
    let device = Device::open(&args.device)?;
    let token = token(args)?;
    // Held to the end: what goes on with the gallery stops with the server.
    let (path, _indexing) = match photos::gallery_in(&args.what) {
        Some(gallery) => (gallery, None),
        None => {
            let (gallery, indexing) = photos::gallery_of(args, &device)?;
            (gallery, Some(indexing))
        }
    };
    let gallery = Gallery::open(&path)?;
    let model = match model_path(args, &gallery) {
        Some(path) => Some(served(&path, &gallery, &device)?),
        None => {
            eprintln!("note: the model is not where it was; without --model, no image can be sent");
            None
        }
    };
    let labels = args.labels.clone().unwrap_or_else(|| path.with_extension("labels.csv"));
    let options = Options {
        gallery,
        model,
        listen: args.listen,
        token,
        labels: Some(labels.clone()),
        queue: args.queue,
    };
    let server = Server::bind(options)?;
    ui::clear_line();
    say!("{}", server.link());
    eprintln!(
        "serving {}; labels given on the page go to {}; Ctrl-C stops",
        path.display(),
        labels.display()
    );
    Ok(server.run()?)
}

/// The model asked for, or that recorded in the gallery where it is still there.
fn model_path(args: &ServeArgs, gallery: &Gallery) -> Option<PathBuf> {
    let recorded = || Some(PathBuf::from(&gallery.info().model_name)).filter(|path| path.exists());
    args.model.clone().or_else(recorded)
}

/// The token of a file, or, where other machines can ask, a new one.
fn token(args: &ServeArgs) -> Result<Option<String>> {
    let Some(file) = &args.token_file else {
        let needed = !args.listen.ip().is_loopback();
        return Ok(needed.then(new_token).transpose()?);
    };
    let token = fs_err::read_to_string(file)?.trim().to_owned();
    check_token(&token).map_err(|error| Error::file(file, error.to_string()))?;
    Ok(Some(token))
}

fn served(path: &Path, gallery: &Gallery, device: &Device) -> Result<hebbian_serve::Model> {
    let model = load_model(path)?;
    let fingerprint = model.fingerprint()?;
    gallery.check_model(&fingerprint)?;
    let layer = FeatureLayer::of(&model, Some(&gallery.info().layer))?;
    Ok(hebbian_serve::Model {
        size: model.preprocess.size,
        card: card(&model),
        fingerprint,
        embed: Box::new(Features { model, layer, engine: device.engine(), input: Vec::new() }),
    })
}

/// What is told of a model.
fn card(model: &Model) -> Card {
    let (network, made) = (&model.network, &model.provenance);
    let mut facts = vec![
        ("Network".to_owned(), network.spec.name.clone()),
        ("Layers".to_owned(), network.depth().to_string()),
        ("Image size".to_owned(), model.preprocess.size.to_string()),
    ];
    let learned = match (&model.rule, made.pretraining) {
        (Some(rule), _) => Some(("Learning rule", rule.name.as_str())),
        (None, Pretraining::Pca) => Some(("Learned", "principal components")),
        (None, Pretraining::Vae) => Some(("Learned", "as a variational autoencoder")),
        (None, Pretraining::None | Pretraining::Hebbian) => None,
    };
    facts.extend(learned.map(|(name, how)| (name.to_owned(), how.to_owned())));
    let count = |n: usize, what: &str| if n == 0 { "none".into() } else { format!("{n} {what}") };
    facts.push(("Pre-training".to_owned(), count(made.pretrained_images, "images, no labels")));
    if made.pretrained_images > 0 {
        facts.push(("Epochs".to_owned(), made.pretrained_epochs.to_string()));
    }
    facts.push(("Fine-tuning".to_owned(), count(made.labels, "labels")));
    if !model.classes.is_empty() {
        facts.push(("Classes".to_owned(), model.classes.join(", ")));
    }
    facts.push(("Seed".to_owned(), made.seed.to_string()));
    let first = network.blocks.first();
    let filters = first.map(|block| filters_png(&block.weights, block.geometry.kernel, 16, 8));
    Card { facts, filters }
}

/// The features of one layer.
struct Features {
    model: Model,
    layer: FeatureLayer,
    engine: Box<dyn Engine>,
    input: Vec<f32>,
}

impl Embed for Features {
    fn embed(&mut self, batch: &Batch) -> Result<Vec<f32>, String> {
        let Self { model, layer, engine, input } = self;
        model.preprocess.apply(batch, input).map_err(|error| error.to_string())?;
        let map = match layer.depth(model) {
            0 => Ok(Cow::Borrowed(&input[..])),
            depth => engine.features(&model.network, depth, input).map(Cow::Owned),
        };
        map.and_then(|map| layer.features(model, map)).map_err(|error| error.to_string())
    }
}
