//! How much the server bears: run by hand,
//! `cargo test --release -p hebbian-serve --test load -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::time::{Duration, Instant};

/// Clients that ask one request after the other.
const CLIENTS: usize = 32;
const SECONDS: u64 = 4;

#[test]
#[ignore = "measures; takes some seconds"]
fn searches_by_many_clients() {
    let site = common::Site::new();
    let file = site.photos().images().encoded(0).unwrap().into_owned();
    let until = Instant::now() + Duration::from_secs(SECONDS);
    let client = || {
        let (mut times, mut busy) = (Vec::new(), 0);
        while Instant::now() < until {
            let begun = Instant::now();
            match site.post("/api/search?k=10", "image/png", &file).status {
                200 => times.push(begun.elapsed()),
                429 => busy += 1,
                status => panic!("status {status}"),
            }
        }
        (times, busy)
    };
    let (mut times, mut busy) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        for client in clients {
            let (own, refused) = client.join().unwrap();
            times.extend(own);
            busy += refused;
        }
    });
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let rate = times.len() as f64 / SECONDS as f64;
    println!(
        "{CLIENTS} clients: {rate:.0} uploads/s, median {:.1} ms, p99 {:.1} ms, {busy} refused",
        at(0.5),
        at(0.99)
    );
    assert!(!times.is_empty());
}
