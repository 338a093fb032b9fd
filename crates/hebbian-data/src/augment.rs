//! Published augmentation: images that differ a little each time they are read.

use image::{Rgb, RgbImage};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{Result, Size, resize, seed};

/// Which augmentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Augmentation {
    /// Images as they are, as in the papers' main results.
    #[default]
    None,
    /// HebbianPCA's `LightCustomAugment`, sizes in proportion to its 32 pixels:
    /// mirrored (probability 1/2); scaled to 24/32 to 40/32 of the side (0.3);
    /// turned by up to 10 degrees (0.3); moved by up to 4/32 of the side (1/2);
    /// the middle is cut out and what is missing is black.
    Light,
}

impl Augmentation {
    /// Whether images stay as they are.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// An augmentation and where its random numbers come from.
#[derive(Clone, Debug)]
pub(crate) struct Augment {
    pub(crate) kind: Augmentation,
    pub(crate) seed: u64,
    pub(crate) purpose: String,
}

impl Augment {
    /// Changes `pixels`, an image of `size`; `row` is its place in the source,
    /// so that neither threads nor the order of reading have a part in it.
    pub(crate) fn apply(&self, row: usize, size: Size, pixels: &mut [u8]) -> Result<()> {
        if self.kind.is_none() {
            return Ok(());
        }
        let mut rng = seed::stream(self.seed, &format!("augment/{}/{row}", self.purpose));
        let mut chance = |p: f64| rng.random::<f64>() < p;
        let [mirror, scale, turn, shift] = [chance(0.5), chance(0.3), chance(0.3), chance(0.5)];
        // Drawn whether they are needed or not, so that none moves another.
        let factor = rng.random_range(24..=40u32);
        let degrees = rng.random_range(-10.0..=10.0f64);
        let [down, across] = [rng.random_range(0.0..=1.0), rng.random_range(0.0..=1.0f64)];
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (width, height) = (side(size.width), side(size.height));
        let Some(mut image) = RgbImage::from_raw(width, height, pixels.to_vec()) else {
            return Ok(());
        };
        if mirror {
            image::imageops::flip_horizontal_in_place(&mut image);
        }
        if scale {
            let part = |n: usize| (n * factor as usize / 32).max(1);
            let to = Size { height: part(size.height), width: part(size.width) };
            let scaled = resize::bilinear(&image, to)?;
            image = RgbImage::from_raw(side(to.width), side(to.height), scaled).unwrap_or(image);
        }
        if turn {
            image = turned(&image, degrees);
        }
        let room = |n: u32| n / 8;
        let (mut left, mut top) = (centre(image.width(), width), centre(image.height(), height));
        if shift {
            // A random one of the places that the middle with a margin has room for.
            let moved =
                |at: f64, room: u32| (at * f64::from(2 * room)).round() as i64 - i64::from(room);
            left += moved(across, room(width));
            top += moved(down, room(height));
        }
        for (y, line) in pixels.chunks_exact_mut(size.width * 3).enumerate() {
            for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
                pixel.copy_from_slice(&at(&image, x as i64 + left, y as i64 + top).0);
            }
        }
        Ok(())
    }
}

/// Where the middle `to` of `from` begins; below 0 where it is the longer one.
fn centre(from: u32, to: u32) -> i64 {
    ((f64::from(from) - f64::from(to)) / 2.0).round_ties_even() as i64
}

/// A pixel; black outside.
fn at(image: &RgbImage, x: i64, y: i64) -> Rgb<u8> {
    let inside = u32::try_from(x).ok().zip(u32::try_from(y).ok());
    inside.and_then(|(x, y)| image.get_pixel_checked(x, y)).copied().unwrap_or(Rgb([0; 3]))
}

/// The image turned about its middle, the nearest pixel for each, as
/// torchvision's `RandomRotation` does by default.
fn turned(image: &RgbImage, degrees: f64) -> RgbImage {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let middle = |n: u32| f64::from(n) / 2.0 - 0.5;
    let (cx, cy) = (middle(image.width()), middle(image.height()));
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let (x, y) = (f64::from(x) - cx, f64::from(y) - cy);
        let from = |n: f64| n.round() as i64;
        at(image, from(cos * x - sin * y + cx), from(sin * x + cos * y + cy))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { height: 32, width: 48 };

    fn image() -> Vec<u8> {
        let pixel = |x: u32, y: u32| Rgb([5 * x as u8, 7 * y as u8, 200]);
        RgbImage::from_fn(48, 32, pixel).into_raw()
    }

    fn augmented(purpose: &str, row: usize) -> Vec<u8> {
        let mut pixels = image();
        let purpose = purpose.to_owned();
        Augment { kind: Augmentation::Light, seed: 1, purpose }
            .apply(row, SIZE, &mut pixels)
            .unwrap();
        pixels
    }

    #[test]
    fn it_is_drawn_by_purpose_and_row_alone() {
        assert_eq!(augmented("epoch 0", 3), augmented("epoch 0", 3));
        let others = (0..20).filter(|&row| augmented("epoch 0", row) != augmented("epoch 1", row));
        assert!(others.count() > 15);
        let mut pixels = image();
        let purpose = String::new();
        Augment { kind: Augmentation::None, seed: 1, purpose }.apply(3, SIZE, &mut pixels).unwrap();
        assert_eq!(pixels, image());
    }

    /// That nothing but perhaps a mirror changes an image has probability 0.7 of
    /// no other scale (and 0.3 / 17 of the same one), 0.7 of no turn (and 0.036 of
    /// one too small to move a pixel), 1/2 of no shift (and 1/192 of one by 0).
    #[test]
    fn each_change_comes_as_often_as_published() {
        let plain = image();
        let mirrored =
            image::imageops::flip_horizontal(&RgbImage::from_raw(48, 32, image()).unwrap());
        let mut same = [0; 2];
        for row in 0..2000 {
            let found = augmented("epoch", row);
            same[0] += usize::from(found == plain);
            same[1] += usize::from(found == *mirrored.as_raw());
        }
        // 267 of each kind are due; 5 standard deviations are 76.
        assert!(same.iter().all(|n| (191..=343).contains(n)), "{same:?}");
    }

    #[test]
    fn a_turn_keeps_the_middle_and_goes_the_right_way() {
        let image =
            RgbImage::from_fn(33, 33, |x, y| Rgb([if x == 16 && y <= 16 { 255 } else { 0 }, 0, 0]));
        let turned = turned(&image, 90.0);
        assert_eq!(turned.get_pixel(16, 16).0[0], 255);
        // Against the clock: what pointed up points left.
        assert_eq!((turned.get_pixel(4, 16).0[0], turned.get_pixel(28, 16).0[0]), (255, 0));
    }
}
