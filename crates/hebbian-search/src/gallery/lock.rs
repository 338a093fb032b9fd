//! One writer at a time.

use std::fs::{File, TryLockError};
use std::io::{Seek, Write};
use std::path::Path;

use crate::{Error, Result};

/// The file that a writer holds the lock of.
pub(super) const LOCK_FILE: &str = "lock";

/// The right to change a gallery, held until this is dropped.
///
/// It is the operating system's lock on a file, which ends with its process, however that ends, so
/// that nothing stale is ever left. The file stays; its text names the last writer, for people.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the gallery in folder `root`.
    ///
    /// # Errors
    /// [`Error::Locked`] if another writer has it, [`Error::Io`].
    pub(super) fn take(root: &Path) -> Result<Self> {
        let path = root.join(LOCK_FILE);
        loop {
            let file = fs_err::OpenOptions::new().create(true).append(true).open(&path)?;
            let (mut file, _) = file.into_parts();
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Locked { path: root.to_owned() });
                }
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            // A writer that gave up may have removed the file between opening and locking.
            if is_at(&file, &path) {
                // A full disk is no reason not to remove things.
                let _ = file.set_len(0).and_then(|()| file.rewind());
                let _ = writeln!(file, "pid {}", std::process::id());
                return Ok(Self { _file: file });
            }
        }
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(held), Ok(named)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    (held.dev(), held.ino()) == (named.dev(), named.ino())
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}
