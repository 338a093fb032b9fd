//! Fills a store from a gallery, then asks both the same:
//!
//! ```sh
//! cargo run --release -p hebbian-stores --example push -- gallery postgres://me@localhost/photos
//! ```

use std::time::Instant;

use hebbian_search::{Error, Gallery, Matrix, Result, SearchOptions, Store, Vectors};
use hebbian_stores::{PushOptions, ServerStore, push};

/// Queries unless a number is given, and neighbours of each.
const QUERIES: usize = 1000;
const K: usize = 100;
/// Queries searched at once.
const BATCH: usize = 50;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(gallery), Some(address)) = (arguments.next(), arguments.next()) else {
        let problem = "give a gallery's folder and an address".to_owned();
        return Err(Error::Server { store: "push".to_owned(), problem });
    };
    let gallery = Gallery::open(gallery)?;
    let store = match ServerStore::find(&address)? {
        Some(store) => store,
        None => ServerStore::create(&address, gallery.info())?,
    };
    let start = Instant::now();
    let pushed = push(&gallery, &store, &PushOptions::default(), |_, _| {})?;
    println!("{pushed:?} in {:.1} s", start.elapsed().as_secs_f64());

    let queries = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(QUERIES);
    let queries = queries.min(gallery.len());
    let options = SearchOptions { k: K, ..SearchOptions::default() };
    let (mut identical, mut ours, mut theirs) = (0, 0.0, 0.0);
    for first in (0..queries).step_by(BATCH) {
        let (mut values, mut vector) = (Vec::new(), Vec::new());
        for query in first..queries.min(first + BATCH) {
            gallery.read(query * gallery.len() / queries, 1, &mut vector)?;
            values.append(&mut vector);
        }
        let queries = Matrix::new(gallery.dim(), values)?;
        let start = Instant::now();
        let expected = Store::search(&gallery, &queries, &options)?;
        ours += start.elapsed().as_secs_f64();
        let start = Instant::now();
        let found = store.search(&queries, &options)?;
        theirs += start.elapsed().as_secs_f64();
        // Ids, labels, order and distances, to the last bit.
        identical +=
            found.iter().zip(&expected).filter(|(found, expected)| found == expected).count();
    }
    println!("{identical} of {queries} rankings of the {K} nearest are identical");
    println!("gallery {ours:.1} s, store {theirs:.1} s");
    Ok(())
}
