//! How fast this machine multiplies matrices.

use std::time::Instant;

use super::{Mat, MatMut, gemm};

/// Multiply-accumulates a second with every thread of the current pool busy, each
/// with `products` products of square matrices of `side` in turn: the best of
/// `runs` after one to warm up.
pub fn products_rate(side: usize, products: usize, runs: usize) -> f64 {
    let len = side * side;
    let a: Vec<f32> = (0..len).map(|i| (i % 13) as f32 - 6.0).collect();
    let b: Vec<f32> = (0..len).map(|i| (i % 7) as f32 - 3.0).collect();
    let mut outs = vec![vec![0.0f32; len]; rayon::current_num_threads()];
    let seconds = (0..=runs).map(|_| {
        let start = Instant::now();
        rayon::scope(|scope| {
            for out in &mut outs {
                scope.spawn(|_| {
                    for _ in 0..products {
                        let (a, b) = (Mat::new(&a, side, side), Mat::new(&b, side, side));
                        gemm(&mut MatMut::new(out, side, side), 0.0, 1.0, a, b);
                    }
                });
            }
        });
        start.elapsed().as_secs_f64()
    });
    // The first of them warms up; being slower, it is never the best.
    let best = seconds.fold(f64::INFINITY, f64::min);
    (outs.len() * products * side * len) as f64 / best
}
