//! What a data set holds, for the person who is about to use it.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::batches::{self, Skipped};
use crate::decode::{self, Colour};
use crate::source::Stored;
use crate::{Dataset, Error, Images, Result, Size, SourceKind};

/// Images examined between two calls of the progress callback.
const BLOCK: usize = 256;

/// A data set described.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// What was opened.
    pub path: String,
    /// What was recognised.
    pub kind: SourceKind,
    /// All images, readable or not.
    pub images: usize,
    /// How many of them have a label.
    pub labelled: usize,
    /// In the order of their numbers; empty without labels.
    pub classes: Vec<Class>,
    /// The upright sizes that occur, the most frequent first.
    pub sizes: Vec<SizeCount>,
    /// The lowest height and the lowest width that occur.
    pub smallest: Option<Size>,
    /// The greatest height and the greatest width that occur.
    pub largest: Option<Size>,
    /// How pixels are stored, and in how many images.
    pub colours: BTreeMap<Colour, usize>,
    /// The images that can't be decoded.
    pub unreadable: Vec<Skipped>,
    /// The ids of images with the same content, the largest group first.
    pub duplicates: Vec<Vec<String>>,
    /// Of the images as they are stored.
    pub bytes: u64,
}

/// A class and how many images have it as their label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// How many images.
    pub count: usize,
}

/// A size and how many images have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SizeCount {
    /// Height and width.
    pub size: Size,
    /// How many images.
    pub count: usize,
}

struct Examined {
    bytes: u64,
    content: blake3::Hash,
    decoded: std::result::Result<(Size, Colour), String>,
}

/// Decodes every image of `data` and counts what is there; in parallel.
/// `progress` is told images done and in all.
///
/// # Errors
/// When the threads can't be started; an image that can't be read is counted.
pub fn describe(data: &Dataset, progress: &mut dyn FnMut(usize, usize)) -> Result<Description> {
    let images = data.images();
    let mut sizes: HashMap<Size, usize> = HashMap::new();
    let mut colours = BTreeMap::new();
    let mut unreadable = Vec::new();
    let mut same: HashMap<blake3::Hash, Vec<usize>> = HashMap::new();
    let mut bytes = 0;
    for start in (0..images.len()).step_by(BLOCK) {
        let rows: Vec<usize> = (start..images.len().min(start + BLOCK)).collect();
        let examined =
            batches::pool()?.install(|| images.map_stored(&rows, |_, stored| Ok(examine(&stored))));
        for (&row, examined) in rows.iter().zip(examined) {
            let decoded = examined.map_err(batches::reason).and_then(|examined| {
                bytes += examined.bytes;
                same.entry(examined.content).or_default().push(row);
                examined.decoded
            });
            match decoded {
                Ok((size, colour)) => {
                    *sizes.entry(size).or_default() += 1;
                    *colours.entry(colour).or_default() += 1;
                }
                Err(reason) => unreadable.push(Skipped { row, id: images.id(row), reason }),
            }
        }
        progress(start + rows.len(), images.len());
    }
    let bound = |of: fn(Size, Size) -> Size| sizes.keys().copied().reduce(of);
    Ok(Description {
        path: data.path().display().to_string(),
        kind: data.kind(),
        images: data.len(),
        labelled: data.labelled(),
        classes: classes(data),
        smallest: bound(|a, b| Size {
            height: a.height.min(b.height),
            width: a.width.min(b.width),
        }),
        largest: bound(|a, b| Size { height: a.height.max(b.height), width: a.width.max(b.width) }),
        sizes: by_count(sizes),
        colours,
        unreadable,
        duplicates: groups(same, &images),
        bytes,
    })
}

fn examine(stored: &Stored<'_>) -> Examined {
    let size = |image: &image::RgbImage| Size {
        height: image.height() as usize,
        width: image.width() as usize,
    };
    match stored {
        Stored::Encoded(bytes) => Examined {
            bytes: bytes.len() as u64,
            content: blake3::hash(bytes),
            decoded: decode::header(bytes)
                .and_then(|header| Ok((size(&decode::decode(bytes)?), header.colour))),
        },
        Stored::Pixels(image) => {
            let grey = image.pixels().all(|p| p.0[0] == p.0[1] && p.0[1] == p.0[2]);
            let colour = if grey { Colour::Grey } else { Colour::Rgb };
            Examined {
                bytes: image.as_raw().len() as u64,
                content: blake3::hash(image.as_raw()),
                decoded: Ok((size(image), colour)),
            }
        }
    }
}

fn classes(data: &Dataset) -> Vec<Class> {
    let mut counts = vec![0; data.classes().len()];
    for label in data.labels().into_iter().flatten() {
        if let Some(count) = counts.get_mut(label as usize) {
            *count += 1;
        }
    }
    let class = |(name, count): (&String, usize)| Class { name: name.clone(), count };
    data.classes().iter().zip(counts).map(class).collect()
}

fn by_count(sizes: HashMap<Size, usize>) -> Vec<SizeCount> {
    let mut sizes: Vec<SizeCount> =
        sizes.into_iter().map(|(size, count)| SizeCount { size, count }).collect();
    sizes.sort_unstable_by_key(|s| (std::cmp::Reverse(s.count), s.size));
    sizes
}

fn groups(same: HashMap<blake3::Hash, Vec<usize>>, images: &Images) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<usize>> = same.into_values().filter(|g| g.len() > 1).collect();
    groups.sort_unstable_by_key(|group| (std::cmp::Reverse(group.len()), group[0]));
    groups.into_iter().map(|g| g.into_iter().map(|row| images.id(row)).collect()).collect()
}

impl Description {
    /// # Errors
    /// [`Error::NothingReadable`] when not one image can be decoded.
    pub fn require_readable(&self) -> Result<()> {
        match self.unreadable.first() {
            Some(first) if self.unreadable.len() == self.images => Err(Error::NothingReadable {
                asked: self.images,
                first: first.id.clone(),
                reason: first.reason.clone(),
            }),
            _ => Ok(()),
        }
    }
}
