//! Images without labels: all that learning without labels is ever given.

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use image::{ImageFormat, RgbImage};
use rayon::prelude::*;

use crate::augment::{Augment, Augmentation};
use crate::cache::Cache;
use crate::kept::Kept;
use crate::source::{Source, Stored, shards};
use crate::{Error, Result, Size, decode, resize};

/// An ordered set of images, cheap to clone, that knows no labels.
#[derive(Clone)]
pub struct Images {
    pub(crate) source: Arc<dyn Source>,
    /// Positions in the source.
    pub(crate) rows: Arc<[usize]>,
    cache: Option<Arc<Cache>>,
    kept: Option<Arc<Kept>>,
    augment: Option<Arc<Augment>>,
}

impl Images {
    pub(crate) fn new(source: Arc<dyn Source>) -> Self {
        let rows = (0..source.len()).collect();
        Self { source, rows, cache: None, kept: None, augment: None }
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
        Ok(content_hash(&self.stored(i)?))
    }

    /// [`Images::content_hash`] of the images `rows`, in parallel.
    pub fn content_hashes(&self, rows: &[usize]) -> Vec<Result<[u8; 32]>> {
        self.map_stored(rows, |_, stored| Ok(content_hash(&stored)))
    }

    /// What `map` makes of the images `rows` as they are stored, in parallel;
    /// images in shards are read from front to back.
    pub(crate) fn map_stored<T: Send>(
        &self,
        rows: &[usize],
        map: impl Fn(usize, Stored<'_>) -> Result<T> + Sync,
    ) -> Vec<Result<T>> {
        if self.in_shards() {
            let stored = self.stored_many(rows);
            let each = rows.par_iter().zip(stored);
            return each.map(|(&row, stored)| map(row, stored?)).collect();
        }
        rows.par_iter().map(|&row| map(row, self.stored(row)?)).collect()
    }

    /// Image `i` at its own size, upright and in RGB; see [`decode::decode`].
    ///
    /// # Errors
    /// [`Error::Unreadable`] when it can't be decoded.
    pub fn decode(&self, i: usize) -> Result<RgbImage> {
        self.decode_stored(i, self.stored(i)?, None)
    }

    fn decode_stored(&self, i: usize, stored: Stored<'_>, cover: Option<Size>) -> Result<RgbImage> {
        match stored {
            Stored::Pixels(image) => Ok(image),
            Stored::Encoded(bytes) => decode::decode_covering(&bytes, cover)
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
        self.decode_into(i, None, size, &mut pixels)?;
        Ok(pixels)
    }

    /// As [`Images::decode_at`], into a slice of height x width x 3 bytes, from
    /// what is stored of the image where that has been read already.
    pub(crate) fn decode_into(
        &self,
        i: usize,
        stored: Option<Result<Stored<'_>>>,
        size: Size,
        out: &mut [u8],
    ) -> Result<()> {
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
                let kept = self.kept.as_ref().and_then(|kept| kept.place(self.row(i).ok()?, size));
                if let Some(pixels) = kept.and_then(OnceLock::get) {
                    out.copy_from_slice(pixels);
                } else {
                    let stored = stored.unwrap_or_else(|| self.stored(i))?;
                    let image = self.decode_stored(i, stored, Some(size))?;
                    out.copy_from_slice(&resize::cover(image, size)?);
                    kept.inspect(|place| _ = place.set((&*out).into()));
                }
                Ok(())
            }
        }?;
        match &self.augment {
            Some(augment) => augment.apply(self.row(i)?, size, out),
            None => Ok(()),
        }
    }

    /// The same images, changed at random whenever they are scaled to a size:
    /// by the stream `augment/PURPOSE` of `seed`, of which each image has its own.
    #[must_use]
    pub fn augmented(&self, kind: Augmentation, seed: u64, purpose: &str) -> Self {
        let augment = Augment { kind, seed, purpose: purpose.to_owned() };
        let augment = (!kind.is_none()).then(|| Arc::new(augment));
        Self { augment, ..self.clone() }
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

    /// The same images, of which the pixels of those at the positions `few` stay in
    /// memory at `size` once they have been decoded, height x width x 3 bytes each.
    #[must_use]
    pub fn kept(&self, few: &[usize], size: Size) -> Self {
        let rows: Vec<usize> = few.iter().filter_map(|&i| self.rows.get(i).copied()).collect();
        let place = |row: &usize| self.kept.as_ref()?.place(*row, size);
        if rows.iter().all(|row| place(row).is_some()) {
            return self.clone();
        }
        Self { kept: Some(Arc::new(Kept::new(&rows, size))), ..self.clone() }
    }

    /// Whether pixels of this size are at hand: in a file, or decoded and kept.
    pub(crate) fn are_cached(&self, size: Size) -> bool {
        let decoded = |row: &usize| self.kept.as_ref()?.place(*row, size)?.get();
        self.cache.as_ref().is_some_and(|cache| cache.size() == size)
            || self.rows.iter().all(|row| decoded(row).is_some())
    }

    /// Whether images lie in files that are best read from front to back.
    pub(crate) fn in_shards(&self) -> bool {
        !self.source.shards().is_empty()
    }

    /// About how many bytes image `i` takes as it is stored, if it lies in a shard.
    pub(crate) fn bytes(&self, i: usize) -> u64 {
        self.rows.get(i).map_or(0, |&row| self.source.bytes(row))
    }

    /// The images `rows` as they are stored, each shard read from front to back.
    pub(crate) fn stored_many(&self, rows: &[usize]) -> Vec<Result<Stored<'static>>> {
        let starts = self.source.shards();
        let mut found: Vec<_> =
            rows.iter().map(|&row| Err(Error::RowOutOfRange { row, len: self.len() })).collect();
        let place = |(at, &i): (usize, &usize)| {
            let row = *self.rows.get(i)?;
            Some((shards::locate(starts, row)?.0, row, at))
        };
        let mut wanted: Vec<(usize, usize, usize)> =
            rows.iter().enumerate().filter_map(place).collect();
        wanted.sort_unstable();
        for own in wanted.chunk_by(|a, b| a.0 == b.0) {
            let mut rows: Vec<usize> = own.iter().map(|&(_, row, _)| row).collect();
            rows.dedup();
            let mut stored = self.source.read_shard(own[0].0, &rows).into_iter();
            for same in own.chunk_by(|a, b| a.1 == b.1) {
                if let (&[(_, _, first), ..], Some(stored)) = (same, stored.next()) {
                    found[first] = stored;
                }
                // Asked for again in one go, which is rare.
                for &(_, row, at) in &same[1..] {
                    found[at] = self.source.read(row).map(Stored::into_owned);
                }
            }
        }
        found
    }

    fn row(&self, i: usize) -> Result<usize> {
        self.rows.get(i).copied().ok_or(Error::RowOutOfRange { row: i, len: self.len() })
    }

    pub(crate) fn stored(&self, i: usize) -> Result<Stored<'_>> {
        self.source.read(self.row(i)?)
    }
}

fn content_hash(stored: &Stored<'_>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    match stored {
        Stored::Encoded(bytes) => hasher.update(b"file").update(bytes),
        Stored::Pixels(image) => {
            let (width, height) = image.dimensions();
            hasher.update(b"pixels").update(&width.to_le_bytes()).update(&height.to_le_bytes());
            hasher.update(image)
        }
    };
    *hasher.finalize().as_bytes()
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Images({} of {} in {})", self.len(), self.source.len(), self.source.kind())
    }
}
