//! What every store must do: the same bodies for all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hebbian_search::{
    Error, Filter, Glob, Item, Matrix, Neighbour, SearchOptions, Store, reported, squared_distance,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::places::{MODEL, Place, Stores};

type Body = fn(&dyn Stores);

/// The bodies by name.
const BODIES: &[(&str, Body)] = &[
    ("distances are Euclidean and in order", distances),
    ("equal distances come in the order of writing", ties),
    ("many equal vectors come in the order of writing", many_equals),
    ("filters are exact and come first", filters),
    ("an item written again is replaced", upsert),
    ("the last of one id in a batch is kept", twice_in_a_batch),
    ("deleted items are gone", delete),
    (RESTART, restart),
    ("4096 dimensions", dimensions),
    ("an empty store", empty),
    ("k beyond the size, and none", beyond),
    ("what is wrong is refused whole", refused),
    ("hostile ids", hostile),
    ("several queries at once, some items excluded", several),
    ("near ties far from the origin", near_ties),
    ("very large and very small distances", extremes),
    ("random items, filters and lengths, against a plain list", random),
    ("another model is refused by name", model),
];

/// Ends the server and starts it again.
const RESTART: &str = "all that was committed outlives the server";

/// Runs them all, so many at once.
pub fn run(stores: &dyn Stores, at_once: usize) {
    // Not beside others whose server it ends.
    let bodies: Vec<_> =
        BODIES.iter().filter(|(name, _)| at_once == 1 || *name != RESTART).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((name, body)) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
            let start = Instant::now();
            body(stores);
            eprintln!("  {name}: {:.2} s", start.elapsed().as_secs_f64());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(work);
        }
    });
}

fn item(id: &str) -> Item {
    Item { id: id.into(), ..Item::default() }
}

fn labelled(id: &str, label: Option<&str>) -> Item {
    Item { label: label.map(str::to_owned), ..item(id) }
}

/// Writes and commits.
fn write(place: &dyn Place, items: &[Item], vectors: &[f32]) {
    let mut writer = place.writer();
    writer.upsert(items, vectors).unwrap();
    writer.commit().unwrap();
}

fn search(store: &dyn Store, query: &[f32], options: &SearchOptions) -> Vec<Neighbour> {
    let queries = Matrix::new(query.len(), query.to_vec()).unwrap();
    store.search(&queries, options).unwrap().remove(0)
}

fn top(k: usize) -> SearchOptions {
    SearchOptions { k, ..SearchOptions::default() }
}

fn ids(found: &[Neighbour]) -> Vec<&str> {
    found.iter().map(|neighbour| neighbour.item.id.as_str()).collect()
}

fn filter(labels: &[&str], paths: &[&str]) -> Filter {
    Filter {
        labels: labels.iter().map(|&label| label.into()).collect(),
        paths: paths.iter().map(|&path| Glob::new(path)).collect(),
    }
}

/// A plain list, searched by the definition.
#[derive(Default)]
struct Plain(Vec<(Item, Vec<f32>)>);

impl Plain {
    fn upsert(&mut self, item: Item, vector: &[f32]) {
        self.0.retain(|(old, _)| old.id != item.id);
        self.0.push((item, vector.to_vec()));
    }

    fn search(&self, query: &[f32], options: &SearchOptions) -> Vec<Neighbour> {
        let passes =
            |item: &Item| options.filter.matches(item) && !options.exclude.contains(&item.id);
        let passing = self.0.iter().filter(|(item, _)| passes(item));
        let mut ranked: Vec<(f64, &Item)> =
            passing.map(|(item, vector)| (squared_distance(query, vector), item)).collect();
        // Equal ones stay in their order.
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let neighbour = |(squared, item): (f64, &Item)| Neighbour {
            item: item.clone(),
            distance: reported(squared),
        };
        ranked.into_iter().take(options.k).map(neighbour).collect()
    }
}

fn distances(stores: &dyn Stores) {
    let place = stores.make(2);
    let items = [item("far"), item("here"), item("near")];
    write(&*place, &items, &[3.0, 4.0, 0.0, 0.0, -1.0, 0.0]);
    let found = search(&*place.open(), &[0.0, 0.0], &top(3));
    assert_eq!(ids(&found), ["here", "near", "far"]);
    let distances: Vec<f32> = found.iter().map(|neighbour| neighbour.distance).collect();
    assert_eq!(distances, [0.0, 1.0, 5.0]);
}

fn ties(stores: &dyn Stores) {
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

fn many_equals(stores: &dyn Stores) {
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

fn filters(stores: &dyn Stores) {
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

fn upsert(stores: &dyn Stores) {
    let place = stores.make(2);
    write(&*place, &[item("a"), item("b")], &[0.0, 0.0, 1.0, 0.0]);
    let changed = Item {
        id: "a".into(),
        label: Some("new".into()),
        location: Some("/photos".into()),
        content: Some([9; 32]),
    };
    write(&*place, std::slice::from_ref(&changed), &[5.0, 0.0]);
    let store = place.open();
    assert_eq!(store.count().unwrap(), 2);
    assert_eq!(store.get("a").unwrap(), Some((changed, vec![5.0, 0.0])));
    assert_eq!(ids(&search(&*store, &[0.0, 0.0], &top(5))), ["b", "a"]);
    // What is no longer known of it is gone too.
    write(&*place, &[item("a")], &[5.0, 0.0]);
    assert_eq!(place.open().get("a").unwrap(), Some((item("a"), vec![5.0, 0.0])));
}

fn twice_in_a_batch(stores: &dyn Stores) {
    let place = stores.make(1);
    write(&*place, &[item("a"), item("b"), item("a")], &[1.0, 2.0, 3.0]);
    let store = place.open();
    assert_eq!(store.count().unwrap(), 2);
    assert_eq!(store.get("a").unwrap().unwrap().1, [3.0]);
    assert_eq!(ids(&search(&*store, &[2.5], &top(5))), ["b", "a"]);
}

fn delete(stores: &dyn Stores) {
    let place = stores.make(1);
    write(&*place, &["a", "b", "c", "d"].map(item), &[1.0, 2.0, 3.0, 4.0]);
    let mut writer = place.writer();
    assert_eq!(writer.delete(&["b", "nothing", "d", "b"]).unwrap(), 2);
    assert_eq!(writer.delete(&[]).unwrap(), 0);
    writer.commit().unwrap();
    assert_eq!(writer.delete(&["b"]).unwrap(), 0);
    drop(writer);
    let store = place.open();
    assert_eq!(store.count().unwrap(), 2);
    assert_eq!(store.get("b").unwrap(), None);
    assert_eq!(ids(&search(&*store, &[4.0], &top(4))), ["c", "a"]);
    write(&*place, &[item("b")], &[4.0]);
    assert_eq!(ids(&search(&*place.open(), &[4.0], &top(4))), ["b", "c", "a"]);
}

fn restart(stores: &dyn Stores) {
    let place = stores.make(8);
    let items: Vec<Item> = (0..500).map(|i| item(&i.to_string())).collect();
    let vectors: Vec<f32> = (0..4000).map(|i| i as f32).collect();
    let mut writer = place.writer();
    for (items, vectors) in items.chunks(100).zip(vectors.chunks(800)) {
        writer.upsert(items, vectors).unwrap();
        writer.commit().unwrap();
    }
    assert_eq!(writer.delete(&["7"]).unwrap(), 1);
    writer.commit().unwrap();
    drop(writer);
    // One that was opened before goes on afterwards.
    let before = place.open();
    assert_eq!(before.count().unwrap(), 499);
    stores.restart();
    for store in [before, place.open()] {
        // By a walk through everything, then by the server's own search.
        assert_eq!(search(&*store, &vectors[..8], &top(20_000)).len(), 499);
        assert_eq!(store.count().unwrap(), 499);
        assert_eq!(ids(&search(&*store, &vectors[..8], &top(3))), ["0", "1", "2"]);
        assert_eq!(store.get("499").unwrap().unwrap().1, vectors[3992..]);
        assert_eq!(store.get("7").unwrap(), None);
    }
    write(&*place, &[item("7")], &vectors[..8]);
    assert_eq!(place.open().count().unwrap(), 500);
}

fn dimensions(stores: &dyn Stores) {
    let place = stores.make(4096);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut plain = Plain::default();
    let items: Vec<Item> = (0..300).map(|i| item(&format!("{i}"))).collect();
    let vectors: Vec<f32> = (0..300 * 4096).map(|_| rng.random_range(-1.0..1.0)).collect();
    write(&*place, &items, &vectors);
    for (item, vector) in items.iter().zip(vectors.chunks(4096)) {
        plain.upsert(item.clone(), vector);
    }
    let store = place.open();
    assert_eq!(store.get("299").unwrap().unwrap().1, vectors[299 * 4096..]);
    for row in [0, 150] {
        let query = &vectors[row * 4096..][..4096];
        assert_eq!(search(&*store, query, &top(20)), plain.search(query, &top(20)));
    }
}

fn empty(stores: &dyn Stores) {
    let place = stores.make(3);
    let store = place.open();
    assert_eq!(store.count().unwrap(), 0);
    assert_eq!(store.get("a").unwrap(), None);
    assert_eq!(search(&*store, &[0.0; 3], &top(5)), []);
    let options = SearchOptions { k: 5, filter: filter(&["a"], &["*b"]), ..Default::default() };
    assert_eq!(search(&*store, &[0.0; 3], &options), []);
    assert_eq!(place.writer().delete(&["a"]).unwrap(), 0);
}

fn beyond(stores: &dyn Stores) {
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

fn refused(stores: &dyn Stores) {
    let place = stores.make(2);
    write(&*place, &[item("a")], &[1.0, 1.0]);
    let store = place.open();
    let wrong = store.search(&Matrix::new(3, vec![0.0; 3]).unwrap(), &top(1));
    assert!(matches!(wrong, Err(Error::Dimension { expected: 2, found: 3, .. })));
    let mut writer = place.writer();
    let long = "x".repeat(5000);
    for (items, vectors) in [
        (vec![item("b")], vec![1.0]),
        (vec![item("b")], vec![1.0, 1.0, 1.0]),
        (vec![item("b"), item("c")], vec![1.0, 1.0]),
        (vec![item("b"), item("c")], vec![1.0, 1.0, 1.0, f32::NAN]),
        (vec![item("b"), item("c")], vec![1.0, 1.0, f32::INFINITY, 1.0]),
        (vec![item("b"), item(&long)], vec![1.0; 4]),
        (vec![item("b"), labelled("c", Some(&long))], vec![1.0; 4]),
    ] {
        writer.upsert(&items, &vectors).unwrap_err();
    }
    writer.commit().unwrap();
    assert_eq!(place.open().count().unwrap(), 1);
    // And the writer goes on.
    writer.upsert(&[item("b")], &[2.0, 2.0]).unwrap();
    writer.commit().unwrap();
    assert_eq!(place.open().count().unwrap(), 2);
}

fn hostile(stores: &dyn Stores) {
    let place = stores.make(1);
    let long = "x/".repeat(2048);
    let accents = "é".repeat(2048);
    let ids_ = [
        "",
        " ",
        "'; DROP TABLE store_0; --",
        "\" or \"\" == \"",
        "%",
        "_",
        "\\",
        "\\\"",
        "$1",
        "{}",
        "null",
        "a\nb\r\tc",
        "\u{1}\u{7f}",
        "/",
        "//a//",
        "../../etc/passwd",
        "\u{202e}gpj.exe",
        "日本語/写真.jpg",
        "🙂",
        "e\u{301}",
        "é",
        "\u{feff}bom",
        &long,
        &accents,
    ];
    let items: Vec<Item> = ids_.iter().map(|id| labelled(id, Some(id))).collect();
    let vectors: Vec<f32> = (0..items.len()).map(|i| i as f32).collect();
    write(&*place, &items, &vectors);
    let store = place.open();
    assert_eq!(store.count().unwrap(), items.len());
    assert_eq!(ids(&search(&*store, &[0.0], &top(100))), ids_);
    for (item, &value) in items.iter().zip(&vectors) {
        assert_eq!(store.get(&item.id).unwrap(), Some((item.clone(), vec![value])), "{item:?}");
        for filter in [filter(&[&item.id], &[]), filter(&[], &[&item.id])] {
            let options = SearchOptions { k: 100, filter, ..Default::default() };
            let passing = items.iter().filter(|item| options.filter.matches(item));
            let expected: Vec<&str> = passing.map(|item| item.id.as_str()).collect();
            assert_eq!(ids(&search(&*store, &[0.0], &options)), expected, "{:?}", options.filter);
        }
    }
    // A NUL is kept, or refused by the name of what has it and without harm.
    let nul = labelled("a\0b", Some("\0"));
    let mut writer = place.writer();
    match writer.upsert(std::slice::from_ref(&nul), &[100.0]) {
        Ok(()) => {
            writer.commit().unwrap();
            assert_eq!(place.open().get("a\0b").unwrap(), Some((nul, vec![100.0])));
        }
        Err(error) => assert!(error.to_string().contains(r#""a\0b""#), "{error}"),
    }
    assert_eq!(writer.delete(&ids_).unwrap(), ids_.len());
    writer.commit().unwrap();
}

fn several(stores: &dyn Stores) {
    let place = stores.make(2);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut plain = Plain::default();
    let items: Vec<Item> = (0..200).map(|i| item(&i.to_string())).collect();
    let vectors: Vec<f32> = (0..400).map(|_| f32::from(rng.random_range(0..6_i8))).collect();
    write(&*place, &items, &vectors);
    for (item, vector) in items.iter().zip(vectors.chunks(2)) {
        plain.upsert(item.clone(), vector);
    }
    let exclude: Vec<String> = (0..30).map(|i| (i * 3).to_string()).collect();
    let options = SearchOptions { k: 12, exclude, ..Default::default() };
    let queries: Vec<f32> = (0..40).map(|_| f32::from(rng.random_range(0..6_i8))).collect();
    let found = place.open().search(&Matrix::new(2, queries.clone()).unwrap(), &options).unwrap();
    let expected: Vec<Vec<Neighbour>> =
        queries.chunks(2).map(|query| plain.search(query, &options)).collect();
    assert_eq!(found, expected);
}

/// Distances that single precision can't tell apart, and vectors much longer than they are apart.
fn near_ties(stores: &dyn Stores) {
    let place = stores.make(64);
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut plain = Plain::default();
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
    for (item, vector) in items.iter().zip(vectors.chunks(64)) {
        plain.upsert(item.clone(), vector);
    }
    let store = place.open();
    for k in [1, 10, 100, 500] {
        let query = [1000.0; 64];
        assert_eq!(search(&*store, &query, &top(k)), plain.search(&query, &top(k)), "{k}");
    }
}

fn extremes(stores: &dyn Stores) {
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
    let mut plain = Plain::default();
    items.iter().zip(&values).for_each(|(item, vector)| plain.upsert(item.clone(), vector));
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

fn random(stores: &dyn Stores) {
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

fn model(stores: &dyn Stores) {
    let place = stores.make(2);
    let store = place.open();
    store.check_model(MODEL).unwrap();
    let message = store.check_model("another").unwrap_err().to_string();
    for word in ["the model's name", MODEL, "another", &store.name()] {
        assert!(message.contains(word), "{message}");
    }
    assert_eq!((store.info().dim, store.info().layer.as_str()), (2, "L5"));
}
