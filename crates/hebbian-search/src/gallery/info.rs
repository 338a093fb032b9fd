//! What the vectors of a gallery are.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// How the vectors of a gallery are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distance {
    /// Euclidean distance.
    #[default]
    Euclidean,
}

/// What the vectors of a gallery are: where they come from and how they are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GalleryInfo {
    /// Number of dimensions of every vector.
    pub dim: usize,
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
}

impl GalleryInfo {
    /// Describes a gallery yet to be written: Euclidean, created now.
    #[must_use]
    pub fn new(
        dim: usize,
        model: impl Into<String>,
        model_name: impl Into<String>,
        layer: impl Into<String>,
    ) -> Self {
        Self {
            dim,
            model: model.into(),
            model_name: model_name.into(),
            layer: layer.into(),
            distance: Distance::Euclidean,
            created: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        }
    }
}
