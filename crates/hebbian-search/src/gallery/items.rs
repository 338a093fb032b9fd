//! `items.parquet`: which image each vector belongs to.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::{Error, Result};

/// Longest text of an item, in bytes.
pub const MAX_TEXT_BYTES: usize = 4096;

/// Name of the thread that items are read in. Should it panic, then of a damaged file, which is
/// reported as an error: a program may keep quiet about it.
pub const ITEMS_THREAD: &str = "hebbian-items";

/// The columns, in the order of the files written here. Only the first must be there.
const COLUMNS: [&str; 4] = ["id", "label", "location", "content"];
/// Items decoded at a time.
const BATCH: usize = 1024;
/// Memory that a byte of the file may turn into. An honest file stays below 40: an item takes at
/// least 5 bytes there and up to 200 here with its four texts.
const EXPANSION: usize = 64;
/// Memory that an item of another program's file, which may be compressed, may take besides.
const FOREIGN_ITEM_BYTES: usize = 1024;

/// What a vector of a gallery stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Name that tells the item from all others, such as a path within the source.
    pub id: String,
    /// Name of its class, where known.
    pub label: Option<String>,
    /// Where the image can be found, such as a path or an address.
    pub location: Option<String>,
    /// BLAKE3 of the image's content, where known: equal for equal images, whatever their names.
    pub content: Option<[u8; 32]>,
}

impl Item {
    /// Fails if a text is too long to be stored; `row` is the item's number for the message.
    pub(crate) fn check(&self, row: usize) -> Result<()> {
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

/// Reads the content of an `items.parquet` of `len` items; `path` names it in messages.
///
/// # Errors
/// [`Error::Malformed`], also if it holds more or fewer than `len` items, or a text longer than
/// [`MAX_TEXT_BYTES`].
pub fn parse_items(content: Vec<u8>, len: usize, path: &Path) -> Result<Vec<Item>> {
    let budget = content.len().saturating_mul(EXPANSION);
    guarded(content, path, Rules { len, compressed: false, budget })
}

/// Reads `len` items from the content of a Parquet file that another program may have written: a
/// text column `id`, and `label`, `location` and `content` where they are; others are ignored.
/// Compression may be Snappy.
///
/// # Errors
/// As [`parse_items`].
pub fn parse_foreign_items(content: Vec<u8>, len: usize, path: &Path) -> Result<Vec<Item>> {
    let foreign = len.saturating_mul(FOREIGN_ITEM_BYTES);
    let budget = content.len().saturating_mul(EXPANSION).saturating_add(foreign);
    guarded(content, path, Rules { len, compressed: true, budget })
}

/// What a file must be like.
struct Rules {
    len: usize,
    /// Whether it may be compressed.
    compressed: bool,
    /// Bytes of memory that its items may take.
    budget: usize,
}

fn guarded(content: Vec<u8>, path: &Path, rules: Rules) -> Result<Vec<Item>> {
    let foreign = rules.compressed;
    let malformed = |problem| match (path.to_owned(), foreign) {
        (path, true) => Error::Foreign { path, problem },
        (path, false) => Error::Malformed { path, problem },
    };
    // The Parquet library panics on some damaged pages. The checksum keeps accidents away from it;
    // this is for files made to do harm. Nothing outlives the panic but the error.
    let reader = std::thread::Builder::new().name(ITEMS_THREAD.to_owned());
    let reader = reader.spawn(move || decode_items(content, rules))?;
    reader
        .join()
        .unwrap_or_else(|_| Err("is not valid Parquet (a page contradicts itself)".to_owned()))
        .map_err(malformed)
}

fn decode_items(content: Vec<u8>, rules: Rules) -> Result<Vec<Item>, String> {
    let Rules { len, compressed, mut budget } = rules;
    let decode = |error: ParquetError| format!("is not valid Parquet ({error})");
    let file = SerializedFileReader::new(Bytes::from(content)).map_err(decode)?;
    let metadata = file.metadata();
    let columns = find_columns(metadata)?;
    let rows = metadata.file_metadata().num_rows();
    if usize::try_from(rows) != Ok(len) {
        return Err(format!("holds {rows} items; there are {len} vectors"));
    }
    let mut items = Vec::new();
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group).map_err(decode)?;
        check_compression(group.metadata(), columns, compressed)?;
        let mut readers = Vec::new();
        for (name, index) in COLUMNS.into_iter().zip(columns) {
            let Some(index) = index else {
                readers.push(None);
                continue;
            };
            let ColumnReader::ByteArrayColumnReader(reader) =
                group.get_column_reader(index).map_err(decode)?
            else {
                return Err(format!("column {name} is not text"));
            };
            let column = metadata.file_metadata().schema_descr().column(index);
            readers.push(Some(TextColumn { name, optional: column.max_def_level() > 0, reader }));
        }
        let mut left = usize::try_from(group.metadata().num_rows())
            .ok()
            .filter(|&rows| rows <= len - items.len())
            .ok_or("has row groups that hold more items than the file")?;
        while left > 0 {
            let n = left.min(BATCH);
            let mut read = |column: usize| match readers.get_mut(column) {
                Some(Some(column)) => column.read(n, &mut budget),
                _ => Ok(vec![None; n]),
            };
            let texts = read(0)?.into_iter().zip(read(1)?).zip(read(2)?).zip(read(3)?);
            for (((id, label), location), content) in texts {
                let id = id.ok_or_else(|| format!("has no id for item {}", items.len()))?;
                let hash = |hex: String| {
                    let hash = blake3::Hash::from_hex(hex.as_bytes());
                    hash.map_err(|_| format!("holds a content that is no BLAKE3 hash: {hex:?}"))
                };
                let content = content.map(hash).transpose()?.map(<[u8; 32]>::from);
                items.push(Item { id, label, location, content });
            }
            left -= n;
        }
    }
    if items.len() != len {
        return Err(format!("holds {} of {len} items", items.len()));
    }
    Ok(items)
}

/// Position of each of [`COLUMNS`] in the file.
fn find_columns(metadata: &ParquetMetaData) -> Result<[Option<usize>; 4], String> {
    let schema = metadata.file_metadata().schema_descr();
    let find = |name: &str| {
        let is = |column: &Arc<parquet::schema::types::ColumnDescriptor>| {
            column.path().parts() == [name] && column.max_rep_level() == 0
        };
        schema.columns().iter().position(is)
    };
    let columns = COLUMNS.map(find);
    if columns[0].is_none() {
        let names: Vec<&str> = schema.columns().iter().map(|column| column.name()).collect();
        return Err(format!("has columns {names:?}; a text column \"id\" must be among them"));
    }
    Ok(columns)
}

fn check_compression(
    group: &RowGroupMetaData,
    columns: [Option<usize>; 4],
    compressed: bool,
) -> Result<(), String> {
    for (name, index) in COLUMNS.into_iter().zip(columns) {
        let column = index.and_then(|index| group.columns().get(index));
        match column.map(|column| column.compression()) {
            None | Some(Compression::UNCOMPRESSED) => {}
            Some(Compression::SNAPPY) if compressed => {}
            Some(other) => {
                return Err(format!(
                    "has column {name} compressed by {other}; write it uncompressed or, to be \
                     imported, with Snappy"
                ));
            }
        }
    }
    Ok(())
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
    use super::super::items_writer::{GROUP_ITEMS, ItemsWriter};
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
                content: (i % 7 > 0).then(|| *blake3::hash(&[i as u8]).as_bytes()),
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
        assert!(error.starts_with("items.parquet: holds 5 items; there are 6 vectors"), "{error}");
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
