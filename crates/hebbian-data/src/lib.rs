//! Image files to batches: sources, labels, splits, decoding, whitening.
//!
//! Nothing here knows about networks. A [`Dataset`] is images with the labels
//! that some of them have; its [`Images`] are the same without labels, and all
//! that learning without labels is given. [`batches()`] decodes them in parallel
//! and ahead, in an [`Order`]; a [`Preprocess`] turns a [`Batch`] of bytes into the numbers that
//! a network reads.
//!
//! ```no_run
//! use hebbian_data::{Dataset, Preprocess, Size, Whitening, batches};
//!
//! # fn main() -> hebbian_data::Result<()> {
//! let data = Dataset::open("photos".as_ref())?;
//! let (images, size) = (data.images(), Size::square(32));
//! let preprocess = Preprocess::fit(&images, size, Whitening::None, 1e-2, &mut |_, _| {})?;
//! let mut input = Vec::new();
//! for batch in batches(&images, images.shuffled(0, "epoch 0"), 64, size) {
//!     preprocess.apply(&batch?, &mut input)?;
//! }
//! # Ok(())
//! # }
//! ```

mod ahead;
pub mod augment;
pub mod batches;
mod beside;
pub mod cache;
pub mod dataset;
pub mod decode;
pub mod describe;
mod error;
pub mod fetch;
mod images;
mod kept;
pub mod labels;
pub mod order;
pub mod pack;
pub mod preprocess;
pub mod resize;
pub mod seed;
mod share;
pub mod source;
pub mod split;
#[cfg(feature = "turbojpeg")]
mod turbo;

pub use augment::Augmentation;
pub use batches::{Batch, Batches, Skipped, batches, shared_batches};
pub use dataset::{Dataset, OpenOptions};
pub use error::{Error, Result};
pub use images::Images;
pub use order::Order;
pub use preprocess::{Preprocess, Whitening};
pub use resize::Size;
pub use share::Share;
pub use source::{Part, SourceKind};
pub use split::{Amount, Split, SplitSpec, labelled_subset};
