//! Rankings against the definition: every pair in double precision, sorted by distance, then index.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::distance::{ErrorBound, reported};
use super::panel::{PRODUCT_ROWS, Queries, Tile};
use super::scan::{BLOCK_QUERIES, TILE};
use super::*;
use crate::Matrix;

/// Sorts the whole gallery by [`squared_distance`], then index.
fn oracle(gallery: &Matrix, query: &[f32], k: usize) -> Vec<Hit> {
    let rows = gallery.as_slice().chunks(gallery.dim());
    let mut ranking: Vec<(usize, f64)> =
        rows.map(|row| squared_distance(query, row)).enumerate().collect();
    ranking.sort_by(|a, b| a.1.total_cmp(&b.1));
    let hit = |&(index, squared): &(usize, f64)| Hit { index, distance: reported(squared) };
    ranking.iter().take(k).map(hit).collect()
}

fn assert_exact(gallery: &Matrix, queries: &Matrix, limit: Option<usize>) {
    let mut visited = 0;
    for_each_ranking(gallery, queries, limit, |query, hits| {
        assert_eq!(query, visited, "queries come in order");
        visited += 1;
        let expected = oracle(gallery, queries.row(query).unwrap(), limit.unwrap_or(usize::MAX));
        assert_eq!(hits, expected, "query {query}");
    })
    .unwrap();
    assert_eq!(visited, queries.len());
}

/// Ranks in precision `T` whether or not it pays, with as many settled distances as it takes.
/// Whether that was possible.
fn assert_exact_in<T: Precision>(gallery: &Matrix, queries: &Matrix, k: usize) -> bool {
    let origin = panel::origin(gallery).unwrap();
    let mut visited = 0;
    let mut visit = |query: usize, hits: &[Hit]| {
        assert_eq!(query, visited, "queries come in order");
        visited += 1;
        assert_eq!(hits, oracle(gallery, queries.row(query).unwrap(), k), "query {query}");
    };
    let mut scan = Scan::<T>::new(gallery, &origin, k.min(gallery.len()), queries.len());
    let ranked = scan.rank(queries, 0, usize::MAX, &mut visit).unwrap();
    assert_eq!(visited, ranked);
    ranked == queries.len()
}

/// Standings against rankings: the ranks of a query's class, and who shares a distance with it.
fn assert_standings(
    gallery: &Matrix,
    queries: &Matrix,
    labels: &[Option<u32>],
    asked: &[Option<u32>],
    own: Option<&[usize]>,
) {
    let mut visited = 0;
    let visit = |query: usize, standing: &Standing| {
        assert_eq!(query, visited, "queries come in order");
        visited += 1;
        let vector = queries.row(query).unwrap();
        let rows = (0..gallery.len()).filter(|&row| own.is_none_or(|own| own[query] != row));
        let distance = |row| (squared_distance(vector, gallery.row(row).unwrap()), row);
        let mut ranking: Vec<(f64, usize)> = rows.map(distance).collect();
        ranking.sort_by(|a, b| a.0.total_cmp(&b.0));
        let same = |&(_, row): &(f64, usize)| labels[row].is_some() && labels[row] == asked[query];
        let ranks = (1..).zip(&ranking).filter(|(_, found)| same(found)).map(|(rank, _)| rank);
        assert_eq!(standing.ranks().collect::<Vec<_>>(), ranks.collect::<Vec<_>>());
        let (equals, further) = standing.equals();
        let mut expected = Vec::new();
        let mut nearer = 0;
        for group in ranking.chunk_by(|a, b| a.0 == b.0) {
            let own = group.iter().filter(|found| same(found)).count();
            if own == 0 {
                nearer += group.len();
            } else {
                let others = group.len() - own;
                expected.push(Equals { nearer: std::mem::take(&mut nearer), own, others });
            }
        }
        assert_eq!(equals.collect::<Vec<_>>(), expected);
        // Of no class at all nothing is counted.
        assert_eq!(further, if expected.is_empty() { 0 } else { nearer });
    };
    let (known, asked) = ((gallery as _, labels), (queries as _, asked));
    let mut done = 0;
    for_each_standing(known, asked, own, visit, |now, _| {
        assert!(done <= now);
        done = now;
    })
    .unwrap();
    assert_eq!((visited, done), (queries.len(), queries.len()));
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
    /// Numbers so small that their products vanish in single precision.
    Tiny,
    /// Zeros, but for one dimension in some of the vectors.
    NearlyZero,
    /// Bytes, as raw pixels are: integers whose sums single precision does not always hold.
    Pixels,
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
                Kind::Tiny => uniform * 1e-22,
                Kind::NearlyZero if far && i == first => uniform * 1e-6,
                Kind::NearlyZero => 0.0,
                Kind::Pixels => ((uniform + 1.0) * 127.5).floor(),
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
        Tiny,
        NearlyZero,
        Pixels,
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
    fn both_precisions_give_the_same_rankings(
        kind in kinds(),
        dim in dims(),
        n in 1..900_usize,
        m in 0..6_usize,
        k in prop_oneof![1..12_usize, 1..450_usize],
        seed: u64,
    ) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let gallery = Matrix::new(dim, features(kind, n, dim, &mut random)).unwrap();
        let mut queries = features(kind, m, dim, &mut random);
        queries.extend(gallery.row(n / 2).into_iter().flatten());
        let queries = Matrix::new(dim, queries).unwrap();
        let single = assert_exact_in::<f32>(&gallery, &queries, k);
        prop_assert!(single || matches!(kind, Kind::AllMagnitudes), "single precision gave up");
        prop_assert!(assert_exact_in::<f64>(&gallery, &queries, k));
    }

    #[test]
    fn standings_are_those_of_rankings(
        kind in kinds(),
        dim in dims(),
        n in 0..900_usize,
        m in 0..6_usize,
        classes in 1..5_u32,
        seed: u64,
    ) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let gallery = Matrix::new(dim, features(kind, n, dim, &mut random)).unwrap();
        let queries = Matrix::new(dim, features(kind, m, dim, &mut random)).unwrap();
        // One more than there are: no label.
        let mut label = || Some(random.random_range(0..=classes)).filter(|&l| l < classes);
        let labels: Vec<_> = (0..n).map(|_| label()).collect();
        let asked: Vec<_> = (0..m).map(|_| label()).collect();
        assert_standings(&gallery, &queries, &labels, &asked, None);
        // Vectors of the gallery itself, each left out of what it is compared with.
        let own: Vec<usize> = (0..n).step_by(1 + n / 5).collect();
        let rows = own.iter().flat_map(|&row| gallery.row(row).unwrap()).copied().collect();
        let asked: Vec<_> = own.iter().map(|&row| labels[row]).collect();
        let queries = Matrix::new(dim, rows).unwrap();
        assert_standings(&gallery, &queries, &labels, &asked, Some(&own));
    }

    #[test]
    fn the_error_bound_holds(kind in kinds(), dim in dims(), seed: u64) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (m, n) = (3, 40);
        let queries = Matrix::new(dim, features(kind, m, dim, &mut random)).unwrap();
        let gallery = Matrix::new(dim, features(kind, n, dim, &mut random)).unwrap();
        assert_bound::<f32>(kind, &gallery, &queries);
        assert_bound::<f64>(kind, &gallery, &queries);
    }
}

fn assert_bound<T: Precision>(kind: Kind, gallery: &Matrix, queries: &Matrix) {
    let (dim, m, n) = (gallery.dim(), queries.len(), gallery.len());
    let origin = panel::origin(gallery).unwrap();
    let (mut a, mut b) = (Queries::<T>::default(), Tile::<T>::default());
    a.load(queries, 0, m, &origin).unwrap();
    b.load(gallery, 0, n, &origin).unwrap();
    if (a.longest + b.longest).powi(2) > T::LARGEST {
        assert!(matches!(kind, Kind::AllMagnitudes));
        return;
    }
    let mut products = vec![T::ZERO; a.moved.len() / dim * PRODUCT_ROWS];
    T::product(dim, &b.moved, &a.moved, &mut products, PRODUCT_ROWS);
    let error_bound = ErrorBound::new::<T>(dim);
    for (i, x) in a.norms.iter().enumerate() {
        for (j, y) in b.norms.iter().enumerate() {
            let product = products[i * PRODUCT_ROWS + j];
            let estimate = x.squared + y.squared - 2.0 * product.widen();
            let exact = squared_distance(queries.row(i).unwrap(), gallery.row(j).unwrap());
            let bound = error_bound.of(*x, *y);
            assert!((estimate - exact).abs() <= bound, "{estimate} {exact} {bound}");
            if matches!(kind, Kind::Binary) {
                assert_eq!(bound, 0.0);
            }
            // A threshold that this very pair just reaches.
            let limit = error_bound.limit::<T>(exact, *x, b.longest);
            assert!(b.halves[j] - product <= limit, "screened out: {exact} {bound}");
        }
    }
}

/// More queries and gallery vectors than fit one block, one tile or one matrix product.
#[test]
fn blocks_and_tiles_join_without_a_seam() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut matrix = |kind, n| Matrix::new(3, features(kind, n, 3, &mut random)).unwrap();
    let gallery = matrix(Kind::Uniform, TILE.rows + 300);
    assert_exact(&gallery, &matrix(Kind::Uniform, BLOCK_QUERIES + 70), Some(10));
    assert_exact(&gallery, &matrix(Kind::Uniform, 600), None);
    let gallery = matrix(Kind::Duplicates, TILE.rows + 300);
    assert_exact(&gallery, &matrix(Kind::Duplicates, 3), Some(10));
    let gallery = matrix(Kind::Binary, 2 * TILE.rows + 300);
    assert_exact(&gallery, &matrix(Kind::Binary, 3), Some(10));
}

#[test]
fn standings_join_without_a_seam() {
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let mut matrix = |kind, n| Matrix::new(3, features(kind, n, 3, &mut random)).unwrap();
    let labels = |n: usize| (0..n).map(|i| Some(i as u32 % 7)).collect::<Vec<_>>();
    for (kind, n, m) in [
        (Kind::Uniform, 300, BLOCK_QUERIES + 70),
        (Kind::Uniform, standing::TILE.rows + 300, 60),
        (Kind::Binary, 2 * standing::TILE.rows + 300, 3),
    ] {
        let (gallery, queries) = (matrix(kind, n), matrix(kind, m));
        assert_standings(&gallery, &queries, &labels(n), &labels(m), None);
    }
}

/// Where single precision tells too little apart, or its range is too small, it gives up, and
/// double precision takes over from the first query that is not ranked.
#[test]
fn single_precision_gives_up_where_it_does_not_pay() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut matrix = |kind, n| Matrix::new(40, features(kind, n, 40, &mut random)).unwrap();
    let mut ranked = |kind, patience| {
        let (gallery, queries) = (matrix(kind, 3000), matrix(kind, 20));
        assert_exact(&gallery, &queries, Some(5));
        let origin = panel::origin(&gallery).unwrap();
        let mut scan = Scan::<f32>::new(&gallery, &origin, 5, queries.len());
        scan.rank(&queries, 0, patience, &mut |_, _| ()).unwrap()
    };
    assert_eq!(ranked(Kind::Uniform, 3000 / SETTLED_SHARE), 20);
    assert_eq!(ranked(Kind::PartlyOffset, 3000 / SETTLED_SHARE), 0);
    assert_eq!(ranked(Kind::AllMagnitudes, usize::MAX), 0);
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
    let find = |gallery: &dyn Vectors| {
        let (known, asked) = ((gallery, &[Some(0); 2][..]), (&queries as _, &[Some(0)][..]));
        let stand = for_each_standing(known, asked, None, |_, _| (), |_, _| ());
        let error = search(gallery, &queries, 1).unwrap_err();
        assert_eq!(stand.unwrap_err().to_string(), error.to_string());
        error
    };
    assert!(matches!(find(&wide), Error::Dimension { expected: 3, found: 2, .. }));
    assert!(matches!(find(&Unchecked(vec![0.0; 3])), Error::Dimension { .. }));
    for bad in [f32::NAN, f32::INFINITY] {
        let error = find(&Unchecked(vec![0.0, 0.0, bad, 0.0]));
        assert!(matches!(error, Error::NotFinite { row: 1, column: 0, .. }), "{error}");
        let error = find(&Unchecked(vec![0.0, bad, 0.0, 0.0]));
        assert!(matches!(error, Error::NotFinite { row: 0, column: 1, .. }), "{error}");
    }
}
