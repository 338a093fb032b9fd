//! Any image to a fixed size: shorter side to the target, centre crop.

use std::fmt;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{F32x3, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The largest side a batch can have.
const MAX_SIDE: usize = 4096;

/// Height and width in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Size {
    /// A size of `side` by `side`.
    pub const fn square(side: usize) -> Self {
        Self { height: side, width: side }
    }

    /// Bytes of an RGB image of this size: height x width x 3.
    ///
    /// For a size that passed [`Size::check`] this can't overflow.
    pub const fn bytes(self) -> usize {
        self.height * self.width * 3
    }

    /// # Errors
    /// [`Error::BadSize`] when a side is 0 or above 4096.
    pub fn check(self) -> Result<Self> {
        let fits = |side| (1..=MAX_SIDE).contains(&side);
        if fits(self.height) && fits(self.width) {
            return Ok(self);
        }
        let problem = format!("sides must be between 1 and {MAX_SIDE}");
        Err(Error::BadSize { size: self, problem })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

/// Scales `image` so that it just covers `size`, with an antialiased bilinear
/// filter as in PIL, and cuts out the centre; an image of that size already is
/// left as it is.
///
/// This is the published pipeline (Resize of the shorter side, CenterCrop),
/// with its roundings: the longer side is rounded down, the crop's corner to
/// the nearest even. Pixels agree with PIL's to within one level.
///
/// # Shapes
/// Returns height x width x 3 bytes, RGB interleaved.
///
/// # Errors
/// [`Error::BadSize`] when `size` is out of range.
pub fn cover(image: RgbImage, size: Size) -> Result<Vec<u8>> {
    size.check()?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    if width == 0 || height == 0 {
        let problem = "the image has no pixels".to_owned();
        return Err(Error::BadSize { size: Size { height, width }, problem });
    }
    let scaled = covering(Size { height, width }, size);
    let pixels = if scaled == (Size { height, width }) {
        image.into_raw()
    } else {
        bilinear(&image, scaled)?
    };
    if scaled == size {
        return Ok(pixels);
    }
    let corner = |from: usize, to: usize| ((from - to) as f64 / 2.0).round_ties_even() as usize;
    let (top, left) = (corner(scaled.height, size.height), corner(scaled.width, size.width));
    let mut cropped = Vec::with_capacity(size.bytes());
    for row in pixels.chunks_exact(scaled.width * 3).skip(top).take(size.height) {
        cropped.extend_from_slice(&row[left * 3..(left + size.width) * 3]);
    }
    Ok(cropped)
}

/// The smallest size of the proportions of `from` that covers `to`.
fn covering(from: Size, to: Size) -> Size {
    // Compares to.height / from.height with to.width / from.width.
    if to.height * from.width >= to.width * from.height {
        let width = (to.height * from.width / from.height).max(to.width);
        Size { height: to.height, width }
    } else {
        let height = (to.width * from.height / from.width).max(to.height);
        Size { height, width: to.width }
    }
}

/// Scales with the antialiased bilinear filter of PIL.
pub(crate) fn bilinear(image: &RgbImage, size: Size) -> Result<Vec<u8>> {
    // A sliver of an image, scaled until its shorter side fits, can grow beyond memory.
    if size.height.saturating_mul(size.width) > crate::decode::MAX_PIXELS as usize {
        let problem = "the image is too long and thin to be scaled to cover the target".to_owned();
        return Err(Error::BadSize { size, problem });
    }
    let from = Size { height: image.height() as usize, width: image.width() as usize };
    scale(image.as_raw(), from, size)
}

/// Scales images that follow each other, height x width x 3 numbers each, with
/// the antialiased bilinear filter.
pub(crate) fn scale<T: Channel>(images: &[T], from: Size, to: Size) -> Result<Vec<T>> {
    let mut scaled = vec![T::default(); images.len() / from.bytes() * to.bytes()];
    let bad = |problem: String| Error::BadSize { size: to, problem };
    let side = |n: usize| u32::try_from(n).map_err(|e| bad(e.to_string()));
    let [width, height, new_width, new_height] =
        [side(from.width)?, side(from.height)?, side(to.width)?, side(to.height)?];
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let pairs = scaled.par_chunks_mut(to.bytes()).zip(images.par_chunks(from.bytes()));
    pairs.try_for_each_init(Resizer::new, |resizer, (scaled, image)| {
        // By type, for by value each caller compiles every kind of pixel there is.
        let image =
            TypedImageRef::<T::Pixel>::from_buffer(width, height, bytemuck::cast_slice(image))
                .map_err(|e| bad(e.to_string()))?;
        let scaled = bytemuck::cast_slice_mut(scaled);
        let mut scaled = TypedImage::<T::Pixel>::from_buffer(new_width, new_height, scaled)
            .map_err(|e| bad(e.to_string()))?;
        resizer.resize_typed(&image, &mut scaled, &options).map_err(|e| bad(e.to_string()))
    })?;
    Ok(scaled)
}

/// What a channel of a pixel may be.
pub(crate) trait Channel: bytemuck::Pod + Default + Send + Sync {
    /// Three of them.
    type Pixel: PixelTrait;
}

impl Channel for u8 {
    type Pixel = U8x3;
}

impl Channel for f32 {
    type Pixel = F32x3;
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use proptest::prelude::*;

    #[test]
    fn the_exact_size_is_untouched() {
        let image = RgbImage::from_fn(5, 4, |x, y| Rgb([x as u8, y as u8, 7]));
        let bytes = image.as_raw().clone();
        assert_eq!(cover(image, Size { height: 4, width: 5 }).unwrap(), bytes);
    }

    #[test]
    fn a_wide_image_loses_its_ends() {
        // Thirds of red, green and blue: only the middle third fits a square.
        let image = RgbImage::from_fn(90, 30, |x, _| {
            let mut pixel = [0; 3];
            pixel[x as usize / 30] = 255;
            Rgb(pixel)
        });
        let pixels = cover(image, Size::square(30)).unwrap();
        assert!(pixels.chunks(3).all(|p| p == [0, 255, 0]));
    }

    /// `PIL.Image.fromarray(a).resize((w, h), BILINEAR)` of Pillow 13.0.0 with
    /// h = side, w = int(side * width / height), where a[y, x, 0] = (37 x + 91 y) % 256;
    /// then columns round((w - side) / 2) onwards.
    #[test]
    fn down_and_up_as_pil() {
        let red = |width, height, side| {
            let image =
                RgbImage::from_fn(width, height, |x, y| Rgb([(37 * x + 91 * y) as u8, 0, 0]));
            let pixels = cover(image, Size::square(side)).unwrap();
            pixels.chunks(3).map(|p| p[0]).collect::<Vec<u8>>()
        };
        let down = [99, 134, 116, 111, 108, 114, 132, 112, 132, 112, 117, 129, 151, 123, 114, 120];
        let up = [
            24, 40, 57, 74, 91, 108, 124, 37, 53, 70, 87, 104, 121, 137, 76, 92, 109, 126, 143,
            160, 176, 115, 131, 148, 165, 182, 199, 215, 154, 160, 127, 94, 111, 128, 144, 193,
            189, 107, 24, 41, 58, 74, 206, 199, 100, 0, 17, 34, 50,
        ];
        // PIL rounds its filter's weights to other fractions: one level apart at most.
        let near = |ours: &[u8], pil: &[u8]| {
            assert_eq!(ours.len(), pil.len());
            assert!(ours.iter().zip(pil).all(|(a, b)| a.abs_diff(*b) <= 1), "{ours:?}");
        };
        near(&red(13, 9, 4), &down);
        near(&red(5, 3, 7), &up);
    }

    proptest! {
        #[test]
        fn any_image_covers_any_size(w in 1u32..80, h in 1u32..80, th in 1usize..50, tw in 1usize..50) {
            let size = Size { height: th, width: tw };
            let pixels = cover(RgbImage::from_pixel(w, h, Rgb([9, 99, 199])), size).unwrap();
            prop_assert_eq!(pixels.len(), size.bytes());
            prop_assert!(pixels.chunks(3).all(|p| p == [9, 99, 199]));
        }
    }
}
