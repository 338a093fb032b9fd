//! The matrix product of a search: every row of one side with every row of the other.
//!
//! Both operands are used many times over: so they are packed once, in the order in which the
//! kernel reads them, and a tile of the result stays in registers while it runs along the depth.
//! There is a kernel for AVX2 with fused multiply-add, chosen where the machine has them, and one
//! for everything else.
#![allow(unsafe_code)]

use crate::exact::Precision;

/// Rows of the right side that the kernel takes at a time: with two vector registers of the left
/// side for each, and the operands, they fill the 16 registers of AVX2.
pub(crate) const STRIP: usize = 6;
/// Depth that the kernel runs along at a time: so that a panel of the left side, 24 KiB, stays in
/// the first-level cache.
pub(crate) const DEPTH: usize = 384;

/// Number types with a kernel.
pub(crate) trait Multiply: Sized {
    /// Rows of the left side that the kernel takes at a time: 64 bytes.
    const PANEL: usize;

    /// `out[j, i] = lhs[i] . rhs[j]` for packed operands, on the calling thread.
    ///
    /// # Shapes
    /// `lhs`: `m` rows [packed](crate::packed) by [`PANEL`](Self::PANEL), `rhs`: `n` rows by
    /// [`STRIP`], both of `depth` columns, at least 1; `out`: `[n, stride]`, of which the first
    /// `m` columns are written.
    ///
    /// # Panics
    /// If an operand is not made of whole panels or strips, or `out` is too small.
    fn product(depth: usize, lhs: &[Self], rhs: &[Self], out: &mut [Self], stride: usize);
}

/// Takes panel and strip, columns first; the tile of the result, its stride, and whether to add to
/// what is there.
type Kernel<T, const PANEL: usize> = fn(&[[T; PANEL]], &[[T; STRIP]], &mut [T], usize, bool);

macro_rules! multiply {
    ($type:ty, $panel:literal, $avx2:path) => {
        impl Multiply for $type {
            const PANEL: usize = $panel;

            fn product(depth: usize, lhs: &[Self], rhs: &[Self], out: &mut [Self], stride: usize) {
                #[cfg(target_arch = "x86_64")]
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    let kernel: Kernel<Self, $panel> = |panel, strip, out, stride, add| {
                        // SAFETY: the processor has all features that the kernel is compiled for.
                        unsafe { $avx2(panel, strip, out, stride, add) }
                    };
                    return product(depth, lhs, rhs, out, stride, kernel);
                }
                product(depth, lhs, rhs, out, stride, portable::<Self, $panel>);
            }
        }
    };
}

multiply!(f32, 16, avx2::f32::kernel);
multiply!(f64, 8, avx2::f64::kernel);

/// [`Multiply::product`] by a kernel.
fn product<T: Precision, const PANEL: usize>(
    depth: usize,
    lhs: &[T],
    rhs: &[T],
    out: &mut [T],
    stride: usize,
    kernel: Kernel<T, PANEL>,
) {
    let (m, n) = (lhs.len() / depth, rhs.len() / depth);
    assert!(m * depth == lhs.len() && m.is_multiple_of(PANEL), "lhs is not made of panels");
    assert!(n * depth == rhs.len() && n.is_multiple_of(STRIP), "rhs is not made of strips");
    assert!(m <= stride && n * stride <= out.len(), "out is too small");
    for start in (0..depth).step_by(DEPTH) {
        let end = depth.min(start + DEPTH);
        let panels = lhs[start * m..end * m].as_chunks::<PANEL>().0;
        let strips = rhs[start * n..end * n].as_chunks::<STRIP>().0;
        for (i, panel) in panels.chunks_exact(end - start).enumerate() {
            for (j, strip) in strips.chunks_exact(end - start).enumerate() {
                let tile = &mut out[j * STRIP * stride + i * PANEL..];
                kernel(panel, strip, tile, stride, start > 0);
            }
        }
    }
}

/// A [`Kernel`] that the compiler vectorises as well as it can.
fn portable<T: Precision, const PANEL: usize>(
    panel: &[[T; PANEL]],
    strip: &[[T; STRIP]],
    out: &mut [T],
    stride: usize,
    add: bool,
) {
    let mut sums = [[T::ZERO; PANEL]; STRIP];
    for (lhs, rhs) in panel.iter().zip(strip) {
        for (sums, &rhs) in sums.iter_mut().zip(rhs) {
            for (sum, &lhs) in sums.iter_mut().zip(lhs) {
                // Elsewhere, fused multiply-add may be a function of a library.
                *sum = if cfg!(target_arch = "aarch64") {
                    lhs.mul_add(rhs, *sum)
                } else {
                    lhs * rhs + *sum
                };
            }
        }
    }
    for (j, sums) in sums.iter().enumerate() {
        for (out, &sum) in out[j * stride..][..PANEL].iter_mut().zip(sums) {
            *out = if add { *out + sum } else { sum };
        }
    }
}

/// [`Kernel`]s for AVX2 with fused multiply-add: two vectors of a panel by a strip make twelve sums,
/// which with the operands fill the sixteen registers.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    macro_rules! kernel {
        (
            $type:ident, $panel:literal, $vector:ident, $zero:ident, $broadcast:ident,
            $load:ident, $store:ident, $add:ident, $multiply_add:ident
        ) => {
            pub(super) mod $type {
                use std::arch::x86_64::*;

                use crate::gemm::STRIP;

                const WIDTH: usize = $panel / 2;
                /// Columns in a turn of the loop, where counting costs as much as multiplying.
                const UNROLL: usize = 4;

                #[inline]
                #[target_feature(enable = "avx2,fma")]
                fn load(values: &[$type; WIDTH]) -> $vector {
                    // SAFETY: as many values as a vector has, of any alignment.
                    unsafe { $load(values.as_ptr()) }
                }

                #[inline]
                #[target_feature(enable = "avx2,fma")]
                fn store(values: &mut [$type; WIDTH], vector: $vector) {
                    // SAFETY: as in `load`.
                    unsafe { $store(values.as_mut_ptr(), vector) }
                }

                #[target_feature(enable = "avx2,fma")]
                pub(in crate::gemm) fn kernel(
                    panel: &[[$type; $panel]],
                    strip: &[[$type; STRIP]],
                    out: &mut [$type],
                    stride: usize,
                    add: bool,
                ) {
                    for row in 0..STRIP {
                        let needed_soon = std::ptr::from_ref(&out[row * stride]);
                        // SAFETY: a prefetch changes nothing but what caches hold. (Newer
                        // compilers call it safe.)
                        #[allow(unused_unsafe)]
                        unsafe {
                            _mm_prefetch::<_MM_HINT_T0>(needed_soon.cast())
                        };
                    }
                    let mut sums = [[$zero(); 2]; STRIP];
                    let mut add_column = |lhs: &[$type; $panel], rhs: &[$type; STRIP]| {
                        let [left, right] = lhs.as_chunks::<WIDTH>().0 else { return };
                        let (left, right) = (load(left), load(right));
                        for (sums, &rhs) in sums.iter_mut().zip(rhs) {
                            let rhs = $broadcast(rhs);
                            sums[0] = $multiply_add(left, rhs, sums[0]);
                            sums[1] = $multiply_add(right, rhs, sums[1]);
                        }
                    };
                    let (panels, panel) = panel.as_chunks::<UNROLL>();
                    let (strips, strip) = strip.as_chunks::<UNROLL>();
                    for (lhs, rhs) in panels.iter().zip(strips) {
                        for column in 0..UNROLL {
                            add_column(&lhs[column], &rhs[column]);
                        }
                    }
                    for (lhs, rhs) in panel.iter().zip(strip) {
                        add_column(lhs, rhs);
                    }
                    for (j, sums) in sums.into_iter().enumerate() {
                        let out = out[j * stride..][..$panel].as_chunks_mut::<WIDTH>().0;
                        for (out, sum) in out.iter_mut().zip(sums) {
                            let sum = if add { $add(load(out), sum) } else { sum };
                            store(out, sum);
                        }
                    }
                }
            }
        };
    }

    kernel!(
        f32,
        16,
        __m256,
        _mm256_setzero_ps,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_fmadd_ps
    );
    kernel!(
        f64,
        8,
        __m256d,
        _mm256_setzero_pd,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_add_pd,
        _mm256_fmadd_pd
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::pack;

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
        agrees_with_the_definition::<f32>(|depth, lhs, rhs, out, stride| {
            product(depth, lhs, rhs, out, stride, portable::<f32, { f32::PANEL }>);
        });
        agrees_with_the_definition::<f64>(|depth, lhs, rhs, out, stride| {
            product(depth, lhs, rhs, out, stride, portable::<f64, { f64::PANEL }>);
        });
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
