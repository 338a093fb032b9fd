//! Matrix products on the card.

use wgpu::Buffer;

use super::plan::{Builder, Word, grid_of};
use super::shaders::{self, Layout, Use};
use crate::Result;
use crate::ops::Geometry;

/// Side of the tile that a workgroup computes.
const TILE: usize = 64;
/// Workgroups a product should have, so that a large card has work; a fixed
/// number, so that sums are split alike on every card.
const WORKGROUPS: usize = 512;
/// Shortest part of a split sum.
const SHORTEST_PART: usize = 256;
/// Numbers that all parts of a split sum may take: 64 MiB.
const PARTS: usize = 1 << 24;

/// Where the patches of a map lie: of each patch the image's first number, row
/// and column; of each entry of a patch the channel, row and column.
#[derive(Clone)]
pub(super) struct Places {
    pub(super) rows: Buffer,
    pub(super) columns: Buffer,
    /// Height, width and channels of the map.
    pub(super) map: [usize; 3],
    /// Step in which the map counts as spread out.
    pub(super) step: usize,
}

impl Places {
    /// Tables of the patches that the forward pass gathers from `batch` images.
    pub(super) fn forward(g: &Geometry, batch: usize) -> [Vec<[i32; 4]>; 2] {
        let mut rows = Vec::with_capacity(batch * g.positions());
        for image in 0..batch {
            for (y, x) in pairs(g.out_height(), g.out_width()) {
                let at = |n: usize| (n * g.stride) as i32 - g.padding as i32;
                rows.push([(image * g.input_len()) as i32, at(y), at(x), 0]);
            }
        }
        let mut columns = Vec::with_capacity(g.patch_len());
        for (y, x) in pairs(g.kernel, g.kernel) {
            columns.extend((0..g.channels).map(|channel| [channel as i32, y as i32, x as i32, 0]));
        }
        [rows, columns]
    }

    /// Tables of what the gradient by the input gathers from the gradient by
    /// the responses: for each input position, the outputs it had a part in.
    pub(super) fn backward(g: &Geometry, batch: usize) -> [Vec<[i32; 4]>; 2] {
        let mut rows = Vec::with_capacity(batch * g.height * g.width);
        for image in 0..batch {
            let first = (image * g.positions() * g.filters) as i32;
            for (y, x) in pairs(g.height, g.width) {
                rows.push([first, (y + g.padding) as i32, (x + g.padding) as i32, 0]);
            }
        }
        let mut columns = Vec::with_capacity(g.kernel * g.kernel * g.filters);
        for (y, x) in pairs(g.kernel, g.kernel) {
            columns.extend((0..g.filters).map(|c| [c as i32, -(y as i32), -(x as i32), 0]));
        }
        [rows, columns]
    }
}

fn pairs(height: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..height).flat_map(move |y| (0..width).map(move |x| (y, x)))
}

/// An operand of a product, outer x k.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    buffer: &'a Buffer,
    layout: Layout,
    start: usize,
    stride: usize,
    places: Option<&'a Places>,
}

impl<'a> Operand<'a> {
    /// Stored row by row, `stride` numbers apart.
    pub(super) fn rows(buffer: &'a Buffer, stride: usize) -> Self {
        Self { buffer, layout: Layout::Rows, start: 0, stride, places: None }
    }

    /// Stored column by column, `stride` numbers apart.
    pub(super) fn columns(buffer: &'a Buffer, stride: usize) -> Self {
        Self { buffer, layout: Layout::Columns, start: 0, stride, places: None }
    }

    /// Patches of a map: row `i` is patch `i`.
    pub(super) fn patches(buffer: &'a Buffer, places: &'a Places) -> Self {
        let layout = Layout::Patches;
        Self { buffer, layout, start: 0, stride: 0, places: Some(places) }
    }

    /// Patches of a map: column `k` is patch `k`.
    pub(super) fn patches_across(buffer: &'a Buffer, places: &'a Places) -> Self {
        Self { layout: Layout::PatchesAcross, ..Self::patches(buffer, places) }
    }

    /// The same from number `start` on.
    pub(super) fn from(self, start: usize) -> Self {
        Self { start, ..self }
    }
}

/// A product `out = alpha A B^T + beta out`.
pub(super) struct Product<'a> {
    /// M x K.
    pub(super) a: Operand<'a>,
    /// N x K.
    pub(super) b: Operand<'a>,
    /// M, N and K.
    pub(super) shape: [usize; 3],
    /// What it is for, and the rows of its diagonal blocks.
    pub(super) what: (Use, usize),
    /// Result, M x N, from this number on.
    pub(super) out: (&'a Buffer, usize),
    pub(super) alpha: f32,
    pub(super) beta: f32,
    /// Whether the operands may be rounded to half precision: neither sums
    /// over a batch, which outgrow it, nor gradients, which it loses.
    pub(super) half: bool,
}

impl<'a> Product<'a> {
    /// `A B^T` into `out`.
    pub(super) fn new(a: Operand<'a>, b: Operand<'a>, shape: [usize; 3], out: &'a Buffer) -> Self {
        let (what, out) = ((Use::Plain, 1), (out, 0));
        Self { a, b, shape, what, out, alpha: 1.0, beta: 0.0, half: false }
    }
}

impl Builder<'_> {
    /// Adds a product; its sum over k is split where it is long and the result
    /// small.
    pub(super) fn product(&mut self, p: &Product<'_>) -> Result<()> {
        let [m, n, k] = p.shape;
        let (tiles_m, tiles_n) = (m.div_ceil(TILE), n.div_ceil(TILE));
        let wanted = (WORKGROUPS / (tiles_m * tiles_n)).min(k / SHORTEST_PART);
        let parts = match p.what.0 {
            Use::Triangle => 1,
            _ if p.out.1 > 0 => 1,
            _ => wanted.min(PARTS / (m * n)).max(1),
        };
        let part = k.div_ceil(parts).next_multiple_of(16);
        let parts = k.div_ceil(part).max(1);
        let split = parts > 1;
        let places = p.a.places.or(p.b.places);
        let [height, width, channels] = places.map_or([0; 3], |places| places.map);
        let partial;
        let (out, start) = if split {
            partial = self.scratch("parts of sums", parts * m * n)?;
            (&partial, 0)
        } else {
            p.out
        };
        use Word::{F, U};
        let settings = [
            U(m),
            U(n),
            U(k),
            U(part),
            U(p.a.start),
            U(p.a.stride),
            U(p.b.start),
            U(p.b.stride),
            U(start),
            U(n),
            U(p.what.1),
            F(p.alpha),
            F(p.beta),
            U(height),
            U(width),
            U(channels),
        ];
        let step = places.map_or(1, |places| places.step);
        let layouts = (p.a.layout, p.b.layout);
        let shader = shaders::product(layouts, step, p.what.0, split, self.half && p.half);
        let mut buffers = vec![(1, p.a.buffer), (2, p.b.buffer), (3, out)];
        if let Some(places) = places {
            buffers.extend([(10, &places.rows), (11, &places.columns)]);
        }
        self.add(&shader, &settings, &buffers, [tiles_m, tiles_n, parts])?;
        if split {
            self.reduce(out, parts, m * n, p.out, (p.alpha, p.beta))?;
        }
        Ok(())
    }

    /// Adds up `parts` parts of `len` numbers each, from number `start` of `out`
    /// on: `out = alpha * sum + beta * out`.
    pub(super) fn reduce(
        &mut self,
        from: &Buffer,
        parts: usize,
        len: usize,
        (out, start): (&Buffer, usize),
        (alpha, beta): (f32, f32),
    ) -> Result<()> {
        const COLUMNS: usize = 32;
        let settings = [Word::U(len), Word::U(parts), Word::F(alpha), Word::F(beta)];
        let rest = [0, 0, 0, start].map(Word::U);
        let settings = [&settings[..], &rest].concat();
        let shader = shaders::elements("reduce");
        self.add(&shader, &settings, &[(1, from), (2, out)], grid_of(len.div_ceil(COLUMNS)))
    }
}
