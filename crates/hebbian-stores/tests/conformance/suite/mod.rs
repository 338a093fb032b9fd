//! What every store must do: the same bodies for all.

mod changing;
mod searching;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hebbian_search::{
    Filter, Glob, Item, Matrix, Neighbour, SearchOptions, Store, reported, squared_distance,
};

use crate::places::{Place, Stores};

type Body = fn(&dyn Stores);

/// The bodies by name.
const BODIES: &[(&str, Body)] = &[
    ("distances are Euclidean and in order", searching::distances),
    ("equal distances come in the order of writing", searching::ties),
    ("many equal vectors come in the order of writing", searching::many_equals),
    ("filters are exact and come first", searching::filters),
    ("an item written again is replaced", changing::upsert),
    ("the last of one id in a batch is kept", changing::twice_in_a_batch),
    ("deleted items are gone", changing::delete),
    (RESTART, changing::restart),
    ("4096 dimensions", searching::dimensions),
    ("an empty store", searching::empty),
    ("k beyond the size, and none", searching::beyond),
    ("what is wrong is refused whole", changing::refused),
    ("hostile ids", changing::hostile),
    ("several queries at once, some items excluded", searching::several),
    ("near ties far from the origin", searching::near_ties),
    ("very large and very small distances", searching::extremes),
    ("random items, filters and lengths, against a plain list", searching::random),
    ("another model is refused by name", changing::model),
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
    fn of(items: &[Item], vectors: &[f32]) -> Self {
        let mut plain = Self::default();
        for (item, vector) in items.iter().zip(vectors.chunks(vectors.len() / items.len())) {
            plain.upsert(item.clone(), vector);
        }
        plain
    }

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
