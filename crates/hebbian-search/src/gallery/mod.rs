//! Galleries on disk: a manifest and the segments that it names.
//!
//! | file | content | checked by [`Gallery::open`] | checked by [`Gallery::verify`] |
//! |---|---|---|---|
//! | `gallery.toml` | [`Manifest`]: one generation | everything, with its checksum | |
//! | `segments/N/items.parquet` | columns `id`, `label`, `location`, `content` | everything, with its checksum | ids unique |
//! | `segments/N/vectors.safetensors` | tensor `vectors`, `[len, dim]`, f32 | header and size | checksum, values finite |
//! | `segments/N/removed-G` | rows that no longer belong to it, u32 | everything, with its checksum | |
//! | `segments/N/graph-G` | [`Graph`](crate::Graph) for approximate search, where asked for | everything, with its checksum | |
//! | `lock` | held by whoever writes | | |
//!
//! Segments never change. A change is new segments and new files of removed rows, made durable,
//! and then a manifest renamed over the old one: so a reader sees one generation or the next,
//! whatever a writer does or however it ends.

mod approximate;
mod files;
mod info;
mod items;
mod items_writer;
mod lock;
mod manifest;
mod merge;
mod place;
mod removed;
mod segment;
mod tensor;
mod vectors_file;
mod version1;
mod writer;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::vectors::{Vectors, check_rows};
use crate::{Error, Result, Store};

pub use info::{Distance, GalleryInfo};
pub use items::{ITEMS_THREAD, Item, MAX_TEXT_BYTES, parse_foreign_items, parse_items};
pub use items_writer::write_items;
pub use manifest::{FORMAT_VERSION, GraphEntry, Manifest, RemovedEntry, SegmentEntry};
pub use removed::parse_removed;
pub use tensor::{MAX_HEADER_BYTES, TensorLayout};
pub use vectors_file::{VectorsFile, VectorsWriter};
pub use writer::GalleryWriter;

pub(crate) use files::{read_exact_at, to_little_endian};
use segment::Part;
pub(crate) use vectors_file::check_values;

/// Times that a gallery is opened again because it changed while it was being opened.
const ATTEMPTS: usize = 100;

/// One generation of a gallery, opened for reading. Items are in memory, vectors stay on disk and
/// are read where they are asked for; any number of threads may read at once, and no writer
/// disturbs them. Clones share everything.
#[derive(Clone, Debug)]
pub struct Gallery {
    path: PathBuf,
    manifest: Manifest,
    parts: Vec<Part>,
    /// All rows in order.
    runs: Vec<Run>,
    len: usize,
}

/// Rows of the gallery that lie one after the other in a segment.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// First row of the gallery.
    start: usize,
    /// Position of the segment.
    part: usize,
    /// First row of the segment.
    row: usize,
    len: usize,
}

impl Gallery {
    /// Opens the gallery in folder `path` as it is now.
    ///
    /// # Errors
    /// [`Error::Io`] if a file can't be read; [`Error::FormatVersion`], [`Error::Malformed`] or
    /// [`Error::Checksum`] if the gallery is not whole, see the [module](self) for what is
    /// checked here.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let manifest = Manifest::read(&path)?;
        Self::open_generation(path, manifest, &[])
    }

    /// The gallery as it is on disk by now, or nothing if it has not changed since this was
    /// opened. What has not changed is not read again.
    ///
    /// # Errors
    /// As [`Gallery::open`].
    pub fn newer(&self) -> Result<Option<Self>> {
        let manifest = Manifest::read(&self.path)?;
        if manifest == self.manifest {
            return Ok(None);
        }
        Self::open_generation(self.path.clone(), manifest, &self.parts).map(Some)
    }

    fn open_generation(path: PathBuf, mut manifest: Manifest, open: &[Part]) -> Result<Self> {
        for _ in 0..ATTEMPTS {
            let entries = manifest.segments.iter().enumerate();
            let dim = manifest.gallery.dim;
            let parts: Result<Vec<Part>> =
                entries.map(|(i, entry)| Part::open(&path, entry, dim, i, open)).collect();
            let error = match parts {
                Ok(parts) => return Ok(Self::of(path, manifest, parts)),
                Err(error) => error,
            };
            // A writer may have removed what the manifest named; then there is a newer one.
            let newer = Manifest::read(&path)?;
            if newer == manifest {
                return Err(error);
            }
            manifest = newer;
        }
        let problem = "is changed faster than it can be read".to_owned();
        Err(Error::Malformed { path: path.join(manifest::MANIFEST_FILE), problem })
    }

    fn of(path: PathBuf, manifest: Manifest, parts: Vec<Part>) -> Self {
        let (mut runs, mut start) = (Vec::new(), 0);
        for (part, segment) in parts.iter().enumerate() {
            for (row, len) in segment.stretches() {
                runs.push(Run { start, part, row, len });
                start += len;
            }
        }
        Self { path, manifest, parts, runs, len: start }
    }

    /// The folder it was opened from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the vectors are.
    #[must_use]
    pub fn info(&self) -> &GalleryInfo {
        &self.manifest.gallery
    }

    /// What `gallery.toml` says of this generation.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// All items in order, one per vector.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.runs
            .iter()
            .flat_map(|run| self.parts[run.part].segment.items[run.row..run.row + run.len].iter())
    }

    /// The item of vector `index`, or nothing if there is no such vector.
    #[must_use]
    pub fn item(&self, index: usize) -> Option<&Item> {
        let (part, row) = self.place(index)?;
        self.parts[part].segment.items.get(row)
    }

    /// The row of the item named `id`, or nothing if there is no such item.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<usize> {
        self.items().position(|item| item.id == id)
    }

    /// Vectors on disk that no longer belong to the gallery.
    #[must_use]
    pub fn removed(&self) -> usize {
        self.parts.iter().map(|part| part.removed.len()).sum()
    }

    /// Position of the segment and row of it that hold row `index`.
    fn place(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        let run = self.runs[self.runs.partition_point(|run| run.start <= index) - 1];
        Some((run.part, run.row + index - run.start))
    }

    /// Fails unless `fingerprint` is that of the model that made the gallery: distances between
    /// the features of different models mean nothing.
    ///
    /// # Errors
    /// [`Error::Model`], which names both.
    pub fn check_model(&self, fingerprint: &str) -> Result<()> {
        Store::check_model(self, fingerprint)
    }

    /// Reads all vectors, compares their checksums, looks for values that are not finite and for
    /// ids that are there twice.
    ///
    /// # Errors
    /// [`Error::Checksum`], [`Error::NotFinite`], [`Error::Malformed`], [`Error::Io`].
    pub fn verify(&self) -> Result<()> {
        for (index, part) in self.parts.iter().enumerate() {
            part.verify(index)?;
        }
        let mut ids = HashSet::with_capacity(self.len);
        match self.items().find(|item| !ids.insert(&item.id)) {
            Some(item) => Err(Error::Malformed {
                path: self.path.clone(),
                problem: format!("two items have the id {:?}", item.id),
            }),
            None => Ok(()),
        }
    }
}

impl Vectors for Gallery {
    fn len(&self) -> usize {
        self.len
    }

    fn dim(&self) -> usize {
        self.info().dim
    }

    fn read(&self, start: usize, n: usize, out: &mut Vec<f32>) -> Result<()> {
        check_rows(start, n, self.len)?;
        let (dim, end) = (self.dim(), start + n);
        out.resize(n * dim, 0.0);
        let mut rest = &mut out[..];
        let first = self.runs.partition_point(|run| run.start + run.len <= start);
        for run in self.runs[first..].iter().take_while(|run| run.start < end) {
            let skip = start.saturating_sub(run.start);
            let n = run.len.min(end - run.start) - skip;
            let (values, after) = rest.split_at_mut(n * dim);
            self.parts[run.part].segment.vectors.read_into(run.row + skip, values)?;
            rest = after;
        }
        Ok(())
    }
}
