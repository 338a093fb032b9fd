//! `hebb serve` under hostile requests: no crash, no failure of the server's own, nothing left
//! behind, memory bounded. `HEBB_UPLOADS=10000` asks for more of them than in everyday tests.
#![allow(clippy::unwrap_used, reason = "a test")]

mod cases;
#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cases::{Case, Cases};
use common::served::{Served, read};
use common::{at, files_in, number, ok, scratch};
use hebbian::memory::status_mib;

const UPLOADS: usize = 500;
const CLIENTS: usize = 8;
/// Most memory that the server may ever have had, in MiB: two images of 64 megapixels in the
/// making, four bytes a pixel and three, and what it needs by itself.
const MEMORY: usize = 1200;

/// The status that came back, if one did.
fn send(address: &str, case: &Case) -> Option<u16> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    for part in &case.parts {
        // A server that refuses early does not read the rest.
        if stream.write_all(part).is_err() {
            break;
        }
        std::thread::sleep(case.pause);
    }
    if case.leaves {
        let _ = stream.shutdown(Shutdown::Both);
        return None;
    }
    // What is no request has an end at least.
    if !case.answered {
        let _ = stream.shutdown(Shutdown::Write);
    }
    read(&mut stream).map(|(status, _)| status)
}

#[test]
fn hostile_uploads_break_nothing_and_leave_nothing() {
    let dir = scratch(4);
    let (photos, run, gallery) = (at(&dir, "photos"), at(&dir, "run"), at(&dir, "gallery"));
    ok(&["pretrain", &photos, "--network", &at(&dir, "small.toml"), "--out", &run]);
    ok(&["index", &photos, "--model", &run, "--out", &gallery]);
    let place = tempfile::tempdir().unwrap();
    let errors = std::fs::File::create(dir.path().join("errors")).unwrap();
    let mut served = Served::start(&[&gallery], |command| {
        command.current_dir(place.path()).env("TMPDIR", place.path()).stderr(errors);
    });
    let before = files_in(dir.path());

    let real = std::fs::read(Path::new(&photos).join("8/000.png")).unwrap();
    let cases = Cases::new(&served.address, &image::load_from_memory(&real).unwrap());
    let (wanted, next) = (number("HEBB_UPLOADS", UPLOADS), AtomicUsize::new(0));
    let statuses = Mutex::new(BTreeMap::<(&str, Option<u16>), usize>::new());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= wanted {
                        break;
                    }
                    let case = cases.case(index as u64);
                    let status = send(&served.address, &case);
                    let what = case.what;
                    assert!(
                        status.is_none_or(|status| status < 500),
                        "{index}, {what}: {status:?}"
                    );
                    let missing = case.answered && !case.leaves && status.is_none();
                    assert!(!missing, "{index}, {what}: no answer");
                    *statuses.lock().unwrap().entry((what, status)).or_default() += 1;
                }
            });
        }
    });
    for ((what, status), count) in statuses.into_inner().unwrap() {
        println!("{what}: {count} x {}", status.map_or("gone".into(), |status| status.to_string()));
    }

    assert!(served.runs(), "it crashed");
    let found = served.json("POST /api/search?k=1", &real);
    assert_eq!(found["hits"][0]["id"], "8/000.png", "it still finds");
    let (_, metrics) = served.ask("GET /metrics", "text/plain", b"");
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(metrics.contains("hebb_in_flight 1\n"), "a request goes on for ever: {metrics}");
    assert!(!metrics.contains("status=\"5"), "{metrics}");
    assert_eq!(files_in(dir.path()), before, "a file was left");
    assert_eq!(files_in(place.path()), Vec::<std::path::PathBuf>::new(), "a file was left");
    let said = std::fs::read_to_string(dir.path().join("errors")).unwrap();
    println!("{wanted} requests; {} panics of decoders, stopped", said.matches("panicked").count());
    if let Some(peak) = peak_mib(served.id()) {
        println!("at most {peak} MiB of memory");
        assert!(peak < MEMORY, "{peak} MiB");
    }
}

/// The most memory that a process has had, in MiB, where the system tells.
fn peak_mib(id: u32) -> Option<usize> {
    status_mib(id, "VmHWM").map(|mib| mib as usize)
}
