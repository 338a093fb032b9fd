//! Published augmentation: images that differ a little each time they are read.

mod colour;
mod geometry;

use image::RgbImage;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
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
    /// HebbianPCA's `CustomAugment`, meant for many epochs: before all of that
    /// brightness, contrast, saturation (each by up to a tenth) and hue (by up to
    /// 20 degrees) in any order (probability 1/2), grey alone (0.2), and after the
    /// mirror a view from elsewhere of the image enlarged to 36/32 (0.3); turned
    /// by up to 180 degrees.
    Heavy,
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
        // Everything is drawn whether it is needed or not, so that nothing moves another.
        let mut chance = |p: f64| rng.random::<f64>() < p;
        let [mirror, scale, turn, shift] = [chance(0.5), chance(0.3), chance(0.3), chance(0.5)];
        let factor = rng.random_range(24..=40u32);
        let turned_by = rng.random_range(-1.0..=1.0f64);
        let [down, across] = [rng.random_range(0.0..=1.0), rng.random_range(0.0..=1.0f64)];
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (width, height) = (side(size.width), side(size.height));
        let Some(mut image) = RgbImage::from_raw(width, height, pixels.to_vec()) else {
            return Ok(());
        };
        let heavy = self.kind == Augmentation::Heavy;
        if heavy {
            recolour(&mut image, &mut rng);
        }
        if mirror {
            image::imageops::flip_horizontal_in_place(&mut image);
        }
        if heavy {
            image = view(image, size, &mut rng)?;
        }
        if scale {
            image = scaled(&image, size, factor)?;
        }
        if turn {
            image = geometry::turned(&image, turned_by * if heavy { 180.0 } else { 10.0 });
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
                pixel.copy_from_slice(&geometry::at(&image, x as i64 + left, y as i64 + top).0);
            }
        }
        Ok(())
    }
}

/// Colours of the heavy augmentation.
fn recolour(image: &mut RgbImage, rng: &mut ChaCha8Rng) {
    let [jitter, grey] = [rng.random::<f64>() < 0.5, rng.random::<f64>() < 0.2];
    let mut near_one = || rng.random_range(0.9..=1.1);
    let mut changes = [
        colour::Change::Brightness(near_one()),
        colour::Change::Contrast(near_one()),
        colour::Change::Saturation(near_one()),
        colour::Change::Hue(rng.random_range(-20.0..=20.0) / 360.0),
    ];
    changes.shuffle(rng);
    if jitter {
        changes.into_iter().for_each(|change| change.apply(image));
    }
    if grey {
        colour::greyscale(image);
    }
}

/// The view of the heavy augmentation: each corner of the enlarged image moved
/// inwards by up to an eighth of its sides.
fn view(image: RgbImage, size: Size, rng: &mut ChaCha8Rng) -> Result<RgbImage> {
    let wanted = rng.random::<f64>() < 0.3;
    let inwards: [[f64; 2]; 4] = std::array::from_fn(|_| [rng.random(), rng.random()]);
    if !wanted {
        return Ok(image);
    }
    let image = scaled(&image, size, 36)?;
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    let move_by = |n: f64, part: f64| (part * ((n / 2.0).floor() / 4.0).floor()).round();
    let corner = |i: usize, right: bool, bottom: bool| {
        let [x, y] = [move_by(width, inwards[i][0]), move_by(height, inwards[i][1])];
        [if right { width - 1.0 - x } else { x }, if bottom { height - 1.0 - y } else { y }]
    };
    let corners = [
        corner(0, false, false),
        corner(1, true, false),
        corner(2, true, true),
        corner(3, false, true),
    ];
    Ok(geometry::perspective(&image, corners))
}

/// The image scaled to `parts` of 32 parts of `size`.
fn scaled(image: &RgbImage, size: Size, parts: u32) -> Result<RgbImage> {
    let part = |n: usize| (n * parts as usize / 32).max(1);
    let to = Size { height: part(size.height), width: part(size.width) };
    let pixels = resize::bilinear(image, to)?;
    let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(RgbImage::from_raw(side(to.width), side(to.height), pixels).unwrap_or_else(|| image.clone()))
}

/// Where the middle `to` of `from` begins; below 0 where it is the longer one.
fn centre(from: u32, to: u32) -> i64 {
    ((f64::from(from) - f64::from(to)) / 2.0).round_ties_even() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    const SIZE: Size = Size { height: 32, width: 48 };

    fn image() -> Vec<u8> {
        let pixel = |x: u32, y: u32| Rgb([5 * x as u8, 7 * y as u8, 200]);
        RgbImage::from_fn(48, 32, pixel).into_raw()
    }

    fn augmented(purpose: &str, row: usize) -> Vec<u8> {
        augmented_by(Augmentation::Light, purpose, row)
    }

    fn augmented_by(kind: Augmentation, purpose: &str, row: usize) -> Vec<u8> {
        let mut pixels = image();
        let purpose = purpose.to_owned();
        Augment { kind, seed: 1, purpose }.apply(row, SIZE, &mut pixels).unwrap();
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

    /// Of 2,000 images nothing at all, or nothing but a mirror, is left of 0.7 of no scale (and
    /// 0.3 / 17 of the same one), 0.7 of no turn, 1/2 of no shift (and 1/192 of one by 0), 1/2 of
    /// no change of colours, 0.8 of no grey and 0.7 of no other view: 7.1 %. Those that are grey
    /// and nothing else are a quarter of that.
    #[test]
    fn heavy_changes_come_as_often_as_published() {
        let plain = RgbImage::from_raw(48, 32, image()).unwrap();
        let grey = |mut image: RgbImage| {
            colour::greyscale(&mut image);
            image.into_raw()
        };
        let mirrored = image::imageops::flip_horizontal(&plain);
        let all: Vec<Vec<u8>> =
            (0..2000).map(|row| augmented_by(Augmentation::Heavy, "epoch", row)).collect();
        let count = |due: &[u8]| all.iter().filter(|found| found == &due).count();
        let same = count(plain.as_raw()) + count(mirrored.as_raw());
        // 142 are due; 4 standard deviations are 46.
        assert!((96..=188).contains(&same), "{same}");
        let grey = count(&grey(plain)) + count(&grey(mirrored));
        // 36 are due; 4 standard deviations are 24.
        assert!((12..=60).contains(&grey), "{grey}");
    }
}
