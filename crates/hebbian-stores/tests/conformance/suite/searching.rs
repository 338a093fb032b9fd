//! What is found: distances, order, filters, ties.

use hebbian_search::{Item, Matrix, Neighbour, SearchOptions};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Plain, filter, ids, item, labelled, search, top, write};
use crate::places::Stores;

pub fn distances(stores: &dyn Stores) {
    let place = stores.make(2);
    let items = [item("far"), item("here"), item("near")];
    write(&*place, &items, &[3.0, 4.0, 0.0, 0.0, -1.0, 0.0]);
    let found = search(&*place.open(), &[0.0, 0.0], &top(3));
    assert_eq!(ids(&found), ["here", "near", "far"]);
    let distances: Vec<f32> = found.iter().map(|neighbour| neighbour.distance).collect();
    assert_eq!(distances, [0.0, 1.0, 5.0]);
}

pub fn ties(stores: &dyn Stores) {
    let place = stores.make(2);
    // In neither the order of ids nor that of their hashes.
    for id in ["m", "z", "a", "q", "b"] {
        write(&*place, &[item(id)], &[1.0, 0.0]);
    }
    assert_eq!(ids(&search(&*place.open(), &[0.0, 0.0], &top(9))), ["m", "z", "a", "q", "b"]);
    write(&*place, &[item("z"), item("c"), item("m")], &[0.0, 1.0, 0.0, -1.0, -1.0, 0.0]);
    let expected = ["a", "q", "b", "z", "c", "m"];
    assert_eq!(ids(&search(&*place.open(), &[0.0, 0.0], &top(9))), expected);
    assert_eq!(ids(&search(&*place.open(), &[0.0, 0.0], &top(3))), expected[..3]);
}

pub fn many_equals(stores: &dyn Stores) {
    let place = stores.make(3);
    let names: Vec<String> = (0..700).map(|i| format!("{}", (i * 7919) % 700)).collect();
    let items: Vec<Item> = names.iter().map(|name| item(name)).collect();
    write(&*place, &items, &[0.25; 2100]);
    let found = search(&*place.open(), &[0.25, 0.25, 1.0], &top(5));
    assert_eq!(ids(&found), names[..5]);
    let found = search(&*place.open(), &[0.25; 3], &top(5));
    assert_eq!(ids(&found), names[..5]);
    assert_eq!(found[0].distance, 0.0);
}

pub fn filters(stores: &dyn Stores) {
    let place = stores.make(1);
    let items = [
        labelled("train/a.jpg", Some("cat")),
        labelled("train/b.png", None),
        labelled("train/deep/c.jpg", Some("dog")),
        labelled("train", Some("it's \"%_\\ é")),
        labelled("trainer/d.jpg", Some("cat")),
        labelled("50%_x/e.jpg", Some("")),
        labelled("50a x/ä.jpg", Some("cat")),
    ];
    let vectors: Vec<f32> = (0..items.len()).map(|i| i as f32).collect();
    write(&*place, &items, &vectors);
    let store = place.open();
    for (labels, paths) in [
        (&["cat"][..], &[][..]),
        (&["cat", "dog"], &[]),
        (&["it's \"%_\\ é"], &[]),
        (&[""], &[]),
        (&["nothing"], &[]),
        (&["nul\0"], &[]),
        (&[], &["train"]),
        (&[], &["train/"]),
        (&[], &["train/deep"]),
        (&[], &["50%_x"]),
        (&[], &["50%_x/*"]),
        (&[], &["*.jpg"]),
        (&[], &["train/*.jpg"]),
        (&[], &["*/?.jpg"]),
        (&[], &["*/??.jpg"]),
        (&[], &["t*r*d*"]),
        (&[], &["train\0*", "trainer"]),
        (&[], &["\\", "x\\*"]),
        (&[], &["train/b.png", "*d.jpg"]),
        (&["cat"], &["train"]),
        (&["cat"], &["*/?.jpg"]),
        (&["dog", "cat"], &["train/deep", "50*"]),
    ] {
        let options = SearchOptions { k: 10, filter: filter(labels, paths), ..top(0) };
        let found = search(&*store, &[6.0], &options);
        let passing = items.iter().rev().filter(|item| options.filter.matches(item));
        let expected: Vec<&str> = passing.map(|item| item.id.as_str()).collect();
        assert_eq!(ids(&found), expected, "{labels:?} {paths:?}");
    }
}

pub fn dimensions(stores: &dyn Stores) {
    let place = stores.make(4096);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let items: Vec<Item> = (0..300).map(|i| item(&format!("{i}"))).collect();
    let vectors: Vec<f32> = (0..300 * 4096).map(|_| rng.random_range(-1.0..1.0)).collect();
    write(&*place, &items, &vectors);
    let plain = Plain::of(&items, &vectors);
    let store = place.open();
    assert_eq!(store.get("299").unwrap().unwrap().1, vectors[299 * 4096..]);
    for row in [0, 150] {
        let query = &vectors[row * 4096..][..4096];
        assert_eq!(search(&*store, query, &top(20)), plain.search(query, &top(20)));
    }
}

pub fn empty(stores: &dyn Stores) {
    let place = stores.make(3);
    let store = place.open();
    assert_eq!(store.count().unwrap(), 0);
    assert_eq!(store.get("a").unwrap(), None);
    assert_eq!(search(&*store, &[0.0; 3], &top(5)), []);
    let options = SearchOptions { k: 5, filter: filter(&["a"], &["*b"]), ..Default::default() };
    assert_eq!(search(&*store, &[0.0; 3], &options), []);
    assert_eq!(place.writer().delete(&["a"]).unwrap(), 0);
}

pub fn beyond(stores: &dyn Stores) {
    let place = stores.make(1);
    let items: Vec<Item> = (0..40).map(|i| item(&i.to_string())).collect();
    let vectors: Vec<f32> = (0..40).map(|i| i as f32).collect();
    write(&*place, &items, &vectors);
    let store = place.open();
    for k in [39, 40, 41, 1000, 20_000, usize::MAX] {
        assert_eq!(search(&*store, &[0.0], &top(k)).len(), k.min(40), "{k}");
    }
    assert_eq!(search(&*store, &[0.0], &top(0)), []);
    assert!(store.search(&Matrix::new(1, Vec::new()).unwrap(), &top(3)).unwrap().is_empty());
}

pub fn several(stores: &dyn Stores) {
    let place = stores.make(2);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let items: Vec<Item> = (0..200).map(|i| item(&i.to_string())).collect();
    let vectors: Vec<f32> = (0..400).map(|_| f32::from(rng.random_range(0..6_i8))).collect();
    write(&*place, &items, &vectors);
    let plain = Plain::of(&items, &vectors);
    let exclude: Vec<String> = (0..30).map(|i| (i * 3).to_string()).collect();
    let options = SearchOptions { k: 12, exclude, ..Default::default() };
    let queries: Vec<f32> = (0..40).map(|_| f32::from(rng.random_range(0..6_i8))).collect();
    let found = place.open().search(&Matrix::new(2, queries.clone()).unwrap(), &options).unwrap();
    let expected: Vec<Vec<Neighbour>> =
        queries.chunks(2).map(|query| plain.search(query, &options)).collect();
    assert_eq!(found, expected);
}

/// Distances that single precision can't tell apart, and vectors much longer than they are apart.
pub fn near_ties(stores: &dyn Stores) {
    let place = stores.make(64);
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let items: Vec<Item> = (0..1000).map(|i| item(&i.to_string())).collect();
    let mut vectors = Vec::new();
    for _ in &items {
        let mut vector = [1000.0_f32; 64];
        // All at a distance of nearly 8 from the middle.
        for value in &mut vector {
            let side = if rng.random::<bool>() { 1.0 } else { -1.0 };
            *value += side * (1.0 + rng.random_range(-3..4_i32) as f32 * 6.1e-5);
        }
        vectors.extend(vector);
    }
    write(&*place, &items, &vectors);
    let plain = Plain::of(&items, &vectors);
    let store = place.open();
    for k in [1, 10, 100, 500] {
        let query = [1000.0; 64];
        assert_eq!(search(&*store, &query, &top(k)), plain.search(&query, &top(k)), "{k}");
    }
}

pub fn extremes(stores: &dyn Stores) {
    let place = stores.make(2);
    let tiny = f32::from_bits(1);
    let values = [
        [1e30, 0.0],
        [-1e30, 1e29],
        [3e38, 3e38],
        [-3e38, 3e38],
        [1e-30, 0.0],
        [0.0, 2e-30],
        [tiny, 0.0],
        [0.0, 0.0],
        [-0.0, tiny],
        [1e-20, 1e-20],
    ];
    let items: Vec<Item> = (0..values.len()).map(|i| item(&i.to_string())).collect();
    write(&*place, &items, values.as_flattened());
    let plain = Plain::of(&items, values.as_flattened());
    let store = place.open();
    for query in [[0.0, 0.0], [1e-30, 1e-30], [1e30, 0.0], [-3e38, -3e38]] {
        for k in [1, 3, 10] {
            assert_eq!(
                search(&*store, &query, &top(k)),
                plain.search(&query, &top(k)),
                "{query:?}"
            );
        }
    }
}

pub fn random(stores: &dyn Stores) {
    let place = stores.make(5);
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let mut plain = Plain::default();
    let mut writer = place.writer();
    for _ in 0..12 {
        let mut batch = (Vec::new(), Vec::new());
        for _ in 0..rng.random_range(1..300_usize) {
            let number = rng.random_range(0..2000_u32);
            let label = ["cat", "dog", "x"].get(rng.random_range(0..4_usize)).copied();
            let item = labelled(&format!("{}/{}/{number}.jpg", number % 3, number % 7), label);
            let vector: Vec<f32> = (0..5).map(|_| f32::from(rng.random_range(-2..3_i8))).collect();
            plain.upsert(item.clone(), &vector);
            batch.0.push(item);
            batch.1.extend(vector);
        }
        writer.upsert(&batch.0, &batch.1).unwrap();
        let gone: Vec<String> =
            (0..5).map(|_| plain.0[rng.random_range(0..plain.0.len())].0.id.clone()).collect();
        writer.delete(&gone.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        plain.0.retain(|(item, _)| !gone.contains(&item.id));
        writer.commit().unwrap();
    }
    drop(writer);
    let store = place.open();
    assert_eq!(store.count().unwrap(), plain.0.len());
    for (labels, paths) in [
        (&[][..], &[][..]),
        (&["cat"], &[]),
        (&[], &["1"]),
        (&["dog", "x"], &["2/3", "0"]),
        (&[], &["*7.jpg"]),
        (&["cat"], &["1/*4?.jpg", "2/1"]),
    ] {
        for k in [1, 10, 150, 5000] {
            let query: Vec<f32> = (0..5).map(|_| f32::from(rng.random_range(-2..3_i8))).collect();
            let filter = filter(labels, paths);
            let exclude = vec![plain.0[7].0.id.clone()];
            let options = SearchOptions { k, filter, exclude, ..Default::default() };
            assert_eq!(
                search(&*store, &query, &options),
                plain.search(&query, &options),
                "{labels:?} {paths:?} {k}"
            );
        }
    }
}
