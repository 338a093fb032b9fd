//! Writing `items.parquet`.

use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::Item;
use crate::{Error, Result};

const SCHEMA: &str = "message items {
    required binary id (STRING);
    optional binary label (STRING);
    optional binary location (STRING);
    optional binary content (STRING);
}";
/// Items of a row group.
pub(super) const GROUP_ITEMS: usize = 16_384;

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
        let text = |text: &String| ByteArray::from(text.as_bytes().to_vec());
        let hex = |hash: [u8; 32]| ByteArray::from(blake3::Hash::from(hash).to_hex().as_str());
        let columns: [Vec<Option<ByteArray>>; 4] = [
            items.iter().map(|item| Some(text(&item.id))).collect(),
            items.iter().map(|item| item.label.as_ref().map(text)).collect(),
            items.iter().map(|item| item.location.as_ref().map(text)).collect(),
            items.iter().map(|item| item.content.map(hex)).collect(),
        ];
        let mut group = self.file.next_row_group()?;
        for texts in columns {
            let levels: Vec<i16> = texts.iter().map(|text| i16::from(text.is_some())).collect();
            let values: Vec<ByteArray> = texts.into_iter().flatten().collect();
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

/// Writes items into a Parquet file of columns `id`, `label`, `location` and `content` (BLAKE3 in
/// hexadecimal) at `path`, where nothing may be.
///
/// # Errors
/// [`Error::TextTooLong`], [`Error::Io`].
pub fn write_items<'a>(path: &Path, items: impl Iterator<Item = &'a Item>) -> Result<()> {
    let mut writer = ItemsWriter::new(fs_err::File::create_new(path)?)?;
    for (row, item) in items.enumerate() {
        item.check(row)?;
        writer.push(std::slice::from_ref(item))?;
    }
    writer.finish()?.sync_all()?;
    Ok(())
}
