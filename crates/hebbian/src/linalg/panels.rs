//! Two products around a layer's patches, which need not be written out:
//! responses `X W^T` from weights packed once, and sums `A^T X`.
//!
//! A patch is one to a few pieces of a map, each contiguous (a kernel row over
//! all its channels); [`Rows`] says where they are. So a map that fits the
//! cache is multiplied where it lies.
//!
//! `unsafe`: it hands pointers to the [`kernel`](super::kernel), after checking
//! that all they reach is in bounds.
#![allow(unsafe_code)]

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::kernel::{Left, ROWS, Tile, panel_width};

/// Bytes of a panel that stay in the first-level cache while the kernel runs
/// over the left side.
const PANEL_BYTES: usize = 24 << 10;
/// Bytes of a cache line on most machines.
const LINE: usize = 64;

/// Depth of a panel that stays in the first-level cache.
const fn panel_depth<S: Simd>() -> usize {
    PANEL_BYTES / size_of::<f32>() / panel_width::<S>()
}

/// Rows of a matrix, each in pieces: piece `p` of row `r` is the `len` numbers
/// from `starts[r] + p * step`.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    data: &'a [f32],
    starts: &'a [usize],
    pieces: usize,
    step: usize,
    len: usize,
}

impl<'a> Rows<'a> {
    /// Rows in `data`.
    ///
    /// # Panics
    /// If a piece reaches beyond `data`.
    pub fn new(
        data: &'a [f32],
        starts: &'a [usize],
        (pieces, step, len): (usize, usize, usize),
    ) -> Self {
        if let (Some(&last), 1..) = (starts.iter().max(), pieces) {
            let reach = (pieces - 1).checked_mul(step).and_then(|n| n.checked_add(len));
            let reach = reach.and_then(|n| n.checked_add(last));
            assert!(reach.is_some_and(|reach| reach <= data.len()), "a row reaches beyond its map");
        }
        Self { data, starts, pieces, step, len }
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// Numbers of a row.
    pub fn depth(&self) -> usize {
        self.pieces * self.len
    }
}

/// A buffer that starts at a cache line.
#[derive(Default)]
struct Aligned(Vec<f32>);

impl Aligned {
    /// The first `len` numbers, whatever they hold.
    fn sized(&mut self, len: usize) -> &mut [f32] {
        let spare = LINE / size_of::<f32>();
        if self.0.len() < len + spare {
            self.0.resize(len + spare, 0.0);
        }
        let start = self.0.as_ptr().align_offset(LINE).min(spare);
        &mut self.0[start..start + len]
    }

    fn get(&self, len: usize) -> &[f32] {
        let start = self.0.as_ptr().align_offset(LINE).min(LINE / size_of::<f32>());
        &self.0[start..start + len]
    }
}

/// Weights (C x D) in the order in which the kernel reads them: panels of some
/// neurons, within them column by column.
#[derive(Default)]
pub struct Panels {
    packed: Aligned,
    neurons: usize,
    depth: usize,
}

impl Panels {
    /// Packs weights C x D.
    pub fn pack(&mut self, weights: &[f32], d: usize) -> &Self {
        (self.neurons, self.depth) = (weights.len() / d, d);
        Arch::new().dispatch(Pack { weights, d, packed: &mut self.packed });
        self
    }

    /// Packs the transpose of weights C x D: [`project`] then takes responses
    /// Y (rows x C) to `Y W` (rows x D).
    pub fn pack_transposed(&mut self, weights: &[f32], d: usize) -> &Self {
        (self.neurons, self.depth) = (d, weights.len() / d);
        Arch::new().dispatch(PackTransposed { weights, d, packed: &mut self.packed });
        self
    }
}

struct Pack<'a> {
    weights: &'a [f32],
    d: usize,
    packed: &'a mut Aligned,
}

impl WithSimd for Pack<'_> {
    type Output = ();

    fn with_simd<S: Simd>(self, _: S) {
        let (d, width) = (self.d, panel_width::<S>());
        let panels = (self.weights.len() / d).div_ceil(width);
        let packed = self.packed.sized(panels * width * d).par_chunks_exact_mut(width * d);
        packed.zip(self.weights.par_chunks(width * d)).for_each(|(panel, weights)| {
            let neurons = weights.len() / d;
            for (neuron, w) in weights.chunks_exact(d).enumerate() {
                let column = panel[neuron..].iter_mut().step_by(width);
                column.zip(w).for_each(|(out, &w)| *out = w);
            }
            for missing in neurons..width {
                panel[missing..].iter_mut().step_by(width).for_each(|out| *out = 0.0);
            }
        });
    }
}

struct PackTransposed<'a> {
    weights: &'a [f32],
    d: usize,
    packed: &'a mut Aligned,
}

impl WithSimd for PackTransposed<'_> {
    type Output = ();

    fn with_simd<S: Simd>(self, _: S) {
        let (d, width) = (self.d, panel_width::<S>());
        let c = self.weights.len() / d;
        let packed = self.packed.sized(d.div_ceil(width) * width * c);
        packed.par_chunks_exact_mut(width * c).enumerate().for_each(|(index, panel)| {
            let first = index * width;
            let columns = width.min(d - first);
            for (out, w) in panel.chunks_exact_mut(width).zip(self.weights.chunks_exact(d)) {
                out[..columns].copy_from_slice(&w[first..first + columns]);
                out[columns..].fill(0.0);
            }
        });
    }
}

/// `out = X W^T`: rows x C.
///
/// # Panics
/// If the shapes do not fit together.
pub fn project(rows: &Rows<'_>, weights: &Panels, out: &mut [f32]) {
    assert_eq!(rows.depth(), weights.depth, "length of the rows and of the weights");
    assert_eq!(out.len(), rows.count() * weights.neurons, "shape of the projections");
    Arch::new().dispatch(Project { rows, weights, out });
}

struct Project<'a> {
    rows: &'a Rows<'a>,
    weights: &'a Panels,
    out: &'a mut [f32],
}

impl WithSimd for Project<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, weights: &Panels { ref packed, neurons, depth }, out } = self;
        let (width, data) = (panel_width::<S>(), rows.data.as_ptr());
        let panels = packed.get(neurons.div_ceil(width) * width * depth);
        for (index, panel) in panels.chunks_exact(width * depth).enumerate() {
            let first = index * width;
            let columns = width.min(neurons - first);
            for piece in 0..rows.pieces {
                for start in (0..rows.len).step_by(panel_depth::<S>()) {
                    let len = panel_depth::<S>().min(rows.len - start);
                    let at = piece * rows.len + start;
                    let right = panel[at * width..][..len * width].as_ptr();
                    for (strip, starts) in rows.starts.chunks(ROWS).enumerate() {
                        let out = &mut out[strip * ROWS * neurons + first..];
                        let left = std::array::from_fn(
                            #[inline(always)]
                            |r| {
                                let row = starts[r.min(starts.len() - 1)];
                                data.wrapping_add(row + piece * rows.step + start)
                            },
                        );
                        let tile = Tile {
                            simd,
                            rows: starts.len(),
                            columns,
                            depth: len,
                            left: Left::Apart(left),
                            right,
                            out: out.as_mut_ptr(),
                            stride: neurons,
                            add: at > 0,
                        };
                        // SAFETY: `Rows::new` found every piece of every row in
                        // bounds; `right` is a slice of that length; `out` has
                        // a row of all neurons for each of the rows (asserted),
                        // and the last of them, from `first` on, `columns` more.
                        unsafe { tile.compute() };
                    }
                }
            }
        }
    }
}

/// Buffers of [`outer`].
#[derive(Default)]
pub struct Packing {
    strips: Aligned,
    panel: Aligned,
}

/// `out = A^T X`, or `out += A^T X`: C x D, from gates A (rows x C) of the rows.
///
/// # Panics
/// If the shapes do not fit together.
pub fn outer(gates: &[f32], rows: &Rows<'_>, add: bool, packing: &mut Packing, out: &mut [f32]) {
    let (count, d) = (rows.count(), rows.depth());
    assert!(count > 0 && d > 0, "an outer product of nothing");
    let c = gates.len() / count;
    assert_eq!(gates.len(), count * c, "shape of the gates");
    assert_eq!(out.len(), c * d, "shape of the outer product");
    Arch::new().dispatch(Outer { gates, c, rows, add, packing, out });
}

struct Outer<'a> {
    gates: &'a [f32],
    c: usize,
    rows: &'a Rows<'a>,
    add: bool,
    packing: &'a mut Packing,
    out: &'a mut [f32],
}

impl WithSimd for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { gates, c, rows, add, packing: Packing { strips, panel }, out } = self;
        let (d, width) = (rows.depth(), panel_width::<S>());
        let mut first = 0;
        for starts in rows.starts.chunks(panel_depth::<S>()) {
            let count = starts.len();
            let strips = strips.sized(c.div_ceil(ROWS) * ROWS * count);
            pack_strips(&gates[first * c..][..count * c], c, strips);
            for piece in 0..rows.pieces {
                for column in (0..rows.len).step_by(width) {
                    let columns = width.min(rows.len - column);
                    let panel = panel.sized(count * width);
                    let from = piece * rows.step + column;
                    pack_panel(rows.data, starts, from, columns, width, panel);
                    for (index, strip) in strips.chunks_exact(ROWS * count).enumerate() {
                        let neuron = index * ROWS;
                        let out = &mut out[neuron * d + piece * rows.len + column..];
                        let tile = Tile {
                            simd,
                            rows: ROWS.min(c - neuron),
                            columns,
                            depth: count,
                            left: Left::Strip(strip.as_ptr()),
                            right: panel.as_ptr(),
                            out: out.as_mut_ptr(),
                            stride: d,
                            add: add || first > 0,
                        };
                        // SAFETY: strip and panel hold `count` columns and rows;
                        // `out` has rows of D numbers for all neurons (asserted)
                        // and this block of columns lies within them.
                        unsafe { tile.compute() };
                    }
                }
            }
            first += count;
        }
    }
}

/// Packs gates (rows x C) by [`ROWS`] neurons, within them row by row.
fn pack_strips(gates: &[f32], c: usize, strips: &mut [f32]) {
    let rows = gates.len() / c;
    for (index, strip) in strips.chunks_exact_mut(ROWS * rows).enumerate() {
        let neuron = index * ROWS;
        let (strip, _) = strip.as_chunks_mut::<ROWS>();
        if neuron + ROWS <= c {
            for (out, gates) in strip.iter_mut().zip(gates.chunks_exact(c)) {
                out.copy_from_slice(&gates[neuron..neuron + ROWS]);
            }
        } else {
            for (out, gates) in strip.iter_mut().zip(gates.chunks_exact(c)) {
                *out = [0.0; ROWS];
                out[..c - neuron].copy_from_slice(&gates[neuron..]);
            }
        }
    }
}

/// Packs some columns of rows into a panel, what is missing as zeros.
#[inline(always)]
fn pack_panel(
    data: &[f32],
    starts: &[usize],
    from: usize,
    columns: usize,
    width: usize,
    panel: &mut [f32],
) {
    let rows = panel.chunks_exact_mut(width).zip(starts);
    if columns == width {
        rows.for_each(|(out, &start)| out.copy_from_slice(&data[start + from..][..width]));
    } else {
        for (out, &start) in rows {
            out.fill(0.0);
            out[..columns].copy_from_slice(&data[start + from..][..columns]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(i: usize, seed: u32) -> f32 {
        ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) % 15) as f32 - 7.0
    }

    proptest! {
        #[test]
        fn all_products_equal_their_loops(
            count in 1usize..40, c in 1usize..50, pieces in 1usize..4, len in 1usize..60,
            gap in 0usize..5, spread in 1usize..4, long: bool, seed: u32,
        ) {
            // Small integers: any order of summation gives the same bits.
            let (count, len) = if long { (count + 700, len) } else { (count, len * 8) };
            let (step, d) = (len + gap, pieces * len);
            let starts: Vec<usize> = (0..count).map(|r| r * spread % 50).collect();
            let data: Vec<f32> = (0..50 + pieces * step).map(|i| number(i, seed)).collect();
            let rows = Rows::new(&data, &starts, (pieces, step, len));
            let x: Vec<f32> = starts.iter()
                .flat_map(|s| (0..d).map(move |i| s + i / len * step + i % len))
                .map(|i| data[i])
                .collect();
            let w: Vec<f32> = (0..c * d).map(|i| number(i, seed ^ 77)).collect();
            let mut panels = Panels::default();
            let mut u = vec![f32::NAN; count * c];
            project(&rows, panels.pack(&w, d), &mut u);
            for (r, x) in x.chunks_exact(d).enumerate() {
                for (i, w) in w.chunks_exact(d).enumerate() {
                    let want: f32 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                    prop_assert_eq!(u[r * c + i], want, "row {} neuron {}", r, i);
                }
            }
            let gates: Vec<f32> = (0..count * c).map(|i| number(i, seed ^ 5)).collect();
            let starts: Vec<usize> = (0..count).map(|r| r * c).collect();
            let mut back = vec![f32::NAN; count * d];
            let transposed = panels.pack_transposed(&w, d);
            project(&Rows::new(&gates, &starts, (1, 0, c)), transposed, &mut back);
            for (back, gates) in back.chunks_exact(d).zip(gates.chunks_exact(c)) {
                for (j, back) in back.iter().enumerate() {
                    let want: f32 = gates.iter().zip(w.chunks_exact(d)).map(|(a, w)| a * w[j]).sum();
                    prop_assert_eq!(*back, want, "column {}", j);
                }
            }
            let mut sums = vec![f32::NAN; c * d];
            let mut packing = Packing::default();
            outer(&gates, &rows, false, &mut packing, &mut sums);
            outer(&gates, &rows, true, &mut packing, &mut sums);
            for i in 0..c {
                for j in 0..d {
                    let want: f32 = (0..count).map(|r| gates[r * c + i] * x[r * d + j]).sum();
                    prop_assert_eq!(sums[i * d + j], 2.0 * want, "neuron {} column {}", i, j);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "reaches beyond")]
    fn a_piece_beyond_the_map_is_refused() {
        Rows::new(&[0.0; 20], &[0, 3], (2, 10, 8));
    }
}
