//! Names of results by everything that decides them.

use hebbian::error::{Error, Result};
use serde::Serialize;

/// A record's canonical text and the hash that names it.
pub(crate) struct Key {
    /// Canonical TOML: fields in the order of their type, tables sorted.
    pub(crate) text: String,
    /// 16 hexadecimal digits of its blake3 hash.
    pub(crate) id: String,
}

impl Key {
    /// The key of a record.
    pub(crate) fn of(record: &impl Serialize) -> Result<Self> {
        let text = toml::to_string(record)
            .map_err(|e| Error::Data(format!("a key can't be written as TOML: {e}")))?;
        let id = blake3::hash(text.as_bytes()).to_hex().as_str()[..16].to_owned();
        Ok(Self { text, id })
    }
}
