//! Colours changed as PIL and torchvision change them.

use image::{Rgb, RgbImage};

/// A change of all colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    /// So many times as bright.
    Brightness(f64),
    /// So many times as far from the mean grey.
    Contrast(f64),
    /// So many times as far from their grey.
    Saturation(f64),
    /// Turned by so much of the colour circle.
    Hue(f64),
}

impl Change {
    pub(super) fn apply(self, image: &mut RgbImage) {
        match self {
            Self::Brightness(factor) => blend(image, factor, |_| 0),
            Self::Contrast(factor) => {
                let sum: u64 = image.pixels().map(|pixel| u64::from(grey(pixel))).sum();
                let pixels = u64::from(image.width()) * u64::from(image.height());
                let mean = (sum as f64 / pixels.max(1) as f64 + 0.5) as u8;
                blend(image, factor, |_| mean);
            }
            Self::Saturation(factor) => blend(image, factor, grey),
            Self::Hue(turn) => {
                let turn = (turn * 255.0) as i32;
                image.pixels_mut().for_each(|pixel| *pixel = turned(pixel, turn));
            }
        }
    }
}

/// All colours as their grey.
pub(super) fn greyscale(image: &mut RgbImage) {
    image.pixels_mut().for_each(|pixel| pixel.0 = [grey(pixel); 3]);
}

/// Luma of ITU-R 601-2, in PIL's integers.
fn grey(&Rgb([r, g, b]): &Rgb<u8>) -> u8 {
    let [r, g, b] = [r, g, b].map(u32::from);
    ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8
}

/// Each channel at `factor` of the way from a base to where it is.
fn blend(image: &mut RgbImage, factor: f64, base: impl Fn(&Rgb<u8>) -> u8) {
    for pixel in image.pixels_mut() {
        let base = f64::from(base(pixel));
        // The cast rounds down and stops at both ends.
        pixel.0 = pixel.0.map(|value| (base + factor * (f64::from(value) - base)) as u8);
    }
}

/// A pixel's hue, of 256 steps, moved on by `turn` of them.
fn turned(&Rgb([r, g, b]): &Rgb<u8>, turn: i32) -> Rgb<u8> {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return Rgb([r, g, b]);
    }
    let range = f64::from(most - least);
    let [red, green, blue] = [r, g, b].map(|value| f64::from(most - value) / range);
    let hue = if r == most {
        blue - green
    } else if g == most {
        2.0 + red - blue
    } else {
        4.0 + green - red
    };
    let step = ((hue / 6.0).rem_euclid(1.0) * 255.0) as i32;
    let saturation = (range / f64::from(most) * 255.0) as u8;
    let hue = f64::from((step + turn).rem_euclid(256)) * 6.0 / 255.0;
    let (saturation, value) = (f64::from(saturation) / 255.0, f64::from(most));
    let part = hue - hue.floor();
    let level = |less: f64| (value * (1.0 - less)).round() as u8;
    let [p, q, t] = [level(saturation), level(saturation * part), level(saturation * (1.0 - part))];
    Rgb(match hue.floor() as i32 % 6 {
        0 => [most, t, p],
        1 => [q, most, p],
        2 => [p, most, t],
        3 => [p, q, most],
        4 => [t, p, most],
        _ => [most, p, q],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> RgbImage {
        let pixels = [
            [12, 200, 77],
            [250, 3, 128],
            [90, 91, 92],
            [255, 255, 255],
            [0, 0, 0],
            [200, 180, 20],
            [30, 60, 240],
            [129, 17, 220],
        ];
        RgbImage::from_raw(4, 2, pixels.as_flattened().to_vec()).unwrap()
    }

    /// What PIL 13's `ImageEnhance` and `convert` make of these pixels, and what torchvision's
    /// `adjust_hue` does through them.
    #[test]
    fn colours_change_as_in_pil() {
        let due: [(Change, [u8; 24]); 4] = [
            (
                Change::Brightness(1.1),
                [
                    13, 220, 84, 255, 3, 140, 99, 100, 101, 255, 255, 255, 0, 0, 0, 220, 198, 22,
                    33, 66, 255, 141, 18, 242,
                ],
            ),
            (
                Change::Contrast(0.9),
                [
                    21, 191, 80, 236, 13, 126, 92, 92, 93, 240, 240, 240, 11, 11, 11, 191, 173, 29,
                    38, 65, 227, 127, 26, 209,
                ],
            ),
            (
                Change::Saturation(1.1),
                [
                    0, 207, 71, 255, 0, 131, 89, 91, 92, 255, 255, 255, 0, 0, 0, 203, 181, 5, 25,
                    58, 255, 134, 11, 234,
                ],
            ),
            (
                Change::Hue(20.0 / 360.0),
                [
                    13, 200, 136, 250, 4, 50, 90, 91, 92, 255, 255, 255, 0, 0, 0, 164, 200, 20, 65,
                    30, 240, 194, 17, 220,
                ],
            ),
        ];
        for (change, due) in due {
            let mut image = image();
            change.apply(&mut image);
            for (found, due) in image.iter().zip(due) {
                assert!(found.abs_diff(due) <= 1, "{change:?}: {image:?}");
            }
        }
        let mut grey = image();
        greyscale(&mut grey);
        let values: Vec<u8> = grey.iter().step_by(3).copied().collect();
        assert_eq!(values, [130, 91, 91, 255, 0, 168, 72, 74]);
    }
}
