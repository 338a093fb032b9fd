//! Writing to a collection. What the server has acknowledged is durable and visible, so there is
//! nothing left to be done to commit it.

use hebbian_search::Result;
use prost::Message;

use super::columns::{columns, hex};
use super::messages::{DeleteRequest, Mutation, STRONG, UpsertRequest};
use super::{BLOCK_ROWS, Collection, one_of};
use crate::backend::BackendWriter;
use crate::record::{Key, Row};

/// Bytes of rows sent at once; servers take 64 MiB unless told otherwise.
const SENT_BYTES: usize = 16 << 20;

pub(super) struct Writer<'a> {
    collection: &'a Collection,
}

impl<'a> Writer<'a> {
    pub(super) fn new(collection: &'a Collection) -> Self {
        Self { collection }
    }

    fn send<Q: Message + Clone + 'static>(&self, method: &str, request: &Q) -> Result<()> {
        let client = &self.collection.client;
        let done: Mutation = client.call(method, request)?;
        match done.err_index.len() {
            0 => Ok(()),
            refused => {
                Err(client.error(format!("Milvus refused {refused} items; write them again")))
            }
        }
    }
}

impl BackendWriter for Writer<'_> {
    fn put(&mut self, rows: &[Row<'_>]) -> Result<()> {
        let collection = self.collection;
        let request = UpsertRequest {
            db_name: collection.client.database(),
            collection_name: collection.collection.clone(),
            fields_data: columns(rows)?,
            num_rows: rows.len() as u32,
        };
        if request.encoded_len() > SENT_BYTES && rows.len() > 1 {
            let (first, second) = rows.split_at(rows.len() / 2);
            drop(request);
            self.put(first)?;
            return self.put(second);
        }
        self.send("Upsert", &request)
    }

    fn delete(&mut self, keys: &[Key]) -> Result<usize> {
        let collection = self.collection;
        let keys: Vec<String> = keys.iter().map(hex).collect();
        let mut deleted = 0;
        for keys in keys.chunks(BLOCK_ROWS) {
            // The server counts what it was asked to delete, there or not.
            deleted += collection.query(one_of(keys), &["key", "id"])?.ids()?.len();
            let request = DeleteRequest {
                db_name: collection.client.database(),
                collection_name: collection.collection.clone(),
                expr: one_of(keys),
                consistency_level: STRONG,
            };
            self.send("Delete", &request)?;
        }
        Ok(deleted)
    }

    fn commit(&mut self) -> Result<()> {
        Ok(())
    }
}
