//! Approximate search of a gallery: by the graphs of its segments where they have one, exactly
//! where they have none.

use rayon::prelude::*;

use super::manifest::GraphEntry;
use super::segment::Part;
use super::{Gallery, VectorsFile};
use crate::exact::{Hit, search};
use crate::{Error, Graph, Result, Subset, Vectors};

/// Queries that the recall is measured by.
const QUERIES: usize = 200;
/// Nearest that are counted.
const K: usize = 10;
/// Breadths that are tried, until [`ENOUGH`] is reached.
const BREADTHS: [usize; 3] = [64, 128, 256];
/// Recall that is enough.
const ENOUGH: f64 = 0.99;

/// How much of the true nearest a graph finds, asked for vectors of its own, spread evenly.
pub(super) fn measure(graph: &Graph, vectors: &VectorsFile, generation: u64) -> Result<GraphEntry> {
    let (len, n) = (vectors.len(), vectors.len().min(QUERIES));
    let rows: Vec<usize> = (0..n).map(|i| (i as u128 * len as u128 / n as u128) as usize).collect();
    let exact = search(vectors, &Subset::new(vectors, rows.clone())?, K + 1)?;
    let mut entry = GraphEntry {
        generation,
        checksum: String::new(),
        recall: 0.0,
        k: K,
        queries: n,
        breadth: 0,
    };
    for breadth in BREADTHS {
        let found = |(&row, exact): (&usize, &Vec<Hit>)| -> Result<(usize, usize)> {
            let mut query = Vec::new();
            vectors.read(row, 1, &mut query)?;
            let found = graph.search(vectors, &query, K, breadth, |other| other != row)?;
            let others = exact.iter().filter(|hit| hit.index != row).take(K);
            // Any of several at one distance will do.
            let last = others.clone().last().map_or(0.0, |hit| hit.distance);
            let right = found.iter().filter(|hit| hit.distance <= last).count();
            Ok((right, others.count()))
        };
        let counts = rows.par_iter().zip(&exact).map(found).collect::<Result<Vec<_>>>()?;
        let right: usize = counts.iter().map(|counts| counts.0).sum();
        let all: usize = counts.iter().map(|counts| counts.1).sum();
        entry.breadth = breadth;
        entry.recall = if all > 0 { right as f64 / all as f64 } else { 1.0 };
        if entry.recall >= ENOUGH {
            break;
        }
    }
    Ok(entry)
}

impl Gallery {
    /// What is said of the graph for approximate searches, or nothing if there is none.
    #[must_use]
    pub fn graph(&self) -> Option<&GraphEntry> {
        self.parts.iter().find_map(|part| part.entry.graph.as_ref())
    }

    /// Vectors that no graph covers, so that every search goes through them all.
    #[must_use]
    pub fn without_graph(&self) -> usize {
        self.parts.iter().filter(|part| part.graph.is_none()).map(Part::live).sum()
    }

    /// The nearest rows of every query, some of which may be missed: the graphs of segments are
    /// walked, segments without one are searched exactly. Distances are the true ones.
    ///
    /// # Shapes
    /// `queries`: `[m, dim]`; returns `m` lists of `min(k, len)`, rarely fewer.
    ///
    /// # Errors
    /// As [`search`].
    pub fn approximate(&self, queries: &dyn Vectors, k: usize) -> Result<Vec<Vec<Hit>>> {
        let mut all: Vec<Vec<Hit>> = vec![Vec::new(); queries.len()];
        let mut starts = Vec::with_capacity(self.parts.len());
        let mut rest = Vec::new();
        let mut start = 0;
        for part in &self.parts {
            starts.push(start);
            if part.graph.is_none() {
                rest.extend(start..start + part.live());
            }
            start += part.live();
        }
        if !rest.is_empty() {
            let rest = Subset::new(self, rest)?;
            for (hits, found) in all.iter_mut().zip(search(&rest, queries, k)?) {
                let row = |hit: Hit| Some(Hit { index: rest.row(hit.index)?, ..hit });
                hits.extend(found.into_iter().filter_map(row));
            }
        }
        all.par_iter_mut().enumerate().try_for_each(|(i, hits)| {
            let mut query = Vec::new();
            queries.read(i, 1, &mut query)?;
            for (part, start) in self.parts.iter().zip(&starts) {
                let (Some(graph), Some(entry)) = (&part.graph, &part.entry.graph) else { continue };
                let (vectors, live) = (&part.segment.vectors, |row| part.position(row).is_some());
                let found = graph.search(
                    vectors,
                    &query,
                    k,
                    entry.breadth.max(k.saturating_mul(2)),
                    live,
                )?;
                let row = |hit: Hit| Some(Hit { index: start + part.position(hit.index)?, ..hit });
                hits.extend(found.into_iter().filter_map(row));
            }
            let order =
                |a: &Hit, b: &Hit| a.distance.total_cmp(&b.distance).then(a.index.cmp(&b.index));
            hits.sort_unstable_by(order);
            hits.truncate(k);
            Ok::<(), Error>(())
        })?;
        Ok(all)
    }
}
