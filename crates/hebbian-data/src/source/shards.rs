//! What sets of shards share: several files that are one data set, each read
//! from front to back.

use std::path::{Path, PathBuf};

use super::Part;
use super::layout;
use crate::{Error, Result};

/// The shards that belong to `part` by their names (`train-0001.tar`,
/// `data/test-00000-of-00002.parquet`), and the part that is left to be looked
/// for inside them: all, unless their names say nothing.
///
/// # Errors
/// [`Error::NoPart`] when the names tell parts apart and this is none of them.
pub(super) fn of_part(
    shown: &Path,
    paths: Vec<PathBuf>,
    part: Part,
) -> Result<(Vec<PathBuf>, Part)> {
    // As the layout reads folders: what stands before the first mark is one.
    let folders: Vec<String> =
        paths.iter().map(|path| name(path).replacen(['-', '_', '.'], "/", 1)).collect();
    let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
    let Some(parts) = layout::parts(&folders) else { return Ok((paths, part)) };
    if part == Part::All {
        return Ok((paths, part));
    }
    let own = paths.into_iter().zip(parts).filter(|(_, of)| *of == Some(part));
    let own: Vec<PathBuf> = own.map(|(path, _)| path).collect();
    if own.is_empty() {
        return Err(Error::NoPart { path: shown.to_path_buf(), part });
    }
    Ok((own, Part::All))
}

/// Whether a file's name ends in `.ending`, in letters of either size.
pub(crate) fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(ending))
}

/// The shards in `folder`, which holds files and folders of these names: its
/// Parquet files or those in its folder `data`, as they are published, or its
/// tar files where there are neither images nor folders beside them.
pub(super) fn in_folder(folder: &Path, names: &[String]) -> Result<Option<Vec<PathBuf>>> {
    let ending = |names: &[String], ending| {
        let own = names.iter().filter(|name| has_ending(Path::new(name), ending));
        own.filter(|name| !name.starts_with('.')).cloned().collect::<Vec<_>>()
    };
    let shards = |folder: &Path, names: Vec<String>| {
        (!names.is_empty()).then(|| names.iter().map(|name| folder.join(name)).collect())
    };
    if let Some(paths) = shards(folder, ending(names, "parquet")) {
        return Ok(Some(paths));
    }
    let data = folder.join("data");
    if names.iter().any(|name| name == "data") && data.is_dir() {
        let names = super::file_names(&data)?;
        if let Some(paths) = shards(&data, ending(&names, "parquet")) {
            return Ok(Some(paths));
        }
    }
    let mut visible = names.iter().filter(|name| !name.starts_with('.'));
    let other = |name: &String| {
        let path = Path::new(name);
        folder.join(path).is_dir() || image::ImageFormat::from_path(path).is_ok()
    };
    let tars = ending(names, "tar");
    if tars.is_empty() || visible.any(other) {
        return Ok(None);
    }
    Ok(shards(folder, tars))
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What goes before the ids of each shard's images to keep them apart: the
/// names without their endings, or, where two are the same, numbered.
pub(super) fn prefixes(paths: &[PathBuf]) -> Vec<String> {
    let stem = |path: &PathBuf| {
        path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let stems: Vec<String> = paths.iter().map(stem).collect();
    let mut sorted: Vec<&String> = stems.iter().collect();
    sorted.sort_unstable();
    if sorted.windows(2).all(|pair| pair[0] != pair[1]) {
        return stems;
    }
    stems.iter().enumerate().map(|(number, stem)| format!("{number}-{stem}")).collect()
}

/// Which shard holds row `row`, and the row's number there, where `starts` is
/// the first row of each shard.
pub(crate) fn locate(starts: &[usize], row: usize) -> Option<(usize, usize)> {
    let shard = starts.partition_point(|&start| start <= row).checked_sub(1)?;
    Some((shard, row - starts[shard]))
}

/// The first row of each shard, and how many rows there are.
pub(super) fn starts(lens: impl Iterator<Item = usize>) -> (Vec<usize>, usize) {
    let (mut starts, mut next) = (Vec::new(), 0);
    for len in lens {
        starts.push(next);
        next += len;
    }
    (starts, next)
}

/// The labels as they are used: with the names of all classes up to the highest number, which are
/// the numbers themselves unless `names` are given.
///
/// # Errors
/// When a label is beyond the names, with the problem in words.
pub(super) fn class_names(
    labels: &[Option<u32>],
    names: Option<Vec<String>>,
) -> std::result::Result<Vec<String>, String> {
    let highest = labels.iter().flatten().max();
    match (names, highest) {
        (Some(names), Some(&label)) if label as usize >= names.len() => {
            Err(format!("has label {label}, but names {} classes", names.len()))
        }
        (Some(names), _) => Ok(names),
        (None, highest) => {
            Ok(highest.map_or(Vec::new(), |&last| (0..=last).map(|n| n.to_string()).collect()))
        }
    }
}

/// The highest class number that is read.
pub(super) const MAX_CLASS: u32 = 1 << 20;
