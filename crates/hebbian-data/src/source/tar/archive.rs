//! The tar format: which files an archive holds, and where.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Component, Path};

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

/// Whether `first`, the first 512 bytes of a file, are a tar header.
pub(in crate::source) fn is_tar(first: &[u8]) -> bool {
    first.get(257..262) == Some(b"ustar")
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
    let mut entries = Vec::new();
    walk(path, reader, len, &mut |entry, _| {
        entries.push(entry);
        Ok(())
    })?;
    Ok(latest(entries))
}

/// In byte-wise order of the paths, the last of those with one path.
pub(super) fn latest(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    entries.reverse();
    entries.dedup_by(|a, b| a.path == b.path);
    entries.reverse();
    entries
}

/// Hands every regular file over, in the order they lie, with its content.
pub(super) fn walk(
    path: &Path,
    reader: impl Read + Seek,
    len: u64,
    take: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let bad = |offset, problem: String| Error::Tar { path: path.to_path_buf(), offset, problem };
    let mut archive = tar::Archive::new(Forward { reader: BufReader::new(reader), at: 0 });
    // Where the next header is due.
    let mut next = 0;
    for entry in archive.entries_with_seek().map_err(Error::io("read", path))? {
        let mut entry = entry.map_err(|e| bad(next, e.to_string()))?;
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
            take(Entry { path, offset, len: size }, &mut entry)?;
        }
    }
    // Whole entries may be missing from a cut archive: the closing zero block tells.
    if next.checked_add(BLOCK).is_none_or(|end| end > len) {
        return Err(bad(len, "the archive ends without its closing block".to_owned()));
    }
    Ok(())
}

/// A reader whose small steps forward stay within its buffer.
struct Forward<R> {
    reader: BufReader<R>,
    at: u64,
}

impl<R: Read> Read for Forward<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(out)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl<R: Seek> Seek for Forward<R> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let too_far = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
        // The only seek that reading entries makes.
        let SeekFrom::Current(step) = to else { return Err(too_far()) };
        let at = self.at.checked_add_signed(step).ok_or_else(too_far)?;
        self.reader.seek_relative(step)?;
        self.at = at;
        Ok(at)
    }
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
