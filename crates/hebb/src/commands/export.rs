//! `hebb export`

use anyhow::Result;
use hebbian::network::{FeatureLayer, write_atomically};
use hebbian::onnx::to_onnx;
use serde_json::json;

use super::shared::{load_model, may_write, print_json};
use crate::cli::ModelExportArgs;
use crate::ui::say;

/// Writes a model as an ONNX file.
pub fn run(args: &ModelExportArgs) -> Result<()> {
    may_write(&args.out, args.overwrite)?;
    let model = load_model(&args.model)?;
    let layer = FeatureLayer::of(&model, args.layer.as_deref())?;
    let file = to_onnx(&model, args.layer.as_ref().map(|_| layer))?;
    write_atomically(&args.out, &file)?;
    let scores = model.head.is_some() && args.layer.is_none();
    let outputs = if scores { &["features", "scores"][..] } else { &["features"] };
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
