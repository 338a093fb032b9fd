//! Reads at an offset of an open file, from many threads at once; what may pass
//! is tried again.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Error, Result};

/// What is waited before a read is tried again, in milliseconds: a disk that is
/// reset or a server that comes back takes a moment.
const WAITS: [u64; 3] = [20, 100, 500];

/// Tries again what failed as things fail that may pass, as on a disk that is
/// reset or a network's file system.
fn persistently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for wait in WAITS {
        match attempt() {
            Err(error) if may_pass(&error) => std::thread::sleep(Duration::from_millis(wait)),
            other => return other,
        }
    }
    attempt()
}

/// Whether the system may answer otherwise in a moment.
fn may_pass(error: &io::Error) -> bool {
    use ErrorKind::{
        InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied, UnexpectedEof,
    };
    let lasting =
        [InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied, UnexpectedEof];
    error.raw_os_error().is_some() && !lasting.contains(&error.kind())
}

/// An open file whose length is known.
pub(crate) struct ReadAt {
    file: File,
    path: PathBuf,
    len: u64,
}

impl ReadAt {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = persistently(|| File::open(path)).map_err(Error::io("open", path))?;
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
    ///
    /// # Errors
    /// [`Error::Lost`] when the file is shorter than it was when it was opened.
    pub(crate) fn read_into(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.fill(offset, out).map_err(|error| self.told(error))
    }

    /// `len` bytes from `offset` on; nothing is allocated for bytes that are not there.
    ///
    /// # Errors
    /// As [`ReadAt::read_into`].
    pub(crate) fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        self.bytes(offset, len).map_err(|error| self.told(error))
    }

    /// [`ReadAt::read_into`] with the system's answer.
    pub(crate) fn fill(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        persistently(|| read_exact_at(&self.file, offset, out))
    }

    /// [`ReadAt::read`] with the system's answer.
    pub(crate) fn bytes(&self, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let there = offset.checked_add(len).is_some_and(|end| end <= self.len);
        let size = usize::try_from(len).ok().filter(|_| there);
        let mut out = vec![0; size.ok_or(ErrorKind::UnexpectedEof)?];
        self.fill(offset, &mut out)?;
        Ok(out)
    }

    fn told(&self, error: io::Error) -> Error {
        let now = self.file.metadata().map_or(self.len, |now| now.len());
        match cut(self.len, now) {
            Some(problem) => Error::lost(&self.path, problem),
            None => Error::io("read", &self.path)(error),
        }
    }
}

/// What is wrong with a file that had `was` bytes and now has `now`, if it is cut short.
pub(crate) fn cut(was: u64, now: u64) -> Option<String> {
    let cut = || format!("was cut short while it was in use: it has {now} bytes, not {was}");
    (now < was).then(cut)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_lasts_is_not() {
        let attempts = |code: i32, failures: usize| {
            let mut count = 0;
            let result = persistently(|| {
                count += 1;
                if count <= failures { Err(io::Error::from_raw_os_error(code)) } else { Ok(()) }
            });
            (result.is_ok(), count)
        };
        // EIO, ESTALE, ENOENT as Linux numbers them.
        assert_eq!(attempts(5, 2), (true, 3));
        assert_eq!(attempts(5, 9), (false, 4));
        assert_eq!(attempts(116, 3), (true, 4));
        assert_eq!(attempts(2, 1), (false, 1));
    }

    #[test]
    fn a_file_cut_short_while_it_is_open_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shard");
        std::fs::write(&path, [7; 100]).unwrap();
        let file = ReadAt::open(&path).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(60).unwrap();
        assert_eq!(file.read(50, 10).unwrap(), [7; 10]);
        let error = file.read(50, 11).unwrap_err();
        let words = "shard: was cut short while it was in use: it has 60 bytes, not 100";
        assert!(matches!(error, Error::Lost { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        // Beyond what it ever had: no loss, but a wrong place.
        std::fs::write(&path, [7; 100]).unwrap();
        assert!(matches!(file.read(50, 51), Err(Error::Io { .. })));
    }
}
