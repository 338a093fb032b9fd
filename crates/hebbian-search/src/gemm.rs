//! The matrix product, behind a bounds-checked face.
#![allow(unsafe_code)]

use gemm::Parallelism;

/// `out = lhs * rhs^T`, in double precision, on the calling thread.
///
/// # Shapes
/// `lhs`: `[m, depth]`, `rhs`: `[n, depth]`, `out`: `[m, n]`; all row-major and exactly that long.
///
/// # Panics
/// If a slice has another length.
pub(crate) fn product_transposed(
    [m, n, depth]: [usize; 3],
    lhs: &[f64],
    rhs: &[f64],
    out: &mut [f64],
) {
    assert_eq!(m.checked_mul(depth), Some(lhs.len()), "lhs is not [m, depth]");
    assert_eq!(n.checked_mul(depth), Some(rhs.len()), "rhs is not [n, depth]");
    assert_eq!(m.checked_mul(n), Some(out.len()), "out is not [m, n]");
    // Lengths of slices of f64 fit an isize, so these conversions keep their value.
    let (depth_stride, out_stride) = (depth as isize, n as isize);
    // SAFETY: with the lengths checked above, row r and column c of each operand lie inside its
    // slice for the strides given; `out` is borrowed exclusively and so overlaps neither operand;
    // `read_dst` is false and every element of `out` is initialised anyway.
    unsafe {
        gemm::gemm(
            m,
            n,
            depth,
            out.as_mut_ptr(),
            1,
            out_stride,
            false,
            lhs.as_ptr(),
            1,
            depth_stride,
            rhs.as_ptr(),
            depth_stride,
            1,
            0.0,
            1.0,
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

    #[test]
    fn agrees_with_the_definition() {
        for [m, n, depth] in [[0, 3, 2], [1, 1, 1], [3, 5, 7], [17, 9, 33], [1, 40, 129]] {
            // Small integers, so that any order of summation gives the same bits.
            let fill = |len: usize, step: usize| -> Vec<f64> {
                (0..len).map(|i| (i * step % 11) as f64 - 5.0).collect()
            };
            let (lhs, rhs) = (fill(m * depth, 7), fill(n * depth, 5));
            let mut out = vec![f64::NAN; m * n];
            product_transposed([m, n, depth], &lhs, &rhs, &mut out);
            for row in 0..m {
                for column in 0..n {
                    let expected: f64 =
                        (0..depth).map(|i| lhs[row * depth + i] * rhs[column * depth + i]).sum();
                    assert_eq!(out[row * n + column], expected);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "rhs is not")]
    fn refuses_a_short_operand() {
        product_transposed([2, 2, 2], &[0.0; 4], &[0.0; 3], &mut [0.0; 4]);
    }
}
