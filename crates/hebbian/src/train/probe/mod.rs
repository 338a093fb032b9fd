//! Classifiers on features that stay as they are.
//!
//! The features are read row by row, from memory or from a file; beside them
//! each classifier keeps what its own documentation says.

mod hebbian;
mod nearest_mean;
mod nystroem;
mod sgd;
mod svm;

pub use hebbian::{HebbianHead, HebbianHeadConfig, train_hebbian_head};
pub use nearest_mean::nearest_mean;
pub use nystroem::Nystroem;
pub use sgd::train_head;
pub use svm::{Svm, SvmConfig, train_svm};

use crate::Result;

/// Rows read at a time where their order is free.
const BLOCK: usize = 128;

/// Replaces the contents of a buffer by the vectors of these numbers (rows x
/// dimension, in the order asked for).
pub type ReadRows<'a> = &'a (dyn Fn(&[usize], &mut Vec<f32>) -> Result<()> + Sync + 'a);

/// Feature vectors with a label each, wherever they are.
#[derive(Clone, Copy)]
pub struct LabelledFeatures<'a> {
    /// Length of a vector.
    pub dim: usize,
    /// Class of each vector, below `classes`.
    pub labels: &'a [u32],
    /// Number of classes.
    pub classes: usize,
    /// How they are read.
    pub read: ReadRows<'a>,
}
