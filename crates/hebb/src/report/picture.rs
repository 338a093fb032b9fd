//! Pixels as PNG, and PNG inside the page.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder as _};

/// A PNG file of `pixels`, `[height, width, channels of colour]`; none where
/// a side is zero or the length is not the product.
pub(super) fn png(
    pixels: &[u8],
    width: usize,
    height: usize,
    colour: ExtendedColorType,
) -> Option<Vec<u8>> {
    let channels = usize::from(colour.channel_count());
    let expected = width.checked_mul(height)?.checked_mul(channels)?;
    if expected == 0 || pixels.len() != expected {
        return None;
    }
    let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    let mut file = Vec::new();
    PngEncoder::new(&mut file).write_image(pixels, width, height, colour).ok()?;
    Some(file)
}

/// The address of a PNG that is carried in the page itself.
pub(super) fn data_address(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_is_no_picture_is_refused() {
        let rgb = ExtendedColorType::Rgb8;
        assert!(png(&[0; 12], 2, 2, rgb).is_some());
        assert!(png(&[0; 11], 2, 2, rgb).is_none());
        assert!(png(&[], 0, 2, rgb).is_none());
        assert!(png(&[0; 3], usize::MAX, usize::MAX, rgb).is_none());
    }
}
