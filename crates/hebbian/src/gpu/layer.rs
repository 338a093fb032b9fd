//! The steps of a layer, as kernels.

use wgpu::Buffer;

use super::device::Gpu;
use super::plan::{Builder, Word, grid_of};
use super::product::{Operand, Places, Product};
use super::shaders::{self, Use};
use crate::network::{Block, NORM_EPS, NORM_MOMENTUM, NormKind};
use crate::ops::Geometry;
use crate::rules::{GateWgsl, Projection, Reconstruction, Rule};
use crate::update::{Order, choose_order};
use crate::{Error, Result};
use Word::{F, U};

/// Most workgroups that share the rows of a gate.
const GATE_GROUPS: usize = 512;
/// Most parts of a sum over the rows of a map.
const NORM_PARTS: usize = 64;
/// Workgroups that measure a change, and so pairs of sums.
pub(super) const CHANGE_PARTS: usize = 128;
/// Neurons of a block in deflation: larger than on the CPU, as each block
/// costs two kernels.
const DEFLATION_BLOCK: usize = 256;

/// A layer's numbers on the card.
pub(super) struct Layer {
    /// Its name, for messages.
    pub(super) name: String,
    /// Its shapes; a kernel as large as the map counts as a position of a
    /// 1 x 1 map, whose channels are the map's numbers.
    pub(super) g: Geometry,
    kind: NormKind,
    pub(super) normalised: bool,
    /// Weights, C x D.
    pub(super) weights: Buffer,
    /// Their norms and the scale of the projections, C each.
    norms: Buffer,
    pub(super) scale: Buffer,
    /// gamma and beta, C each.
    pub(super) learned: Buffer,
    /// Running mean and variance, C each.
    pub(super) running: Buffer,
    /// What the batch is normalised with: mean, reciprocal standard
    /// deviation, factor, scale and shift, C each.
    pub(super) used: Buffer,
    /// Learning rate of the Hebbian step.
    pub(super) rate: Buffer,
}

/// What a layer's forward pass leaves on the card.
pub(super) struct Passed {
    /// Pooled responses before normalisation.
    pub(super) pooled: Buffer,
    /// Where each was in its window.
    pub(super) winners: Buffer,
    /// The normalised map.
    pub(super) map: Buffer,
}

/// The same layer as one position of a 1 x 1 map, where its kernel is as large
/// as its map.
fn flattened(g: &Geometry) -> Geometry {
    if g.kernel == g.height && g.kernel == g.width && g.padding == 0 {
        let channels = g.patch_len();
        return Geometry { height: 1, width: 1, channels, kernel: 1, stride: 1, ..*g };
    }
    *g
}

/// Whether patch `i` of a map is just its row `i`.
pub(super) fn is_plain(g: &Geometry) -> bool {
    g.kernel == 1 && g.stride == 1 && g.padding == 0
}

/// Rows of each of at most `most` parts, and the parts.
fn split(rows: usize, most: usize) -> (usize, usize) {
    let each = rows.div_ceil(most);
    (each, rows.div_ceil(each))
}

impl Layer {
    /// Puts a layer on the card.
    pub(super) fn new(
        gpu: &Gpu,
        index: usize,
        block: &Block,
        projection: Projection,
    ) -> Result<Self> {
        let name = format!("L{}", index + 1);
        let c = block.geometry.filters;
        let norm = &block.norm;
        let buffer = |what: &str, data: &[f32]| gpu.buffer_of(&format!("{name}: {what}"), data);
        Ok(Self {
            g: flattened(&block.geometry),
            kind: norm.kind,
            normalised: projection == Projection::Normalised,
            weights: buffer("the weights", &block.weights)?,
            norms: gpu.buffer("norms", c)?,
            scale: gpu.buffer("scale", c)?,
            learned: buffer("gamma and beta", &[&norm.gamma[..], &norm.beta].concat())?,
            running: buffer("the running statistics", &[&norm.mean[..], &norm.var].concat())?,
            used: gpu.buffer("normalisation", 5 * c)?,
            rate: gpu.uniform(&[0; 4]),
            name,
        })
    }

    /// Where its patches lie.
    pub(super) fn places(&self, b: &mut Builder<'_>, batch: usize) -> Result<Places> {
        let map = [self.g.height, self.g.width, self.g.channels];
        let make = || Places::forward(&self.g, batch);
        b.places(&format!("{}: the patches", self.name), batch, map, 1, make)
    }

    /// Projections `U = X W^T` (N x C) of a batch, by weights whose norms are
    /// taken anew.
    fn project(&self, b: &mut Builder<'_>, x: &Buffer, batch: usize) -> Result<Buffer> {
        let (g, n) = (&self.g, batch * self.g.positions());
        let (c, d) = (g.filters, g.patch_len());
        let settings = [U(c), U(d), U(self.normalised.into()), U(0)];
        let buffers = [(1, &self.weights), (2, &self.norms), (3, &self.scale)];
        b.add(&shaders::weights("weight_norms"), &settings, &buffers, grid_of(c))?;
        let u = b.scratch("the responses", n * c)?;
        let weights = Operand::rows(&self.weights, d);
        let places;
        let patches = if is_plain(g) {
            Operand::rows(x, d)
        } else {
            places = self.places(b, batch)?;
            Operand::patches(x, &places)
        };
        b.product(&Product { half: true, ..Product::new(patches, weights, [n, c, d], &u) })?;
        Ok(u)
    }

    /// Shape of the pooling kernels.
    pub(super) fn pool_settings(&self, entries: usize) -> [Word; 7] {
        let g = &self.g;
        let sides = [g.out_height(), g.out_width(), g.pooled_height(), g.pooled_width()];
        let [height, width, pooled_height, pooled_width] = sides.map(U);
        [U(entries), U(g.filters), height, width, pooled_height, pooled_width, U(g.pool)]
    }

    /// ReLU, pooling and normalisation of the projections; `train` by the
    /// batch's own statistics.
    fn finish(&self, b: &mut Builder<'_>, u: &Buffer, batch: usize, train: bool) -> Result<Passed> {
        let len = batch * self.g.output_len();
        let pooled = b.scratch(&format!("{}: the pooled map", self.name), len)?;
        let winners = b.scratch(&format!("{}: the winners", self.name), len)?;
        let map = b.scratch(&format!("{}: the normalised map", self.name), len)?;
        let buffers = [(1, u), (2, &self.scale), (3, &pooled), (4, &winners)];
        b.add_elements(&shaders::pool("pool"), &self.pool_settings(len), &buffers, len)?;

        let c = self.g.filters;
        let (settings, parts) = self.norm_settings(batch, train);
        let part_sums = b.scratch("parts of moments", parts * 2 * c)?;
        if train {
            let buffers = [(1, &pooled), (2, &part_sums)];
            b.add(&shaders::norm("moments"), &settings, &buffers, [c.div_ceil(64), parts, 1])?;
        }
        let buffers = [(3, &part_sums), (4, &self.learned), (5, &self.running), (6, &self.used)];
        b.add(&shaders::norm("merge"), &settings, &buffers, [1; 3])?;
        let buffers = [(1, &pooled), (7, &self.used), (8, &map)];
        b.add_elements(&shaders::norm("normalise"), &settings, &buffers, len)?;
        Ok(Passed { pooled, winners, map })
    }

    /// Settings of the normalisation, and the parts its sums come in.
    pub(super) fn norm_settings(&self, batch: usize, train: bool) -> ([Word; 8], usize) {
        let rows = batch * self.g.pooled_positions();
        let (each, parts) = split(rows, NORM_PARTS);
        let relative = self.kind == NormKind::Relative;
        let settings = [
            U(rows),
            U(self.g.filters),
            U(each),
            U(parts),
            U(train.into()),
            U(relative.into()),
            F(NORM_EPS),
            F(NORM_MOMENTUM),
        ];
        (settings, parts)
    }

    /// Forward pass.
    pub(super) fn forward(
        &self,
        b: &mut Builder<'_>,
        x: &Buffer,
        batch: usize,
        train: bool,
    ) -> Result<Passed> {
        let u = self.project(b, x, batch)?;
        self.finish(b, &u, batch, train)
    }

    /// Forward pass in training mode and the Hebbian update, both from the
    /// weights before it. With `change`, sums of the squares of `dW` and of
    /// `W` go there in pairs.
    pub(super) fn learn(
        &self,
        b: &mut Builder<'_>,
        rule: &dyn Rule,
        x: &Buffer,
        batch: usize,
        change: Option<&Buffer>,
    ) -> Result<Passed> {
        let Some(gate) = rule.gate_wgsl() else {
            let problem =
                format!("the rule {} has no form for the GPU; run on the CPU", rule.name());
            return Err(Error::Device(problem));
        };
        let u = self.project(b, x, batch)?;
        let places = self.places(b, batch)?;
        let (gates, sums) = self.gate(b, &gate, &u, x, batch, &places)?;
        let passed = self.finish(b, &u, batch, true)?;
        let numerators = self.numerators(b, rule.reconstruction(), x, batch, &places, &gates)?;
        let (c, d) = (self.g.filters, self.g.patch_len());
        let own = rule.reconstruction() == Reconstruction::Own;
        let settings = [U(c), U(d), U(0), U(own.into())];
        if let Some(change) = change {
            let buffers = [(1, &self.weights), (4, &sums), (5, &numerators), (8, change)];
            let grid = [CHANGE_PARTS, 1, 1];
            b.add(&shaders::weights("change"), &settings, &buffers, grid)?;
        }
        let buffers = [(4, &sums), (5, &numerators), (6, &self.rate), (7, &self.weights)];
        let grid = grid_of((c * d).div_ceil(64));
        b.add(&shaders::weights("apply"), &settings, &buffers, grid)?;
        Ok(passed)
    }

    /// Gates (N x C), and the denominators and sums of gates (C each).
    fn gate(
        &self,
        b: &mut Builder<'_>,
        gate: &GateWgsl,
        u: &Buffer,
        x: &Buffer,
        batch: usize,
        places: &Places,
    ) -> Result<(Buffer, Buffer)> {
        let (g, n, c) = (&self.g, batch * self.g.positions(), self.g.filters);
        let (each, groups) = split(n, GATE_GROUPS);
        let gates = b.scratch("the gates", n * c)?;
        let parts = b.scratch("parts of gate sums", groups * 2 * c)?;
        let sums = b.scratch("gate sums", 2 * c)?;
        let [height, width, channels] = places.map.map(U);
        let settings = [U(n), U(c), U(g.patch_len()), U(each), height, width, channels];
        let buffers = [
            (1, u),
            (2, &self.norms),
            (3, x),
            (4, &gates),
            (5, &parts),
            (10, &places.rows),
            (11, &places.columns),
        ];
        b.add(&shaders::gate(gate), &settings, &buffers, [groups, 1, 1])?;
        b.reduce(&parts, groups, 2 * c, &sums, (1.0, 0.0))?;
        Ok((gates, sums))
    }

    /// `A^T X`, less `tril(A^T A) W` for a prefix reconstruction (C x D); what
    /// `Reconstruction::Own` subtracts is left to the update.
    fn numerators(
        &self,
        b: &mut Builder<'_>,
        reconstruction: Reconstruction,
        x: &Buffer,
        batch: usize,
        places: &Places,
        gates: &Buffer,
    ) -> Result<Buffer> {
        let (g, n) = (&self.g, batch * self.g.positions());
        let (c, d) = (g.filters, g.patch_len());
        let out = b.scratch("numerators", c * d)?;
        let columns = Operand::columns(gates, c);
        if reconstruction == Reconstruction::Own {
            self.gate_patches(b, columns, x, places, n, &out, true)?;
            return Ok(out);
        }
        let weights = Operand::columns(&self.weights, d);
        // With more patches than neurons, writing them out would cost more
        // than deflation saves.
        let order = if n < c { choose_order(reconstruction, n, c, d) } else { Order::Gram };
        let block = match order {
            Order::Gram => {
                self.gate_patches(b, columns, x, places, n, &out, true)?;
                c.next_multiple_of(64)
            }
            Order::Deflation { .. } => {
                let residual = self.unfold(b, x, n, places)?;
                for start in (0..c).step_by(DEFLATION_BLOCK) {
                    let rows = DEFLATION_BLOCK.min(c - start);
                    let left = Operand::columns(&residual, d);
                    let shape = [rows, d, n];
                    let product = Product::new(columns.from(start), left, shape, &out);
                    b.product(&Product { out: (&out, start * d), ..product })?;
                    if start + rows < c {
                        let gates = Operand::rows(gates, c).from(start);
                        let shape = [n, d, rows];
                        let own = weights.from(start * d);
                        let product = Product::new(gates, own, shape, &residual);
                        b.product(&Product { alpha: -1.0, beta: 1.0, ..product })?;
                    }
                }
                DEFLATION_BLOCK
            }
        };
        let gram = b.scratch("the products of gates", c * block)?;
        let product = Product::new(columns, columns, [c, block, n], &gram);
        b.product(&Product { what: (Use::Gram, block), half: true, ..product })?;
        let product = Product::new(Operand::rows(&gram, block), weights, [c, d, block], &out);
        b.product(&Product { what: (Use::Triangle, block), alpha: -1.0, beta: 1.0, ..product })?;
        Ok(out)
    }

    /// `out = A^T X` of gates (or gradients) given by their columns.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn gate_patches(
        &self,
        b: &mut Builder<'_>,
        columns: Operand<'_>,
        x: &Buffer,
        places: &Places,
        n: usize,
        out: &Buffer,
        half: bool,
    ) -> Result<()> {
        let (c, d) = (self.g.filters, self.g.patch_len());
        let patches = if is_plain(&self.g) {
            Operand::columns(x, d)
        } else {
            Operand::patches_across(x, places)
        };
        b.product(&Product { half, ..Product::new(columns, patches, [c, d, n], out) })
    }

    /// All patches of a batch written out, N x D.
    fn unfold(&self, b: &mut Builder<'_>, x: &Buffer, n: usize, p: &Places) -> Result<Buffer> {
        let d = self.g.patch_len();
        let out = b.scratch("the unfolded patches", n * d)?;
        let [height, width, channels] = p.map.map(U);
        let settings = [U(n * d), U(d), height, width, channels];
        let buffers = [(1, x), (2, &out), (10, &p.rows), (11, &p.columns)];
        b.add_elements(&shaders::unfold(), &settings, &buffers, n * d)?;
        Ok(out)
    }
}
