//! The images of the gallery, read through the data sets that it was indexed from.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use hebbian_data::{Dataset, Images, decode};
use hebbian_search::Item;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat};

use crate::problem::Problem;

/// Longest side of a thumbnail, in pixels.
const SIDE: u32 = 320;
/// Quality of its JPEG.
const QUALITY: u8 = 85;
/// Bytes of thumbnails that are kept.
const CACHE: usize = 64 << 20;
/// Data sets that are kept open.
const SOURCES: usize = 8;
/// Most pixels of an image that is decoded.
pub(crate) const MAX_PIXELS: u64 = 64 << 20;

/// An image file.
#[derive(Clone)]
pub(crate) struct Picture {
    pub(crate) bytes: Bytes,
    pub(crate) mime: &'static str,
    /// Of the bytes.
    pub(crate) etag: String,
}

impl Picture {
    fn new(bytes: Vec<u8>, format: ImageFormat) -> Self {
        let etag = format!("\"{}\"", &blake3::hash(&bytes).to_hex()[..24]);
        Self { bytes: bytes.into(), mime: format.to_mime_type(), etag }
    }
}

struct Source {
    images: Images,
    rows: HashMap<String, usize>,
}

/// Open data sets and thumbnails made before.
#[derive(Default)]
pub(crate) struct Pictures {
    sources: Mutex<Vec<(String, Arc<Source>)>>,
    thumbnails: Mutex<Cache>,
}

impl Pictures {
    /// The image as a file that browsers show.
    pub(crate) fn image(&self, item: &Item) -> Result<Picture, Problem> {
        let bytes = self.bytes(item)?;
        let header = header(&bytes)?;
        let shown = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif];
        if shown.contains(&header.format) {
            return Ok(Picture::new(bytes, header.format));
        }
        png(&decode::decode(&bytes).map_err(unreadable)?.into())
    }

    /// The image at most [`SIDE`] high and wide, made once.
    pub(crate) fn thumbnail(&self, item: &Item) -> Result<Picture, Problem> {
        let key = (item.id.clone(), item.content);
        if let Some(picture) = self.cache().get(&key) {
            return Ok(picture);
        }
        let bytes = self.bytes(item)?;
        let header = header(&bytes)?;
        let small = header.width.max(header.height) <= SIDE;
        let image = DynamicImage::from(decode::decode(&bytes).map_err(unreadable)?);
        let picture = if small {
            png(&image)?
        } else {
            let mut file = Vec::new();
            let image = image.resize(SIDE, SIDE, FilterType::Triangle);
            let encoder = JpegEncoder::new_with_quality(&mut file, QUALITY);
            image.write_with_encoder(encoder).map_err(Problem::failed)?;
            Picture::new(file, ImageFormat::Jpeg)
        };
        self.cache().put(key, picture.clone());
        Ok(picture)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.thumbnails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self, item: &Item) -> Result<Vec<u8>, Problem> {
        let gone = |why: &str| Problem::missing(format!("the image {:?} {why}", item.id));
        let location = item.location.as_deref().ok_or_else(|| gone("has no recorded place"))?;
        let source = self.source(location).map_err(|_| gone("is no longer where it was"))?;
        let row = source.rows.get(&item.id).ok_or_else(|| gone("is no longer where it was"))?;
        let bytes = source.images.encoded(*row).map_err(|_| gone("can no longer be read"))?;
        Ok(bytes.into_owned())
    }

    fn source(&self, location: &str) -> hebbian_data::Result<Arc<Source>> {
        // Held while a data set is opened: others wait for it rather than open it too.
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, source)) = sources.iter().find(|(path, _)| path == location) {
            return Ok(Arc::clone(source));
        }
        let images = Dataset::open(Path::new(location))?.images();
        let rows = (0..images.len()).map(|row| (images.id(row), row)).collect();
        let source = Arc::new(Source { images, rows });
        if sources.len() == SOURCES {
            sources.remove(0);
        }
        sources.push((location.to_owned(), Arc::clone(&source)));
        Ok(source)
    }

    /// Closes the data sets: after a change of the gallery, they may hold other images.
    pub(crate) fn close(&self) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The header, unless the image is too large.
pub(crate) fn header(bytes: &[u8]) -> Result<decode::Header, Problem> {
    let header = decode::header(bytes).map_err(unreadable)?;
    let (width, height) = (header.width, header.height);
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let problem = format!("{width}x{height} pixels are over the limit of {MAX_PIXELS}");
        return Err(Problem::unusable(problem));
    }
    Ok(header)
}

fn unreadable(reason: String) -> Problem {
    Problem::unusable(format!("this can't be read as an image: {reason}"))
}

fn png(image: &DynamicImage) -> Result<Picture, Problem> {
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, ImageFormat::Png).map_err(Problem::failed)?;
    Ok(Picture::new(file.into_inner(), ImageFormat::Png))
}

type Key = (String, Option<[u8; 32]>);

/// Thumbnails by image, those used longest ago given up first.
#[derive(Default)]
struct Cache {
    pictures: HashMap<Key, (Picture, u64)>,
    bytes: usize,
    clock: u64,
}

impl Cache {
    fn get(&mut self, key: &Key) -> Option<Picture> {
        self.clock += 1;
        let (picture, used) = self.pictures.get_mut(key)?;
        *used = self.clock;
        Some(picture.clone())
    }

    fn put(&mut self, key: Key, picture: Picture) {
        self.clock += 1;
        self.bytes += picture.bytes.len();
        if let Some((old, _)) = self.pictures.insert(key, (picture, self.clock)) {
            self.bytes -= old.bytes.len();
        }
        if self.bytes <= CACHE {
            return;
        }
        // A quarter at a time, so that this is rare.
        let mut uses: Vec<u64> = self.pictures.values().map(|(_, used)| *used).collect();
        uses.sort_unstable();
        let oldest = uses[uses.len() / 4];
        self.pictures.retain(|_, (_, used)| *used > oldest);
        self.bytes = self.pictures.values().map(|(picture, _)| picture.bytes.len()).sum();
    }
}
