//! The layer operations on the CPU: gather patches, forward block, gradients.
//!
//! Maps are stored image by image, row by row, channels last (`NHWC`). No
//! operation holds the unfolded patches or the map before pooling: a layer
//! runs tile by tile over whole rows of pooling windows. A batch is cut into a
//! fixed number of lanes of whole images, each with its own sums, and lanes
//! are added up in order; so results do not depend on the number of threads.

mod backward;
mod forward;
mod geometry;
mod norm;
mod patches;
mod pool;
mod products;
mod tile;
mod transposed;
mod winograd;
mod workspace;

pub(crate) use backward::sum_lanes;
pub use backward::{BackwardInput, BackwardOutput, block_backward};
pub use forward::{Activation, Response, block_forward};
pub(crate) use forward::{finish_batch, finish_tile, gather_batch, project_batch, unfolds};
pub use geometry::Geometry;
pub use norm::{BatchStatistics, affine_in_place};
pub(crate) use norm::{affine, batch_norm_backward, rectify, unrectify};
pub(crate) use patches::{gather, gather_one, patch_norms};
pub(crate) use pool::pool_tile;
pub use pool::{max_unpool, max_unpool_backward};
pub(crate) use products::{gradient_by_patches, gradient_by_weights, project_patches};
pub(crate) use tile::{TilePatches, product_len, sum_products, tile_numbers};
pub use transposed::{TransposedGradients, transposed_backward, transposed_forward};
pub use workspace::Workspace;
pub(crate) use workspace::{LANES, Lane, TileBuffers, lane_ranges, sized, split_by_images, tiles};
