//! Features through the Nystroem map, from file to file.

use std::path::Path;

use hebbian::error::{Error, Result};
use hebbian::train::Nystroem;
use hebbian_data::seed;
use hebbian_search::{Gallery, GalleryInfo, GalleryWriter, Item, Vectors};

use crate::as_error;

/// Vectors mapped at a time.
const BLOCK: usize = 1024;
/// Most components: their inner products take 1 GiB.
const MAX_COMPONENTS: usize = 1 << 14;

/// Checks the number of components given with `field`.
///
/// # Errors
/// If it is out of range.
pub fn check(field: &str, components: Option<usize>) -> Result<()> {
    match components {
        Some(n) if !(1..=MAX_COMPONENTS).contains(&n) => {
            Err(Error::config(field, format!("is {n}; it must be 1 to {MAX_COMPONENTS}")))
        }
        _ => Ok(()),
    }
}

/// Fits a map to so many of the vectors, or all if there are fewer, drawn from
/// `seed`.
///
/// # Errors
/// Those of reading, and of [`Nystroem::fit`].
pub fn fit(vectors: &dyn Vectors, components: usize, seed: u64) -> Result<Nystroem> {
    let (mut basis, mut vector) = (Vec::new(), Vec::new());
    for row in seed::shuffled(vectors.len(), seed, "nystroem").into_iter().take(components) {
        vectors.read(row, 1, &mut vector).map_err(as_error)?;
        basis.extend_from_slice(&vector);
    }
    Nystroem::fit(&basis, vectors.dim())
}

/// Writes the mapped vectors, in their order, into a file under `path`.
///
/// # Errors
/// Those of reading and writing.
pub fn apply(map: &Nystroem, vectors: &dyn Vectors, path: &Path) -> Result<Gallery> {
    let info = GalleryInfo::new(map.components(), "", "nystroem", "");
    let mut writer = GalleryWriter::create(path, info, false).map_err(as_error)?;
    let mut block = Vec::new();
    for start in (0..vectors.len()).step_by(BLOCK) {
        let n = BLOCK.min(vectors.len() - start);
        vectors.read(start, n, &mut block).map_err(as_error)?;
        let item = |row: usize| Item { id: row.to_string(), ..Item::default() };
        let items: Vec<Item> = (start..start + n).map(item).collect();
        writer.push(&items, &map.apply(&block)).map_err(as_error)?;
    }
    writer.finish().map_err(as_error)
}
