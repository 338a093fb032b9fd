//! The arithmetic everything else is built from: one matrix product, a few
//! vectorised loops, and safe splitting of matrices over threads.

mod gemm;
mod vector;

pub use gemm::{Mat, MatMut, gemm};
pub use vector::{add_assign, dot, exp_in_place, simd, sum_of_squares};
