//! Stores of vectors beyond one folder: PostgreSQL with pgvector, and Milvus.
//!
//! A [`ServerStore`] answers as a [`Gallery`](hebbian_search::Gallery) does: the true Euclidean
//! distance, computed here from the stored vectors in double precision, equal distances in the
//! store's order, filters by label and path with the same meaning, and `k` results where there are
//! so many. [`push`] fills one from a gallery, goes on where it was stopped, and can be shared by
//! processes.
//!
//! ```no_run
//! use hebbian_search::{Gallery, Matrix, SearchOptions, Store};
//! use hebbian_stores::{ServerStore, push};
//!
//! # fn main() -> hebbian_search::Result<()> {
//! let gallery = Gallery::open("gallery")?;
//! let store = ServerStore::create("postgres://me@localhost/photos/gallery", gallery.info())?;
//! push(&gallery, &store, &Default::default(), |_, _| {})?;
//!
//! let queries = Matrix::new(2, vec![0.0, 0.0])?;
//! let options = SearchOptions { k: 10, ..Default::default() };
//! for neighbour in &store.search(&queries, &options)?[0] {
//!     println!("{} {}", neighbour.item.id, neighbour.distance);
//! }
//! # Ok(())
//! # }
//! ```

mod address;
mod backend;
mod description;
#[cfg(feature = "milvus")]
mod milvus;
#[cfg(feature = "postgres")]
mod postgres;
mod push;
mod ranking;
mod record;
mod store;

pub use address::{check_address, is_address};
pub use backend::Index;
pub use push::{PushOptions, Pushed, push};
pub use store::{ServerStore, ServerWriter};
