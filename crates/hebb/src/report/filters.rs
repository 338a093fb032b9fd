//! Filters of a first layer as pictures.

use image::ExtendedColorType;
use maud::{Markup, html};

use super::page::figure;
use super::picture::{data_address, png};

/// Colour of a weight that is not finite.
const MAGENTA: [u8; 3] = [255, 0, 255];

/// About how wide the grid of a report is, in pixels: twice what a page
/// shows, for screens with two dots a pixel.
const WIDTH: usize = 1800;

/// A PNG with one little picture a filter, `columns` to a row, each weight a
/// square of `scale` pixels (1 to 64), with transparent gutters between them.
///
/// `filters` is `[count, kernel, kernel, 3]` (NHWC); what is left after the
/// last whole filter is not drawn. Every filter is drawn by itself: its mean
/// is mid grey and its largest deviation reaches the end of the range. A
/// weight that is not finite is magenta. Without filters the picture is one
/// transparent pixel.
pub(crate) fn filters_png(filters: &[f32], kernel: usize, columns: usize, scale: usize) -> Vec<u8> {
    let filters = whole(filters, kernel);
    let kernel = if filters.is_empty() { 0 } else { kernel };
    let columns = columns.clamp(1, filters.len().max(1));
    let scale = scale.clamp(1, 64);
    let (side, gutter) = (kernel * scale, scale);
    let extent = |count: usize| (count * (side + gutter)).saturating_sub(gutter).max(1);
    let (width, height) = (extent(columns), extent(filters.len().div_ceil(columns)));

    let mut pixels = vec![0; width * height * 4];
    for (i, filter) in filters.iter().enumerate() {
        let (left, top) = (i % columns * (side + gutter), i / columns * (side + gutter));
        let colours = colours(filter);
        for (y, line) in pixels.chunks_exact_mut(width * 4).skip(top).take(side).enumerate() {
            for (x, pixel) in line.chunks_exact_mut(4).skip(left).take(side).enumerate() {
                let [r, g, b] = colours[y / scale * kernel + x / scale];
                pixel.copy_from_slice(&[r, g, b, 255]);
            }
        }
    }
    png(&pixels, width, height, ExtendedColorType::Rgba8).unwrap_or_default()
}

/// The whole filters in a run of weights.
fn whole(filters: &[f32], kernel: usize) -> Vec<&[f32]> {
    match kernel.checked_mul(kernel).and_then(|area| area.checked_mul(3)) {
        None | Some(0) => Vec::new(),
        Some(length) => filters.chunks_exact(length).collect(),
    }
}

/// The colours of one filter, pixel by pixel.
fn colours(filter: &[f32]) -> Vec<[u8; 3]> {
    let finite = || filter.iter().map(|&w| f64::from(w)).filter(|w| w.is_finite());
    let mean = finite().sum::<f64>() / finite().count().max(1) as f64;
    let reach = finite().map(|w| (w - mean).abs()).fold(0.0, f64::max);
    let level = |w: f32| {
        let deviation = if reach > 0.0 { (f64::from(w) - mean) / reach } else { 0.0 };
        (127.5 + 127.5 * deviation).round() as u8
    };
    filter
        .chunks_exact(3)
        .map(|pixel| match pixel {
            [r, g, b] if pixel.iter().all(|w| w.is_finite()) => [level(*r), level(*g), level(*b)],
            _ => MAGENTA,
        })
        .collect()
}

/// The filters as a figure.
pub(super) fn section(caption: &str, kernel: usize, filters: &[f32]) -> Markup {
    let whole = whole(filters, kernel);
    if whole.is_empty() {
        return figure(html! { p.empty { "There are no filters to draw." } }, caption, None);
    }
    let broken = whole.iter().filter(|f| f.iter().any(|w| !w.is_finite())).count();
    let note = (broken > 0).then(|| {
        format!(
            "{broken} of {} filters hold weights that are not finite, drawn in magenta.",
            whole.len()
        )
    });
    // Wider than high, in rows that the usual counts of filters fill.
    let columns = (whole.len() as f64 * 1.5).sqrt() as usize;
    let columns = columns.next_multiple_of(8).clamp(8, 32);
    let scale = (WIDTH / columns / (kernel + 1)).clamp(1, 24);
    let picture = filters_png(filters, kernel, columns, scale);
    let shown = (columns.min(whole.len()) * (kernel + 1) - 1) * scale / 2;
    let alt =
        format!("{} filters of {kernel} by {kernel} pixels, each in its own range", whole.len());
    figure(
        html! { img.filters src=(data_address(&picture)) alt=(alt) style={ "width:" (shown) "px" }; },
        caption,
        note.as_deref(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(file: &[u8]) -> image::RgbaImage {
        image::load_from_memory(file).unwrap().to_rgba8()
    }

    #[test]
    fn mean_is_mid_grey_and_the_largest_deviation_fills_the_range() {
        // Two filters of one pixel: (-1, 0, 1) about 0, and (10, 10, 10).
        let picture = decoded(&filters_png(&[-1.0, 0.0, 1.0, 10.0, 10.0, 10.0], 1, 8, 2));
        assert_eq!(picture.dimensions(), (6, 2));
        assert_eq!(picture.get_pixel(0, 0).0, [0, 128, 255, 255]);
        assert_eq!(picture.get_pixel(5, 1).0, [128, 128, 128, 255]);
        assert_eq!(picture.get_pixel(2, 0).0[3], 0, "gutter");
        assert_eq!(picture.get_pixel(3, 1).0[3], 0, "gutter");
    }

    #[test]
    fn weights_stand_where_nhwc_puts_them() {
        // Three filters of 2 by 2, two to a row; the last one's lower left is red.
        let mut filters = vec![0.0; 3 * 12];
        filters[2 * 12 + 2 * 3] = 1.0;
        let picture = decoded(&filters_png(&filters, 2, 2, 1));
        assert_eq!(picture.dimensions(), (5, 5));
        let [r, g, b, _] = picture.get_pixel(0, 4).0;
        assert!(r == 255 && g == b && g < 128, "{r} {g} {b}");
        let [r, g, b, _] = picture.get_pixel(1, 4).0;
        assert!(r == g && g == b, "{r} {g} {b}");
        assert_eq!(picture.get_pixel(3, 4).0[3], 0, "no fourth filter");
    }

    #[test]
    fn weights_that_are_not_finite_are_magenta_and_spare_the_others() {
        let weights =
            [f32::NAN, 0.0, 0.0, f32::INFINITY, 1.0, 1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0];
        let picture = decoded(&filters_png(&weights, 2, 1, 1));
        assert_eq!(picture.get_pixel(0, 0).0, [255, 0, 255, 255]);
        assert_eq!(picture.get_pixel(1, 0).0, [255, 0, 255, 255]);
        assert_eq!(picture.get_pixel(0, 1).0[0], 0);
        let page = section("", 2, &weights).into_string();
        assert!(page.contains("1 of 1 filters hold weights that are not finite"));
    }

    #[test]
    fn no_filters_are_no_failure() {
        for (length, kernel) in [(0, 5), (74, 5), (75, 0), (9, usize::MAX)] {
            let file = filters_png(&vec![0.5; length], kernel, 16, 8);
            assert_eq!(decoded(&file).dimensions(), (1, 1));
            let page = section("", kernel, &vec![0.5; length]).into_string();
            assert!(page.contains("no filters"), "{page}");
        }
    }
}
