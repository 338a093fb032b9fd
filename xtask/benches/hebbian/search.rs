//! Exact search, beside faiss's flat index.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hebbian_search::{
    Gallery, GalleryInfo, GalleryWriter, Hit, Item, Matrix, Vectors, search, squared_distance,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Bench;
use crate::machine::GemmRates;
use crate::peers::{Answer, Python};
use crate::report::{Section, Table, ms, times};
use crate::timing::Timing;

const SCRIPT: &str = "faiss_flat.py";
/// Dimensions of a small embedding, and of the features of the published network.
const DIMS: [usize; 2] = [256, 4096];
/// Neighbours of each query.
const K: usize = 10;
/// Vectors made and written at a time.
const CHUNK: usize = 1000;

/// How many vectors are searched for how many queries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) queries: usize,
    pub(crate) gallery: usize,
}

/// Searches of vectors with as many dimensions.
#[derive(Serialize)]
struct Row {
    dim: usize,
    queries: usize,
    gallery: usize,
    k: usize,
    floor_macs: u64,
    ours: Timing,
    theirs: Timing,
    agreement: Agreement,
}

/// How faiss's neighbours differ from ours.
#[derive(Default, Serialize)]
struct Agreement {
    /// Ranks with another item, whose distance ties within rounding.
    swapped_ranks: usize,
    /// Largest difference of squared distances at one rank, relative to the squared sum of the
    /// two lengths.
    largest_difference: f64,
}

/// Searches by both.
pub(crate) struct Searching {
    versions: BTreeMap<String, String>,
    rows: Vec<Row>,
}

/// Searches random vectors of all [`DIMS`], after comparing neighbours.
///
/// # Errors
/// If the neighbours do not agree, or Python fails.
pub(crate) fn measure(bench: &Bench, python: &Python, size: Size) -> Result<Searching> {
    let mut found = Searching { versions: BTreeMap::new(), rows: Vec::new() };
    for dim in DIMS {
        found.add(bench, python, size, dim)?;
    }
    Ok(found)
}

impl Searching {
    fn add(&mut self, bench: &Bench, python: &Python, size: Size, dim: usize) -> Result<()> {
        eprintln!("exact search: {dim} dimensions");
        let folder = bench.scratch.path().join(format!("search-{dim}"));
        fs_err::create_dir(&folder)?;
        let gallery = vectors(&folder.join("gallery"), size.gallery, dim, 1)?;
        let queries = vectors(&folder.join("queries"), size.queries, dim, 2)?;
        let (ours, hits) = our_neighbours(bench.runs, &gallery, &queries)?;

        let outputs = folder.join("neighbours.safetensors");
        let mut args: Vec<OsString> = Vec::new();
        for (name, path) in [("--gallery", "gallery"), ("--queries", "queries")] {
            args.extend([name.into(), folder.join(path).join("vectors.safetensors").into()]);
        }
        for (name, value) in [("--k", K), ("--runs", bench.runs)] {
            args.extend([name.into(), value.to_string().into()]);
        }
        args.extend(["--outputs".into(), outputs.clone().into()]);
        let Answer { versions, timing: theirs } =
            python.run::<Answer>(SCRIPT, args)?.pop().context("faiss gave no result")?;
        self.versions = versions;
        let agreement = compare(&gallery, &queries, &hits, &outputs)?;
        fs_err::remove_dir_all(&folder)?;
        let Size { queries, gallery } = size;
        let floor_macs = (queries * gallery * dim) as u64;
        self.rows.push(Row { dim, queries, gallery, k: K, floor_macs, ours, theirs, agreement });
        Ok(())
    }
}

/// Writes `n` random vectors, uniform between -1 and 1, as a gallery.
fn vectors(path: &Path, n: usize, dim: usize, seed: u64) -> Result<Gallery> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let info = GalleryInfo::new(dim, "none", "random", "none");
    let mut writer = GalleryWriter::create(path, info, false)?;
    for start in (0..n).step_by(CHUNK) {
        let ids = start..n.min(start + CHUNK);
        let values: Vec<f32> =
            (0..ids.len() * dim).map(|_| random.random_range(-1.0..1.0)).collect();
        let item = |id: usize| Item { id: id.to_string(), ..Item::default() };
        writer.push(&ids.map(item).collect::<Vec<_>>(), &values)?;
    }
    writer.finish()?;
    Ok(Gallery::open(path)?)
}

/// Searches in memory, as faiss does.
fn our_neighbours(
    runs: usize,
    gallery: &Gallery,
    queries: &Gallery,
) -> Result<(Timing, Vec<Vec<Hit>>)> {
    let (gallery, queries) = (in_memory(gallery)?, in_memory(queries)?);
    let mut hits = Vec::new();
    let timing = Timing::of(runs, || {
        hits = search(&gallery, &queries, K)?;
        anyhow::Ok(())
    })?;
    Ok((timing, hits))
}

fn in_memory(vectors: &Gallery) -> Result<Matrix> {
    let mut values = Vec::new();
    vectors.read(0, vectors.len(), &mut values)?;
    Ok(Matrix::new(vectors.dim(), values)?)
}

/// Compares the neighbours that faiss wrote with ours, rank by rank.
///
/// # Errors
/// If there is another number of them, an item of theirs at some rank is further away from or
/// nearer to the query than ours by more than rounding explains, or so is what they give as the
/// distance.
fn compare(
    gallery: &Gallery,
    queries: &Gallery,
    ours: &[Vec<Hit>],
    theirs: &PathBuf,
) -> Result<Agreement> {
    let bytes = fs_err::read(theirs)?;
    let theirs = SafeTensors::deserialize(&bytes)?;
    let ids = numbers(&theirs, "ids", Dtype::I64, i64::from_le_bytes)?;
    let squared = numbers(&theirs, "squared", Dtype::F32, f32::from_le_bytes)?;
    let count = ours.iter().map(Vec::len).sum::<usize>();
    ensure!(
        ids.len() == count && squared.len() == count,
        "faiss has written {} neighbours, not {count}",
        ids.len()
    );
    let mut theirs = ids.into_iter().zip(squared);
    let mut found = Agreement::default();
    let (mut query, mut item) = (Vec::new(), Vec::new());
    // As likely errors of either sign add up over the dimensions; a wrong neighbour is far beyond.
    let tolerance = 4.0 * (gallery.dim() as f64).sqrt() * f64::from(f32::EPSILON);
    for (row, hits) in ours.iter().enumerate() {
        queries.read(row, 1, &mut query)?;
        for (hit, (id, squared)) in hits.iter().zip(theirs.by_ref()) {
            let id = usize::try_from(id).context("faiss found fewer neighbours than asked for")?;
            gallery.read(id, 1, &mut item)?;
            let true_one = squared_distance(&query, &item);
            let mine = f64::from(hit.distance).powi(2);
            let scale = (length(&query) + length(&item)).powi(2);
            for other in [true_one, f64::from(squared)] {
                let apart = (other - mine).abs() / scale;
                ensure!(
                    apart <= tolerance,
                    "query {row}: faiss has item {id} at squared distance {squared} (truly \
                     {true_one}), ours is {} at {mine}; times of programs that do not agree mean \
                     nothing",
                    hit.index
                );
                found.largest_difference = found.largest_difference.max(apart);
            }
            found.swapped_ranks += usize::from(id != hit.index);
        }
    }
    Ok(found)
}

fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
}

fn numbers<T, const BYTES: usize>(
    tensors: &SafeTensors<'_>,
    name: &str,
    dtype: Dtype,
    number: fn([u8; BYTES]) -> T,
) -> Result<Vec<T>> {
    let tensor = tensors.tensor(name).with_context(|| format!("faiss has not written {name}"))?;
    ensure!(tensor.dtype() == dtype, "{name} of faiss is {}, not {dtype}", tensor.dtype());
    Ok(tensor.data().as_chunks().0.iter().map(|&bytes| number(bytes)).collect())
}

impl Section for Searching {
    fn key(&self) -> &'static str {
        "search"
    }

    fn json(&self, _: &GemmRates) -> Result<Value> {
        Ok(json!({ "versions": self.versions, "rows": self.rows }))
    }

    fn page(&self, rates: &GemmRates) -> String {
        let head = [
            "dimensions",
            "queries",
            "gallery",
            "floor ms",
            "ours ms",
            "min",
            "max",
            "over floor",
            "faiss ms",
            "min",
            "max",
            "times",
            "low",
            "high",
            "swapped",
            "apart",
        ];
        let mut table = Table::new(0, &head);
        for row in &self.rows {
            let (ours, theirs) = (row.ours.summary(), row.theirs.summary());
            let floor = row.floor_macs as f64 / rates.all_threads;
            table.push([
                row.dim.to_string(),
                row.queries.to_string(),
                row.gallery.to_string(),
                ms(floor),
                ms(ours[1]),
                ms(ours[0]),
                ms(ours[2]),
                times(Some(ours[1] / floor)),
                ms(theirs[1]),
                ms(theirs[0]),
                ms(theirs[2]),
                times(Some(theirs[1] / ours[1])),
                times(Some(theirs[0] / ours[2])),
                times(Some(theirs[2] / ours[0])),
                row.agreement.swapped_ranks.to_string(),
                format!("{:.0e}", row.agreement.largest_difference),
            ]);
        }
        let versions: Vec<_> = self.versions.iter().map(|(n, v)| format!("{n} {v}")).collect();
        format!(
            "## Exact search\n\n\
             - the {K} nearest of random vectors in memory, beside `IndexFlatL2` ({})\n\
             - floor: the matrix product alone, at the rate above\n\
             - swapped: ranks with another item at a distance that ties within faiss's rounding; \
             apart: largest difference of squared distances at one rank, over the squared sum of \
             the two lengths\n\n{}",
            versions.join(", "),
            table.to_markdown()
        )
    }
}
