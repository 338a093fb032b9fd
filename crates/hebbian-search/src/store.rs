//! One face for whatever holds vectors to be searched.

use crate::exact::{Hit, search};
use crate::gallery::check_values;
use crate::{
    Error, Filter, Gallery, GalleryInfo, GalleryWriter, Item, Matrix, Result, Subset, Vectors,
};

/// What to search for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchOptions {
    /// Neighbours of each query.
    pub k: usize,
    /// Which items may be found; the `k` nearest are counted among these.
    pub filter: Filter,
    /// Ids of items that may not, such as the queries' own.
    pub exclude: Vec<String>,
    /// Whether some of the nearest may be missed for the sake of speed. A search with a filter is
    /// exact all the same.
    pub approximate: bool,
}

/// An item in the ranking of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    /// The item.
    pub item: Item,
    /// True Euclidean distance to the query.
    pub distance: f32,
}

/// Vectors with their items that can be searched from many threads at once.
///
/// Every store means the same by a distance, the true Euclidean one, [`squared_distance`] being
/// what orders a ranking; and by its order, that of writing: an item written again goes to the end.
///
/// [`squared_distance`]: crate::squared_distance
pub trait Store: Send + Sync {
    /// What the vectors are.
    fn info(&self) -> &GalleryInfo;

    /// Where it is, for messages.
    fn name(&self) -> String;

    /// Number of vectors.
    ///
    /// # Errors
    /// Those of reading the store.
    fn count(&self) -> Result<usize>;

    /// The item named `id` and its vector, or nothing if there is no such item.
    ///
    /// # Errors
    /// Those of reading the store.
    fn get(&self, id: &str) -> Result<Option<(Item, Vec<f32>)>>;

    /// The nearest items of every query, nearest first, equal distances in the store's order.
    ///
    /// # Shapes
    /// `queries`: `[m, dim]`; returns `m` lists of at most `options.k`.
    ///
    /// # Errors
    /// [`Error::Dimension`](crate::Error::Dimension), those of reading the store.
    fn search(&self, queries: &Matrix, options: &SearchOptions) -> Result<Vec<Vec<Neighbour>>>;

    /// Fails unless `fingerprint` is that of the model that made the vectors: distances between
    /// the features of different models mean nothing.
    ///
    /// # Errors
    /// [`Error::Model`], which names both.
    fn check_model(&self, fingerprint: &str) -> Result<()> {
        let info = self.info();
        if fingerprint == info.model {
            return Ok(());
        }
        Err(Error::Model {
            path: self.name().into(),
            gallery: info.model.clone(),
            gallery_name: info.model_name.clone(),
            query: fingerprint.to_owned(),
        })
    }
}

/// Changes to a store.
pub trait StoreWriter {
    /// Appends items with their vectors; an item whose id is there already is replaced and, like a
    /// new one, comes last in the store's order. On a refusal nothing was written.
    ///
    /// # Shapes
    /// `vectors`: `[items.len(), dim]`, row-major.
    ///
    /// # Errors
    /// Those of [`check_batch`], those of writing the store.
    fn upsert(&mut self, items: &[Item], vectors: &[f32]) -> Result<()>;

    /// Removes the items of these ids; how many of them were there.
    ///
    /// # Errors
    /// Those of writing the store.
    fn delete(&mut self, ids: &[&str]) -> Result<usize>;

    /// Makes all changes so far durable and visible to every search begun afterwards. What was
    /// not committed may be lost when the writer, its process or a server ends, and may be seen
    /// before or not, as the store has it.
    ///
    /// # Errors
    /// Those of writing the store.
    fn commit(&mut self) -> Result<()>;
}

/// Fails unless `items` and `vectors` go together and can be stored; `first` is the number of the
/// first row in messages.
///
/// # Shapes
/// `vectors`: `[items.len(), dim]`, row-major.
///
/// # Errors
/// [`Error::Length`], [`Error::NotFinite`], [`Error::TextTooLong`].
pub fn check_batch(items: &[Item], vectors: &[f32], dim: usize, first: usize) -> Result<()> {
    check_values(vectors, items.len(), dim, first)?;
    items.iter().enumerate().try_for_each(|(row, item)| item.check(first + row))
}

impl Gallery {
    /// The nearest rows of every query, nearest first, equal distances by row.
    ///
    /// # Shapes
    /// `queries`: `[m, dim]`; returns `m` lists of at most `options.k`.
    ///
    /// # Errors
    /// As [`search`].
    pub fn nearest(&self, queries: &dyn Vectors, options: &SearchOptions) -> Result<Vec<Vec<Hit>>> {
        let excluded: Vec<usize> = options.exclude.iter().filter_map(|id| self.find(id)).collect();
        let k = options.k.saturating_add(excluded.len());
        let mut found = if options.filter.is_empty() && options.approximate {
            self.approximate(queries, k)?
        } else if options.filter.is_empty() {
            search(self, queries, k)?
        } else {
            let passing = self.items().enumerate().filter(|(_, item)| options.filter.matches(item));
            let subset = Subset::new(self, passing.map(|(row, _)| row).collect())?;
            let mut found = search(&subset, queries, k)?;
            for hit in found.iter_mut().flatten() {
                hit.index = subset.row(hit.index).unwrap_or(hit.index);
            }
            found
        };
        for hits in &mut found {
            hits.retain(|hit| !excluded.contains(&hit.index));
            hits.truncate(options.k);
        }
        Ok(found)
    }
}

impl Store for Gallery {
    fn info(&self) -> &GalleryInfo {
        self.info()
    }

    fn name(&self) -> String {
        self.path().display().to_string()
    }

    fn count(&self) -> Result<usize> {
        Ok(self.len())
    }

    fn get(&self, id: &str) -> Result<Option<(Item, Vec<f32>)>> {
        let Some(row) = self.find(id) else { return Ok(None) };
        let mut vector = Vec::new();
        self.read(row, 1, &mut vector)?;
        Ok(self.item(row).map(|item| (item.clone(), vector)))
    }

    fn search(&self, queries: &Matrix, options: &SearchOptions) -> Result<Vec<Vec<Neighbour>>> {
        let neighbour = |hit: Hit| {
            Some(Neighbour { item: self.item(hit.index)?.clone(), distance: hit.distance })
        };
        let found = self.nearest(queries, options)?.into_iter();
        Ok(found.map(|hits| hits.into_iter().filter_map(neighbour).collect()).collect())
    }
}

impl StoreWriter for GalleryWriter {
    fn upsert(&mut self, items: &[Item], vectors: &[f32]) -> Result<()> {
        self.push(items, vectors)
    }

    fn delete(&mut self, ids: &[&str]) -> Result<usize> {
        Ok(ids.iter().filter(|id| self.remove(id)).count())
    }

    fn commit(&mut self) -> Result<()> {
        Self::commit(self).map(drop)
    }
}
