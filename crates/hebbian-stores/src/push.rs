//! Filling a store from a gallery.
//!
//! What is there already and the same is not written again, so a push that was stopped goes on,
//! and one after the gallery has changed writes the changes. Every process that takes part makes
//! the same plan of the store's order: items that are there in the gallery's order keep their
//! place, others get the first one after all before them.

use std::collections::HashMap;
use std::ops::Range;

use hebbian_search::{Error, Gallery, Item, Result, Store, StoreWriter, Vectors};
use serde::Serialize;

use crate::record::{Key, digest, key};
use crate::store::{ServerStore, ServerWriter};

/// Most bytes of vectors written at once, and most items.
const BLOCK_BYTES: usize = 4 << 20;
const BLOCK_ITEMS: usize = 1024;
/// Times that a block is written again after a failure, such as a connection that was lost.
const RETRIES: usize = 2;
/// Items removed at once.
const REMOVED_AT_ONCE: usize = 1024;

/// What to push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// Only these rows of the gallery, so that processes can share the work; all if absent.
    pub rows: Option<Range<usize>>,
    /// Remove what is in the store and not in the gallery.
    pub remove_missing: bool,
}

/// Items by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// Written, and not there before.
    pub added: usize,
    /// Written in place of what was there.
    pub updated: usize,
    /// There already.
    pub unchanged: usize,
    /// Removed from the store.
    pub removed: usize,
    /// In the store, not in the gallery, and still there.
    pub others: usize,
}

/// Makes `store` hold what `gallery` holds, in its order. Items of the store that the gallery does
/// not have stay, unless [`remove_missing`](PushOptions::remove_missing) says otherwise.
///
/// Every block is committed before `progress(items done, items in all)` is told of it, and stays
/// whatever happens afterwards; to go on after a failure, push again.
///
/// # Errors
/// [`Error::Model`], [`Error::Dimension`] or [`Error::Server`] if the two do not hold features of
/// one model and layer; those of reading the gallery and writing the store.
pub fn push(
    gallery: &Gallery,
    store: &ServerStore,
    options: &PushOptions,
    mut progress: impl FnMut(usize, usize),
) -> Result<Pushed> {
    check_alike(gallery, store)?;
    let len = gallery.len();
    let rows = options.rows.clone().unwrap_or(0..len);
    let rows = rows.start.min(len)..rows.end.min(len);
    let Plan { there, positions, others } = Plan::make(gallery, store)?;
    let mut pushed = Pushed { others: others.len(), ..Pushed::default() };
    let mut writer = store.writer()?;
    if options.remove_missing {
        for keys in others.chunks(REMOVED_AT_ONCE) {
            pushed.removed += writer.delete_keys(keys)?;
        }
        writer.commit()?;
        pushed.others = 0;
    }
    let dim = gallery.dim();
    let step = (BLOCK_BYTES / (4 * dim)).clamp(1, BLOCK_ITEMS);
    progress(0, rows.len());
    let (mut vectors, mut block) = (Vec::new(), Block::default());
    for start in rows.clone().step_by(step) {
        let n = step.min(rows.end - start);
        gallery.read(start, n, &mut vectors)?;
        for (row, vector) in (start..start + n).zip(vectors.chunks_exact(dim)) {
            let Some(item) = gallery.item(row) else { continue };
            match there[row] {
                Some((before, position))
                    if before == digest(item, vector) && position == positions[row] =>
                {
                    pushed.unchanged += 1;
                    continue;
                }
                Some(_) => pushed.updated += 1,
                None => pushed.added += 1,
            }
            block.add(item, vector, positions[row]);
        }
        block.write(&mut writer)?;
        progress(start + n - rows.start, rows.len());
    }
    Ok(pushed)
}

fn check_alike(gallery: &Gallery, store: &ServerStore) -> Result<()> {
    let (ours, theirs) = (gallery.info(), store.info());
    store.check_model(&ours.model)?;
    if ours.dim != theirs.dim {
        let (expected, found) = (theirs.dim, ours.dim);
        return Err(Error::Dimension { what: "the gallery", expected, found });
    }
    if ours.layer != theirs.layer {
        let problem = format!(
            "holds features of layer {}, not of layer {} as the gallery; choose another name",
            theirs.layer, ours.layer
        );
        return Err(Error::Server { store: store.name(), problem });
    }
    Ok(())
}

/// Where everything goes.
struct Plan {
    /// Digest and place of the rows that the store holds.
    there: Vec<Option<([u8; 32], i64)>>,
    /// Place of every row in the store's order.
    positions: Vec<i64>,
    /// Items of the store that the gallery does not have.
    others: Vec<Key>,
}

impl Plan {
    fn make(gallery: &Gallery, store: &ServerStore) -> Result<Self> {
        let rows: HashMap<Key, usize> =
            gallery.items().enumerate().map(|(row, item)| (key(&item.id), row)).collect();
        let mut there = vec![None; gallery.len()];
        let mut others = Vec::new();
        store.entries(&mut |entry| {
            match rows.get(&entry.key) {
                Some(&row) => there[row] = Some((entry.digest, entry.position)),
                None => others.push(entry.key),
            }
            Ok(())
        })?;
        let positions = places(there.iter().map(|known| known.map(|(_, position)| position)));
        Ok(Self { there, positions, others })
    }
}

/// Increasing places, those already taken where they are. Once some of them are written, the plan
/// made anew is the same.
fn places(taken: impl Iterator<Item = Option<i64>>) -> Vec<i64> {
    let mut last = -1_i64;
    let place = |(row, taken): (usize, Option<i64>)| {
        let next = (row as i64).max(last.saturating_add(1));
        last = taken.filter(|&taken| taken > last).unwrap_or(next);
        last
    };
    taken.enumerate().map(place).collect()
}

/// Items to be written at once.
#[derive(Default)]
struct Block {
    items: Vec<Item>,
    vectors: Vec<f32>,
    positions: Vec<i64>,
}

impl Block {
    fn add(&mut self, item: &Item, vector: &[f32], position: i64) {
        self.items.push(item.clone());
        self.vectors.extend_from_slice(vector);
        self.positions.push(position);
    }

    /// Writes and commits, then is empty. Writing twice does no harm, so a failure that may pass
    /// is not the end.
    fn write(&mut self, writer: &mut ServerWriter<'_>) -> Result<()> {
        if self.items.is_empty() {
            return Ok(());
        }
        let mut retries = RETRIES;
        loop {
            let written = writer
                .put(&self.items, &self.vectors, |row| self.positions[row])
                .and_then(|()| writer.commit());
            match written {
                Err(Error::Server { .. }) if retries > 0 => retries -= 1,
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        self.items.clear();
        self.vectors.clear();
        self.positions.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_rows_at_first_and_kept_afterwards() {
        assert_eq!(places([None; 3].into_iter()), [0, 1, 2]);
        // The first was removed, one was added.
        assert_eq!(places([Some(1), Some(2), None].into_iter()), [1, 2, 3]);
        // The first was written again, and is the last now.
        assert_eq!(places([Some(1), Some(2), Some(0)].into_iter()), [1, 2, 3]);
    }

    proptest! {
        #[test]
        fn places_increase_and_are_planned_the_same_again(
            taken in prop::collection::vec(prop::option::of(0..40_i64), 0..40),
            written in prop::collection::vec(any::<bool>(), 40),
        ) {
            let first = places(taken.iter().copied());
            prop_assert!(first.is_sorted_by(|a, b| a < b));
            let partly = taken.iter().zip(&first).zip(&written);
            let partly = partly.map(|((&taken, &place), &written)| if written { Some(place) } else { taken });
            prop_assert_eq!(places(partly), first);
        }
    }
}
