//! A store on a server, whatever its kind.

use std::collections::{HashMap, HashSet};

use hebbian_search::{
    Error, Filter, GalleryInfo, Item, Matrix, Neighbour, Result, SearchOptions, Store, StoreWriter,
    Vectors, check_batch, reported,
};

use crate::address::{Address, Kind};
use crate::backend::{Backend, BackendWriter, Index};
use crate::ranking::{Nearest, Ranked, surely_farther};
use crate::record::{Entry, Key, Row, digest, key};

/// Most candidates that a server is asked for; beyond that all its vectors are read. No server
/// here says no to so many (Milvus does to more).
const MAX_CANDIDATES: usize = 16_384;

/// Vectors on a server: a table of PostgreSQL with pgvector or a collection of Milvus.
///
/// It is searched like a gallery ([`Store`]), with the same ranking to the last tie.
pub struct ServerStore {
    name: String,
    info: GalleryInfo,
    backend: Box<dyn Backend>,
}

impl ServerStore {
    /// Opens the store at `address`, `postgres://USER@HOST:PORT/DATABASE/TABLE` or
    /// `milvus://HOST:PORT/COLLECTION`.
    ///
    /// # Errors
    /// [`Error::Server`] if it can't be reached or is no store of vectors;
    /// [`Error::FormatVersion`].
    pub fn open(address: &str) -> Result<Self> {
        Self::find(address)?.ok_or_else(|| Error::Server {
            store: shown(address),
            problem: "is not there; `hebb gallery push GALLERY --to ADDRESS` makes it".to_owned(),
        })
    }

    /// Opens the store at `address`, or nothing if the server has none of that name.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn find(address: &str) -> Result<Option<Self>> {
        let address = Address::parse(address)?;
        let found = match address.kind {
            #[cfg(feature = "postgres")]
            Kind::Postgres => crate::postgres::open(&address)?,
            #[cfg(feature = "milvus")]
            Kind::Milvus => crate::milvus::open(&address)?,
            #[allow(unreachable_patterns, reason = "with all features there is no other")]
            kind => return Err(left_out(&address, kind)),
        };
        let name = address.display();
        Ok(found.map(|(info, backend)| Self { name, info, backend }))
    }

    /// Makes an empty store at `address` for what `info` describes.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Exists`] if there is one.
    pub fn create(address: &str, info: &GalleryInfo) -> Result<Self> {
        if info.dim == 0 {
            let rule = "vectors have at least one dimension";
            return Err(Error::Option { option: "dim", value: 0, rule });
        }
        let address = Address::parse(address)?;
        let backend = match address.kind {
            #[cfg(feature = "postgres")]
            Kind::Postgres => crate::postgres::create(&address, info)?,
            #[cfg(feature = "milvus")]
            Kind::Milvus => crate::milvus::create(&address, info)?,
            #[allow(unreachable_patterns, reason = "with all features there is no other")]
            kind => return Err(left_out(&address, kind)),
        };
        Ok(Self { name: address.display(), info: info.clone(), backend })
    }

    /// How searches that may be approximate find what is near.
    ///
    /// # Errors
    /// [`Error::Server`].
    pub fn index(&self) -> Result<Index> {
        self.backend.index()
    }

    /// Builds or drops the graph of near neighbours for approximate searches.
    ///
    /// # Errors
    /// [`Error::Server`], also where the server has no such index for so many dimensions.
    pub fn set_index(&self, index: Index) -> Result<()> {
        self.backend.set_index(index)
    }

    /// Begins to write. Several writers, in other processes too, may write at once.
    ///
    /// # Errors
    /// [`Error::Server`].
    pub fn writer(&self) -> Result<ServerWriter<'_>> {
        Ok(ServerWriter { store: self, backend: self.backend.writer()?, next: None })
    }

    /// Removes the store, whole.
    ///
    /// # Errors
    /// [`Error::Server`].
    pub fn remove(self) -> Result<()> {
        self.backend.remove()
    }

    pub(crate) fn entries(&self, visit: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        self.backend.entries(visit)
    }

    /// The `k` nearest to `query`, or nothing if the server can't tell.
    fn nearest(
        &self,
        query: &[f32],
        k: usize,
        options: &Options<'_>,
    ) -> Result<Option<Vec<Ranked>>> {
        // As many more as near ties are likely to need.
        let mut limit = k.saturating_add(k / 8).saturating_add(8);
        while limit <= MAX_CANDIDATES {
            let &Options { filter, approximate } = options;
            let Some(candidates) = self.backend.candidates(query, limit, filter, approximate)?
            else {
                return Ok(None);
            };
            let mut found = candidates.found;
            found.sort_unstable();
            let (farthest, last) = (found.last(), found.get(k - 1));
            let certain = farthest.zip(last).is_some_and(|(farthest, last)| {
                surely_farther(farthest.squared, self.info.dim, last.squared)
            });
            if certain || approximate || !candidates.more {
                found.truncate(k);
                return Ok(Some(found));
            }
            limit *= 2;
        }
        Ok(None)
    }
}

/// What all queries of a search have in common.
struct Options<'a> {
    filter: &'a Filter,
    approximate: bool,
}

impl Store for ServerStore {
    fn info(&self) -> &GalleryInfo {
        &self.info
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn count(&self) -> Result<usize> {
        self.backend.count()
    }

    fn get(&self, id: &str) -> Result<Option<(Item, Vec<f32>)>> {
        Ok(self.backend.fetch(&key(id))?.map(|stored| (stored.item, stored.vector)))
    }

    fn search(&self, queries: &Matrix, options: &SearchOptions) -> Result<Vec<Vec<Neighbour>>> {
        let (expected, found) = (self.info.dim, queries.dim());
        if expected != found {
            return Err(Error::Dimension { what: "the queries", expected, found });
        }
        let rows: Vec<&[f32]> = queries.as_slice().chunks_exact(found).collect();
        if options.k == 0 {
            return Ok(vec![Vec::new(); rows.len()]);
        }
        let excluded: HashSet<&str> = options.exclude.iter().map(String::as_str).collect();
        let k = options.k.saturating_add(excluded.len());
        let approximate = options.approximate && options.filter.is_empty();
        let common = Options { filter: &options.filter, approximate };
        let mut rankings = Vec::with_capacity(rows.len());
        for query in &rows {
            rankings.push(self.nearest(query, k, &common)?);
        }
        // The others are answered by one walk through everything.
        let mut left: HashMap<usize, Nearest> = (0..rows.len())
            .filter(|&i| rankings[i].is_none())
            .map(|i| (i, Nearest::new(k)))
            .collect();
        if !left.is_empty() {
            self.backend.scan(&options.filter, &mut |stored| {
                left.iter_mut().for_each(|(&i, nearest)| nearest.offer(rows[i], stored));
                Ok(())
            })?;
        }
        let rankings = rankings.into_iter().enumerate().map(|(i, ranking)| {
            let scanned = || left.remove(&i).map(Nearest::ranking);
            let ranking = ranking.or_else(scanned).unwrap_or_default().into_iter();
            let others = ranking.filter(|ranked| !excluded.contains(ranked.item.id.as_str()));
            let neighbour = |ranked: Ranked| Neighbour {
                item: ranked.item,
                distance: reported(ranked.squared),
            };
            others.take(options.k).map(neighbour).collect()
        });
        Ok(rankings.collect())
    }
}

/// Writes to a [`ServerStore`].
pub struct ServerWriter<'a> {
    store: &'a ServerStore,
    backend: Box<dyn BackendWriter + 'a>,
    /// Place of the next item in the store's order, once it was asked for.
    next: Option<i64>,
}

impl ServerWriter<'_> {
    /// Writes items at the places of the store's order that `position` gives their rows.
    pub(crate) fn put(
        &mut self,
        items: &[Item],
        vectors: &[f32],
        position: impl Fn(usize) -> i64,
    ) -> Result<()> {
        let dim = self.store.info.dim;
        check_batch(items, vectors, dim, 0)?;
        let mut seen = HashSet::with_capacity(items.len());
        let mut rows = Vec::with_capacity(items.len());
        for (row, (item, vector)) in items.iter().zip(vectors.chunks_exact(dim)).enumerate().rev() {
            let key = key(&item.id);
            // The last of one id replaces those before.
            if seen.insert(key) {
                let (position, digest) = (position(row), digest(item, vector));
                rows.push(Row { key, item, vector, position, digest });
            }
        }
        rows.reverse();
        match rows.is_empty() {
            true => Ok(()),
            false => self.backend.put(&rows),
        }
    }

    pub(crate) fn delete_keys(&mut self, keys: &[Key]) -> Result<usize> {
        match keys.is_empty() {
            true => Ok(0),
            false => self.backend.delete(keys),
        }
    }
}

impl StoreWriter for ServerWriter<'_> {
    fn upsert(&mut self, items: &[Item], vectors: &[f32]) -> Result<()> {
        let next = match self.next {
            Some(next) => next,
            None => self.store.backend.last_position()?.saturating_add(1),
        };
        self.put(items, vectors, |row| next.saturating_add(row as i64))?;
        self.next = Some(next.saturating_add(items.len() as i64));
        Ok(())
    }

    fn delete(&mut self, ids: &[&str]) -> Result<usize> {
        let keys: HashSet<Key> = ids.iter().map(|id| key(id)).collect();
        self.delete_keys(&keys.into_iter().collect::<Vec<_>>())
    }

    fn commit(&mut self) -> Result<()> {
        self.backend.commit()
    }
}

/// The address for messages.
fn shown(address: &str) -> String {
    Address::parse(address).map_or_else(|_| String::new(), |address| address.display())
}

#[allow(dead_code, reason = "with all features there is no other kind")]
fn left_out(address: &Address, kind: Kind) -> Error {
    let problem = format!("this program was built without {kind:?}; build it with that feature");
    Error::Server { store: address.display(), problem }
}
