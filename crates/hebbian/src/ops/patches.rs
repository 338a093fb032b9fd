//! Patches of a tile: gathered from the map, and scattered back onto it.

use super::Geometry;
use super::workspace::{Tile, sized};
use crate::linalg::{Rows, dot_inlined, simd};

/// Numbers a kernel row must have at least to be read where it lies.
const LONG: usize = 48;

/// Whether patches are multiplied where they lie in the map, kernel row by
/// kernel row: without a border, and with kernel rows that are worth it.
pub(crate) fn in_place(g: &Geometry) -> bool {
    g.padding == 0 && g.kernel * g.channels >= LONG
}

/// A tile's patches: where they lie in the map `x`, or written out.
pub(crate) fn locate<'a>(
    g: &Geometry,
    x: &'a [f32],
    tile: &Tile,
    patches: &'a mut Vec<f32>,
    starts: &'a mut Vec<usize>,
) -> Rows<'a> {
    starts.clear();
    let line = g.kernel * g.channels;
    if !in_place(g) {
        let d = g.patch_len();
        starts.extend((0..tile.rows).map(|row| row * d));
        return Rows::new(gather_tile(g, x, tile, patches), starts, (1, 0, d));
    }
    for &(image, band) in &tile.bands {
        for oy in g.band_rows(band) {
            let row = image * g.input_len() + oy * g.stride * g.width * g.channels;
            starts.extend((0..g.out_width()).map(|ox| row + ox * g.stride * g.channels));
        }
    }
    Rows::new(x, starts, (g.kernel, g.width * g.channels, line))
}

/// Euclidean norm of each patch of a tile: the squares of a pixel are summed
/// once for all the patches that see it.
pub(crate) fn patch_norms(
    g: &Geometry,
    x: &[f32],
    tile: &Tile,
    buffer: &mut Vec<f32>,
    norms: &mut [f32],
) {
    let width = g.width + 2 * g.padding;
    let mut norms = norms.chunks_exact_mut(g.out_width());
    for &(image, band) in &tile.bands {
        let image = &x[image * g.input_len()..(image + 1) * g.input_len()];
        let rows = g.band_rows(band);
        let lines = (rows.len() - 1) * g.stride + g.kernel;
        let squares = sized(buffer, lines * width);
        simd(
            #[inline(always)]
            || {
                for (line, squares) in squares.chunks_exact_mut(width).enumerate() {
                    squares.fill(0.0);
                    let y = (rows.start * g.stride + line).checked_sub(g.padding);
                    let Some(y) = y.filter(|&y| y < g.height) else { continue };
                    let pixels = image[y * g.width * g.channels..].chunks_exact(g.channels);
                    for (square, pixel) in squares[g.padding..][..g.width].iter_mut().zip(pixels) {
                        *square = dot_inlined(pixel, pixel);
                    }
                }
                for (row, norms) in (&mut norms).take(rows.len()).enumerate() {
                    norms.fill(0.0);
                    for line in
                        squares[row * g.stride * width..][..g.kernel * width].chunks_exact(width)
                    {
                        for column in 0..g.kernel {
                            let seen = line[column..].iter().step_by(g.stride);
                            norms.iter_mut().zip(seen).for_each(|(norm, square)| *norm += square);
                        }
                    }
                    norms.iter_mut().for_each(|norm| *norm = norm.sqrt());
                }
            },
        );
    }
}

/// Gathers a tile's patches, rows x D.
pub(crate) fn gather_tile<'a>(
    g: &Geometry,
    x: &[f32],
    tile: &Tile,
    buffer: &'a mut Vec<f32>,
) -> &'a mut [f32] {
    let patches = sized(buffer, tile.rows * g.patch_len());
    let mut start = 0;
    for &(image, band) in &tile.bands {
        let rows = g.band_rows(band);
        let len = rows.len() * g.out_width() * g.patch_len();
        let image = &x[image * g.input_len()..(image + 1) * g.input_len()];
        gather(g, image, rows, &mut patches[start..start + len]);
        start += len;
    }
    patches
}

/// Copies the patches at output rows `rows` of one image into `out`
/// (rows x width of the output map, patches of D numbers ordered kernel row,
/// kernel column, channel). Padding reads as zero.
pub(crate) fn gather(g: &Geometry, image: &[f32], rows: std::ops::Range<usize>, out: &mut [f32]) {
    let mut patches = out.chunks_exact_mut(g.patch_len());
    for oy in rows {
        for ox in 0..g.out_width() {
            let Some(patch) = patches.next() else { return };
            gather_one(g, image, (oy, ox), patch);
        }
    }
}

/// Copies the patch at output row and column `at` of an image into `out` (D).
#[inline]
pub(crate) fn gather_one(g: &Geometry, image: &[f32], at: (usize, usize), out: &mut [f32]) {
    let segments = out.chunks_exact_mut(g.kernel * g.channels);
    for (ky, segment) in segments.enumerate() {
        match Span::new(g, at.0 * g.stride + ky, at.1 * g.stride) {
            Some(s) => {
                segment[..s.skip].fill(0.0);
                segment[s.skip..s.skip + s.len].copy_from_slice(&image[s.start..s.start + s.len]);
                segment[s.skip + s.len..].fill(0.0);
            }
            None => segment.fill(0.0),
        }
    }
}

/// Adds patches laid out as by [`gather`] back onto the map they came from.
pub(crate) fn scatter_add(
    g: &Geometry,
    patches: &[f32],
    rows: std::ops::Range<usize>,
    image: &mut [f32],
) {
    let line = g.kernel * g.channels;
    let mut segments = patches.chunks_exact(line);
    for oy in rows {
        for ox in 0..g.out_width() {
            for ky in 0..g.kernel {
                let Some(segment) = segments.next() else { return };
                if let Some(s) = Span::new(g, oy * g.stride + ky, ox * g.stride) {
                    let target = &mut image[s.start..s.start + s.len];
                    let source = &segment[s.skip..s.skip + s.len];
                    target.iter_mut().zip(source).for_each(|(t, s)| *t += s);
                }
            }
        }
    }
}

/// The part of one kernel row that lies inside the map.
struct Span {
    start: usize,
    skip: usize,
    len: usize,
}

impl Span {
    /// Kernel row over padded map row `y`, from padded column `x`.
    #[inline]
    fn new(g: &Geometry, y: usize, x: usize) -> Option<Self> {
        let y = y.checked_sub(g.padding).filter(|&y| y < g.height)?;
        let first = x.max(g.padding);
        let end = (x + g.kernel).min(g.width + g.padding);
        let columns = end.checked_sub(first).filter(|&columns| columns > 0)?;
        Some(Self {
            start: (y * g.width + first - g.padding) * g.channels,
            skip: (first - x) * g.channels,
            len: columns * g.channels,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::workspace::tiles;
    use proptest::prelude::*;

    pub(crate) fn geometry() -> impl Strategy<Value = Geometry> {
        (1usize..9, 1usize..9, 1usize..4, 1usize..6, 1usize..4, 0usize..3)
            .prop_filter("the kernel fits", |(h, w, _, k, _, p)| h + 2 * p >= *k && w + 2 * p >= *k)
            .prop_map(|(height, width, channels, kernel, stride, padding)| Geometry {
                height,
                width,
                channels,
                kernel,
                stride,
                padding,
                filters: 1,
                pool: 1,
            })
    }

    proptest! {
        #[test]
        fn norms_are_those_of_the_patches_written_out(g in geometry(), images in 1usize..3, limit in 1usize..5000) {
            let x: Vec<f32> = (0..images * g.input_len()).map(|i| (i * 31 % 17) as f32 - 8.0).collect();
            for tile in tiles(&g, images, limit) {
                let (mut buffer, mut norms) = (Vec::new(), vec![f32::NAN; tile.rows]);
                patch_norms(&g, &x, &tile, &mut buffer, &mut norms);
                let patches = gather_tile(&g, &x, &tile, &mut buffer);
                for (norm, patch) in norms.iter().zip(patches.chunks_exact(g.patch_len())) {
                    // Sums of squares of small integers are exact in any order.
                    prop_assert_eq!(*norm, patch.iter().map(|x| x * x).sum::<f32>().sqrt());
                }
            }
        }

        #[test]
        fn gather_reads_every_position(g in geometry()) {
            let image: Vec<f32> = (1..=g.input_len()).map(|i| i as f32).collect();
            let mut patches = vec![f32::NAN; g.positions() * g.patch_len()];
            gather(&g, &image, 0..g.out_height(), &mut patches);
            let mut next = patches.iter();
            for oy in 0..g.out_height() {
                for ox in 0..g.out_width() {
                    for ky in 0..g.kernel {
                        for kx in 0..g.kernel {
                            for c in 0..g.channels {
                                let y = (oy * g.stride + ky).wrapping_sub(g.padding);
                                let x = (ox * g.stride + kx).wrapping_sub(g.padding);
                                let inside = y < g.height && x < g.width;
                                let want = if inside { image[(y * g.width + x) * g.channels + c] } else { 0.0 };
                                prop_assert_eq!(*next.next().unwrap(), want);
                            }
                        }
                    }
                }
            }
        }

        #[test]
        fn scatter_is_the_transpose_of_gather(g in geometry(), seed: u16) {
            let value = |i: usize| ((i * 31 + seed as usize) % 17) as f32 - 8.0;
            let image: Vec<f32> = (0..g.input_len()).map(value).collect();
            let weights: Vec<f32> = (0..g.positions() * g.patch_len()).map(|i| value(i + 5)).collect();
            let mut patches = vec![0.0; weights.len()];
            gather(&g, &image, 0..g.out_height(), &mut patches);
            let mut back = vec![0.0; image.len()];
            scatter_add(&g, &weights, 0..g.out_height(), &mut back);
            let forward: f32 = patches.iter().zip(&weights).map(|(a, b)| a * b).sum();
            let backward: f32 = image.iter().zip(&back).map(|(a, b)| a * b).sum();
            prop_assert!((forward - backward).abs() <= 1e-3 * (1.0 + forward.abs()));
        }
    }
}
