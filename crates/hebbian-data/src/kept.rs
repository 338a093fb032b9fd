//! Pixels of a few images that are decoded once and kept in memory, for several
//! passes over them.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::Size;

/// Pixels at one size, as far as they have been decoded.
pub(crate) struct Kept {
    size: Size,
    /// By position in the source.
    images: HashMap<usize, OnceLock<Box<[u8]>>>,
}

impl Kept {
    /// Of the images `rows` of a source; nothing is decoded yet.
    pub(crate) fn new(rows: &[usize], size: Size) -> Self {
        Self { size, images: rows.iter().map(|&row| (row, OnceLock::new())).collect() }
    }

    /// The place of the pixels of image `row` of the source.
    pub(crate) fn place(&self, row: usize, size: Size) -> Option<&OnceLock<Box<[u8]>>> {
        self.images.get(&row).filter(|_| size == self.size)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::{Augmentation, Dataset, Images};

    #[test]
    fn what_was_decoded_once_is_read_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let save = |name: &str, side: u32, red: u8| {
            let pixel = |x, y| image::Rgb([red, 9 * x as u8, y as u8]);
            RgbImage::from_fn(side, side, pixel).save(folder.path().join(name)).unwrap();
        };
        save("a.png", 9, 1);
        save("c.png", 12, 2);
        std::fs::write(folder.path().join("b.png"), b"no image").unwrap();
        let images = Dataset::open(folder.path()).unwrap().images();
        let (size, other) = (Size { height: 6, width: 5 }, Size { height: 6, width: 6 });
        let at = |images: &Images, size| [0, 2].map(|i| images.decode_at(i, size).unwrap());
        let (small, square) = (at(&images, size), at(&images, other));
        let kept = images.kept(&[0, 2], size);
        assert_eq!(at(&kept, size), small);
        assert!(kept.decode_at(1, size).is_err());
        assert!(!kept.are_cached(size));
        // They are kept as they are, and changed anew each time.
        let changed = ["one", "two", "three", "four", "five"].map(|purpose| {
            let [plain, kept] =
                [&images, &kept].map(|of| at(&of.augmented(Augmentation::Light, 1, purpose), size));
            assert_eq!(kept, plain);
            kept != small
        });
        assert!(changed.contains(&true));
        // Other files: what is kept stays, and stays with subsets.
        save("a.png", 9, 101);
        save("c.png", 12, 102);
        save("b.png", 12, 103);
        let few = kept.subset(&[2, 0]).kept(&[0, 1], size);
        assert!(few.are_cached(size) && !few.are_cached(other));
        assert_eq!([1, 0].map(|i| few.decode_at(i, size).unwrap()), small);
        assert_ne!(at(&kept, other), square);
        assert_ne!(at(&images, size), small);
        assert_eq!(kept.decode_at(1, size).unwrap()[0], 103);
    }
}
