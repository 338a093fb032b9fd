//! `hebb extract`

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::network::FeatureLayer;
use hebbian::train::for_each_features;
use hebbian_search::Item;
use hebbian_search::gallery::VectorsWriter;
use serde_json::json;

use super::shared::{cached, csv_field, load_model, may_write, open, print_json, share_of};
use crate::cli::ExtractArgs;
use crate::ui::{Progress, say};

/// Writes features to a safetensors file, and the images' names and labels to
/// a CSV beside it, row by row. Memory is bounded by the batch.
pub fn run(args: &ExtractArgs) -> Result<()> {
    let device = Device::open(&args.common.device)?;
    let names = args.out.with_extension("csv");
    for path in [&args.out, &names] {
        may_write(path, args.overwrite)?;
    }
    let model = load_model(&args.model)?;
    let layer = FeatureLayer::of(&model, args.layer.as_deref())?;
    let data = share_of(open(&args.data)?, args.shard);
    let mut progress = Progress::default();
    let images = cached(data.images(), &args.common, model.preprocess.size, &mut progress)?;
    let folder = args.out.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(std::path::Path::new("."));
    let beside = tempfile::tempdir_in(folder)?;
    let features = beside.path().join("features.safetensors");
    let mut writer = VectorsWriter::create(&features, layer.len(&model))?;
    let mut table = String::from("path,label\n");
    for_each_features(
        &model,
        layer,
        &images,
        &device,
        "extracting",
        &mut |e| progress.on(e),
        |rows, f| {
            let items = super::index::items(&data, rows);
            for Item { id, label, .. } in &items {
                let label = label.as_deref().map(csv_field).unwrap_or_default();
                table += &format!("{},{label}\n", csv_field(id));
            }
            writer.push(&f).map_err(|e| hebbian::Error::Data(e.to_string()))
        },
    )?;
    writer.finish()?;
    fs_err::rename(features, &args.out)?;
    hebbian::network::write_atomically(&names, table.as_bytes())?;
    if args.common.json {
        let dim = layer.len(&model);
        return print_json(&json!({ "features": args.out, "names": names, "dim": dim }));
    }
    say!("{}\n{}", args.out.display(), names.display());
    Ok(())
}
