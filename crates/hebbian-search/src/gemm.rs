//! The matrix product, behind a bounds-checked face.
#![allow(unsafe_code)]

use gemm::Parallelism;

use crate::exact::Precision;

/// Rows of a panel: a multiple of the rows that the kernels take at a time, in either precision,
/// for every width of vector register; and few enough for the part of a panel that a kernel works
/// on to stay in the second-level cache.
pub(crate) const PANEL: usize = 96;

/// `out = rhs * panel^T` on the calling thread. The panel is stored transposed, as the kernels
/// read it; that way it is rearranged once, and not again in every product.
///
/// # Shapes
/// `panel`: `[depth, PANEL]`, `rhs`: `[n, depth]`, `out`: `[n, PANEL]`; all row-major and exactly
/// that long.
///
/// # Panics
/// If a slice has another length.
pub(crate) fn panel_product<T: Precision>(depth: usize, panel: &[T], rhs: &[T], out: &mut [T]) {
    let n = out.len() / PANEL;
    assert_eq!(depth.checked_mul(PANEL), Some(panel.len()), "panel is not [depth, PANEL]");
    assert_eq!(n * PANEL, out.len(), "out is not [n, PANEL]");
    assert_eq!(n.checked_mul(depth), Some(rhs.len()), "rhs is not [n, depth]");
    // A length of a slice of numbers fits an isize, so these conversions keep their value.
    let (depth_stride, panel_stride) = (depth as isize, PANEL as isize);
    // SAFETY: with the lengths checked above, row r and column c of each operand lie inside its
    // slice for the strides given; `out` is borrowed exclusively and so overlaps neither operand;
    // `read_dst` is false and every element of `out` is initialised anyway. `Precision` is sealed
    // to f32 and f64, types that `gemm` has kernels for.
    unsafe {
        gemm::gemm(
            PANEL,
            n,
            depth,
            out.as_mut_ptr(),
            panel_stride,
            1,
            false,
            panel.as_ptr(),
            panel_stride,
            1,
            rhs.as_ptr(),
            depth_stride,
            1,
            T::ZERO,
            T::ONE,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agrees_with_the_definition<T: Precision + PartialEq + std::fmt::Debug>() {
        for [n, depth] in [[0, 3], [3, 0], [1, 1], [5, 7], [9, 33], [40, 129]] {
            // Small integers, so that any order of summation gives the same bits.
            let fill = |len: usize, step: usize| -> Vec<f64> {
                (0..len).map(|i| (i * step % 11) as f64 - 5.0).collect()
            };
            let of = |values: &[f64]| -> Vec<T> { values.iter().map(|&v| T::round(v)).collect() };
            let (panel, rhs) = (fill(depth * PANEL, 7), fill(n * depth, 5));
            let mut out = of(&vec![f64::NAN; n * PANEL]);
            panel_product(depth, &of(&panel), &of(&rhs), &mut out);
            for row in 0..n {
                for column in 0..PANEL {
                    let term = |i: usize| rhs[row * depth + i] * panel[i * PANEL + column];
                    let expected: f64 = (0..depth).map(term).sum();
                    assert_eq!(out[row * PANEL + column], T::round(expected));
                }
            }
        }
    }

    #[test]
    fn both_precisions_agree_with_the_definition() {
        agrees_with_the_definition::<f32>();
        agrees_with_the_definition::<f64>();
    }

    #[test]
    #[should_panic(expected = "rhs is not")]
    fn refuses_a_short_operand() {
        panel_product(2, &[0.0; 2 * PANEL], &[0.0; 3], &mut [0.0; 2 * PANEL]);
    }
}
