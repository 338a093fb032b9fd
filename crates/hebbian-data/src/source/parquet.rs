//! Parquet files with a column of images, as Hugging Face publishes them:
//! `image` with `bytes` and `path`, and `label`, an integer whose class names
//! stand in the file's metadata.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use parquet::basic::{Compression, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use rayon::prelude::*;
use serde::Deserialize;

use super::shards::{self, MAX_CLASS};
use super::{Opened, Part, Source, SourceKind, Stored};
use crate::{Error, Result, batches};

/// Name of the threads that Parquet files are read in. Should one panic, then
/// of a damaged file, which is reported as an error: a program may keep quiet
/// about it.
pub const PARQUET_THREAD: &str = "hebbian-parquet";

/// Names of the column of images.
const IMAGE: [&str; 2] = ["image", "img"];
/// Names of the column of labels.
const LABEL: [&str; 2] = ["label", "fine_label"];
/// Files that are kept open where reading stopped.
const OPEN: usize = 32;
/// Labels decoded at a time.
const LABELS: usize = 8192;

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
}

impl Shard {
    fn id(&self, row: usize) -> String {
        format!("{}/{row}", self.prefix)
    }

    /// About how many bytes image `row` takes.
    fn bytes(&self, row: usize) -> u64 {
        let group = self.groups.partition_point(|&(start, _)| start <= row).checked_sub(1);
        group.map_or(0, |group| self.groups[group].1)
    }
}

/// What is read of a file when it is opened.
struct Contents {
    groups: Vec<(usize, u64)>,
    len: usize,
    labels: Vec<Option<u32>>,
    names: Option<Vec<String>>,
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
        let Contents { groups, len, .. } = contents;
        files.push(Shard { path: path.clone(), prefix, groups, len });
    }
    let bad = |problem| Error::format(shown, problem);
    let classes = shards::class_names(&labels, names.map(|(names, _)| names)).map_err(bad)?;
    let (starts, len) = shards::starts(files.iter().map(|file| file.len));
    let source = Parquet { files, starts, len, open: Mutex::default() };
    Ok(Opened { source: Arc::new(source), labels, classes })
}

/// Runs `read` on an open file in a thread of its own: the Parquet library
/// panics on some damaged pages, and nothing outlives that but the error.
fn guarded<T: Send>(
    path: &Path,
    read: impl FnOnce(Reader) -> std::result::Result<T, String> + Send,
) -> Result<T> {
    fs_err::metadata(path).map_err(Error::io("open", path))?;
    quietly(|| read(Reader::open(path)?)).map_err(|problem| Error::format(path, problem))
}

/// Runs `read` in a thread of its own; its panic is a problem in words.
fn quietly<T: Send>(
    read: impl FnOnce() -> std::result::Result<T, String> + Send,
) -> std::result::Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(PARQUET_THREAD.to_owned());
        let thread = thread.spawn_scoped(scope, read).map_err(|error| error.to_string())?;
        let panicked = |_| Err("is not valid Parquet (a page contradicts itself)".to_owned());
        thread.join().unwrap_or_else(panicked)
    })
}

fn decode(error: ParquetError) -> String {
    format!("is not valid Parquet ({error})")
}

/// An open file and its length.
struct Reader {
    file: SerializedFileReader<File>,
    len: u64,
}

impl Reader {
    fn open(path: &Path) -> std::result::Result<Self, String> {
        let file = File::open(path).map_err(|error| format!("can't be opened ({error})"))?;
        let len = file.metadata().map_err(|error| format!("can't be examined ({error})"))?.len();
        Ok(Self { file: SerializedFileReader::new(file).map_err(decode)?, len })
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.file.metadata()
    }

    /// The column whose path is one of `paths`.
    fn column(&self, paths: &[String]) -> Option<usize> {
        let columns = self.metadata().file_metadata().schema_descr().columns();
        let find = |path: &String| columns.iter().position(|c| c.path().string() == *path);
        paths.iter().find_map(find)
    }

    /// The column of the images' bytes, which must be there.
    fn image(&self) -> std::result::Result<usize, String> {
        let paths = IMAGE.iter().flat_map(|name| [format!("{name}.bytes"), (*name).to_owned()]);
        let column = self.column(&paths.collect::<Vec<_>>());
        let column = column.ok_or("has no column image with bytes in it")?;
        let schema = self.metadata().file_metadata().schema_descr();
        let column_type = schema.column(column);
        if column_type.physical_type() != Type::BYTE_ARRAY || column_type.max_rep_level() > 0 {
            return Err("has a column image that holds no bytes, or lists of them".to_owned());
        }
        Ok(column)
    }

    fn check_compression(&self, group: usize, column: usize) -> std::result::Result<(), String> {
        match self.metadata().row_group(group).column(column).compression() {
            Compression::UNCOMPRESSED | Compression::SNAPPY => Ok(()),
            other => Err(format!("is compressed by {other}; write it with Snappy or uncompressed")),
        }
    }
}

fn contents(reader: &Reader) -> std::result::Result<Contents, String> {
    let metadata = reader.metadata();
    let column = reader.image()?;
    let label = reader.column(&LABEL.map(str::to_owned));
    let names = class_names(metadata, label);
    let (mut groups, mut labels, mut len) = (Vec::new(), Vec::new(), 0);
    for group in 0..metadata.num_row_groups() {
        let rows = metadata.row_group(group).num_rows();
        // An image takes a byte at least: a file that promises more is damaged.
        let most = usize::try_from(reader.len).unwrap_or(usize::MAX) - len;
        let rows = usize::try_from(rows).ok().filter(|&rows| rows <= most);
        let rows = rows.ok_or("promises more images than it has bytes")?;
        reader.check_compression(group, column)?;
        let bytes = metadata.row_group(group).column(column).uncompressed_size();
        let bytes = u64::try_from(bytes).unwrap_or(0) / rows.max(1) as u64;
        groups.push((len, bytes));
        len += rows;
        match label {
            None => labels.resize(len, None),
            Some(label) => {
                reader.check_compression(group, label)?;
                read_labels(reader, group, label, rows, &mut labels)?;
            }
        }
    }
    Ok(Contents { groups, len, labels, names })
}

/// The class names that Hugging Face's `datasets` writes for the column.
fn class_names(metadata: &ParquetMetaData, label: Option<usize>) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Written {
        info: Info,
    }
    #[derive(Deserialize)]
    struct Info {
        features: serde_json::Map<String, serde_json::Value>,
    }
    let file = metadata.file_metadata();
    let label = file.schema_descr().column(label?);
    let entries = file.key_value_metadata()?;
    let written = entries.iter().find(|entry| entry.key == "huggingface")?.value.as_ref()?;
    let written: Written = serde_json::from_str(written).ok()?;
    let names = written.info.features.get(label.name())?.get("names")?.as_array()?;
    names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

fn read_labels(
    reader: &Reader,
    group: usize,
    column: usize,
    rows: usize,
    labels: &mut Vec<Option<u32>>,
) -> std::result::Result<(), String> {
    let may_miss = reader.metadata().file_metadata().schema_descr().column(column).max_def_level();
    let group = reader.file.get_row_group(group).map_err(decode)?;
    let values: Vec<Option<i64>> = match group.get_column_reader(column).map_err(decode)? {
        ColumnReader::Int64ColumnReader(column) => integers::<Int64Type>(column, rows, may_miss)?,
        ColumnReader::Int32ColumnReader(column) => integers::<Int32Type>(column, rows, may_miss)?,
        _ => {
            let must =
                "give the labels as integers, or by --labels FILE.csv with the column renamed";
            return Err(format!("has a column label that holds no integers; {must}"));
        }
    };
    for value in values {
        let label = value.filter(|value| *value >= 0).map(u32::try_from).transpose();
        let label = label.ok().filter(|label| label.is_none_or(|label| label <= MAX_CLASS));
        labels.push(label.ok_or_else(|| format!("has a label above {MAX_CLASS}"))?);
    }
    Ok(())
}

fn integers<T: DataType>(
    mut column: ColumnReaderImpl<T>,
    rows: usize,
    may_miss: i16,
) -> std::result::Result<Vec<Option<i64>>, String>
where
    T::T: Into<i64>,
{
    let mut found = Vec::new();
    while found.len() < rows {
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let most = LABELS.min(rows - found.len());
        let (records, _, _) =
            column.read_records(most, Some(&mut levels), None, &mut values).map_err(decode)?;
        if records == 0 {
            return Err("has fewer labels than images".to_owned());
        }
        let mut values = values.into_iter().map(Into::into);
        if may_miss == 0 {
            found.extend(values.map(Some));
        } else {
            found.extend(
                levels.iter().map(|&level| if level == may_miss { values.next() } else { None }),
            );
        }
    }
    Ok(found)
}

/// Where reading stopped.
struct Cursor {
    reader: Reader,
    group: usize,
    /// Row of the group that comes next.
    next: usize,
    column: ColumnReaderImpl<ByteArrayType>,
    /// Level of an image that is there.
    there: i16,
}

impl Cursor {
    fn new(reader: Reader, group: usize) -> std::result::Result<Self, String> {
        let index = reader.image()?;
        let there = reader.metadata().file_metadata().schema_descr().column(index).max_def_level();
        let column =
            reader.file.get_row_group(group).and_then(|rows| rows.get_column_reader(index));
        let ColumnReader::ByteArrayColumnReader(column) = column.map_err(decode)? else {
            return Err("has a column image that holds no bytes".to_owned());
        };
        Ok(Self { reader, group, next: 0, column, there })
    }

    /// Image `row` of the group, from the current one on; `None` where it is missing.
    fn read(&mut self, row: usize) -> std::result::Result<Option<Vec<u8>>, String> {
        let cut = || "has fewer images than it promises".to_owned();
        let ahead = row - self.next;
        if self.column.skip_records(ahead).map_err(decode)? != ahead {
            return Err(cut());
        }
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let (records, _, _) =
            self.column.read_records(1, Some(&mut levels), None, &mut values).map_err(decode)?;
        self.next = row + 1;
        if records != 1 {
            return Err(cut());
        }
        let there = self.there == 0 || levels.first() == Some(&self.there);
        Ok(values.first().filter(|_| there).map(|value| value.data().to_vec()))
    }
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
            // What goes wrong costs the rest of the row group, and nothing else.
            let mut problem = "its row holds no image".to_owned();
            match read {
                Ok(at) => cursor = Some(at),
                Err(reason) => problem = format!("the file {reason}"),
            }
            images.resize(own.len(), None);
            found.extend(own.iter().zip(images).map(|(&row, image)| match image {
                Some(bytes) => Ok(Stored::Encoded(bytes.into())),
                None => {
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
