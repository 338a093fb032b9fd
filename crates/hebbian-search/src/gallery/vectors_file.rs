//! One `vectors.safetensors`: written as a stream, read where it is asked for.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs_err::File;

use super::files::{CHUNK_BYTES, checksum, read_exact_at, to_little_endian};
use super::tensor::{DATA_OFFSET, MAX_HEADER_BYTES, TensorLayout};
use crate::vectors::{Vectors, check_finite, check_rows};
use crate::{Error, Result};

/// Writes a `vectors.safetensors`, one tensor named `vectors`, `[len, dim]`, f32, as a stream.
pub struct VectorsWriter {
    file: BufWriter<File>,
    dim: usize,
    len: usize,
    block: Vec<f32>,
}

impl VectorsWriter {
    /// Begins a file of vectors of `dim` dimensions at `path`, where nothing may be.
    ///
    /// # Errors
    /// [`Error::Option`] if `dim` is 0, [`Error::Io`].
    pub fn create(path: &Path, dim: usize) -> Result<Self> {
        check_dim(dim)?;
        let mut file = BufWriter::new(File::create_new(path)?);
        file.write_all(&[0; DATA_OFFSET])?;
        Ok(Self { file, dim, len: 0, block: Vec::new() })
    }

    /// Appends vectors. On a refusal nothing was appended.
    ///
    /// # Shapes
    /// `vectors`: `[n, dim]`, row-major.
    ///
    /// # Errors
    /// [`Error::Length`] if the last vector is cut short, [`Error::NotFinite`], [`Error::Io`].
    pub fn push(&mut self, vectors: &[f32]) -> Result<()> {
        let rows = vectors.len().div_ceil(self.dim);
        check_values(vectors, rows, self.dim, self.len)?;
        if cfg!(target_endian = "big") {
            self.block.clear();
            self.block.extend_from_slice(vectors);
            to_little_endian(&mut self.block);
            self.file.write_all(bytemuck::cast_slice(&self.block))?;
        } else {
            self.file.write_all(bytemuck::cast_slice(vectors))?;
        }
        self.len += rows;
        Ok(())
    }

    /// Number of vectors so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no vector yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Completes the file and makes it durable.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<()> {
        let header = TensorLayout::header(self.len, self.dim)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header)?;
        self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        Ok(())
    }
}

/// Fails unless vectors may have `dim` dimensions.
pub(super) fn check_dim(dim: usize) -> Result<()> {
    match dim {
        0 => Err(Error::Option {
            option: "dim",
            value: 0,
            rule: "vectors have at least one dimension",
        }),
        _ => Ok(()),
    }
}

/// Fails unless `vectors` are `rows` vectors of finite values; `first` is the number of the first
/// in messages.
pub(crate) fn check_values(vectors: &[f32], rows: usize, dim: usize, first: usize) -> Result<()> {
    if rows.checked_mul(dim) != Some(vectors.len()) {
        let (expected, found) = (rows.saturating_mul(dim), vectors.len());
        return Err(Error::Length { what: "values", expected, found });
    }
    check_finite("vectors", first, dim, vectors)
}

/// A `vectors.safetensors` opened for reading, from any number of threads at once.
#[derive(Debug)]
pub struct VectorsFile {
    path: PathBuf,
    file: File,
    layout: TensorLayout,
}

impl VectorsFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Malformed`] unless it holds one tensor named `vectors`.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = File::open(&path)?;
        let file_len = file.metadata()?.len();
        let mut start = vec![0; file_len.min(MAX_HEADER_BYTES as u64) as usize];
        read_exact_at(&file, &mut start, 0)?;
        let layout = TensorLayout::parse(&start, file_len, &path)?;
        Ok(Self { path, file, layout })
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// BLAKE3 of the whole file, in hexadecimal.
    pub(super) fn checksum(&self) -> Result<String> {
        checksum(&self.file)
    }

    /// Fails at the first value that is not finite.
    pub(super) fn check_finite(&self) -> Result<()> {
        let rows = (CHUNK_BYTES / size_of::<f32>() / self.dim()).max(1);
        let mut values = Vec::new();
        for start in (0..self.len()).step_by(rows) {
            self.read(start, rows.min(self.len() - start), &mut values)?;
            check_finite(&self.path.display().to_string(), start, self.dim(), &values)?;
        }
        Ok(())
    }

    /// Reads rows `start..` into `out`, `[n, dim]`; they must exist.
    pub(super) fn read_into(&self, start: usize, out: &mut [f32]) -> Result<()> {
        // No overflow: the file is that long.
        let offset = self.layout.data_offset + (start * self.dim() * size_of::<f32>()) as u64;
        read_exact_at(&self.file, bytemuck::cast_slice_mut(out), offset)?;
        to_little_endian(out);
        Ok(())
    }
}

impl Vectors for VectorsFile {
    fn len(&self) -> usize {
        self.layout.len
    }

    fn dim(&self) -> usize {
        self.layout.dim
    }

    fn read(&self, start: usize, n: usize, out: &mut Vec<f32>) -> Result<()> {
        check_rows(start, n, self.len())?;
        out.resize(n * self.dim(), 0.0);
        self.read_into(start, out)
    }
}
