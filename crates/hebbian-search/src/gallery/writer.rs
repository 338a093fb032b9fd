//! Changing a gallery: what is added and removed becomes a new generation, in one step.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::lock::{LOCK_FILE, Lock};
use super::manifest::{FORMAT_VERSION, MANIFEST_FILE, Manifest, SEGMENTS_FOLDER};
use super::place::{check_place, segments_on_disk, sweep};
use super::segment::{Part, SegmentWriter};
use super::vectors_file::check_dim;
use super::{Gallery, GalleryInfo, Item, approximate, merge};
use crate::store::check_batch;
use crate::{Error, Graph, Result};

/// Where an item is: number of its segment and row in it.
type Place = (u64, u32);

/// Makes or changes a gallery, in memory bounded by its items.
///
/// Only one writer has a gallery at a time. What it adds and removes is seen by nobody until
/// [`commit`](GalleryWriter::commit) makes it durable as the gallery's next generation; a writer
/// dropped before, or killed, leaves the gallery as it was last committed, or none if it never was.
/// What a killed one leaves behind, the next one removes.
pub struct GalleryWriter {
    root: PathBuf,
    /// As last committed.
    gallery: Gallery,
    /// Every item, uncommitted ones too.
    places: HashMap<String, Place>,
    /// Rows of segments, the pending one too, to be removed.
    removed: BTreeMap<u64, BTreeSet<u32>>,
    pending: Option<SegmentWriter>,
    next_number: u64,
    /// Whether there is something to commit even without vectors added or removed.
    begun: bool,
    /// Whether this writer made the folder.
    made: bool,
    _lock: Lock,
}

impl GalleryWriter {
    /// Begins a new gallery at `path`. With `overwrite` it takes the place of the one that is
    /// there when it is first committed.
    ///
    /// # Errors
    /// [`Error::Exists`] if something is there and `overwrite` is off; [`Error::NotAGallery`] if
    /// it is on but what is there holds more than a gallery; [`Error::Locked`] if another writer
    /// has it; [`Error::Option`] if the dimension is 0; [`Error::Io`].
    pub fn create(path: impl AsRef<Path>, info: GalleryInfo, overwrite: bool) -> Result<Self> {
        check_dim(info.dim)?;
        let root = path.as_ref().to_owned();
        check_place(&root, overwrite)?;
        let made = !root.exists();
        fs_err::create_dir_all(&root)?;
        let lock = Lock::take(&root).inspect_err(|_| {
            // Only an empty one goes.
            let _ = made.then(|| fs_err::remove_dir(&root));
        })?;
        // Another writer may have been faster.
        check_place(&root, overwrite)?;
        let mut manifest = Manifest::new(info);
        // A gallery that can't be read may be overwritten too.
        manifest.generation = Manifest::read(&root).map_or(0, |old| old.generation);
        let gallery = Gallery::of(root, manifest, Vec::new());
        let writer = Self::of(gallery, lock, made, true);
        if !writer.root.join(MANIFEST_FILE).exists() {
            writer.sweep();
        }
        Ok(writer)
    }

    /// Opens the gallery at `path` to change it.
    ///
    /// # Errors
    /// As [`Gallery::open`]; [`Error::Locked`] if another writer has it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let root = path.as_ref();
        // Before a lock file appears in a folder that is no gallery.
        Manifest::read(root)?;
        let lock = Lock::take(root)?;
        let writer = Self::of(Gallery::open(root)?, lock, false, false);
        writer.sweep();
        Ok(writer)
    }

    fn of(gallery: Gallery, lock: Lock, made: bool, begun: bool) -> Self {
        let mut writer = Self {
            root: gallery.path().to_owned(),
            gallery,
            places: HashMap::new(),
            removed: BTreeMap::new(),
            pending: None,
            next_number: 1,
            begun,
            made,
            _lock: lock,
        };
        // Beyond whatever is there, so that no reader ever takes one segment for another.
        let on_disk = segments_on_disk(&writer.root).into_iter().map(|(number, _)| number);
        let named = writer.gallery.parts.iter().map(|part| part.entry.number);
        writer.next_number = on_disk.chain(named).max().unwrap_or(0).saturating_add(1);
        writer.roll_back();
        writer
    }

    /// The gallery as last committed.
    #[must_use]
    pub fn gallery(&self) -> &Gallery {
        &self.gallery
    }

    /// Number of vectors, uncommitted changes included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no vector, uncommitted changes included.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Appends items with their vectors; an item whose id is there already is replaced. On a
    /// refusal nothing was appended; on [`Error::Io`] all that was not committed is gone.
    ///
    /// # Shapes
    /// `vectors`: `[items.len(), dim]`, row-major.
    ///
    /// # Errors
    /// [`Error::Length`] if the two do not go together, [`Error::NotFinite`],
    /// [`Error::TextTooLong`], [`Error::Io`].
    pub fn push(&mut self, items: &[Item], vectors: &[f32]) -> Result<()> {
        let dim = self.gallery.info().dim;
        let first = self.pending.as_ref().map_or(0, SegmentWriter::len);
        check_batch(items, vectors, dim, first)?;
        if first.saturating_add(items.len()) > u32::MAX as usize {
            let rule = "at most 4294967295 vectors can be added at once; commit in between";
            return Err(Error::Option { option: "gallery size", value: first, rule });
        }
        if items.is_empty() {
            return Ok(());
        }
        if self.pending.is_none() {
            self.pending = Some(SegmentWriter::create(&self.root, self.next_number, dim)?);
            self.next_number = self.next_number.saturating_add(1);
        }
        let Some(pending) = &mut self.pending else { return Ok(()) };
        let number = pending.number();
        // Half of a vector may have been written, after which nothing can follow.
        pending.push(items, vectors).inspect_err(|_| self.roll_back())?;
        for (item, row) in items.iter().zip(first..) {
            if let Some(old) = self.places.insert(item.id.clone(), (number, row as u32)) {
                self.removed.entry(old.0).or_default().insert(old.1);
            }
        }
        Ok(())
    }

    /// Removes the item named `id`; whether it was there.
    pub fn remove(&mut self, id: &str) -> bool {
        let place = self.places.remove(id);
        if let Some((number, row)) = place {
            self.removed.entry(number).or_default().insert(row);
        }
        place.is_some()
    }

    /// Makes all changes durable and visible as the next generation, in one step. After a failure
    /// the uncommitted changes are gone.
    ///
    /// Then segments are merged where there are too many, or too much of one was removed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn commit(&mut self) -> Result<&Gallery> {
        self.write_changes().inspect_err(|_| self.roll_back())?;
        loop {
            let sizes: Vec<_> =
                self.gallery.parts.iter().map(|part| (part.entry.len, part.live())).collect();
            match merge::plan(&sizes) {
                Some(range) => self.merge(range)?,
                None => return Ok(&self.gallery),
            }
        }
    }

    /// Commits, then writes all segments again as one, without what was removed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn compact(&mut self) -> Result<&Gallery> {
        self.commit()?;
        let parts = &self.gallery.parts;
        let whole = |part: &Part| part.entry.removed.is_none() && part.entry.number > 0;
        if parts.len() > 1 || !parts.iter().all(whole) {
            self.merge(0..parts.len())?;
        }
        Ok(&self.gallery)
    }

    /// Compacts, then builds the graph for approximate searches, measures what it finds, and
    /// commits it. Vectors added later are searched exactly, until there is another graph; when
    /// segments are merged, the graph goes with them.
    ///
    /// # Errors
    /// [`Error::Io`]; see [`Graph::build`].
    pub fn build_graph(&mut self, progress: impl FnMut(usize, usize)) -> Result<&Gallery> {
        self.compact()?;
        if self.gallery.parts.is_empty() {
            return Ok(&self.gallery);
        }
        let generation = self.next_generation()?;
        let mut parts = self.gallery.parts.clone();
        let vectors = &parts[0].segment.vectors;
        let graph = Graph::build(vectors, progress)?;
        let entry = approximate::measure(&graph, vectors, generation)?;
        parts[0].set_graph(&self.root, graph, entry)?;
        self.install(parts, generation)?;
        Ok(&self.gallery)
    }

    /// Commits and opens the gallery.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<Gallery> {
        self.commit().cloned()
    }

    /// Forgets what was not committed.
    pub fn roll_back(&mut self) {
        self.pending = None;
        self.removed.clear();
        self.places.clear();
        for i in 0..self.gallery.parts.len() {
            self.place_items(i);
        }
    }

    /// Notes where the items of the `i`-th segment are.
    fn place_items(&mut self, i: usize) {
        let part = &self.gallery.parts[i];
        for (first, n) in part.stretches() {
            for row in first..first + n {
                let id = part.segment.items[row].id.clone();
                self.places.insert(id, (part.entry.number, row as u32));
            }
        }
    }

    fn write_changes(&mut self) -> Result<()> {
        let pending = self.pending.take().filter(|pending| pending.len() > 0);
        let changed = pending.is_some() || !self.removed.is_empty();
        if !(changed || self.begun) {
            return Ok(());
        }
        let generation = self.next_generation()?;
        let mut parts = self.gallery.parts.clone();
        if let Some(pending) = pending {
            parts.push(pending.finish()?);
        }
        let mut moved = false;
        for part in &mut parts {
            let rows = self.removed.remove(&part.entry.number).unwrap_or_default();
            let rows: Vec<u32> = rows.into_iter().collect();
            if part.entry.number == 0 {
                // Files of version 1 take part in no generation of this one.
                let mut copy = self.segment()?;
                copy.copy(part)?;
                *part = copy.finish()?;
                moved = true;
            }
            if !rows.is_empty() {
                part.remove(&self.root, &rows, generation)?;
            }
        }
        self.install(parts, generation)?;
        self.begun = false;
        if moved {
            self.roll_back();
        }
        Ok(())
    }

    /// Writes some neighbouring segments again as one.
    fn merge(&mut self, range: Range<usize>) -> Result<()> {
        let generation = self.next_generation()?;
        let mut parts = self.gallery.parts.clone();
        let mut merged = self.segment()?;
        for part in &parts[range.clone()] {
            merged.copy(part)?;
        }
        let merged = if merged.len() > 0 { Some(merged.finish()?) } else { None };
        let one = merged.is_some();
        parts.splice(range.clone(), merged);
        self.install(parts, generation)?;
        if one {
            self.place_items(range.start);
        }
        Ok(())
    }

    /// Begins a segment.
    fn segment(&mut self) -> Result<SegmentWriter> {
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        SegmentWriter::create(&self.root, number, self.gallery.info().dim)
    }

    fn next_generation(&self) -> Result<u64> {
        // TOML's numbers end there.
        let next =
            self.gallery.manifest.generation.checked_add(1).filter(|&n| n <= i64::MAX as u64);
        next.ok_or_else(|| Error::Malformed {
            path: self.root.join(MANIFEST_FILE),
            problem: "generation can't be counted any further".to_owned(),
        })
    }

    /// Makes `parts` the gallery.
    fn install(&mut self, parts: Vec<Part>, generation: u64) -> Result<()> {
        let mut manifest = Manifest {
            format_version: FORMAT_VERSION,
            generation,
            segments: parts.iter().map(|part| part.entry.clone()).collect(),
            ..self.gallery.manifest.clone()
        };
        manifest.write(&self.root)?;
        self.gallery = Gallery::of(self.root.clone(), manifest, parts);
        self.sweep();
        Ok(())
    }

    /// Removes what belongs to no generation and is not being written.
    fn sweep(&self) {
        sweep(&self.root, &self.gallery.parts, self.pending.as_ref().map(SegmentWriter::number));
    }
}

impl Drop for GalleryWriter {
    fn drop(&mut self) {
        self.pending = None;
        if self.made && !self.root.join(MANIFEST_FILE).exists() {
            self.sweep();
            let _ = fs_err::remove_dir(self.root.join(SEGMENTS_FOLDER));
            let _ = fs_err::remove_file(self.root.join(LOCK_FILE));
            let _ = fs_err::remove_dir(&self.root);
        }
    }
}
