//! `hebb export`

use anyhow::Result;
use hebbian::error::Error;
use hebbian::network::{FeatureLayer, write_atomically};
use hebbian::onnx::to_onnx;
use serde_json::json;

use super::shared::{load_model, print_json};
use crate::cli::ModelExportArgs;
use crate::ui::say;

/// Writes a model as an ONNX file.
pub fn run(args: &ModelExportArgs) -> Result<()> {
    if args.out.exists() && !args.overwrite {
        return Err(Error::file(&args.out, "exists; give --overwrite to replace it").into());
    }
    let model = load_model(&args.model)?;
    let layer = args.layer.as_deref();
    let layer = layer.map(|name| FeatureLayer::of(&model, Some(name))).transpose()?;
    let file = to_onnx(&model, layer, env!("CARGO_PKG_VERSION"))?;
    write_atomically(&args.out, &file)?;
    let scores = model.head.is_some() && layer.is_none();
    let outputs = if scores { &["features", "scores"][..] } else { &["features"] };
    let layer = layer.unwrap_or(FeatureLayer::layer(model.network.depth()));
    let (size, dim) = (model.preprocess.size, layer.len(&model));
    if args.json {
        return print_json(&json!({
            "model": args.out,
            "layer": layer.to_string(),
            "dim": dim,
            "outputs": outputs,
            "height": size.height,
            "width": size.width,
        }));
    }
    say!("{}", args.out.display());
    let (height, width) = (size.height, size.width);
    eprintln!(
        "in: `images`, bytes, N x {height} x {width} x 3, RGB; out: {dim} `features` an image"
    );
    if scores {
        eprintln!("    and `scores` of {} classes", model.classes.len());
    }
    Ok(())
}
