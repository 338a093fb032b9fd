//! What can go wrong, with the data needed to say where.

use std::path::PathBuf;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong when galleries are written, opened, searched or evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation; the message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),

    /// A file of a gallery does not have the form it must have.
    #[error("{}: {problem}; restore the gallery folder or index the images again", path.display())]
    Malformed {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong, with the field or the row.
        problem: String,
    },

    /// A file of a gallery was changed after it was written.
    #[error(
        "{}: the content does not match its checksum in gallery.toml ({field}); \
         restore the gallery folder or index the images again",
        path.display()
    )]
    Checksum {
        /// The file at fault.
        path: PathBuf,
        /// Field of `gallery.toml` that holds the checksum.
        field: String,
    },

    /// The gallery was written in a format that this version does not read.
    #[error(
        "{}: format_version is {found}, this program reads up to {supported}; \
         use the version of the program that wrote it or index the images again",
        path.display()
    )]
    FormatVersion {
        /// The `gallery.toml` at fault.
        path: PathBuf,
        /// Version found in the file.
        found: i64,
        /// Version that this crate writes; it reads those before too.
        supported: u32,
    },

    /// Vectors come from another model than the gallery's.
    #[error(
        "{}: the gallery holds features of model {gallery_name:?} ({gallery}), \
         not of model {query}; use the model that made the gallery, or another gallery",
        path.display()
    )]
    Model {
        /// The gallery folder.
        path: PathBuf,
        /// Fingerprint of the model that made the gallery.
        gallery: String,
        /// Its name.
        gallery_name: String,
        /// Fingerprint of the other model.
        query: String,
    },

    /// Something already stands where a new gallery should go.
    #[error("{}: already exists; choose another folder or allow overwriting", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },

    /// Another writer has the gallery.
    #[error(
        "{}: another process is writing to this gallery; try again when it is done",
        path.display()
    )]
    Locked {
        /// The gallery folder.
        path: PathBuf,
    },

    /// Overwriting was allowed, but what stands there is not only a gallery.
    #[error(
        "{}: is not replaced because {entry:?} is not part of a gallery; choose another folder",
        path.display()
    )]
    NotAGallery {
        /// The folder or file.
        path: PathBuf,
        /// The entry that no gallery has.
        entry: String,
    },

    /// Two sets of vectors do not have the same number of dimensions.
    #[error(
        "{what}: {found} dimensions instead of {expected}; both sides must come from one layer"
    )]
    Dimension {
        /// Which vectors.
        what: &'static str,
        /// Dimensions needed.
        expected: usize,
        /// Dimensions found.
        found: usize,
    },

    /// Two lists that go together do not have the same length.
    #[error("there are {found} {what} instead of {expected}; give one for each row")]
    Length {
        /// What was counted.
        what: &'static str,
        /// Number needed.
        expected: usize,
        /// Number found.
        found: usize,
    },

    /// A vector holds a value that is not a finite number.
    #[error(
        "{what}: row {row}, column {column} is not a finite number; check the network that made it"
    )]
    NotFinite {
        /// Which vectors.
        what: String,
        /// Row, counted from 0.
        row: usize,
        /// Column, counted from 0.
        column: usize,
    },

    /// Sums that are no parts of one evaluation were to be added.
    #[error("the parts are not of one evaluation: gallery, depths or lengths differ")]
    Parts,
    /// Rows were asked for that do not exist.
    #[error("rows {start}..{} were asked for, there are only {len}", start.saturating_add(*n))]
    Rows {
        /// First row asked for.
        start: usize,
        /// Number of rows asked for.
        n: usize,
        /// Number of rows there are.
        len: usize,
    },

    /// A text of an item is longer than a gallery stores.
    #[error("item {item}: {field} has {bytes} bytes, at most {limit} are stored; shorten it")]
    TextTooLong {
        /// Row of the item, counted from 0.
        item: usize,
        /// `id`, `label` or `location`.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest length stored.
        limit: usize,
    },

    /// A file of another program does not hold what is asked of it.
    #[error("{}: {problem}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        problem: String,
    },

    /// A server that holds vectors can't be reached, refuses, or holds what makes no sense.
    #[error("{store}: {problem}")]
    Server {
        /// Where the vectors are.
        store: String,
        /// What is wrong, and what to do.
        problem: String,
    },

    /// A distance is no threshold.
    #[error("the threshold is {value}; it must be a distance from 0 on")]
    Threshold {
        /// The value.
        value: f32,
    },

    /// An option has a value that makes no sense.
    #[error("{option} is {value}; {rule}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// Its value.
        value: usize,
        /// What it must be.
        rule: &'static str,
    },
}
