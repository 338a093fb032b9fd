//! A collection of Milvus.
//!
//! | field | content |
//! |---|---|
//! | `key` | BLAKE3 of the id in hexadecimal, the primary key |
//! | `id` | the item's id |
//! | `about` | its label, location and content hash as JSON |
//! | `tags` | hashes of its label and of the folders it is in, to filter by |
//! | `digest` | BLAKE3 of item and vector in hexadecimal |
//! | `position` | its place in the store's order |
//! | `vector` | the vector |
//!
//! What the vectors are is in the collection's property `hebb`. A collection has one index: `FLAT`
//! compares with every vector; with `HNSW`, exact searches read all vectors instead, since the
//! server can't make them. All expressions that the server is sent are made of hexadecimal digits,
//! so that nothing in an id or label can mean anything in them.

mod client;
mod columns;
mod fields;
mod index;
mod messages;
mod tags;
mod writer;

use hebbian_search::{Error, Filter, GalleryInfo, Result};
use prost::Message;

use crate::address::Address;
use crate::backend::{Backend, BackendWriter, Candidates, Index};
use crate::description::{describe, understand};
use crate::ranking::Ranked;
use crate::record::{Entry, Key, Stored};
use client::{Client, Refusal};
use columns::{ENTRY, FULL, Table, hex};
use fields::fields;
use messages::{
    Answer, BOOLEAN_EXPRESSION, CollectionRequest, CollectionSchema, CreateCollectionRequest,
    DescribeCollection, Placeholder, Placeholders, QueryRequest, QueryResults, STRONG,
    SearchRequest, SearchResults, Status, data_type, pairs,
};
use tags::Expression;

/// Most dimensions of a vector, and most results of a search.
const MAX_DIM: usize = 32_768;
const MAX_RESULTS: usize = 16_384;
/// The collection's property that says what it holds.
const PROPERTY: &str = "hebb";
/// Bytes of rows that are read at once, and most rows.
const BLOCK_BYTES: usize = 4 << 20;
const BLOCK_ROWS: usize = 1_024;
/// Most slices that a collection is read in.
const MAX_SLICES: usize = 1 << 24;
/// Bytes of an item besides its vector, more or less.
const ITEM_BYTES: usize = 512;

/// A collection.
struct Collection {
    client: Client,
    collection: String,
    info: GalleryInfo,
}

/// Opens the collection, if there is one.
pub(crate) fn open(address: &Address) -> Result<Option<(GalleryInfo, Box<dyn Backend>)>> {
    let client = Client::new(address)?;
    let collection = address.name.clone();
    let request =
        CollectionRequest { db_name: client.database(), collection_name: collection.clone() };
    let found: DescribeCollection = match client.ask("DescribeCollection", &request) {
        Ok(found) => found,
        Err(Refusal::NotFound) => return Ok(None),
        Err(refusal) => return Err(client.failure(refusal)),
    };
    let property = found.properties.into_iter().find(|property| property.key == PROPERTY);
    let text = property.map(|property| property.value).unwrap_or_default();
    let info = understand(&text, client.name())?;
    let opened = Collection { client, collection, info: info.clone() };
    opened.make_ready()?;
    Ok(Some((info, Box::new(opened))))
}

/// Makes the collection.
pub(crate) fn create(address: &Address, info: &GalleryInfo) -> Result<Box<dyn Backend>> {
    if info.dim > MAX_DIM {
        let rule = "Milvus holds at most 32768 dimensions";
        return Err(Error::Option { option: "dim", value: info.dim, rule });
    }
    if open(address)?.is_some() {
        return Err(Error::Exists { path: address.display().into() });
    }
    let client = Client::new(address)?;
    let collection = address.name.clone();
    let schema = CollectionSchema { name: collection.clone(), fields: fields(info.dim) };
    let request = CreateCollectionRequest {
        db_name: client.database(),
        collection_name: collection.clone(),
        schema: schema.encode_to_vec(),
        shards_num: 1,
        consistency_level: STRONG,
        properties: pairs([(PROPERTY, describe(info)?)]),
    };
    let _: Status = client.call("CreateCollection", &request)?;
    let made = Collection { client, collection, info: info.clone() };
    made.make_ready()?;
    Ok(Box::new(made))
}

impl Collection {
    fn name(&self) -> &str {
        self.client.name()
    }

    fn request(&self) -> CollectionRequest {
        CollectionRequest {
            db_name: self.client.database(),
            collection_name: self.collection.clone(),
        }
    }

    /// Asks something of the loaded collection.
    fn read<Q, A>(&self, method: &str, request: &Q) -> Result<A>
    where
        Q: Message + Clone + 'static,
        A: Answer + 'static,
    {
        match self.client.ask(method, request) {
            Err(Refusal::NotLoaded) => {
                self.make_ready()?;
                self.client.call(method, request)
            }
            answer => answer.map_err(|refusal| self.client.failure(refusal)),
        }
    }

    /// The rows that `expression` names.
    fn query(&self, expression: String, fields: &[&str]) -> Result<Table> {
        let request = QueryRequest {
            db_name: self.client.database(),
            collection_name: self.collection.clone(),
            expr: expression,
            output_fields: fields.iter().map(|&field| field.to_owned()).collect(),
            consistency_level: STRONG,
        };
        let answer: QueryResults = self.read("Query", &request)?;
        Ok(Table::new(answer.fields_data, self.info.dim, self.name()))
    }

    /// Hands the rows of these keys, as far as they are there, to `visit`.
    fn fetch_all(
        &self,
        keys: &[String],
        visit: &mut dyn FnMut(&Stored) -> Result<()>,
    ) -> Result<()> {
        for keys in keys.chunks(self.rows_at_once()) {
            let rows = self.query(one_of(keys), &FULL)?.stored()?;
            rows.iter().try_for_each(&mut *visit)?;
        }
        Ok(())
    }

    fn rows_at_once(&self) -> usize {
        (BLOCK_BYTES / (4 * self.info.dim + ITEM_BYTES)).clamp(1, BLOCK_ROWS)
    }

    /// Goes through the collection in slices of about `rows` rows: keys are spread evenly, so that
    /// a share of all possible keys is a share of the rows.
    fn slices(
        &self,
        rows: usize,
        expression: &str,
        fields: &[&str],
        visit: &mut dyn FnMut(Table) -> Result<()>,
    ) -> Result<()> {
        // However many the server says.
        let slices = (self.count()? / rows).min(MAX_SLICES) as u64 + 1;
        let bound = |slice: u64| format!("\"{:08x}\"", (slice << 32) / slices);
        for slice in 0..slices {
            let mut within = format!("key >= {}", bound(slice));
            if slice + 1 < slices {
                within += &format!(" and key < {}", bound(slice + 1));
            }
            if !expression.is_empty() {
                within += &format!(" and {expression}");
            }
            visit(self.query(within, fields)?)?;
        }
        Ok(())
    }
}

/// The rows of these keys.
fn one_of(keys: &[String]) -> String {
    format!("key in [\"{}\"]", keys.join("\",\""))
}

impl Backend for Collection {
    fn count(&self) -> Result<usize> {
        self.query(String::new(), &["count(*)"])?.count()
    }

    fn fetch(&self, key: &Key) -> Result<Option<Stored>> {
        Ok(self.query(one_of(&[hex(key)]), &FULL)?.stored()?.pop())
    }

    fn candidates(
        &self,
        query: &[f32],
        limit: usize,
        filter: &Filter,
        approximate: bool,
    ) -> Result<Option<Candidates>> {
        let expression = Expression::of(filter);
        let served = || Ok::<_, Error>(approximate || self.found_index()? == Some(Index::Exact));
        if !expression.exact || limit > MAX_RESULTS || !served()? {
            return Ok(None);
        }
        let placeholder = Placeholder {
            tag: "$0".to_owned(),
            kind: data_type::FLOAT_VECTOR,
            values: vec![query.iter().flat_map(|value| value.to_le_bytes()).collect()],
        };
        let parameters = match approximate {
            true => format!("{{\"ef\":{}}}", limit.saturating_mul(2).clamp(64, 32_768)),
            false => "{}".to_owned(),
        };
        let request = SearchRequest {
            db_name: self.client.database(),
            collection_name: self.collection.clone(),
            dsl: expression.text.clone(),
            placeholder_group: Placeholders { placeholders: vec![placeholder] }.encode_to_vec(),
            dsl_type: BOOLEAN_EXPRESSION,
            search_params: pairs([
                ("anns_field", "vector".to_owned()),
                ("topk", limit.to_string()),
                ("metric_type", "L2".to_owned()),
                ("params", parameters),
                ("round_decimal", "-1".to_owned()),
            ]),
            nq: 1,
            consistency_level: STRONG,
        };
        let answer: SearchResults = self.read("Search", &request)?;
        let ids = answer.results.and_then(|hits| hits.ids).and_then(|ids| ids.strings);
        let mut keys = ids.map(|ids| ids.data).unwrap_or_default();
        if keys.len() > limit || !keys.iter().all(|key| columns::is_key(key)) {
            let problem = "Milvus answers what was not asked for";
            return Err(self.client.error(problem.to_owned()));
        }
        let more = keys.len() == limit;
        // Distances beyond single precision are not found by the engine at all.
        if !more && !approximate {
            let passing = self.query(expression.text, &["count(*)"])?.count()?;
            if keys.len() < passing {
                return Ok(None);
            }
        }
        keys.sort_unstable();
        keys.dedup();
        let mut found = Vec::with_capacity(keys.len());
        self.fetch_all(&keys, &mut |stored| {
            found.push(Ranked::of(query, stored.clone()));
            Ok(())
        })?;
        Ok(Some(Candidates { found, more }))
    }

    fn scan(&self, filter: &Filter, visit: &mut dyn FnMut(&Stored) -> Result<()>) -> Result<()> {
        let expression = Expression::of(filter);
        if expression.exact {
            return self.slices(self.rows_at_once(), &expression.text, &FULL, &mut |table| {
                table.stored()?.iter().try_for_each(&mut *visit)
            });
        }
        // Ids first, vectors only of what passes.
        self.slices(BLOCK_ROWS, &expression.text, &["key", "id"], &mut |table| {
            let ids = table.ids()?.into_iter();
            let passing = ids.filter(|(_, id)| filter.paths.iter().any(|path| path.matches(id)));
            let keys: Vec<String> = passing.map(|(key, _)| key).collect();
            self.fetch_all(&keys, &mut *visit)
        })
    }

    fn entries(&self, visit: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        self.slices(BLOCK_ROWS, "", &ENTRY, &mut |table| {
            table.entries()?.into_iter().try_for_each(&mut *visit)
        })
    }

    fn writer(&self) -> Result<Box<dyn BackendWriter + '_>> {
        Ok(Box::new(writer::Writer::new(self)))
    }

    fn index(&self) -> Result<Index> {
        Ok(self.found_index()?.unwrap_or(Index::Exact))
    }

    fn set_index(&self, index: Index) -> Result<()> {
        self.rebuild(index)
    }

    fn remove(&self) -> Result<()> {
        let _: Status = self.client.call("DropCollection", &self.request())?;
        Ok(())
    }
}
