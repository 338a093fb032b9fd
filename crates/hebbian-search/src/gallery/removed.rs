//! `removed-NNNNNNNN`: rows of a segment that no longer belong to the gallery.
//!
//! The rows as little-endian u32, ascending, and nothing else.

use std::path::Path;

use crate::{Error, Result};

/// The content of a file of removed rows.
pub(super) fn format_removed(rows: &[u32]) -> Vec<u8> {
    rows.iter().flat_map(|row| row.to_le_bytes()).collect()
}

/// Reads the content of a file of `count` removed rows of a segment of `len` vectors; `path` names
/// it in messages.
///
/// # Errors
/// [`Error::Malformed`] unless it holds `count` ascending rows below `len`.
pub fn parse_removed(content: &[u8], count: usize, len: usize, path: &Path) -> Result<Vec<u32>> {
    let malformed = |problem: String| Error::Malformed { path: path.to_owned(), problem };
    let (rows, rest) = content.as_chunks::<4>();
    if rows.len() != count || !rest.is_empty() {
        let problem = format!("has {} bytes, which is not {count} removed rows", content.len());
        return Err(malformed(problem));
    }
    let rows: Vec<u32> = rows.iter().map(|row| u32::from_le_bytes(*row)).collect();
    if rows.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(malformed("the removed rows are not in ascending order".to_owned()));
    }
    match rows.last() {
        Some(&last) if last as usize >= len => {
            Err(malformed(format!("row {last} is removed, but there are only {len}")))
        }
        _ => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ascending_rows_that_exist_are_read() {
        let parse = |rows: &[u32], count, len| {
            parse_removed(&format_removed(rows), count, len, Path::new("removed"))
        };
        assert_eq!(parse(&[0, 3, 9], 3, 10).unwrap(), [0, 3, 9]);
        assert!(parse(&[], 0, 0).unwrap().is_empty());
        for (rows, count, len, words) in [
            (&[0, 3, 10][..], 3, 10, "row 10"),
            (&[3, 0], 2, 10, "ascending"),
            (&[3, 3], 2, 10, "ascending"),
            (&[3], 2, 10, "4 bytes"),
        ] {
            let error = parse(rows, count, len).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(parse_removed(&[0; 5], 1, 9, Path::new("removed")).is_err());
    }
}
