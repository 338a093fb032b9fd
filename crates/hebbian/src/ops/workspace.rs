//! Buffers kept between steps, and the fixed split of a batch into lanes.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Geometry;
use super::tile::PackedWeights;
use crate::linalg::{Packing, Panels};
use crate::update::Scratch;

/// Parts a batch is split into; fixed, so that sums are added in one order
/// whatever the number of threads.
pub(crate) const LANES: usize = 8;

/// Numbers a tile may take: 1 MiB, so that it stays in a core's share of the
/// cache.
const TILE_NUMBERS: usize = 1 << 18;

/// Images of each lane of a batch; lanes of small batches may be empty.
pub(crate) fn lane_ranges(batch: usize) -> impl Iterator<Item = Range<usize>> {
    (0..LANES).map(move |lane| batch * lane / LANES..batch * (lane + 1) / LANES)
}

/// Cuts a batch of equal-sized images into the lanes' slices.
pub(crate) fn split_by_images<T>(mut data: &mut [T], batch: usize) -> Vec<&mut [T]> {
    let each = data.len().checked_div(batch).unwrap_or(0);
    lane_ranges(batch)
        .map(|range| {
            let (lane, rest) = std::mem::take(&mut data).split_at_mut(range.len() * each);
            data = rest;
            lane
        })
        .collect()
}

/// Buffers that every layer's step reuses: touching fresh memory costs more
/// than the arithmetic done in it.
#[derive(Default)]
pub struct Workspace {
    pub(crate) lanes: [Lane; LANES],
    pub(crate) buffers: SpareBuffers,
    /// The weights, packed once for all tiles of a step.
    pub(crate) packed: PackedWeights,
    /// Few patches, packed for products with many weights.
    pub(crate) panels: Panels,
    /// Patches of a whole batch, for layers with fewer patches than neurons.
    pub(crate) patches: Vec<f32>,
    /// Projections of those patches.
    pub(crate) projections: Vec<f32>,
    /// Gates of those patches; for other layers the lanes' sums of `A^T X`, C x D.
    pub(crate) gates: Vec<f32>,
    /// Blocks of an update.
    pub(crate) scratch: Scratch,
    /// Maps between layers.
    maps: [Vec<f32>; 2],
}

impl Workspace {
    /// Two buffers for maps, out of which a layer is run into the other.
    pub(crate) fn take_maps(&mut self) -> [Vec<f32>; 2] {
        std::mem::take(&mut self.maps)
    }

    /// Gives them back for the next step.
    pub(crate) fn keep_maps(&mut self, maps: [Vec<f32>; 2]) {
        self.maps = maps;
    }
}

/// Buffers that a tile is computed in.
#[derive(Default)]
pub(crate) struct TileBuffers {
    /// Patches of the tile at hand, rows x D, where they are written out, or
    /// its squares of pixels, transformed.
    pub(crate) patches: Vec<f32>,
    /// What the weights or gates of those squares are at each point.
    pub(crate) points: Vec<f32>,
    /// Where each of them starts.
    pub(crate) starts: Vec<usize>,
    /// Projections or responses of the tile, rows x C.
    pub(crate) responses: Vec<f32>,
    /// Gates of the tile, rows x C.
    pub(crate) gates: Vec<f32>,
    /// Norms of the tile's patches.
    pub(crate) norms: Vec<f32>,
    /// Buffers of the product of gates and patches.
    pub(crate) packing: Packing,
}

/// Buffers for the lanes that run at once: each takes some that are free, so
/// that no more come into use than threads.
#[derive(Default)]
pub(crate) struct SpareBuffers([Mutex<TileBuffers>; LANES]);

impl SpareBuffers {
    /// Takes some until the guard is dropped.
    pub(crate) fn take(&self) -> MutexGuard<'_, TileBuffers> {
        let free = self.0.iter().find_map(|buffers| buffers.try_lock().ok());
        // There are as many as lanes, so one is free unless a lane has panicked;
        // what they hold does not matter.
        free.unwrap_or_else(|| self.0[0].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Sums of one lane.
#[derive(Default)]
pub(crate) struct Lane {
    /// Sum of `A^T X`: C x D, or at each point of the squares.
    pub(crate) product: Vec<f32>,
    /// Sum of `A^T A`, C x C.
    pub(crate) gram: Vec<f32>,
    /// Sums that the gates keep (denominators, and what a rule that adapts goes
    /// by), and sums of the gates, C.
    pub(crate) denominators: Vec<f32>,
    pub(crate) gate_sums: Vec<f32>,
    /// Whether `product` holds sums of the batch at hand.
    pub(crate) has_sums: bool,
}

impl Lane {
    /// Forgets the sums of the last batch: `c` neurons, and the Gram matrix
    /// of `gram` of them.
    pub(crate) fn clear(&mut self, c: usize, gram: usize) {
        self.has_sums = false;
        zeroed(&mut self.denominators, c);
        zeroed(&mut self.gate_sums, c);
        zeroed(&mut self.gram, gram * gram);
    }

    /// Makes room for `len` sums in `product`; says whether they are the
    /// first, to be written and not added.
    pub(crate) fn begin_sums(&mut self, len: usize) -> bool {
        sized(&mut self.product, len);
        !std::mem::replace(&mut self.has_sums, true)
    }
}

/// One tile: consecutive bands of a lane's images.
pub(crate) struct Tile {
    /// (image within the lane, band) of each band.
    pub(crate) bands: Vec<(usize, usize)>,
    /// Positions of all bands together.
    pub(crate) rows: usize,
}

impl Tile {
    /// The whole of one image.
    pub(crate) fn of_image(g: &Geometry) -> Self {
        Self { bands: (0..g.bands()).map(|band| (0, band)).collect(), rows: g.positions() }
    }
}

/// Cuts a lane of `images` images into tiles of about [`TILE_NUMBERS`], where
/// each position takes `numbers` of them.
pub(crate) fn tiles(g: &Geometry, images: usize, numbers: usize) -> Vec<Tile> {
    let limit = (TILE_NUMBERS / numbers).clamp(64, 1024);
    let mut tiles: Vec<Tile> = Vec::new();
    for image in 0..images {
        for band in 0..g.bands() {
            let rows = g.band_rows(band).len() * g.out_width();
            match tiles.last_mut() {
                Some(tile) if tile.rows + rows <= limit => {
                    tile.bands.push((image, band));
                    tile.rows += rows;
                }
                _ => tiles.push(Tile { bands: vec![(image, band)], rows }),
            }
        }
    }
    tiles
}

/// Makes `buffer` hold at least `len` numbers and returns the first `len`;
/// what they hold is whatever was there.
pub(crate) fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// [`sized`], set to zero.
fn zeroed(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    let part = sized(buffer, len);
    part.fill(0.0);
    part
}
