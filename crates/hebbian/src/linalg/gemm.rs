//! Matrix product of strided views, on one thread.
//!
//! The only `unsafe` of this crate: the kernels of the `gemm` crate take raw
//! pointers. Views are built from slices by constructors that check every
//! index they can reach, so the pointers handed over are always in bounds.
#![allow(unsafe_code)]

use std::marker::PhantomData;

/// Read-only view of a matrix of `rows` x `cols` numbers.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    data: *const f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
    life: PhantomData<&'a [f32]>,
}

// SAFETY: a `Mat` is a shared borrow of a slice of `f32`, which is `Sync`.
unsafe impl Send for Mat<'_> {}
// SAFETY: as above; nothing is written through it.
unsafe impl Sync for Mat<'_> {}

fn check(len: usize, rows: usize, cols: usize, stride: usize) {
    assert!(stride >= cols, "row stride {stride} is below the {cols} columns");
    let reach = if rows == 0 || cols == 0 {
        Some(0)
    } else {
        (rows - 1).checked_mul(stride).and_then(|n| n.checked_add(cols))
    };
    assert!(
        reach.is_some_and(|reach| reach <= len),
        "a {rows} x {cols} view with stride {stride} does not fit in {len} numbers"
    );
}

impl<'a> Mat<'a> {
    /// Row-major matrix whose rows follow each other.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Row-major matrix whose rows start `stride` numbers apart.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        check(data.len(), rows, cols, stride);
        let data = data.as_ptr();
        Self { data, rows, cols, row_stride: stride, col_stride: 1, life: PhantomData }
    }

    /// The transposed view of the same numbers.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// `(rows, cols)`.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Rows `start..start + count`.
    #[must_use]
    pub fn rows(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.rows, "rows {start}+{count} of {}", self.rows);
        // SAFETY: a view with rows starts inside the matrix; one without is
        // never read.
        let data = unsafe { self.data.add(if count == 0 { 0 } else { start * self.row_stride }) };
        Self { data, rows: count, ..self }
    }

    /// Columns `start..start + count`.
    #[must_use]
    pub fn cols(self, start: usize, count: usize) -> Self {
        self.t().rows(start, count).t()
    }

    /// Row `row` of a view whose rows are contiguous.
    pub fn row(&self, row: usize) -> &'a [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert!(self.col_stride == 1 || self.cols == 1, "the rows of this view are scattered");
        // SAFETY: the row lies inside the view, whose numbers live for `'a`.
        unsafe { std::slice::from_raw_parts(self.data.add(row * self.row_stride), self.cols) }
    }
}

/// Writable view of a row-major matrix.
pub struct MatMut<'a> {
    data: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `MatMut` is an exclusive borrow of numbers, which are `Send`;
// the parts made by `split_cols` and `split_rows` share no number.
unsafe impl Send for MatMut<'_> {}

impl<'a> MatMut<'a> {
    /// Row-major matrix whose rows follow each other.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Row-major matrix whose rows start `stride` numbers apart.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        check(data.len(), rows, cols, stride);
        Self { data: data.as_mut_ptr(), rows, cols, stride, life: PhantomData }
    }

    /// `(rows, cols)`.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Cuts the matrix into views of `width` columns each (the last may be
    /// narrower), to be written by different threads.
    pub fn split_cols(self, width: usize) -> Vec<MatMut<'a>> {
        assert!(width > 0, "a block of columns has at least one");
        let parts = self.cols.div_ceil(width);
        (0..parts)
            .map(|part| {
                let start = part * width;
                // SAFETY: `start < cols`, so the pointer stays in its row; the
                // parts' column ranges do not overlap.
                let data = unsafe { self.data.add(start) };
                let cols = width.min(self.cols - start);
                MatMut { data, rows: self.rows, cols, stride: self.stride, life: PhantomData }
            })
            .collect()
    }

    /// Cuts the matrix into views of `height` rows each (the last may be
    /// lower), to be written by different threads.
    pub fn split_rows(self, height: usize) -> Vec<MatMut<'a>> {
        assert!(height > 0, "a block of rows has at least one");
        let parts = self.rows.div_ceil(height);
        (0..parts)
            .map(|part| {
                let start = part * height;
                // SAFETY: `start < rows`, so the pointer stays in the matrix;
                // the parts' row ranges do not overlap.
                let data = unsafe { self.data.add(start * self.stride) };
                let rows = height.min(self.rows - start);
                MatMut { data, rows, cols: self.cols, stride: self.stride, life: PhantomData }
            })
            .collect()
    }

    /// Rows `start..start + count`.
    pub fn rows(&mut self, start: usize, count: usize) -> MatMut<'_> {
        assert!(start + count <= self.rows, "rows {start}+{count} of {}", self.rows);
        // SAFETY: a view with rows starts inside the matrix; one without is
        // never read.
        let data = unsafe { self.data.add(if count == 0 { 0 } else { start * self.stride }) };
        MatMut { data, rows: count, cols: self.cols, stride: self.stride, life: PhantomData }
    }

    /// Row `row`, to be written.
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: the row lies inside the view, which is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(row * self.stride), self.cols) }
    }

    /// The same numbers, to be read.
    pub fn as_mat(&self) -> Mat<'_> {
        let (data, row_stride) = (self.data.cast_const(), self.stride);
        Mat { data, rows: self.rows, cols: self.cols, row_stride, col_stride: 1, life: PhantomData }
    }
}

/// `out = keep * out + scale * a b`, with shapes (m x n), (m x k), (k x n).
///
/// With `keep == 0` the old contents of `out` are not read.
///
/// # Panics
/// If the shapes do not fit together.
pub fn gemm(out: &mut MatMut<'_>, keep: f32, scale: f32, a: Mat<'_>, b: Mat<'_>) {
    let ((m, k), (k2, n)) = (a.shape(), b.shape());
    assert_eq!(k, k2, "inner dimensions of a product");
    assert_eq!(out.shape(), (m, n), "shape of a product");
    // SAFETY: each view reaches only numbers its constructor found in bounds
    // (a transposed view reaches the same ones), `out` is borrowed
    // exclusively, and the shapes agree.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.data,
            1,
            out.stride.cast_signed(),
            keep != 0.0,
            a.data,
            a.col_stride.cast_signed(),
            a.row_stride.cast_signed(),
            b.data,
            b.col_stride.cast_signed(),
            b.row_stride.cast_signed(),
            keep,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(m: usize, n: usize, k: usize, a: &[f32], b: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                out[i * n + j] = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
            }
        }
        out
    }

    proptest! {
        #[test]
        fn equals_the_three_loops(m in 1usize..40, n in 1usize..40, k in 1usize..40, seed: u32) {
            let value = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) % 97) as f32 / 48.0 - 1.0;
            let a: Vec<f32> = (0..m * k).map(value).collect();
            let b: Vec<f32> = (0..k * n).map(|i| value(i + 7919)).collect();
            let expected = naive(m, n, k, &a, &b);
            // b transposed in memory, and the output written in column blocks.
            let bt: Vec<f32> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
            let mut out = vec![f32::NAN; m * n];
            let width = n.div_ceil(3);
            for (part, mut block) in MatMut::new(&mut out, m, n).split_cols(width).into_iter().enumerate() {
                let cols = block.shape().1;
                let rows = &bt[part * width * k..];
                gemm(&mut block, 0.0, 1.0, Mat::new(&a, m, k), Mat::new(rows, cols, k).t());
            }
            for (got, want) in out.iter().zip(&expected) {
                prop_assert!((got - want).abs() < 1e-4, "{got} {want}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "does not fit")]
    fn a_view_beyond_its_slice_is_refused() {
        Mat::strided(&[0.0; 10], 3, 4, 4);
    }
}
