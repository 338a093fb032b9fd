//! The matrix product of a search: every row of one side with every row of the other.
//!
//! A product of tall and flat operands that are used many times over: so both are packed once, in
//! the order in which the kernel reads them, and a tile of the result stays in registers while it
//! runs along the depth. The kernel is plain Rust that the compiler vectorises; compiled a second
//! time for AVX2 with fused multiply-add, it is chosen where the machine has them.
#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut};

use crate::exact::Precision;

/// Rows of the right side that the kernel takes at a time: with two vector registers of the left
/// side for each, and the operands, they fill the 16 registers of AVX2.
pub(crate) const STRIP: usize = 6;
/// Depth that the kernel runs along at a time: so that a panel of the left side, 24 KiB, stays in
/// the first-level cache.
const DEPTH: usize = 384;
/// Columns in one turn of the kernel's loop.
const UNROLL: usize = 4;

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

/// Number types with a kernel.
pub(crate) trait Multiply: Sized {
    /// Rows of the left side that the kernel takes at a time: [`LINE`] bytes.
    const PANEL: usize;

    /// `out[j, i] = lhs[i] . rhs[j]` for packed operands, on the calling thread.
    ///
    /// # Shapes
    /// `lhs`: `m` rows packed by [`PANEL`](Self::PANEL), `rhs`: `n` rows packed by [`STRIP`], both
    /// of `depth` columns, at least 1; `out`: `[n, stride]`, of which the first `m` columns are
    /// written.
    ///
    /// # Panics
    /// If an operand is not made of whole panels or strips, or `out` is too small.
    fn product(depth: usize, lhs: &[Self], rhs: &[Self], out: &mut [Self], stride: usize);
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

macro_rules! multiply {
    ($type:ty, $panel:literal, $avx2:ident) => {
        impl Multiply for $type {
            const PANEL: usize = $panel;

            fn product(depth: usize, lhs: &[Self], rhs: &[Self], out: &mut [Self], stride: usize) {
                #[cfg(target_arch = "x86_64")]
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the processor has all features that the function is compiled for.
                    return unsafe { $avx2(depth, lhs, rhs, out, stride) };
                }
                // There it is an instruction like any other; elsewhere it may be a function.
                const FUSED: bool = cfg!(target_arch = "aarch64");
                product::<Self, $panel, FUSED>(depth, lhs, rhs, out, stride);
            }
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn $avx2(depth: usize, lhs: &[$type], rhs: &[$type], out: &mut [$type], stride: usize) {
            product::<$type, $panel, true>(depth, lhs, rhs, out, stride);
        }
    };
}

multiply!(f32, 16, product_f32_avx2);
multiply!(f64, 8, product_f64_avx2);

/// [`Multiply::product`]. Always inlined, to be compiled for the features of its caller.
#[inline(always)]
fn product<T: Precision, const PANEL: usize, const FUSED: bool>(
    depth: usize,
    lhs: &[T],
    rhs: &[T],
    out: &mut [T],
    stride: usize,
) {
    let (m, n) = (lhs.len() / depth, rhs.len() / depth);
    assert!(m * depth == lhs.len() && m.is_multiple_of(PANEL), "lhs is not made of panels");
    assert!(n * depth == rhs.len() && n.is_multiple_of(STRIP), "rhs is not made of strips");
    assert!(m <= stride && n * stride <= out.len(), "out is too small");
    for start in (0..depth).step_by(DEPTH) {
        let end = depth.min(start + DEPTH);
        let (lhs, rhs) = (&lhs[start * m..end * m], &rhs[start * n..end * n]);
        for (i, panel) in lhs.chunks_exact((end - start) * PANEL).enumerate() {
            for (j, strip) in rhs.chunks_exact((end - start) * STRIP).enumerate() {
                let tile = &mut out[j * STRIP * stride + i * PANEL..];
                multiply_tile::<T, PANEL, FUSED>(panel, strip, tile, stride, start > 0);
            }
        }
    }
}

/// The product of one panel with one strip, added to `out` or put in its place.
#[inline(always)]
fn multiply_tile<T: Precision, const PANEL: usize, const FUSED: bool>(
    panel: &[T],
    strip: &[T],
    out: &mut [T],
    stride: usize,
    add: bool,
) {
    for row in 0..STRIP {
        prefetch(&out[row * stride]);
    }
    let mut sums = [[T::ZERO; PANEL]; STRIP];
    let mut add_column = |lhs: &[T; PANEL], rhs: &[T; STRIP]| {
        for (sums, &rhs) in sums.iter_mut().zip(rhs) {
            for (sum, &lhs) in sums.iter_mut().zip(lhs) {
                *sum = if FUSED { lhs.mul_add(rhs, *sum) } else { lhs * rhs + *sum };
            }
        }
    };
    // Some columns at a time, because counting costs as much as a multiplication.
    let (panels, panel) = panel.as_chunks::<PANEL>().0.as_chunks::<UNROLL>();
    let (strips, strip) = strip.as_chunks::<STRIP>().0.as_chunks::<UNROLL>();
    for (lhs, rhs) in panels.iter().zip(strips) {
        for column in 0..UNROLL {
            add_column(&lhs[column], &rhs[column]);
        }
    }
    for (lhs, rhs) in panel.iter().zip(strip) {
        add_column(lhs, rhs);
    }
    for (j, sums) in sums.iter().enumerate() {
        let out = &mut out[j * stride..][..PANEL];
        for (out, &sum) in out.iter_mut().zip(sums) {
            *out = if add { *out + sum } else { sum };
        }
    }
}

/// Asks for a value that will be needed soon.
#[inline(always)]
fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has this instruction, which changes nothing but what
        // caches hold.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    type Product<T> = fn(usize, &[T], &[T], &mut [T], usize);

    fn agrees_with_the_definition<T: Precision + PartialEq + std::fmt::Debug>(product: Product<T>) {
        let nothing = T::round(f64::NAN);
        for [m, n, depth] in [[0, 3, 2], [1, 1, 1], [17, 5, 7], [40, 13, 385], [9, 6, 800]] {
            // Small integers, so that any order of summation gives the same bits.
            let fill = |len: usize, step: usize| -> Vec<f32> {
                (0..len).map(|i| (i * step % 11) as f32 - 5.0).collect()
            };
            let (lhs, rhs, origin) = (fill(m * depth, 7), fill(n * depth, 5), fill(depth, 3));
            let packed = |rows: &[f32], width: usize| {
                let len = (rows.len() / depth).next_multiple_of(width);
                let mut packed = vec![T::ZERO; len * depth];
                for (i, rows) in rows.chunks(width * depth).enumerate() {
                    pack(width, rows, &origin, i * width, &mut packed);
                }
                packed
            };
            let stride = m.next_multiple_of(T::PANEL) + 3;
            let mut out = vec![nothing; n.next_multiple_of(STRIP) * stride];
            product(depth, &packed(&lhs, T::PANEL), &packed(&rhs, STRIP), &mut out, stride);
            for j in 0..n {
                for i in 0..m {
                    let moved = |rows: &[f32], row, c| rows[row * depth + c] - origin[c];
                    let expected: f32 =
                        (0..depth).map(|c| moved(&lhs, i, c) * moved(&rhs, j, c)).sum();
                    assert_eq!(out[j * stride + i], T::from_f32(expected), "{m} {n} {depth}");
                }
            }
        }
    }

    #[test]
    fn all_kernels_agree_with_the_definition() {
        agrees_with_the_definition::<f32>(f32::product);
        agrees_with_the_definition::<f64>(f64::product);
        agrees_with_the_definition(product::<f32, { f32::PANEL }, false>);
        agrees_with_the_definition(product::<f64, { f64::PANEL }, false>);
        agrees_with_the_definition(product::<f32, { f32::PANEL }, true>);
    }

    #[test]
    fn buffers_start_at_a_cache_line() {
        let mut buffer = Buffer::<f64>::default();
        assert!(buffer.is_empty());
        for len in [1, 1000, 3, 100_000] {
            buffer.resize(len);
            assert_eq!((buffer.len(), buffer.as_ptr().addr() % LINE), (len, 0));
        }
    }

    #[test]
    #[should_panic(expected = "rhs is not")]
    fn refuses_half_a_strip() {
        f32::product(2, &[0.0; 2 * f32::PANEL], &[0.0; 6], &mut [0.0; 6 * f32::PANEL], f32::PANEL);
    }

    #[test]
    #[should_panic(expected = "out is too small")]
    fn refuses_a_small_result() {
        let (lhs, rhs) = ([0.0; 2 * f32::PANEL], [0.0; 2 * STRIP]);
        f32::product(2, &lhs, &rhs, &mut [0.0; 5 * f32::PANEL], f32::PANEL);
    }
}
