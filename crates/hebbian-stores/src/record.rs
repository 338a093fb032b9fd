//! What a server holds of an item.

use std::slice;

use hebbian_search::{Error, Item, Result, check_batch};

/// What items are told apart by: the BLAKE3 of the id. Ids can be longer than what servers take
/// as a key, and hold characters that their languages give a meaning to; keys are alike in length,
/// spread evenly, and plain when written as hexadecimal digits.
pub(crate) type Key = [u8; 32];

/// The key of an id.
pub(crate) fn key(id: &str) -> Key {
    *blake3::hash(id.as_bytes()).as_bytes()
}

/// Whether an item and its vector have changed: a BLAKE3 of both.
pub(crate) fn digest(item: &Item, vector: &[f32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let texts = [Some(&item.id), item.label.as_ref(), item.location.as_ref()];
    let texts = texts.map(|text| text.map(|text| text.as_bytes()));
    for part in texts.into_iter().chain([item.content.as_ref().map(|content| &content[..])]) {
        // With its length, so that no two lists of parts read the same.
        hasher.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        hasher.update(part.unwrap_or_default());
    }
    let mut bytes = Vec::with_capacity(4 * vector.len());
    bytes.extend(vector.iter().flat_map(|value| value.to_le_bytes()));
    hasher.update(&bytes);
    *hasher.finalize().as_bytes()
}

/// An item with its vector, to be written.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) key: Key,
    pub(crate) item: &'a Item,
    pub(crate) vector: &'a [f32],
    /// Its place in the store's order.
    pub(crate) position: i64,
    pub(crate) digest: [u8; 32],
}

/// An item with its vector, as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) item: Item,
    pub(crate) vector: Vec<f32>,
    pub(crate) position: i64,
}

impl Stored {
    /// Takes what `store` gave, if it is what was written under `key`.
    pub(crate) fn checked(self, key: &[u8], dim: usize, store: &str) -> Result<Self> {
        let foreign = |problem| Error::Server {
            store: store.to_owned(),
            problem: format!("holds an item that hebb did not write ({problem}); fill it anew"),
        };
        if key != self::key(&self.item.id) {
            return Err(foreign("its key is not that of its id".to_owned()));
        }
        check_batch(slice::from_ref(&self.item), &self.vector, dim, 0)
            .map_err(|error| foreign(error.to_string()))?;
        Ok(self)
    }
}

/// What is listed of an item without reading it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) digest: [u8; 32],
    pub(crate) position: i64,
}

/// 32 bytes, or an error about `store`.
pub(crate) fn hash(bytes: &[u8], store: &str) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| Error::Server {
        store: store.to_owned(),
        problem: "holds a hash that is not 32 bytes long; fill it anew".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_tell_every_change() {
        let item = Item { id: "ab".into(), label: Some("c".into()), ..Item::default() };
        let same = digest(&item, &[1.0]);
        assert_eq!(same, digest(&item.clone(), &[1.0]));
        let others = [
            digest(&item, &[1.0, 0.0]),
            digest(&item, &[-1.0]),
            digest(&Item { id: "a".into(), ..item.clone() }, &[1.0]),
            digest(&Item { id: "a".into(), label: Some("bc".into()), ..Item::default() }, &[1.0]),
            digest(&Item { label: None, ..item.clone() }, &[1.0]),
            digest(&Item { label: Some(String::new()), ..item.clone() }, &[1.0]),
            digest(&Item { label: None, location: Some("c".into()), ..item.clone() }, &[1.0]),
            digest(&Item { content: Some([0; 32]), ..item }, &[1.0]),
        ];
        assert!(others.iter().all(|other| *other != same));
    }

    #[test]
    fn what_was_not_written_is_refused() {
        let item = Item { id: "a".into(), ..Item::default() };
        let stored =
            |vector: &[f32]| Stored { item: item.clone(), vector: vector.into(), position: 0 };
        assert!(stored(&[1.0]).checked(&key("a"), 1, "s").is_ok());
        assert!(stored(&[1.0]).checked(&key("b"), 1, "s").is_err());
        assert!(stored(&[1.0]).checked(b"", 1, "s").is_err());
        assert!(stored(&[1.0]).checked(&key("a"), 2, "s").is_err());
        assert!(stored(&[f32::NAN]).checked(&key("a"), 1, "s").is_err());
    }
}
