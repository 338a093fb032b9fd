//! From vectors to ranked neighbours: gallery files, exact search, retrieval metrics.
//!
//! ```
//! use hebbian_search::{Gallery, GalleryInfo, GalleryWriter, Item, Matrix, search};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("gallery");
//! let info = GalleryInfo::new(2, "fingerprint of the model", "cifar-6", "L5");
//! let mut writer = GalleryWriter::create(&path, info, false)?;
//! for (id, vector) in [("a", [0.0, 0.0]), ("b", [3.0, 4.0]), ("c", [1.0, 0.0])] {
//!     writer.push(&[Item { id: id.into(), ..Item::default() }], &vector)?;
//! }
//! writer.finish()?;
//!
//! let gallery = Gallery::open(&path)?;
//! let queries = Matrix::new(2, vec![0.0, 0.0])?;
//! let hits = &search(&gallery, &queries, 3)?[0];
//! let items = hits.iter().filter_map(|hit| gallery.item(hit.index));
//! let ids: Vec<&str> = items.map(|item| item.id.as_str()).collect();
//! assert_eq!(ids, ["a", "c", "b"]);
//! assert_eq!(hits[2].distance, 5.0);
//! # Ok(())
//! # }
//! ```

mod duplicates;
mod error;
mod exact;
mod filter;
pub mod gallery;
mod gemm;
mod graph;
pub mod metrics;
pub mod npy;
mod packed;
mod store;
mod subset;
mod vectors;

pub use duplicates::{collapse, near_duplicates, suggest_threshold};
pub use error::{Error, Result};
pub use exact::{Hit, for_each_ranking, reported, search, squared_distance};
pub use filter::{Filter, Glob, Pattern};
pub use gallery::{Gallery, GalleryInfo, GalleryWriter, Item};
pub use graph::Graph;
pub use store::{Neighbour, SearchOptions, Store, StoreWriter, check_batch};
pub use subset::Subset;
pub use vectors::{Matrix, Vectors};
