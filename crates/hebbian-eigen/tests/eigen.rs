//! Whitened rows have the identity as their covariance; principal components are
//! what they are defined by.

use hebbian_eigen::{
    add_products, multiply, principal_components, principal_components_of_few, whitening,
};

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

/// Against what they are defined by, on a matrix with known ones.
#[test]
fn principal_components_fall_and_point_one_way() {
    let dim = 5;
    // v = e1 + e2 with 6, e1 - e2 with 4, e4 with 1; nothing else.
    let mut products = vec![0.0; dim * dim];
    for (row, column, value) in [(0, 0, 5.0), (0, 1, 1.0), (1, 1, 5.0), (3, 3, 1.0)] {
        products[row * dim + column] = value;
    }
    let found = principal_components(&products, dim).unwrap();
    for (value, want) in found.values.iter().zip([6.0, 4.0, 1.0, 0.0, 0.0]) {
        assert!((value - want).abs() < 1e-12 && *value >= 0.0, "{:?}", found.values);
    }
    let half = 0.5f32.sqrt();
    let close = |row: usize, want: [f32; 5]| {
        let got = &found.vectors[row * dim..][..dim];
        let signed = if row == 1 && got[0] < 0.0 { want.map(|x| -x) } else { want };
        got.iter().zip(signed).all(|(a, b)| (a - b).abs() < 1e-6)
    };
    assert!(close(0, [half, half, 0.0, 0.0, 0.0]) && close(1, [half, -half, 0.0, 0.0, 0.0]));
    assert!(close(2, [0.0, 0.0, 0.0, 1.0, 0.0]), "{:?}", found.vectors);
}

/// Of fewer rows than numbers, one of them the sum of others: by products of rows as
/// by products of numbers.
#[test]
fn components_of_few_rows_are_those_of_their_products() {
    let (rows, dim) = (6, 40);
    let number = |i: usize| ((i * 2_654_435_761) % 1009) as f64 / 500.0 - 1.0;
    let mut x: Vec<f64> = (0..rows * dim).map(number).collect();
    for i in 0..dim {
        x[5 * dim + i] = x[i] + x[dim + i];
    }
    let mut products = vec![0.0; dim * dim];
    add_products(&x, dim, &mut products);
    let want = principal_components(&products, dim).unwrap();
    let found = principal_components_of_few(&x, dim).unwrap();
    assert_eq!((found.values.len(), found.vectors.len()), (rows, rows * dim));
    for (k, (found, want)) in found.values.iter().zip(&want.values).enumerate() {
        assert!((found - want).abs() < 1e-10, "{k}: {found} {want}");
    }
    assert!(found.values[4] > 1.0 && found.values[5] < 1e-10);
    for (found, want) in found.vectors[..5 * dim].iter().zip(&want.vectors) {
        assert!((found - want).abs() < 1e-6, "{found} {want}");
    }
}
