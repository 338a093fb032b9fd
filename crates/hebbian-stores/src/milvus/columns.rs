//! Rows as Milvus has them: column by column.

use std::collections::HashMap;

use hebbian_search::{Error, Item, Result};
use serde::{Deserialize, Serialize};

use super::messages::{
    Arrays, Column, ColumnData, Floats, Integers, ScalarData, Scalars, Strings, Vectors, data_type,
};
use super::tags::tags;
use crate::record::{Entry, Key, Row, Stored};

/// What is read of an item, and what is read to list one.
pub(super) const FULL: [&str; 5] = ["key", "id", "about", "position", "vector"];
pub(super) const ENTRY: [&str; 3] = ["key", "digest", "position"];

/// What is known of an item besides its id.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    label: Option<String>,
    location: Option<String>,
    content: Option<String>,
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*bytes).to_hex().to_string()
}

fn unhex(digits: &str) -> Option<[u8; 32]> {
    blake3::Hash::from_hex(digits).ok().map(|hash| *hash.as_bytes())
}

/// Whether `text` is a key as it is written.
pub(super) fn is_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// The columns of rows to be written.
pub(super) fn columns(rows: &[Row<'_>]) -> Result<Vec<Column>> {
    let about = |item: &Item| {
        let content = item.content.as_ref().map(hex);
        let about = About { label: item.label.clone(), location: item.location.clone(), content };
        serde_json::to_string(&about).map_err(|error| Error::Io(error.into()))
    };
    let abouts: Result<Vec<String>> = rows.iter().map(|row| about(row.item)).collect();
    let tags = rows.iter().map(|row| Scalars { data: Some(strings(tags(row.item))) });
    let tags = Arrays { data: tags.collect(), element_type: data_type::VARCHAR };
    let positions = Integers { data: rows.iter().map(|row| row.position).collect() };
    let floats = Floats { data: rows.iter().flat_map(|row| row.vector).copied().collect() };
    let dim = rows.first().map_or(0, |row| row.vector.len()) as i64;
    let column = |name: &str, kind: i32, data: ColumnData| Column {
        kind,
        field_name: name.to_owned(),
        data: Some(data),
    };
    let scalars = |name: &str, kind: i32, data: ScalarData| {
        column(name, kind, ColumnData::Scalars(Scalars { data: Some(data) }))
    };
    let text = |name: &str, data: Vec<String>| scalars(name, data_type::VARCHAR, strings(data));
    Ok(vec![
        text("key", rows.iter().map(|row| hex(&row.key)).collect()),
        text("id", rows.iter().map(|row| row.item.id.clone()).collect()),
        text("about", abouts?),
        scalars("tags", data_type::ARRAY, ScalarData::Arrays(tags)),
        text("digest", rows.iter().map(|row| hex(&row.digest)).collect()),
        scalars("position", data_type::INT64, ScalarData::Integers(positions)),
        column(
            "vector",
            data_type::FLOAT_VECTOR,
            ColumnData::Vectors(Vectors { dim, floats: Some(floats) }),
        ),
    ])
}

fn strings(data: Vec<String>) -> ScalarData {
    ScalarData::Strings(Strings { data })
}

/// Rows that were read; nothing about them is taken for granted.
pub(super) struct Table {
    columns: HashMap<String, ColumnData>,
    dim: usize,
    store: String,
}

impl Table {
    pub(super) fn new(columns: Vec<Column>, dim: usize, store: &str) -> Self {
        let columns =
            columns.into_iter().filter_map(|column| Some((column.field_name, column.data?)));
        Self { columns: columns.collect(), dim, store: store.to_owned() }
    }

    fn wrong(&self, problem: &str) -> Error {
        let problem = format!("holds what hebb did not write ({problem}); fill it anew");
        Error::Server { store: self.store.clone(), problem }
    }

    fn scalars(&mut self, name: &str) -> Option<ScalarData> {
        match self.columns.remove(name)? {
            ColumnData::Scalars(scalars) => scalars.data,
            ColumnData::Vectors(_) => None,
        }
    }

    /// A column without rows may be left out.
    fn texts(&mut self, name: &str) -> Result<Vec<String>> {
        match self.scalars(name) {
            None => Ok(Vec::new()),
            Some(ScalarData::Strings(texts)) => Ok(texts.data),
            Some(_) => Err(self.wrong("a column that is not text")),
        }
    }

    fn integers(&mut self, name: &str) -> Result<Vec<i64>> {
        match self.scalars(name) {
            None => Ok(Vec::new()),
            Some(ScalarData::Integers(integers)) => Ok(integers.data),
            Some(_) => Err(self.wrong("a column that holds no numbers")),
        }
    }

    /// The number of rows that was asked for in their place.
    pub(super) fn count(mut self) -> Result<usize> {
        let count = self.integers("count(*)")?;
        let count = count.first().and_then(|&count| usize::try_from(count).ok());
        count.ok_or_else(|| self.wrong("no number of rows"))
    }

    /// Keys and ids.
    pub(super) fn ids(mut self) -> Result<Vec<(String, String)>> {
        let (keys, ids) = (self.texts("key")?, self.texts("id")?);
        if keys.len() != ids.len() || !keys.iter().all(|key| is_key(key)) {
            return Err(self.wrong("keys that are none"));
        }
        Ok(keys.into_iter().zip(ids).collect())
    }

    /// Rows of [`ENTRY`].
    pub(super) fn entries(mut self) -> Result<Vec<Entry>> {
        let (keys, digests) = (self.texts("key")?, self.texts("digest")?);
        let positions = self.integers("position")?;
        if [digests.len(), positions.len()] != [keys.len(); 2] {
            return Err(self.wrong("columns of different lengths"));
        }
        let rows = keys.iter().zip(&digests).zip(positions);
        let entries = rows.map(|((key, digest), position)| {
            Some(Entry { key: unhex(key)?, digest: unhex(digest)?, position })
        });
        entries.collect::<Option<_>>().ok_or_else(|| self.wrong("hashes that are none"))
    }

    /// Rows of [`FULL`].
    pub(super) fn stored(mut self) -> Result<Vec<Stored>> {
        let (keys, ids) = (self.texts("key")?, self.texts("id")?);
        let (abouts, positions) = (self.texts("about")?, self.integers("position")?);
        let values = match self.columns.remove("vector") {
            Some(ColumnData::Vectors(vectors)) => vectors.floats.unwrap_or_default().data,
            _ => Vec::new(),
        };
        if [ids.len(), abouts.len(), positions.len()] != [keys.len(); 3]
            || values.len() != keys.len() * self.dim
        {
            return Err(self.wrong("columns of different lengths"));
        }
        let mut rows = Vec::with_capacity(keys.len());
        let vectors = values.chunks_exact(self.dim);
        for ((((key, id), about), position), vector) in
            keys.into_iter().zip(ids).zip(abouts).zip(positions).zip(vectors)
        {
            let key: Key = unhex(&key).ok_or_else(|| self.wrong("a key that is none"))?;
            let about: About =
                serde_json::from_str(&about).map_err(|error| self.wrong(&error.to_string()))?;
            let content = about.content.map(|content| unhex(&content));
            if content == Some(None) {
                return Err(self.wrong("a content hash that is none"));
            }
            let (label, location, content) = (about.label, about.location, content.flatten());
            let item = Item { id, label, location, content };
            let stored = Stored { item, vector: vector.to_vec(), position };
            rows.push(stored.checked(&key, self.dim, &self.store)?);
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{digest, key};

    fn written() -> Vec<Column> {
        let item = Item {
            id: "a/\"b\"\0".into(),
            label: Some("é".into()),
            location: None,
            content: Some([7; 32]),
        };
        let vector = [1.0, 2.0];
        let (key, digest) = (key(&item.id), digest(&item, &vector));
        columns(&[Row { key, item: &item, vector: &vector, position: 5, digest }]).unwrap()
    }

    #[test]
    fn rows_come_back_as_they_were_written() {
        let table = || Table::new(written(), 2, "here");
        let stored = table().stored().unwrap();
        assert_eq!(stored[0].item.label.as_deref(), Some("é"));
        assert_eq!(stored[0].item.content, Some([7; 32]));
        assert_eq!((stored[0].position, &stored[0].vector), (5, &vec![1.0, 2.0]));
        assert_eq!(table().entries().unwrap()[0].digest, digest(&stored[0].item, &[1.0, 2.0]));
        assert_eq!(table().ids().unwrap()[0].1, "a/\"b\"\0");
        assert!(Table::new(Vec::new(), 2, "here").stored().unwrap().is_empty());
    }

    #[test]
    fn damaged_rows_are_refused() {
        let damages: [fn(&mut Vec<Column>); 7] = [
            |columns| columns.truncate(5),
            |columns| columns[0].data = columns[1].data.clone(),
            |columns| columns[1].data = columns[2].data.clone(),
            |columns| columns[2].data = columns[1].data.clone(),
            |columns| columns[5].data = columns[1].data.clone(),
            |columns| columns[6].data = columns[1].data.clone(),
            |columns| {
                let floats = Floats { data: vec![f32::NAN, 0.0] };
                let vectors = Vectors { dim: 2, floats: Some(floats) };
                columns[6].data = Some(ColumnData::Vectors(vectors));
            },
        ];
        for (i, damage) in damages.into_iter().enumerate() {
            let mut columns = written();
            damage(&mut columns);
            let error = Table::new(columns, 2, "here").stored().unwrap_err();
            assert!(error.to_string().starts_with("here: holds"), "{i}: {error}");
        }
    }
}
