//! Some rows of other vectors.

use crate::vectors::{Vectors, check_rows};
use crate::{Error, Result};

/// Some of the rows of `vectors`, in their order. A search of them ranks as if there were no
/// others.
pub struct Subset<'a> {
    vectors: &'a dyn Vectors,
    rows: Vec<usize>,
}

impl<'a> Subset<'a> {
    /// The rows `rows` of `vectors`.
    ///
    /// # Errors
    /// [`Error::Rows`] if there is no such row.
    pub fn new(vectors: &'a dyn Vectors, rows: Vec<usize>) -> Result<Self> {
        let len = vectors.len();
        match rows.iter().find(|&&row| row >= len) {
            Some(&start) => Err(Error::Rows { start, n: 1, len }),
            None => Ok(Self { vectors, rows }),
        }
    }

    /// Row of the whole that row `index` of this is, or nothing if there is no such row.
    #[must_use]
    pub fn row(&self, index: usize) -> Option<usize> {
        self.rows.get(index).copied()
    }
}

impl Vectors for Subset<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn dim(&self) -> usize {
        self.vectors.dim()
    }

    fn read(&self, start: usize, n: usize, out: &mut Vec<f32>) -> Result<()> {
        check_rows(start, n, self.len())?;
        let wanted = &self.rows[start..start + n];
        // Neighbours are read together.
        let runs = wanted.chunk_by(|a, b| a + 1 == *b);
        let mut run_values = Vec::new();
        let mut values = std::mem::take(out);
        values.clear();
        for run in runs {
            self.vectors.read(run[0], run.len(), &mut run_values)?;
            values.extend_from_slice(&run_values);
        }
        *out = values;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Matrix;

    #[test]
    fn rows_are_those_asked_for() {
        let whole = Matrix::new(1, (0..10).map(|i| i as f32).collect()).unwrap();
        let subset = Subset::new(&whole, vec![1, 2, 5, 9]).unwrap();
        let mut out = vec![7.0];
        subset.read(1, 3, &mut out).unwrap();
        assert_eq!(out, [2.0, 5.0, 9.0]);
        assert_eq!((subset.len(), subset.row(3), subset.row(4)), (4, Some(9), None));
        assert!(subset.read(2, 3, &mut out).is_err());
        assert!(Subset::new(&whole, vec![10]).is_err());
    }
}
