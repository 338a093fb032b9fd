//! Every test image against every training image, by the features of a
//! cell's layer.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use hebbian::engine::Device;
use hebbian::error::{Error, Result};
use hebbian::network::{FeatureLayer, Model};
use hebbian::train::{self, for_each_map};
use hebbian_data::{Dataset, Size};
use hebbian_search::metrics::{EvaluateOptions, evaluate};
use hebbian_search::{Gallery, GalleryInfo, GalleryWriter, Item, Matrix, Vectors, search};
use serde::{Deserialize, Serialize};

use crate::data::labels_in;
use crate::spec::Retrieval;
use crate::{as_error, counter};

/// Queries shown: the first of so many classes.
const SHOWN: usize = 8;
/// Neighbours shown.
const HITS: usize = 9;

/// What ranking a cell's features gives.
pub(crate) struct Ranked {
    /// Precision, AP and mAP in every definition.
    pub(crate) report: serde_json::Value,
    /// Some queries with what was found for them.
    pub(crate) strips: Vec<Strip>,
}

/// A query with its nearest images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Strip {
    /// The test image asked with.
    pub query: Picture,
    /// The nearest training images, nearest first.
    pub hits: Vec<Picture>,
}

/// An image as the network sees it, and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Pixels, `[height, width, 3]`, two hexadecimal digits each.
    pub rgb: String,
    /// Name of its class.
    pub class: Option<String>,
    /// Euclidean distance to the query.
    pub distance: Option<f32>,
}

impl Picture {
    fn of(data: &Dataset, row: usize, size: Size) -> Result<Self> {
        let pixels = data.images().decode_at(row, size)?;
        let rgb = pixels.iter().map(|byte| format!("{byte:02x}")).collect();
        let class = data.label(row).and_then(|l| data.classes().get(l as usize).cloned());
        Ok(Self { width: size.width, height: size.height, rgb, class, distance: None })
    }

    /// Its pixels; none where the text holds anything but digits.
    pub fn pixels(&self) -> Option<Vec<u8>> {
        let digits = self.rgb.as_bytes();
        let pair = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(text, 16).ok()
        };
        digits.chunks(2).map(pair).collect()
    }
}

/// Where the strips of a cell are kept.
pub fn strips_path(out: &Path, cell: &str) -> PathBuf {
    out.join("cells").join(format!("{cell}.strips.json"))
}

/// Ranks `gallery` for every image of `queries` by the features asked for. Both
/// sides' features go through files in `folder`, so that memory stays bounded.
///
/// Where features are named, the report is a list, each with its `features`;
/// strips are those of the first.
pub(crate) fn rank(
    model: &Model,
    sets: (&Dataset, &Dataset),
    asked: &Retrieval,
    folder: &Path,
    device: &Device,
    observer: train::Observer<'_>,
) -> Result<Ranked> {
    let named = asked.features.iter().map(|name| FeatureLayer::of(model, Some(name)));
    let layers = match named.collect::<Result<Vec<_>>>()? {
        none if none.is_empty() => vec![FeatureLayer::of(model, None)?],
        layers => layers,
    };
    let mut reports = vec![serde_json::Value::Null; layers.len()];
    let mut shown = Vec::new();
    let depth = |n: usize| layers[n].depth(model);
    for first in 0..layers.len() {
        // Features of one depth are computed together.
        if (0..first).any(|before| depth(before) == depth(first)) {
            continue;
        }
        let together: Vec<usize> =
            (first..layers.len()).filter(|&n| depth(n) == depth(first)).collect();
        let of: Vec<FeatureLayer> = together.iter().map(|&n| layers[n]).collect();
        let mut features =
            |data, name| features(model, &of, data, (name, folder), device, observer);
        let gallery = features(sets.0, "indexing")?;
        let queries = features(sets.1, "queries")?;
        for (&n, sides) in together.iter().zip(gallery.vectors.iter().zip(&queries.vectors)) {
            let mut report = rank_by(sides, sets, &queries.rows, asked, observer)?;
            if n == 0 {
                shown = strips(model, sets, sides, &queries.rows)?;
            }
            if let Some(name) = asked.features.get(n) {
                report["features"] = name.as_str().into();
            }
            reports[n] = report;
        }
    }
    let report = match asked.features.is_empty() {
        true => reports.swap_remove(0),
        false => reports.into(),
    };
    Ok(Ranked { report, strips: shown })
}

/// Ranks by features of both sides; `rows` are the positions of what asks.
fn rank_by(
    (found, asking): (&Gallery, &Gallery),
    (gallery, queries): (&Dataset, &Dataset),
    rows: &[usize],
    asked: &Retrieval,
    observer: train::Observer<'_>,
) -> Result<serde_json::Value> {
    let classes = gallery.classes();
    let known = found.items().map(|item| {
        let class = item.label.as_ref()?;
        classes.iter().position(|c| c == class).and_then(|n| u32::try_from(n).ok())
    });
    let known: Vec<Option<u32>> = known.collect();
    let truth = labels_in(queries, classes);
    let of_rows: Vec<Option<u32>> = rows.iter().map(|&row| truth[row]).collect();
    let options = EvaluateOptions {
        ks: asked.ks.iter().copied().filter(|&k| k <= found.len()).collect(),
        truncate: asked.truncate,
    };
    let mut count = counter("ranking", observer);
    let report = evaluate(found, &known, asking, &of_rows, None, &options, &mut count);
    let report = report.map_err(as_error)?;
    serde_json::to_value(report).map_err(|e| Error::Data(e.to_string()))
}

/// The features of the images of a set that could be read.
struct Features {
    /// One gallery for each kind of features asked for.
    vectors: Vec<Gallery>,
    /// Positions of the images in the set.
    rows: Vec<usize>,
}

/// Streams features of a set, all of one depth, into galleries under `folder`.
fn features(
    model: &Model,
    layers: &[FeatureLayer],
    data: &Dataset,
    (name, folder): (&str, &Path),
    device: &Device,
    observer: train::Observer<'_>,
) -> Result<Features> {
    let fingerprint = model.fingerprint()?;
    let files = folder.join(name);
    fs_err::create_dir_all(&files)?;
    let writer = |layer: &FeatureLayer| {
        let (dim, layer) = (layer.len(model), layer.to_string());
        let info = GalleryInfo::new(dim, fingerprint.clone(), "an experiment", &layer);
        GalleryWriter::create(files.join(layer), info, true).map_err(as_error)
    };
    let mut writers: Vec<GalleryWriter> = layers.iter().map(writer).collect::<Result<_>>()?;
    let depth = layers.first().map_or(0, |layer| layer.depth(model));
    let mut read = Vec::new();
    for_each_map(model, depth, &data.images(), device, name, observer, |rows, map| {
        let items = rows.iter().map(|&row| {
            let label = data.label(row).and_then(|l| data.classes().get(l as usize).cloned());
            Item { id: data.id(row), label, ..Item::default() }
        });
        let items: Vec<Item> = items.collect();
        read.extend(rows);
        for (writer, layer) in writers.iter_mut().zip(layers) {
            let features = layer.features(model, Cow::Borrowed(&map))?;
            writer.push(&items, &features).map_err(as_error)?;
        }
        Ok(())
    })?;
    let finished = writers.into_iter().map(|writer| writer.finish().map_err(as_error));
    Ok(Features { vectors: finished.collect::<Result<_>>()?, rows: read })
}

/// The first query of each of some classes, with its nearest.
fn strips(
    model: &Model,
    (gallery, queries): (&Dataset, &Dataset),
    (found, asking): (&Gallery, &Gallery),
    rows: &[usize],
) -> Result<Vec<Strip>> {
    let first = |class: usize| {
        rows.iter().position(|&row| queries.label(row).is_some_and(|l| l as usize == class))
    };
    let shown: Vec<usize> = (0..queries.classes().len()).filter_map(first).take(SHOWN).collect();
    let mut vectors = Vec::new();
    let mut buffer = Vec::new();
    for &position in &shown {
        asking.read(position, 1, &mut buffer).map_err(as_error)?;
        vectors.extend_from_slice(&buffer);
    }
    let vectors = Matrix::new(asking.dim(), vectors).map_err(as_error)?;
    let hits = search(found, &vectors, HITS).map_err(as_error)?;
    let by_id: std::collections::HashMap<String, usize> =
        (0..gallery.len()).map(|row| (gallery.id(row), row)).collect();
    let size = model.preprocess.size;
    let strip = |(&position, hits): (&usize, &Vec<hebbian_search::Hit>)| -> Result<Strip> {
        let hits = hits.iter().filter_map(|hit| {
            let row = *by_id.get(&found.item(hit.index)?.id)?;
            let picture = Picture::of(gallery, row, size);
            Some(picture.map(|p| Picture { distance: Some(hit.distance), ..p }))
        });
        let hits = hits.collect::<Result<_>>()?;
        Ok(Strip { query: Picture::of(queries, rows[position], size)?, hits })
    };
    shown.iter().zip(&hits).map(strip).collect()
}
