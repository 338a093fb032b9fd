//! Folders that are written beside their place and renamed into it, so that what is there is whole.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Error, Result};

/// A folder on its way; dropped before it is in its place, it is gone.
pub(crate) struct Beside {
    files: PathBuf,
    temporary: TempDir,
}

impl Beside {
    /// An empty one in folder `parent`, which is made where it is missing; its name begins with
    /// `prefix`.
    pub(crate) fn new(parent: &Path, prefix: &str) -> Result<Self> {
        std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        let temporary = tempfile::Builder::new()
            .prefix(prefix)
            .suffix(".tmp")
            .tempdir_in(parent)
            .map_err(Error::io("write in", parent))?;
        // A folder in the temporary one, which others may not enter.
        let files = temporary.path().join("files");
        std::fs::create_dir(&files).map_err(Error::io("create", &files))?;
        Ok(Self { files, temporary })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.files
    }

    /// Puts it in its place, in the same parent; that lasts through a power cut, where the system
    /// can.
    pub(crate) fn rename(self, folder: &Path) -> Result<()> {
        std::fs::rename(&self.files, folder).map_err(Error::io("create", folder))?;
        match self.temporary.path().parent() {
            Some(parent) if cfg!(unix) => std::fs::File::open(parent)
                .and_then(|parent| parent.sync_all())
                .map_err(Error::io("write in", parent)),
            _ => Ok(()),
        }
    }
}
