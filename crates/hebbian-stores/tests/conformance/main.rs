//! One suite over all stores: a gallery, PostgreSQL with pgvector, Milvus.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod places;
mod servers;
mod suite;

use places::{Galleries, Served};
use servers::{Kind, Server};

#[test]
fn gallery() {
    suite::run(&Galleries::new());
}

#[test]
fn postgres() {
    let Some(server) = Server::start(Kind::Postgres) else { return };
    suite::run(&Served::new(server));
}

#[test]
fn milvus_lite() {
    let Some(server) = Server::start(Kind::MilvusLite) else { return };
    suite::run(&Served::new(server));
}
