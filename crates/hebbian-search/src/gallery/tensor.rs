//! `vectors.safetensors`: one tensor named `vectors`, `[len, dim]`, f32, little-endian.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::{Error, Result};

/// Name of the tensor.
const NAME: &str = "vectors";
/// Bytes of the length field before the header.
const PREFIX: usize = 8;
/// Where the values begin in the files written here: a fixed place, so that they can be streamed
/// before their number is known.
pub(super) const DATA_OFFSET: usize = 256;
/// Longest start of a file that [`TensorLayout::parse`] looks at, in bytes.
pub const MAX_HEADER_BYTES: usize = 64 << 10;

/// Where the vectors are in a safetensors file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorLayout {
    /// First byte of the values.
    pub data_offset: u64,
    /// Number of vectors.
    pub len: usize,
    /// Dimensions of each.
    pub dim: usize,
}

impl TensorLayout {
    /// Reads the header of a `vectors.safetensors` of `file_len` bytes from its first bytes, at
    /// most [`MAX_HEADER_BYTES`] of them; `path` names the file in messages.
    ///
    /// # Errors
    /// [`Error::Malformed`] unless the file holds exactly one two-dimensional f32 tensor named
    /// `vectors` that fills it to the last byte.
    pub fn parse(start: &[u8], file_len: u64, path: &Path) -> Result<Self> {
        let malformed = |problem: String| Error::Malformed { path: path.to_owned(), problem };
        let Some((length, rest)) = start.split_first_chunk::<PREFIX>() else {
            return Err(malformed(format!("has only {file_len} bytes and no header")));
        };
        let length = u64::from_le_bytes(*length);
        let header = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let Some(header) = header else {
            return Err(malformed(format!(
                "the header takes {length} bytes, more than the file or the limit allow"
            )));
        };
        let metadata: Metadata = serde_json::from_slice(header)
            .map_err(|error| malformed(format!("the header is not safetensors ({error})")))?;
        let info = match metadata.info(NAME) {
            Some(info) if metadata.tensors().len() == 1 => info,
            _ => return Err(malformed(format!("must hold one tensor, named {NAME}"))),
        };
        let (&Dtype::F32, &[len, dim]) = (&info.dtype, info.shape.as_slice()) else {
            return Err(malformed(format!(
                "tensor {NAME} is {:?} of shape {:?}; it must be F32 of two dimensions",
                info.dtype, info.shape
            )));
        };
        let data_offset = PREFIX as u64 + length;
        let bytes = len.checked_mul(dim).and_then(|values| values.checked_mul(size_of::<f32>()));
        let end = bytes.and_then(|bytes| data_offset.checked_add(bytes as u64));
        if Some(info.data_offsets) != bytes.map(|bytes| (0, bytes)) || end != Some(file_len) {
            return Err(malformed(format!(
                "has {file_len} bytes, which is not {len} vectors of {dim} dimensions"
            )));
        }
        Ok(Self { data_offset, len, dim })
    }

    /// The first [`DATA_OFFSET`] bytes of a file of `len` vectors of `dim` dimensions.
    ///
    /// # Errors
    /// [`Error::Option`] if no file can be that large.
    pub(super) fn header(len: usize, dim: usize) -> Result<[u8; DATA_OFFSET]> {
        let too_large =
            || Error::Option { option: "len", value: len, rule: "len times dim must fit a file" };
        let bytes = len.checked_mul(dim).and_then(|values| values.checked_mul(size_of::<f32>()));
        let info = TensorInfo {
            dtype: Dtype::F32,
            shape: vec![len, dim],
            data_offsets: (0, bytes.ok_or_else(too_large)?),
        };
        let tensors = vec![(NAME.to_owned(), info)];
        let json = Metadata::new(None::<HashMap<_, _>>, tensors)
            .ok()
            .and_then(|metadata| serde_json::to_vec(&metadata).ok())
            .filter(|json| json.len() <= DATA_OFFSET - PREFIX)
            .ok_or_else(too_large)?;
        let mut header = [b' '; DATA_OFFSET];
        header[..PREFIX].copy_from_slice(&((DATA_OFFSET - PREFIX) as u64).to_le_bytes());
        header[PREFIX..PREFIX + json.len()].copy_from_slice(&json);
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(start: &[u8], file_len: u64) -> Result<TensorLayout> {
        TensorLayout::parse(start, file_len, Path::new("vectors.safetensors"))
    }

    fn with_json(json: &str) -> Vec<u8> {
        [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat()
    }

    #[test]
    fn its_own_header_is_read_back() {
        for (len, dim) in [(0, 1), (1, 1), (40_000, 4096), (1_281_167, 18_816)] {
            let header = TensorLayout::header(len, dim).unwrap();
            let file_len = (DATA_OFFSET + len * dim * 4) as u64;
            let layout = parse(&header, file_len).unwrap();
            assert_eq!(layout, TensorLayout { data_offset: DATA_OFFSET as u64, len, dim });
            assert!(parse(&header, file_len + 1).is_err());
            assert!(parse(&header, file_len - 1).is_err());
        }
        assert!(TensorLayout::header(usize::MAX, 2).is_err());
    }

    #[test]
    fn other_tensors_are_refused_by_name() {
        let tensor = |name: &str, dtype: &str, shape: &str, end: usize| {
            with_json(&format!(
                r#"{{"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#
            ))
        };
        let good = tensor("vectors", "F32", "[2,3]", 24);
        parse(&good, good.len() as u64 + 24).unwrap();
        for (bad, problem) in [
            (tensor("weights", "F32", "[2,3]", 24), "one tensor, named vectors"),
            (tensor("vectors", "I32", "[2,3]", 24), "must be F32"),
            (tensor("vectors", "F32", "[6]", 24), "must be F32 of two dimensions"),
            (tensor("vectors", "F32", "[2,4]", 24), "not safetensors"),
            (u64::MAX.to_le_bytes().to_vec(), "18446744073709551615 bytes"),
            (vec![1, 2, 3], "no header"),
        ] {
            let error = parse(&bad, bad.len() as u64 + 24).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
            assert!(error.starts_with("vectors.safetensors: "), "{error}");
        }
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let header = with_json(
            r#"{"vectors":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#,
        );
        assert!(parse(&header, header.len() as u64).is_err());
    }
}
