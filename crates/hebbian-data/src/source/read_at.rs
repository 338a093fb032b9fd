//! Reads at an offset of an open file, from many threads at once.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// An open file whose length is known.
pub(crate) struct ReadAt {
    file: File,
    path: PathBuf,
    len: u64,
}

impl ReadAt {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let len = file.metadata().map_err(Error::io("examine", path))?.len();
        Ok(Self { file, path: path.to_path_buf(), len })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `out` from `offset` on.
    pub(crate) fn read_into(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        read_exact_at(&self.file, offset, out).map_err(Error::io("read", &self.path))
    }

    /// `len` bytes from `offset` on; nothing is allocated for bytes that are not there.
    pub(crate) fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        let there = offset.checked_add(len).is_some_and(|end| end <= self.len);
        let size = usize::try_from(len)
            .ok()
            .filter(|_| there)
            .ok_or_else(|| Error::io("read", &self.path)(io::ErrorKind::UnexpectedEof.into()))?;
        let mut out = vec![0; size];
        self.read_into(offset, &mut out)?;
        Ok(out)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, out, offset)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out = &mut out[n..];
        offset += n as u64;
    }
    Ok(())
}
