//! Retrieval measured part by part, in memory that grows with neither queries nor gallery.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::network::{FeatureLayer, Model};
use hebbian::train::{Nystroem, for_each_features};
use hebbian_data::{Dataset, Images};
use hebbian_lab::kernel;
use hebbian_search::metrics::{EvaluateOptions, RetrievalSums};
use hebbian_search::{Gallery, GalleryInfo, GalleryWriter, Vectors};
use serde::Serialize;
use tempfile::TempDir;

use crate::ui::Progress;

/// Images ranked together. A part reads the gallery about once, so that there should be few; what
/// is lost when a process ends is at most one.
const PART: usize = 4096;

/// How retrieval is measured.
pub struct Retrieval {
    /// Depths and the like.
    pub options: EvaluateOptions,
    /// Whether the queries are the gallery's own images, each left out of its own ranking.
    pub exclude_self: bool,
    /// Components of a Nystroem map fitted to the gallery, or none.
    pub nystroem: Option<usize>,
    /// Seed that draws its basis.
    pub seed: u64,
}

/// Everything that decides the outcome: parts of different questions do not add up.
#[derive(Serialize)]
struct Question<'a> {
    format_version: u32,
    model: &'a str,
    layer: &'a str,
    gallery: &'a str,
    queries: usize,
    names_and_labels: &'a str,
    images_a_part: usize,
    k: &'a [usize],
    truncate: Option<usize>,
    exclude_self: bool,
    nystroem: Option<usize>,
    seed: Option<u64>,
}

/// An evaluation that can be worked through by parts.
pub struct Work<'a> {
    how: &'a Retrieval,
    model: &'a Model,
    layer: FeatureLayer,
    device: &'a Device,
    gallery: &'a Gallery,
    gallery_labels: Vec<Option<u32>>,
    /// The map, and the gallery through it.
    mapped: Option<(Nystroem, Gallery)>,
    data: Dataset,
    images: Images,
    query_labels: Vec<Option<u32>>,
    /// Of what names the evaluation.
    question: String,
    beside: TempDir,
}

impl Retrieval {
    /// Prepares to rank `gallery` for every image of a data set, whose images may come from
    /// elsewhere (a cache).
    pub fn work<'a>(
        &'a self,
        model: &'a Model,
        gallery: &'a Gallery,
        (data, images): (&Dataset, &Images),
        device: &'a Device,
    ) -> Result<Work<'a>> {
        let (data, images) = match self.exclude_self {
            true => in_order(gallery, data, images)?,
            false => (data.clone(), images.clone()),
        };
        let layer = FeatureLayer::of(model, Some(&gallery.info().layer))?;
        // Classes are matched by name: the two sets may number them differently.
        let names = data.classes().iter().map(String::as_str);
        let names = names.chain(gallery.items().filter_map(|item| item.label.as_deref()));
        let names: BTreeSet<&str> = names.collect();
        let numbers: HashMap<&str, u32> = names.into_iter().zip(0..).collect();
        let of_class = |label: u32| {
            data.classes()
                .get(label as usize)
                .and_then(|class| numbers.get(class.as_str()).copied())
        };
        let query_labels: Vec<_> =
            (0..data.len()).map(|row| data.label(row).and_then(of_class)).collect();
        let of_item = |label: &String| numbers.get(label.as_str()).copied();
        let gallery_labels: Vec<_> =
            gallery.items().map(|item| item.label.as_ref().and_then(of_item)).collect();
        let beside = tempfile::tempdir()?;
        let mapped = match self.nystroem {
            None => None,
            Some(components) => {
                let map = kernel::fit(gallery, components, self.seed)?;
                let through = kernel::apply(&map, gallery, &beside.path().join("mapped gallery"))?;
                Some((map, through))
            }
        };
        let question = self.question(model, gallery, &data)?;
        Ok(Work {
            how: self,
            model,
            layer,
            device,
            gallery,
            gallery_labels,
            mapped,
            data,
            images,
            query_labels,
            question,
            beside,
        })
    }

    /// The text that names an evaluation.
    fn question(&self, model: &Model, gallery: &Gallery, data: &Dataset) -> Result<String> {
        let mut names = blake3::Hasher::new();
        for row in 0..data.len() {
            let label = data.label(row).and_then(|label| data.classes().get(label as usize));
            for text in [Some(&data.id(row)), label] {
                let text = text.map_or("", String::as_str);
                names.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
            }
        }
        let question = Question {
            format_version: 2,
            model: &model.fingerprint()?,
            layer: &gallery.info().layer,
            gallery: &gallery.manifest().checksum,
            queries: data.len(),
            names_and_labels: &names.finalize().to_hex(),
            images_a_part: PART,
            k: &self.options.ks,
            truncate: self.options.truncate,
            exclude_self: self.exclude_self,
            nystroem: self.nystroem,
            seed: self.nystroem.map(|_| self.seed),
        };
        Ok(toml::to_string(&question)?)
    }
}

impl Work<'_> {
    /// What names this evaluation.
    pub fn question(&self) -> &str {
        &self.question
    }

    /// How many parts there are.
    pub fn parts(&self) -> usize {
        self.images.len().div_ceil(PART)
    }

    /// Ranks the gallery for the images of part `part`; their features go through a file.
    pub fn rank(&self, part: usize, progress: &mut Progress) -> Result<RetrievalSums> {
        let rows: Vec<usize> = (part * PART..self.images.len().min((part + 1) * PART)).collect();
        let (data, images) = (self.data.subset(&rows), self.images.subset(&rows));
        let of = |what: &str| match self.parts() {
            1 => what.to_owned(),
            parts => format!("{what}, part {} of {parts}", part + 1),
        };
        let folder = tempfile::tempdir_in(self.beside.path())?;
        let dim = self.gallery.info().dim;
        let info =
            GalleryInfo::new(dim, self.model.fingerprint()?, "queries", self.layer.to_string());
        let mut writer = GalleryWriter::create(folder.path().join("queries"), info, false)?;
        let mut read = Vec::new();
        for_each_features(
            self.model,
            self.layer,
            &images,
            self.device,
            &of("queries"),
            &mut |event| progress.on(event),
            |found, features| {
                read.extend(found.iter().map(|&row| rows[row]));
                let items = super::super::index::items(&data, found);
                writer.push(&items, &features).map_err(|e| hebbian::Error::Data(e.to_string()))
            },
        )?;
        let queries = writer.finish()?;
        let labels: Vec<Option<u32>> = read.iter().map(|&row| self.query_labels[row]).collect();
        let own = self.how.exclude_self.then_some(&read[..]);
        let mapped = match &self.mapped {
            None => None,
            Some((map, gallery)) => {
                let queries = kernel::apply(map, &queries, &folder.path().join("mapped"))?;
                Some((gallery, queries))
            }
        };
        let (vectors, queries): (&dyn Vectors, &dyn Vectors) = match &mapped {
            None => (self.gallery, &queries),
            Some((gallery, queries)) => (*gallery, queries),
        };
        let ranking = of("ranking");
        let mut count = progress.counter(&ranking);
        let (known, asked) = ((vectors, &self.gallery_labels[..]), (queries, &labels[..]));
        Ok(RetrievalSums::over(known, asked, own, &self.how.options, &mut count)?)
    }
}

/// The images in the gallery's order; refuses those that are not the gallery's, one by one.
fn in_order(gallery: &Gallery, data: &Dataset, images: &Images) -> Result<(Dataset, Images)> {
    let rows: HashMap<String, usize> = (0..data.len()).map(|row| (data.id(row), row)).collect();
    let order: Option<Vec<usize>> =
        gallery.items().map(|item| rows.get(&item.id).copied()).collect();
    match order {
        Some(order) if order.len() == data.len() => {
            Ok((data.subset(&order), images.subset(&order)))
        }
        _ => {
            let problem = "needs the very images that the gallery holds";
            Err(hebbian::Error::config("--exclude-self", problem).into())
        }
    }
}
