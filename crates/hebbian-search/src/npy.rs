//! NumPy's `.npy`: vectors from and for other tools.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use fs_err::File;

use crate::gallery::{read_exact_at, to_little_endian};
use crate::vectors::{Vectors, check_rows};
use crate::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest start of a file that [`NpyLayout::parse`] looks at, in bytes.
pub const MAX_NPY_HEADER_BYTES: usize = 64 << 10;
/// Values written at a time.
const BLOCK: usize = 1 << 18;

/// Type of the values of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NpyType {
    /// float32, `<f4`.
    Single,
    /// float64, `<f8`.
    Double,
}

impl NpyType {
    fn bytes(self) -> usize {
        match self {
            Self::Single => 4,
            Self::Double => 8,
        }
    }
}

/// Where the vectors are in a `.npy` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NpyLayout {
    /// First byte of the values.
    pub data_offset: u64,
    /// Number of vectors.
    pub len: usize,
    /// Dimensions of each.
    pub dim: usize,
    /// Type of the values.
    pub values: NpyType,
}

impl NpyLayout {
    /// Reads the header of a `.npy` file of `file_len` bytes from its first bytes, at most
    /// [`MAX_NPY_HEADER_BYTES`] of them; `path` names the file in messages.
    ///
    /// # Errors
    /// [`Error::Foreign`] unless it holds little-endian float32 or float64 in C order, of one
    /// dimension (one vector) or two, `[len, dim]`, to its last byte.
    pub fn parse(start: &[u8], file_len: u64, path: &Path) -> Result<Self> {
        Self::read(start, file_len)
            .map_err(|problem| Error::Foreign { path: path.to_owned(), problem })
    }

    fn read(start: &[u8], file_len: u64) -> Result<Self, String> {
        let not_npy = || "is not a .npy file; write it with numpy.save".to_owned();
        let rest = start.strip_prefix(MAGIC).ok_or_else(not_npy)?;
        let (length, header) = match rest {
            [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
            [2 | 3, _, a, b, c, d, rest @ ..] => {
                (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest)
            }
            _ => return Err(not_npy()),
        };
        let data_offset = (start.len() - header.len() + length) as u64;
        let header = header.get(..length).ok_or("has a header that is cut short or too long")?;
        let header = std::str::from_utf8(header).map_err(|_| not_npy())?;
        let field = |name: &str| {
            let quoted = [format!("'{name}':"), format!("\"{name}\":")];
            let at = quoted.iter().find_map(|key| Some(header.find(key)? + key.len()));
            at.map(|at| header[at..].trim_start()).ok_or_else(|| format!("has no {name:?} in it"))
        };
        let descr = field("descr")?;
        let descr = descr.get(1..4).filter(|_| descr.starts_with(['\'', '"'])).unwrap_or(descr);
        let values = match descr {
            "<f4" => NpyType::Single,
            "<f8" => NpyType::Double,
            other => {
                let other: String = other.chars().take(20).collect();
                return Err(format!(
                    "holds {other}; it must be little-endian float32 or float64: \
                     array.astype('<f4')"
                ));
            }
        };
        if !field("fortran_order")?.starts_with("False") {
            return Err("is in Fortran order; write numpy.ascontiguousarray(array)".to_owned());
        }
        let shape = field("shape")?.strip_prefix('(').and_then(|shape| shape.split_once(')'));
        let sizes = shape.map(|(sizes, _)| {
            let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
            sizes.map(str::parse::<usize>).collect::<Result<Vec<_>, _>>()
        });
        let (len, dim) = match sizes {
            Some(Ok(sizes)) => match sizes[..] {
                [dim] => (1, dim),
                [len, dim] => (len, dim),
                _ => return Err(format!("has shape {sizes:?}; it must be [vectors, dimensions]")),
            },
            _ => return Err("has no shape that can be read".to_owned()),
        };
        if dim == 0 {
            return Err("holds vectors of 0 dimensions".to_owned());
        }
        let bytes = len.checked_mul(dim).and_then(|n| n.checked_mul(values.bytes()));
        if bytes.and_then(|bytes| data_offset.checked_add(bytes as u64)) != Some(file_len) {
            return Err(format!(
                "has {file_len} bytes, which is not {len} vectors of {dim} dimensions"
            ));
        }
        Ok(Self { data_offset, len, dim, values })
    }
}

/// A `.npy` file opened for reading, as vectors of f32: float64 is rounded, and what is beyond
/// the range of f32 becomes infinite, which whatever takes the vectors refuses.
#[derive(Debug)]
pub struct NpyFile {
    file: File,
    layout: NpyLayout,
}

impl NpyFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Foreign`] as [`NpyLayout::parse`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = File::open(&path)?;
        let file_len = file.metadata()?.len();
        let mut start = vec![0; file_len.min(MAX_NPY_HEADER_BYTES as u64) as usize];
        read_exact_at(&file, &mut start, 0)?;
        let layout = NpyLayout::parse(&start, file_len, &path)?;
        Ok(Self { file, layout })
    }
}

impl Vectors for NpyFile {
    fn len(&self) -> usize {
        self.layout.len
    }

    fn dim(&self) -> usize {
        self.layout.dim
    }

    fn read(&self, start: usize, n: usize, out: &mut Vec<f32>) -> Result<()> {
        check_rows(start, n, self.len())?;
        let NpyLayout { data_offset, dim, values, .. } = self.layout;
        let offset = data_offset + (start * dim * values.bytes()) as u64;
        match values {
            NpyType::Single => {
                out.resize(n * dim, 0.0);
                read_exact_at(&self.file, bytemuck::cast_slice_mut(out), offset)?;
                to_little_endian(out);
            }
            NpyType::Double => {
                let mut bytes = vec![0; n * dim * values.bytes()];
                read_exact_at(&self.file, &mut bytes, offset)?;
                out.clear();
                let values = bytes.as_chunks::<8>().0.iter();
                out.extend(values.map(|value| f64::from_le_bytes(*value) as f32));
            }
        }
        Ok(())
    }
}

/// Writes vectors as a `.npy` file of float32, `[len, dim]` in C order, at `path`, where nothing
/// may be.
///
/// # Errors
/// [`Error::Io`], the errors of reading the vectors.
pub fn write_npy(path: &Path, vectors: &dyn Vectors) -> Result<()> {
    let (len, dim) = (vectors.len(), vectors.dim());
    let mut file = BufWriter::new(File::create_new(path)?);
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({len}, {dim}), }}");
    // Values begin at a multiple of 64, after a line break.
    let prefix = MAGIC.len() + 4;
    let padded = (prefix + header.len() + 1).next_multiple_of(64);
    header.extend(std::iter::repeat_n(' ', padded - prefix - header.len() - 1));
    header.push('\n');
    file.write_all(MAGIC)?;
    file.write_all(&[1, 0])?;
    file.write_all(&(header.len() as u16).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let (rows, mut block) = ((BLOCK / dim).max(1), Vec::new());
    for start in (0..len).step_by(rows) {
        vectors.read(start, rows.min(len - start), &mut block)?;
        to_little_endian(&mut block);
        file.write_all(bytemuck::cast_slice(&block))?;
    }
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Matrix;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for (i, n) in [0, 1, 3, 400_000].into_iter().enumerate() {
            let values = Matrix::new(2, (0..2 * n).map(|i| i as f32 / 3.0).collect()).unwrap();
            let path = folder.path().join(format!("{i}.npy"));
            write_npy(&path, &values).unwrap();
            let npy = NpyFile::open(&path).unwrap();
            assert_eq!((npy.len(), npy.dim(), npy.layout.data_offset % 64), (n, 2, 0));
            let mut out = Vec::new();
            npy.read(0, n, &mut out).unwrap();
            assert_eq!(out, values.as_slice());
            assert!(npy.read(n, 1, &mut out).is_err());
        }
    }

    #[test]
    fn doubles_and_single_vectors_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let data: Vec<u8> = [0.1_f64, 1e300].iter().flat_map(|v| v.to_le_bytes()).collect();
        let header = "{\"descr\": \"<f8\", \"fortran_order\": False, \"shape\": (2,)}";
        std::fs::write(&path, file(header, &data)).unwrap();
        let npy = NpyFile::open(&path).unwrap();
        let mut out = Vec::new();
        npy.read(0, 1, &mut out).unwrap();
        assert_eq!(out, [0.1, f32::INFINITY]);
    }

    #[test]
    fn other_arrays_are_refused_by_what_they_are() {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";
        let parse = |bytes: &[u8]| NpyLayout::parse(bytes, bytes.len() as u64, Path::new("a.npy"));
        parse(&file(good, &[0; 8])).unwrap();
        for (from, to, words) in [
            ("<f4", "<i8", "astype"),
            ("<f4", ">f4", "little-endian"),
            ("False", "True", "Fortran"),
            ("(1, 2)", "(1, 3)", "not 1 vectors of 3"),
            ("(1, 2)", "(1, 2, 1)", "[1, 2, 1]"),
            ("(1, 2)", "()", "[]"),
            ("(1, 2)", "(1, 0)", "0 dimensions"),
            ("(1, 2)", "(-1, 2)", "no shape"),
            ("(1, 2)", "(18446744073709551615, 2)", "not 18446744073709551615 vectors"),
            ("'shape'", "'shade'", "shape"),
        ] {
            let error = parse(&file(&good.replace(from, to), &[0; 8])).unwrap_err().to_string();
            assert!(error.starts_with("a.npy: ") && error.contains(words), "{error}");
        }
        let whole = file(good, &[0; 8]);
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "cut to {len} bytes");
        }
    }
}
