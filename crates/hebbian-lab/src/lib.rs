//! Grids of experiments: methods, layers, regimes of labels and seeds.
//!
//! An [`Experiment`] is a checked file. Its cells ([`grid()`]) are run one by
//! one into an OUT folder, each from a pre-training ("stage") that is shared
//! by all cells that need the very same one:
//!
//! ```text
//! OUT/NAME.toml              the experiment file as it was run
//!     NAME.jsonl             its results so far, one line a cell or stage
//!     cells/ID.json          one finished cell
//!     stages/ID/             a run folder; stage.json once it is finished,
//!                            diverged.json if it has no end
//!     work/ID/               a cell that is running: its checkpoints
//!     locks/ID.lock          who works on what
//! ```
//!
//! An ID is a hash of everything that decides the result, so what is there
//! already is right, whichever process or edit of the file it comes from. Any
//! number of processes may work on one folder; any may be killed at any time.
//!
//! - [`spec`], [`method`]: the file; what a method is;
//! - [`grid`](mod@grid): cells and their order;
//! - [`data`]: data sets, splits, what they are called by content;
//! - [`stage`], [`cell`], [`frozen`], [`retrieval`]: the work;
//! - [`run`](mod@run): which cells, the loop over them, shards, locks;
//! - [`results`]: lines of results;
//! - [`statistics`], [`summary`], [`markdown`]: what they say together;
//! - [`compare`]: what changed from one set of results to another;
//! - [`estimate`]: how long the rest will take.

pub mod cell;
pub mod compare;
pub mod data;
pub mod estimate;
pub mod frozen;
pub mod grid;
pub mod kernel;
mod key;
mod lock;
pub mod machine;
pub mod markdown;
pub mod method;
mod plan;
pub mod ranking;
pub mod results;
pub mod retrieval;
pub mod run;
mod select;
pub mod spec;
pub mod stage;
pub mod statistics;
mod stopwatch;
pub mod summary;
pub mod tables;
#[cfg(test)]
mod tests;

pub use compare::Comparison;
pub use data::Data;
pub use grid::{Cell, grid};
pub use method::{Method, Pretraining};
pub use results::{CellResult, Line, StageResult};
pub use run::{Event, Options, Outcome, run};
pub use select::{Only, Selection, quoted};
pub use spec::Experiment;
pub use summary::Summary;

use hebbian::error::Error;
use hebbian::train;

/// An error of searching as one of the work.
pub(crate) fn as_error(error: hebbian_search::Error) -> Error {
    Error::Data(error.to_string())
}

/// A counter of images done, told to the observer of a training as one of its
/// stages.
pub(crate) fn counter<'a>(
    name: &'a str,
    observer: train::Observer<'a>,
) -> impl FnMut(usize, usize) + 'a {
    let mut begun = false;
    move |done, total| {
        if !std::mem::replace(&mut begun, true) {
            observer(train::Event::Stage { name, done: 0, total });
        }
        observer(train::Event::Step { done, text: String::new() });
        if done == total {
            observer(train::Event::End);
        }
    }
}
