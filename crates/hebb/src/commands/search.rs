//! `hebb search`

use std::path::PathBuf;

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::error::Error;
use hebbian::network::FeatureLayer;
use hebbian::train::for_each_features;
use hebbian_data::Dataset;
use hebbian_search::{Gallery, Matrix, search};
use serde::Serialize;

use super::shared::{load_model, print_json};
use crate::cli::SearchArgs;
use crate::ui::{Progress, print_table, say};

#[derive(Serialize)]
struct Found {
    query: String,
    hits: Vec<Neighbour>,
}

#[derive(Serialize)]
struct Neighbour {
    id: String,
    label: Option<String>,
    location: Option<String>,
    distance: f32,
}

/// Finds the nearest images of a gallery.
pub fn run(args: &SearchArgs) -> Result<()> {
    let device = Device::open(&args.common.device)?;
    if args.k == 0 {
        return Err(Error::config("-k", "is 0; it must be at least 1").into());
    }
    let gallery = Gallery::open(&args.gallery)?;
    let recorded = PathBuf::from(&gallery.info().model_name);
    let path = args.model.clone().unwrap_or(recorded);
    if !path.exists() {
        let problem = format!("the model '{}' is not there; give its folder", path.display());
        return Err(Error::config("--model", problem).into());
    }
    let model = load_model(&path)?;
    gallery.check_model(&model.fingerprint()?)?;
    let layer = FeatureLayer::of(&model, Some(&gallery.info().layer))?;
    let mut progress = Progress::default();
    let mut all = Vec::new();
    for image in &args.images {
        let data = Dataset::open(image)?;
        let images = data.images();
        let (mut rows, mut features) = (Vec::new(), Vec::new());
        for_each_features(
            &model,
            layer,
            &images,
            &device,
            "query",
            &mut |e| progress.on(e),
            |r, f| {
                rows.extend(r.to_vec());
                features.extend(f);
                Ok(())
            },
        )?;
        if rows.is_empty() {
            return Err(Error::file(image, "could not be read as an image").into());
        }
        let queries = Matrix::new(gallery.info().dim, features)?;
        for (row, hits) in rows.iter().zip(search(&gallery, &queries, args.k)?) {
            let hits = hits.iter().filter_map(|hit| {
                let item = gallery.item(hit.index)?.clone();
                let (id, label, location) = (item.id, item.label, item.location);
                Some(Neighbour { id, label, location, distance: hit.distance })
            });
            all.push(Found { query: images.id(*row), hits: hits.collect() });
        }
    }
    if args.common.json {
        return print_json(&all);
    }
    for found in &all {
        say!("{}", found.query);
        let cells = found.hits.iter().enumerate().map(|(rank, hit)| {
            let label = hit.label.clone().unwrap_or_default();
            vec![format!("{:>3}  {}", rank + 1, hit.id), label, format!("{:.3}", hit.distance)]
        });
        print_table(&["     image", "label", "distance"], &cells.collect::<Vec<_>>())?;
    }
    Ok(())
}
