//! `hebb gallery remove` and `compact`

use std::collections::BTreeSet;

use anyhow::Result;
use hebbian::error::Error;
use hebbian_search::{Gallery, GalleryWriter, Vectors};
use serde_json::json;

use crate::cli::{CompactArgs, RemoveArgs};
use crate::commands::search::filter;
use crate::commands::shared::print_json;
use crate::ui::say;

/// Removes images.
pub fn run(args: &RemoveArgs) -> Result<()> {
    let path = &args.of.gallery;
    let images = if args.dry_run {
        chosen(args, &Gallery::open(path)?)?.len()
    } else {
        let mut writer = GalleryWriter::open(path)?;
        let ids = chosen(args, writer.gallery())?;
        ids.iter().for_each(|id| {
            writer.remove(id);
        });
        writer.finish()?;
        ids.len()
    };
    let left = Gallery::open(path)?.len();
    if args.of.json {
        return print_json(&json!({ "removed": images, "dry_run": args.dry_run, "images": left }));
    }
    match args.dry_run {
        true => say!("{images} of {left} images would be removed"),
        false => say!("{images} images removed, {left} left"),
    }
    Ok(())
}

/// Ids of what is to be removed.
fn chosen(args: &RemoveArgs, gallery: &Gallery) -> Result<BTreeSet<String>> {
    let mut chosen: BTreeSet<String> = args.id.iter().cloned().collect();
    let there: BTreeSet<&str> = gallery.items().map(|item| item.id.as_str()).collect();
    if let Some(id) = chosen.iter().find(|id| !there.contains(id.as_str())) {
        let problem = format!("holds no image {id:?}; nothing was removed");
        return Err(Error::file(gallery.path(), problem).into());
    }
    let filter = filter(&args.label, &args.path);
    if !filter.is_empty() {
        let matching = gallery.items().filter(|item| filter.matches(item));
        chosen.extend(matching.map(|item| item.id.clone()));
    }
    Ok(chosen)
}

/// Writes all segments again as one.
pub fn compact(args: &CompactArgs) -> Result<()> {
    let mut writer = GalleryWriter::open(&args.gallery)?;
    let (segments, removed) =
        (writer.gallery().manifest().segments.len(), writer.gallery().removed());
    let images = writer.compact()?.len();
    if args.json {
        let (before, freed) = (segments, removed);
        return print_json(&json!({ "images": images, "segments": before, "removed": freed }));
    }
    say!("{images} images; {segments} segments became one, {removed} removed vectors are gone");
    Ok(())
}
