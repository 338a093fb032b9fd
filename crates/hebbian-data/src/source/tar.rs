//! A tar archive of images: indexed once, then read at random.

use std::borrow::Cow;
use std::io::{BufReader, Read, Seek};
use std::path::{Component, Path};
use std::sync::Arc;

use super::layout::Layout;
use super::read_at::ReadAt;
use super::{Opened, Part, Source, SourceKind, Stored};
use crate::{Error, Result};

const BLOCK: u64 = 512;

/// One regular file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the archive, with `/`.
    pub path: String,
    /// Where its bytes begin in the archive.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
}

struct Tar {
    file: ReadAt,
    entries: Vec<Entry>,
}

/// Whether `first`, the first 512 bytes of a file, are a tar header.
pub(super) fn is_tar(first: &[u8]) -> bool {
    first.get(257..262) == Some(b"ustar")
}

pub(super) fn open(path: &Path, part: Part) -> Result<Opened> {
    let file = ReadAt::open(path)?;
    let reader = BufReader::new(fs_err::File::open(path).map_err(Error::io("open", path))?);
    let mut entries = Vec::new();
    for entry in index(path, reader, file.len())? {
        if super::is_image(&entry.path, || file.read(entry.offset, entry.len.min(32)))? {
            entries.push(entry);
        }
    }
    if entries.is_empty() {
        return Err(Error::Empty { path: path.to_path_buf() });
    }
    let layout = Layout::read(&entries.iter().map(|e| e.path.as_str()).collect::<Vec<_>>());
    let rows = layout.rows(part).ok_or_else(|| Error::NoPart { path: path.to_path_buf(), part })?;
    let labels = rows.iter().map(|&row| layout.labels[row]).collect();
    let entries = rows.iter().map(|&row| entries[row].clone()).collect();
    Ok(Opened { source: Arc::new(Tar { file, entries }), labels, classes: layout.classes })
}

/// The regular files of an archive of `len` bytes, in byte-wise path order.
///
/// Links, devices and paths that are absolute or contain `..` are left out; of
/// two files with one path the later counts, as when unpacking. `path` names
/// the archive in messages.
///
/// # Errors
/// [`Error::Tar`] with the byte offset, when the archive is cut short or a
/// header is damaged.
pub fn index(path: &Path, reader: impl Read + Seek, len: u64) -> Result<Vec<Entry>> {
    let bad = |offset, problem: String| Error::Tar { path: path.to_path_buf(), offset, problem };
    let mut archive = tar::Archive::new(reader);
    // Where the next header is due.
    let mut next = 0;
    let mut entries: Vec<Entry> = Vec::new();
    for entry in archive.entries_with_seek().map_err(Error::io("read", path))? {
        let entry = entry.map_err(|e| bad(next, e.to_string()))?;
        let (offset, size) = (entry.raw_file_position(), entry.size());
        let end = offset.checked_add(size).filter(|&end| end <= len).ok_or_else(|| {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            bad(
                len,
                format!("the archive ends inside {name}, whose {size} bytes begin at {offset}"),
            )
        })?;
        next = end.next_multiple_of(BLOCK);
        if entry.header().entry_type().is_file()
            && let Some(path) = safe_path(&entry.path_bytes())
        {
            entries.push(Entry { path, offset, len: size });
        }
    }
    // Whole entries may be missing from a cut archive: the closing zero block tells.
    if next.checked_add(BLOCK).is_none_or(|end| end > len) {
        return Err(bad(len, "the archive ends without its closing block".to_owned()));
    }
    entries.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    entries.reverse();
    entries.dedup_by(|a, b| a.path == b.path);
    entries.reverse();
    Ok(entries)
}

fn safe_path(bytes: &[u8]) -> Option<String> {
    let path = String::from_utf8_lossy(bytes).into_owned();
    let mut parts = Vec::new();
    for component in Path::new(&path).components() {
        match component {
            Component::Normal(name) => parts.push(name.to_string_lossy()),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

impl Source for Tar {
    fn kind(&self) -> SourceKind {
        SourceKind::Tar
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn id(&self, index: usize) -> Cow<'_, str> {
        self.entries.get(index).map_or("", |entry| entry.path.as_str()).into()
    }

    fn read(&self, index: usize) -> Result<Stored<'_>> {
        let entry = self
            .entries
            .get(index)
            .ok_or(Error::RowOutOfRange { row: index, len: self.entries.len() })?;
        if entry.len > super::files::MAX_FILE {
            let reason = format!("the file is longer than {} bytes", super::files::MAX_FILE);
            return Err(Error::Unreadable { id: entry.path.clone(), reason });
        }
        Ok(Stored::Encoded(self.file.read(entry.offset, entry.len)?.into()))
    }

    fn fingerprint(&self) -> Result<blake3::Hash> {
        let mut hasher = super::fingerprint_of(SourceKind::Tar);
        super::add_metadata(&mut hasher, self.file.path())?;
        for entry in &self.entries {
            hasher.update(entry.path.as_bytes());
            hasher.update(&entry.offset.to_le_bytes());
            hasher.update(&entry.len.to_le_bytes());
        }
        Ok(hasher.finalize())
    }
}
