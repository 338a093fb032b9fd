//! A step as it is run on the card: kernels, their settings and buffers, all
//! made before the first step.

use std::collections::HashMap;

use wgpu::{BindGroup, Buffer, ComputePipeline};

use super::device::Gpu;
use super::product::Places;
use super::shaders::Shader;
use crate::Result;

/// Invocations of a workgroup of the kernels that run number by number.
const LANES: usize = 256;
/// Most workgroups a row of a grid may have.
const GRID_ROW: usize = 32768;

struct Kernel {
    pipeline: ComputePipeline,
    bindings: BindGroup,
    grid: [u32; 3],
}

/// Kernels to run one after the other.
#[derive(Default)]
pub(super) struct Plan {
    kernels: Vec<Kernel>,
}

impl Plan {
    /// Kernels it runs.
    pub(super) fn len(&self) -> usize {
        self.kernels.len()
    }

    /// Queues the kernels.
    pub(super) fn submit(&self, gpu: &Gpu) -> wgpu::SubmissionIndex {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for kernel in &self.kernels {
            pass.set_pipeline(&kernel.pipeline);
            pass.set_bind_group(0, &kernel.bindings, &[]);
            let [x, y, z] = kernel.grid;
            pass.dispatch_workgroups(x, y, z);
        }
        drop(pass);
        gpu.queue.submit([encoder.finish()])
    }
}

/// Buffers that steps share, by name; made when first asked for.
#[derive(Default)]
pub(super) struct Scratch {
    buffers: HashMap<String, Buffer>,
    places: HashMap<String, (usize, Places)>,
    /// Whether a buffer was made anew, so that older plans hold another.
    pub(super) outgrown: bool,
}

impl Scratch {
    /// The buffer `what`, of at least `len` numbers.
    pub(super) fn get(&mut self, gpu: &Gpu, what: &str, len: usize) -> Result<Buffer> {
        if let Some(buffer) = self.buffers.get(what) {
            if buffer.size() >= len as u64 * 4 {
                return Ok(buffer.clone());
            }
            self.outgrown = true;
        }
        let buffer = gpu.buffer(what, len)?;
        self.buffers.insert(what.to_owned(), buffer.clone());
        Ok(buffer)
    }
}

/// A setting of a kernel.
#[derive(Clone, Copy)]
pub(super) enum Word {
    /// A whole number.
    U(usize),
    /// A number.
    F(f32),
}

/// Makes a plan, kernel by kernel.
pub(super) struct Builder<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) scratch: &'a mut Scratch,
    /// Whether operands that may be are rounded to half precision.
    pub(super) half: bool,
    pub(super) plan: Plan,
}

impl Builder<'_> {
    /// A buffer shared with other steps.
    pub(super) fn scratch(&mut self, what: &str, len: usize) -> Result<Buffer> {
        self.scratch.get(self.gpu, what, len)
    }

    /// Tables of where patches lie, made by `make` for `batch` images; those
    /// of a larger batch begin with them.
    pub(super) fn places(
        &mut self,
        what: &str,
        batch: usize,
        map: [usize; 3],
        step: usize,
        make: impl FnOnce() -> [Vec<[i32; 4]>; 2],
    ) -> Result<Places> {
        match self.scratch.places.get(what) {
            Some((of, places)) if *of >= batch => Ok(places.clone()),
            _ => {
                let [rows, columns] = make();
                let rows = self.gpu.buffer_of(what, &rows)?;
                let columns = self.gpu.buffer_of(what, &columns)?;
                let places = Places { rows, columns, map, step };
                self.scratch.places.insert(what.to_owned(), (batch, places.clone()));
                Ok(places)
            }
        }
    }

    /// Adds a kernel: its settings (binding 0), its buffers by binding, and
    /// its workgroups.
    pub(super) fn add(
        &mut self,
        shader: &Shader,
        settings: &[Word],
        buffers: &[(u32, &Buffer)],
        grid: [usize; 3],
    ) -> Result<()> {
        let word = |word: &Word| match *word {
            Word::U(n) => n as u32,
            Word::F(x) => x.to_bits(),
        };
        let words: Vec<u32> = settings.iter().map(word).collect();
        let settings = self.gpu.uniform(&words);
        let pipeline = self.gpu.pipeline(shader)?;
        let entries: Vec<_> = std::iter::once((0, &settings))
            .chain(buffers.iter().copied())
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let bindings = self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(shader.entry),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let grid = grid.map(|n| n as u32);
        self.plan.kernels.push(Kernel { pipeline, bindings, grid });
        Ok(())
    }

    /// Adds a kernel that computes `entries` numbers, one an invocation.
    pub(super) fn add_elements(
        &mut self,
        shader: &Shader,
        settings: &[Word],
        buffers: &[(u32, &Buffer)],
        entries: usize,
    ) -> Result<()> {
        self.add(shader, settings, buffers, grid_of(entries.div_ceil(LANES)))
    }
}

/// A grid of at least `groups` workgroups, in rows no longer than allowed.
pub(super) fn grid_of(groups: usize) -> [usize; 3] {
    [groups.min(GRID_ROW), groups.div_ceil(GRID_ROW), 1]
}
