//! JPEG by libjpeg-turbo: PIL's own pixels, and fewer of them where that will do.

use image::RgbImage;
use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat, ScalingFactor};

use crate::Size;

/// The most scans of a progressive file that are decoded.
const MAX_SCANS: u32 = 500;

/// Decodes a JPEG file whose header has been found to be within limits; `cover`
/// is the least size that will do, in the file's own orientation. `None` when
/// the other decoder is to have a try: for damaged files, and colours that
/// libjpeg-turbo does not turn into RGB.
pub(crate) fn decode(bytes: &[u8], cover: Option<Size>) -> Option<RgbImage> {
    let mut decompressor = Decompressor::new().ok()?;
    decompressor.set_scan_limit(MAX_SCANS).ok()?;
    let header = decompressor.read_header(bytes).ok()?;
    let rgb = [Colorspace::RGB, Colorspace::YCbCr, Colorspace::Gray];
    if header.is_lossless || !rgb.contains(&header.colorspace) {
        return None;
    }
    let scale = cover.map_or(1, |cover| reduction(header.width, header.height, cover));
    let factor = ScalingFactor::new(1, scale);
    decompressor.set_scaling_factor(factor).ok()?;
    let (width, height) = (factor.scale(header.width), factor.scale(header.height));
    let mut pixels = vec![0; width * height * 3];
    let output = Image {
        pixels: &mut pixels[..],
        width,
        pitch: width * 3,
        height,
        format: PixelFormat::RGB,
    };
    decompressor.decompress(bytes, output).ok()?;
    RgbImage::from_raw(width.try_into().ok()?, height.try_into().ok()?, pixels)
}

/// The greatest of 8, 4, 2 and 1 by which an image can be divided and still
/// cover `size`; the rule of PIL's `draft`.
fn reduction(width: usize, height: usize, size: Size) -> usize {
    let least = (width / size.width).min(height / size.height);
    [8, 4, 2].into_iter().find(|&scale| least >= scale).unwrap_or(1)
}
