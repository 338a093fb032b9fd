//! Reading and writing the files of a gallery.

use std::io::Write;
use std::path::Path;

use fs_err::File;

use crate::{Error, Result};

/// Bytes read at a time when a whole file is checked or copied.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// The whole file, if it is at most `limit` bytes long.
pub(super) fn read_up_to(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let length = fs_err::metadata(path)?.len();
    if length > limit {
        return Err(Error::Malformed {
            path: path.to_owned(),
            problem: format!("has {length} bytes; at most {limit} are read"),
        });
    }
    Ok(fs_err::read(path)?)
}

/// BLAKE3 of the whole file, in hexadecimal.
pub(super) fn checksum(file: &File) -> Result<String> {
    let length = file.metadata()?.len();
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    while offset < length {
        let n = (length - offset).min(CHUNK_BYTES as u64) as usize;
        read_exact_at(file, &mut chunk[..n], offset)?;
        hasher.update(&chunk[..n]);
        offset += n as u64;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Writes a file and makes its content durable.
pub(super) fn write_durably(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(())
}

/// Makes the entries of a folder durable, where the system lets folders be opened.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

/// The folder that holds `path`.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Values in the machine's order as bytes of the file's, which is little-endian, and back.
pub(crate) fn to_little_endian(values: &mut [f32]) {
    if cfg!(target_endian = "big") {
        for value in values {
            *value = f32::from_bits(value.to_bits().swap_bytes());
        }
    }
}

#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> std::io::Result<()> {
    fs_err::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
pub(crate) fn read_exact_at(
    file: &File,
    mut out: &mut [u8],
    mut offset: u64,
) -> std::io::Result<()> {
    while !out.is_empty() {
        match fs_err::os::windows::fs::FileExt::seek_read(file, out, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                out = &mut out[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}
