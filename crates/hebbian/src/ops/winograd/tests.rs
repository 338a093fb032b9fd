//! All products against those of the patches.

use proptest::prelude::*;

use super::*;
use crate::ops::patches::locate;
use crate::ops::tile::{Packed, scatter};
use crate::ops::workspace::tiles;

fn geometry() -> impl Strategy<Value = Geometry> {
    (3usize..13, 3usize..13, 1usize..3, 1usize..4, 0usize..3, 1usize..4)
        .prop_map(|(height, width, channels, filters, padding, pool)| Geometry {
            height,
            width,
            channels: channels * VECTOR,
            kernel: 3,
            stride: 1,
            padding,
            filters: filters * VECTOR,
            pool,
        })
        .prop_filter("pooling fits, and it applies", |g| {
            g.out_height().min(g.out_width()) >= g.pool && applies(g)
        })
}

fn numbers(len: usize, seed: u64) -> Vec<f32> {
    use rand::RngExt;
    let mut rng = hebbian_data::seed::stream(seed, "test");
    (0..len).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

/// Largest difference over the largest entry, as in the tests of all forms.
fn close(got: &[f32], want: &[f32]) -> Result<(), TestCaseError> {
    let largest = want.iter().fold(1e-3f32, |m, w| m.max(w.abs()));
    for (got, want) in got.iter().zip(want) {
        prop_assert!((got - want).abs() < 2e-5 * largest, "{got} {want} of {largest}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn all_products_are_those_of_the_patches(
        g in geometry(), images in 1usize..4, numbers_each in 300usize..20_000, seed: u64,
    ) {
        let (c, d) = (g.filters, g.patch_len());
        let x = numbers(images * g.input_len(), seed);
        let w = numbers(g.weight_len(), seed ^ 1);
        let (mut weights, mut panels) = (Weights::default(), Panels::default());
        let (weights, panels) = (weights.pack(&g, &w), panels.pack(&w, d));
        let (mut back, mut direct) = (Weights::default(), Panels::default());
        let back = Packed::Points(back.pack_transposed(&g, &w));
        let direct = Packed::Panels(direct.pack_transposed(&w, d));
        let (mut map, mut want_map) = (vec![0.5; x.len()], vec![0.5; x.len()]);
        let mut lanes = <[Lane; LANES]>::default();
        let mut sums = vec![0.0; g.weight_len()];
        let len = sums_len(&g);
        for (index, tile) in tiles(&g, images, numbers_each).iter().enumerate() {
            let (mut buffers, mut starts) = ([vec![], vec![]], [vec![], vec![]]);
            let [a, b] = &mut buffers;
            let [c_starts, d_starts] = &mut starts;
            let squares = Squares::new(&g, &x, tile, a, c_starts);
            let rows = locate(&g, &x, tile, b, d_starts);
            let (mut u, mut want) = (vec![f32::NAN; tile.rows * c], vec![0.0; tile.rows * c]);
            let mut points = Vec::new();
            squares.project(weights, &mut points, &mut u);
            project(&rows, panels, &mut want);
            close(&u, &want)?;

            // Any lanes: what they hold is added up.
            let gates = numbers(tile.rows * c, seed ^ 2);
            let lane = &mut lanes[index % LANES];
            let add = !lane.begin_sums(len);
            let packing = &mut Packing::default();
            squares.outer(&gates, add, packing, &mut points, &mut lane.product[..len]);
            outer(&gates, &rows, true, &mut Packing::default(), &mut sums);

            for (weights, map) in [(back, &mut map), (direct, &mut want_map)] {
                let [mut points, mut patches] = [vec![], vec![]];
                let buffers = [&mut points, &mut patches];
                scatter(&g, tile, &gates, weights, buffers, &mut vec![], map);
            }
        }
        close(&map, &want_map)?;
        let mut got = vec![f32::NAN; g.weight_len()];
        sum_lanes(&g, &lanes, &mut got);
        close(&got, &sums)?;
    }
}

#[test]
fn it_is_for_whole_vectors_and_maps_that_squares_cover_well() {
    let g = Geometry {
        height: 12,
        width: 12,
        channels: 32,
        kernel: 3,
        stride: 1,
        padding: 0,
        filters: 48,
        pool: 1,
    };
    assert!(applies(&g));
    for no in [
        Geometry { channels: 24, ..g },
        Geometry { filters: 40, ..g },
        Geometry { kernel: 5, ..g },
        Geometry { stride: 2, ..g },
        Geometry { height: 3, width: 3, ..g },
    ] {
        assert!(!applies(&no), "{no:?}");
    }
}
