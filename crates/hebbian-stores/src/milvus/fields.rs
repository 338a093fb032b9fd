//! The fields of a collection.

use super::messages::{FieldSchema, data_type, pairs};
use super::tags::{MAX_TAGS, TAG_DIGITS};
use crate::record::Key;

/// Longest texts, in bytes: of an id, and of the rest as JSON.
const ID_BYTES: usize = hebbian_search::gallery::MAX_TEXT_BYTES;
const ABOUT_BYTES: usize = 65_535;

/// The fields of a collection for vectors of `dim` dimensions.
pub(super) fn fields(dim: usize) -> Vec<FieldSchema> {
    let text = |name: &str, bytes: usize| FieldSchema {
        name: name.to_owned(),
        data_type: data_type::VARCHAR,
        type_params: pairs([("max_length", bytes.to_string())]),
        ..FieldSchema::default()
    };
    let digits = 2 * size_of::<Key>();
    vec![
        FieldSchema { is_primary_key: true, ..text("key", digits) },
        text("id", ID_BYTES),
        text("about", ABOUT_BYTES),
        FieldSchema {
            data_type: data_type::ARRAY,
            element_type: data_type::VARCHAR,
            type_params: pairs([
                ("max_capacity", MAX_TAGS.to_string()),
                ("max_length", TAG_DIGITS.to_string()),
            ]),
            ..text("tags", 0)
        },
        text("digest", digits),
        FieldSchema { data_type: data_type::INT64, type_params: Vec::new(), ..text("position", 0) },
        FieldSchema {
            data_type: data_type::FLOAT_VECTOR,
            type_params: pairs([("dim", dim.to_string())]),
            ..text("vector", 0)
        },
    ]
}
