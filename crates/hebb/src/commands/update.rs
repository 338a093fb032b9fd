//! A gallery brought up to date with a data set: what an image is, its content says.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use hebbian::engine::Device;
use hebbian::network::{FeatureLayer, Model};
use hebbian::train::for_each_features;
use hebbian_data::{Dataset, Images, Skipped};
use hebbian_search::{Gallery, GalleryWriter, Item, Vectors};
use serde::Serialize;

use super::index::item;
use super::shared::absolute;
use crate::ui::{Progress, report_skipped};

/// Images hashed at a time.
const HASHED: usize = 512;

/// What is to become of a gallery.
pub struct Update<'a> {
    /// The model that made the gallery.
    pub model: &'a Model,
    /// Its layer.
    pub layer: FeatureLayer,
    /// What the gallery should hold.
    pub data: &'a Dataset,
    /// What it may hold: `data`, or the data set that it is a share of.
    pub whole: &'a Dataset,
    /// The images of `data`.
    pub images: &'a Images,
    /// Where features are computed.
    pub device: &'a Device,
    /// Whether what is not in `data` goes.
    pub remove_missing: bool,
    /// Time between commits.
    pub commit_every: Duration,
}

/// Images by what became of them.
#[derive(Default, Serialize)]
pub struct Changes {
    added: usize,
    updated: usize,
    moved: usize,
    relabelled: usize,
    unchanged: usize,
    removed: usize,
    unreadable: usize,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, updated, moved, relabelled, unchanged, removed, unreadable } = self;
        write!(f, "{added} added, {updated} updated, {unchanged} unchanged, {removed} removed")?;
        for (count, what) in
            [(moved, "moved"), (relabelled, "relabelled"), (unreadable, "unreadable")]
        {
            if *count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// What has to be done with which images.
#[derive(Default)]
struct Plan {
    changes: Changes,
    /// Items that take their vector from a row of the gallery.
    copies: Vec<(Item, usize)>,
    /// Ids to be removed.
    removals: Vec<String>,
    /// Rows of the data to be computed.
    compute: Vec<usize>,
}

impl Update<'_> {
    /// Brings the gallery up to date, committing on the way.
    pub fn run(&self, writer: &mut GalleryWriter, progress: &mut Progress) -> Result<Changes> {
        let contents = self.hash(progress)?;
        let Plan { mut changes, copies, removals, compute } =
            self.plan(writer.gallery(), &contents);
        let gallery = writer.gallery().clone();
        let mut vector = Vec::new();
        // A gallery begun anew is worth nothing yet.
        let changed = !(copies.is_empty() && removals.is_empty());
        for (item, row) in copies {
            gallery.read(row, 1, &mut vector)?;
            writer.push(&[item], &vector)?;
        }
        for id in removals {
            writer.remove(&id);
        }
        if changed {
            writer.commit()?;
        }
        let known: HashSet<&str> = gallery.items().map(|item| item.id.as_str()).collect();
        self.compute(writer, &compute, &contents, &known, &mut changes, progress)?;
        Ok(changes)
    }

    /// The content hash of every image that can be read.
    fn hash(&self, progress: &mut Progress) -> Result<Vec<Option<[u8; 32]>>> {
        let len = self.images.len();
        let mut contents = Vec::with_capacity(len);
        let mut failed = Vec::new();
        let mut count = progress.counter("looking for changes");
        count(0, len);
        for start in (0..len).step_by(HASHED) {
            let rows: Vec<usize> = (start..len.min(start + HASHED)).collect();
            for (&row, content) in rows.iter().zip(self.images.content_hashes(&rows)) {
                if let Err(error @ hebbian_data::Error::Lost { .. }) = content {
                    return Err(error.into());
                }
                if let Err(error) = &content {
                    let (id, reason) = (self.images.id(row), error.to_string());
                    failed.push(Skipped { row, id, reason });
                }
                contents.push(content.ok());
            }
            count(contents.len(), len);
        }
        drop(count);
        if !failed.is_empty() {
            report_skipped(&failed);
        }
        Ok(contents)
    }

    fn plan(&self, gallery: &Gallery, contents: &[Option<[u8; 32]>]) -> Plan {
        let location = absolute(self.data.path());
        let ids: HashSet<String> = (0..self.whole.len()).map(|row| self.whole.id(row)).collect();
        let (mut by_id, mut by_content) = (HashMap::new(), HashMap::new());
        // Images of this data set that are not there any more, by content: they may have moved.
        let mut gone: HashMap<[u8; 32], Vec<&Item>> = HashMap::new();
        for (row, item) in gallery.items().enumerate() {
            by_id.insert(item.id.as_str(), (row, item));
            let Some(content) = item.content else { continue };
            by_content.entry(content).or_insert(row);
            if !ids.contains(&item.id) && item.location.as_deref() == Some(&location) {
                gone.entry(content).or_default().push(item);
            }
        }
        let mut plan = Plan::default();
        let changes = &mut plan.changes;
        for (row, content) in contents.iter().enumerate() {
            let Some(content) = content else {
                changes.unreadable += 1;
                continue;
            };
            let item = item(self.data, row, &location, Some(*content));
            let old = by_id.get(item.id.as_str());
            match (old, by_content.get(content)) {
                (Some((_, old)), _) if **old == item => changes.unchanged += 1,
                (Some(&(row, old)), _) if old.content == item.content => {
                    changes.relabelled += 1;
                    plan.copies.push((item, row));
                }
                (_, None) => plan.compute.push(row),
                (Some(_), Some(&row)) => {
                    changes.updated += 1;
                    plan.copies.push((item, row));
                }
                (None, Some(&row)) => {
                    match gone.get_mut(content).and_then(Vec::pop) {
                        Some(before) => {
                            changes.moved += 1;
                            plan.removals.push(before.id.clone());
                        }
                        None => changes.added += 1,
                    }
                    plan.copies.push((item, row));
                }
            }
        }
        if self.remove_missing {
            let moved: HashSet<String> = plan.removals.iter().cloned().collect();
            let missing = |item: &&Item| !ids.contains(&item.id) && !moved.contains(&item.id);
            let missing = gallery.items().filter(missing).map(|item| item.id.clone());
            plan.removals.extend(missing);
            plan.changes.removed = plan.removals.len() - moved.len();
        }
        plan
    }

    /// Computes the features of `rows` and adds them.
    fn compute(
        &self,
        writer: &mut GalleryWriter,
        rows: &[usize],
        contents: &[Option<[u8; 32]>],
        known: &HashSet<&str>,
        changes: &mut Changes,
        progress: &mut Progress,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let location = absolute(self.data.path());
        let progress = RefCell::new(progress);
        let mut last = Instant::now();
        let found = for_each_features(
            self.model,
            self.layer,
            &self.images.subset(rows),
            self.device,
            "indexing",
            &mut |event| progress.borrow_mut().on(event),
            |positions, features| {
                let of = |&position: &usize| {
                    let row = rows[position];
                    item(self.data, row, &location, contents[row])
                };
                let items: Vec<Item> = positions.iter().map(of).collect();
                writer.push(&items, &features).map_err(as_error)?;
                let again = items.iter().filter(|item| known.contains(item.id.as_str())).count();
                changes.updated += again;
                changes.added += items.len() - again;
                if last.elapsed() >= self.commit_every {
                    let images = writer.commit().map_err(as_error)?.len();
                    progress.borrow().note(&format!("committed: {images} images in the gallery"));
                    last = Instant::now();
                }
                Ok(())
            },
        );
        match found {
            Ok(skipped) => changes.unreadable += skipped.len(),
            // That none of the new ones can be read does not make the others worse.
            Err(hebbian::Error::Source(hebbian_data::Error::NothingReadable {
                first,
                reason,
                ..
            })) if !writer.is_empty() => {
                let row = rows[0];
                report_skipped(&[Skipped { row, id: first, reason }]);
                changes.unreadable += rows.len();
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn as_error(error: hebbian_search::Error) -> hebbian::Error {
    hebbian::Error::Data(error.to_string())
}
