//! Encoded bytes to RGB pixels, within limits.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use serde::Serialize;

use crate::Size;

/// The longest side that is decoded, in pixels.
pub const MAX_SIDE: u32 = 32_768;
/// The most pixels that are decoded: a 100-megapixel camera fits.
pub const MAX_PIXELS: u64 = 128 << 20;
/// The most memory that one decoded image may take, in bytes.
pub const MAX_BYTES: u64 = 1 << 30;

/// What the header of an image says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The file format, by its first bytes.
    pub format: ImageFormat,
    /// In pixels, before any EXIF rotation.
    pub width: u32,
    /// In pixels, before any EXIF rotation.
    pub height: u32,
    /// How pixels are stored.
    pub colour: Colour,
}

/// How an image stores a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Colour {
    /// One channel, 8 bits.
    Grey,
    /// One channel and transparency, 8 bits.
    GreyAlpha,
    /// Three channels, 8 bits.
    Rgb,
    /// Three channels and transparency, 8 bits.
    Rgba,
    /// Any with more than 8 bits a channel.
    Deep,
}

impl From<ColorType> for Colour {
    fn from(colour: ColorType) -> Self {
        match colour {
            ColorType::L8 => Self::Grey,
            ColorType::La8 => Self::GreyAlpha,
            ColorType::Rgb8 => Self::Rgb,
            ColorType::Rgba8 => Self::Rgba,
            _ => Self::Deep,
        }
    }
}

/// Reads the header alone. The error is the decoder's reason.
pub fn header(bytes: &[u8]) -> Result<Header, String> {
    let (format, decoder) = open(bytes)?;
    let (width, height) = decoder.dimensions();
    Ok(Header { format, width, height, colour: decoder.color_type().into() })
}

/// Decodes JPEG, PNG, WebP, GIF (its first frame), BMP or TIFF, told apart by
/// their first bytes, into 8-bit RGB of the upright image.
///
/// Grey is repeated over the channels, deeper channels are scaled to 8 bits,
/// transparency is laid over white (what a page shows), and the EXIF
/// orientation is applied. An image over [`MAX_SIDE`], [`MAX_PIXELS`] or
/// [`MAX_BYTES`] is refused before its pixels are allocated.
///
/// # Errors
/// The decoder's reason, for [`crate::Error::Unreadable`].
pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    decode_covering(bytes, None)
}

/// [`decode`] for an image that will be scaled to cover `size`, where one is
/// given: with feature `turbojpeg` a JPEG file may then come at 1/2, 1/4 or 1/8
/// of its own size, as long as it still covers `size`. Other files, and builds
/// without the feature, are as by [`decode`].
///
/// # Errors
/// As [`decode`].
pub fn decode_covering(bytes: &[u8], size: Option<Size>) -> Result<RgbImage, String> {
    let (format, mut decoder) = open(bytes)?;
    // A damaged orientation tag is no reason to lose the pixels.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = match jpeg(format, bytes, size.map(|size| as_stored(size, orientation))) {
        Some(image) => DynamicImage::ImageRgb8(image),
        None => DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?,
    };
    image.apply_orientation(orientation);
    Ok(if image.color().has_alpha() { over_white(&image) } else { image.into_rgb8() })
}

/// By libjpeg-turbo, where that can be and is wanted.
fn jpeg(format: ImageFormat, bytes: &[u8], cover: Option<Size>) -> Option<RgbImage> {
    #[cfg(feature = "turbojpeg")]
    if format == ImageFormat::Jpeg {
        return crate::turbo::decode(bytes, cover);
    }
    let _ = (format, bytes, cover);
    None
}

/// The size before the rotation that makes an image upright.
fn as_stored(Size { height, width }: Size, orientation: Orientation) -> Size {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    match orientation {
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => {
            Size { height: width, width: height }
        }
        _ => Size { height, width },
    }
}

fn open(bytes: &[u8]) -> Result<(ImageFormat, impl ImageDecoder + '_), String> {
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let format = reader.format().ok_or("its first bytes match no known image format")?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if width == 0 || height == 0 {
        return Err(format!("its size is {width}x{height}"));
    }
    if width > MAX_SIDE
        || height > MAX_SIDE
        || pixels > MAX_PIXELS
        || decoder.total_bytes() > MAX_BYTES
    {
        return Err(format!(
            "{width}x{height} pixels are over the limit of {MAX_SIDE} a side and {MAX_PIXELS} in all"
        ));
    }
    Ok((format, decoder))
}

fn over_white(image: &DynamicImage) -> RgbImage {
    let rgba = image.to_rgba8();
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (to, from) in rgb.pixels_mut().zip(rgba.pixels()) {
        let alpha = u32::from(from.0[3]);
        for (t, &f) in to.0.iter_mut().zip(&from.0[..3]) {
            let mixed = (u32::from(f) * alpha + 255 * (255 - alpha) + 127) / 255;
            *t = u8::try_from(mixed).unwrap_or(u8::MAX);
        }
    }
    rgb
}
