//! Images without labels: all that learning without labels is ever given.

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use image::{ImageFormat, RgbImage};

use crate::cache::Cache;
use crate::source::{Source, Stored};
use crate::{Error, Result, Size, decode, resize};

/// An ordered set of images, cheap to clone, that knows no labels.
#[derive(Clone)]
pub struct Images {
    pub(crate) source: Arc<dyn Source>,
    /// Positions in the source.
    pub(crate) rows: Arc<[usize]>,
    cache: Option<Arc<Cache>>,
}

impl Images {
    pub(crate) fn new(source: Arc<dyn Source>) -> Self {
        let rows = (0..source.len()).collect();
        Self { source, rows, cache: None }
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The name of image `i`, unique in its data set: the path relative to its
    /// root, or file and record number. Empty when `i` is out of range.
    pub fn id(&self, i: usize) -> String {
        self.rows.get(i).map(|&row| self.source.id(row).into_owned()).unwrap_or_default()
    }

    /// The images at `indices`, in that order; an index out of range is left out.
    #[must_use]
    pub fn subset(&self, indices: &[usize]) -> Self {
        let rows = indices.iter().filter_map(|&i| self.rows.get(i).copied()).collect();
        Self { rows, ..self.clone() }
    }

    /// Image `i` as an image file: the bytes of the file where there is one,
    /// else a PNG of the pixels.
    ///
    /// # Errors
    /// When the file can't be read or `i` is out of range.
    pub fn encoded(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        match self.stored(i)? {
            Stored::Encoded(bytes) => Ok(bytes),
            Stored::Pixels(image) => {
                let mut png = Cursor::new(Vec::new());
                image
                    .write_to(&mut png, ImageFormat::Png)
                    .map_err(|e| Error::Unreadable { id: self.id(i), reason: e.to_string() })?;
                Ok(png.into_inner().into())
            }
        }
    }

    /// Hash of what is stored of image `i`: the bytes of its file, or, where
    /// there are no image files, its size and pixels. Neither name nor place
    /// has a part in it.
    ///
    /// # Errors
    /// When the file can't be read or `i` is out of range.
    pub fn content_hash(&self, i: usize) -> Result<[u8; 32]> {
        let mut hasher = blake3::Hasher::new();
        match self.stored(i)? {
            Stored::Encoded(bytes) => hasher.update(b"file").update(&bytes),
            Stored::Pixels(image) => {
                let (width, height) = image.dimensions();
                hasher.update(b"pixels").update(&width.to_le_bytes()).update(&height.to_le_bytes());
                hasher.update(&image)
            }
        };
        Ok(*hasher.finalize().as_bytes())
    }

    /// Image `i` at its own size, upright and in RGB; see [`decode::decode`].
    ///
    /// # Errors
    /// [`Error::Unreadable`] when it can't be decoded.
    pub fn decode(&self, i: usize) -> Result<RgbImage> {
        match self.stored(i)? {
            Stored::Pixels(image) => Ok(image),
            Stored::Encoded(bytes) => decode::decode(&bytes)
                .map_err(|reason| Error::Unreadable { id: self.id(i), reason }),
        }
    }

    /// Image `i` scaled and cropped to `size`; see [`resize::cover`].
    ///
    /// # Shapes
    /// height x width x 3 bytes, RGB interleaved.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when it can't be decoded.
    pub fn decode_at(&self, i: usize, size: Size) -> Result<Vec<u8>> {
        let mut pixels = vec![0; size.check()?.bytes()];
        self.decode_into(i, size, &mut pixels)?;
        Ok(pixels)
    }

    /// As [`Images::decode_at`], into a slice of height x width x 3 bytes.
    pub(crate) fn decode_into(&self, i: usize, size: Size, out: &mut [u8]) -> Result<()> {
        match &self.cache {
            Some(cache) if cache.size() == size => {
                let row = self.row(i)?;
                cache.read(row, out).map_err(|error| match error {
                    Error::Unreadable { reason, .. } => {
                        Error::Unreadable { id: self.id(i), reason }
                    }
                    error => error,
                })
            }
            _ => {
                out.copy_from_slice(&resize::cover(self.decode(i)?, size)?);
                Ok(())
            }
        }
    }

    /// The same images with their pixels at `size` kept in one file in `dir`.
    ///
    /// The file holds the whole data set that these images come from, so all
    /// splits of it share one file. It is written once; when the images change,
    /// or it is damaged or cut short, it is written again. Other sizes are
    /// decoded as before. `progress` is told images done and in all.
    ///
    /// # Errors
    /// When the file can't be written or the images no longer be listed.
    pub fn cached(
        &self,
        dir: &Path,
        size: Size,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let whole = Self::new(Arc::clone(&self.source));
        let cache = Cache::open_or_build(&whole, dir, size, progress)?;
        Ok(Self { cache: Some(Arc::new(cache)), ..self.clone() })
    }

    fn row(&self, i: usize) -> Result<usize> {
        self.rows.get(i).copied().ok_or(Error::RowOutOfRange { row: i, len: self.len() })
    }

    pub(crate) fn stored(&self, i: usize) -> Result<Stored<'_>> {
        self.source.read(self.row(i)?)
    }
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Images({} of {} in {})", self.len(), self.source.len(), self.source.kind())
    }
}
