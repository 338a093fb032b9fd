//! `hebb gallery compare`

use anyhow::{Result, bail};
use hebbian::error::Error;
use hebbian_search::{Gallery, Matrix, Neighbour, SearchOptions, Store, Vectors};
use hebbian_stores::ServerStore;
use serde_json::json;

use crate::cli::CompareArgs;
use crate::commands::shared::{address, print_json};
use crate::ui::{Progress, percent, say};

/// Queries searched at once.
const BATCH: usize = 50;

/// Compares what a gallery and a store find.
pub fn run(args: &CompareArgs) -> Result<()> {
    let with = address("--with", &args.with)?;
    if args.k == 0 || args.queries == 0 {
        return Err(Error::config("-k and --queries", "must be at least 1").into());
    }
    let gallery = Gallery::open(&args.of.gallery)?;
    let store = ServerStore::open(with)?;
    store.check_model(&gallery.info().model)?;
    let queries = args.queries.min(gallery.len());
    let mut found = Compared::default();
    let mut progress = Progress::default();
    let mut count = progress.counter("comparing");
    count(0, queries);
    for start in (0..queries).step_by(BATCH) {
        let picked = start..queries.min(start + BATCH);
        let rows = picked.clone().map(|i| i * gallery.len() / queries);
        found.batch(&gallery, &store, &rows.collect::<Vec<_>>(), args)?;
        count(picked.end, queries);
    }
    drop(count);
    let (k, name) = (args.k, store.name());
    let share = found.share();
    if args.of.json {
        print_json(&json!({
            "store": name,
            "queries": queries,
            "k": k,
            "identical": found.identical,
            "found": share,
        }))?;
    } else {
        say!("{queries} queries, {k} nearest of each: {} rankings identical", found.identical);
        say!("{} % of the true nearest found", percent(share));
    }
    match found.first {
        Some(different) if !args.approximate => bail!("{name}: {different}"),
        _ => Ok(()),
    }
}

/// What came of the comparison so far.
#[derive(Default)]
struct Compared {
    identical: usize,
    /// Of the true nearest, those that were found, and all.
    nearest: (usize, usize),
    /// The first difference.
    first: Option<String>,
}

impl Compared {
    fn batch(
        &mut self,
        gallery: &Gallery,
        store: &ServerStore,
        rows: &[usize],
        args: &CompareArgs,
    ) -> Result<()> {
        let (mut values, mut vector) = (Vec::new(), Vec::new());
        for &row in rows {
            gallery.read(row, 1, &mut vector)?;
            values.append(&mut vector);
        }
        let queries = Matrix::new(gallery.dim(), values)?;
        let mut options = SearchOptions { k: args.k, ..SearchOptions::default() };
        let expected = Store::search(gallery, &queries, &options)?;
        options.approximate = args.approximate;
        let found = store.search(&queries, &options)?;
        for ((expected, found), &row) in expected.iter().zip(&found).zip(rows) {
            self.nearest.0 += found.iter().filter(|found| expected.contains(found)).count();
            self.nearest.1 += expected.len();
            if expected == found {
                self.identical += 1;
            } else if self.first.is_none() {
                let id = gallery.item(row).map(|item| item.id.as_str()).unwrap_or_default();
                self.first = Some(difference(id, expected, found));
            }
        }
        Ok(())
    }

    fn share(&self) -> f64 {
        match self.nearest {
            (_, 0) => 1.0,
            (found, all) => found as f64 / all as f64,
        }
    }
}

/// Says where two rankings part.
fn difference(query: &str, expected: &[Neighbour], found: &[Neighbour]) -> String {
    let rank = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
    let say = |ranking: &[Neighbour]| match ranking.get(rank) {
        Some(neighbour) => format!("{:?} at {}", neighbour.item.id, neighbour.distance),
        None => "nothing".to_owned(),
    };
    format!(
        "like {query:?}, rank {} is {} here and {} in the gallery; push the gallery again",
        rank + 1,
        say(found),
        say(expected)
    )
}
