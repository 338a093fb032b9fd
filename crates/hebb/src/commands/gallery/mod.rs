//! `hebb gallery`

mod approximate;
mod compare;
mod duplicates;
mod info;
mod join;
mod push;
mod remove;
mod transfer;

use anyhow::Result;

use crate::cli::GalleryCommand;

/// Looks after a gallery.
pub fn run(command: &GalleryCommand) -> Result<()> {
    match command {
        GalleryCommand::Info(args) => info::run(args),
        GalleryCommand::Verify(args) => info::verify(args),
        GalleryCommand::Remove(args) => remove::run(args),
        GalleryCommand::Compact(args) => remove::compact(args),
        GalleryCommand::Export(args) => transfer::export(args),
        GalleryCommand::Import(args) => transfer::import(args),
        GalleryCommand::Join(args) => join::run(args),
        GalleryCommand::Push(args) => push::run(args),
        GalleryCommand::Compare(args) => compare::run(args),
        GalleryCommand::Approximate(args) => approximate::run(args),
        GalleryCommand::Duplicates(args) => duplicates::run(args),
    }
}
