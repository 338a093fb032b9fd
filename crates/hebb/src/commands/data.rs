//! `hebb data`

use anyhow::Result;
use hebbian_data::describe::describe;
use hebbian_data::fetch::{Archive, fetch};
use hebbian_data::pack::pack;

use super::shared::{open, print_json};
use crate::cli::{DataCommand, OfficialSet};
use crate::ui::{Progress, print_table, say};

/// Rows shown of a long list.
const SHOWN: usize = 20;

/// Describes or fetches.
pub fn run(command: DataCommand) -> Result<()> {
    match command {
        DataCommand::Fetch { name, into, from } => {
            let archive = match name {
                OfficialSet::Cifar10 => Archive::cifar10(),
                OfficialSet::Cifar100 => Archive::cifar100(),
            };
            let archive = match from {
                Some(url) => archive.from_url(&url),
                None => archive,
            };
            let mut progress = Progress::default();
            let mut count = progress.counter("fetching (KiB)");
            let folder = fetch(&archive, &into, &mut |done, total| {
                let kib = |n: u64| usize::try_from(n >> 10).unwrap_or(usize::MAX);
                count(kib(done), kib(total.unwrap_or(done + 1)));
            })?;
            say!("{}", folder.display());
            Ok(())
        }
        DataCommand::Pack { data, out, images, seed } => {
            let data = open(&data)?;
            let mut progress = Progress::default();
            let packed = pack(&data, &out, images, seed, &mut progress.counter("packing"))?;
            say!("{}", packed.pattern.display());
            eprintln!("{} images in {} shards", packed.images, packed.shards);
            if !packed.skipped.is_empty() {
                eprintln!("{} images cannot be read:", packed.skipped.len());
                for image in packed.skipped.iter().take(SHOWN) {
                    eprintln!("  {}: {}", image.id, image.reason);
                }
            }
            Ok(())
        }
        DataCommand::Describe { data, json } => {
            let data = open(&data)?;
            let mut progress = Progress::default();
            let found = describe(&data, &mut progress.counter("reading"))?;
            if json {
                return print_json(&found);
            }
            say!(
                "{} ({}), {} images, {} labelled",
                found.path,
                found.kind,
                found.images,
                found.labelled
            );
            say!("{:.1} MB as stored", found.bytes as f64 / 1e6);
            for size in found.sizes.iter().take(5) {
                say!("{:>8} of {}", size.count, size.size);
            }
            if found.sizes.len() > 5 {
                say!("{:>8} more sizes", found.sizes.len() - 5);
            }
            for (colour, count) in &found.colours {
                say!("{count:>8} {colour:?}");
            }
            if !found.classes.is_empty() {
                say!("");
                let rows = found.classes.iter().take(SHOWN);
                let rows: Vec<_> =
                    rows.map(|c| vec![c.name.clone(), c.count.to_string()]).collect();
                print_table(&["class", "images"], &rows)?;
                more(found.classes.len())?;
            }
            if !found.duplicates.is_empty() {
                say!("\n{} groups of images with the same content:", found.duplicates.len());
                for ids in found.duplicates.iter().take(SHOWN) {
                    say!("  {}", ids.join(", "));
                }
                more(found.duplicates.len())?;
            }
            if !found.unreadable.is_empty() {
                say!("\n{} images cannot be read:", found.unreadable.len());
                for image in &found.unreadable {
                    say!("  {}: {}", image.id, image.reason);
                }
            }
            Ok(())
        }
    }
}

fn more(count: usize) -> Result<()> {
    if count > SHOWN {
        say!("  and {} more (--json has all)", count - SHOWN);
    }
    Ok(())
}
