//! Rankings against the definition: every pair in double precision, sorted by distance, then index.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::Matrix;

/// Sorts the whole gallery by [`squared_distance`], then index.
fn oracle(gallery: &Matrix, query: &[f32]) -> Vec<(usize, f64)> {
    let mut ranking: Vec<(usize, f64)> = gallery
        .as_slice()
        .chunks(gallery.dim())
        .map(|row| squared_distance(query, row))
        .enumerate()
        .collect();
    ranking.sort_by(|a, b| a.1.total_cmp(&b.1));
    ranking
}

fn assert_exact(gallery: &Matrix, queries: &Matrix, limit: Option<usize>) {
    let k = limit.unwrap_or(usize::MAX).min(gallery.len());
    let mut visited = 0;
    for_each_ranking(gallery, queries, limit, |query, hits| {
        assert_eq!(query, visited, "queries come in order");
        visited += 1;
        let expected = &oracle(gallery, queries.row(query).unwrap())[..k];
        let found: Vec<usize> = hits.iter().map(|hit| hit.index).collect();
        let wanted: Vec<usize> = expected.iter().map(|&(index, _)| index).collect();
        assert_eq!(found, wanted, "query {query}");
        for (hit, &(_, squared)) in hits.iter().zip(expected) {
            let distance = squared.sqrt().min(f64::from(f32::MAX));
            let error = (f64::from(hit.distance) - distance).abs();
            assert!(error <= distance * f64::from(f32::EPSILON), "{hit:?} instead of {distance}");
        }
    })
    .unwrap();
    assert_eq!(visited, queries.len());
}

/// Kinds of features that are hard in different ways.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Nothing special.
    Uniform,
    /// Zeros and ones: nearly all distances tie.
    Binary,
    /// A few different vectors, many times each, with values that are no integers.
    Duplicates,
    /// Copies of one vector that differ in the last bits of a value or two.
    NearTies,
    /// A large common offset, beside which the differences nearly vanish.
    Offset,
    /// The offset only in part of the vectors, so that no common origin helps.
    PartlyOffset,
    /// From the smallest to the largest magnitudes.
    AllMagnitudes,
}

fn features(kind: Kind, n: usize, dim: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
    let pool: Vec<f32> = (0..3 * dim).map(|i| ((i * 37 % 101) as f32).sin()).collect();
    let mut values = Vec::with_capacity(n * dim);
    for _ in 0..n {
        let member = random.random_range(0..3) * dim;
        let (first, second) = (random.random_range(0..dim), random.random_range(0..dim));
        let far = random.random_range(0..3) == 0;
        for i in 0..dim {
            let uniform = random.random_range(-1.0_f32..1.0);
            values.push(match kind {
                Kind::Uniform => uniform,
                Kind::Binary => f32::from(u8::from(uniform > 0.0)),
                Kind::Duplicates => pool[member + i],
                Kind::NearTies if i == first || i == second => pool[i].next_up(),
                Kind::NearTies => pool[i],
                Kind::Offset => 1e6 + uniform,
                Kind::PartlyOffset if far => 1e5 + uniform,
                Kind::PartlyOffset => uniform,
                Kind::AllMagnitudes => uniform * 10.0_f32.powi(random.random_range(-44..=38)),
            });
        }
    }
    values
}

fn kinds() -> impl Strategy<Value = Kind> {
    use Kind::*;
    prop::sample::select(vec![
        Uniform,
        Binary,
        Duplicates,
        NearTies,
        Offset,
        PartlyOffset,
        AllMagnitudes,
    ])
}

fn dims() -> impl Strategy<Value = usize> {
    prop_oneof![1..20_usize, prop::sample::select(vec![63, 64, 65, 255, 1000, 4096])]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]

    #[test]
    fn rankings_are_exact(
        kind in kinds(),
        dim in dims(),
        n in 0..400_usize,
        m in 0..6_usize,
        limit in prop::option::of(0..450_usize),
        seed: u64,
    ) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let gallery = Matrix::new(dim, features(kind, n, dim, &mut random)).unwrap();
        let mut queries = features(kind, m, dim, &mut random);
        // A query from the gallery is what "more like this" asks; its distance must be 0.
        queries.extend(gallery.row(n / 2).into_iter().flatten());
        let queries = Matrix::new(dim, queries).unwrap();
        assert_exact(&gallery, &queries, limit);
    }

    #[test]
    fn the_error_bound_holds(kind in kinds(), dim in dims(), seed: u64) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (m, n) = (3, 40);
        let queries = Matrix::new(dim, features(kind, m, dim, &mut random)).unwrap();
        let gallery = Matrix::new(dim, features(kind, n, dim, &mut random)).unwrap();
        let origin = gallery.row(0).unwrap();
        let (mut a, mut b) = (Panel::default(), Panel::default());
        a.load("queries", &queries, 0, m, origin).unwrap();
        b.load("gallery", &gallery, 0, n, origin).unwrap();
        let mut products = vec![0.0; m * n];
        product_transposed([m, n, dim], &a.moved, &b.moved, &mut products);
        for (i, &product) in products.iter().enumerate() {
            let (x, y) = (a.norms[i / n], b.norms[i % n]);
            let estimate = x.squared + y.squared - 2.0 * product;
            let exact = squared_distance(queries.row(i / n).unwrap(), gallery.row(i % n).unwrap());
            let bound = ErrorBound::new(dim).of(x, y);
            prop_assert!((estimate - exact).abs() <= bound, "{estimate} {exact} {bound}");
            if matches!(kind, Kind::Binary) {
                prop_assert_eq!(bound, 0.0);
            }
        }
    }
}

/// More queries and gallery vectors than fit one block, one tile or one matrix product.
#[test]
fn blocks_and_tiles_join_without_a_seam() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut matrix = |kind, n| Matrix::new(3, features(kind, n, 3, &mut random)).unwrap();
    let gallery = matrix(Kind::Uniform, 2 * TILE_ROWS + 300);
    let queries = matrix(Kind::Uniform, BLOCK_QUERIES + 70);
    assert_exact(&gallery, &queries, Some(10));
    assert_exact(&gallery, &queries, None);
    let gallery = matrix(Kind::Duplicates, 2 * TILE_ROWS + 300);
    assert_exact(&gallery, &matrix(Kind::Duplicates, 3), Some(10));
    let gallery = matrix(Kind::Binary, 2 * TILE_ROWS + 300);
    assert_exact(&gallery, &matrix(Kind::Binary, 3), Some(10));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut matrix = |n| Matrix::new(50, features(Kind::NearTies, n, 50, &mut random)).unwrap();
    let (gallery, queries) = (matrix(3000), matrix(40));
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| search(&gallery, &queries, 200)).unwrap()
    };
    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(5));
}

#[test]
fn empty_sides_give_empty_rankings() {
    let none = Matrix::new(2, vec![]).unwrap();
    let one = Matrix::new(2, vec![1.0, 2.0]).unwrap();
    assert_eq!(search(&none, &one, 5).unwrap(), [vec![]]);
    assert!(search(&one, &none, 5).unwrap().is_empty());
    assert_eq!(search(&one, &one, 0).unwrap(), [vec![]]);
    assert_eq!(search(&one, &one, usize::MAX).unwrap(), [[Hit { index: 0, distance: 0.0 }]]);
}

/// Hands out what it was given, without the checks of [`Matrix`].
struct Unchecked(Vec<f32>);

impl Vectors for Unchecked {
    fn len(&self) -> usize {
        2
    }
    fn dim(&self) -> usize {
        2
    }
    fn read(&self, start: usize, n: usize, out: &mut Vec<f32>) -> Result<()> {
        let values = self.0.iter().skip(2 * start).take(2 * n);
        out.clear();
        out.extend(values);
        Ok(())
    }
}

#[test]
fn vectors_that_break_their_word_are_reported() {
    let queries = Matrix::new(2, vec![0.0, 0.0]).unwrap();
    let wide = Matrix::new(3, vec![0.0; 3]).unwrap();
    let find = |gallery: &dyn Vectors| search(gallery, &queries, 1).unwrap_err();
    assert!(matches!(find(&wide), Error::Dimension { expected: 3, found: 2, .. }));
    assert!(matches!(find(&Unchecked(vec![0.0; 3])), Error::Dimension { .. }));
    for bad in [f32::NAN, f32::INFINITY] {
        let error = find(&Unchecked(vec![0.0, 0.0, bad, 0.0]));
        assert!(matches!(error, Error::NotFinite { row: 1, column: 0, .. }), "{error}");
        let error = find(&Unchecked(vec![0.0, bad, 0.0, 0.0]));
        assert!(matches!(error, Error::NotFinite { row: 0, column: 1, .. }), "{error}");
    }
}
