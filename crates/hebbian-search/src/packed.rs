//! Operands of the matrix product, in the order in which its kernel reads them.

use std::ops::{Deref, DerefMut};

use crate::exact::Precision;
use crate::gemm::DEPTH;

/// Bytes of a cache line on most machines: what operands are best aligned to.
const LINE: usize = 64;

/// A buffer that starts at a cache line, so that no vector of a panel lies across two.
#[derive(Default)]
pub(crate) struct Buffer<T> {
    values: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Precision> Buffer<T> {
    /// Makes room for `len` numbers. Those that were there may move or change.
    pub(crate) fn resize(&mut self, len: usize) {
        let spare = LINE / size_of::<T>();
        self.values.resize(len + spare, T::ZERO);
        self.start = self.values.as_ptr().align_offset(LINE).min(spare);
        self.len = len;
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[self.start..][..self.len]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..][..self.len]
    }
}

/// Packs `rows[r] - origin` for rows `first..` of an operand of `len` rows, `first` and `len`
/// multiples of `width`; at most `width` rows. Missing rows leave `packed` as it is.
///
/// The order is: chunks of [`DEPTH`] columns, then groups of `width` rows, columns, rows.
///
/// # Shapes
/// `rows`: `[.., depth]`, `origin`: `depth`, `packed`: `len * depth`.
pub(crate) fn pack<T: Precision>(
    width: usize,
    rows: &[f32],
    origin: &[f32],
    first: usize,
    packed: &mut [T],
) {
    let depth = origin.len();
    let len = packed.len() / depth;
    for (chunk, origin) in origin.chunks(DEPTH).enumerate() {
        let start = chunk * DEPTH;
        let columns = &mut packed[start * len + first * origin.len()..][..width * origin.len()];
        for (r, row) in rows.chunks_exact(depth).take(width).enumerate() {
            let values = row[start..].iter().zip(origin);
            for (column, (&value, &origin)) in columns.chunks_exact_mut(width).zip(values) {
                column[r] = T::from_f32(value) - T::from_f32(origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_at_a_cache_line() {
        let mut buffer = Buffer::<f64>::default();
        assert!(buffer.is_empty());
        for len in [1, 1000, 3, 100_000] {
            buffer.resize(len);
            assert_eq!((buffer.len(), buffer.as_ptr().addr() % LINE), (len, 0));
        }
    }
}
