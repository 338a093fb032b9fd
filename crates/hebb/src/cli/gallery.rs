//! What can be typed about galleries.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use hebbian_data::Share;

use super::stores::{COMPARE_HELP, CompareArgs, PUSH_HELP, PushArgs};
use super::{Common, DataArgs};

/// Help of `hebb index`.
pub const INDEX_HELP: &str = "\
A gallery that is there already is brought up to date. What an image is, its
content says: new images are added, changed ones replaced, unchanged ones only
read and not computed again, and images under another name keep their vector.
Images that are no longer in DATA stay, unless --remove-missing is given.

Stopped at any time, also by kill -9, the gallery holds what was committed, and
the same command goes on. Searches are not disturbed meanwhile.

Examples:
  hebb index photos/ --model runs/tuned --out gallery
  hebb index photos/ --model runs/tuned --out gallery --remove-missing    (later)
  hebb index photos/ --model runs/photos --layer L2-pool4-unit --out gallery
                                        (averages of 4 x 4 parts, by their angle)
  hebb index photos/ --model runs/codes --layer code-binary --out gallery
                                                      (see finetune --hidden)
  hebb index photos/ --model runs/tuned --shard 1/2 --out first &
  hebb index photos/ --model runs/tuned --shard 2/2 --out second; wait
  hebb gallery join gallery first second             (two processes or machines)";

/// Help of `hebb search`.
pub const SEARCH_HELP: &str = "\
Queries are image files, images of the gallery (--id, which leaves the image
itself out) and vectors in .npy files; all may be given several times. The
distances are Euclidean and exact. Filters come first: the -k nearest are those
among the images that pass.

Examples:
  hebb search gallery query.jpg
  hebb search gallery query.jpg -k 50 --json
  hebb search gallery --id holiday/0412.jpg              (more like this)
  hebb search gallery a.jpg b.jpg --average              (like both)
  hebb search gallery query.jpg --label cat --label dog --path 'holiday/*'
  hebb search gallery --vector queries.npy
  hebb search postgres://me@localhost/photos query.jpg   (see gallery push)
  hebb search milvus://localhost:19530/photos query.jpg --model runs/tuned";

/// Help of `hebb gallery`.
pub const GALLERY_HELP: &str = "\
Examples:
  hebb gallery info gallery
  hebb gallery verify gallery
  hebb gallery remove gallery --path 'blurred/*'
  hebb gallery duplicates gallery --threshold 0.5
  hebb gallery export gallery --out exported
  hebb gallery import gallery --vectors v.npy --items items.parquet
  hebb gallery approximate gallery
  hebb gallery compact gallery
  hebb gallery push gallery --to postgres://me@localhost/photos
  hebb gallery compare gallery --with postgres://me@localhost/photos";

/// `hebb index`
#[derive(Args)]
pub struct IndexArgs {
    /// The images.
    #[command(flatten)]
    pub data: DataArgs,
    /// Run or model folder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Layer: L1 to the last, pixels, or code and code-binary of a classifier
    /// with a hidden layer; L2-pool4-unit averages over 4 x 4 parts of the map
    /// and scales to length 1, so that distance goes by angle (default: the
    /// gallery's, or the last L).
    #[arg(long)]
    pub layer: Option<String>,
    /// The gallery folder to write or to bring up to date.
    #[arg(long, short, value_name = "DIR")]
    pub out: PathBuf,
    /// Start anew in place of the gallery.
    #[arg(long)]
    pub overwrite: bool,
    /// Remove what is in the gallery and not in DATA.
    #[arg(long, conflicts_with_all = ["overwrite", "shard"])]
    pub remove_missing: bool,
    /// Only this process's share of the images: the i-th of n. A gallery has one
    /// writer at a time, so each takes one of its own; `hebb gallery join` makes
    /// them one.
    #[arg(long, value_name = "i/n")]
    pub shard: Option<Share>,
    /// Seconds between commits: what a kill may cost. 0 commits every batch.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    pub commit_every: f64,
    /// Common options.
    #[command(flatten)]
    pub common: Common,
}

/// `hebb search`
#[derive(Args)]
#[command(group(ArgGroup::new("queries").required(true).multiple(true)))]
pub struct SearchArgs {
    /// Gallery folder, or postgres://... or milvus://... where one was pushed to.
    #[arg(value_name = "GALLERY")]
    pub gallery: PathBuf,
    /// Image files to search with.
    #[arg(value_name = "IMAGE", group = "queries")]
    pub images: Vec<PathBuf>,
    /// An image of the gallery to search with, by its id.
    #[arg(long, value_name = "ID", group = "queries")]
    pub id: Vec<String>,
    /// A .npy file of vectors to search with.
    #[arg(long, value_name = "FILE", group = "queries")]
    pub vector: Vec<PathBuf>,
    /// Walk the gallery's graph (hebb gallery approximate) instead of comparing
    /// with every image: faster, but some of the nearest may be missed.
    #[arg(long)]
    pub approximate: bool,
    /// Search once, with the mean of all queries.
    #[arg(long)]
    pub average: bool,
    /// Find only images with this label, or one of several.
    #[arg(long, value_name = "LABEL")]
    pub label: Vec<String>,
    /// Find only images whose id matches: * is anything, ? one character;
    /// without either, an id or a folder. May be repeated: one must match.
    #[arg(long, value_name = "GLOB")]
    pub path: Vec<String>,
    /// Run or model folder the gallery was made with (default: where it was then).
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Neighbours to show.
    #[arg(short, default_value_t = 10)]
    pub k: usize,
    /// Common options.
    #[command(flatten)]
    pub common: Common,
}

/// `hebb gallery`
#[derive(Subcommand)]
pub enum GalleryCommand {
    /// What is in a gallery, also in one on a server.
    Info(GalleryArgs),
    /// Read everything and compare it with the checksums.
    Verify(GalleryArgs),
    /// Remove images, by id, by path or by label.
    #[command(after_help = "\
--path and --label together remove what matches both; --id removes besides.

Examples:
  hebb gallery remove gallery --id a.jpg --id b.jpg
  hebb gallery remove gallery --path 'blurred/*' --dry-run
  hebb gallery remove gallery --label unsorted --path 2019")]
    Remove(RemoveArgs),
    /// Write all segments again as one, without what was removed.
    Compact(CompactArgs),
    /// Write the vectors as .npy and the items as Parquet.
    #[command(after_help = "\
OUT/vectors.npy holds float32 [images, dimensions], OUT/items.parquet the
columns id, label, location and content (BLAKE3 of the image) in the same order:

  vectors = numpy.load('OUT/vectors.npy', mmap_mode='r')
  items = polars.read_parquet('OUT/items.parquet')

Example:
  hebb gallery export gallery --out exported")]
    Export(ExportArgs),
    /// Make a gallery of vectors from another tool, or add them to one.
    #[command(after_help = "\
Vectors: .npy, float32 or float64, C order, [images, dimensions]. Items: Parquet,
uncompressed or Snappy, one row a vector, a text column id, and label and
location where there are any. An id that is there already is replaced.

Examples:
  hebb gallery import gallery --vectors v.npy --items items.parquet
  hebb gallery import gallery --vectors v.npy --items items.parquet --name CLIP
  hebb gallery import gallery --vectors v.npy --items items.parquet \\
      --model runs/tuned                          (exported from its gallery)")]
    Import(ImportArgs),
    /// Add galleries of the same model and layer to one, as those of shards.
    #[command(after_help = "\
An image that is in several is taken from the last. Vectors are copied, not
computed.

Example:
  hebb gallery join gallery first second third")]
    Join(JoinArgs),
    /// Fill a table of PostgreSQL or a collection of Milvus from a gallery.
    #[command(after_help = PUSH_HELP)]
    Push(PushArgs),
    /// Search a gallery and where it was pushed to, and compare what is found.
    #[command(after_help = COMPARE_HELP)]
    Compare(CompareArgs),
    /// Build the graph for approximate searches, and measure what it finds.
    #[command(after_help = "\
The gallery is compacted, every image is linked with near ones, and the share of
the true 10 nearest that such searches find is measured on 200 of its images and
kept. Images added later are searched exactly beside the graph. It goes when its
segment is merged, which adding many or removing a quarter brings about.

Example:
  hebb gallery approximate gallery
  hebb search gallery query.jpg --approximate")]
    Approximate(GalleryArgs),
    /// Groups of images that are nearly the same.
    #[command(after_help = "\
Two images are in one group when they are connected by distances up to the
threshold. Without --threshold, a quarter of the median distance to the nearest
other image is taken, and said; look at the groups and choose your own.

Examples:
  hebb gallery duplicates gallery
  hebb gallery duplicates gallery --threshold 0.5 --json")]
    Duplicates(DuplicatesArgs),
}

/// A gallery, and nothing else.
#[derive(Args)]
pub struct GalleryArgs {
    /// Gallery folder.
    #[arg(value_name = "GALLERY")]
    pub gallery: PathBuf,
    /// Write machine-readable JSON to standard output.
    #[arg(long)]
    pub json: bool,
}

/// `hebb gallery remove`
#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true)))]
pub struct RemoveArgs {
    /// The gallery.
    #[command(flatten)]
    pub of: GalleryArgs,
    /// Remove the image of this id.
    #[arg(long, value_name = "ID", group = "what")]
    pub id: Vec<String>,
    /// Remove images whose id matches: * is anything, ? one character; without
    /// either, an id or a folder.
    #[arg(long, value_name = "GLOB", group = "what")]
    pub path: Vec<String>,
    /// Remove images with this label.
    #[arg(long, value_name = "LABEL", group = "what")]
    pub label: Vec<String>,
    /// Only say how many.
    #[arg(long)]
    pub dry_run: bool,
}

/// `hebb gallery compact`
pub type CompactArgs = GalleryArgs;

/// `hebb gallery export`
#[derive(Args)]
pub struct ExportArgs {
    /// The gallery.
    #[command(flatten)]
    pub of: GalleryArgs,
    /// Folder for vectors.npy and items.parquet.
    #[arg(long, short, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace these files.
    #[arg(long)]
    pub overwrite: bool,
}

/// `hebb gallery import`
#[derive(Args)]
pub struct ImportArgs {
    /// The gallery.
    #[command(flatten)]
    pub of: GalleryArgs,
    /// The vectors.
    #[arg(long, value_name = "NPY")]
    pub vectors: PathBuf,
    /// What they stand for.
    #[arg(long, value_name = "PARQUET")]
    pub items: PathBuf,
    /// Name of what made the vectors, for a new gallery.
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    pub name: Option<String>,
    /// Run or model folder that made the vectors.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Its layer (default: the gallery's, or the last).
    #[arg(long, requires = "model")]
    pub layer: Option<String>,
}

/// `hebb gallery join`
#[derive(Args)]
pub struct JoinArgs {
    /// The gallery, made where there is none.
    #[command(flatten)]
    pub of: GalleryArgs,
    /// Galleries to add.
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,
}

/// `hebb gallery duplicates`
#[derive(Args)]
pub struct DuplicatesArgs {
    /// The gallery.
    #[command(flatten)]
    pub of: GalleryArgs,
    /// Greatest distance between two images that are nearly the same.
    #[arg(long, value_name = "DISTANCE")]
    pub threshold: Option<f32>,
}
