//! The steps of a layer, as kernels.

use wgpu::Buffer;

use super::device::Gpu;
use super::plan::{Builder, Word, grid_of};
use super::product::{Operand, Places, Product};
use super::shaders;
use crate::Result;
use crate::network::{Block, NORM_EPS, NORM_FORGOTTEN, NORM_MOMENTUM, NormKind};
use crate::ops::{Activation, Geometry};
use crate::rules::{Projection, Reconstruction};
use Word::{F, U};

/// Most parts of a sum over the rows of a map.
const NORM_PARTS: usize = 64;
/// Workgroups that measure a change, and so pairs of sums.
pub(super) const CHANGE_PARTS: usize = 128;

/// A layer's numbers on the card.
pub(super) struct Layer {
    /// Its name, for messages.
    pub(super) name: String,
    /// Its shapes; a kernel as large as the map counts as a position of a
    /// 1 x 1 map, whose channels are the map's numbers.
    pub(super) g: Geometry,
    kind: NormKind,
    pub(super) normalised: bool,
    activation: Activation,
    pub(super) biased: bool,
    /// Weights, C x D.
    pub(super) weights: Buffer,
    /// Their norms and the scale of the projections, C each.
    pub(super) norms: Buffer,
    pub(super) scale: Buffer,
    /// gamma, beta and, where there is one, bias, C each.
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
pub(super) fn split(rows: usize, most: usize) -> (usize, usize) {
    let each = rows.div_ceil(most);
    (each, rows.div_ceil(each))
}

impl Layer {
    /// Puts a layer on the card.
    pub(super) fn new(
        gpu: &Gpu,
        index: usize,
        block: &Block,
        (projection, activation): (Projection, Activation),
    ) -> Result<Self> {
        let name = format!("L{}", index + 1);
        let c = block.geometry.filters;
        let norm = &block.norm;
        let bias = block.bias.as_deref().unwrap_or_default();
        let learned = [&norm.gamma[..], &norm.beta, bias];
        let running = [&norm.mean[..], &norm.var, &[norm.start]];
        let buffer = |what: &str, data: &[f32]| gpu.buffer_of(&format!("{name}: {what}"), data);
        Ok(Self {
            g: flattened(&block.geometry),
            kind: norm.kind,
            normalised: projection == Projection::Normalised,
            activation,
            biased: block.bias.is_some(),
            weights: buffer("the weights", &block.weights)?,
            norms: gpu.buffer("norms", c)?,
            scale: gpu.buffer("scale", c)?,
            learned: buffer("gamma, beta and bias", &learned.concat())?,
            running: buffer("the running statistics", &running.concat())?,
            used: gpu.buffer("normalisation", 5 * c)?,
            rate: gpu.uniform(&[0; 4]),
            name,
        })
    }

    /// Numbers of the running statistics: means, variances, and the share of
    /// the fresh ones in them.
    pub(super) fn running_len(&self) -> usize {
        2 * self.g.filters + 1
    }

    /// Numbers of gamma, beta and bias together.
    pub(super) fn learned_len(&self) -> usize {
        (2 + usize::from(self.biased)) * self.g.filters
    }

    /// Where its patches lie.
    pub(super) fn places(&self, b: &mut Builder<'_>, batch: usize) -> Result<Places> {
        let map = [self.g.height, self.g.width, self.g.channels];
        let make = || Places::forward(&self.g, batch);
        b.places(&format!("{}: the patches", self.name), batch, map, 1, make)
    }

    /// Settings of the kernels over weights; what a neuron subtracts of its own
    /// weight follows from the reconstruction.
    pub(super) fn weights_settings(&self, reconstruction: Option<Reconstruction>) -> [Word; 5] {
        let (gates, rate) = match reconstruction {
            Some(Reconstruction::Own) => (1, 1.0),
            Some(Reconstruction::Decay(rate)) => (0, rate),
            Some(Reconstruction::Unmixing(_)) => (0, -1.0),
            Some(Reconstruction::Prefix | Reconstruction::All | Reconstruction::Tangent(_))
            | None => (0, 0.0),
        };
        let (c, d) = (self.g.filters, self.g.patch_len());
        [U(c), U(d), U(self.normalised.into()), U(gates), F(rate)]
    }

    /// Projections `U = X W^T` (N x C) of a batch, by weights whose norms are
    /// taken anew.
    pub(super) fn project(&self, b: &mut Builder<'_>, x: &Buffer, batch: usize) -> Result<Buffer> {
        let (g, n) = (&self.g, batch * self.g.positions());
        let (c, d) = (g.filters, g.patch_len());
        let settings = self.weights_settings(None);
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
    pub(super) fn pool_settings(&self, entries: usize) -> [Word; 9] {
        let g = &self.g;
        let sides = [g.out_height(), g.out_width(), g.pooled_height(), g.pooled_width()];
        let [height, width, pooled_height, pooled_width] = sides.map(U);
        let tanh = U((self.activation == Activation::Tanh).into());
        let (pool, biased) = (U(g.pool), U(self.biased.into()));
        let filters = U(g.filters);
        [U(entries), filters, height, width, pooled_height, pooled_width, pool, tanh, biased]
    }

    /// Activation, pooling and normalisation of the projections; `train` by the
    /// batch's own statistics.
    pub(super) fn finish(
        &self,
        b: &mut Builder<'_>,
        u: &Buffer,
        batch: usize,
        train: bool,
    ) -> Result<Passed> {
        let len = batch * self.g.output_len();
        let pooled = b.scratch(&format!("{}: the pooled map", self.name), len)?;
        let winners = b.scratch(&format!("{}: the winners", self.name), len)?;
        let map = b.scratch(&format!("{}: the normalised map", self.name), len)?;
        let buffers = [(1, u), (2, &self.scale), (3, &pooled), (4, &winners), (10, &self.learned)];
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

    /// Whether ReLU follows the normalisation.
    pub(super) fn rectifies(&self) -> bool {
        self.kind == NormKind::BatchRelu
    }

    /// Settings of the normalisation, and the parts its sums come in.
    pub(super) fn norm_settings(&self, batch: usize, train: bool) -> ([Word; 9], usize) {
        let rows = batch * self.g.pooled_positions();
        let (each, parts) = split(rows, NORM_PARTS);
        let kind = match self.kind {
            NormKind::Batch => 0,
            NormKind::Relative => 1,
            NormKind::BatchRelu => 2,
        };
        let settings = [
            U(rows),
            U(self.g.filters),
            U(each),
            U(parts),
            U(train.into()),
            U(kind),
            F(NORM_EPS),
            F(NORM_MOMENTUM),
            F(NORM_FORGOTTEN),
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
}
