//! What each kind of server has to be able to do.

use hebbian_search::{Filter, Result};

use crate::ranking::Ranked;
use crate::record::{Entry, Key, Row, Stored};

/// What a server found by its own distances.
pub(crate) struct Candidates {
    /// What it found, with the true distances, in no particular order.
    pub(crate) found: Vec<Ranked>,
    /// Whether there may be more, farther ones.
    pub(crate) more: bool,
}

/// How a server finds what is near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// It compares with every vector.
    Exact,
    /// It walks a graph of near neighbours, and may miss some.
    Hnsw,
}

/// A table or collection on a server. All of it goes on after a connection was lost, once there is
/// another.
pub(crate) trait Backend: Send + Sync {
    /// Number of items.
    fn count(&self) -> Result<usize>;

    /// The item of `key`, if there is one.
    fn fetch(&self, key: &Key) -> Result<Option<Stored>>;

    /// The `limit` items nearest to `query` among those that pass `filter`, as the server sees
    /// it, or nothing if it can't say.
    fn candidates(
        &self,
        query: &[f32],
        limit: usize,
        filter: &Filter,
        approximate: bool,
    ) -> Result<Option<Candidates>>;

    /// Hands every item that passes `filter` to `visit`, in any order.
    fn scan(&self, filter: &Filter, visit: &mut dyn FnMut(&Stored) -> Result<()>) -> Result<()>;

    /// Lists all items, in any order.
    fn entries(&self, visit: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()>;

    /// The last place in the store's order that is taken, or -1.
    fn last_position(&self) -> Result<i64> {
        let mut last = -1;
        self.entries(&mut |entry| {
            last = last.max(entry.position);
            Ok(())
        })?;
        Ok(last)
    }

    /// Begins to write.
    fn writer(&self) -> Result<Box<dyn BackendWriter + '_>>;

    /// How it finds what is near.
    fn index(&self) -> Result<Index>;

    /// Builds or drops the graph of near neighbours.
    fn set_index(&self, index: Index) -> Result<()>;

    /// Removes the table or collection.
    fn remove(&self) -> Result<()>;
}

/// Writes to a server.
pub(crate) trait BackendWriter {
    /// Writes rows, of which no two have one key, in place of those of the same keys.
    fn put(&mut self, rows: &[Row<'_>]) -> Result<()>;

    /// Removes the items of these keys, no two alike; how many of them were there.
    fn delete(&mut self, keys: &[Key]) -> Result<usize>;

    /// As [`StoreWriter::commit`](hebbian_search::StoreWriter::commit).
    fn commit(&mut self) -> Result<()>;
}
