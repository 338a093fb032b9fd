//! `hebb index`

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::error::Error;
use hebbian::network::{FeatureLayer, Model};
use hebbian_data::{Dataset, Images};
use hebbian_search::{GalleryInfo, GalleryWriter, Item, Vectors};
use serde_json::{Map, Value, json};

use super::shared::{absolute, cached, load_model, open, print_json, share_of};
use super::update::Update;
use crate::cli::IndexArgs;
use crate::ui::{Progress, say};

/// Builds a gallery or brings it up to date.
pub fn run(args: &IndexArgs) -> Result<()> {
    let device = Device::open(&args.common.device)?;
    let commit_every = Duration::try_from_secs_f64(args.commit_every)
        .map_err(|_| Error::config("--commit-every", "must be a number of seconds from 0 on"))?;
    let model = load_model(&args.model)?;
    let whole = open(&args.data)?;
    let data = share_of(whole.clone(), args.shard);
    let path = absolute(&args.model);
    let layer = args.layer.as_deref();
    let (mut writer, layer) = open_gallery(&args.out, &model, path, layer, args.overwrite)?;
    let mut progress = Progress::default();
    let images = cached(data.images(), &args.common, model.preprocess.size, &mut progress)?;
    let update = Update {
        model: &model,
        layer,
        data: &data,
        whole: &whole,
        images: &images,
        device: &device,
        remove_missing: args.remove_missing,
        commit_every,
    };
    let changes = update.run(&mut writer, &mut progress)?;
    let gallery = writer.finish()?;
    if args.common.json {
        let mut found = json!({
            "gallery": args.out,
            "images": gallery.len(),
            "dim": gallery.dim(),
            "layer": gallery.info().layer,
            "generation": gallery.manifest().generation,
        });
        if let (Value::Object(found), Value::Object(changes)) =
            (&mut found, serde_json::to_value(changes)?)
        {
            found.extend::<Map<String, Value>>(changes);
        }
        return print_json(&found);
    }
    say!("{}", args.out.display());
    eprintln!("{changes}; {} images in all", gallery.len());
    eprintln!("hint: `hebb search {} IMAGE` finds what is like an image", args.out.display());
    Ok(())
}

/// The gallery at `out` to be brought up to date, made where there is none or with `overwrite`,
/// and the layer that it holds.
pub fn open_gallery(
    out: &Path,
    model: &Model,
    model_path: String,
    layer: Option<&str>,
    overwrite: bool,
) -> Result<(GalleryWriter, FeatureLayer)> {
    let fingerprint = model.fingerprint()?;
    if overwrite || !out.join("gallery.toml").exists() {
        let layer = FeatureLayer::of(model, layer)?;
        let info = GalleryInfo::new(layer.len(model), fingerprint, model_path, layer.to_string());
        return Ok((GalleryWriter::create(out, info, overwrite)?, layer));
    }
    let writer = GalleryWriter::open(out)?;
    let gallery = writer.gallery();
    gallery.check_model(&fingerprint)?;
    let own = FeatureLayer::of(model, Some(&gallery.info().layer))?;
    let asked = layer.map(|name| FeatureLayer::of(model, Some(name))).transpose()?;
    if let Some(layer) = asked.filter(|layer| *layer != own) {
        let problem = format!(
            "is {layer}, but {} holds {own}; leave it out, or choose another folder",
            out.display()
        );
        return Err(Error::config("--layer", problem).into());
    }
    Ok((writer, own))
}

/// Writes the features of `images` (those of `data`) as a gallery of their own.
pub fn build(
    (model, model_path): (&Model, String),
    layer: FeatureLayer,
    (data, images): (&Dataset, &Images),
    out: &Path,
    device: &Device,
    progress: &mut Progress,
) -> Result<()> {
    let name = layer.to_string();
    let (mut writer, layer) = open_gallery(out, model, model_path, Some(&name), true)?;
    let commit_every = Duration::MAX;
    let whole = data;
    let update =
        Update { model, layer, data, whole, images, device, remove_missing: false, commit_every };
    update.run(&mut writer, progress)?;
    writer.finish()?;
    Ok(())
}

/// What a gallery keeps of images: name, label, where they are.
pub fn items(data: &Dataset, rows: &[usize]) -> Vec<Item> {
    let location = absolute(data.path());
    rows.iter().map(|&row| item(data, row, &location, None)).collect()
}

/// What a gallery keeps of an image.
pub fn item(data: &Dataset, row: usize, location: &str, content: Option<[u8; 32]>) -> Item {
    let label = data.label(row).and_then(|l| data.classes().get(l as usize).cloned());
    Item { id: data.id(row), label, location: Some(location.to_owned()), content }
}
