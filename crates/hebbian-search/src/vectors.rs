//! Sets of vectors, in memory or on disk, behind one trait.

use crate::{Error, Result};

/// Rows of equal length that can be read in any order: an in-memory [`Matrix`] or a
/// [`Gallery`](crate::Gallery) on disk.
///
/// All values are finite; the search reports a row that is not.
pub trait Vectors: Sync {
    /// Number of vectors.
    fn len(&self) -> usize;

    /// Number of dimensions of every vector, at least 1.
    fn dim(&self) -> usize;

    /// Replaces the content of `out` by rows `start..start + n`.
    ///
    /// # Shapes
    /// `out`: `[n, dim]`, row-major.
    ///
    /// # Errors
    /// [`Error::Rows`] if there are no such rows; the error of the device that holds them.
    fn read(&self, start: usize, n: usize, out: &mut Vec<f32>) -> Result<()>;

    /// Whether there is no vector.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Fails unless rows `start..start + n` exist.
pub(crate) fn check_rows(start: usize, n: usize, len: usize) -> Result<()> {
    match start.checked_add(n) {
        Some(end) if end <= len => Ok(()),
        _ => Err(Error::Rows { start, n, len }),
    }
}

/// Fails at the first value that is not finite; `first_row` is the number of the first row of
/// `values` (`[rows, dim]`) in the message.
pub(crate) fn check_finite(what: &str, first_row: usize, dim: usize, values: &[f32]) -> Result<()> {
    // Without an early end this takes several values at a time, and nearly always all is well.
    if values.iter().fold(true, |finite, value| finite & value.is_finite()) {
        return Ok(());
    }
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NotFinite {
            what: what.to_owned(),
            row: first_row + at / dim,
            column: at % dim,
        }),
    }
}

/// Vectors in memory, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    dim: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// Takes `values` as rows of `dim` values each.
    ///
    /// # Shapes
    /// `values`: `[n, dim]`, row-major.
    ///
    /// # Errors
    /// [`Error::Option`] if `dim` is 0, [`Error::Length`] if the last row is cut short,
    /// [`Error::NotFinite`].
    pub fn new(dim: usize, values: Vec<f32>) -> Result<Self> {
        if dim == 0 {
            return Err(Error::Option {
                option: "dim",
                value: 0,
                rule: "vectors have at least one dimension",
            });
        }
        if !values.len().is_multiple_of(dim) {
            return Err(Error::Length {
                what: "values",
                expected: values.len().next_multiple_of(dim),
                found: values.len(),
            });
        }
        check_finite("vectors", 0, dim, &values)?;
        Ok(Self { dim, values })
    }

    /// Row `row`, or nothing if there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> Option<&[f32]> {
        let start = row.checked_mul(self.dim)?;
        self.values.get(start..start.checked_add(self.dim)?)
    }

    /// The mean of all rows as the only one, or nothing if there is no row.
    #[must_use]
    pub fn mean(&self) -> Option<Self> {
        let mut sums = vec![0.0_f64; self.dim];
        for row in self.values.chunks_exact(self.dim) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let rows = self.len();
        let values = sums.into_iter().map(|sum| (sum / rows as f64) as f32).collect();
        (rows > 0).then_some(Self { dim: self.dim, values })
    }

    /// All values, `[len, dim]`, row-major.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }
}

impl Vectors for Matrix {
    fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn read(&self, start: usize, n: usize, out: &mut Vec<f32>) -> Result<()> {
        check_rows(start, n, self.len())?;
        out.clear();
        out.extend_from_slice(&self.values[start * self.dim..(start + n) * self.dim]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrix_refuses_what_is_not_rows_of_finite_values() {
        assert!(matches!(Matrix::new(0, vec![]), Err(Error::Option { .. })));
        assert!(matches!(
            Matrix::new(2, vec![1.0; 3]),
            Err(Error::Length { expected: 4, found: 3, .. })
        ));
        assert!(matches!(
            Matrix::new(2, vec![1.0, 2.0, 3.0, f32::NAN]),
            Err(Error::NotFinite { row: 1, column: 1, .. })
        ));
    }

    #[test]
    fn the_mean_is_that_of_the_rows() {
        let matrix = Matrix::new(2, vec![1.0, 2.0, 4.0, f32::MAX, 4.0, f32::MAX]).unwrap();
        let mean = matrix.mean().unwrap();
        assert_eq!((mean.len(), mean.as_slice()[0]), (1, 3.0));
        assert!((mean.as_slice()[1] / f32::MAX - 2.0 / 3.0).abs() < 1e-6);
        assert_eq!(Matrix::new(2, vec![]).unwrap().mean(), None);
    }

    #[test]
    fn matrix_reads_only_rows_it_has() {
        let matrix = Matrix::new(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        let mut out = vec![9.0];
        matrix.read(1, 1, &mut out).unwrap();
        assert_eq!(out, [3.0, 4.0]);
        assert!(matches!(matrix.read(1, 2, &mut out), Err(Error::Rows { len: 2, .. })));
        assert!(matrix.read(usize::MAX, 2, &mut out).is_err());
        assert_eq!(matrix.row(1), Some(&[3.0, 4.0][..]));
        assert_eq!(matrix.row(2), None);
        assert_eq!(matrix.row(usize::MAX), None);
    }
}
