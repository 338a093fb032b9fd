//! Learning for Hebbian: rules, updates, networks and training.
//!
//! - [`rules`]: what a rule is, one file each;
//! - [`update`]: from a rule's gate to the weight update;
//! - [`ops`]: layer operations on the CPU;
//! - [`engine`]: where a network's arithmetic runs, one form for each kind of device;
//! - `gpu`: layer operations on a graphics card (feature `vulkan`);
//! - [`network`]: network files, layers, models on disk;
//! - [`vae`]: the variational autoencoder of the baseline;
//! - [`onnx`]: models as files for other programs;
//! - [`collective`]: processes that train one network together;
//! - [`train`]: pre-training, fine-tuning, probes.

pub mod collective;
pub mod engine;
pub mod error;
pub mod floor;
#[cfg(feature = "vulkan")]
pub mod gpu;
pub mod linalg;
pub mod memory;
pub mod network;
pub mod onnx;
pub mod ops;
pub mod rules;
pub mod train;
pub mod update;
pub mod vae;

pub use error::{Error, Result};
