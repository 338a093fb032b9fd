//! What can be typed after `hebb data`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::DataArgs;

/// `hebb data`
#[derive(Subcommand)]
pub enum DataCommand {
    /// Classes, counts, sizes, duplicates and unreadable files of a data set.
    #[command(after_help = "Example:\n  hebb data describe photos/ --labels labels.csv")]
    Describe {
        /// The data set.
        #[command(flatten)]
        data: DataArgs,
        /// Write JSON to standard output.
        #[arg(long)]
        json: bool,
    },
    /// Write a data set as tar shards, which are read from start to end however
    /// many images there are.
    #[command(after_help = "\
The images lie in the shards as they are stored and in random order, as
NUMBER.jpg (or what they are); NUMBER.cls beside one has the number of its class,
classes.txt the names. WebDataset reads them too.

Example:
  hebb data pack photos/ --out shards
  hebb pretrain 'shards/{000000..000049}.tar' --out runs/photos")]
    Pack {
        /// The data set.
        #[command(flatten)]
        data: DataArgs,
        /// The folder to make.
        #[arg(long, short, value_name = "DIR")]
        out: PathBuf,
        /// Images a shard.
        #[arg(long, default_value = "1000", value_name = "N")]
        images: NonZeroUsize,
        /// Seed of their order.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Fetch the official CIFAR-10 or CIFAR-100 archive and check it.
    #[command(after_help = "Example:\n  hebb data fetch cifar-10 --into data")]
    Fetch {
        /// Which one.
        #[arg(value_enum)]
        name: OfficialSet,
        /// Folder that its folder goes into.
        #[arg(long, default_value = "data", value_name = "DIR")]
        into: PathBuf,
        /// Fetch from here instead of the official address.
        #[arg(long, value_name = "URL")]
        from: Option<String>,
    },
}

/// Data sets that can be fetched.
#[derive(Clone, Copy, ValueEnum)]
pub enum OfficialSet {
    /// 60,000 images of 10 classes.
    #[value(name = "cifar-10")]
    Cifar10,
    /// 60,000 images of 100 classes.
    #[value(name = "cifar-100")]
    Cifar100,
}
