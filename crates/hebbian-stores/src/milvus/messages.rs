//! The few messages of Milvus's protocol that are used here, written by hand so that building
//! needs no compiler of protocol files. Names and numbers are those of `milvus.proto`,
//! `schema.proto` and `common.proto`; fields that are not needed are left out, which the format
//! allows on both sides.

use prost::Message;

/// Kinds of columns.
pub(super) mod data_type {
    pub(in super::super) const INT64: i32 = 5;
    pub(in super::super) const VARCHAR: i32 = 21;
    pub(in super::super) const ARRAY: i32 = 22;
    pub(in super::super) const FLOAT_VECTOR: i32 = 101;
}

/// Reads see everything that was acknowledged before.
pub(super) const STRONG: i32 = 0;
/// The language of search expressions.
pub(super) const BOOLEAN_EXPRESSION: i32 = 1;
/// A collection that can be searched.
pub(super) const LOADED: i32 = 3;

/// What came of a request.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) error_code: i32,
    #[prost(string, tag = "2")]
    pub(super) reason: String,
    #[prost(int32, tag = "3")]
    pub(super) code: i32,
    #[prost(bool, tag = "4")]
    pub(super) retriable: bool,
}

/// An answer, which says what came of the request.
pub(super) trait Answer: Message + Default {
    /// What came of it; absent is well.
    fn status(&self) -> Option<&Status>;
}

impl Answer for Status {
    fn status(&self) -> Option<&Status> {
        Some(self)
    }
}

macro_rules! answers {
    ($($name:ident),*) => {
        $(impl Answer for $name {
            fn status(&self) -> Option<&Status> {
                self.status.as_ref()
            }
        })*
    };
}
answers!(DescribeCollection, DescribeIndex, LoadState, Mutation, QueryResults, SearchResults);

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// Pairs of names and values.
pub(super) fn pairs<const N: usize>(pairs: [(&str, String); N]) -> Vec<KeyValue> {
    pairs.into_iter().map(|(key, value)| KeyValue { key: key.to_owned(), value }).collect()
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FieldSchema {
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(bool, tag = "3")]
    pub(super) is_primary_key: bool,
    #[prost(int32, tag = "5")]
    pub(super) data_type: i32,
    #[prost(message, repeated, tag = "6")]
    pub(super) type_params: Vec<KeyValue>,
    #[prost(int32, tag = "10")]
    pub(super) element_type: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CollectionSchema {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) fields: Vec<FieldSchema>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CreateCollectionRequest {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    /// A [`CollectionSchema`].
    #[prost(bytes = "vec", tag = "4")]
    pub(super) schema: Vec<u8>,
    #[prost(int32, tag = "5")]
    pub(super) shards_num: i32,
    #[prost(int32, tag = "6")]
    pub(super) consistency_level: i32,
    #[prost(message, repeated, tag = "7")]
    pub(super) properties: Vec<KeyValue>,
}

/// What names a collection and asks nothing more: to describe, load, release or drop it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CollectionRequest {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DescribeCollection {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, repeated, tag = "13")]
    pub(super) properties: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LoadStateRequest {
    #[prost(string, tag = "2")]
    pub(super) collection_name: String,
    #[prost(string, tag = "4")]
    pub(super) db_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LoadState {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(int32, tag = "2")]
    pub(super) state: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CreateIndexRequest {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(string, tag = "4")]
    pub(super) field_name: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) extra_params: Vec<KeyValue>,
    #[prost(string, tag = "6")]
    pub(super) index_name: String,
}

/// To describe or drop an index.
#[derive(Clone, PartialEq, Message)]
pub(super) struct IndexRequest {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(string, tag = "4")]
    pub(super) field_name: String,
    #[prost(string, tag = "5")]
    pub(super) index_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct IndexDescription {
    #[prost(message, repeated, tag = "3")]
    pub(super) params: Vec<KeyValue>,
    #[prost(string, tag = "4")]
    pub(super) field_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DescribeIndex {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, repeated, tag = "2")]
    pub(super) index_descriptions: Vec<IndexDescription>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Integers {
    #[prost(int64, repeated, tag = "1")]
    pub(super) data: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Floats {
    #[prost(float, repeated, tag = "1")]
    pub(super) data: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Strings {
    #[prost(string, repeated, tag = "1")]
    pub(super) data: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Arrays {
    #[prost(message, repeated, tag = "1")]
    pub(super) data: Vec<Scalars>,
    #[prost(int32, tag = "2")]
    pub(super) element_type: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Scalars {
    #[prost(oneof = "ScalarData", tags = "3, 6, 8")]
    pub(super) data: Option<ScalarData>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum ScalarData {
    #[prost(message, tag = "3")]
    Integers(Integers),
    #[prost(message, tag = "6")]
    Strings(Strings),
    #[prost(message, tag = "8")]
    Arrays(Arrays),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Vectors {
    #[prost(int64, tag = "1")]
    pub(super) dim: i64,
    #[prost(message, optional, tag = "2")]
    pub(super) floats: Option<Floats>,
}

/// A column of rows that are written or were read.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Column {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(string, tag = "2")]
    pub(super) field_name: String,
    #[prost(oneof = "ColumnData", tags = "3, 4")]
    pub(super) data: Option<ColumnData>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum ColumnData {
    #[prost(message, tag = "3")]
    Scalars(Scalars),
    #[prost(message, tag = "4")]
    Vectors(Vectors),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct UpsertRequest {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) fields_data: Vec<Column>,
    #[prost(uint32, tag = "7")]
    pub(super) num_rows: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeleteRequest {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(string, tag = "5")]
    pub(super) expr: String,
    #[prost(int32, tag = "7")]
    pub(super) consistency_level: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Mutation {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    /// Rows that were refused.
    #[prost(uint32, repeated, tag = "4")]
    pub(super) err_index: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct QueryRequest {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(string, tag = "4")]
    pub(super) expr: String,
    #[prost(string, repeated, tag = "5")]
    pub(super) output_fields: Vec<String>,
    #[prost(int32, tag = "11")]
    pub(super) consistency_level: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct QueryResults {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, repeated, tag = "2")]
    pub(super) fields_data: Vec<Column>,
}

/// Query vectors of a search.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Placeholders {
    #[prost(message, repeated, tag = "1")]
    pub(super) placeholders: Vec<Placeholder>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Placeholder {
    #[prost(string, tag = "1")]
    pub(super) tag: String,
    #[prost(int32, tag = "2")]
    pub(super) kind: i32,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(super) values: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SearchRequest {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(string, tag = "5")]
    pub(super) dsl: String,
    /// [`Placeholders`].
    #[prost(bytes = "vec", tag = "6")]
    pub(super) placeholder_group: Vec<u8>,
    #[prost(int32, tag = "7")]
    pub(super) dsl_type: i32,
    #[prost(message, repeated, tag = "9")]
    pub(super) search_params: Vec<KeyValue>,
    #[prost(int64, tag = "12")]
    pub(super) nq: i64,
    #[prost(int32, tag = "14")]
    pub(super) consistency_level: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Ids {
    #[prost(message, optional, tag = "2")]
    pub(super) strings: Option<Strings>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Hits {
    #[prost(message, optional, tag = "5")]
    pub(super) ids: Option<Ids>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SearchResults {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    pub(super) results: Option<Hits>,
}
