//! The Hebbian step of a layer, as kernels.

use wgpu::Buffer;

use super::layer::{CHANGE_PARTS, Layer, Passed, split};
use super::plan::{Builder, Word, grid_of};
use super::product::{Operand, Places, Product};
use super::shaders::{self, Use};
use crate::rules::{GateWgsl, Reach, Reconstruction, Rule};
use crate::update::{Order, choose_order};
use crate::{Error, Result};
use Word::U;

/// Most workgroups that share the rows of a gate.
const GATE_GROUPS: usize = 512;
/// Neurons of a block in deflation: larger than on the CPU, as each block
/// costs two kernels.
const DEFLATION_BLOCK: usize = 256;

impl Layer {
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
        let numerators =
            self.numerators(b, rule.reconstruction(), (x, &u), batch, &places, &gates)?;
        let (c, d) = (self.g.filters, self.g.patch_len());
        let settings = self.weights_settings(Some(rule.reconstruction()));
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
        b.reduce(&parts, groups, 2 * c, (&sums, 0), (1.0, 0.0))?;
        Ok((gates, sums))
    }

    /// `A^T X`, less what mixes the weights of other neurons (C x D); each
    /// neuron's own is left to the update.
    fn numerators(
        &self,
        b: &mut Builder<'_>,
        reconstruction: Reconstruction,
        (x, u): (&Buffer, &Buffer),
        batch: usize,
        places: &Places,
        gates: &Buffer,
    ) -> Result<Buffer> {
        let (g, n) = (&self.g, batch * self.g.positions());
        let (c, d) = (g.filters, g.patch_len());
        let out = b.scratch("numerators", c * d)?;
        let columns = Operand::columns(gates, c);
        let Some(reach) = reconstruction.reach() else {
            self.gate_patches(b, columns, x, places, n, &out, true)?;
            return Ok(out);
        };
        let weights = Operand::columns(&self.weights, d);
        // With more patches than neurons, writing them out would cost more
        // than deflation saves; without A^T X, it would save little.
        let deflates = n < c && !reconstruction.unmixes();
        let order = if deflates { choose_order(reconstruction, n, c, d) } else { Order::Gram };
        if order == Order::Gram && !reconstruction.unmixes() {
            self.gate_patches(b, columns, x, places, n, &out, true)?;
        }
        let block = match (reach, order) {
            (Reach::All, Order::Gram) => c,
            (Reach::Prefix, Order::Gram) => c.next_multiple_of(64),
            (Reach::All, Order::Deflation { .. }) => {
                let residual = self.unfold(b, x, n, places)?;
                let product = Product::new(Operand::rows(gates, c), weights, [n, d, c], &residual);
                b.product(&Product { alpha: -1.0, beta: 1.0, ..product })?;
                let residual = Operand::columns(&residual, d);
                b.product(&Product::new(columns, residual, [c, d, n], &out))?;
                return Ok(out);
            }
            (Reach::Prefix, Order::Deflation { .. }) => {
                self.deflate(b, x, n, places, gates, &out)?;
                DEFLATION_BLOCK
            }
        };
        let (gram_use, mix_use) = match reach {
            Reach::All => (Use::Plain, Use::Plain),
            Reach::Prefix => (Use::Gram, Use::Triangle),
        };
        let right = if reconstruction.unmixes() { u } else { gates };
        let gram = b.scratch("the products of gates", c * block)?;
        let product = Product::new(columns, Operand::columns(right, c), [c, block, n], &gram);
        b.product(&Product { what: (gram_use, block), half: true, ..product })?;
        let product = Product::new(Operand::rows(&gram, block), weights, [c, d, block], &out);
        let beta = if reconstruction.unmixes() { 0.0 } else { 1.0 };
        b.product(&Product { what: (mix_use, block), alpha: -1.0, beta, ..product })?;
        Ok(out)
    }

    /// Deflation in blocks of neurons: `out_b = A_b^T E`, then `E -= A_b W_b`,
    /// from `E = X` on.
    fn deflate(
        &self,
        b: &mut Builder<'_>,
        x: &Buffer,
        n: usize,
        places: &Places,
        gates: &Buffer,
        out: &Buffer,
    ) -> Result<()> {
        let (c, d) = (self.g.filters, self.g.patch_len());
        let residual = self.unfold(b, x, n, places)?;
        for start in (0..c).step_by(DEFLATION_BLOCK) {
            let rows = DEFLATION_BLOCK.min(c - start);
            let (columns, left) = (Operand::columns(gates, c), Operand::columns(&residual, d));
            let product = Product::new(columns.from(start), left, [rows, d, n], out);
            b.product(&Product { out: (out, start * d), ..product })?;
            if start + rows < c {
                let gates = Operand::rows(gates, c).from(start);
                let own = Operand::columns(&self.weights, d).from(start * d);
                let product = Product::new(gates, own, [n, d, rows], &residual);
                b.product(&Product { alpha: -1.0, beta: 1.0, ..product })?;
            }
        }
        Ok(())
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
