//! What can go wrong in learning, as data.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate. Each message is one sentence that says what is
/// wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is unknown, of the wrong type or out of its range.
    #[error("{field}: {problem}")]
    Config {
        /// The field, with its path: `rule.temperature`.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A network file describes a network that cannot be built.
    #[error("network {network}, layer {layer}: {problem}")]
    Network {
        /// Name of the network.
        network: String,
        /// Name of the layer (`L1`...).
        layer: String,
        /// What does not fit.
        problem: String,
    },
    /// A model, checkpoint or run file is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The data cannot be used for what was asked.
    #[error("{0}")]
    Data(String),
    /// The numbers of a training run are no longer finite.
    #[error(
        "{stage}: the weights of {layer} are no longer finite at step {step}; lower the learning rate"
    )]
    Diverged {
        /// What was running: `pre-training`, `VAE pre-training` or `fine-tuning`.
        stage: &'static str,
        /// Name of the layer, or of what else the weights are of.
        layer: String,
        /// Step of the run, from 1.
        step: usize,
    },
    /// A run was asked to stop; its checkpoint is saved.
    #[error("stopped after step {step}; a checkpoint is saved")]
    Stopped {
        /// Steps done.
        step: usize,
    },
    /// The device that was asked for is not there, or failed.
    #[error("{0}")]
    Device(String),
    /// Reading or writing failed; the message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// An error of the data room.
    #[error(transparent)]
    Source(#[from] hebbian_data::Error),
}

impl Error {
    /// A [`Error::Config`].
    pub fn config(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Config { field: field.into(), problem: problem.into() }
    }

    /// A [`Error::File`] of what a run can't write, with the system's reason.
    pub(crate) fn unwritten(path: impl Into<PathBuf>, error: impl std::fmt::Display) -> Self {
        let then = "see to that, and the run goes on from its last checkpoint with --resume";
        Self::file(path, format!("can't be written ({error}); {then}"))
    }

    /// A [`Error::File`].
    pub fn file(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::File { path: path.into(), problem: problem.into() }
    }
}
