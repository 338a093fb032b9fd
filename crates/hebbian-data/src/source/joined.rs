//! A pile without labels and a labelled folder given apart, as one source.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Source, SourceKind, Stored};
use crate::{Error, Result};

/// The images of the pile, then those of the labelled source.
pub(crate) struct Joined {
    pile: Arc<dyn Source>,
    /// Positions in the pile that are used.
    rows: Vec<usize>,
    labelled: Arc<dyn Source>,
    /// Goes before the ids of the labelled source, to keep all ids apart.
    prefix: String,
    /// First images of the shards, where the pile lies in shards; those of the
    /// labelled source, or all of it as one, are the last.
    starts: Vec<usize>,
}

impl Joined {
    pub(crate) fn new(
        pile: Arc<dyn Source>,
        rows: Vec<usize>,
        labelled: Arc<dyn Source>,
        prefix: String,
    ) -> Self {
        let place = |&start: &usize| rows.partition_point(|&row| row < start);
        let mut starts: Vec<usize> = pile.shards().iter().map(place).collect();
        if !starts.is_empty() {
            let own = match labelled.shards() {
                [] => &[0],
                own => own,
            };
            starts.extend(own.iter().map(|start| rows.len() + start));
        }
        Self { pile, rows, labelled, prefix, starts }
    }
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

    fn shards(&self) -> &[usize] {
        &self.starts
    }

    fn bytes(&self, index: usize) -> u64 {
        match self.rows.get(index) {
            Some(&row) => self.pile.bytes(row),
            None => self.labelled.bytes(index.saturating_sub(self.rows.len())),
        }
    }

    fn read_shard(&self, shard: usize, rows: &[usize]) -> Vec<Result<Stored<'static>>> {
        match shard.checked_sub(self.pile.shards().len()) {
            None => {
                let own: Vec<usize> = rows.iter().map(|&row| self.rows[row]).collect();
                self.pile.read_shard(shard, &own)
            }
            Some(shard) => {
                let own: Vec<usize> = rows.iter().map(|row| row - self.rows.len()).collect();
                self.labelled.read_shard(shard, &own)
            }
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
