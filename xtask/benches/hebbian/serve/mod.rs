//! Search over HTTP under load: `hebb serve` in a process of its own, clients in this one.

mod client;
mod server;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use hebbian_data::Size;
use hebbian_search::{Gallery, Vectors};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Bench;
use crate::input::Input;
use crate::machine::GemmRates;
use crate::report::{Section, Table, mib, ms};
use client::Seen;
use server::Server;

const CIFAR: &str = "../shared/data/cifar-10-jpeg/train.tar";
const SAMPLE: &str = "crates/hebb/sample/fashion-mnist";
/// Different images that are sent.
const QUERIES: usize = 500;
/// Neighbours asked for.
const K: usize = 20;
/// Clients that the server has places for, and more than that.
const CLIENTS: usize = 32;
const CROWD: usize = 200;

/// One load.
#[derive(Serialize)]
struct Row {
    what: &'static str,
    clients: usize,
    seconds: u64,
    seen: Seen,
    median_seconds: f64,
    p99_seconds: f64,
    longest_seconds: f64,
    /// Of the server, each second; in MiB.
    memory_mib: Vec<f64>,
}

/// Loads of one server, one after the other.
pub(crate) struct Serving {
    gallery: String,
    rows: Vec<Row>,
}

/// Loads a server for `seconds` with uploads, then less long otherwise.
///
/// # Errors
/// If the program can't be built or started, or if anything but the statuses 200 and 429 comes
/// back, or 429 where there are no more clients than places.
pub(crate) fn measure(bench: &Bench, root: &Path, seconds: u64) -> Result<Serving> {
    let cifar = root.join(CIFAR);
    let (name, data) = match cifar.exists() {
        true => ("cifar-10", cifar),
        false => ("fashion-mnist", root.join(SAMPLE)),
    };
    let hebb = server::program(root)?;
    // Kept: making it takes longer than the measurement.
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("serve-{name}"));
    let folder = server::gallery(&hebb, &data, &made)?;
    let gallery = Gallery::open(&folder)?;
    let server = Server::start(&hebb, &folder, bench.scratch.path())?;

    let input = Input::open(root, Size::square(32), QUERIES)?;
    let post = |body: &[u8]| {
        let head = format!(
            "POST /api/search?k={K} HTTP/1.1\r\nHost: {}\r\nContent-Type: image/jpeg\r\n\
             Content-Length: {}\r\n\r\n",
            server.address,
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let uploads: Vec<Vec<u8>> = (0..input.images.len())
        .map(|i| Ok(post(&input.images.encoded(i)?)))
        .collect::<Result<_>>()?;
    let step = (gallery.len() / QUERIES).max(1);
    let ids = gallery.items().step_by(step).map(|item| {
        let id: String = item.id.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/api/search?k={K}&id={id}");
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).into_bytes()
    });
    let ids: Vec<Vec<u8>> = ids.collect();

    let mut found = Serving {
        gallery: format!(
            "{} x {} ({}, {name})",
            gallery.len(),
            gallery.dim(),
            gallery.info().layer
        ),
        rows: Vec::new(),
    };
    for (what, requests, clients, seconds) in [
        ("uploads, warming up", &uploads, CLIENTS, 3),
        ("uploads", &uploads, CLIENTS, seconds),
        ("more like this", &ids, CLIENTS, (seconds / 4).max(1)),
        ("uploads by a crowd", &uploads, CROWD, (seconds / 4).max(1)),
        ("one upload at a time", &uploads, 1, (seconds / 8).max(1)),
    ] {
        eprintln!("{what}: {clients} clients, {seconds} s");
        let (seen, memory_mib) =
            server.watch(|| client::ask(&server.address, requests, clients, seconds));
        let failure = seen.failure.as_deref().unwrap_or("a client panicked");
        ensure!(seen.failed == 0, "{what}: {} requests failed, the first: {failure}", seen.failed);
        let fits = clients <= CLIENTS;
        ensure!(!fits || seen.busy == 0, "{what}: {} requests were sent away", seen.busy);
        let longest_seconds = seen.times.last().copied().context("no answer at all")?;
        let [median_seconds, p99_seconds] = [0.5, 0.99].map(|share| seen.quantile(share));
        let row = Row {
            what,
            clients,
            seconds,
            seen,
            median_seconds,
            p99_seconds,
            longest_seconds,
            memory_mib,
        };
        found.rows.push(row);
    }
    Ok(found)
}

impl Section for Serving {
    fn key(&self) -> &'static str {
        "serve"
    }

    fn json(&self, _: &GemmRates) -> Result<Value> {
        Ok(json!({ "gallery": self.gallery, "rows": self.rows }))
    }

    fn page(&self, _: &GemmRates) -> String {
        let head = [
            "load",
            "clients",
            "s",
            "200",
            "429",
            "a second",
            "median ms",
            "p99 ms",
            "longest ms",
            "MiB before",
            "most",
            "after",
        ];
        let mut table = Table::new(1, &head);
        for row in &self.rows {
            let memory = &row.memory_mib;
            let most = memory.iter().copied().reduce(f64::max);
            table.push([
                row.what.to_owned(),
                row.clients.to_string(),
                row.seconds.to_string(),
                row.seen.good.to_string(),
                row.seen.busy.to_string(),
                format!("{:.0}", row.seen.good as f64 / row.seconds as f64),
                ms(row.median_seconds),
                ms(row.p99_seconds),
                ms(row.longest_seconds),
                mib(memory.first().copied()),
                mib(most),
                mib(memory.last().copied()),
            ]);
        }
        format!(
            "## Search over HTTP\n\n\
             - `hebb serve` in a process of its own; clients in another on the same machine, each \
             on one connection, asking again once answered; 0.1 s of rest after status 429\n\
             - gallery: {}; {K} neighbours, exact; an upload is a JPEG file, decoded and put \
             through the network\n\
             - any other status fails the run\n\n{}",
            self.gallery,
            table.to_markdown()
        )
    }
}
