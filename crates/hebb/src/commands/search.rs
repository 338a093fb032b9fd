//! `hebb search`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hebbian::engine::Device;
use hebbian::error::Error;
use hebbian::network::FeatureLayer;
use hebbian::train::for_each_features;
use hebbian_data::Dataset;
use hebbian_search::npy::NpyFile;
use hebbian_search::{
    Error as SearchError, Filter, Gallery, Glob, Matrix, SearchOptions, Store, Vectors,
};
use hebbian_stores::{Index, ServerStore};
use serde::Serialize;

use super::shared::{Searched, load_model, print_json};
use crate::cli::SearchArgs;
use crate::ui::{Progress, percent, print_table, say};

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

/// What is searched for.
#[derive(Default)]
struct Queries {
    /// What each is called, and which item it is where it is one.
    names: Vec<(String, Option<String>)>,
    /// One vector a name.
    vectors: Vec<f32>,
}

/// Finds the nearest images of a gallery.
pub fn run(args: &SearchArgs) -> Result<()> {
    let device = Device::open(&args.common.device)?;
    if args.k == 0 {
        return Err(Error::config("-k", "is 0; it must be at least 1").into());
    }
    let searched = Searched::open(&args.gallery)?;
    if args.approximate {
        match &searched {
            Searched::Folder(gallery) => say_how(gallery, args),
            Searched::Server(store) => say_index(store)?,
        }
    }
    let gallery = searched.store();
    let mut queries = Queries::default();
    queries.add_images(args, gallery, &device)?;
    for id in &args.id {
        queries.add_item(gallery, id)?;
    }
    for file in &args.vector {
        queries.add_file(gallery, file)?;
    }
    let all = queries.search(gallery, args)?;
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

/// Says how far an approximate search is one.
fn say_how(gallery: &Gallery, args: &SearchArgs) {
    let Some(graph) = gallery.graph() else {
        let path = args.gallery.display();
        eprintln!("warning: the gallery has no graph, so the search is exact");
        eprintln!("hint: `hebb gallery approximate {path}` builds one");
        return;
    };
    if !(args.label.is_empty() && args.path.is_empty()) {
        eprintln!("a search with a filter is exact");
        return;
    }
    let (recall, k, rest) = (percent(graph.recall), graph.k, gallery.without_graph());
    eprintln!("approximate: {recall} % of the true {k} nearest were found when it was measured");
    if rest > 0 {
        eprintln!("{rest} images were added since, and are searched exactly");
    }
}

/// Says if a search on a server is no approximate one.
fn say_index(store: &ServerStore) -> Result<()> {
    if store.index()? == Index::Exact {
        eprintln!("warning: there is no index, so the search is exact");
        eprintln!("hint: `hebb gallery push --approximate` builds one");
    }
    Ok(())
}

/// The filter that was typed.
pub fn filter(labels: &[String], paths: &[String]) -> Filter {
    Filter { labels: labels.to_vec(), paths: paths.iter().map(Glob::new).collect() }
}

impl Queries {
    fn add_images(
        &mut self,
        args: &SearchArgs,
        gallery: &dyn Store,
        device: &Device,
    ) -> Result<()> {
        if args.images.is_empty() {
            return Ok(());
        }
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
        for image in &args.images {
            let images = Dataset::open(image)?.images();
            let before = self.names.len();
            for_each_features(
                &model,
                layer,
                &images,
                device,
                "query",
                &mut |e| progress.on(e),
                |rows, features| {
                    self.names.extend(rows.iter().map(|&row| (images.id(row), None)));
                    self.vectors.extend(features);
                    Ok(())
                },
            )?;
            if self.names.len() == before {
                return Err(Error::file(image, "could not be read as an image").into());
            }
        }
        Ok(())
    }

    fn add_item(&mut self, gallery: &dyn Store, id: &str) -> Result<()> {
        let Some((_, vector)) = gallery.get(id)? else {
            let problem = format!("holds no image {id:?}; ids are paths within the indexed data");
            return Err(Error::file(gallery.name(), problem).into());
        };
        self.names.push((id.to_owned(), Some(id.to_owned())));
        self.vectors.extend(vector);
        Ok(())
    }

    fn add_file(&mut self, gallery: &dyn Store, path: &Path) -> Result<()> {
        let file = NpyFile::open(path)?;
        let (dim, expected) = (file.dim(), gallery.info().dim);
        if dim != expected {
            let error = SearchError::Dimension { what: "the vectors", expected, found: dim };
            return Err(error).context(path.display().to_string());
        }
        let mut vectors = Vec::new();
        file.read(0, file.len(), &mut vectors)?;
        let name = |row: usize| match file.len() {
            1 => path.display().to_string(),
            _ => format!("{}[{row}]", path.display()),
        };
        self.names.extend((0..file.len()).map(|row| (name(row), None)));
        // Names the file, should a value not be finite.
        Matrix::new(dim, vectors.clone()).with_context(|| path.display().to_string())?;
        self.vectors.extend(vectors);
        Ok(())
    }

    fn search(self, gallery: &dyn Store, args: &SearchArgs) -> Result<Vec<Found>> {
        let filter = filter(&args.label, &args.path);
        let mut queries = Matrix::new(gallery.info().dim, self.vectors)?;
        let mut names = self.names;
        let mut exclude = Vec::new();
        if args.average {
            let Some(mean) = queries.mean() else { return Ok(Vec::new()) };
            queries = mean;
            exclude = names.iter().filter_map(|(_, own)| own.clone()).collect();
            let all: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
            names = vec![(format!("mean of {}", all.join(", ")), None)];
        }
        // Each is found by itself: one more, which is dropped.
        let more = usize::from(names.iter().any(|(_, own)| own.is_some()));
        let (k, approximate) = (args.k.saturating_add(more), args.approximate);
        let options = SearchOptions { k, filter, exclude, approximate };
        let found = gallery.search(&queries, &options)?;
        let found = names.into_iter().zip(found).map(|((query, own), hits)| {
            let others = hits.into_iter().filter(|hit| Some(&hit.item.id) != own.as_ref());
            let hits = others.take(args.k).map(|hit| {
                let (id, label, location) = (hit.item.id, hit.item.label, hit.item.location);
                Neighbour { id, label, location, distance: hit.distance }
            });
            Found { query, hits: hits.collect() }
        });
        Ok(found.collect())
    }
}
