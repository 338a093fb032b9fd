//! The card: finding it, its buffers, its pipelines.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use wgpu::{Buffer, BufferUsages, ComputePipeline, DeviceType, PollType, SubmissionIndex};

use super::shaders::Shader;
use crate::{Error, Result};

/// A graphics card, reached through its Vulkan driver.
pub struct Gpu {
    name: String,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    half: bool,
    pipelines: Mutex<HashMap<String, ComputePipeline>>,
    staging: Mutex<Option<Buffer>>,
    failure: Arc<Mutex<Option<String>>>,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.name)
    }
}

/// Value of a future of `wgpu`, which on a native machine is there at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::yield_now();
    }
}

/// A lock that a panic elsewhere does not take away.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All cards of this machine, the fastest kind first.
fn adapters() -> Vec<wgpu::Adapter> {
    let mut wanted = wgpu::InstanceDescriptor::new_without_display_handle();
    wanted.backends = wgpu::Backends::VULKAN;
    let instance = wgpu::Instance::new(wanted);
    let mut adapters = ready(instance.enumerate_adapters(wgpu::Backends::VULKAN));
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    });
    adapters
}

fn describe(adapter: &wgpu::Adapter) -> String {
    let info = adapter.get_info();
    format!("{} ({} {})", info.name, info.driver, info.driver_info)
}

impl Gpu {
    /// Cards and their drivers by name, in the order of [`Gpu::open`]'s index:
    /// discrete cards, then integrated ones, then drivers without a card.
    pub fn list() -> Vec<String> {
        adapters().iter().map(describe).collect()
    }

    /// Opens the card number `index`, or the first one.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no driver, no such card, or it cannot be
    /// opened.
    pub fn open(index: Option<usize>) -> Result<Self> {
        let mut adapters = adapters();
        let count = adapters.len();
        let index = index.unwrap_or(0);
        if count == 0 {
            let problem = "no graphics card with a Vulkan driver was found; install the card's \
                           driver, or run on the CPU";
            return Err(Error::Device(problem.into()));
        }
        if index >= count {
            let names: Vec<_> = adapters.iter().map(describe).collect();
            let problem = format!("there is no card {index}; there are {}", names.join(", "));
            return Err(Error::Device(problem));
        }
        let adapter = adapters.swap_remove(index);
        let name = describe(&adapter);
        let half = adapter.features().contains(wgpu::Features::SHADER_F16);
        let wanted = wgpu::DeviceDescriptor {
            label: Some("hebbian"),
            required_features: adapter.features() & wgpu::Features::SHADER_F16,
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let (device, queue) = ready(adapter.request_device(&wanted))
            .map_err(|e| Error::Device(format!("{name} cannot be opened: {e}")))?;
        let failure = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&failure);
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
            let line = e.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            lock(&noted).get_or_insert(line);
        }));
        Ok(Self {
            name,
            device,
            queue,
            half,
            pipelines: Mutex::default(),
            staging: Mutex::default(),
            failure,
        })
    }

    /// Name of the card and its driver.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the card multiplies in half precision.
    pub fn has_half(&self) -> bool {
        self.half
    }

    /// Fails if anything has gone wrong on the card since the last check.
    pub(super) fn check(&self) -> Result<()> {
        match lock(&self.failure).take() {
            None => Ok(()),
            Some(problem) => Err(Error::Device(format!("{}: {problem}", self.name))),
        }
    }

    /// A buffer of `len` numbers of 32 bits, all zero.
    pub(super) fn buffer(&self, what: &str, len: usize) -> Result<Buffer> {
        let limits = self.device.limits();
        let bytes = (len.max(4) * 4) as u64;
        let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        if bytes > most {
            let (need, most) = (bytes >> 20, most >> 20);
            let problem = format!(
                "{what} takes {need} MiB, and {} allows {most} MiB at once; use a smaller batch",
                self.name
            );
            return Err(Error::Device(problem));
        }
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        Ok(self.make(what, bytes, usage))
    }

    /// A buffer that holds `data`.
    pub(super) fn buffer_of<T: bytemuck::NoUninit>(
        &self,
        what: &str,
        data: &[T],
    ) -> Result<Buffer> {
        let buffer = self.buffer(what, size_of_val(data) / 4)?;
        self.write(&buffer, data);
        Ok(buffer)
    }

    /// A buffer for a kernel's settings.
    pub(super) fn uniform(&self, words: &[u32]) -> Buffer {
        let bytes = (words.len() * 4).next_multiple_of(16) as u64;
        let buffer = self.make("settings", bytes, BufferUsages::UNIFORM | BufferUsages::COPY_DST);
        self.write(&buffer, words);
        buffer
    }

    fn make(&self, what: &str, size: u64, usage: BufferUsages) -> Buffer {
        let wanted =
            wgpu::BufferDescriptor { label: Some(what), size, usage, mapped_at_creation: false };
        self.device.create_buffer(&wanted)
    }

    /// Queues `data` to be written once what was submitted before has run.
    pub(super) fn write<T: bytemuck::NoUninit>(&self, buffer: &Buffer, data: &[T]) {
        self.queue.write_buffer(buffer, 0, bytemuck::cast_slice(data));
    }

    /// The pipeline of a shader, compiled on first use.
    ///
    /// # Errors
    /// If the card's driver refuses it.
    pub(super) fn pipeline(&self, shader: &Shader) -> Result<ComputePipeline> {
        let mut pipelines = lock(&self.pipelines);
        let key = format!("{}\n{}", shader.entry, shader.source);
        if let Some(pipeline) = pipelines.get(&key) {
            return Ok(pipeline.clone());
        }
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(shader.entry),
            source: wgpu::ShaderSource::Wgsl(shader.source.as_str().into()),
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(shader.entry),
            layout: None,
            module: &module,
            entry_point: Some(shader.entry),
            // Every kernel writes its shared memory before it reads it.
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        self.check()?;
        pipelines.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// Waits until a submission has run.
    pub(super) fn wait(&self, submission: Option<SubmissionIndex>) -> Result<()> {
        let poll = PollType::Wait { submission_index: submission, timeout: None };
        let waited = self.device.poll(poll);
        waited.map_err(|e| Error::Device(format!("{}: {e}", self.name)))?;
        self.check()
    }

    /// The first numbers of each buffer, after all that was submitted before.
    pub(super) fn read(&self, parts: &[(&Buffer, usize)]) -> Result<Vec<Vec<f32>>> {
        self.check()?;
        let bytes: u64 = parts.iter().map(|(_, len)| *len as u64 * 4).sum();
        let mut staging = lock(&self.staging);
        let staging = match &mut *staging {
            Some(buffer) if buffer.size() >= bytes => buffer,
            none => none.insert(self.make(
                "staging",
                bytes.next_power_of_two(),
                BufferUsages::COPY_DST | BufferUsages::MAP_READ,
            )),
        };
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut start = 0;
        for (buffer, len) in parts {
            let size = *len as u64 * 4;
            encoder.copy_buffer_to_buffer(buffer, 0, staging, start, size);
            start += size;
        }
        let submission = self.queue.submit([encoder.finish()]);
        let slice = staging.slice(..bytes);
        slice.map_async(wgpu::MapMode::Read, |_| {});
        self.wait(Some(submission))?;
        let failed = |e: &dyn std::fmt::Display| Error::Device(format!("{}: {e}", self.name));
        let view = slice.get_mapped_range().map_err(|e| failed(&e))?;
        let numbers: &[f32] = bytemuck::cast_slice(&view);
        let mut rest = numbers;
        let mut all = Vec::with_capacity(parts.len());
        for (_, len) in parts {
            let (part, after) = rest.split_at(*len);
            all.push(part.to_vec());
            rest = after;
        }
        drop(view);
        staging.unmap();
        Ok(all)
    }
}
