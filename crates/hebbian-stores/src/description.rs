//! What a store says of itself, kept with it as JSON.

use hebbian_search::{Error, GalleryInfo, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of the tables and collections written here.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// Longest description that is looked at, in bytes.
const MAX_BYTES: usize = 1 << 16;

/// What a store says of itself.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format_version: u32,
    gallery: GalleryInfo,
}

/// Writes down `info`.
pub(crate) fn describe(info: &GalleryInfo) -> Result<String> {
    let description = Description { format_version: FORMAT_VERSION, gallery: info.clone() };
    serde_json::to_string(&description).map_err(|error| Error::Io(error.into()))
}

/// Reads what the store `name` says of itself.
pub(crate) fn understand(text: &str, name: &str) -> Result<GalleryInfo> {
    let wrong = |problem: String| Error::Server { store: name.to_owned(), problem };
    let foreign = || wrong("was not made by hebb; choose another name".to_owned());
    if text.len() > MAX_BYTES {
        return Err(foreign());
    }
    let value: Value = serde_json::from_str(text).map_err(|_| foreign())?;
    let found = value.get("format_version").and_then(Value::as_i64).ok_or_else(foreign)?;
    if found != i64::from(FORMAT_VERSION) {
        return Err(Error::FormatVersion { path: name.into(), found, supported: FORMAT_VERSION });
    }
    let description: Description = serde_json::from_value(value)
        .map_err(|error| wrong(format!("its description is damaged ({error}); fill it anew")))?;
    if description.gallery.dim == 0 {
        return Err(wrong("its description is damaged (dim is 0); fill it anew".to_owned()));
    }
    Ok(description.gallery)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_understood_or_refused() {
        let info = GalleryInfo::new(3, "fingerprint", "a \"model\"", "L5");
        let text = describe(&info).unwrap();
        assert_eq!(understand(&text, "here").unwrap(), info);
        let newer = text.replace("\"format_version\":1", "\"format_version\":2");
        assert!(matches!(understand(&newer, ""), Err(Error::FormatVersion { found: 2, .. })));
        for text in [
            "",
            "null",
            "{}",
            "a comment",
            &text.replace("\"dim\":3", "\"dim\":0"),
            &text.replace("\"dim\":3", "\"dim\":-3"),
            &text.replace("euclidean", "cosine"),
            &text.replace("\"layer\"", "\"lair\""),
        ] {
            assert!(matches!(understand(text, "here"), Err(Error::Server { .. })), "{text}");
        }
    }
}
