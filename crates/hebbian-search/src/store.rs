//! One face for whatever holds vectors to be searched.

use crate::exact::{Hit, search};
use crate::{Filter, Gallery, GalleryInfo, Item, Matrix, Result, Subset, Vectors};

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

/// Vectors with their items that can be searched from many threads at once. Every store means the
/// same by a distance: the true Euclidean one.
pub trait Store: Send + Sync {
    /// What the vectors are.
    fn info(&self) -> &GalleryInfo;

    /// Number of vectors.
    fn count(&self) -> usize;

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

    fn count(&self) -> usize {
        self.len()
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
