//! Who works on what, among processes that share a folder.

use std::fs::{File, TryLockError};
use std::io::{Seek, Write};
use std::path::Path;

use hebbian::error::Result;

use crate::machine;

/// A piece of work that this process has for itself until it lets go of this.
///
/// The operating system's own lock on a file, which ends with its process,
/// however that ends: nothing is ever left behind that has to be judged stale.
/// The file stays, for removing one that another process has just opened
/// would give the work to two; it names its last holder, for people.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock if nobody has it.
    pub(crate) fn try_take(folder: &Path, name: &str) -> Result<Option<Self>> {
        fs_err::create_dir_all(folder)?;
        let path = folder.join(format!("{name}.lock"));
        let file = fs_err::OpenOptions::new().create(true).append(true).open(&path)?;
        let (mut file, _) = file.into_parts();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "pid {} on {}", std::process::id(), machine::host())?;
        Ok(Some(Self { _file: file }))
    }

    /// Takes the lock, waiting for whoever has it.
    pub(crate) fn take(folder: &Path, name: &str) -> Result<Self> {
        fs_err::create_dir_all(folder)?;
        let path = folder.join(format!("{name}.lock"));
        let file = fs_err::OpenOptions::new().create(true).append(true).open(&path)?;
        let (file, _) = file.into_parts();
        file.lock()?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_the_next_after_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks");
        let first = Lock::try_take(&path, "a").unwrap().expect("nobody has it");
        assert!(Lock::try_take(&path, "a").unwrap().is_none());
        assert!(Lock::try_take(&path, "b").unwrap().is_some(), "another piece of work");
        let holder = std::fs::read_to_string(path.join("a.lock")).unwrap();
        assert!(holder.starts_with(&format!("pid {} on ", std::process::id())), "{holder}");
        drop(first);
        assert!(Lock::try_take(&path, "a").unwrap().is_some());
    }

    #[test]
    fn whoever_waits_gets_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path(), "a").unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Lock::take(folder.path(), "a").is_ok());
            std::thread::sleep(std::time::Duration::from_millis(30));
            assert!(!second.is_finished());
            drop(first);
            assert!(second.join().unwrap());
        });
    }
}
