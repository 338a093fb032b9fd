//! Decoded pixels of a whole data set at one size, in one file.
//!
//! The file: a header of fixed length, `count` images of height x width x 3
//! bytes, then a JSON list of `[row, reason]` for the images that could not be
//! decoded (their pixels are zero). The header holds a format version, the
//! sizes, the source's fingerprint and a checksum of itself and of the list;
//! with the file's length they tell a cut, damaged or stale file.

use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::source::read_at::ReadAt;
use crate::{Error, Images, Result, Size, batches::batches};

const MAGIC: [u8; 8] = *b"HEBPIXEL";
const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 128;
/// Images decoded between two writes.
const BLOCK: usize = 256;

/// What the first [`HEADER_BYTES`] bytes of a cache file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of every image.
    pub size: Size,
    /// How many images there are.
    pub count: u64,
    /// Of the source that was decoded.
    pub fingerprint: [u8; 32],
    /// Bytes of the list of failures.
    pub failures_len: u64,
    /// blake3 of the list of failures.
    pub failures_hash: [u8; 32],
}

impl Header {
    /// Reads a header; `None` when it is damaged, cut or of another version.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut fields, sum) = bytes.get(..HEADER_BYTES)?.split_at(HEADER_BYTES - 16);
        if blake3::hash(fields).as_bytes()[..16] != *sum {
            return None;
        }
        if take::<8>(&mut fields)? != MAGIC || take(&mut fields)? != VERSION.to_le_bytes() {
            return None;
        }
        let height = u32::from_le_bytes(take(&mut fields)?) as usize;
        let width = u32::from_le_bytes(take(&mut fields)?) as usize;
        Some(Self {
            size: Size { height, width }.check().ok()?,
            count: u64::from_le_bytes(take(&mut fields)?),
            fingerprint: take(&mut fields)?,
            failures_len: u64::from_le_bytes(take(&mut fields)?),
            failures_hash: take(&mut fields)?,
        })
    }

    /// The bytes that [`Header::parse`] reads.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        // Sides are at most 4096 wherever a size was checked.
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(side(self.size.height));
        bytes.extend(side(self.size.width));
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.fingerprint);
        bytes.extend(self.failures_len.to_le_bytes());
        bytes.extend(self.failures_hash);
        bytes.resize(HEADER_BYTES - 16, 0);
        let sum = *blake3::hash(&bytes).as_bytes();
        let mut out = [0; HEADER_BYTES];
        out[..HEADER_BYTES - 16].copy_from_slice(&bytes);
        out[HEADER_BYTES - 16..].copy_from_slice(&sum[..16]);
        out
    }

    /// Where the list of failures begins, and where the file ends.
    fn extent(&self) -> Option<(u64, u64)> {
        let pixels = self.count.checked_mul(self.size.bytes() as u64)?;
        let tail = pixels.checked_add(HEADER_BYTES as u64)?;
        Some((tail, tail.checked_add(self.failures_len)?))
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

/// An open cache file.
pub(crate) struct Cache {
    file: ReadAt,
    size: Size,
    failures: BTreeMap<usize, String>,
}

impl Cache {
    /// Opens the cache of all of `images` in `dir`, which is written first where
    /// there is none that fits.
    pub(crate) fn open_or_build(
        images: &Images,
        dir: &Path,
        size: Size,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        size.check()?;
        let fingerprint = images.source.fingerprint()?;
        let path = file_name(dir, images, size);
        if let Some(cache) = Self::open(&path, images.len(), size, fingerprint) {
            return Ok(cache);
        }
        build(images, &path, size, fingerprint, progress)?;
        Self::open(&path, images.len(), size, fingerprint).ok_or_else(|| Error::Internal {
            problem: format!("{}: the cache just written can't be read", path.display()),
        })
    }

    /// `None` when the file is missing, stale, cut short or damaged: it is then built anew.
    fn open(path: &Path, count: usize, size: Size, fingerprint: blake3::Hash) -> Option<Self> {
        let file = ReadAt::open(path).ok()?;
        let header = Header::parse(&file.read(0, HEADER_BYTES as u64).ok()?)?;
        let (tail, end) = header.extent()?;
        let fits = header.size == size
            && header.count == count as u64
            && header.fingerprint == *fingerprint.as_bytes()
            && end == file.len();
        let list = fits.then(|| file.read(tail, header.failures_len).ok())??;
        if *blake3::hash(&list).as_bytes() != header.failures_hash {
            return None;
        }
        let failures: Vec<(usize, String)> = serde_json::from_slice(&list).ok()?;
        Some(Self { file, size, failures: failures.into_iter().collect() })
    }

    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// Copies the pixels of row `row` of the source into `out`.
    pub(crate) fn read(&self, row: usize, out: &mut [u8]) -> Result<()> {
        if let Some(reason) = self.failures.get(&row) {
            return Err(Error::Unreadable { id: String::new(), reason: reason.clone() });
        }
        let offset = HEADER_BYTES as u64 + row as u64 * self.size.bytes() as u64;
        self.file.read_into(offset, out)
    }
}

/// One name for one list of ids and one size, so that a stale cache is replaced.
fn file_name(dir: &Path, images: &Images, size: Size) -> PathBuf {
    let mut hasher = blake3::Hasher::new();
    for i in 0..images.len() {
        hasher.update(images.id(i).as_bytes());
        hasher.update(b"\0");
    }
    dir.join(format!("{}-{size}.pixels", &hasher.finalize().to_hex()[..16]))
}

fn build(
    images: &Images,
    path: &Path,
    size: Size,
    fingerprint: blake3::Hash,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let file = tempfile::Builder::new()
        .prefix(".pixels-")
        .suffix(".tmp")
        .tempfile_in(dir)
        .map_err(Error::io("write in", dir))?;
    let mut file = std::io::BufWriter::with_capacity(1 << 20, file);
    let wrote = Error::io;
    file.write_all(&[0; HEADER_BYTES]).map_err(wrote("write", path))?;
    let blank = vec![0; size.bytes()];
    let mut stream = batches(images, (0..images.len()).collect(), BLOCK, size);
    let mut done = 0;
    for batch in stream.by_ref() {
        let batch = match batch {
            // Told to whoever asks for the images.
            Err(Error::NothingReadable { .. }) => break,
            batch => batch?,
        };
        let end = images.len().min(done + BLOCK);
        let mut decoded = batch.rows.iter().zip(batch.pixels.chunks_exact(size.bytes())).peekable();
        for row in done..end {
            let pixels = decoded.next_if(|(decoded, _)| **decoded == row);
            file.write_all(pixels.map_or(&blank, |(_, pixels)| pixels))
                .map_err(wrote("write", path))?;
        }
        done = end;
        progress(done, images.len());
    }
    let failures: Vec<(usize, String)> =
        stream.skipped().into_iter().map(|skipped| (skipped.row, skipped.reason)).collect();
    let list = serde_json::to_vec(&failures)
        .map_err(|e| Error::Internal { problem: format!("writing the list of failures: {e}") })?;
    file.write_all(&list).map_err(wrote("write", path))?;
    let header = Header {
        size,
        count: images.len() as u64,
        fingerprint: *fingerprint.as_bytes(),
        failures_len: list.len() as u64,
        failures_hash: *blake3::hash(&list).as_bytes(),
    };
    file.seek(SeekFrom::Start(0)).map_err(wrote("write", path))?;
    file.write_all(&header.to_bytes()).map_err(wrote("write", path))?;
    let file = file.into_inner().map_err(|e| Error::io("write", path)(e.into_error()))?;
    file.as_file().sync_all().map_err(wrote("write", path))?;
    file.persist(path).map_err(|e| Error::io("write", path)(e.error))?;
    Ok(())
}
