//! `hebb gallery approximate`

use anyhow::Result;
use hebbian_search::GalleryWriter;

use crate::cli::GalleryArgs;
use crate::commands::shared::print_json;
use crate::ui::{Progress, percent, say};

/// Builds the graph for approximate searches.
pub fn run(args: &GalleryArgs) -> Result<()> {
    let mut writer = GalleryWriter::open(&args.gallery)?;
    let mut progress = Progress::default();
    let gallery = writer.build_graph(progress.counter("linking"))?;
    let graph = gallery.graph();
    if args.json {
        return print_json(&graph);
    }
    match graph {
        None => say!("{}: holds no image", args.gallery.display()),
        Some(graph) => say!(
            "{} % of the true {} nearest are found, in the mean over {} queries (breadth {})",
            percent(graph.recall),
            graph.k,
            graph.queries,
            graph.breadth
        ),
    }
    Ok(())
}
