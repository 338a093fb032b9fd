//! One suite over all stores: a gallery, PostgreSQL with pgvector, Milvus.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod failures;
mod places;
mod proxy;
mod servers;
mod suite;
mod tampered;

use std::process::Command;

use places::{Galleries, Served};
use servers::{Kind, Server};

#[test]
fn gallery() {
    suite::run(&Galleries::new(), 1);
}

#[test]
fn postgres() {
    let Some(server) = Server::start(Kind::Postgres) else { return };
    let served = Served::new(server);
    suite::run(&served, 1);
    failures::run(&served);
    tampered::run(&served);
}

#[test]
fn milvus_lite() {
    let Some(server) = Server::start(Kind::MilvusLite) else { return };
    let served = Served::new(server);
    suite::run(&served, 1);
    failures::run(&served);
}

/// The engine itself listens on fixed ports and for everybody, so it runs where there is nobody: in
/// a network of its own, in which the test runs itself again.
#[test]
fn milvus() {
    if std::env::var_os(ALONE).is_some() {
        let Some(server) = Server::start(Kind::Milvus) else { return };
        // It makes every answer wait, and takes minutes to come back after it was killed.
        suite::run(&Served::new(server), 8);
        return;
    }
    let alone = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).output();
    if !alone.is_ok_and(|alone| alone.status.success()) {
        servers::skip("a network of its own needs root, unshare and ip");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let script = "ip link set lo up && exec \"$@\"";
    let mut again = Command::new("unshare");
    again.args(["--net", "sh", "-c", script, "sh"]).arg(this);
    again.args(["milvus", "--exact", "--nocapture"]).env(ALONE, "1");
    assert!(again.status().unwrap().success());
}

/// Set for the test that is alone on its network.
const ALONE: &str = "HEBB_TEST_ALONE";
