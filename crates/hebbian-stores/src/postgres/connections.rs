//! Connections to PostgreSQL: kept for the next who needs one, made anew when they are lost.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hebbian_search::{Error, Result};
use postgres::config::{Config, SslMode};
use postgres::error::SqlState;
use postgres::{Client, NoTls};

use super::Interrupted;
use crate::address::Address;

/// How long a server that was there may be away.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);
/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection may take to say that it is there.
const LIVE: Duration = Duration::from_secs(5);
/// Connections kept while nobody needs them.
const KEPT: usize = 16;

/// Connections to one database.
pub(super) struct Connections {
    config: Config,
    name: String,
    idle: Mutex<Vec<Client>>,
}

impl Connections {
    /// Connects once, to see that it can be done.
    pub(super) fn new(address: &Address) -> Result<Self> {
        let name = address.display();
        let wrong = |problem: String| Error::Server { store: name.clone(), problem };
        let user = address.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
        let database = address.database.as_deref().unwrap_or_default();
        let options = address.options.as_ref().map_or_else(String::new, |text| format!("?{text}"));
        let url = format!("postgres://{user}{}/{database}{options}", address.host);
        let mut config: Config = url.parse().map_err(|error| {
            wrong(format!("the address is not understood ({})", sentence(&error)))
        })?;
        if !matches!(config.get_ssl_mode(), SslMode::Disable | SslMode::Prefer) {
            let problem = "encrypted connections are not supported; leave sslmode out and go \
                           through a tunnel, such as ssh -L";
            return Err(wrong(problem.to_owned()));
        }
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        config.application_name("hebb");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        let connections = Self { config, name, idle: Mutex::default() };
        let first = connections.connect(false)?;
        connections.keep(first);
        Ok(connections)
    }

    /// The store's name, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A connection, which may have been lost since it was last used.
    fn take(&self) -> Result<Client> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle.filter(|client| !client.is_closed()) {
            Some(client) => Ok(client),
            None => self.connect(true),
        }
    }

    /// A connection that was asked whether it is still there.
    pub(super) fn take_live(&self) -> Result<Client> {
        let mut client = self.take()?;
        match client.is_valid(LIVE) {
            Ok(()) => Ok(client),
            // Those beside it were lost with it.
            Err(_) => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                self.connect(true)
            }
        }
    }

    /// A new connection; waits for a server that says it is starting and, if it was there before,
    /// for one that says nothing.
    fn connect(&self, known: bool) -> Result<Client> {
        let start = Instant::now();
        loop {
            let error = match self.config.connect(NoTls) {
                Ok(client) => return Ok(client),
                Err(error) => error,
            };
            let soon = match error.code() {
                Some(code) => [
                    SqlState::CANNOT_CONNECT_NOW,
                    SqlState::TOO_MANY_CONNECTIONS,
                    SqlState::ADMIN_SHUTDOWN,
                ]
                .contains(code),
                None => known,
            };
            if !soon || start.elapsed() > PATIENCE {
                return Err(failure(&self.name, &error));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Gives a connection back.
    pub(super) fn keep(&self, client: Client) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !client.is_closed() && idle.len() < KEPT {
            idle.push(client);
        }
    }

    /// Does `work`, which changes nothing; once more if the connection was lost.
    pub(super) fn run<T>(
        &self,
        mut work: impl FnMut(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T> {
        self.stream(|client| work(client).map_err(Interrupted::Server))
    }

    /// As [`run`](Self::run), for `work` that can also fail by itself.
    pub(super) fn stream<T>(
        &self,
        mut work: impl FnMut(&mut Client) -> Result<T, Interrupted>,
    ) -> Result<T> {
        let mut client = self.take()?;
        let mut done = work(&mut client);
        if matches!(done, Err(Interrupted::Server(_))) && client.is_closed() {
            client = self.connect(true)?;
            done = work(&mut client);
        }
        self.finish(client, done)
    }

    /// Does `work` once, which must not be done twice.
    pub(super) fn stream_once<T>(
        &self,
        work: impl FnOnce(&mut Client) -> Result<T, Interrupted>,
    ) -> Result<T> {
        let mut client = self.take_live()?;
        let done = work(&mut client);
        self.finish(client, done)
    }

    /// As [`stream_once`](Self::stream_once), for work that can only fail at the server.
    pub(super) fn once<T>(
        &self,
        work: impl FnOnce(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T> {
        self.stream_once(|client| work(client).map_err(Interrupted::Server))
    }

    fn finish<T>(&self, client: Client, done: Result<T, Interrupted>) -> Result<T> {
        match done {
            Ok(value) => {
                self.keep(client);
                Ok(value)
            }
            // A connection in the middle of something is not kept.
            Err(Interrupted::Server(error)) => Err(failure(&self.name, &error)),
            Err(Interrupted::Taker(error)) => Err(error),
        }
    }
}

/// What went wrong at the server of `name`.
pub(super) fn failure(name: &str, error: &postgres::Error) -> Error {
    if error.code() == Some(&SqlState::DUPLICATE_TABLE) {
        return Error::Exists { path: name.into() };
    }
    let hint = match error.code() {
        Some(&SqlState::UNDEFINED_OBJECT) => "; install pgvector on the server",
        _ => "",
    };
    Error::Server { store: name.to_owned(), problem: sentence(error) + hint }
}

/// The error with what caused it.
fn sentence(error: &postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("PostgreSQL says: {}", said.message());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
