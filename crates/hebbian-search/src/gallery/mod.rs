//! Galleries on disk: a folder of `gallery.toml`, `vectors.safetensors` and `items.parquet`.
//!
//! | file | content | checked by [`Gallery::open`] | checked by [`Gallery::verify`] |
//! |---|---|---|---|
//! | `gallery.toml` | [`GalleryInfo`] | everything, with its checksum | |
//! | `items.parquet` | columns `id`, `label`, `location` | everything, with its checksum | |
//! | `vectors.safetensors` | tensor `vectors`, `[len, dim]`, f32 | header and size | checksum, values finite |

mod info;
mod items;
mod tensor;
mod writer;

use std::path::{Path, PathBuf};

use fs_err::File;

use crate::vectors::{Vectors, check_finite, check_rows};
use crate::{Error, Result};

pub use info::{Checksums, Distance, FORMAT_VERSION, GalleryInfo};
pub use items::{Item, MAX_TEXT_BYTES, parse_items};
pub use tensor::{MAX_HEADER_BYTES, TensorLayout};
pub use writer::GalleryWriter;

const INFO_FILE: &str = "gallery.toml";
const VECTORS_FILE: &str = "vectors.safetensors";
const ITEMS_FILE: &str = "items.parquet";

/// Longest `gallery.toml` that is read, in bytes.
const MAX_INFO_BYTES: u64 = 1 << 20;
/// Bytes read at a time when a whole file is checked.
const CHUNK_BYTES: usize = 1 << 20;

/// A gallery opened for reading. Items are in memory, vectors stay on disk and are read where
/// they are asked for; any number of threads may read at once.
#[derive(Debug)]
pub struct Gallery {
    path: PathBuf,
    info: GalleryInfo,
    items: Vec<Item>,
    vectors: File,
    layout: TensorLayout,
}

impl Gallery {
    /// Opens the gallery in folder `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if a file can't be read; [`Error::FormatVersion`], [`Error::Malformed`] or
    /// [`Error::Checksum`] if the gallery is not whole, see the [module](self) for what is
    /// checked here.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let info_path = path.join(INFO_FILE);
        let text = String::from_utf8(read_up_to(&info_path, MAX_INFO_BYTES)?).map_err(|_| {
            Error::Malformed { path: info_path.clone(), problem: "is not UTF-8 text".to_owned() }
        })?;
        let info = GalleryInfo::parse(&text, &info_path)?;

        let vectors_path = path.join(VECTORS_FILE);
        let vectors = File::open(&vectors_path)?;
        let file_len = vectors.metadata()?.len();
        let mut start = vec![0; file_len.min(MAX_HEADER_BYTES as u64) as usize];
        read_exact_at(&vectors, &mut start, 0)?;
        let layout = TensorLayout::parse(&start, file_len, &vectors_path)?;
        for (field, file, toml) in [("len", layout.len, info.len), ("dim", layout.dim, info.dim)] {
            if file != toml {
                return Err(Error::Malformed {
                    path: vectors_path,
                    problem: format!("{field} is {file}, gallery.toml says {toml}"),
                });
            }
        }

        let items_path = path.join(ITEMS_FILE);
        let content = read_up_to(&items_path, u64::MAX)?;
        if blake3::hash(&content).to_hex().as_str() != info.checksums.items {
            return Err(Error::Checksum { path: items_path, field: "checksums.items" });
        }
        let items = parse_items(content, info.len, &items_path)?;
        Ok(Self { path, info, items, vectors, layout })
    }

    /// The folder it was opened from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `gallery.toml` says.
    #[must_use]
    pub fn info(&self) -> &GalleryInfo {
        &self.info
    }

    /// All items, one per vector.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The item of vector `index`, or nothing if there is no such vector.
    #[must_use]
    pub fn item(&self, index: usize) -> Option<&Item> {
        self.items.get(index)
    }

    /// Fails unless `fingerprint` is that of the model that made the gallery: distances between
    /// the features of different models mean nothing.
    ///
    /// # Errors
    /// [`Error::Model`], which names both.
    pub fn check_model(&self, fingerprint: &str) -> Result<()> {
        if fingerprint == self.info.model {
            return Ok(());
        }
        Err(Error::Model {
            path: self.path.clone(),
            gallery: self.info.model.clone(),
            gallery_name: self.info.model_name.clone(),
            query: fingerprint.to_owned(),
        })
    }

    /// Reads all vectors, compares their checksum and looks for values that are not finite.
    ///
    /// # Errors
    /// [`Error::Checksum`], [`Error::NotFinite`], [`Error::Io`].
    pub fn verify(&self) -> Result<()> {
        let path = self.path.join(VECTORS_FILE);
        if checksum(&self.vectors)? != self.info.checksums.vectors {
            return Err(Error::Checksum { path, field: "checksums.vectors" });
        }
        let rows = (CHUNK_BYTES / size_of::<f32>() / self.info.dim).max(1);
        let mut values = Vec::new();
        let mut start = 0;
        while start < self.info.len {
            let n = rows.min(self.info.len - start);
            self.read(start, n, &mut values)?;
            check_finite(&path.display().to_string(), start, self.info.dim, &values)?;
            start += n;
        }
        Ok(())
    }
}

impl Vectors for Gallery {
    fn len(&self) -> usize {
        self.info.len
    }

    fn dim(&self) -> usize {
        self.info.dim
    }

    fn read(&self, start: usize, n: usize, out: &mut Vec<f32>) -> Result<()> {
        check_rows(start, n, self.info.len)?;
        // No overflow: the file is that long.
        out.resize(n * self.info.dim, 0.0);
        let offset = self.layout.data_offset + (start * self.info.dim * size_of::<f32>()) as u64;
        read_exact_at(&self.vectors, bytemuck::cast_slice_mut(out), offset)?;
        if cfg!(target_endian = "big") {
            for value in out {
                *value = f32::from_bits(value.to_bits().swap_bytes());
            }
        }
        Ok(())
    }
}

/// The whole file, if it is at most `limit` bytes long.
fn read_up_to(path: &Path, limit: u64) -> Result<Vec<u8>> {
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
fn checksum(file: &File) -> Result<String> {
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

#[cfg(unix)]
fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> std::io::Result<()> {
    fs_err::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> std::io::Result<()> {
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
