//! `hebb gallery export` and `import`

use std::path::Path;

use anyhow::Result;
use hebbian::error::Error;
use hebbian::network::FeatureLayer;
use hebbian_search::gallery::{parse_foreign_items, write_items};
use hebbian_search::npy::{NpyFile, write_npy};
use hebbian_search::{Error as SearchError, Gallery, GalleryInfo, GalleryWriter, Vectors};
use serde_json::json;

use crate::cli::{ExportArgs, ImportArgs};
use crate::commands::shared::{absolute, load_model, may_write, print_json};
use crate::ui::say;

const VECTORS: &str = "vectors.npy";
const ITEMS: &str = "items.parquet";
/// Vectors read at a time, in numbers.
const BLOCK: usize = 1 << 20;
/// Instead of a model's fingerprint, for vectors that no model here made.
const IMPORTED: &str = "imported";

/// Writes a gallery's vectors and items for other tools.
pub fn export(args: &ExportArgs) -> Result<()> {
    let gallery = Gallery::open(&args.of.gallery)?;
    let places = [VECTORS, ITEMS].map(|name| args.out.join(name));
    for path in &places {
        may_write(path, args.overwrite)?;
    }
    fs_err::create_dir_all(&args.out)?;
    let beside =
        tempfile::Builder::new().prefix(".export.").suffix(".tmp").tempdir_in(&args.out)?;
    let [vectors, items] = [VECTORS, ITEMS].map(|name| beside.path().join(name));
    write_npy(&vectors, &gallery)?;
    write_items(&items, gallery.items())?;
    for (from, to) in [vectors, items].iter().zip(&places) {
        fs_err::rename(from, to)?;
    }
    let (images, [vectors, items]) = (gallery.len(), places);
    if args.of.json {
        return print_json(&json!({ "images": images, "vectors": vectors, "items": items }));
    }
    say!("{}\n{}", vectors.display(), items.display());
    Ok(())
}

/// Takes vectors and items from other tools.
pub fn import(args: &ImportArgs) -> Result<()> {
    let vectors = NpyFile::open(&args.vectors)?;
    let items = parse_foreign_items(fs_err::read(&args.items)?, vectors.len(), &args.items)?;
    let mut writer = open_gallery(args, vectors.dim())?;
    let before = writer.len();
    let (rows, mut block) = ((BLOCK / vectors.dim()).max(1), Vec::new());
    for start in (0..vectors.len()).step_by(rows) {
        let n = rows.min(vectors.len() - start);
        vectors.read(start, n, &mut block)?;
        if let Some(at) = block.iter().position(|value| !value.is_finite()) {
            let (row, column) = (start + at / vectors.dim(), at % vectors.dim());
            let what = args.vectors.display().to_string();
            return Err(SearchError::NotFinite { what, row, column }.into());
        }
        writer.push(&items[start..start + n], &block)?;
    }
    let gallery = writer.finish()?;
    let (images, added) = (gallery.len(), gallery.len() - before);
    let updated = items.len() - added;
    if args.of.json {
        let found = json!({ "images": images, "added": added, "updated": updated });
        return print_json(&found);
    }
    say!("{added} added, {updated} updated; {images} images in all");
    Ok(())
}

/// The gallery to add to, made where there is none.
fn open_gallery(args: &ImportArgs, dim: usize) -> Result<GalleryWriter> {
    let path = &args.of.gallery;
    let model = args.model.as_deref().map(|folder| Ok((folder, load_model(folder)?)));
    let model: Option<(&Path, _)> = model.transpose().map_err(|error: anyhow::Error| error)?;
    let there = path.join("gallery.toml").exists();
    let info = match &model {
        Some((folder, model)) => {
            let layer = match (&args.layer, there) {
                (None, true) => Some(Gallery::open(path)?.info().layer.clone()),
                (layer, _) => layer.clone(),
            };
            let layer = FeatureLayer::of(model, layer.as_deref())?;
            let (fingerprint, name) = (model.fingerprint()?, absolute(folder));
            GalleryInfo::new(layer.len(model), fingerprint, name, layer.to_string())
        }
        None => {
            let name = args.name.clone().unwrap_or_else(|| IMPORTED.to_owned());
            GalleryInfo::new(dim, IMPORTED, name, IMPORTED)
        }
    };
    let check = |expected: usize| match expected == dim {
        true => Ok(()),
        false => Err(SearchError::Dimension { what: "the vectors", expected, found: dim }),
    };
    check(info.dim)?;
    if !there {
        return Ok(GalleryWriter::create(path, info, false)?);
    }
    let writer = GalleryWriter::open(path)?;
    let own = writer.gallery().info();
    check(own.dim)?;
    if own.model != info.model && model.is_none() {
        let problem = format!(
            "holds features of the model {}; give --model if the vectors come from it",
            own.model_name
        );
        return Err(Error::file(path, problem).into());
    }
    writer.gallery().check_model(&info.model)?;
    if let Some(name) = args.name.as_ref().filter(|&name| *name != own.model_name) {
        let problem = format!("is {name}, but {} holds {}", path.display(), own.model_name);
        return Err(Error::config("--name", problem).into());
    }
    if own.layer != info.layer {
        let problem = format!("is {}, but {} holds {}", info.layer, path.display(), own.layer);
        return Err(Error::config("--layer", problem).into());
    }
    Ok(writer)
}
