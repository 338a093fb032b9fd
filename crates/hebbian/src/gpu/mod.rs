//! The layer steps on a graphics card, through its Vulkan driver.
//!
//! A [`GpuNetwork`] holds a network on a card and runs the same steps as the
//! CPU, with results equal to rounding. Kernels are compute shaders in
//! `shaders/`, one file a family. What carries the load is one tiled matrix
//! product whose operand may be patches gathered on the fly, so that no
//! unfolded matrix exists: forward pass, `A^T X`, `A^T A`, `tril(A^T A) W`,
//! deflation, and both gradients of a convolution.
//!
//! A step is a list of kernels with their settings and buffers, all made
//! before it first runs; the host writes the batch and reads nothing back but
//! what was asked for. Long sums are split into parts by rules that do not
//! depend on the card, and the parts are added up in order: the same card
//! gives the same bits every time.

mod backward;
mod device;
mod engine;
mod head;
mod layer;
mod learn;
mod network;
mod plan;
mod product;
mod shaders;

pub use device::Gpu;
pub(crate) use engine::Vulkan;
pub use network::GpuNetwork;
