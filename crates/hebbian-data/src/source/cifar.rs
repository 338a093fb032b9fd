//! CIFAR-10 and CIFAR-100 in the official binary layout.
//!
//! A record is its label bytes (CIFAR-10: the class; CIFAR-100: the coarse and
//! the fine class, of which the fine one is used) and 3,072 bytes: the red,
//! green and blue planes of 32x32 pixels
//! (<https://www.cs.toronto.edu/~kriz/cifar.html>).

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use image::{Rgb, RgbImage};

use super::read_at::ReadAt;
use super::{Opened, Part, Source, SourceKind, Stored};
use crate::{Error, Result};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
/// The longest label table that is read.
const MAX_NAMES: u64 = 1 << 16;

/// Which of the two layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// One label byte a record.
    Cifar10,
    /// Two label bytes a record.
    Cifar100,
}

impl Variant {
    fn label_bytes(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }

    /// Bytes of one record.
    pub fn record_bytes(self) -> usize {
        self.label_bytes() + 3 * PLANE
    }

    fn part(self, name: &str) -> Option<Part> {
        match (self, name) {
            (Self::Cifar10, "test_batch.bin") | (Self::Cifar100, "test.bin") => Some(Part::Test),
            (Self::Cifar100, "train.bin") => Some(Part::Train),
            (Self::Cifar10, name) => {
                let number = name.strip_prefix("data_batch_")?.strip_suffix(".bin")?;
                number.parse::<u32>().ok().map(|_| Part::Train)
            }
            _ => None,
        }
    }

    fn names_file(self) -> &'static str {
        match self {
            Self::Cifar10 => "batches.meta.txt",
            Self::Cifar100 => "fine_label_names.txt",
        }
    }

    fn classes(self) -> usize {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }
}

struct Cifar {
    variant: Variant,
    /// In order, with the name of each and the number of its first image.
    files: Vec<(String, ReadAt, usize)>,
    len: usize,
}

/// The variant whose file names are among `names`.
pub(super) fn recognise(names: &[String]) -> Option<Variant> {
    [Variant::Cifar10, Variant::Cifar100]
        .into_iter()
        .find(|variant| names.iter().any(|name| variant.part(name).is_some()))
}

pub(super) fn open(folder: &Path, names: &[String], part: Part) -> Result<Opened> {
    let variant =
        recognise(names).ok_or_else(|| Error::Unrecognised { path: folder.to_path_buf() })?;
    let classes = class_names(folder, variant)?;
    let mut cifar = Cifar { variant, files: Vec::new(), len: 0 };
    let mut labels_read = Vec::new();
    for name in names {
        let Some(of) = variant.part(name) else { continue };
        if part != Part::All && part != of {
            continue;
        }
        let path = folder.join(name);
        let file = ReadAt::open(&path)?;
        let found = labels(&path, &file.read(0, file.len())?, variant, classes.len())?;
        cifar.files.push((name.clone(), file, cifar.len));
        cifar.len += found.len();
        labels_read.extend(found.into_iter().map(Some));
    }
    if cifar.files.is_empty() {
        return Err(Error::NoPart { path: folder.to_path_buf(), part });
    }
    Ok(Opened { source: Arc::new(cifar), labels: labels_read, classes })
}

/// The label of every record of a file; `path` names it in messages.
///
/// # Errors
/// [`Error::Format`] when the file is not a whole number of records or a label
/// is not below `classes`.
pub fn labels(path: &Path, bytes: &[u8], variant: Variant, classes: usize) -> Result<Vec<u32>> {
    let record = variant.record_bytes();
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        let problem =
            format!("its {} bytes are not a whole number of {record}-byte records", bytes.len());
        return Err(Error::format(path, problem));
    }
    let label = |(number, bytes): (usize, &[u8])| {
        let label = bytes[variant.label_bytes() - 1];
        if usize::from(label) < classes {
            return Ok(u32::from(label));
        }
        let problem = format!("record {number} has label {label}, but there are {classes} classes");
        Err(Error::format(path, problem))
    };
    bytes.chunks_exact(record).enumerate().map(label).collect()
}

fn class_names(folder: &Path, variant: Variant) -> Result<Vec<String>> {
    let path = folder.join(variant.names_file());
    if !path.exists() {
        return Ok((0..variant.classes()).map(|class| class.to_string()).collect());
    }
    let file = ReadAt::open(&path)?;
    if file.len() > MAX_NAMES {
        return Err(Error::format(&path, format!("it is longer than {MAX_NAMES} bytes")));
    }
    let text = String::from_utf8(file.read(0, file.len())?)
        .map_err(|_| Error::format(&path, "it is not UTF-8 text"))?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() != variant.classes() {
        let problem =
            format!("it names {} classes where {} are due", names.len(), variant.classes());
        return Err(Error::format(&path, problem));
    }
    Ok(names)
}

impl Cifar {
    /// The file that holds image `index`, with its name and the record's number there.
    fn locate(&self, index: usize) -> Option<(&str, &ReadAt, usize)> {
        let file = self.files.partition_point(|(_, _, first)| *first <= index).checked_sub(1)?;
        let (name, file, first) = &self.files[file];
        (index < self.len).then(|| (name.as_str(), file, index - first))
    }
}

impl Source for Cifar {
    fn kind(&self) -> SourceKind {
        SourceKind::CifarBinary
    }

    fn len(&self) -> usize {
        self.len
    }

    fn id(&self, index: usize) -> Cow<'_, str> {
        self.locate(index)
            .map(|(name, _, record)| format!("{name}/{record}"))
            .unwrap_or_default()
            .into()
    }

    fn read(&self, index: usize) -> Result<Stored<'_>> {
        let (_, file, record) =
            self.locate(index).ok_or(Error::RowOutOfRange { row: index, len: self.len })?;
        let offset = record * self.variant.record_bytes() + self.variant.label_bytes();
        let planes = file.read(offset as u64, 3 * PLANE as u64)?;
        let pixel = |x: u32, y: u32| {
            let at = y as usize * SIDE + x as usize;
            Rgb([planes[at], planes[PLANE + at], planes[2 * PLANE + at]])
        };
        Ok(Stored::Pixels(RgbImage::from_fn(SIDE as u32, SIDE as u32, pixel)))
    }

    fn fingerprint(&self) -> Result<blake3::Hash> {
        let mut hasher = super::fingerprint_of(SourceKind::CifarBinary);
        for (name, file, _) in &self.files {
            hasher.update(name.as_bytes());
            super::add_metadata(&mut hasher, file.path())?;
        }
        Ok(hasher.finalize())
    }
}
