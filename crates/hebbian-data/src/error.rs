//! What can go wrong between a file and a batch.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Part, Size};

/// Shorthand for a result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Every failure of this crate; the message says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file or folder.
    #[error("{path}: can't {action} ({reason}); check that it exists and that you may use it", path = path.display())]
    Io {
        /// What was being done: "open", "read", "list", "write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer, without the path. It is no source of this error: the message
        /// has it.
        reason: String,
    },
    /// What is to be made is there.
    #[error("{path}: exists already; give another folder", path = path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// Neither the names nor the first bytes match any kind of data set.
    #[error(
        "{path}: not recognised as a data set; give a folder of images, a tar of one, tar shards, Parquet, CIFAR or IDX files",
        path = path.display()
    )]
    Unrecognised {
        /// What was opened.
        path: PathBuf,
    },
    /// The data set holds no image.
    #[error(
        "{path}: holds no image; JPEG, PNG, WebP, GIF, BMP and TIFF files are read",
        path = path.display()
    )]
    Empty {
        /// What was opened.
        path: PathBuf,
    },
    /// A compressed archive, which allows no random access.
    #[error(
        "{path}: is compressed ({format}) and can't be read at random; decompress it first",
        path = path.display()
    )]
    Compressed {
        /// The archive.
        path: PathBuf,
        /// The compression, as its tool is called.
        format: &'static str,
    },
    /// A pattern of file names that can't be used.
    #[error("{pattern}: {problem}")]
    Pattern {
        /// As it was given.
        pattern: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The layout carries no such official part.
    #[error(
        "{path}: has no {part} part; open all of it and split it, or give a folder with train and test folders",
        path = path.display()
    )]
    NoPart {
        /// What was opened.
        path: PathBuf,
        /// What was asked for.
        part: Part,
    },
    /// Fewer than two classes where a classifier needs them.
    #[error(
        "{path}: has {found} class(es) with labelled images where at least 2 are needed; \
         give class folders or a CSV of labels",
        path = path.display()
    )]
    TooFewClasses {
        /// What was opened.
        path: PathBuf,
        /// How many there are.
        found: usize,
    },
    /// A tar archive that is cut short or damaged.
    #[error("{path}: at byte {offset}: {problem}; make the archive again", path = path.display())]
    Tar {
        /// The archive.
        path: PathBuf,
        /// Where in the archive.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
    /// A file that breaks its binary format (CIFAR, IDX, Parquet).
    #[error("{path}: {problem}; get the file again", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A line of a label table that can't be used.
    #[error("{path}: line {line}: {problem}", path = path.display())]
    Labels {
        /// The CSV file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong and what to do.
        problem: String,
    },
    /// One image that can't be decoded.
    #[error("{id}: can't be read as an image ({reason}); repair the file or take it out")]
    Unreadable {
        /// The image's id.
        id: String,
        /// The decoder's answer.
        reason: String,
    },
    /// What holds many images can no longer be read: a file of them, or a disk.
    #[error("{what}: {problem}; make it readable again and go on from there")]
    Lost {
        /// The file, or an image.
        what: String,
        /// What happened to it.
        problem: String,
    },
    /// Not one image of a whole run could be decoded.
    #[error("none of the {asked} images could be read; the first, {first}: {reason}")]
    NothingReadable {
        /// How many were asked for.
        asked: usize,
        /// The id of the first.
        first: String,
        /// Why the first could not be read.
        reason: String,
    },
    /// An index beyond the end.
    #[error("image {row} was asked for, but there are only {len}; indices count from 0")]
    RowOutOfRange {
        /// What was asked for.
        row: usize,
        /// How many there are.
        len: usize,
    },
    /// An image size that can't be used.
    #[error("image size {size}: {problem}")]
    BadSize {
        /// The size.
        size: Size,
        /// Why, and what to do.
        problem: String,
    },
    /// A parameter outside its range.
    #[error("{name} is {value}; {must}")]
    Parameter {
        /// The parameter, as in the configuration.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it must be.
        must: String,
    },
    /// Stored preprocessing that does not hold together.
    #[error(
        "preprocessing: {problem}; the model file is damaged or was written by another program"
    )]
    Preprocess {
        /// What does not fit.
        problem: String,
    },
    /// A download that failed.
    #[error(
        "{url}: can't be downloaded ({problem}); check the network, or fetch it elsewhere and name its place with --from"
    )]
    Download {
        /// The address.
        url: String,
        /// What happened.
        problem: String,
    },
    /// A download that is not the expected file.
    #[error(
        "{url}: MD5 is {found}, expected {expected}; the file is damaged or another one, download it again"
    )]
    Checksum {
        /// The address.
        url: String,
        /// The published checksum.
        expected: String,
        /// The checksum of what came.
        found: String,
    },
    /// A part of the program that failed by itself.
    #[error("internal error: {problem}; please report it")]
    Internal {
        /// What happened.
        problem: String,
    },
}

impl Error {
    /// A closure for `map_err` that adds the action and the path to an error that does not name
    /// it, as those of `std::fs`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| Self::Io { action, path, reason: error.to_string() }
    }

    /// A file that holds many images is lost.
    pub(crate) fn lost(path: &Path, problem: impl Into<String>) -> Self {
        Self::Lost { what: path.display().to_string(), problem: problem.into() }
    }

    pub(crate) fn format(path: &Path, problem: impl Into<String>) -> Self {
        Self::Format { path: path.to_path_buf(), problem: problem.into() }
    }
}
