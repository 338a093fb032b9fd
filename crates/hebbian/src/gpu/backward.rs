//! Gradients of a layer, as kernels.

use wgpu::Buffer;

use super::layer::{Layer, Passed, is_plain};
use super::plan::{Builder, Word, grid_of};
use super::product::{Operand, Places, Product};
use super::shaders;
use crate::Result;
use Word::{F, U};

impl Layer {
    /// Gradients by the weights (C x D, returned first), by gamma, beta and bias,
    /// and, where wanted, by the input, from the gradient by the map.
    pub(super) fn backward(
        &self,
        b: &mut Builder<'_>,
        x: &Buffer,
        passed: &Passed,
        batch: usize,
        d_map: &Buffer,
        d_x: Option<&Buffer>,
    ) -> Result<(Buffer, Buffer)> {
        let (g, n) = (&self.g, batch * self.g.positions());
        let (c, d) = (g.filters, g.patch_len());
        let (settings, parts) = self.norm_settings(batch, true);
        let part_sums = b.scratch("parts of moments", parts * 2 * c)?;
        let Passed { pooled, winners, .. } = passed;
        let rectified;
        let d_map = if self.rectifies() {
            let len = batch * g.output_len();
            rectified = b.scratch("gradient before the last ReLU", len)?;
            let buffers = [(1, pooled), (7, &self.used), (9, d_map), (8, &rectified)];
            b.add_elements(&shaders::norm("through_relu"), &settings, &buffers, len)?;
            &rectified
        } else {
            d_map
        };
        let buffers = [(1, pooled), (7, &self.used), (9, d_map), (10, &part_sums)];
        b.add(&shaders::norm("gradient_sums"), &settings, &buffers, [c.div_ceil(64), parts, 1])?;
        let d_learned = b.scratch("gradient by gamma, beta and bias", self.learned_len())?;
        let line = b.scratch("gradient through the normalisation", 3 * c)?;
        let buffers =
            [(3, &part_sums), (4, &self.learned), (7, &self.used), (11, &d_learned), (12, &line)];
        b.add_elements(&shaders::norm("gradient_line"), &settings, &buffers, c)?;

        let d_u = b.scratch("the gates", n * c)?;
        let buffers = [(5, pooled), (6, winners), (7, d_map), (8, &line), (9, &d_u)];
        b.add_elements(&shaders::pool("unpool"), &self.pool_settings(n * c), &buffers, n * c)?;

        if self.biased {
            // Over the images, then over the places.
            let places = b.scratch("gradient by the bias of each place", g.positions() * c)?;
            b.reduce(&d_u, batch, g.positions() * c, (&places, 0), (1.0, 0.0))?;
            b.reduce(&places, g.positions(), c, (&d_learned, 2 * c), (1.0, 0.0))?;
        }

        let d_weights = b.scratch("numerators", c * d)?;
        let places = self.places(b, batch)?;
        self.gate_patches(b, Operand::columns(&d_u, c), x, &places, n, &d_weights, false)?;
        if self.normalised {
            let settings = self.weights_settings(None);
            let buffers = [(1, &self.weights), (9, &self.scale), (10, &d_weights)];
            b.add(&shaders::weights("through_norm"), &settings, &buffers, grid_of(c))?;
        }
        if let Some(d_x) = d_x {
            self.backward_input(b, batch, &d_u, d_x)?;
        }
        Ok((d_weights, d_learned))
    }

    /// Gradient by the input from the gradient by the responses.
    fn backward_input(
        &self,
        b: &mut Builder<'_>,
        batch: usize,
        d_u: &Buffer,
        d_x: &Buffer,
    ) -> Result<()> {
        let g = &self.g;
        let (c, d, channels) = (g.filters, g.patch_len(), g.channels);
        let turned = if self.normalised || g.kernel > 1 {
            let turned = b.scratch("the turned weights", c * d)?;
            let settings = [U(c * d), U(1), F(1.0), F(0.0), U(d), U(channels), U(c)];
            let buffers = [(1, &self.weights), (2, &turned), (3, &self.scale)];
            b.add_elements(&shaders::elements("turn"), &settings, &buffers, c * d)?;
            turned
        } else {
            self.weights.clone()
        };
        let weights = Operand::columns(&turned, channels);
        let shape = [batch * g.height * g.width, channels, g.kernel * g.kernel * c];
        if is_plain(g) {
            return b.product(&Product::new(Operand::rows(d_u, c), weights, shape, d_x));
        }
        let map = [g.out_height(), g.out_width(), c];
        let make = || Places::backward(g, batch);
        let name = format!("{}: the ways back", self.name);
        let places = b.places(&name, batch, map, g.stride, make)?;
        b.product(&Product::new(Operand::patches(d_u, &places), weights, shape, d_x))
    }
}
