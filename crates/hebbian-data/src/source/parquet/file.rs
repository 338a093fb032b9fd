//! One Parquet file: its columns, labels and images.

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use serde::Deserialize;

use super::super::read_at::ReadAt;
use super::super::shards::MAX_CLASS;
use crate::{Error, Result};

/// Name of the threads that Parquet files are read in. Should one panic, then
/// of a damaged file, which is reported as an error: a program may keep quiet
/// about it.
pub const PARQUET_THREAD: &str = "hebbian-parquet";

/// Names of the column of images.
const IMAGE: [&str; 2] = ["image", "img"];
/// Names of the column of labels.
const LABEL: [&str; 2] = ["label", "fine_label"];
/// Labels decoded at a time.
const LABELS: usize = 8192;

/// What is read of a file when it is opened.
pub(super) struct Contents {
    /// First row of each row group, and about how many bytes an image of it takes.
    pub(super) groups: Vec<(usize, u64)>,
    pub(super) len: usize,
    /// Length of the file.
    pub(super) bytes: u64,
    pub(super) labels: Vec<Option<u32>>,
    /// Of the classes, where they are there.
    pub(super) names: Option<Vec<String>>,
}

/// Runs `read` on an open file in a thread of its own: the Parquet library
/// panics on some damaged pages, and nothing outlives that but the error.
pub(super) fn guarded<T: Send>(
    path: &Path,
    read: impl FnOnce(Reader) -> std::result::Result<T, String> + Send,
) -> Result<T> {
    std::fs::metadata(path).map_err(Error::io("open", path))?;
    quietly(|| read(Reader::open(path)?)).map_err(|problem| Error::format(path, problem))
}

/// Runs `read` in a thread of its own; its panic is a problem in words.
pub(super) fn quietly<T: Send>(
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

/// An open file, as the Parquet library reads it.
struct Chunks(Arc<ReadAt>);

/// Reads it from somewhere on.
struct Chunk {
    file: Arc<ReadAt>,
    at: u64,
}

impl Read for Chunk {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.file.len().saturating_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        self.file.fill(self.at, &mut out[..len])?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Chunk>;

    fn get_read(&self, at: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(Chunk { file: Arc::clone(&self.0), at }))
    }

    fn get_bytes(&self, at: u64, length: usize) -> parquet::errors::Result<Bytes> {
        Ok(self.0.bytes(at, length as u64)?.into())
    }
}

/// An open file and its length.
pub(super) struct Reader {
    file: SerializedFileReader<Chunks>,
    len: u64,
}

impl Reader {
    pub(super) fn open(path: &Path) -> std::result::Result<Self, String> {
        let file = ReadAt::open(path).map_err(|error| match error {
            Error::Io { action, reason, .. } => format!("can't be used ({action}: {reason})"),
            error => error.to_string(),
        })?;
        let len = file.len();
        let file = SerializedFileReader::new(Chunks(Arc::new(file))).map_err(decode)?;
        Ok(Self { file, len })
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

pub(super) fn contents(reader: &Reader) -> std::result::Result<Contents, String> {
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
    Ok(Contents { groups, len, bytes: reader.len, labels, names })
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
pub(super) struct Cursor {
    pub(super) reader: Reader,
    pub(super) group: usize,
    /// Row of the group that comes next.
    pub(super) next: usize,
    column: ColumnReaderImpl<ByteArrayType>,
    /// Level of an image that is there.
    there: i16,
}

impl Cursor {
    pub(super) fn new(reader: Reader, group: usize) -> std::result::Result<Self, String> {
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
    pub(super) fn read(&mut self, row: usize) -> std::result::Result<Option<Vec<u8>>, String> {
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
