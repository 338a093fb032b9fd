//! A segment: vectors and their items in files that never change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err::File;

use super::files::{self, checksum};
use super::items::{Item, parse_items};
use super::items_writer::ItemsWriter;
use super::manifest::{GraphEntry, RemovedEntry, SEGMENTS_FOLDER, SegmentEntry, segment_folder};
use super::removed::{format_removed, parse_removed};
use super::vectors_file::{VectorsFile, VectorsWriter};
use crate::{Error, Graph, Result, Vectors};

/// Name of the vectors in the folder of a segment.
pub(super) const VECTORS_FILE: &str = "vectors.safetensors";
/// Name of the items in the folder of a segment.
pub(super) const ITEMS_FILE: &str = "items.parquet";

/// A segment opened for reading: items in memory, vectors on disk.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) vectors: VectorsFile,
    pub(super) items: Vec<Item>,
}

impl Segment {
    /// Opens what `entry`, the `index`-th of the manifest, names in gallery `root`.
    fn open(root: &Path, entry: &SegmentEntry, dim: usize, index: usize) -> Result<Self> {
        let folder = entry.folder(root);
        let vectors = VectorsFile::open(folder.join(VECTORS_FILE))?;
        for (field, file, toml) in [("len", vectors.len(), entry.len), ("dim", vectors.dim(), dim)]
        {
            if file != toml {
                return Err(Error::Malformed {
                    path: vectors.path().to_owned(),
                    problem: format!("{field} is {file}, gallery.toml says {toml}"),
                });
            }
        }
        let path = folder.join(ITEMS_FILE);
        let content = files::read_up_to(&path, u64::MAX)?;
        if blake3::hash(&content).to_hex().as_str() != entry.items {
            return Err(Error::Checksum { path, field: format!("segments[{index}].items") });
        }
        let items = parse_items(content, entry.len, &path)?;
        Ok(Self { vectors, items })
    }
}

/// A segment as one generation sees it: without what was removed.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) entry: SegmentEntry,
    pub(super) segment: Arc<Segment>,
    /// Ascending rows.
    pub(super) removed: Arc<[u32]>,
    /// Of all vectors, the removed ones too.
    pub(super) graph: Option<Arc<Graph>>,
}

impl Part {
    /// Opens what `entry`, the `index`-th of the manifest, names in gallery `root`; takes from
    /// `open` what is open already.
    pub(super) fn open(
        root: &Path,
        entry: &SegmentEntry,
        dim: usize,
        index: usize,
        open: &[Self],
    ) -> Result<Self> {
        let same = |part: &&Self| {
            let (a, b) = (&part.entry, entry);
            (a.number, &a.vectors, &a.items) == (b.number, &b.vectors, &b.items)
        };
        let known = open.iter().find(same);
        let segment = match known {
            Some(part) => Arc::clone(&part.segment),
            None => Arc::new(Segment::open(root, entry, dim, index)?),
        };
        let removed = match (&entry.removed, known) {
            (None, _) => Arc::from([]),
            (removed, Some(part)) if part.entry.removed == *removed => Arc::clone(&part.removed),
            (Some(removed), _) => {
                let path = entry.folder(root).join(removed.file_name());
                let content = files::read_up_to(&path, 4 * entry.len as u64)?;
                if blake3::hash(&content).to_hex().as_str() != removed.checksum {
                    let field = format!("segments[{index}].removed.checksum");
                    return Err(Error::Checksum { path, field });
                }
                parse_removed(&content, removed.len, entry.len, &path)?.into()
            }
        };
        let graph = match (&entry.graph, known) {
            (None, _) => None,
            (graph, Some(part)) if part.entry.graph == *graph => part.graph.clone(),
            (Some(graph), _) => {
                let path = entry.folder(root).join(graph.file_name());
                let content = files::read_up_to(&path, u64::MAX)?;
                if blake3::hash(&content).to_hex().as_str() != graph.checksum {
                    let field = format!("segments[{index}].graph.checksum");
                    return Err(Error::Checksum { path, field });
                }
                Some(Arc::new(Graph::parse(&content, entry.len, &path)?))
            }
        };
        Ok(Self { entry: entry.clone(), segment, removed, graph })
    }

    /// Position among the rows that belong to the gallery, or nothing if `row` is none of them.
    pub(super) fn position(&self, row: usize) -> Option<usize> {
        match self.removed.binary_search(&(row as u32)) {
            Ok(_) => None,
            Err(removed) => Some(row - removed),
        }
    }

    /// Writes the graph of the segment, which `entry` describes, in gallery `root`.
    pub(super) fn set_graph(&mut self, root: &Path, graph: Graph, entry: GraphEntry) -> Result<()> {
        let content = graph.to_bytes();
        let checksum = blake3::hash(&content).to_hex().to_string();
        let entry = GraphEntry { checksum, ..entry };
        let folder = self.entry.folder(root);
        files::write_durably(&folder.join(entry.file_name()), &content)?;
        files::sync_folder(&folder)?;
        self.entry.graph = Some(entry);
        self.graph = Some(Arc::new(graph));
        Ok(())
    }

    /// Names of the files beside vectors and items that belong to this generation.
    pub(super) fn beside(&self) -> Vec<String> {
        let removed = self.entry.removed.as_ref().map(RemovedEntry::file_name);
        removed.into_iter().chain(self.entry.graph.as_ref().map(GraphEntry::file_name)).collect()
    }

    /// Vectors that belong to the gallery.
    pub(super) fn live(&self) -> usize {
        self.entry.len - self.removed.len()
    }

    /// Stretches of rows that belong to the gallery: first row and number of rows.
    pub(super) fn stretches(&self) -> impl Iterator<Item = (usize, usize)> {
        let ends = self.removed.iter().map(|&row| row as usize).chain([self.entry.len]);
        let mut start = 0;
        ends.filter_map(move |end| {
            let first = std::mem::replace(&mut start, end + 1);
            (end > first).then_some((first, end - first))
        })
    }

    /// Removes further rows, ascending, in generation `generation` of gallery `root`.
    pub(super) fn remove(&mut self, root: &Path, rows: &[u32], generation: u64) -> Result<()> {
        let mut all = [&self.removed, rows].concat();
        all.sort_unstable();
        all.dedup();
        let content = format_removed(&all);
        let checksum = blake3::hash(&content).to_hex().to_string();
        let removed = RemovedEntry { generation, len: all.len(), checksum };
        let folder = self.entry.folder(root);
        files::write_durably(&folder.join(removed.file_name()), &content)?;
        files::sync_folder(&folder)?;
        self.entry.removed = Some(removed);
        self.removed = all.into();
        Ok(())
    }

    /// Reads everything and compares it with the checksums.
    pub(super) fn verify(&self, index: usize) -> Result<()> {
        let (vectors, entry) = (&self.segment.vectors, &self.entry);
        if vectors.checksum()? != entry.vectors {
            let path = vectors.path().to_owned();
            return Err(Error::Checksum { path, field: format!("segments[{index}].vectors") });
        }
        vectors.check_finite()
    }
}

/// Writes a segment as a stream, in bounded memory. Dropped before it is finished, it leaves
/// nothing.
pub(super) struct SegmentWriter {
    root: PathBuf,
    number: u64,
    folder: PathBuf,
    /// Nothing once finished.
    open: Option<(VectorsWriter, ItemsWriter<File>)>,
    dim: usize,
}

impl SegmentWriter {
    /// Begins segment `number` of gallery `root`.
    pub(super) fn create(root: &Path, number: u64, dim: usize) -> Result<Self> {
        let folder = segment_folder(root, number);
        fs_err::create_dir_all(root.join(SEGMENTS_FOLDER))?;
        fs_err::create_dir(&folder)?;
        let mut writer = Self { root: root.to_owned(), number, folder, open: None, dim };
        let vectors = VectorsWriter::create(&writer.folder.join(VECTORS_FILE), dim)?;
        let items = ItemsWriter::new(File::create_new(writer.folder.join(ITEMS_FILE))?)?;
        writer.open = Some((vectors, items));
        Ok(writer)
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn len(&self) -> usize {
        self.open.as_ref().map_or(0, |(vectors, _)| vectors.len())
    }

    /// Appends items with their vectors, `[items.len(), dim]`, which must go together.
    pub(super) fn push(&mut self, items: &[Item], vectors: &[f32]) -> Result<()> {
        let Some((vectors_file, items_file)) = &mut self.open else { return Ok(()) };
        vectors_file.push(vectors)?;
        items_file.push(items)
    }

    /// Appends all that belongs to the gallery of `part`.
    pub(super) fn copy(&mut self, part: &Part) -> Result<()> {
        let rows = (files::CHUNK_BYTES / size_of::<f32>() / self.dim).max(1);
        let mut values = Vec::new();
        for (first, n) in part.stretches() {
            for start in (first..first + n).step_by(rows) {
                let n = rows.min(first + n - start);
                part.segment.vectors.read(start, n, &mut values)?;
                self.push(&part.segment.items[start..start + n], &values)?;
            }
        }
        Ok(())
    }

    /// Completes the files, makes them durable and opens them.
    pub(super) fn finish(mut self) -> Result<Part> {
        let Some((vectors, items)) = self.open.take() else {
            return Err(std::io::Error::other("the segment was finished before").into());
        };
        let len = vectors.len();
        let finished = || -> Result<Part> {
            vectors.finish()?;
            items.finish()?.sync_all()?;
            files::sync_folder(&self.folder)?;
            files::sync_folder(files::parent(&self.folder))?;
            // Read back from the files, so that the checksums are of what is really there.
            let sum = |file| checksum(&File::open(self.folder.join(file))?);
            let (vectors, items) = (sum(VECTORS_FILE)?, sum(ITEMS_FILE)?);
            let entry = SegmentEntry {
                number: self.number,
                len,
                vectors,
                items,
                removed: None,
                graph: None,
            };
            Part::open(&self.root, &entry, self.dim, 0, &[])
        };
        finished().inspect_err(|_| remove(&self.folder))
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        if self.open.take().is_some() {
            remove(&self.folder);
        }
    }
}

/// Removes the folder of a segment and nothing that is not part of it. What can't be removed, as
/// on a system where someone still reads it, is left to the next writer.
pub(super) fn remove(folder: &Path) {
    for file in [VECTORS_FILE, ITEMS_FILE] {
        let _ = fs_err::remove_file(folder.join(file));
    }
    remove_beside(folder, &[]);
    let _ = fs_err::remove_dir(folder);
}

/// Removes the files of removed rows and graphs in the folder of a segment, but for those named.
pub(super) fn remove_beside(folder: &Path, but: &[String]) {
    for entry in fs_err::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let number = name.strip_prefix("removed-").or_else(|| name.strip_prefix("graph-"));
        let ours = number.is_some_and(|n| n.bytes().all(|byte| byte.is_ascii_digit()));
        if ours && !but.iter().any(|kept| kept == name) {
            let _ = fs_err::remove_file(entry.path());
        }
    }
}
