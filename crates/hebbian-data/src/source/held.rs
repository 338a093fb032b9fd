//! Images decoded once and held in memory, for several passes over a few of them.

use std::borrow::Cow;
use std::sync::Arc;

use image::RgbImage;

use super::{Source, SourceKind, Stored};
use crate::batches::batches;
use crate::{Error, Images, Result, Size, Skipped};

/// Images decoded between two reports of progress.
const BLOCK: usize = 64;

/// Images of one size.
struct Held {
    kind: SourceKind,
    /// Each image's name and pixels.
    images: Vec<(String, RgbImage)>,
    fingerprint: blake3::Hash,
}

impl Source for Held {
    fn kind(&self) -> SourceKind {
        self.kind
    }

    fn len(&self) -> usize {
        self.images.len()
    }

    fn id(&self, index: usize) -> Cow<'_, str> {
        self.images.get(index).map(|(id, _)| id.as_str()).unwrap_or_default().into()
    }

    fn read(&self, index: usize) -> Result<Stored<'_>> {
        let len = self.len();
        let (_, image) = self.images.get(index).ok_or(Error::RowOutOfRange { row: index, len })?;
        Ok(Stored::Pixels(image.clone()))
    }

    fn fingerprint(&self) -> Result<blake3::Hash> {
        Ok(self.fingerprint)
    }
}

impl Images {
    /// The images that decode, at `size`, held in memory, and those that don't.
    /// `progress` is told images done and in all.
    ///
    /// # Errors
    /// When the data is lost, not one image can be read, or `size` is out of range.
    pub fn held(
        &self,
        size: Size,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Self, Vec<Skipped>)> {
        let mut images = Vec::with_capacity(self.len());
        let mut stream = batches(self, (0..self.len()).collect(), BLOCK, size);
        let mut hasher = blake3::Hasher::new();
        let mut done = 0;
        for batch in &mut stream {
            let batch = batch?;
            hasher.update(&batch.pixels);
            for (&row, pixels) in batch.rows.iter().zip(batch.pixels.chunks_exact(size.bytes())) {
                // Sides are at most 4096.
                let (width, height) = (size.width as u32, size.height as u32);
                let image = RgbImage::from_raw(width, height, pixels.to_vec());
                images.extend(image.map(|image| (self.id(row), image)));
            }
            done += batch.rows.len() + batch.skipped.len();
            progress(done, self.len());
        }
        let (kind, fingerprint) = (self.source.kind(), hasher.finalize());
        let skipped = stream.skipped();
        Ok((Self::new(Arc::new(Held { kind, images, fingerprint })), skipped))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use crate::Dataset;

    #[test]
    fn pixels_and_names_are_those_of_the_images_that_decode() {
        let folder = tempfile::tempdir().unwrap();
        for (name, side) in [("a.png", 9), ("c.png", 12)] {
            let image = RgbImage::from_fn(side, side, |x, y| image::Rgb([x as u8 * 9, y as u8, 7]));
            image.save(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("b.png"), b"no image").unwrap();
        let images = Dataset::open(folder.path()).unwrap().images();
        let size = Size { height: 6, width: 5 };
        let mut told = Vec::new();
        let (held, skipped) = images.held(size, &mut |done, all| told.push((done, all))).unwrap();
        assert_eq!((held.len(), skipped.len(), told), (2, 1, vec![(3, 3)]));
        assert_eq!(skipped[0].id, "b.png");
        for (i, row) in [0, 2].into_iter().enumerate() {
            assert_eq!(held.id(i), images.id(row));
            assert_eq!(held.decode_at(i, size).unwrap(), images.decode_at(row, size).unwrap());
        }
        assert!(held.decode_at(2, size).is_err());
    }
}
