//! Transposed convolution: from a map of responses back to the map they were
//! computed from. It is the gradient of a convolution by its input, so its own
//! gradients are a convolution and a product with the patches.

use rayon::prelude::*;

use super::backward::{SUMMED_ROWS, scatter_batch, sum_lanes};
use super::forward::{gather_batch, unfolds};
use super::products::{gradient_by_patches, gradient_by_weights, project_patches};
use super::tile::{TilePatches, product_len, scatter, scatter_numbers, sum_products, tile_numbers};
use super::workspace::{TileBuffers, sized, tiles};
use super::{Geometry, Workspace, lane_ranges, split_by_images};
use crate::linalg::add_column_sums;

/// Transposed convolution of a batch, and its bias.
///
/// # Shapes
/// `g` is that of the convolution, without pooling: it takes `y` (batch x
/// output height x output width x C) to `map` (batch x height x width x
/// channels). `weights`: C x D; `bias`: one a channel, or one a number of an
/// image's map.
pub fn transposed_forward(
    g: &Geometry,
    batch: usize,
    y: &[f32],
    weights: &[f32],
    bias: &[f32],
    workspace: &mut Workspace,
    map: &mut [f32],
) {
    debug_assert_eq!(g.pool, 1, "a transposed convolution does not pool");
    let (c, d) = (g.filters, g.patch_len());
    if unfolds(g, batch) {
        let patches = sized(&mut workspace.patches, batch * g.positions() * d);
        gradient_by_patches(y, weights, c, patches);
        fill(map, bias);
        scatter_batch(g, patches, map);
        return;
    }
    let maps = split_by_images(map, batch);
    let Workspace { buffers, packed, .. } = workspace;
    let packed = packed.pack_transposed(g, weights);
    let lanes = lane_ranges(batch).collect::<Vec<_>>().into_par_iter();
    lanes.zip(maps).for_each(|(images, map)| {
        fill(map, bias);
        let mut buffers = buffers.take();
        let mut y = &y[images.start * g.positions() * c..];
        let TileBuffers { patches, starts, points, .. } = &mut *buffers;
        for tile in tiles(g, images.len(), scatter_numbers(g)) {
            let (here, rest) = y.split_at(tile.rows * c);
            scatter(g, &tile, here, packed, [points, patches], starts, map);
            y = rest;
        }
    });
}

/// Writes the bias at every place of the maps.
fn fill(maps: &mut [f32], bias: &[f32]) {
    maps.chunks_exact_mut(bias.len()).for_each(|place| place.copy_from_slice(bias));
}

/// Where [`transposed_backward`] writes.
pub struct TransposedGradients<'a> {
    /// Gradient by the weights, C x D.
    pub d_weights: &'a mut [f32],
    /// Gradient by the bias, as long as the bias.
    pub d_bias: &'a mut [f32],
    /// Gradient by the input: batch x output height x output width x C.
    pub d_y: &'a mut [f32],
}

/// Gradients of [`transposed_forward`], from that by its map (batch x height x
/// width x channels).
pub fn transposed_backward(
    g: &Geometry,
    batch: usize,
    y: &[f32],
    weights: &[f32],
    d_map: &[f32],
    workspace: &mut Workspace,
    out: TransposedGradients<'_>,
) {
    debug_assert_eq!(g.pool, 1, "a transposed convolution does not pool");
    let (c, d) = (g.filters, g.patch_len());
    let TransposedGradients { d_weights, d_bias, d_y } = out;
    let places = d_bias.len();
    if unfolds(g, batch) {
        let patches = gather_batch(g, batch, d_map, &mut workspace.patches);
        gradient_by_weights(y, patches, d, d_weights);
        project_patches(patches, weights, &mut [], d, &mut workspace.panels, d_y);
        d_bias.fill(0.0);
        d_map.chunks(SUMMED_ROWS * places).for_each(|rows| add_column_sums(rows, d_bias));
        return;
    }
    let product_len = product_len(g);
    let Workspace { lanes, buffers, packed, .. } = workspace;
    let packed = packed.pack(g, weights);
    let lanes = lanes.par_iter_mut().zip(lane_ranges(batch).collect::<Vec<_>>());
    lanes.zip(split_by_images(d_y, batch)).for_each(|((lane, images), mut d_y)| {
        lane.clear(places, 0);
        let mut buffers = buffers.take();
        let TileBuffers { patches, starts, points, packing, .. } = &mut *buffers;
        let d_map = &d_map[images.start * g.input_len()..images.end * g.input_len()];
        let sums = &mut lane.gate_sums[..places];
        d_map.chunks(SUMMED_ROWS * places).for_each(|rows| add_column_sums(rows, sums));
        let mut y = &y[images.start * g.positions() * c..];
        for tile in tiles(g, images.len(), tile_numbers(g)) {
            let rows = tile.rows;
            let add = !lane.begin_sums(product_len);
            let patches = TilePatches::new(g, d_map, &tile, patches, starts);
            let sums = &mut lane.product[..product_len];
            patches.outer(&y[..rows * c], add, packing, points, sums);
            let (here, rest) = std::mem::take(&mut d_y).split_at_mut(rows * c);
            patches.project(packed, points, here);
            (y, d_y) = (&y[rows * c..], rest);
        }
    });
    sum_products(g, &workspace.lanes, d_weights);
    sum_lanes(&workspace.lanes, d_bias, |lane| &lane.gate_sums);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Activation, Response, block_forward};
    use proptest::prelude::*;

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        use rand::RngExt;
        let mut rng = hebbian_data::seed::stream(seed, "test");
        (0..n).map(|_| rng.random_range(-1.0f32..1.0)).collect()
    }

    fn inner(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    }

    /// Convolution without activation: ReLU of it and of its negative.
    fn convolve(g: &Geometry, batch: usize, x: &[f32], weights: &[f32]) -> Vec<f32> {
        let half = |weights: &[f32]| {
            let response = Response { activation: Activation::Relu, ..Response::default() };
            let mut out = vec![0.0; batch * g.output_len()];
            let workspace = &mut Workspace::default();
            block_forward(g, batch, x, weights, &response, workspace, &mut out, None);
            out
        };
        let negative: Vec<f32> = weights.iter().map(|w| -w).collect();
        half(weights).iter().zip(half(&negative)).map(|(p, n)| p - n).collect()
    }

    /// Shapes on both sides of [`unfolds`].
    fn geometry() -> impl Strategy<Value = (Geometry, usize)> {
        let shape = (1usize..12, 1usize..12, 1usize..5, 1usize..5, 1usize..3, 0usize..2);
        (shape, 1usize..40, 1usize..20)
            .prop_filter("the kernel fits", |((h, w, _, k, _, p), _, _)| {
                h + 2 * p >= *k && w + 2 * p >= *k
            })
            .prop_map(|((height, width, channels, kernel, stride, padding), filters, batch)| {
                let pool = 1;
                let g =
                    Geometry { height, width, channels, kernel, stride, padding, filters, pool };
                (g, batch)
            })
    }

    proptest! {
        #[test]
        fn it_is_the_adjoint_of_convolution((g, batch) in geometry(), seed: u64) {
            let (x, y) = (numbers(batch * g.input_len(), seed), numbers(batch * g.output_len(), !seed));
            let weights = numbers(g.weight_len(), seed ^ 1);
            let mut map = vec![f32::NAN; x.len()];
            let workspace = &mut Workspace::default();
            transposed_forward(&g, batch, &y, &weights, &vec![0.0; g.channels], workspace, &mut map);
            let (forward, back) = (inner(&convolve(&g, batch, &x, &weights), &y), inner(&x, &map));
            prop_assert!((forward - back).abs() < 1e-3 * (1.0 + forward.abs()), "{forward} {back}");
        }

        #[test]
        fn its_gradients_are_those_of_a_bilinear_form((g, batch) in geometry(), each: bool, seed: u64) {
            // f(y, W, b) = <T(y, W) + b, d>, so each gradient, applied to its
            // own argument, gives that part of f back.
            let y = numbers(batch * g.output_len(), seed);
            let weights = numbers(g.weight_len(), seed ^ 1);
            let bias = numbers(if each { g.input_len() } else { g.channels }, seed ^ 2);
            let d = numbers(batch * g.input_len(), seed ^ 3);
            let workspace = &mut Workspace::default();
            let mut map = vec![f32::NAN; d.len()];
            transposed_forward(&g, batch, &y, &weights, &bias, workspace, &mut map);
            let whole = inner(&map, &d);
            let mut d_weights = vec![f32::NAN; weights.len()];
            let (mut d_bias, mut d_y) = (vec![f32::NAN; bias.len()], vec![f32::NAN; y.len()]);
            let out = TransposedGradients { d_weights: &mut d_weights, d_bias: &mut d_bias, d_y: &mut d_y };
            transposed_backward(&g, batch, &y, &weights, &d, workspace, out);
            let of_bias = inner(&d_bias, &bias);
            for product in [inner(&d_weights, &weights), inner(&d_y, &y)] {
                let apart = (product + of_bias - whole).abs();
                prop_assert!(apart < 1e-3 * (1.0 + whole.abs()), "{product} {of_bias} {whole}");
            }
            // In the gradient by the input each number is checked: it is a convolution.
            let want = convolve(&g, batch, &d, &weights);
            for (got, want) in d_y.iter().zip(&want) {
                prop_assert!((got - want).abs() < 1e-4, "{got} {want}");
            }
        }
    }
}
