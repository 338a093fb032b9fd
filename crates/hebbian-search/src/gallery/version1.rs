//! Format version 1: one set of files in the gallery's own folder, never changed.

use serde::{Deserialize, Serialize};

use super::manifest::{self, Manifest, SegmentEntry};
use super::{Distance, GalleryInfo};
use crate::Result;

/// BLAKE3 checksums, in hexadecimal.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checksums {
    vectors: String,
    items: String,
    /// Of all other fields.
    pub(super) info: String,
}

/// The content of a `gallery.toml` of version 1.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Info {
    format_version: u32,
    dim: usize,
    len: usize,
    model: String,
    model_name: String,
    layer: String,
    distance: Distance,
    created: String,
    pub(super) checksums: Checksums,
}

impl Info {
    /// Over the text of all fields, the checksum itself left blank.
    pub(super) fn checksum(&self) -> Result<String> {
        let mut blank = self.clone();
        blank.checksums.info.clear();
        Ok(blake3::hash(manifest::serialized(&blank)?.as_bytes()).to_hex().to_string())
    }
}

impl From<Info> for Manifest {
    fn from(info: Info) -> Self {
        let Info { dim, len, model, model_name, layer, distance, created, .. } = info;
        let Checksums { vectors, items, info: checksum } = info.checksums;
        Self {
            format_version: 1,
            generation: 0,
            checksum,
            gallery: GalleryInfo { dim, model, model_name, layer, distance, created },
            segments: vec![SegmentEntry {
                number: 0,
                len,
                vectors,
                items,
                removed: None,
                graph: None,
            }],
        }
    }
}
