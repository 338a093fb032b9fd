//! Approximate search: a graph of near neighbours, walked towards the query.
//!
//! Every vector knows some of its neighbours. A search starts at vectors spread over all of them,
//! and goes on from the best found so far to their neighbours, until none of the `breadth` best
//! has one that is nearer. What it finds has its true distance; it may only miss some.
//!
//! The neighbours come from the exact engine, thinned out so that none is kept that is nearer to
//! one kept already than to the vector itself: as many directions as possible for as few
//! distances. Source of the rule: S. Arya and D. M. Mount, *Approximate Nearest Neighbor Queries
//! in Fixed Dimensions*, SODA 1993; it is that of HNSW (Malkov & Yashunin 2018) too, whose layers
//! the starting vectors stand for here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;

use rayon::prelude::*;

use crate::exact::{Hit, for_each_ranking, reported, squared_distance};
use crate::vectors::Vectors;
use crate::{Error, Result, Subset};

/// Most neighbours of a vector.
const DEGREE: usize = 32;
/// Nearest vectors that neighbours are picked from.
const PICKED_FROM: usize = 48;
/// Neighbours that a vector has at least, however near they are to each other.
const LEAST: usize = 8;
/// Vectors that a search starts at, at least.
const STARTS: usize = 256;
/// Vectors whose neighbours are picked at a time.
const BLOCK: usize = 4096;
/// Where there is no neighbour.
const NONE: u32 = u32::MAX;
/// How a file begins.
const MAGIC: &[u8; 8] = b"HEBGRAP1";

/// Near neighbours of each of a set of vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// `[len, DEGREE]`, the rest of a row filled up with [`NONE`].
    neighbours: Vec<u32>,
    /// Where searches start. Every vector can be reached from one.
    starts: Vec<u32>,
}

/// A squared distance and the row it belongs to, in that order.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Found(f64, u32);

impl Eq for Found {}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Graph {
    /// The graph of `vectors`. Time grows with the square of their number; memory is that of the
    /// graph, 128 bytes a vector, and of some thousand vectors. `progress` is told vectors done
    /// and in all.
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::Option`] if there are too many, those of reading them.
    pub fn build(vectors: &dyn Vectors, mut progress: impl FnMut(usize, usize)) -> Result<Self> {
        let len = vectors.len();
        let mut neighbours = vec![NONE; len.saturating_mul(DEGREE)];
        for start in (0..len).step_by(BLOCK) {
            let rows: Vec<usize> = (start..len.min(start + BLOCK)).collect();
            let block = Subset::new(vectors, rows)?;
            let mut nearest: Vec<Vec<u32>> = Vec::with_capacity(block.len());
            for_each_ranking(vectors, &block, Some(PICKED_FROM + 1), |i, hits| {
                let others = hits.iter().map(|hit| hit.index).filter(|&row| row != start + i);
                nearest.push(others.take(PICKED_FROM).map(|row| row as u32).collect());
            })?;
            let lists = neighbours[start * DEGREE..][..nearest.len() * DEGREE]
                .par_chunks_exact_mut(DEGREE)
                .zip(nearest)
                .enumerate();
            lists.try_for_each(|(i, (list, nearest))| pick(vectors, start + i, &nearest, list))?;
            progress(len.min(start + BLOCK), len);
        }
        let mut graph = Self { neighbours, starts: Vec::new() };
        graph.link_back();
        graph.choose_starts();
        Ok(graph)
    }

    /// Number of vectors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.neighbours.len() / DEGREE
    }

    /// Whether there is no vector.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.neighbours.is_empty()
    }

    fn of(&self, row: u32) -> impl Iterator<Item = u32> {
        let list = &self.neighbours[row as usize * DEGREE..][..DEGREE];
        list.iter().copied().take_while(|&row| row != NONE)
    }

    /// Makes neighbours mutual where there is room.
    fn link_back(&mut self) {
        for row in 0..self.len() as u32 {
            let own: Vec<u32> = self.of(row).collect();
            for other in own {
                let list = &mut self.neighbours[other as usize * DEGREE..][..DEGREE];
                if !list.contains(&row)
                    && let Some(free) = list.iter_mut().find(|free| **free == NONE)
                {
                    *free = row;
                }
            }
        }
    }

    /// Spreads the starts evenly, and adds one wherever none leads.
    fn choose_starts(&mut self) {
        let (len, n) = (self.len(), self.len().min(STARTS));
        let even = (0..n).map(|i| (i as u128 * len as u128 / n as u128) as u32);
        let mut reached = vec![false; len];
        let (mut starts, mut open) = (Vec::new(), Vec::new());
        for (i, row) in even.chain(0..len as u32).enumerate() {
            if i >= n && reached[row as usize] {
                continue;
            }
            starts.push(row);
            open.push(row);
            while let Some(row) = open.pop() {
                if !std::mem::replace(&mut reached[row as usize], true) {
                    open.extend(self.of(row));
                }
            }
        }
        self.starts = starts;
    }

    /// The nearest of `vectors`, those the graph was built of, to `query` among the rows for which
    /// `passes`: at most `k`, nearest first, equal distances by row. The greater `breadth`, at
    /// least `k`, the fewer are missed and the longer it takes.
    ///
    /// # Shapes
    /// `query`: `[dim]`.
    ///
    /// # Errors
    /// [`Error::Length`] if the graph is not of these vectors, [`Error::Dimension`], those of
    /// reading the vectors.
    pub fn search(
        &self,
        vectors: &dyn Vectors,
        query: &[f32],
        k: usize,
        breadth: usize,
        passes: impl Fn(usize) -> bool,
    ) -> Result<Vec<Hit>> {
        let (expected, found) = (self.len(), vectors.len());
        if found != expected {
            return Err(Error::Length { what: "vectors of the graph", expected, found });
        }
        if query.len() != vectors.dim() {
            let (expected, found) = (vectors.dim(), query.len());
            return Err(Error::Dimension { what: "the query", expected, found });
        }
        let breadth = breadth.max(k);
        let mut seen = vec![false; self.len()];
        let mut vector = Vec::new();
        // Nearest first, and the best so far, furthest first.
        let mut open = BinaryHeap::new();
        let mut best: BinaryHeap<Found> = BinaryHeap::new();
        let mut look =
            |row: u32, open: &mut BinaryHeap<Reverse<Found>>, best: &mut BinaryHeap<_>| {
                if std::mem::replace(&mut seen[row as usize], true) {
                    return Ok(());
                }
                vectors.read(row as usize, 1, &mut vector)?;
                let found = Found(squared_distance(query, &vector), row);
                if best.len() < breadth || best.peek().is_some_and(|worst| found < *worst) {
                    open.push(Reverse(found));
                    if passes(row as usize) {
                        best.push(found);
                        if best.len() > breadth {
                            best.pop();
                        }
                    }
                }
                Ok::<(), Error>(())
            };
        for &start in &self.starts {
            look(start, &mut open, &mut best)?;
        }
        while let Some(Reverse(next)) = open.pop() {
            if best.len() >= breadth && best.peek().is_some_and(|worst| next > *worst) {
                break;
            }
            for row in self.of(next.1) {
                look(row, &mut open, &mut best)?;
            }
        }
        let best = best.into_sorted_vec().into_iter().take(k);
        let hit = |Found(squared, row)| Hit { index: row as usize, distance: reported(squared) };
        Ok(best.map(hit).collect())
    }

    /// The content of a file of the graph: its name, the numbers of vectors and starts as u64,
    /// neighbours and starts as u32, little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let counts = [self.len() as u64, self.starts.len() as u64];
        let mut bytes = MAGIC.to_vec();
        bytes.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
        bytes.extend(self.neighbours.iter().chain(&self.starts).flat_map(|row| row.to_le_bytes()));
        bytes
    }

    /// Reads the content of a file of the graph of `len` vectors; `path` names it in messages.
    ///
    /// # Errors
    /// [`Error::Malformed`] unless every row in it exists.
    pub fn parse(content: &[u8], len: usize, path: &Path) -> Result<Self> {
        let malformed =
            |problem: &str| Error::Malformed { path: path.to_owned(), problem: problem.to_owned() };
        let rest = content.strip_prefix(MAGIC).ok_or_else(|| malformed("is not a graph"))?;
        let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(|| malformed("is cut"))?;
        let (counts, _) = counts.as_chunks::<8>();
        if u64::from_le_bytes(counts[0]) != len as u64 {
            return Err(malformed("is the graph of another number of vectors"));
        }
        let (rows, cut) = rest.as_chunks::<4>();
        let lists = len.checked_mul(DEGREE).filter(|&lists| lists <= rows.len() && cut.is_empty());
        let lists = lists.ok_or_else(|| malformed("is cut short"))?;
        let rows: Vec<u32> = rows.iter().map(|row| u32::from_le_bytes(*row)).collect();
        let (neighbours, starts) = rows.split_at(lists);
        let exists = |&row: &u32| (row as usize) < len;
        if starts.len() as u64 != u64::from_le_bytes(counts[1])
            || !starts.iter().all(exists)
            || !neighbours.iter().all(|row| *row == NONE || exists(row))
        {
            return Err(malformed("names vectors that do not exist"));
        }
        Ok(Self { neighbours: neighbours.to_vec(), starts: starts.to_vec() })
    }
}

/// Picks the neighbours of `row` from those nearest to it, nearest first.
fn pick(vectors: &dyn Vectors, row: usize, nearest: &[u32], list: &mut [u32]) -> Result<()> {
    let read = |row: usize| {
        let mut vector = Vec::new();
        vectors.read(row, 1, &mut vector).map(|()| vector)
    };
    let own = read(row)?;
    let (mut picked, mut left): (Vec<(u32, Vec<f32>)>, Vec<u32>) = Default::default();
    for &other in nearest {
        // Others may yet want to link back.
        if picked.len() >= DEGREE / 2 {
            break;
        }
        let vector = read(other as usize)?;
        let distance = squared_distance(&own, &vector);
        if picked.iter().all(|(_, kept)| squared_distance(kept, &vector) > distance) {
            picked.push((other, vector));
        } else {
            left.push(other);
        }
    }
    let rows = picked.iter().map(|&(row, _)| row);
    let more = LEAST.saturating_sub(picked.len());
    let rows = rows.chain(left.into_iter().take(more));
    list.iter_mut().zip(rows).for_each(|(slot, row)| *slot = row);
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{Matrix, search};

    /// Clusters, and in one of them nothing but copies.
    fn clusters(n: usize, dim: usize) -> Matrix {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let centres: Vec<f32> = (0..20 * dim).map(|_| random.random_range(-2.0..2.0)).collect();
        let mut values = Vec::new();
        for i in 0..n {
            let centre = &centres[i % 20 * dim..][..dim];
            let spread = if i % 20 == 7 { 0.0 } else { 1.0 };
            values.extend(centre.iter().map(|c| c + spread * random.random_range(-1.0..1.0)));
        }
        Matrix::new(dim, values).unwrap()
    }

    #[test]
    fn nearly_all_of_the_nearest_are_found_with_their_distances() {
        let vectors = clusters(4000, 16);
        let graph = Graph::build(&vectors, |_, _| {}).unwrap();
        let queries = clusters(4100, 16).as_slice()[4000 * 16..].to_vec();
        let queries = Matrix::new(16, queries).unwrap();
        let exact = search(&vectors, &queries, 10).unwrap();
        let mut right = 0;
        for (i, exact) in exact.iter().enumerate() {
            let query = queries.row(i).unwrap();
            let found = graph.search(&vectors, query, 10, 64, |_| true).unwrap();
            assert_eq!(found.len(), 10);
            right += found.iter().filter(|hit| exact.contains(hit)).count();
            // What passes is all that is found.
            let odd = graph.search(&vectors, query, 10, 64, |row| row % 2 == 1).unwrap();
            assert!(odd.len() == 10 && odd.iter().all(|hit| hit.index % 2 == 1));
        }
        // All 200 copies are at one distance, and any ten of them are as near.
        assert!(right > 920, "{right} of 1000");
    }

    #[test]
    fn every_vector_is_found_however_few_there_are() {
        for n in [0, 1, 2, 40, 300] {
            let vectors = clusters(n, 3);
            let graph = Graph::build(&vectors, |_, _| {}).unwrap();
            let found = graph.search(&vectors, &[0.0; 3], n, n, |_| true).unwrap();
            assert_eq!(
                found,
                search(&vectors, &Matrix::new(3, vec![0.0; 3]).unwrap(), n).unwrap()[0]
            );
        }
    }

    #[test]
    fn files_are_read_back_and_damage_is_refused_or_harmless() {
        let vectors = clusters(300, 3);
        let graph = Graph::build(&vectors, |_, _| {}).unwrap();
        let bytes = graph.to_bytes();
        let parse = |bytes: &[u8]| Graph::parse(bytes, 300, Path::new("graph"));
        assert_eq!(parse(&bytes).unwrap(), graph);
        assert!(Graph::parse(&bytes, 299, Path::new("graph")).is_err());
        for at in (0..bytes.len()).step_by(97) {
            assert!(parse(&bytes[..at]).is_err());
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x81;
            if let Ok(graph) = parse(&damaged) {
                graph.search(&vectors, &[0.0; 3], 5, 10, |_| true).unwrap();
            }
        }
    }
}
