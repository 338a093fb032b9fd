//! Passes over the images, each of which adds up sums of one layer's maps.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use hebbian_data::{Images, Order, Share, Skipped};

use crate::engine::Device;
use crate::network::Model;
use crate::train::evaluate::stream_maps;
use crate::train::together::all_skipped;
use crate::train::{Event, Observer};
use crate::{Error, Result};

/// Bytes of the maps that are kept, at most.
const KEPT_MAPS: usize = 1 << 30;

/// What passes over the images share.
pub(super) struct Pass<'a> {
    pub(super) device: &'a Device,
    pub(super) observer: Observer<'a>,
    pub(super) go_on: &'a dyn Fn() -> Result<()>,
    pub(super) kept: &'a mut KeptMaps,
}

/// The maps of a layer that is done, for the passes after it to begin at: layers
/// before it are run once, instead of twice for each one after them. The batches
/// are those of a pass from the images, so that both give the same bits.
#[derive(Default)]
pub(super) struct KeptMaps {
    /// Their layer; 0 for none.
    depth: usize,
    /// Positions and maps of a batch, in the order of the images.
    batches: VecDeque<(Vec<usize>, Vec<f32>)>,
    /// Bytes of them, at most.
    most: usize,
}

impl KeptMaps {
    /// None yet; none ever unless they `may` be kept.
    pub(super) fn new(may: bool) -> Self {
        Self { most: if may { KEPT_MAPS } else { 0 }, ..Self::default() }
    }

    /// How many batches are of the images `own`.
    fn within(&self, own: &Range<usize>) -> usize {
        self.batches.iter().filter(|(rows, _)| own.contains(&rows[0])).count()
    }
}

/// What a pass adds up, the same for all processes.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) values: Vec<f64>,
    /// Images that were read.
    pub(super) images: usize,
    pub(super) skipped: Vec<Skipped>,
}

impl Pass<'_> {
    /// `len` sums over images, to which `add` adds those of a few: their
    /// positions and their maps of layer `depth`, one after the other. With `keep`
    /// these maps are kept, where they fit. Of several processes each has its share
    /// of the images.
    pub(super) fn sums(
        &mut self,
        (model, depth): (&Model, usize),
        images: &Images,
        (name, keep): (&str, bool),
        len: usize,
        mut add: impl FnMut(&[usize], &[f32], &mut [f64]),
    ) -> Result<Sums> {
        let group = self.device.group();
        let (observer, go_on, kept) = (&mut *self.observer, self.go_on, &mut *self.kept);
        let mut engine = self.device.engine();
        let own = group.share().rows(images.len()).len();
        let keep = keep
            && depth > 0
            && model.network.feature_len(depth).saturating_mul(4 * own) <= kept.most;
        let rest = (kept.depth > 0).then(|| model.network.part(kept.depth..depth));
        let mut begun = 0;
        observer(Event::Stage { name, done: 0, total: own });
        let of_share = |share: Share| {
            let rows = share.rows(images.len());
            let mut sums = Sums { values: vec![0.0; len], ..Sums::default() };
            let before = begun;
            begun += rows.len();
            // One stage, however many parts.
            let mut within = |event: Event<'_>| {
                if let Event::Step { done, text } = event {
                    observer(Event::Step { done: before + done, text });
                }
            };
            let mut take = |rows: &[usize], map: &[f32]| -> Result<()> {
                go_on()?;
                add(rows, map, &mut sums.values);
                sums.images += rows.len();
                Ok(())
            };
            if let Some(rest) = &rest {
                for _ in 0..kept.within(&rows) {
                    let Some((taken, before)) = kept.batches.pop_front() else { break };
                    let map = engine.features(rest, rest.depth(), &before)?;
                    take(&taken, &map)?;
                    let done = taken.last().map_or(0, |row| row + 1 - rows.start);
                    kept.batches.push_back((taken, if keep { map } else { before }));
                    within(Event::Step { done, text: String::new() });
                }
            } else {
                let take = |rows: &[usize], map: Cow<'_, [f32]>| {
                    take(rows, &map)?;
                    if keep {
                        kept.batches.push_back((rows.to_vec(), map.into_owned()));
                    }
                    Ok(())
                };
                let stage = (name, &mut within as Observer<'_>);
                let order = Order::from_iter(0..images.len()).share(images.len(), share);
                sums.skipped =
                    stream_maps(model, depth, (images, order), engine.as_mut(), stage, take)?;
            }
            Ok(sums)
        };
        let mut sums = group.add(of_share, |left: &mut Sums, right| {
            left.values.iter_mut().zip(&right.values).for_each(|(left, right)| *left += right);
            left.images += right.images;
            left.skipped.extend(right.skipped);
        })?;
        if keep {
            kept.depth = depth;
        }
        group.sum_f64(&mut sums.values);
        sums.images = group.count(sums.images);
        sums.skipped = all_skipped(&group, sums.skipped)?;
        observer(Event::End);
        if sums.images == 0 {
            return Err(Error::Data("none of the images could be read".into()));
        }
        Ok(sums)
    }
}
