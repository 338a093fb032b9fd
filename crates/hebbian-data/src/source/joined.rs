//! A pile without labels and a labelled folder given apart, as one source.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Source, SourceKind, Stored};
use crate::{Error, Result};

/// The images of the pile, then those of the labelled source.
pub(crate) struct Joined {
    pub(crate) pile: Arc<dyn Source>,
    /// Positions in the pile that are used.
    pub(crate) rows: Vec<usize>,
    pub(crate) labelled: Arc<dyn Source>,
    /// Goes before the ids of the labelled source, to keep all ids apart.
    pub(crate) prefix: String,
}

impl Source for Joined {
    fn kind(&self) -> SourceKind {
        SourceKind::Joined
    }

    fn len(&self) -> usize {
        self.rows.len() + self.labelled.len()
    }

    fn id(&self, index: usize) -> Cow<'_, str> {
        match self.rows.get(index) {
            Some(&row) => self.pile.id(row),
            None if index < self.len() => {
                format!("{}/{}", self.prefix, self.labelled.id(index - self.rows.len())).into()
            }
            None => Cow::default(),
        }
    }

    fn read(&self, index: usize) -> Result<Stored<'_>> {
        match self.rows.get(index) {
            Some(&row) => self.pile.read(row),
            None if index < self.len() => self.labelled.read(index - self.rows.len()),
            None => Err(Error::RowOutOfRange { row: index, len: self.len() }),
        }
    }

    fn fingerprint(&self) -> Result<blake3::Hash> {
        let mut hasher = super::fingerprint_of(SourceKind::Joined);
        hasher.update(self.pile.fingerprint()?.as_bytes());
        for row in &self.rows {
            hasher.update(&(*row as u64).to_le_bytes());
        }
        hasher.update(self.labelled.fingerprint()?.as_bytes());
        Ok(hasher.finalize())
    }
}
