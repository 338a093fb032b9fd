//! The gallery as it is now.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use hebbian_search::Gallery;

/// One generation of the gallery, with its labels counted.
pub(crate) struct Snapshot {
    pub(crate) gallery: Gallery,
    pub(crate) labels: BTreeMap<String, usize>,
}

impl Snapshot {
    fn of(gallery: Gallery) -> Arc<Self> {
        let mut labels = BTreeMap::new();
        for label in gallery.items().filter_map(|item| item.label.as_ref()) {
            *labels.entry(label.clone()).or_default() += 1;
        }
        Arc::new(Self { gallery, labels })
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
