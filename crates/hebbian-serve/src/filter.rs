//! Which images may be found; labels given on the page count like those of the gallery.

use std::sync::Arc;

use hebbian_search::{Filter, Item};

use crate::labels::Table;

/// Which images may be found.
pub(crate) struct Passing {
    /// Their label is one of these; an empty one stands for no label. Without any, all pass.
    labels: Vec<String>,
    paths: Filter,
    given: Arc<Table>,
}

impl Passing {
    pub(crate) fn new(filter: &Filter, given: Arc<Table>) -> Self {
        let paths = Filter { labels: Vec::new(), paths: filter.paths.clone() };
        Self { labels: filter.labels.clone(), paths, given }
    }

    /// Whether all images pass.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.paths.is_empty()
    }

    /// Whether the same images pass.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let same_labels = self.labels.is_empty() || Arc::ptr_eq(&self.given, &other.given);
        self.labels == other.labels && self.paths == other.paths && same_labels
    }

    pub(crate) fn matches(&self, item: &Item) -> bool {
        let label = || label(&self.given, item).unwrap_or_default();
        (self.labels.is_empty() || self.labels.iter().any(|wanted| wanted == label()))
            && self.paths.matches(item)
    }
}

/// The label given to an item, or else its own.
pub(crate) fn label<'a>(given: &'a Table, item: &'a Item) -> Option<&'a str> {
    given.get(&item.id).or(item.label.as_ref()).map(String::as_str)
}
