//! Requests to Milvus: gRPC, from threads that wait for the answer.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hebbian_search::{Error, Result};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use super::messages::{Answer, Status};
use crate::address::Address;

const DEFAULT_PORT: u16 = 19530;
/// How long a server that was there may be away, or busy coming back.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(120);
/// Largest answer that is taken, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// What Milvus says of a collection that does not exist, now and formerly.
const NOT_FOUND: (i32, i32) = (100, 4);
/// What it says of one that has to be loaded first.
const NOT_LOADED: i32 = 101;

/// A connection to a server, for any number of threads at once.
pub(super) struct Client {
    name: String,
    database: String,
    runtime: Runtime,
    channel: Channel,
    authorization: Option<MetadataValue<Ascii>>,
    /// Whether the server was ever there.
    reached: AtomicBool,
}

/// Why a request failed.
pub(super) enum Refusal {
    /// There is no such collection.
    NotFound,
    /// It has to be loaded first, as after the server was started again.
    NotLoaded,
    Other(Error),
}

impl Client {
    pub(super) fn new(address: &Address) -> Result<Self> {
        let name = address.display();
        let wrong = |problem: String| Error::Server { store: name.clone(), problem };
        let port = match address.host.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => String::new(),
            _ => format!(":{DEFAULT_PORT}"),
        };
        let endpoint = Endpoint::from_shared(format!("http://{}{port}", address.host))
            .map_err(|_| wrong("the address is not understood; give HOST:PORT".to_owned()))?;
        let channel = endpoint.connect_timeout(CONNECT).timeout(ANSWER);
        let authorization = address.user.as_ref().map(|user| BASE64_STANDARD.encode(user).parse());
        let authorization = authorization
            .transpose()
            .map_err(|_| wrong("user and password are not understood".to_owned()))?;
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let guard = runtime.enter();
        let channel = channel.connect_lazy();
        drop(guard);
        let database = address.database.clone().unwrap_or_default();
        Ok(Self { name, database, runtime, channel, authorization, reached: false.into() })
    }

    /// The store's name, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Name of the database, empty for the default.
    pub(super) fn database(&self) -> String {
        self.database.clone()
    }

    /// Asks, and waits for the answer. What is asked does no harm if it is done twice: it is asked
    /// again when the connection was lost or the server says that it can't just now.
    pub(super) fn call<Q, A>(&self, method: &str, request: &Q) -> Result<A>
    where
        Q: Message + Clone + 'static,
        A: Answer + 'static,
    {
        self.ask(method, request).map_err(|refusal| self.failure(refusal))
    }

    /// The error that a refusal is.
    pub(super) fn failure(&self, refusal: Refusal) -> Error {
        let problem = match refusal {
            Refusal::Other(error) => return error,
            Refusal::NotFound => "Milvus says: the collection is not there",
            Refusal::NotLoaded => "Milvus says: the collection is not loaded",
        };
        self.error(problem.to_owned())
    }

    /// As [`call`](Self::call), and tells apart what can be helped.
    pub(super) fn ask<Q, A>(&self, method: &str, request: &Q) -> Result<A, Refusal>
    where
        Q: Message + Clone + 'static,
        A: Answer + 'static,
    {
        let start = Instant::now();
        loop {
            let (problem, again) = match self.attempt(method, request.clone()) {
                Ok(answer) => match judged(answer) {
                    Ok(answer) => return Ok(answer),
                    Err(Judged::NotFound) => return Err(Refusal::NotFound),
                    Err(Judged::NotLoaded) => return Err(Refusal::NotLoaded),
                    Err(Judged::Failed { reason, again }) => {
                        (format!("Milvus says: {reason}"), again)
                    }
                },
                Err(status) => self.broken(&status),
            };
            if !again || start.elapsed() > PATIENCE {
                return Err(Refusal::Other(self.error(problem)));
            }
            std::thread::sleep(PAUSE);
        }
    }

    pub(super) fn error(&self, problem: String) -> Error {
        Error::Server { store: self.name.clone(), problem }
    }

    fn attempt<Q, A>(&self, method: &str, message: Q) -> Result<A, tonic::Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = format!("/milvus.proto.milvus.MilvusService/{method}");
        let path: PathAndQuery =
            path.parse().map_err(|_| tonic::Status::internal("no such method"))?;
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        if let Some(authorization) = &self.authorization {
            metadata.insert("authorization", authorization.clone());
        }
        if let Ok(database) = self.database.parse::<MetadataValue<Ascii>>()
            && !self.database.is_empty()
        {
            metadata.insert("dbname", database);
        }
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER);
        let answer = self.runtime.block_on(async {
            grpc.ready().await.map_err(|error| tonic::Status::from_error(error.into()))?;
            grpc.unary(request, path, ProstCodec::<Q, A>::default()).await
        })?;
        self.reached.store(true, Ordering::Relaxed);
        Ok(answer.into_inner())
    }

    /// What a failure on the way means, and whether it may pass.
    fn broken(&self, status: &tonic::Status) -> (String, bool) {
        let mut text = status.message().to_owned();
        let mut cause = std::error::Error::source(status);
        // What tonic says first tells nothing; a failure that has a cause happened on this side.
        let lost = cause.is_some() || status.code() == Code::Unavailable;
        while let Some(error) = cause {
            // Writing to a text can't fail.
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        let again = lost && self.reached.load(Ordering::Relaxed);
        match lost {
            true => (format!("the server can't be reached ({text})"), again),
            false => (format!("the server refuses ({:?}: {text})", status.code()), false),
        }
    }
}

enum Judged {
    NotFound,
    NotLoaded,
    Failed { reason: String, again: bool },
}

/// The answer, unless it says that the request failed.
fn judged<A: Answer>(answer: A) -> Result<A, Judged> {
    let Some(Status { error_code, reason, code, retriable }) = answer.status() else {
        return Ok(answer);
    };
    if (*code, *error_code) == (0, 0) {
        return Ok(answer);
    }
    if *code == NOT_FOUND.0 || *error_code == NOT_FOUND.1 {
        return Err(Judged::NotFound);
    }
    if [*code, *error_code].contains(&NOT_LOADED) {
        return Err(Judged::NotLoaded);
    }
    // Servers that come back say so in different words.
    let words = ["not ready", "not available", "no available", "not fully loaded"];
    let again = *retriable || words.iter().any(|words| reason.contains(words));
    Err(Judged::Failed { reason: reason.clone(), again })
}
