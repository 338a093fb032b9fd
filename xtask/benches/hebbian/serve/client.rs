//! A client that keeps its connection and asks as fast as it is answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// Time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time that a client waits once it was told that the server is busy.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection to the server.
struct Connection {
    reader: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Connection {
    fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream), body: Vec::new() })
    }

    /// The status of the answer to a whole request.
    fn ask(&mut self, request: &[u8]) -> Result<u16> {
        self.reader.get_mut().write_all(request)?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("no answer but {line:?}"))?;
        let mut length = None;
        loop {
            line.clear();
            if self.reader.read_line(&mut line)? == 0 {
                bail!("the answer ends in its headers");
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = Some(value.trim().parse()?);
                }
                Some(_) => {}
                None => break,
            }
        }
        self.body.resize(length.context("an answer without a length")?, 0);
        self.reader.read_exact(&mut self.body)?;
        Ok(status)
    }
}

/// What clients saw.
#[derive(Default, Serialize)]
pub(super) struct Seen {
    /// Answers with status 200.
    pub(super) good: usize,
    /// Answers with status 429: come back later.
    pub(super) busy: usize,
    /// All others, and connections that failed.
    pub(super) failed: usize,
    /// The first of these.
    pub(super) failure: Option<String>,
    /// Times of the good ones, in seconds, ascending.
    #[serde(skip)]
    pub(super) times: Vec<f64>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.good += other.good;
        self.busy += other.busy;
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
        self.times.extend(other.times);
    }

    /// The time that a share of the good answers took at most.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let last = self.times.len().saturating_sub(1);
        self.times.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
    }
}

/// Asks `requests` in turn, each of `clients` from another on, until `seconds` are over.
pub(super) fn ask(address: &str, requests: &[Vec<u8>], clients: usize, seconds: u64) -> Seen {
    let until = Instant::now() + Duration::from_secs(seconds);
    let client = |first: usize| {
        let mut seen = Seen::default();
        let mut connection = None;
        for request in requests.iter().cycle().skip(first * 7 % requests.len()) {
            if Instant::now() >= until {
                break;
            }
            let begun = Instant::now();
            let answered = match &mut connection {
                Some(connection) => Connection::ask(connection, request),
                none => Connection::open(address).and_then(|new| none.insert(new).ask(request)),
            };
            match answered {
                Ok(200) => {
                    seen.good += 1;
                    seen.times.push(begun.elapsed().as_secs_f64());
                }
                Ok(429) => {
                    seen.busy += 1;
                    std::thread::sleep(PAUSE);
                }
                other => {
                    seen.failed += 1;
                    let failure =
                        other.map_or_else(|error| format!("{error:#}"), |n| n.to_string());
                    seen.failure.get_or_insert(failure);
                    connection = None;
                }
            }
        }
        seen
    };
    let mut all = Seen::default();
    std::thread::scope(|scope| {
        let client = &client;
        let clients: Vec<_> = (0..clients).map(|i| scope.spawn(move || client(i))).collect();
        for client in clients {
            match client.join() {
                Ok(seen) => all.add(seen),
                Err(_) => all.failed += 1,
            }
        }
    });
    all.times.sort_by(f64::total_cmp);
    all
}
