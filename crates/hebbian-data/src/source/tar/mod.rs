//! Tar archives of images: indexed once, then read at random if there is one,
//! and from front to back if there are several.

mod archive;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::files::MAX_FILE;
use super::layout::Layout;
use super::read_at::{ReadAt, cut};
use super::shards::{self, MAX_CLASS};
use super::{Opened, Part, Source, SourceKind, Stored};
use crate::{Error, Result, batches};
pub(super) use archive::is_tar;
pub use archive::{Entry, index};
use archive::{latest, walk};

/// The most bytes that are read at once.
const RUN_BYTES: u64 = 4 << 20;
/// The longest gap that is read over rather than jumped.
const GAP_BYTES: u64 = 64 << 10;
/// The names of classes that archives have by number, one a line, 0 first; lies beside them.
pub(crate) const CLASSES_FILE: &str = "classes.txt";
/// The most of it that is read, in bytes.
const MAX_CLASSES_BYTES: u64 = 1 << 26;
/// The longest class number that is read, in bytes.
const MAX_CLS: u64 = 32;

/// An archive. Of each image 16 bytes and its path are kept.
struct Shard {
    path: PathBuf,
    /// Its length when it was indexed.
    len: u64,
    /// Kept open where images are read at random.
    file: Option<ReadAt>,
    /// Goes before the ids, to keep those of different shards apart.
    prefix: String,
    /// All paths, one after the other.
    paths: String,
    images: Vec<Image>,
}

#[derive(Clone, Copy)]
struct Image {
    offset: u64,
    len: u32,
    /// Where its path ends in [`Shard::paths`].
    path_end: u32,
}

struct Tar {
    kind: SourceKind,
    shards: Vec<Shard>,
    /// First row of each shard.
    starts: Vec<usize>,
    len: usize,
}

/// Opens one archive, its images in byte-wise order of their paths, to be read
/// at random.
pub(super) fn open(path: &Path, part: Part) -> Result<Opened> {
    let found = read_shard(path, String::new(), SourceKind::Tar)?;
    together(path, vec![found], SourceKind::Tar, part)
}

/// Opens archives that are one data set, which `shown` names in messages: their
/// images in the order of the files and in the order they lie there.
pub(super) fn open_shards(shown: &Path, paths: Vec<PathBuf>, part: Part) -> Result<Opened> {
    let (paths, part) = shards::of_part(shown, paths, part)?;
    let prefixes = shards::prefixes(&paths);
    let read = |(path, prefix): (&PathBuf, String)| read_shard(path, prefix, SourceKind::TarShards);
    let found: Result<Vec<_>> =
        batches::pool()?.install(|| paths.par_iter().zip(prefixes).map(read).collect());
    together(shown, found?, SourceKind::TarShards, part)
}

type Labels = Vec<Option<u32>>;

fn together(
    shown: &Path,
    found: Vec<(Shard, Labels)>,
    kind: SourceKind,
    part: Part,
) -> Result<Opened> {
    let (mut shards, labels): (Vec<Shard>, Vec<Labels>) = found.into_iter().unzip();
    let mut labels = labels.concat();
    if labels.is_empty() {
        return Err(Error::Empty { path: shown.to_path_buf() });
    }
    let bad = |problem| Error::format(shown, problem);
    let numbered = labels.iter().any(Option::is_some);
    let names = if numbered { class_names(&shards)? } else { None };
    let mut classes = shards::class_names(&labels, names).map_err(bad)?;
    if classes.is_empty() || part != Part::All {
        let paths: Vec<&str> = shards.iter().flat_map(Shard::paths).collect();
        let layout = Layout::read(&paths);
        drop(paths);
        let rows = layout.rows(part);
        let rows = rows.ok_or_else(|| Error::NoPart { path: shown.to_path_buf(), part })?;
        if classes.is_empty() {
            (labels, classes) = (layout.labels, layout.classes);
        }
        if rows.len() < labels.len() {
            labels = rows.iter().map(|&row| labels[row]).collect();
            keep(&mut shards, &rows);
        }
    }
    let (starts, len) = shards::starts(shards.iter().map(|shard| shard.images.len()));
    Ok(Opened { source: Arc::new(Tar { kind, shards, starts, len }), labels, classes })
}

/// The names of the classes, from the file beside the archives where there is one.
fn class_names(shards: &[Shard]) -> Result<Option<Vec<String>>> {
    let folder = shards.first().and_then(|shard| shard.path.parent());
    let Some(path) = folder.map(|folder| folder.join(CLASSES_FILE)).filter(|path| path.is_file())
    else {
        return Ok(None);
    };
    let file = std::fs::File::open(&path).map_err(Error::io("open", &path))?;
    let mut text = String::new();
    let read = file.take(MAX_CLASSES_BYTES).read_to_string(&mut text);
    read.map_err(|e| Error::format(&path, format!("it is no text ({e})")))?;
    Ok(Some(text.lines().map(str::to_owned).collect()))
}

/// Leaves the images of `rows`, which are in order, counted over all shards.
fn keep(shards: &mut [Shard], mut rows: &[usize]) {
    let mut first = 0;
    for shard in shards {
        let next = first + shard.images.len();
        let (own, rest) = rows.split_at(rows.partition_point(|&row| row < next));
        let mut kept = Shard { paths: String::new(), images: Vec::new(), ..shard.without_images() };
        for &row in own {
            kept.push(shard.path_of(row - first), shard.images[row - first]);
        }
        *shard = kept;
        (rows, first) = (rest, next);
    }
}

impl Shard {
    fn without_images(&mut self) -> Self {
        let (path, prefix) = (self.path.clone(), self.prefix.clone());
        let (len, file) = (self.len, self.file.take());
        Self { path, len, prefix, file, paths: String::new(), images: Vec::new() }
    }

    fn push(&mut self, path: &str, image: Image) {
        self.paths.push_str(path);
        let path_end = u32::try_from(self.paths.len()).unwrap_or(u32::MAX);
        self.images.push(Image { path_end, ..image });
    }

    fn path_of(&self, image: usize) -> &str {
        let end = |image: &Image| image.path_end as usize;
        let from = image.checked_sub(1).map_or(0, |before| end(&self.images[before]));
        self.images.get(image).and_then(|image| self.paths.get(from..end(image))).unwrap_or("")
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        (0..self.images.len()).map(|image| self.path_of(image))
    }

    fn id(&self, image: usize) -> Cow<'_, str> {
        match self.path_of(image) {
            path if self.prefix.is_empty() => path.into(),
            path => format!("{}/{path}", self.prefix).into(),
        }
    }

    /// Images `wanted`, in the order they lie: neighbours in one read.
    fn read(&self, wanted: &[usize]) -> Vec<Result<Stored<'static>>> {
        let opened;
        let file = match &self.file {
            Some(file) => file,
            None => match self.open() {
                Ok(file) => {
                    opened = file;
                    &opened
                }
                Err(problem) => {
                    let lost = |_| Err(Error::lost(&self.path, problem.clone()));
                    return wanted.iter().map(lost).collect();
                }
            },
        };
        let mut found = Vec::with_capacity(wanted.len());
        let mut rest = wanted;
        while !rest.is_empty() {
            let (run, after) = rest.split_at(self.run(rest));
            self.read_run(file, run, &mut found);
            rest = after;
        }
        found
    }

    /// Opens it again; says what is wrong if it is not there as it was indexed.
    fn open(&self) -> std::result::Result<ReadAt, String> {
        let file = ReadAt::open(&self.path).map_err(|error| match error {
            Error::Io { action, reason, .. } => format!("can't {action} it any more ({reason})"),
            error => error.to_string(),
        })?;
        cut(self.len, file.len()).map_or(Ok(file), Err)
    }

    /// How many of `wanted` are read at once: those that follow closely, up to a limit.
    fn run(&self, wanted: &[usize]) -> usize {
        let Image { offset: from, len, .. } = self.images[wanted[0]];
        let mut end = from + u64::from(len);
        let follows = |image: &&usize| {
            let Image { offset, len, .. } = self.images[**image];
            let near = offset >= end && offset - end <= GAP_BYTES;
            end = offset + u64::from(len);
            near && end - from <= RUN_BYTES
        };
        1 + wanted[1..].iter().take_while(follows).count()
    }

    fn read_run(&self, file: &ReadAt, run: &[usize], found: &mut Vec<Result<Stored<'static>>>) {
        let [first, .., last] = run else {
            found.push(self.read_one(file, run[0]));
            return;
        };
        let (first, last) = (self.images[*first], self.images[*last]);
        let len = last.offset + u64::from(last.len) - first.offset;
        let Ok(bytes) = file.read(first.offset, len) else {
            // Cut short since it was indexed, or a bad sector: some may be there still.
            found.extend(run.iter().map(|&image| self.read_one(file, image)));
            return;
        };
        found.extend(run.iter().map(|&image| {
            let Image { offset, len, .. } = self.images[image];
            let from = (offset - first.offset) as usize;
            Ok(Stored::Encoded(bytes[from..from + len as usize].to_vec().into()))
        }));
    }

    fn read_one(&self, file: &ReadAt, image: usize) -> Result<Stored<'static>> {
        let Image { offset, len, .. } = self.images[image];
        if u64::from(len) > MAX_FILE {
            let reason = format!("the file is longer than {MAX_FILE} bytes");
            return Err(self.unreadable(image, reason));
        }
        Ok(Stored::Encoded(file.read(offset, len.into())?.into()))
    }

    fn unreadable(&self, image: usize, reason: String) -> Error {
        Error::Unreadable { id: self.id(image).into_owned(), reason }
    }
}

/// The images of an archive, and the labels that its `cls` files give them.
fn read_shard(path: &Path, prefix: String, kind: SourceKind) -> Result<(Shard, Labels)> {
    let file = ReadAt::open(path)?;
    let reader = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let mut classes: HashMap<String, Option<u32>> = HashMap::new();
    let mut images = Vec::new();
    walk(path, reader, file.len(), &mut |entry, content| {
        if let Some(key) = entry.path.strip_suffix(".cls") {
            let label = class(&entry, content).map_err(|problem| Error::Tar {
                path: path.to_path_buf(),
                offset: entry.offset,
                problem,
            })?;
            classes.insert(key.to_owned(), label);
        } else if super::is_image(&entry.path, || Ok(head(content)))? {
            images.push(entry);
        }
        Ok(())
    })?;
    let mut images = latest(images);
    if kind == SourceKind::TarShards {
        images.sort_unstable_by_key(|entry| entry.offset);
    }
    let label = |entry: &Entry| classes.get(key(&entry.path)).copied().flatten();
    let labels = images.iter().map(label).collect();
    let (len, file) = (file.len(), (kind == SourceKind::Tar).then_some(file));
    let (path, paths) = (path.to_path_buf(), String::new());
    let room = Vec::with_capacity(images.len());
    let mut shard = Shard { path, len, file, prefix, paths, images: room };
    for Entry { path, offset, len } in images {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        shard.push(&path, Image { offset, len, path_end: 0 });
    }
    shard.paths.shrink_to_fit();
    Ok((shard, labels))
}

/// What files of one sample share: the path up to the first dot of the name.
fn key(path: &str) -> &str {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    path[name..].find('.').map_or(path, |dot| &path[..name + dot])
}

/// The class number in a `cls` file; a negative one says that there is none.
fn class(entry: &Entry, content: &mut dyn Read) -> std::result::Result<Option<u32>, String> {
    let mut text = String::new();
    let read = content.take(MAX_CLS).read_to_string(&mut text).ok();
    let number =
        read.filter(|_| entry.len <= MAX_CLS).and_then(|_| text.trim().parse::<i64>().ok());
    match number {
        // Below 0 it is no u32.
        Some(number) if number <= i64::from(MAX_CLASS) => Ok(u32::try_from(number).ok()),
        _ => Err(format!("{} is no class number of at most {MAX_CLASS}", entry.path)),
    }
}

fn head(content: &mut dyn Read) -> Vec<u8> {
    let mut head = Vec::with_capacity(32);
    // What can't be read is no image; that the archive is cut short is found elsewhere.
    let _ = content.take(32).read_to_end(&mut head);
    head
}

impl Tar {
    fn locate(&self, row: usize) -> Result<(&Shard, usize)> {
        let place = shards::locate(&self.starts, row).filter(|_| row < self.len);
        let (shard, image) = place.ok_or(Error::RowOutOfRange { row, len: self.len })?;
        Ok((&self.shards[shard], image))
    }
}

impl Source for Tar {
    fn kind(&self) -> SourceKind {
        self.kind
    }

    fn len(&self) -> usize {
        self.len
    }

    fn id(&self, row: usize) -> Cow<'_, str> {
        self.locate(row).map(|(shard, image)| shard.id(image)).unwrap_or_default()
    }

    fn read(&self, row: usize) -> Result<Stored<'_>> {
        let (shard, image) = self.locate(row)?;
        match &shard.file {
            Some(file) => shard.read_one(file, image),
            None => {
                let file = shard.open().map_err(|problem| Error::lost(&shard.path, problem))?;
                shard.read_one(&file, image)
            }
        }
    }

    fn shards(&self) -> &[usize] {
        if self.kind == SourceKind::Tar { &[] } else { &self.starts }
    }

    fn bytes(&self, row: usize) -> u64 {
        self.locate(row).map_or(0, |(shard, image)| shard.images[image].len.into())
    }

    fn read_shard(&self, shard: usize, rows: &[usize]) -> Vec<Result<Stored<'static>>> {
        let start = self.starts[shard];
        self.shards[shard].read(&rows.iter().map(|row| row - start).collect::<Vec<_>>())
    }

    fn fingerprint(&self) -> Result<blake3::Hash> {
        let mut hasher = super::fingerprint_of(self.kind);
        for shard in &self.shards {
            super::add_metadata(&mut hasher, &shard.path)?;
            for (path, image) in shard.paths().zip(&shard.images) {
                hasher.update(path.as_bytes());
                hasher.update(&image.offset.to_le_bytes());
                hasher.update(&u64::from(image.len).to_le_bytes());
            }
        }
        Ok(hasher.finalize())
    }
}
