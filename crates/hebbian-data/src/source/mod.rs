//! Where images come from, recognised by looking at names and first bytes.

pub mod cifar;
mod files;
pub mod idx;
mod joined;
mod layout;
pub mod parquet;
pub mod pattern;
pub(crate) mod read_at;
pub(crate) mod shards;
pub mod tar;

use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{ImageFormat, RgbImage};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};
pub(crate) use joined::Joined;
pub(crate) use tar::CLASSES_FILE;

/// What kind of data set was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SourceKind {
    /// A folder with one folder of images a class.
    ClassFolders,
    /// A folder of images without labels, at any depth.
    Folder,
    /// A tar archive of either.
    Tar,
    /// Several tar archives, read one after the other.
    TarShards,
    /// Parquet files with a column of images.
    Parquet,
    /// CIFAR-10 or CIFAR-100 in the official binary layout.
    CifarBinary,
    /// IDX files, as MNIST and Fashion-MNIST have them.
    Idx,
    /// An unlabelled pile and a labelled folder given apart.
    Joined,
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClassFolders => "class folders",
            Self::Folder => "folder",
            Self::Tar => "tar",
            Self::TarShards => "tar shards",
            Self::Parquet => "Parquet",
            Self::CifarBinary => "CIFAR binary",
            Self::Idx => "IDX",
            Self::Joined => "pile and labelled folder",
        })
    }
}

/// Which official part of a data set to open.
///
/// CIFAR: `data_batch_*.bin` or `train.bin` against `test*.bin`. IDX: `train-*`
/// against `t10k-*`. Folder or tar: the top-level folders `train` against
/// `test`, or `val` where there is no `test`. Tar shards and Parquet files: the
/// names of the files, which begin like those folders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Everything.
    #[default]
    All,
    /// The official training part.
    Train,
    /// The official test part.
    Test,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "whole",
            Self::Train => "train",
            Self::Test => "test",
        })
    }
}

/// One image as its source holds it.
pub enum Stored<'a> {
    /// The bytes of an image file.
    Encoded(Cow<'a, [u8]>),
    /// Pixels, where the source holds no image files.
    Pixels(RgbImage),
}

impl Stored<'_> {
    pub(crate) fn into_owned(self) -> Stored<'static> {
        match self {
            Stored::Encoded(bytes) => Stored::Encoded(bytes.into_owned().into()),
            Stored::Pixels(image) => Stored::Pixels(image),
        }
    }
}

/// An ordered set of stored images, the same order at every opening.
pub trait Source: Send + Sync {
    /// What was recognised.
    fn kind(&self) -> SourceKind;
    /// How many images there are.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The name of image `index`, unique in this source: its path, or file and record number.
    fn id(&self, index: usize) -> Cow<'_, str>;
    /// Image `index` as it is stored.
    ///
    /// # Errors
    /// When the file can't be read; `index` beyond [`Source::len`] is an error too.
    fn read(&self, index: usize) -> Result<Stored<'_>>;
    /// The first image of each shard, where images lie in files that are best
    /// read from front to back; none where all are equally near.
    fn shards(&self) -> &[usize] {
        &[]
    }
    /// About how many bytes image `index` takes as it is stored; 0 where
    /// [`Source::shards`] has none.
    fn bytes(&self, _index: usize) -> u64 {
        0
    }
    /// The images `rows` of shard `shard`, which are given in order and once
    /// each, read from front to back. Rows of other shards may not be asked for.
    fn read_shard(&self, _shard: usize, rows: &[usize]) -> Vec<Result<Stored<'static>>> {
        rows.iter().map(|&row| Ok(self.read(row)?.into_owned())).collect()
    }
    /// Changes when any image does: names, lengths and modification times.
    ///
    /// # Errors
    /// When a file can no longer be examined.
    fn fingerprint(&self) -> Result<blake3::Hash>;
}

/// A source with the labels its layout gives.
pub(crate) struct Opened {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) labels: Vec<Option<u32>>,
    pub(crate) classes: Vec<String>,
}

/// Recognises and opens `path`.
pub(crate) fn open(path: &Path, part: Part) -> Result<Opened> {
    if let Some(paths) = pattern::expand(path)? {
        return open_shards(path, paths, part);
    }
    let metadata = std::fs::metadata(path).map_err(Error::io("open", path))?;
    let opened = if metadata.is_dir() {
        let names = file_names(path)?;
        if cifar::recognise(&names).is_some() {
            cifar::open(path, &names, part)?
        } else if names.iter().any(|name| idx::is_images_name(name)) {
            idx::open(path, &names, part)?
        } else if let Some(paths) = shards::in_folder(path, &names)? {
            open_shards(path, paths, part)?
        } else {
            files::open(path, part)?
        }
    } else {
        open_file(path, part)?
    };
    if opened.source.is_empty() {
        return Err(Error::Empty { path: path.to_path_buf() });
    }
    Ok(opened)
}

/// Opens files that are one data set, all of one kind by their endings.
fn open_shards(shown: &Path, paths: Vec<PathBuf>, part: Part) -> Result<Opened> {
    let all = |ending| paths.iter().all(|path| shards::has_ending(path, ending));
    if all("tar") {
        return tar::open_shards(shown, paths, part);
    }
    if all("parquet") {
        return parquet::open(shown, paths, part);
    }
    let problem = "names files that do not all end in .tar or all in .parquet".to_owned();
    Err(Error::Pattern { pattern: shown.display().to_string(), problem })
}

fn open_file(path: &Path, part: Part) -> Result<Opened> {
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let mut first = Vec::with_capacity(512);
    file.take(512).read_to_end(&mut first).map_err(Error::io("read", path))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if idx::is_images_name(&name) {
        let labels = idx::labels_name(&name);
        return idx::open(folder, &[name, labels], part);
    }
    if let Some(format) = compression(&first) {
        return Err(Error::Compressed { path: path.to_path_buf(), format });
    }
    if first.starts_with(b"PAR1") || shards::has_ending(path, "parquet") {
        return parquet::open(path, vec![path.to_path_buf()], part);
    }
    if tar::is_tar(&first) || name.to_ascii_lowercase().ends_with(".tar") {
        return tar::open(path, part);
    }
    if is_image(&name, || Ok(first))? {
        return Ok(files::single(path));
    }
    Err(Error::Unrecognised { path: path.to_path_buf() })
}

fn file_names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

fn compression(first: &[u8]) -> Option<&'static str> {
    const MAGIC: [(&[u8], &str); 4] = [
        (b"\x1f\x8b", "gzip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
    ];
    MAGIC.iter().find(|(magic, _)| first.starts_with(magic)).map(|&(_, format)| format)
}

/// Whether a file is to be taken as an image: by its name's ending, else by its first bytes.
fn is_image(id: &str, first_bytes: impl FnOnce() -> Result<Vec<u8>>) -> Result<bool> {
    const FORMATS: [ImageFormat; 6] = [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ];
    // Hidden files, among them the `._*` twins that macOS puts into archives.
    if id.split('/').any(|component| component.starts_with('.') || component == "__MACOSX") {
        return Ok(false);
    }
    if ImageFormat::from_path(id).is_ok_and(|format| FORMATS.contains(&format)) {
        return Ok(true);
    }
    let format = image::guess_format(&first_bytes()?);
    Ok(format.is_ok_and(|format| FORMATS.contains(&format)))
}

/// The start of a fingerprint: the kind and what all images share.
fn fingerprint_of(kind: SourceKind) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_derive_key("hebbian image source 1");
    hasher.update(kind.to_string().as_bytes());
    hasher
}

/// Adds a file's length and modification time.
fn add_metadata(hasher: &mut blake3::Hasher, path: &Path) -> Result<()> {
    let metadata = std::fs::metadata(path).map_err(Error::io("examine", path))?;
    hasher.update(&metadata.len().to_le_bytes());
    let modified = metadata.modified().map_err(Error::io("examine", path))?;
    // A time before 1970 says as much as 1970 itself: it is not now.
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    hasher.update(&since.as_nanos().to_le_bytes());
    Ok(())
}
