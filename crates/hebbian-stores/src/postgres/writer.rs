//! Writing to a table: rows go into a temporary one, and from there in one statement.

use hebbian_search::{Error, Result};
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::Type;
use postgres::{Client, Statement};

use super::Table;
use super::connections::failure;
use super::vector::Sent;
use crate::backend::BackendWriter;
use crate::record::{Key, Row};

/// The temporary table.
const BATCH: &str = "pg_temp.hebb_batch";
/// All columns, in the order of [`Session::put`].
const COLUMNS: &str = "key, id, label, location, content, digest, position, vector";
/// What is different in an item written again.
const UPDATES: &str = "id = excluded.id, label = excluded.label, location = excluded.location, \
                       content = excluded.content, digest = excluded.digest, \
                       position = excluded.position, vector = excluded.vector";

/// One transaction after the other.
pub(super) struct Writer<'a> {
    table: &'a Table,
    session: Option<Session>,
}

/// A connection made ready.
struct Session {
    client: Client,
    /// Whether a transaction is open.
    open: bool,
    types: Vec<Type>,
    insert: Statement,
}

impl<'a> Writer<'a> {
    pub(super) fn new(table: &'a Table) -> Self {
        Self { table, session: None }
    }

    /// Does `work` in the open transaction, or in a new one. After a failure there is none, and
    /// the next one has another connection.
    fn within<T>(
        &mut self,
        work: impl FnOnce(&mut Session) -> Result<T, postgres::Error>,
    ) -> Result<T> {
        let wrong = |error| failure(self.table.name(), &error);
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                let client = self.table.connections.take_live()?;
                Session::new(client, &self.table.table).map_err(wrong)?
            }
        };
        session.begin().map_err(wrong)?;
        let done = work(&mut session).map_err(wrong)?;
        self.session = Some(session);
        Ok(done)
    }
}

impl Session {
    fn new(mut client: Client, table: &str) -> Result<Self, postgres::Error> {
        client.batch_execute(&format!(
            "DROP TABLE IF EXISTS {BATCH}; CREATE TEMPORARY TABLE hebb_batch (LIKE {table})"
        ))?;
        let types = client.prepare(&format!("SELECT {COLUMNS} FROM {BATCH}"))?;
        let types = types.columns().iter().map(|column| column.type_().clone()).collect();
        let insert = client.prepare(&format!(
            "INSERT INTO {table} ({COLUMNS}) SELECT {COLUMNS} FROM {BATCH} \
             ON CONFLICT (key) DO UPDATE SET {UPDATES}"
        ))?;
        Ok(Self { client, open: false, types, insert })
    }

    fn begin(&mut self) -> Result<(), postgres::Error> {
        if !self.open {
            self.client.batch_execute("BEGIN")?;
            self.open = true;
        }
        Ok(())
    }

    fn put(&mut self, rows: &[Row<'_>]) -> Result<(), postgres::Error> {
        self.client.batch_execute(&format!("TRUNCATE {BATCH}"))?;
        let copy = format!("COPY {BATCH} ({COLUMNS}) FROM STDIN BINARY");
        let mut copy = BinaryCopyInWriter::new(self.client.copy_in(&copy)?, &self.types);
        for row in rows {
            let item = row.item;
            copy.write(&[
                &row.key.as_slice(),
                &item.id,
                &item.label,
                &item.location,
                &item.content.as_ref().map(|content| content.as_slice()),
                &row.digest.as_slice(),
                &row.position,
                &Sent(row.vector),
            ])?;
        }
        copy.finish()?;
        self.client.execute(&self.insert, &[]).map(drop)
    }
}

impl BackendWriter for Writer<'_> {
    fn put(&mut self, rows: &[Row<'_>]) -> Result<()> {
        let texts = |row: &Row<'_>| {
            let item = row.item;
            [Some(&item.id), item.label.as_ref(), item.location.as_ref()]
                .into_iter()
                .flatten()
                .any(|text| text.contains('\0'))
        };
        if let Some(row) = rows.iter().find(|row| texts(row)) {
            let problem = format!(
                "PostgreSQL holds no text with a NUL character, as the item {:?} has; rename it",
                row.item.id
            );
            return Err(Error::Server { store: self.table.name().to_owned(), problem });
        }
        self.within(|session| session.put(rows))
    }

    fn delete(&mut self, keys: &[Key]) -> Result<usize> {
        let keys: Vec<&[u8]> = keys.iter().map(Key::as_slice).collect();
        let sql = format!("DELETE FROM {} WHERE key = ANY($1)", self.table.table);
        let deleted = self.within(|session| session.client.execute(&sql, &[&keys]))?;
        Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
    }

    fn commit(&mut self) -> Result<()> {
        // Taken out, so that after a failure there is none.
        let Some(mut session) = self.session.take() else { return Ok(()) };
        if session.open {
            let done = session.client.batch_execute("COMMIT");
            done.map_err(|error| failure(self.table.name(), &error))?;
            session.open = false;
        }
        self.session = Some(session);
        Ok(())
    }
}
