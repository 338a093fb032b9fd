//! The folder of a gallery: what may be there, and what must go.

use std::path::{Path, PathBuf};

use super::lock::LOCK_FILE;
use super::manifest::{MANIFEST_BESIDE, MANIFEST_FILE, SEGMENTS_FOLDER, segment_folder};
use super::segment::{self, ITEMS_FILE, Part, VECTORS_FILE};
use crate::{Error, Result};

/// Removes what is neither one of `parts` nor segment `pending`: what a killed writer left, and
/// what the last commit replaced. What can't be removed now is left to the next writer.
pub(super) fn sweep(root: &Path, parts: &[Part], pending: Option<u64>) {
    let _ = fs_err::remove_file(root.join(MANIFEST_BESIDE));
    for (number, folder) in segments_on_disk(root) {
        match parts.iter().find(|part| part.entry.number == number) {
            Some(part) => segment::remove_beside(&folder, &part.beside()),
            None if pending != Some(number) => segment::remove(&folder),
            None => {}
        }
    }
    if parts.iter().all(|part| part.entry.number != 0) {
        for file in [VECTORS_FILE, ITEMS_FILE] {
            let _ = fs_err::remove_file(root.join(file));
        }
    }
}

/// The folders of segments in gallery `root`, with their numbers.
pub(super) fn segments_on_disk(root: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs_err::read_dir(root.join(SEGMENTS_FOLDER)).into_iter().flatten().flatten();
    let number = |entry: fs_err::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        (segment_folder(root, number) == entry.path()).then(|| (number, entry.path()))
    };
    entries.filter_map(number).collect()
}

/// Fails unless a gallery may be begun at `path`: nothing there, or what a killed writer left of
/// one that never was, or with `overwrite` a gallery and nothing else.
pub(super) fn check_place(path: &Path, overwrite: bool) -> Result<()> {
    const LEFT: [&str; 3] = [LOCK_FILE, SEGMENTS_FOLDER, MANIFEST_BESIDE];
    const WHOLE: [&str; 3] = [MANIFEST_FILE, VECTORS_FILE, ITEMS_FILE];
    let Ok(metadata) = fs_err::metadata(path) else {
        return Ok(());
    };
    let refused = |entry: String| match overwrite {
        true => Error::NotAGallery { path: path.to_owned(), entry },
        false => Error::Exists { path: path.to_owned() },
    };
    if !metadata.is_dir() {
        return Err(refused(path.display().to_string()));
    }
    for entry in fs_err::read_dir(path)? {
        let name = entry?.file_name();
        let any = |names: &[&str]| names.iter().any(|&known| name == known);
        if !(any(&LEFT) || overwrite && any(&WHOLE)) {
            return Err(refused(name.to_string_lossy().into_owned()));
        }
    }
    Ok(())
}
