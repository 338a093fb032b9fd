//! `gallery.toml`: one generation of a gallery, naming all that belongs to it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{GalleryInfo, files, version1};
use crate::{Error, Result};

/// The format that this version writes; it reads this one and version 1.
pub const FORMAT_VERSION: u32 = 2;

/// Name of the manifest in the folder of a gallery.
pub(super) const MANIFEST_FILE: &str = "gallery.toml";
/// What it is written to before it takes its place.
pub(super) const MANIFEST_BESIDE: &str = "gallery.toml.tmp";
/// Folder of the segments.
pub(super) const SEGMENTS_FOLDER: &str = "segments";
/// Longest `gallery.toml` that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The content of `gallery.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the gallery format, see [`FORMAT_VERSION`].
    pub format_version: u32,
    /// How many times the gallery was changed.
    pub generation: u64,
    /// BLAKE3 of all other fields, in hexadecimal.
    pub checksum: String,
    /// What the vectors are.
    pub gallery: GalleryInfo,
    /// Where they are; the order of the gallery is that of its segments.
    #[serde(default)]
    pub segments: Vec<SegmentEntry>,
}

/// A segment as the manifest names it: files that never change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentEntry {
    /// Number that names its folder, from 1; 0 is the gallery's own folder, where format version 1
    /// has its files.
    pub number: u64,
    /// Vectors in it, removed ones included.
    pub len: usize,
    /// BLAKE3 of `vectors.safetensors`, in hexadecimal.
    pub vectors: String,
    /// BLAKE3 of `items.parquet`, in hexadecimal.
    pub items: String,
    /// Rows of it that no longer belong to the gallery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<RemovedEntry>,
    /// Its graph for approximate search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<GraphEntry>,
}

/// The file of removed rows of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovedEntry {
    /// Generation that wrote the file and is in its name.
    pub generation: u64,
    /// Number of rows.
    pub len: usize,
    /// BLAKE3 of the file, in hexadecimal.
    pub checksum: String,
}

/// The graph of a segment, and what it finds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphEntry {
    /// Generation that wrote the file and is in its name.
    pub generation: u64,
    /// BLAKE3 of the file, in hexadecimal.
    pub checksum: String,
    /// Share of the true nearest that were found when it was built, in the mean over queries.
    pub recall: f64,
    /// How many nearest were counted.
    pub k: usize,
    /// Vectors of the gallery that were the queries, each left out of its own ranking.
    pub queries: usize,
    /// The breadth of these searches, and of those to come; see [`Graph::search`](crate::Graph::search).
    pub breadth: usize,
}

impl GraphEntry {
    /// Name of the file in the folder of its segment.
    pub(super) fn file_name(&self) -> String {
        format!("graph-{:08}", self.generation)
    }
}

impl SegmentEntry {
    /// The folder of the segment in gallery `root`.
    pub(super) fn folder(&self, root: &Path) -> PathBuf {
        match self.number {
            0 => root.to_owned(),
            number => segment_folder(root, number),
        }
    }
}

impl RemovedEntry {
    /// Name of the file in the folder of its segment.
    pub(super) fn file_name(&self) -> String {
        format!("removed-{:08}", self.generation)
    }
}

/// The folder of segment `number`, from 1, in gallery `root`.
pub(super) fn segment_folder(root: &Path, number: u64) -> PathBuf {
    root.join(SEGMENTS_FOLDER).join(format!("{number:08}"))
}

impl Manifest {
    /// The manifest of a gallery without vectors.
    #[must_use]
    pub fn new(gallery: GalleryInfo) -> Self {
        let format_version = FORMAT_VERSION;
        Self { format_version, generation: 0, checksum: String::new(), gallery, segments: vec![] }
    }

    /// Reads the manifest of the gallery in folder `root`.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let path = root.join(MANIFEST_FILE);
        let text = String::from_utf8(files::read_up_to(&path, MAX_BYTES)?).map_err(|_| {
            Error::Malformed { path: path.clone(), problem: "is not UTF-8 text".to_owned() }
        })?;
        Self::parse(&text, &path)
    }

    /// Puts the manifest in place of the one in folder `root`, if there is one, in one step.
    pub(super) fn write(&mut self, root: &Path) -> Result<()> {
        let beside = root.join(MANIFEST_BESIDE);
        files::write_durably(&beside, self.to_toml()?.as_bytes())?;
        fs_err::rename(&beside, root.join(MANIFEST_FILE))?;
        files::sync_folder(root)
    }

    /// Reads the text of a `gallery.toml`, of format version 1 too; `path` names it in messages.
    ///
    /// # Errors
    /// [`Error::FormatVersion`], [`Error::Malformed`] with the line and field, or
    /// [`Error::Checksum`] if a field was changed after writing.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        /// Only the version, so that a newer format is reported as such and not by its new fields.
        #[derive(Deserialize)]
        struct Version {
            format_version: i64,
        }
        let malformed = |problem: String| Error::Malformed { path: path.to_owned(), problem };
        let syntax = |error: toml::de::Error| {
            let line = error.span().map_or(1, |span| {
                text.bytes().take(span.start).filter(|&byte| byte == b'\n').count() + 1
            });
            malformed(format!("line {line}: {}", error.message().replace('\n', ", ")))
        };
        let version: Version = toml::from_str(text).map_err(syntax)?;
        let (manifest, field) = match version.format_version {
            1 => {
                let info: version1::Info = toml::from_str(text).map_err(syntax)?;
                let whole = info.checksums.info == info.checksum()?;
                (Self::from(info), (!whole).then_some("checksums.info"))
            }
            2 => {
                let manifest: Self = toml::from_str(text).map_err(syntax)?;
                let whole = manifest.checksum == manifest.own_checksum()?;
                (manifest, (!whole).then_some("checksum"))
            }
            found => {
                let (path, supported) = (path.to_owned(), FORMAT_VERSION);
                return Err(Error::FormatVersion { path, found, supported });
            }
        };
        manifest.check().map_err(malformed)?;
        match field {
            Some(field) => Err(Error::Checksum { path: path.to_owned(), field: field.to_owned() }),
            None => Ok(manifest),
        }
    }

    /// What is wrong with the numbers, if anything is.
    fn check(&self) -> Result<(), String> {
        if self.gallery.dim == 0 {
            return Err("dim is 0; it must be at least 1".to_owned());
        }
        let mut numbers = HashSet::new();
        let mut rows = 0_u64;
        for (i, segment) in self.segments.iter().enumerate() {
            if !numbers.insert(segment.number)
                || (segment.number == 0) != (self.format_version == 1)
            {
                return Err(format!("segments[{i}].number is {}", segment.number));
            }
            if segment.removed.as_ref().is_some_and(|removed| removed.len > segment.len) {
                return Err(format!("segments[{i}].removed.len is more than its len"));
            }
            rows = rows.saturating_add(segment.len as u64);
        }
        let bytes = rows.checked_mul(self.gallery.dim as u64).and_then(|n| n.checked_mul(4));
        if rows > u64::from(u32::MAX) || bytes.is_none_or(|bytes| bytes >= 1 << 62) {
            return Err("len times dim is more than any gallery holds".to_owned());
        }
        Ok(())
    }

    /// The text of `gallery.toml`, with the checksum of its fields brought up to date.
    ///
    /// # Errors
    /// [`Error::Io`] if a value can't be written as TOML.
    pub fn to_toml(&mut self) -> Result<String> {
        self.checksum = self.own_checksum()?;
        serialized(self)
    }

    /// Over the text of all fields, the checksum itself left blank, so that spaces and comments
    /// in the file do not count.
    fn own_checksum(&self) -> Result<String> {
        let blank = Self { checksum: String::new(), ..self.clone() };
        Ok(blake3::hash(serialized(&blank)?.as_bytes()).to_hex().to_string())
    }
}

pub(super) fn serialized(value: &impl Serialize) -> Result<String> {
    toml::to_string(value).map_err(|error| Error::Io(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest> {
        Manifest::parse(text, Path::new("gallery.toml"))
    }

    fn manifest() -> Manifest {
        let mut manifest = Manifest::new(GalleryInfo::new(3, "abc", "a \"model\"\nname", "L5"));
        let removed = RemovedEntry { generation: 2, len: 1, checksum: "c".into() };
        let graph = GraphEntry {
            generation: 3,
            checksum: "g".into(),
            recall: 0.975,
            k: 10,
            queries: 200,
            breadth: 64,
        };
        manifest.segments = vec![
            SegmentEntry {
                number: 1,
                len: 7,
                vectors: "a".into(),
                items: "b".into(),
                removed: None,
                graph: None,
            },
            SegmentEntry {
                number: 4,
                len: 2,
                vectors: "d".into(),
                items: "e".into(),
                removed: Some(removed),
                graph: Some(graph),
            },
        ];
        manifest
    }

    #[test]
    fn survives_writing_and_reading() {
        let mut manifest = manifest();
        let text = manifest.to_toml().unwrap();
        assert_eq!(parse(&text).unwrap(), manifest);
        assert_eq!(parse(&format!("# a comment\n{text}\n")).unwrap(), manifest);
        humantime::parse_rfc3339(&manifest.gallery.created).unwrap();
    }

    #[test]
    fn a_changed_field_is_found() {
        let text = manifest().to_toml().unwrap();
        for (from, to) in [("L5", "L4"), ("dim = 3", "dim = 4"), ("abc", "abd"), ("= 7", "= 8")] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            assert!(matches!(parse(&changed), Err(Error::Checksum { .. })), "{from}");
        }
    }

    #[test]
    fn messages_name_file_line_and_field() {
        let text = manifest().to_toml().unwrap();
        let error = parse(&text.replace("dim = 3", "dim = \"x\"")).unwrap_err().to_string();
        assert!(error.starts_with("gallery.toml: line 6: "), "{error}");
        let error = parse(&text.replace("layer", "lair")).unwrap_err().to_string();
        assert!(error.contains("unknown field `lair`"), "{error}");
        assert!(!error.contains('\n'), "{error}");
        let newer = text.replace("format_version = 2", "format_version = 3\nnew = 1");
        let error = parse(&newer).unwrap_err();
        assert!(matches!(error, Error::FormatVersion { found: 3, supported: 2, .. }), "{error}");
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let refused = |change: &dyn Fn(&mut Manifest), words: &str| {
            let mut manifest = manifest();
            change(&mut manifest);
            let error = parse(&manifest.to_toml().unwrap()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(&|m| m.gallery.dim = i64::MAX as usize, "len times dim");
        refused(&|m| m.segments[0].len = 1 << 40, "len times dim");
        refused(&|m| m.gallery.dim = 0, "dim is 0");
        refused(&|m| m.segments[0].number = 4, "segments[1].number is 4");
        refused(&|m| m.segments[0].number = 0, "segments[0].number is 0");
        refused(&|m| m.segments[1].len = 0, "segments[1].removed.len");
    }
}
