//! `hebb gallery join`

use anyhow::Result;
use hebbian::error::Error;
use hebbian_search::{Gallery, GalleryWriter, Vectors};
use serde_json::json;

use crate::cli::JoinArgs;
use crate::commands::shared::print_json;
use crate::ui::{Progress, say};

/// Vectors copied at a time, in numbers.
const BLOCK: usize = 1 << 20;

/// Adds galleries to one.
pub fn run(args: &JoinArgs) -> Result<()> {
    let path = &args.of.gallery;
    let parts = args.parts.iter().map(Gallery::open).collect::<Result<Vec<_>, _>>()?;
    let mut writer = match path.join("gallery.toml").exists() {
        true => GalleryWriter::open(path)?,
        false => GalleryWriter::create(path, parts[0].info().clone(), false)?,
    };
    let own = writer.gallery().info().clone();
    for part in &parts {
        part.check_model(&own.model)?;
        let info = part.info();
        if info.layer != own.layer {
            let problem =
                format!("holds {}, not {}; join galleries of one layer", info.layer, own.layer);
            return Err(Error::file(part.path(), problem).into());
        }
    }
    let before = writer.len();
    let all = parts.iter().map(Vectors::len).sum();
    let mut progress = Progress::default();
    let mut count = progress.counter("joining");
    let (rows, mut block, mut done) = ((BLOCK / own.dim).max(1), Vec::new(), 0);
    for part in &parts {
        let items: Vec<_> = part.items().cloned().collect();
        for (index, items) in items.chunks(rows).enumerate() {
            part.read(index * rows, items.len(), &mut block)?;
            writer.push(items, &block)?;
            done += items.len();
            count(done, all);
        }
    }
    drop(count);
    let images = writer.finish()?.len();
    let added = images - before;
    let replaced = all - added;
    if args.of.json {
        return print_json(&json!({ "images": images, "added": added, "replaced": replaced }));
    }
    say!("{added} added, {replaced} replaced; {images} images in all");
    Ok(())
}
