//! IDX files, plain or gzipped, as MNIST and Fashion-MNIST have them
//! (<http://yann.lecun.com/exdb/mnist/>): big-endian, `00 00 08 dims`, one
//! 4-byte length a dimension, then the bytes.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use image::{Rgb, RgbImage};

use super::{Opened, Part, Source, SourceKind, Stored};
use crate::{Error, Result};

/// The most bytes one IDX file may unpack to.
const MAX_BYTES: usize = 4 << 30;

/// The array in an IDX file of unsigned bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// The length of each dimension; images: count, height, width.
    pub dims: Vec<usize>,
    /// The elements, last dimension fastest; as many as `dims` multiply to.
    pub data: Vec<u8>,
}

/// Images held in memory.
struct Idx {
    /// Each file's name before the record number in ids, and its images.
    files: Vec<(String, Array)>,
    len: usize,
    fingerprint: blake3::Hash,
}

/// Reads an IDX file, gzipped or plain by its first bytes; `path` names it in messages.
///
/// Memory grows with the bytes that come, never with what the header promises.
///
/// # Errors
/// [`Error::Format`] when the file is no IDX file of unsigned bytes with 1 to 3
/// dimensions, is cut short, or goes on after its end.
pub fn read(path: &Path, mut reader: impl Read) -> Result<Array> {
    let mut magic = [0; 2];
    reader.read_exact(&mut magic).map_err(|e| unreadable(path, &e))?;
    let whole = magic.chain(reader);
    if magic == [0x1f, 0x8b] { parse(path, MultiGzDecoder::new(whole)) } else { parse(path, whole) }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::format(path, format!("it can't be read to its end ({error})"))
}

fn parse(path: &Path, mut reader: impl Read) -> Result<Array> {
    let mut word = [0; 4];
    reader.read_exact(&mut word).map_err(|e| unreadable(path, &e))?;
    let [0, 0, 0x08, count @ 1..=3] = word else {
        let problem = format!("it begins with {word:02x?}, not with an IDX header of bytes");
        return Err(Error::format(path, problem));
    };
    let mut dims = Vec::new();
    for _ in 0..count {
        reader.read_exact(&mut word).map_err(|e| unreadable(path, &e))?;
        dims.push(u32::from_be_bytes(word) as usize);
    }
    let size = dims
        .iter()
        .try_fold(1_usize, |size, &dim| size.checked_mul(dim))
        .filter(|&size| size <= MAX_BYTES)
        .ok_or_else(|| Error::format(path, format!("its header promises {dims:?} elements")))?;
    let mut data = Vec::new();
    reader.take(size as u64 + 1).read_to_end(&mut data).map_err(|e| unreadable(path, &e))?;
    if data.len() != size {
        let found = if data.len() < size { "fewer" } else { "more" };
        let problem =
            format!("its header promises {size} elements {dims:?}, but there are {found}");
        return Err(Error::format(path, problem));
    }
    Ok(Array { dims, data })
}

fn stem(name: &str) -> &str {
    name.strip_suffix(".gz").unwrap_or(name)
}

/// Whether a file of this name holds images: `train-images-idx3-ubyte` and its like.
pub(super) fn is_images_name(name: &str) -> bool {
    let stem = stem(name);
    stem.contains("images") && stem.ends_with("idx3-ubyte")
}

/// The name of the labels beside the images `name`.
pub(super) fn labels_name(name: &str) -> String {
    name.replace("images", "labels").replace("idx3", "idx1")
}

pub(super) fn open(folder: &Path, names: &[String], part: Part) -> Result<Opened> {
    let part_of = |name: &str| {
        let test = name.contains("t10k") || name.contains("test");
        if test { Part::Test } else { Part::Train }
    };
    let mut images: Vec<&String> = names.iter().filter(|name| is_images_name(name)).collect();
    images.sort_by_key(|name| part_of(name) == Part::Test);
    let mut files = Vec::new();
    for name in images {
        if part != Part::All && part != part_of(name) {
            continue;
        }
        // A plain file counts before its gzipped twin.
        if files.iter().any(|(id, _, _): &(String, _, _)| id == stem(name)) {
            continue;
        }
        let path = folder.join(name);
        let array = read_file(&path)?;
        let labels = [labels_name(name), labels_name(stem(name)), labels_name(name) + ".gz"]
            .iter()
            .map(|name| folder.join(name))
            .find(|path| path.exists())
            .map(|path| read_file(&path).and_then(|labels| checked(&path, labels, 1)))
            .transpose()?;
        files.push((stem(name).to_owned(), checked(&path, array, 3)?, labels));
    }
    if files.is_empty() {
        return Err(Error::NoPart { path: folder.to_path_buf(), part });
    }
    assemble(folder, files, None)
}

/// A data set from the bytes of an images and a labels file, gzipped or plain.
pub(crate) fn from_bytes(images: &[u8], labels: &[u8], classes: &[&str]) -> Result<Opened> {
    let (images_name, labels_name) = (Path::new("images"), Path::new("labels"));
    let images = checked(images_name, read(images_name, images)?, 3)?;
    let labels = checked(labels_name, read(labels_name, labels)?, 1)?;
    let classes = classes.iter().map(|&class| class.to_owned()).collect();
    assemble(labels_name, vec![("images".to_owned(), images, Some(labels))], Some(classes))
}

fn read_file(path: &Path) -> Result<Array> {
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    read(path, std::io::BufReader::new(file))
}

fn checked(path: &Path, array: Array, dims: usize) -> Result<Array> {
    if array.dims.len() == dims && !array.dims[1..].contains(&0) {
        return Ok(array);
    }
    let what = if dims == 3 { "count, height and width" } else { "a count" };
    Err(Error::format(path, format!("its dimensions are {:?}; {what} are due", array.dims)))
}

type File = (String, Array, Option<Array>);

fn assemble(path: &Path, files: Vec<File>, classes: Option<Vec<String>>) -> Result<Opened> {
    let mut labels = Vec::new();
    let mut hasher = super::fingerprint_of(SourceKind::Idx);
    let mut kept = Vec::new();
    for (name, images, of) in files {
        let count = images.dims[0];
        match of {
            Some(of) if of.data.len() == count => {
                labels.extend(of.data.into_iter().map(|label| Some(u32::from(label))));
            }
            Some(of) => {
                let problem = format!("{name} has {count} images but {} labels", of.data.len());
                return Err(Error::format(path, problem));
            }
            None => labels.extend(std::iter::repeat_n(None, count)),
        }
        hasher.update(name.as_bytes());
        hasher.update(&images.data);
        kept.push((name, images));
    }
    let highest = labels.iter().flatten().max().map_or(0, |&label| label as usize + 1);
    let classes = classes.unwrap_or_else(|| (0..highest).map(|class| class.to_string()).collect());
    if highest > classes.len() {
        let problem = format!("label {} is beyond the {} classes", highest - 1, classes.len());
        return Err(Error::format(path, problem));
    }
    let idx = Idx { len: labels.len(), files: kept, fingerprint: hasher.finalize() };
    Ok(Opened { source: Arc::new(idx), labels, classes })
}

impl Idx {
    fn locate(&self, mut index: usize) -> Option<(&str, &Array, usize)> {
        for (name, array) in &self.files {
            if index < array.dims[0] {
                return Some((name, array, index));
            }
            index -= array.dims[0];
        }
        None
    }
}

impl Source for Idx {
    fn kind(&self) -> SourceKind {
        SourceKind::Idx
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
        let (name, array, record) =
            self.locate(index).ok_or(Error::RowOutOfRange { row: index, len: self.len })?;
        let (height, width) = (array.dims[1], array.dims[2]);
        let side = |n: usize| {
            u32::try_from(n).map_err(|_| Error::format(Path::new(name), "its images are too large"))
        };
        let grey = &array.data[record * height * width..][..height * width];
        let pixel = |x: u32, y: u32| Rgb([grey[y as usize * width + x as usize]; 3]);
        Ok(Stored::Pixels(RgbImage::from_fn(side(width)?, side(height)?, pixel)))
    }

    fn fingerprint(&self) -> Result<blake3::Hash> {
        Ok(self.fingerprint)
    }
}
