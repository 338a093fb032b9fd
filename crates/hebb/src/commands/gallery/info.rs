//! `hebb gallery info` and `verify`

use std::collections::BTreeSet;

use anyhow::Result;
use hebbian_search::gallery::GraphEntry;
use hebbian_search::{Gallery, GalleryInfo, Store, Vectors};
use hebbian_stores::{Index, ServerStore};
use serde::Serialize;
use serde_json::json;

use crate::cli::GalleryArgs;
use crate::commands::shared::{Searched, print_json};
use crate::ui::{percent, say};

#[derive(Serialize)]
struct Info<'a> {
    images: usize,
    labelled: usize,
    labels: usize,
    model: &'a str,
    fingerprint: &'a str,
    layer: &'a str,
    dim: usize,
    distance: &'static str,
    created: &'a str,
    format_version: u32,
    generation: u64,
    segments: usize,
    removed_rows: usize,
    graph: Option<&'a GraphEntry>,
}

/// Says what is in a gallery.
pub fn run(args: &GalleryArgs) -> Result<()> {
    match Searched::open(&args.gallery)? {
        Searched::Folder(gallery) => folder(&gallery, args.json),
        Searched::Server(store) => server(&store, args.json),
    }
}

fn server(store: &ServerStore, json: bool) -> Result<()> {
    let (info, images) = (store.info(), store.count()?);
    let index = match store.index()? {
        Index::Exact => "none",
        Index::Hnsw => "hnsw",
    };
    if json {
        return print_json(&json!({
            "store": store.name(),
            "images": images,
            "model": info.model_name,
            "fingerprint": info.model,
            "layer": info.layer,
            "dim": info.dim,
            "distance": "euclidean",
            "created": info.created,
            "index": index,
        }));
    }
    say!("images      {images}");
    say_vectors(info)?;
    say!("created     {}", info.created);
    say!("index       {index}");
    Ok(())
}

/// Says what the vectors are.
fn say_vectors(info: &GalleryInfo) -> Result<()> {
    say!("vectors     {} dimensions, layer {}, euclidean distance", info.dim, info.layer);
    say!("model       {}", info.model_name);
    say!("            {}", info.model);
    Ok(())
}

fn folder(gallery: &Gallery, json: bool) -> Result<()> {
    let (info, manifest) = (gallery.info(), gallery.manifest());
    let labels: BTreeSet<&String> =
        gallery.items().filter_map(|item| item.label.as_ref()).collect();
    let vectors = info;
    let info = Info {
        images: gallery.len(),
        labelled: gallery.items().filter(|item| item.label.is_some()).count(),
        labels: labels.len(),
        model: &info.model_name,
        fingerprint: &info.model,
        layer: &info.layer,
        dim: info.dim,
        distance: "euclidean",
        created: &info.created,
        format_version: manifest.format_version,
        generation: manifest.generation,
        segments: manifest.segments.len(),
        removed_rows: gallery.removed(),
        graph: gallery.graph(),
    };
    if json {
        return print_json(&info);
    }
    say!("images      {} ({} with one of {} labels)", info.images, info.labelled, info.labels);
    say_vectors(vectors)?;
    say!("created     {}, generation {}", info.created, info.generation);
    say!("on disk     format {}, {} segments", info.format_version, info.segments);
    say!("            {} removed vectors still there", info.removed_rows);
    if let Some(graph) = info.graph {
        let (recall, rest) = (percent(graph.recall), gallery.without_graph());
        say!("graph       {recall} % of the {} nearest found, {rest} images beside it", graph.k);
    }
    Ok(())
}

/// Reads everything and compares it with the checksums.
pub fn verify(args: &GalleryArgs) -> Result<()> {
    let gallery = Gallery::open(&args.gallery)?;
    gallery.verify()?;
    let (images, generation) = (gallery.len(), gallery.manifest().generation);
    if args.json {
        return print_json(&json!({ "whole": true, "images": images, "generation": generation }));
    }
    say!("{}: whole, {images} images, generation {generation}", args.gallery.display());
    Ok(())
}
