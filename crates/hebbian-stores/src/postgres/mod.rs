//! A table of PostgreSQL, with vectors as pgvector has them.
//!
//! | column | content |
//! |---|---|
//! | `key` | BLAKE3 of the id, the primary key |
//! | `id`, `label`, `location`, `content` | the item |
//! | `digest` | BLAKE3 of item and vector |
//! | `position` | its place in the store's order |
//! | `vector` | the vector |
//!
//! What the vectors are is in the table's comment. An exact search computes all distances; an
//! approximate one goes through an HNSW index, if there is one.

mod connections;
mod filter;
mod vector;
mod writer;

use hebbian_search::{Error, Filter, GalleryInfo, Item, Result};
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use postgres::{GenericClient, Row};

use crate::address::Address;
use crate::backend::{Backend, BackendWriter, Candidates, Index};
use crate::description::{describe, understand};
use crate::ranking::Ranked;
use crate::record::{Entry, Key, Stored, hash};
use connections::{Connections, failure};
use filter::Condition;
use vector::{Received, Sent};

/// Most dimensions of pgvector's type.
const MAX_DIM: usize = 16_000;
/// Most dimensions that pgvector builds an HNSW index for.
const MAX_INDEXED_DIM: usize = 2_000;
/// pgvector's most candidates of a walk through the index, and the least here.
const EF_SEARCH: std::ops::RangeInclusive<usize> = 64..=1_000;
/// The columns, in the order that [`stored`] takes them.
const COLUMNS: &str = "key, id, label, location, content, position, vector";

/// A table.
struct Table {
    connections: Connections,
    /// Its name in quotes.
    table: String,
    info: GalleryInfo,
}

type Opened = (GalleryInfo, Box<dyn Backend>);

/// Opens the table, if there is one.
pub(crate) fn open(address: &Address) -> Result<Option<Opened>> {
    let connections = Connections::new(address)?;
    let table = quoted(&address.name);
    let name = address.display();
    let found = connections.once(|client| {
        let sql = "SELECT obj_description(class, 'pg_class') FROM (SELECT to_regclass($1)::oid) AS \
                   found (class) WHERE class IS NOT NULL";
        client.query_opt(sql, &[&table])
    })?;
    let Some(row) = found else { return Ok(None) };
    let description: Option<String> = row.get(0);
    let info = understand(description.as_deref().unwrap_or_default(), &name)?;
    let table = Table { connections, table, info: info.clone() };
    Ok(Some((info, Box::new(table))))
}

/// Makes the table.
pub(crate) fn create(address: &Address, info: &GalleryInfo) -> Result<Box<dyn Backend>> {
    if info.dim > MAX_DIM {
        let rule = "PostgreSQL with pgvector holds at most 16000 dimensions";
        return Err(Error::Option { option: "dim", value: info.dim, rule });
    }
    let connections = Connections::new(address)?;
    let table = quoted(&address.name);
    let comment = describe(info)?.replace('\'', "''");
    let sql = format!(
        "CREATE TABLE {table} (
            key bytea PRIMARY KEY,
            id text COLLATE \"C\" NOT NULL,
            label text COLLATE \"C\",
            location text COLLATE \"C\",
            content bytea,
            digest bytea NOT NULL,
            position bigint NOT NULL,
            vector vector({}) NOT NULL
        );
        COMMENT ON TABLE {table} IS E'{}'",
        info.dim,
        comment.replace('\\', "\\\\")
    );
    let encoding = connections.once(|client| client.query_one("SHOW server_encoding", &[]))?;
    let encoding: String = encoding.get(0);
    if encoding != "UTF8" {
        let problem = format!("the database's encoding is {encoding}; make one with UTF8");
        return Err(Error::Server { store: address.display(), problem });
    }
    // Two that begin at once may both try, after which it is there.
    let extension = "CREATE EXTENSION IF NOT EXISTS vector";
    let _ = connections.once(|client| client.batch_execute(extension));
    connections.once(|client| {
        let mut transaction = client.transaction()?;
        transaction.batch_execute(&sql)?;
        transaction.commit()
    })?;
    Ok(Box::new(Table { connections, table, info: info.clone() }))
}

/// The name as PostgreSQL takes it literally; it holds no quotes.
fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// Takes a row of [`COLUMNS`].
fn stored(row: &Row, dim: usize, name: &str) -> Result<Stored> {
    let wrong = |error| failure(name, &error);
    let key: Vec<u8> = row.try_get(0).map_err(wrong)?;
    let content: Option<Vec<u8>> = row.try_get(4).map_err(wrong)?;
    let item = Item {
        id: row.try_get(1).map_err(wrong)?,
        label: row.try_get(2).map_err(wrong)?,
        location: row.try_get(3).map_err(wrong)?,
        content: content.map(|content| hash(&content, name)).transpose()?,
    };
    let Received(vector) = row.try_get(6).map_err(wrong)?;
    Stored { item, vector, position: row.try_get(5).map_err(wrong)? }.checked(&key, dim, name)
}

impl Table {
    fn name(&self) -> &str {
        self.connections.name()
    }

    /// Runs a query and hands its rows on as they come.
    fn each(
        &self,
        client: &mut impl GenericClient,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        visit: &mut dyn FnMut(&Row) -> Result<()>,
    ) -> Result<(), Interrupted> {
        let mut rows = client.query_raw(sql, parameters.iter().copied())?;
        while let Some(row) = rows.next()? {
            visit(&row)?;
        }
        Ok(())
    }

    fn indexed(&self, client: &mut impl GenericClient) -> Result<bool, postgres::Error> {
        let sql = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN \
                   pg_am a ON a.oid = c.relam WHERE i.indrelid = to_regclass($1) AND i.indisvalid \
                   AND a.amname = 'hnsw'";
        let count: i64 = client.query_one(sql, &[&self.table])?.get(0);
        Ok(count > 0)
    }

    fn index_name(&self) -> String {
        format!("{}_hnsw\"", self.table.trim_end_matches('"'))
    }
}

/// Why rows stopped coming.
enum Interrupted {
    Server(postgres::Error),
    /// Whoever took the rows has failed.
    Taker(Error),
}

impl From<postgres::Error> for Interrupted {
    fn from(error: postgres::Error) -> Self {
        Self::Server(error)
    }
}

impl From<Error> for Interrupted {
    fn from(error: Error) -> Self {
        Self::Taker(error)
    }
}

impl Backend for Table {
    fn count(&self) -> Result<usize> {
        let sql = format!("SELECT count(*) FROM {}", self.table);
        let count: i64 = self.connections.run(|client| client.query_one(&sql, &[]))?.get(0);
        Ok(usize::try_from(count).unwrap_or_default())
    }

    fn fetch(&self, key: &Key) -> Result<Option<Stored>> {
        let sql = format!("SELECT {COLUMNS} FROM {} WHERE key = $1", self.table);
        let row = self.connections.run(|client| client.query_opt(&sql, &[&key.as_slice()]))?;
        row.map(|row| stored(&row, self.info.dim, self.name())).transpose()
    }

    fn candidates(
        &self,
        query: &[f32],
        limit: usize,
        filter: &Filter,
        approximate: bool,
    ) -> Result<Option<Candidates>> {
        let (sent, most) = (Sent(query), limit as i64);
        let condition = Condition::of(filter, 3);
        let parameters = condition.after(&[&sent, &most]);
        // The index belongs to the operator, so that a search through the function is exact.
        let order = match approximate {
            true => "vector <-> $1",
            false => "l2_distance(vector, $1)",
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM {} {} ORDER BY {order} LIMIT $2",
            self.table,
            condition.sql()
        );
        let found = self.connections.stream(|client| {
            let mut found = Vec::new();
            let mut transaction = client.transaction()?;
            if approximate {
                let breadth = limit.clamp(*EF_SEARCH.start(), *EF_SEARCH.end());
                transaction.batch_execute(&format!(
                    "SET LOCAL hnsw.ef_search = {breadth}; \
                     SET LOCAL hnsw.iterative_scan = relaxed_order"
                ))?;
            }
            self.each(&mut transaction, &sql, &parameters, &mut |row| {
                let stored = stored(row, self.info.dim, self.name())?;
                found.push(Ranked::of(query, stored));
                Ok(())
            })?;
            transaction.commit()?;
            Ok(found)
        })?;
        let more = found.len() >= limit;
        Ok(Some(Candidates { found, more }))
    }

    fn scan(&self, filter: &Filter, visit: &mut dyn FnMut(&Stored) -> Result<()>) -> Result<()> {
        let condition = Condition::of(filter, 1);
        let sql = format!("SELECT {COLUMNS} FROM {} {}", self.table, condition.sql());
        self.connections.stream_once(|client| {
            self.each(client, &sql, &condition.after(&[]), &mut |row| {
                visit(&stored(row, self.info.dim, self.name())?)
            })
        })
    }

    fn entries(&self, visit: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        let sql = format!("SELECT key, digest, position FROM {}", self.table);
        let name = self.name();
        let wrong = |error| failure(name, &error);
        self.connections.stream_once(|client| {
            self.each(client, &sql, &[], &mut |row| {
                let key: &[u8] = row.try_get(0).map_err(wrong)?;
                let digest: &[u8] = row.try_get(1).map_err(wrong)?;
                let position = row.try_get(2).map_err(wrong)?;
                visit(Entry { key: hash(key, name)?, digest: hash(digest, name)?, position })
            })
        })
    }

    fn last_position(&self) -> Result<i64> {
        let sql = format!("SELECT coalesce(max(position), -1) FROM {}", self.table);
        Ok(self.connections.run(|client| client.query_one(&sql, &[]))?.get(0))
    }

    fn writer(&self) -> Result<Box<dyn BackendWriter + '_>> {
        Ok(Box::new(writer::Writer::new(self)))
    }

    fn index(&self) -> Result<Index> {
        Ok(match self.connections.run(|client| self.indexed(client))? {
            true => Index::Hnsw,
            false => Index::Exact,
        })
    }

    fn set_index(&self, index: Index) -> Result<()> {
        if index == Index::Hnsw && self.info.dim > MAX_INDEXED_DIM {
            let problem = format!(
                "pgvector builds an HNSW index for at most {MAX_INDEXED_DIM} dimensions, and these \
                 vectors have {}; search exactly, or push to Milvus",
                self.info.dim
            );
            return Err(Error::Server { store: self.name().to_owned(), problem });
        }
        let (name, table) = (self.index_name(), &self.table);
        let sql = match index {
            Index::Exact => format!("DROP INDEX IF EXISTS {name}"),
            Index::Hnsw => format!(
                "CREATE INDEX IF NOT EXISTS {name} ON {table} USING hnsw (vector vector_l2_ops)"
            ),
        };
        self.connections.once(|client| client.batch_execute(&sql))
    }

    fn remove(&self) -> Result<()> {
        let sql = format!("DROP TABLE IF EXISTS {}", self.table);
        self.connections.once(|client| client.batch_execute(&sql))
    }
}
