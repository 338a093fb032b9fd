//! The order in which images are read.

use rand::seq::SliceRandom;

use crate::source::shards;
use crate::{Images, Share, seed};

/// The most bytes, as they are stored, of the images that are shuffled
/// together where they lie in shards: about 600 photos or 50,000 icons.
pub const WINDOW_BYTES: u64 = 64 << 20;
/// Shards that are read side by side.
pub const SHARDS_AT_ONCE: usize = 16;
/// The most bytes that are read ahead in one go where nothing is shuffled.
const RUN_BYTES: u64 = 8 << 20;

/// Positions in an [`Images`] one after the other, and which of them are
/// fetched in one go where they lie in shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    rows: Vec<usize>,
    /// Ends of what is fetched in one go, in order; none where that is to be
    /// found by size.
    ends: Vec<usize>,
    next: usize,
    /// Whether it is a part of one: done, or another's, are the others.
    is_part: bool,
}

impl From<Vec<usize>> for Order {
    fn from(rows: Vec<usize>) -> Self {
        Self { rows, ..Self::default() }
    }
}

impl FromIterator<usize> for Order {
    fn from_iter<T: IntoIterator<Item = usize>>(rows: T) -> Self {
        Vec::from_iter(rows).into()
    }
}

impl Order {
    /// The positions that are left, in order.
    pub fn rows(&self) -> &[usize] {
        &self.rows[self.next..]
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.rows().len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }

    /// Whether it is all there is to read, and not a part of it.
    pub(crate) fn is_whole(&self) -> bool {
        !self.is_part
    }

    /// Leaves out the next `n` of them, as those of an epoch that are done.
    #[must_use]
    pub fn skip(mut self, n: usize) -> Self {
        self.next = self.next.saturating_add(n).min(self.rows.len());
        self.is_part |= n > 0;
        self
    }

    /// A process's share of each batch of `batch` positions (at least 1) that are left.
    #[must_use]
    pub fn share(self, batch: usize, share: Share) -> Self {
        if share == Share::ALL {
            return self;
        }
        let mut own = Self { is_part: true, ..Self::default() };
        let mut ends = self.ends.iter().filter(|&&end| end > self.next).peekable();
        for start in (self.next..self.rows.len()).step_by(batch) {
            let whole = &self.rows[start..self.rows.len().min(start + batch)];
            let mine = share.rows(whole.len());
            while let Some(end) = ends.next_if(|&&end| end <= start + whole.len()) {
                let before = (end - start).clamp(mine.start, mine.end) - mine.start;
                own.ends.push(own.rows.len() + before);
            }
            own.rows.extend(&whole[mine]);
        }
        own
    }

    /// Takes what is to be fetched in one go.
    pub(crate) fn take_window(&mut self, images: &Images) -> Option<&[usize]> {
        let from = self.next;
        if from == self.rows.len() {
            return None;
        }
        let end = match self.ends.get(self.ends.partition_point(|&end| end <= from)) {
            Some(&end) => end,
            None => {
                let mut bytes = 0;
                let fits = |row: &&usize| {
                    bytes += images.bytes(**row);
                    bytes <= RUN_BYTES
                };
                from + self.rows[from..].iter().take_while(fits).count().max(1)
            }
        };
        self.next = end;
        Some(&self.rows[from..end])
    }
}

impl Images {
    /// All positions in order where there are fewer than `most`, or else the first
    /// of the random order that belongs to `seed` and `purpose`.
    pub fn drawn(&self, most: usize, seed: u64, purpose: &str) -> Vec<usize> {
        match self.len() {
            len if len < most => (0..len).collect(),
            _ => self.shuffled(seed, purpose).rows()[..most].to_vec(),
        }
    }

    /// All positions in the random order that belongs to `seed` and `purpose`.
    ///
    /// Where the images lie in shards, these are taken in random order,
    /// [`SHARDS_AT_ONCE`] side by side, each from front to back, and shuffled
    /// within windows of [`WINDOW_BYTES`]: reads stay sequential and memory
    /// bounded. Elsewhere the order is any, [`seed::shuffled`].
    pub fn shuffled(&self, seed: u64, purpose: &str) -> Order {
        self.shuffled_within(seed, purpose, WINDOW_BYTES)
    }

    fn shuffled_within(&self, seed: u64, purpose: &str, window_bytes: u64) -> Order {
        let starts = self.source.shards();
        if starts.is_empty() {
            return seed::shuffled(self.len(), seed, purpose).into();
        }
        let mut rng = seed::stream(seed, purpose);
        let mut shards: Vec<Vec<usize>> = vec![Vec::new(); starts.len()];
        for (position, &row) in self.rows.iter().enumerate() {
            if let Some((shard, _)) = shards::locate(starts, row) {
                shards[shard].push(position);
            }
        }
        shards.retain(|shard| !shard.is_empty());
        for shard in &mut shards {
            shard.sort_by_key(|&position| self.rows[position]);
        }
        shards.shuffle(&mut rng);
        let mut order = Order { rows: Vec::with_capacity(self.len()), ..Order::default() };
        let mut waiting = shards.into_iter().map(Vec::into_iter);
        let mut open: Vec<_> = waiting.by_ref().take(SHARDS_AT_ONCE).collect();
        while !open.is_empty() {
            let from = order.rows.len();
            let share = window_bytes / open.len() as u64;
            for shard in &mut open {
                let mut bytes = 0;
                // One at least, however large it is.
                while bytes == 0 || bytes < share {
                    let Some(position) = shard.next() else { break };
                    bytes += self.bytes(position).max(1);
                    order.rows.push(position);
                }
            }
            order.rows[from..].shuffle(&mut rng);
            order.ends.push(order.rows.len());
            open.retain(|shard| shard.len() > 0);
            open.extend(waiting.by_ref().take(SHARDS_AT_ONCE - open.len()));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_its_rows_of_each_window() {
        let whole =
            Order { rows: (0..20).collect(), ends: vec![3, 9, 14, 20], next: 5, is_part: false };
        // Batches from 5, 9, 13 and 17 on.
        let shares = [0, 1, 2].map(|i| whole.clone().share(4, Share::new(i, 3).unwrap()));
        let rows = shares.each_ref().map(|share| share.rows.as_slice());
        assert_eq!(rows, [&[5, 9, 13, 17][..], &[6, 10, 14, 18], &[7, 8, 11, 12, 15, 16, 19]]);
        let ends = shares.each_ref().map(|share| share.ends.as_slice());
        assert_eq!(ends, [&[1, 3, 4][..], &[1, 2, 4], &[2, 4, 7]]);
        assert_eq!(whole.clone().share(4, Share::ALL), whole);
    }
}
