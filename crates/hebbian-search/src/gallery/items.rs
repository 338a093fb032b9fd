//! `items.parquet`: which image each vector belongs to.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::{Error, Result};

/// Longest text of an item, in bytes.
pub const MAX_TEXT_BYTES: usize = 4096;

/// The columns, in the order of the file.
const COLUMNS: [&str; 3] = ["id", "label", "location"];
const SCHEMA: &str = "message items {
    required binary id (STRING);
    optional binary label (STRING);
    optional binary location (STRING);
}";
/// Items of a row group.
pub(super) const GROUP_ITEMS: usize = 16_384;
/// Items decoded at a time.
const BATCH: usize = 1024;
/// Memory that a byte of the file may turn into. An honest file stays below 30: an item takes at
/// least 5 bytes there and up to 150 here with its three texts.
const EXPANSION: usize = 64;

/// What a vector of a gallery stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Name that tells the item from all others, such as a path within the source.
    pub id: String,
    /// Name of its class, where known.
    pub label: Option<String>,
    /// Where the image can be found, such as a path or an address.
    pub location: Option<String>,
}

impl Item {
    /// Fails if a text is too long to be stored; `row` is the item's number for the message.
    pub(super) fn check(&self, row: usize) -> Result<()> {
        let texts = [Some(&self.id), self.label.as_ref(), self.location.as_ref()];
        for (field, text) in COLUMNS.into_iter().zip(texts) {
            let bytes = text.map_or(0, String::len);
            if bytes > MAX_TEXT_BYTES {
                return Err(Error::TextTooLong { item: row, field, bytes, limit: MAX_TEXT_BYTES });
            }
        }
        Ok(())
    }
}

/// Writes items in groups of [`GROUP_ITEMS`].
pub(super) struct ItemsWriter<W: std::io::Write + Send> {
    file: SerializedFileWriter<W>,
    pending: Vec<Item>,
}

impl<W: std::io::Write + Send> ItemsWriter<W> {
    pub(super) fn new(file: W) -> Result<Self> {
        let schema = parse_message_type(SCHEMA).map_err(written)?;
        // Plain text, uncompressed: the file then bounds the memory that reading it takes.
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_created_by("hebbian".to_owned());
        let file = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties.build()))
            .map_err(written)?;
        Ok(Self { file, pending: Vec::new() })
    }

    pub(super) fn push(&mut self, items: &[Item]) -> Result<()> {
        for item in items {
            self.pending.push(item.clone());
            if self.pending.len() == GROUP_ITEMS {
                self.write_group().map_err(written)?;
            }
        }
        Ok(())
    }

    /// Writes the rest and hands the file back.
    pub(super) fn finish(mut self) -> Result<W> {
        if !self.pending.is_empty() {
            self.write_group().map_err(written)?;
        }
        self.file.into_inner().map_err(written)
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let items = std::mem::take(&mut self.pending);
        let columns: [Vec<Option<&String>>; 3] = [
            items.iter().map(|item| Some(&item.id)).collect(),
            items.iter().map(|item| item.label.as_ref()).collect(),
            items.iter().map(|item| item.location.as_ref()).collect(),
        ];
        let mut group = self.file.next_row_group()?;
        for texts in columns {
            let levels: Vec<i16> = texts.iter().map(|text| i16::from(text.is_some())).collect();
            let values: Vec<ByteArray> =
                texts.into_iter().flatten().map(|text| text.as_bytes().to_vec().into()).collect();
            let mut column = group
                .next_column()?
                .ok_or_else(|| ParquetError::General("the schema lacks a column".to_owned()))?;
            // Levels of a required column are ignored.
            column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
            column.close()?;
        }
        group.close()?;
        Ok(())
    }
}

/// Parquet's own message would name no file; the cause is the operating system's.
fn written(error: ParquetError) -> Error {
    Error::Io(std::io::Error::other(format!("items.parquet can't be written: {error}")))
}

/// Reads the content of an `items.parquet` of `len` items; `path` names it in messages.
///
/// # Errors
/// [`Error::Malformed`], also if it holds more or fewer than `len` items, or a text longer than
/// [`MAX_TEXT_BYTES`].
pub fn parse_items(content: Vec<u8>, len: usize, path: &Path) -> Result<Vec<Item>> {
    // The Parquet library panics on some damaged pages. The checksum keeps accidents away from it;
    // this is for files made to do harm. Nothing outlives the panic but the error.
    std::panic::catch_unwind(|| decode_items(content, len, path)).unwrap_or_else(|_| {
        Err(Error::Malformed {
            path: path.to_owned(),
            problem: "is not valid Parquet (a page contradicts itself)".to_owned(),
        })
    })
}

fn decode_items(content: Vec<u8>, len: usize, path: &Path) -> Result<Vec<Item>> {
    let malformed = |problem: String| Error::Malformed { path: path.to_owned(), problem };
    let mut budget = content.len().saturating_mul(EXPANSION);
    let decode = |error: ParquetError| malformed(format!("is not valid Parquet ({error})"));
    let file = SerializedFileReader::new(Bytes::from(content)).map_err(decode)?;
    let metadata = file.metadata();
    let schema = metadata.file_metadata().schema_descr();
    let columns: Vec<&str> = schema.columns().iter().map(|column| column.name()).collect();
    if columns != COLUMNS || schema.columns().iter().any(|column| column.max_rep_level() > 0) {
        return Err(malformed(format!("has columns {columns:?}; they must be {COLUMNS:?}")));
    }
    let rows = metadata.file_metadata().num_rows();
    if usize::try_from(rows) != Ok(len) {
        return Err(malformed(format!("holds {rows} items, gallery.toml says len = {len}")));
    }
    let mut items = Vec::new();
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group).map_err(decode)?;
        let column = |index| match group.get_column_reader(index).map_err(decode)? {
            ColumnReader::ByteArrayColumnReader(reader) => Ok(TextColumn {
                name: COLUMNS[index],
                optional: schema.column(index).max_def_level() > 0,
                reader,
            }),
            _ => Err(malformed(format!("column {} is not text", COLUMNS[index]))),
        };
        let (mut ids, mut labels, mut locations) = (column(0)?, column(1)?, column(2)?);
        let mut left = usize::try_from(group.metadata().num_rows())
            .ok()
            .filter(|&rows| rows <= len - items.len())
            .ok_or_else(|| malformed("the row groups hold more items than the file".to_owned()))?;
        while left > 0 {
            let n = left.min(BATCH);
            let mut read = |column: &mut TextColumn| column.read(n, &mut budget).map_err(malformed);
            let (ids, labels, locations) =
                (read(&mut ids)?, read(&mut labels)?, read(&mut locations)?);
            for ((id, label), location) in ids.into_iter().zip(labels).zip(locations) {
                let id = id.ok_or_else(|| malformed(format!("item {} has no id", items.len())))?;
                items.push(Item { id, label, location });
            }
            left -= n;
        }
    }
    if items.len() != len {
        return Err(malformed(format!("holds {} of {len} items", items.len())));
    }
    Ok(items)
}

/// One column of a row group.
struct TextColumn {
    name: &'static str,
    optional: bool,
    reader: ColumnReaderImpl<ByteArrayType>,
}

impl TextColumn {
    /// The next `n` texts, taken from `budget` bytes of memory; otherwise, the problem.
    fn read(&mut self, n: usize, budget: &mut usize) -> Result<Vec<Option<String>>, String> {
        let name = self.name;
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let mut read = 0;
        while read < n {
            let (records, _, _) = self
                .reader
                .read_records(n - read, Some(&mut levels), None, &mut values)
                .map_err(|error| format!("column {name} can't be decoded ({error})"))?;
            if records == 0 {
                return Err(format!("column {name} is cut short"));
            }
            read += records;
        }
        if !self.optional {
            levels = vec![1; n];
        }
        let mut values = values.into_iter();
        levels
            .into_iter()
            .map(|level| {
                let cost = size_of::<Option<String>>();
                let text = match level {
                    0 => None,
                    _ => Some(values.next().ok_or_else(|| format!("column {name} is cut short"))?),
                };
                let bytes = text.as_ref().map_or(0, ByteArray::len);
                if bytes > MAX_TEXT_BYTES {
                    return Err(format!(
                        "column {name} holds a text of {bytes} bytes, at most {MAX_TEXT_BYTES} are read"
                    ));
                }
                *budget = budget
                    .checked_sub(cost + bytes)
                    .ok_or_else(|| "unpacks to far more than its size".to_owned())?;
                text.map(|text| String::from_utf8(text.data().to_vec()))
                    .transpose()
                    .map_err(|_| format!("column {name} holds a text that is not UTF-8"))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(items: &[Item]) -> Vec<u8> {
        let mut writer = ItemsWriter::new(Vec::new()).unwrap();
        writer.push(items).unwrap();
        writer.finish().unwrap()
    }

    fn parse(content: Vec<u8>, len: usize) -> Result<Vec<Item>> {
        parse_items(content, len, Path::new("items.parquet"))
    }

    fn sample(n: usize) -> Vec<Item> {
        (0..n)
            .map(|i| Item {
                id: format!("train/{i}.jpg"),
                label: (i % 3 > 0).then(|| format!("Kätzchen {}", i % 3)),
                location: (i % 5 > 0).then(|| "x".repeat(i % 40)),
            })
            .collect()
    }

    #[test]
    fn items_survive_writing_and_reading() {
        for n in [0, 1, 7, BATCH + 1, 2 * GROUP_ITEMS + 3] {
            let items = sample(n);
            assert_eq!(parse(write(&items), n).unwrap(), items);
        }
        let empty = vec![Item::default(); GROUP_ITEMS + 1];
        assert_eq!(parse(write(&empty), empty.len()).unwrap(), empty);
    }

    #[test]
    fn another_number_of_items_is_refused() {
        let error = parse(write(&sample(5)), 6).unwrap_err().to_string();
        assert!(
            error.starts_with("items.parquet: holds 5 items, gallery.toml says len = 6"),
            "{error}"
        );
    }

    /// Without the checksum that protects it in a gallery: whatever the bytes, no panic and no
    /// large allocation.
    #[test]
    fn any_damage_is_an_error_or_other_items() {
        let content = write(&sample(100));
        for len in 0..content.len() {
            assert!(parse(content[..len].to_vec(), 100).is_err(), "cut to {len} bytes");
        }
        for at in 0..content.len() {
            for bit in 0..8 {
                let mut damaged = content.clone();
                damaged[at] ^= 1 << bit;
                let _ = parse(damaged, 100).map(|items| assert_eq!(items.len(), 100));
            }
        }
    }
}
