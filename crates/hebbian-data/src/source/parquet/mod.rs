//! Parquet files with a column of images, as Hugging Face publishes them:
//! `image` with `bytes` and `path`, and `label`, an integer whose class names
//! stand in the file's metadata.

mod file;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::read_at::cut;
use super::shards;
use super::{Opened, Part, Source, SourceKind, Stored};
use crate::{Error, Result, batches};
pub use file::PARQUET_THREAD;
use file::{Contents, Cursor, Reader, contents, guarded, quietly};

/// Files that are kept open where reading stopped.
const OPEN: usize = 32;
struct Parquet {
    files: Vec<Shard>,
    /// First row of each file.
    starts: Vec<usize>,
    len: usize,
    /// Where reading stopped, with the number of the file; the latest last.
    open: Mutex<VecDeque<(usize, Cursor)>>,
}

struct Shard {
    path: PathBuf,
    prefix: String,
    /// First row of each row group, and about how many bytes an image of it takes.
    groups: Vec<(usize, u64)>,
    len: usize,
    /// Length of the file when it was opened.
    file_len: u64,
}

impl Shard {
    /// What has happened to the file since it was opened, if it is not all there any more.
    fn lost(&self) -> Option<String> {
        match std::fs::metadata(&self.path) {
            Ok(now) => cut(self.file_len, now.len()),
            Err(error) => Some(format!("is not there any more ({error})")),
        }
    }

    fn id(&self, row: usize) -> String {
        format!("{}/{row}", self.prefix)
    }

    /// About how many bytes image `row` takes.
    fn bytes(&self, row: usize) -> u64 {
        let group = self.groups.partition_point(|&(start, _)| start <= row).checked_sub(1);
        group.map_or(0, |group| self.groups[group].1)
    }
}

/// Opens Parquet files that are one data set, which `shown` names in messages.
pub(super) fn open(shown: &Path, paths: Vec<PathBuf>, part: Part) -> Result<Opened> {
    let (paths, part) = shards::of_part(shown, paths, part)?;
    if part != Part::All {
        return Err(Error::NoPart { path: shown.to_path_buf(), part });
    }
    let read = |path: &PathBuf| guarded(path, |file| contents(&file));
    let found: Result<Vec<Contents>> =
        batches::pool()?.install(|| paths.par_iter().map(read).collect());
    let (mut files, mut labels) = (Vec::new(), Vec::new());
    let mut names: Option<(Vec<String>, &Path)> = None;
    for ((path, prefix), contents) in paths.iter().zip(shards::prefixes(&paths)).zip(found?) {
        labels.extend(contents.labels);
        match (&names, contents.names) {
            (Some((names, of)), Some(other)) if *names != other => {
                let problem = format!("names other classes than {}", of.display());
                return Err(Error::format(path, problem));
            }
            (None, Some(first)) => names = Some((first, path)),
            _ => {}
        }
        let Contents { groups, len, bytes: file_len, .. } = contents;
        files.push(Shard { path: path.clone(), prefix, groups, len, file_len });
    }
    let bad = |problem| Error::format(shown, problem);
    let classes = shards::class_names(&labels, names.map(|(names, _)| names)).map_err(bad)?;
    let (starts, len) = shards::starts(files.iter().map(|file| file.len));
    let source = Parquet { files, starts, len, open: Mutex::default() };
    Ok(Opened { source: Arc::new(source), labels, classes })
}

impl Parquet {
    /// Images `rows` of file `file`, in order.
    fn read_file(&self, file: usize, rows: &[usize]) -> Vec<Result<Stored<'static>>> {
        let mut found = Vec::with_capacity(rows.len());
        let mut cursor = self.take(file);
        let groups = &self.files[file].groups;
        let group_of = |row: &usize| groups.partition_point(|&(start, _)| start <= *row) - 1;
        for own in rows.chunk_by(|a, b| group_of(a) == group_of(b)) {
            let group = group_of(&own[0]);
            let start = groups[group].0;
            let (before, mut images) = (cursor.take(), Vec::with_capacity(own.len()));
            let read = quietly(|| {
                let mut cursor = self.cursor(file, before, group, own[0] - start)?;
                for &row in own {
                    images.push(cursor.read(row - start)?);
                }
                Ok(cursor)
            });
            // What goes wrong costs the rest of the row group, and nothing else, unless the
            // file is not what it was.
            let (mut problem, mut lost) = ("its row holds no image".to_owned(), None);
            match read {
                Ok(at) => cursor = Some(at),
                Err(reason) => {
                    problem = format!("the file {reason}");
                    lost = self.files[file].lost();
                }
            }
            images.resize(own.len(), None);
            let Shard { path, .. } = &self.files[file];
            found.extend(own.iter().zip(images).map(|(&row, image)| match (image, &lost) {
                (Some(bytes), _) => Ok(Stored::Encoded(bytes.into())),
                (None, Some(lost)) => Err(Error::lost(path, lost)),
                (None, None) => {
                    Err(Error::Unreadable { id: self.files[file].id(row), reason: problem.clone() })
                }
            }));
        }
        self.put(file, cursor);
        found
    }

    /// One that stands at or before `row` of `group`: `before` or a new one.
    fn cursor(
        &self,
        file: usize,
        before: Option<Cursor>,
        group: usize,
        row: usize,
    ) -> std::result::Result<Cursor, String> {
        match before {
            Some(cursor) if cursor.group == group && cursor.next <= row => Ok(cursor),
            Some(Cursor { reader, .. }) => Cursor::new(reader, group),
            None => Cursor::new(Reader::open(&self.files[file].path)?, group),
        }
    }

    fn open(&self) -> MutexGuard<'_, VecDeque<(usize, Cursor)>> {
        // Nothing is half done under this lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, file: usize) -> Option<Cursor> {
        let mut open = self.open();
        let at = open.iter().position(|(of, _)| *of == file)?;
        open.remove(at).map(|(_, cursor)| cursor)
    }

    fn put(&self, file: usize, cursor: Option<Cursor>) {
        let mut open = self.open();
        open.extend(cursor.map(|cursor| (file, cursor)));
        if open.len() > OPEN {
            open.pop_front();
        }
    }

    fn locate(&self, row: usize) -> Result<(usize, usize)> {
        let place = shards::locate(&self.starts, row).filter(|_| row < self.len);
        place.ok_or(Error::RowOutOfRange { row, len: self.len })
    }
}

impl Source for Parquet {
    fn kind(&self) -> SourceKind {
        SourceKind::Parquet
    }

    fn len(&self) -> usize {
        self.len
    }

    fn id(&self, row: usize) -> Cow<'_, str> {
        self.locate(row).map(|(file, row)| self.files[file].id(row)).unwrap_or_default().into()
    }

    fn read(&self, row: usize) -> Result<Stored<'_>> {
        let (file, row) = self.locate(row)?;
        self.read_file(file, &[row])
            .pop()
            .unwrap_or(Err(Error::RowOutOfRange { row, len: self.len }))
    }

    fn shards(&self) -> &[usize] {
        &self.starts
    }

    fn bytes(&self, row: usize) -> u64 {
        self.locate(row).map_or(0, |(file, row)| self.files[file].bytes(row))
    }

    fn read_shard(&self, file: usize, rows: &[usize]) -> Vec<Result<Stored<'static>>> {
        let start = self.starts[file];
        self.read_file(file, &rows.iter().map(|row| row - start).collect::<Vec<_>>())
    }

    fn fingerprint(&self) -> Result<blake3::Hash> {
        let mut hasher = super::fingerprint_of(SourceKind::Parquet);
        for file in &self.files {
            super::add_metadata(&mut hasher, &file.path)?;
            hasher.update(&(file.len as u64).to_le_bytes());
        }
        Ok(hasher.finalize())
    }
}
