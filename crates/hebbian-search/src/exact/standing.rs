//! Where the vectors of a query's own class stand in the ranking of a whole gallery, found by
//! counting instead of ranking: how good the ranking is needs no more.
//!
//! A ranking takes memory for every vector of the gallery, so that of a large one only few queries
//! are ranked together, and all of it is read again for the next few. Here a query keeps only its
//! distances to its own class, and every other vector is counted between the two of them where it
//! belongs: blocks stay large, and nothing is sorted but the class.

use std::collections::HashMap;

use rayon::prelude::*;

use super::check_sides;
use super::distance::ErrorBound;
use super::panel::{PRODUCT_ROWS, Queries, Tile, origin, read_rows};
use super::scan::{Most, block_queries, multiply, products_of, tile_rows};
use super::squared::squared_distance;
use crate::Result;
use crate::gemm::STRIP;
use crate::packed::Buffer;
use crate::vectors::Vectors;

/// Memory for the standings of one block of queries, in bytes.
const STANDING_BYTES: usize = 256 << 20;
/// A tile of the gallery whose products are more than the cache holds: for each tile a query's
/// standing comes from memory, in no order, so that the more is counted at a time, the better.
pub(super) const TILE: Most = Most { rows: 32 * PRODUCT_ROWS, product_bytes: 64 << 20 };
/// Bytes that a vector of its class takes of a query, those on the way included.
const BYTES: usize = 64;
/// Rows of a class that one task computes the distances to.
const ROWS: usize = 16;

/// Vectors, and the class of each, if it has one.
pub(crate) type Labelled<'a> = (&'a dyn Vectors, &'a [Option<u32>]);

/// The vectors of a query's class in the ranking of the gallery, and the others by where they
/// stand between them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// Squared distances of the class, each once, ascending: of a group of vectors each.
    squared: Vec<f64>,
    /// Where each group begins among the rows; then, how many there are.
    starts: Vec<u32>,
    /// Rows of the class, group by group, ascending in each.
    rows: Vec<u32>,
    /// Others that are nearer than each group and further than the one before; then, those further
    /// than all.
    between: Vec<u32>,
    /// Others at the distance of each group.
    equal: Vec<u32>,
    /// Of those, how many come by their row right before each vector of the class.
    before: Vec<u32>,
    /// Where the next of the others at a group's distance belongs: they are counted by row.
    cursors: Vec<u32>,
    buckets: Buckets,
}

/// Even parts of the range of ascending numbers, to find a number's place among them in few steps.
#[derive(Clone, Debug, Default, PartialEq)]
struct Buckets {
    low: f64,
    scale: f64,
    /// How many numbers come before each part; then, how many there are.
    starts: Vec<u32>,
}

impl Buckets {
    /// Two for each number.
    fn of(numbers: &[f64]) -> Self {
        let (Some(&low), Some(&high)) = (numbers.first(), numbers.last()) else {
            return Self::default();
        };
        let parts = 2 * numbers.len();
        let scale = if high > low { parts as f64 / (high - low) } else { 0.0 };
        let mut buckets = Self { low, scale, starts: vec![0; parts + 1] };
        for &number in numbers {
            let part = buckets.part(number);
            buckets.starts[part + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut buckets.starts {
            sum += *start;
            *start = sum;
        }
        buckets
    }

    /// The part that a number falls into; never less for a greater number, so that what lies in
    /// parts before it is less than the number, and what lies in parts after it is greater.
    #[inline]
    fn part(&self, number: f64) -> usize {
        // Negative numbers, and none at all, become 0.
        (((number - self.low) * self.scale) as usize).min(self.starts.len() - 2)
    }

    /// How many of the numbers are less than `number`.
    #[inline]
    fn below(&self, numbers: &[f64], number: f64) -> usize {
        if numbers.is_empty() {
            return 0;
        }
        let part = self.part(number);
        let [start, end] = [part, part + 1].map(|part| self.starts[part] as usize);
        start + numbers[start..end].partition_point(|&other| other < number)
    }
}

/// Vectors of the class at one distance, and the others at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Equals {
    /// Others that are nearer than these, and no nearer than those before.
    pub(crate) nearer: usize,
    /// How many of the class.
    pub(crate) own: usize,
    /// How many others.
    pub(crate) others: usize,
}

impl Standing {
    /// Of a class of these squared distances and rows.
    fn of(mut class: Vec<(f64, u32)>) -> Self {
        class.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let (mut squared, mut starts) = (Vec::new(), vec![0]);
        for group in class.chunk_by(|a, b| a.0 == b.0) {
            squared.push(group[0].0);
            starts.push(starts[starts.len() - 1] + group.len() as u32);
        }
        let groups = squared.len();
        Self {
            buckets: Buckets::of(&squared),
            squared,
            between: vec![0; groups + 1],
            equal: vec![0; groups],
            cursors: starts[..groups].to_vec(),
            starts,
            before: vec![0; class.len()],
            rows: class.into_iter().map(|(_, row)| row).collect(),
        }
    }

    /// How many vectors of the class there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Counts another vector whose squared distance is known but for `error`; whether that was
    /// enough to tell where it stands.
    #[inline]
    fn count_about(&mut self, squared: f64, error: f64) -> bool {
        let group = self.buckets.below(&self.squared, squared - error);
        let sure = self.squared.get(group).is_none_or(|&own| own > squared + error);
        self.between[group] += u32::from(sure);
        sure
    }

    /// Counts the other vector `row`; they come in the order of their rows.
    fn count(&mut self, squared: f64, row: u32) {
        let group = self.buckets.below(&self.squared, squared);
        if self.squared.get(group) != Some(&squared) {
            self.between[group] += 1;
            return;
        }
        self.equal[group] += 1;
        let (cursor, end) = (&mut self.cursors[group], self.starts[group + 1]);
        while *cursor < end && self.rows[*cursor as usize] < row {
            *cursor += 1;
        }
        if *cursor < end {
            self.before[*cursor as usize] += 1;
        }
    }

    /// Those at the same distance, nearest first; and how many others are further than all.
    pub(crate) fn equals(&self) -> (impl Iterator<Item = Equals> + '_, usize) {
        let groups = self.starts.windows(2).zip(&self.between).zip(&self.equal);
        let groups = groups.map(|((own, &nearer), &others)| Equals {
            nearer: nearer as usize,
            own: (own[1] - own[0]) as usize,
            others: others as usize,
        });
        (groups, self.between.last().map_or(0, |&further| further as usize))
    }

    /// The ranks of the class, from 1, ascending; equal distances rank by row.
    pub(crate) fn ranks(&self) -> impl Iterator<Item = usize> + '_ {
        let mut ranked = 0;
        self.equals().0.zip(&self.starts).flat_map(move |(equals, &first)| {
            let start = ranked + equals.nearer;
            ranked = start + equals.own + equals.others;
            let before = &self.before[first as usize..][..equals.own];
            let lower = before.iter().scan(0, |lower, &more| {
                *lower += more as usize;
                Some(*lower)
            });
            lower.enumerate().map(move |(i, lower)| start + lower + i + 1)
        })
    }
}

/// Hands the standing of every query, in their order, to `visit(query, standing)`; it is empty
/// where a query has no class, or the gallery none of it. Where queries are vectors of the gallery,
/// `own` has the row of each, which is left out.
///
/// Order and ties are those of [`search`](super::search); memory is bounded unless the classes
/// themselves are large. `progress` is told queries done and in all.
///
/// # Errors
/// As [`for_each_ranking`](super::for_each_ranking).
pub(crate) fn for_each_standing(
    (gallery, labels): Labelled<'_>,
    (queries, asked): Labelled<'_>,
    own: Option<&[usize]>,
    mut visit: impl FnMut(usize, &Standing),
    mut progress: impl FnMut(usize, usize),
) -> Result<()> {
    check_sides(gallery, queries)?;
    let mut classes: HashMap<u32, Vec<u32>> = HashMap::new();
    for (row, label) in labels.iter().enumerate() {
        label.iter().for_each(|&label| classes.entry(label).or_default().push(row as u32));
    }
    let (len, dim) = (gallery.len(), gallery.dim());
    let origin = origin(gallery)?;
    let bound = ErrorBound::new::<f64>(dim);
    let of_class = |label: &Option<u32>| label.and_then(|label| classes.get(&label));
    let largest = asked.iter().filter_map(of_class).map(Vec::len).max().unwrap_or(0);
    let block = STANDING_BYTES / (BYTES * largest.max(1));
    let block = block.clamp(1, block_queries::<f64>(dim)).min(queries.len().max(1));
    let tile_rows = tile_rows::<f64>(block, dim, TILE);
    let (mut loaded, mut tile) = (Queries::<f64>::default(), Tile::<f64>::default());
    let mut products = Buffer::default();
    for start in (0..queries.len()).step_by(block) {
        let n = block.min(queries.len() - start);
        loaded.load(queries, start, n, &origin)?;
        let asked = &asked[start..start + n];
        let own = own.map(|own| &own[start..start + n]);
        let mut standings = of_classes(gallery, &classes, (&loaded, asked), own)?;
        let nothing = standings.iter().all(Standing::is_empty);
        for first in (0..if nothing { 0 } else { len }).step_by(tile_rows) {
            let rows = tile_rows.min(len - first);
            tile.load(gallery, first, rows, &origin)?;
            multiply(dim, &loaded, &tile, &mut products);
            let each = standings.par_iter_mut().enumerate().with_min_len(STRIP);
            each.filter(|(_, standing)| !standing.is_empty()).try_for_each_init(
                Vec::new,
                |vector, (q, standing)| {
                    let query = &loaded.raw[q * dim..][..dim];
                    let (a, own) = (loaded.norms[q], own.map(|own| own[q]));
                    let products = products_of(&products, (n, rows), q).flatten();
                    let pairs = (first..).zip(&tile.norms).zip(products);
                    for ((row, &norm), &product) in pairs {
                        if labels[row] == asked[q] || own == Some(row) {
                            continue;
                        }
                        let squared = (a.squared + norm.squared - 2.0 * product).max(0.0);
                        let error = bound.of(a, norm);
                        if error == 0.0 {
                            standing.count(squared, row as u32);
                        } else if !standing.count_about(squared, error) {
                            gallery.read(row, 1, vector)?;
                            standing.count(squared_distance(query, vector), row as u32);
                        }
                    }
                    Ok::<_, crate::Error>(())
                },
            )?;
            if first + rows < len {
                let done = n as u128 * (first + rows) as u128 / len as u128;
                progress(start + done as usize, queries.len());
            }
        }
        standings.iter().enumerate().for_each(|(q, standing)| visit(start + q, standing));
        progress(start + n, queries.len());
    }
    Ok(())
}

/// The standings of a block of queries before any other vector is counted. Each row of a class is
/// read once, for all queries of the class.
fn of_classes(
    gallery: &dyn Vectors,
    classes: &HashMap<u32, Vec<u32>>,
    (loaded, asked): (&Queries<f64>, &[Option<u32>]),
    own: Option<&[usize]>,
) -> Result<Vec<Standing>> {
    let dim = gallery.dim();
    let mut askers: HashMap<u32, Vec<usize>> = HashMap::new();
    for (q, label) in asked.iter().enumerate() {
        label.iter().for_each(|&label| askers.entry(label).or_default().push(q));
    }
    let work = askers.iter().flat_map(|(label, askers)| {
        let rows = classes.get(label).map_or(&[][..], Vec::as_slice);
        rows.chunks(ROWS).map(move |rows| (rows, &askers[..]))
    });
    let work: Vec<(&[u32], &[usize])> = work.collect();
    let distances = |vector: &mut Vec<f32>, (rows, askers): (&[u32], &[usize])| {
        let mut found = Vec::with_capacity(rows.len() * askers.len());
        for &row in rows {
            read_rows("the gallery", gallery, row as usize, 1, vector)?;
            for &q in askers.iter().filter(|&&q| own.is_none_or(|own| own[q] != row as usize)) {
                let squared = squared_distance(&loaded.raw[q * dim..][..dim], vector);
                found.push((q, (squared, row)));
            }
        }
        Ok(found)
    };
    let found: Vec<Vec<_>> =
        work.into_par_iter().map_init(Vec::new, distances).collect::<Result<_>>()?;
    let mut of_query = vec![Vec::new(); asked.len()];
    for (q, distance) in found.into_iter().flatten() {
        of_query[q].push(distance);
    }
    Ok(of_query.into_par_iter().map(Standing::of).collect())
}
