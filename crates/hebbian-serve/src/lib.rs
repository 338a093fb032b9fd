//! Image search over HTTP and on a web page.
//!
//! A [`Server`] answers for one gallery. Uploaded images become vectors through a [`Model`], which
//! one thread owns and runs on whatever has queued up; another ranks the searches that wait in one
//! pass over the gallery, which is opened again whenever it changes. What can be asked is in
//! `openapi.json`.

mod app;
mod filter;
mod guard;
mod labels;
mod metrics;
mod model;
mod pictures;
mod problem;
mod query;
mod queue;
mod routes;
mod scores;
mod searches;
mod server;
mod snapshot;
mod upload;

use std::net::SocketAddr;
use std::path::PathBuf;

use hebbian_search::Gallery;

pub use model::{Card, Embed, Model};
pub use server::{Running, Server};

/// What to serve, and how.
pub struct Options {
    /// What is searched.
    pub gallery: Gallery,
    /// What turns uploads into vectors; without one, only images of the gallery and vectors can be
    /// searched with.
    pub model: Option<Model>,
    /// Where to listen; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// What a request must show. An address that is not loopback is not served without.
    pub token: Option<String>,
    /// Table of `path,label` that given labels are added to; without one they are only in memory.
    pub labels: Option<PathBuf>,
    /// Searches under way or waiting; more are answered with status 429.
    pub queue: usize,
}

/// What can go wrong before and while serving.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The address can't be listened on.
    #[error("{address}: {source}; choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Everybody in the network could search.
    #[error("{address} can be reached from other machines; a token is needed")]
    Open {
        /// The address.
        address: SocketAddr,
    },
    /// A token that does not survive an address or a cookie.
    #[error("the token must be 16 to 256 letters, digits or any of -._~")]
    Token,
    /// The table of labels can't be used.
    #[error(transparent)]
    Labels(#[from] hebbian_data::Error),
}

/// Whether `token` can be used: 16 to 256 letters, digits, `-`, `.`, `_` or `~`.
///
/// # Errors
/// [`Error::Token`].
pub fn check_token(token: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    match (16..=256).contains(&token.len()) && token.bytes().all(allowed) {
        true => Ok(()),
        false => Err(Error::Token),
    }
}

/// A token of 128 random bits, from the operating system.
///
/// # Errors
/// [`Error::Io`] where it has none.
pub fn new_token() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
