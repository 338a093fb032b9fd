//! The arithmetic everything else is built from: one matrix product, a few
//! vectorised loops, and safe splitting of matrices over threads.

mod gemm;
mod kernel;
mod panels;
mod rate;
mod vector;

pub use gemm::{Mat, MatMut, gemm};
pub use panels::{Packing, Panels, Rows, outer, project};
pub use rate::products_rate;
pub use vector::{
    add_assign, add_column_sums, dot, dot_inlined, exp, largest, ln, simd, sum, sum_of_squares,
    tanh,
};
