//! `gallery.toml`: what the gallery holds and the checksums of its files.

use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The format that this version reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// How the vectors of a gallery are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distance {
    /// Euclidean distance.
    #[default]
    Euclidean,
}

/// BLAKE3 checksums, in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checksums {
    /// Of the whole of `vectors.safetensors`.
    pub vectors: String,
    /// Of the whole of `items.parquet`.
    pub items: String,
    /// Of all other fields of `gallery.toml`.
    pub info: String,
}

/// The content of `gallery.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GalleryInfo {
    /// Version of the gallery format, see [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Number of dimensions of every vector.
    pub dim: usize,
    /// Number of vectors.
    pub len: usize,
    /// Fingerprint of the model that made the vectors.
    pub model: String,
    /// Name of that model, for people.
    pub model_name: String,
    /// Layer of the model that the vectors come from, such as `L5`.
    pub layer: String,
    /// How vectors are compared.
    pub distance: Distance,
    /// When the gallery was begun, RFC 3339 in UTC.
    pub created: String,
    /// Checksums of the files.
    pub checksums: Checksums,
}

impl GalleryInfo {
    /// Describes a gallery yet to be written: euclidean, created now, without vectors or
    /// checksums; the writer fills in both.
    #[must_use]
    pub fn new(
        dim: usize,
        model: impl Into<String>,
        model_name: impl Into<String>,
        layer: impl Into<String>,
    ) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            dim,
            len: 0,
            model: model.into(),
            model_name: model_name.into(),
            layer: layer.into(),
            distance: Distance::Euclidean,
            created: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            checksums: Checksums::default(),
        }
    }

    /// Reads the text of a `gallery.toml`; `path` names it in messages.
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
        if version.format_version != i64::from(FORMAT_VERSION) {
            return Err(Error::FormatVersion {
                path: path.to_owned(),
                found: version.format_version,
                supported: FORMAT_VERSION,
            });
        }
        let info: Self = toml::from_str(text).map_err(syntax)?;
        if info.dim == 0 {
            return Err(malformed("dim is 0; it must be at least 1".to_owned()));
        }
        if info.data_bytes().is_none() {
            return Err(malformed("len times dim is more than any file holds".to_owned()));
        }
        if info.checksums.info != info.checksum()? {
            return Err(Error::Checksum { path: path.to_owned(), field: "checksums.info" });
        }
        Ok(info)
    }

    /// The text of `gallery.toml`, with the checksum of its fields brought up to date.
    ///
    /// # Errors
    /// [`Error::Io`] if a value can't be written as TOML.
    pub fn to_toml(&mut self) -> Result<String> {
        self.checksums.info = self.checksum()?;
        self.serialized()
    }

    /// Bytes of all vectors, unless no file can be that large.
    pub(super) fn data_bytes(&self) -> Option<u64> {
        let values = u64::try_from(self.len).ok()?.checked_mul(u64::try_from(self.dim).ok()?)?;
        values.checked_mul(size_of::<f32>() as u64).filter(|&bytes| bytes < 1 << 62)
    }

    /// Over the text of all fields, the checksum itself left blank, so that spaces and comments
    /// in the file do not count.
    fn checksum(&self) -> Result<String> {
        let mut blank = self.clone();
        blank.checksums.info.clear();
        Ok(blake3::hash(blank.serialized()?.as_bytes()).to_hex().to_string())
    }

    fn serialized(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::Io(std::io::Error::other(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<GalleryInfo> {
        GalleryInfo::parse(text, Path::new("gallery.toml"))
    }

    fn written() -> String {
        GalleryInfo::new(3, "abc", "a \"model\"\nname", "L5").to_toml().unwrap()
    }

    #[test]
    fn survives_writing_and_reading() {
        let mut info = GalleryInfo::new(3, "abc", "a \"model\"\nname", "L5");
        let text = info.to_toml().unwrap();
        assert_eq!(parse(&text).unwrap(), info);
        assert_eq!(parse(&format!("# a comment\n{text}\n")).unwrap(), info);
        humantime::parse_rfc3339(&info.created).unwrap();
    }

    #[test]
    fn a_changed_field_is_found() {
        let text = written();
        for (from, to) in [("L5", "L4"), ("dim = 3", "dim = 4"), ("abc", "abd")] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            assert!(matches!(parse(&changed), Err(Error::Checksum { .. })), "{from}");
        }
    }

    #[test]
    fn messages_name_file_line_and_field() {
        let error = parse(&written().replace("dim = 3", "dim = \"x\"")).unwrap_err().to_string();
        assert!(error.starts_with("gallery.toml: line 2: "), "{error}");
        let error = parse(&written().replace("layer", "lair")).unwrap_err().to_string();
        assert!(error.contains("unknown field `lair`"), "{error}");
        assert!(!error.contains('\n'), "{error}");
        let error = parse(&written().replace("format_version = 1", "format_version = 2\nnew = 1"))
            .unwrap_err();
        assert!(matches!(error, Error::FormatVersion { found: 2, supported: 1, .. }), "{error}");
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let mut info = GalleryInfo::new(i64::MAX as usize, "m", "m", "L1");
        info.len = 3;
        let error = parse(&info.to_toml().unwrap()).unwrap_err().to_string();
        assert!(error.contains("len times dim"), "{error}");
    }
}
