//! `hebb gallery push`

use anyhow::Result;
use hebbian_search::{Error, Gallery, Vectors};
use hebbian_stores::{Index, PushOptions, ServerStore, push};
use serde_json::json;

use crate::cli::PushArgs;
use crate::commands::shared::{address, print_json};
use crate::ui::{Progress, say};

/// Fills a store from a gallery.
pub fn run(args: &PushArgs) -> Result<()> {
    let to = address("--to", &args.to)?;
    let gallery = Gallery::open(&args.of.gallery)?;
    let store = open_or_create(to, &gallery)?;
    let rows = args.shard.map(|shard| shard.rows(gallery.len()));
    let options = PushOptions { rows, remove_missing: args.remove_missing };
    let mut progress = Progress::default();
    let pushed = push(&gallery, &store, &options, progress.counter("pushing"))?;
    if args.approximate && store.index()? != Index::Hnsw {
        eprintln!("building the index for approximate searches");
        store.set_index(Index::Hnsw)?;
    }
    let name = hebbian_search::Store::name(&store);
    if args.of.json {
        return print_json(&json!({ "store": name, "pushed": pushed }));
    }
    say!("{name}");
    eprintln!(
        "{} added, {} updated, {} unchanged, {} removed",
        pushed.added, pushed.updated, pushed.unchanged, pushed.removed
    );
    if pushed.others > 0 {
        eprintln!("{} more are there that are not in the gallery", pushed.others);
        eprintln!("hint: --remove-missing removes them");
    }
    Ok(())
}

/// The store, which another process may make at the same time.
fn open_or_create(to: &str, gallery: &Gallery) -> Result<ServerStore> {
    if let Some(store) = ServerStore::find(to)? {
        return Ok(store);
    }
    match ServerStore::create(to, gallery.info()) {
        Err(error @ (Error::Exists { .. } | Error::Server { .. })) => {
            let found = ServerStore::find(to)?;
            Ok(found.ok_or(error)?)
        }
        made => Ok(made?),
    }
}
