//! The gallery as it is now.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use hebbian_search::Gallery;

use crate::problem::Problem;

/// One generation of the gallery.
pub(crate) struct Snapshot {
    pub(crate) gallery: Gallery,
    /// Rows by id.
    rows: HashMap<String, usize>,
}

impl Snapshot {
    fn of(gallery: Gallery) -> Arc<Self> {
        let rows = gallery.items().enumerate().map(|(row, item)| (item.id.clone(), row)).collect();
        Arc::new(Self { gallery, rows })
    }

    /// The row of the image named `id`.
    pub(crate) fn find(&self, id: &str) -> Result<usize, Problem> {
        let problem = || Problem::missing(format!("the gallery holds no image {id:?}"));
        self.rows.get(id).copied().ok_or_else(problem)
    }
}

/// The newest generation that could be opened. Who holds an older one goes on with it.
pub(crate) struct Current(RwLock<Arc<Snapshot>>);

impl Current {
    pub(crate) fn new(gallery: Gallery) -> Self {
        Self(RwLock::new(Snapshot::of(gallery)))
    }

    pub(crate) fn get(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks whether the gallery has changed on disk; reading it blocks nobody.
    pub(crate) fn refresh(&self) -> hebbian_search::Result<()> {
        if let Some(gallery) = self.get().gallery.newer()? {
            let snapshot = Snapshot::of(gallery);
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
        }
        Ok(())
    }
}
