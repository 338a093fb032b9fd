//! What can be typed about galleries on servers.

use clap::Args;
use hebbian_data::Share;

use super::gallery::GalleryArgs;

/// Help of `hebb gallery push`.
pub const PUSH_HELP: &str = "\
Addresses:
  postgres://USER:PASSWORD@HOST:PORT/DATABASE/TABLE   PostgreSQL with pgvector;
      the password may also be in PGPASSWORD, the table is `gallery` unless named
  milvus://HOST:PORT/COLLECTION                       Milvus; also with USER:PASSWORD@
      and /DATABASE/COLLECTION

What is there already and the same is not written again: stopped at any time,
also by kill -9, the same command goes on, and after `hebb index` it writes the
changes. Images that are no longer in the gallery stay on the server, unless
--remove-missing is given. Several processes or machines share the work by
--shard. Connections are not encrypted: go through a tunnel (ssh -L) where
others listen.

Examples:
  hebb gallery push gallery --to postgres://me@localhost/photos
  hebb gallery push gallery --to milvus://localhost:19530/photos
  hebb gallery push gallery --to ADDRESS --remove-missing        (later)
  hebb gallery push gallery --to ADDRESS --shard 1/2 &    (two processes)
  hebb gallery push gallery --to ADDRESS --shard 2/2
  hebb search postgres://me@localhost/photos query.jpg";

/// Help of `hebb gallery compare`.
pub const COMPARE_HELP: &str = "\
Images of the gallery, spread evenly, are the queries. Identical means: the same
images in the same order, equal distances included, and the same distances to
the last bit. The exit code is 1 if a ranking differs; with --approximate, what
is reported is the share of the true nearest that are found.

Examples:
  hebb gallery compare gallery --with milvus://localhost:19530/photos
  hebb gallery compare gallery --with ADDRESS --queries 10000 -k 100
  hebb gallery compare gallery --with ADDRESS --approximate";

/// `hebb gallery push`
#[derive(Args)]
pub struct PushArgs {
    /// The gallery.
    #[command(flatten)]
    pub of: GalleryArgs,
    /// Where to; made where there is none.
    #[arg(long, value_name = "ADDRESS")]
    pub to: String,
    /// Only this process's share of the images: the i-th of n.
    #[arg(long, value_name = "i/n")]
    pub shard: Option<Share>,
    /// Remove what is there and not in the gallery.
    #[arg(long)]
    pub remove_missing: bool,
    /// Build an HNSW index afterwards, for approximate searches: PostgreSQL has
    /// it for at most 2000 dimensions. With it, exact searches on Milvus read
    /// all vectors.
    #[arg(long)]
    pub approximate: bool,
}

/// `hebb gallery compare`
#[derive(Args)]
pub struct CompareArgs {
    /// The gallery.
    #[command(flatten)]
    pub of: GalleryArgs,
    /// Where it was pushed to.
    #[arg(long, value_name = "ADDRESS")]
    pub with: String,
    /// Images to search with.
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub queries: usize,
    /// Neighbours of each.
    #[arg(short, default_value_t = 10)]
    pub k: usize,
    /// Measure approximate searches instead.
    #[arg(long)]
    pub approximate: bool,
}
