//! `hebb index`

use std::path::Path;

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::network::{FeatureLayer, Model};
use hebbian::train::for_each_features;
use hebbian_data::{Dataset, Images};
use hebbian_search::{Gallery, GalleryInfo, GalleryWriter, Item};
use serde_json::json;

use super::shared::{absolute, cached, load_model, open, print_json};
use crate::cli::IndexArgs;
use crate::ui::{Progress, say};

/// Builds a gallery.
pub fn run(args: &IndexArgs) -> Result<()> {
    let device = Device::open(&args.common.device)?;
    let model = load_model(&args.model)?;
    let layer = FeatureLayer::of(&model, args.layer.as_deref())?;
    let data = open(&args.data)?;
    let mut progress = Progress::default();
    let images = cached(data.images(), &args.common, model.preprocess.size, &mut progress)?;
    let made = (&model, absolute(&args.model));
    let gallery =
        build(made, layer, &data, &images, &args.out, args.overwrite, &device, &mut progress)?;
    if args.common.json {
        return print_json(&json!({
            "gallery": args.out,
            "images": gallery.info().len,
            "dim": gallery.info().dim,
            "layer": gallery.info().layer,
        }));
    }
    say!("{}", args.out.display());
    eprintln!("hint: `hebb search {} IMAGE` finds what is like an image", args.out.display());
    Ok(())
}

/// Streams the features of `images` (those of `data`) into a gallery.
#[allow(clippy::too_many_arguments)]
pub fn build(
    (model, model_path): (&Model, String),
    layer: FeatureLayer,
    data: &Dataset,
    images: &Images,
    out: &Path,
    overwrite: bool,
    device: &Device,
    progress: &mut Progress,
) -> Result<Gallery> {
    let (dim, name) = (layer.len(model), layer.to_string());
    let info = GalleryInfo::new(dim, model.fingerprint()?, model_path, name);
    let mut writer = GalleryWriter::create(out, info, overwrite)?;
    for_each_features(
        model,
        layer,
        images,
        device,
        "indexing",
        &mut |e| progress.on(e),
        |rows, f| {
            writer.push(&items(data, rows), &f).map_err(|e| hebbian::Error::Data(e.to_string()))
        },
    )?;
    Ok(writer.finish()?)
}

/// What a gallery keeps of images: name, label, where they are.
pub fn items(data: &Dataset, rows: &[usize]) -> Vec<Item> {
    let location = absolute(data.path());
    let item = |&row: &usize| {
        let label = data.label(row).and_then(|l| data.classes().get(l as usize).cloned());
        Item { id: data.id(row), label, location: Some(location.clone()) }
    };
    rows.iter().map(item).collect()
}
