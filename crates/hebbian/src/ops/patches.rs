//! Patches of a tile: gathered from the map, and scattered back onto it.

use super::Geometry;

/// Copies the patches at output rows `rows` of one image into `out`
/// (rows x width of the output map, patches of D numbers ordered kernel row,
/// kernel column, channel). Padding reads as zero.
pub(crate) fn gather(g: &Geometry, image: &[f32], rows: std::ops::Range<usize>, out: &mut [f32]) {
    let line = g.kernel * g.channels;
    let mut segments = out.chunks_exact_mut(line);
    for oy in rows {
        for ox in 0..g.out_width() {
            for ky in 0..g.kernel {
                let Some(segment) = segments.next() else { return };
                match Span::new(g, oy * g.stride + ky, ox * g.stride) {
                    Some(s) => {
                        segment[..s.skip].fill(0.0);
                        segment[s.skip..s.skip + s.len]
                            .copy_from_slice(&image[s.start..s.start + s.len]);
                        segment[s.skip + s.len..].fill(0.0);
                    }
                    None => segment.fill(0.0),
                }
            }
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
