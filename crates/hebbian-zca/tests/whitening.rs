//! Whitened rows have the identity as their covariance.

use hebbian_zca::{add_products, multiply, whitening};

#[test]
fn what_is_whitened_has_no_covariance() {
    let dim = 7;
    let number = |i: usize| ((i * 2_654_435_761) % 1009) as f64 / 500.0 - 1.0;
    // Rows that mix independent numbers.
    let rows: Vec<f64> = (0..400)
        .flat_map(|n| (0..dim).map(move |i| (0..=i).map(|k| number(n * dim + k)).sum::<f64>()))
        .collect();
    let mut products = vec![0.0; dim * dim];
    for part in rows.chunks(dim * 150) {
        add_products(part, dim, &mut products);
    }
    let symmetric = |i: usize, j: usize| products[i.min(j) * dim + i.max(j)] / 400.0;
    let covariance: Vec<f64> = (0..dim * dim).map(|n| symmetric(n / dim, n % dim)).collect();
    for i in 0..dim {
        let want = rows.chunks(dim).map(|row| row[i] * row[0]).sum::<f64>() / 400.0;
        assert!((symmetric(i, 0) - want).abs() < 1e-12, "{i}");
    }
    let matrix = whitening(&covariance, dim, 0.0).unwrap();
    let input: Vec<f32> = rows.iter().map(|&v| v as f32).collect();
    let mut white = vec![0.0; input.len()];
    multiply(&input, &matrix, dim, &mut white);
    for i in 0..dim {
        for j in 0..dim {
            assert_eq!(matrix[i * dim + j], matrix[j * dim + i]);
            let found = white.chunks(dim).map(|w| w[i] * w[j]).sum::<f32>() / 400.0;
            let want = f32::from(u8::from(i == j));
            assert!((found - want).abs() < 1e-4, "{i} {j}: {found}");
        }
    }
}
