//! Writing a gallery: beside its place, then moved there in one step.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs_err::File;
use tempfile::TempDir;

use super::items::ItemsWriter;
use super::tensor::{DATA_OFFSET, TensorLayout};
use super::{Gallery, GalleryInfo, INFO_FILE, ITEMS_FILE, Item, VECTORS_FILE, checksum};
use crate::vectors::check_finite;
use crate::{Error, Result};

/// Writes a gallery as a stream, in bounded memory.
///
/// Everything goes to a hidden folder beside the gallery's place, `.NAME.XXXXXX.tmp`.
/// [`GalleryWriter::finish`] makes it durable and moves it into place; a writer dropped before
/// that removes it. A crash leaves the gallery that was there or, in the instant between moving
/// the old one aside and the new one in, none; never half of one. Hidden folders left by a crash
/// may be deleted; in that instant one of them holds the old gallery as `old`.
pub struct GalleryWriter {
    path: PathBuf,
    overwrite: bool,
    info: GalleryInfo,
    items: ItemsWriter<File>,
    vectors: BufWriter<File>,
    folder: TempDir,
}

impl GalleryWriter {
    /// Begins a gallery that will stand at `path`, described by `info`; its `len` and `checksums`
    /// are filled in later.
    ///
    /// # Errors
    /// [`Error::Exists`] if something is there and `overwrite` is off; [`Error::NotAGallery`] if
    /// it is on but what is there holds more than a gallery; [`Error::Option`] if the dimension is
    /// 0; [`Error::Io`].
    pub fn create(path: impl AsRef<Path>, info: GalleryInfo, overwrite: bool) -> Result<Self> {
        if info.dim == 0 {
            return Err(Error::Option {
                option: "dim",
                value: 0,
                rule: "vectors have at least one dimension",
            });
        }
        // A link to a gallery stays a link: what it points to is replaced.
        let path = fs_err::canonicalize(&path).unwrap_or_else(|_| path.as_ref().to_owned());
        check_place(&path, overwrite)?;
        let folder = folder_beside(&path)?;
        let mut vectors = BufWriter::new(File::create_new(folder.path().join(VECTORS_FILE))?);
        vectors.write_all(&[0; DATA_OFFSET])?;
        let items = ItemsWriter::new(File::create_new(folder.path().join(ITEMS_FILE))?)?;
        let info = GalleryInfo { len: 0, ..info };
        Ok(Self { path, overwrite, info, items, vectors, folder })
    }

    /// Appends items with their vectors. On a refusal nothing was appended.
    ///
    /// # Shapes
    /// `vectors`: `[items.len(), dim]`, row-major.
    ///
    /// # Errors
    /// [`Error::Length`] if the two do not go together, [`Error::NotFinite`],
    /// [`Error::TextTooLong`], [`Error::Io`].
    pub fn push(&mut self, items: &[Item], vectors: &[f32]) -> Result<()> {
        let dim = self.info.dim;
        if items.len().checked_mul(dim) != Some(vectors.len()) {
            return Err(Error::Length {
                what: "values",
                expected: items.len().saturating_mul(dim),
                found: vectors.len(),
            });
        }
        check_finite("vectors", self.info.len, dim, vectors)?;
        for (row, item) in items.iter().enumerate() {
            item.check(self.info.len + row)?;
        }
        if cfg!(target_endian = "big") {
            for value in vectors {
                self.vectors.write_all(&value.to_le_bytes())?;
            }
        } else {
            self.vectors.write_all(bytemuck::cast_slice(vectors))?;
        }
        self.items.push(items)?;
        self.info.len += items.len();
        Ok(())
    }

    /// Number of vectors so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.info.len
    }

    /// Whether there is no vector yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.info.len == 0
    }

    /// Completes the files, makes them durable, moves the gallery into place and opens it.
    ///
    /// # Errors
    /// [`Error::Exists`] or [`Error::NotAGallery`] if something has come to stand there meanwhile,
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<Gallery> {
        let header = TensorLayout::header(self.info.len, self.info.dim)?;
        self.vectors.seek(SeekFrom::Start(0))?;
        self.vectors.write_all(&header)?;
        let vectors = self.vectors.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        vectors.sync_all()?;
        self.items.finish()?.sync_all()?;
        // Read back from the files, so that the checksums are of what is really there.
        let sum = |file| checksum(&File::open(self.folder.path().join(file))?);
        self.info.checksums.vectors = sum(VECTORS_FILE)?;
        self.info.checksums.items = sum(ITEMS_FILE)?;
        let mut info = File::create_new(self.folder.path().join(INFO_FILE))?;
        info.write_all(self.info.to_toml()?.as_bytes())?;
        info.sync_all()?;
        sync_folder(self.folder.path())?;

        check_place(&self.path, self.overwrite)?;
        // A folder can't be renamed onto a full one, so the old gallery is moved aside first.
        let aside = folder_beside(&self.path)?;
        let old = aside.path().join("old");
        let replaces = self.path.exists();
        if replaces {
            fs_err::rename(&self.path, &old)?;
        }
        if let Err(error) = fs_err::rename(self.folder.path(), &self.path) {
            if replaces {
                fs_err::rename(&old, &self.path)?;
            }
            return Err(error.into());
        }
        let _ = self.folder.keep();
        sync_folder(parent(&self.path))?;
        Gallery::open(self.path)
    }
}

/// Fails unless a gallery may be put at `path`: nothing there, or with `overwrite` an empty
/// folder or a gallery and nothing else.
fn check_place(path: &Path, overwrite: bool) -> Result<()> {
    let Ok(metadata) = fs_err::symlink_metadata(path) else {
        return Ok(());
    };
    if !overwrite {
        return Err(Error::Exists { path: path.to_owned() });
    }
    let foreign = |entry: String| Error::NotAGallery { path: path.to_owned(), entry };
    if !metadata.is_dir() {
        return Err(foreign(path.display().to_string()));
    }
    for entry in fs_err::read_dir(path)? {
        let name = entry?.file_name();
        if ![INFO_FILE, VECTORS_FILE, ITEMS_FILE].iter().any(|&known| name == known) {
            return Err(foreign(name.to_string_lossy().into_owned()));
        }
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// A new hidden folder in the folder that holds `path`, removed when dropped.
fn folder_beside(path: &Path) -> Result<TempDir> {
    let parent = parent(path);
    fs_err::create_dir_all(parent)?;
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    // A temporary folder would be for its owner only; a gallery has the usual permissions.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    Ok(builder.tempdir_in(parent)?)
}

/// Makes the entries of a folder durable, where the system lets folders be opened.
fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}
