//! The index of a collection, and loading it.

use std::time::{Duration, Instant};

use hebbian_search::Result;

use super::Collection;
use super::messages::{
    CreateIndexRequest, DescribeIndex, IndexRequest, LOADED, LoadState, LoadStateRequest, Status,
    pairs,
};
use crate::backend::Index;

/// Time that a collection may take to be loaded.
const LOADING: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);

impl Collection {
    /// Sees to it that there is an index and that the collection is loaded: whoever made it may
    /// have been stopped in between.
    pub(super) fn make_ready(&self) -> Result<()> {
        if self.found_index()?.is_none() {
            self.build(Index::Exact)?;
        }
        self.load()
    }

    fn load(&self) -> Result<()> {
        let _: Status = self.client.call("LoadCollection", &self.request())?;
        let request = LoadStateRequest {
            collection_name: self.collection.clone(),
            db_name: self.client.database(),
        };
        let start = Instant::now();
        loop {
            let state: LoadState = self.client.call("GetLoadState", &request)?;
            if state.state == LOADED {
                return Ok(());
            }
            if start.elapsed() > LOADING {
                return Err(self.client.error("Milvus did not load the collection".to_owned()));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn build(&self, index: Index) -> Result<()> {
        let (kind, parameters) = match index {
            Index::Exact => ("FLAT", "{}"),
            Index::Hnsw => ("HNSW", r#"{"M":16,"efConstruction":200}"#),
        };
        let request = CreateIndexRequest {
            db_name: self.client.database(),
            collection_name: self.collection.clone(),
            field_name: "vector".to_owned(),
            extra_params: pairs([
                ("index_type", kind.to_owned()),
                ("metric_type", "L2".to_owned()),
                ("params", parameters.to_owned()),
            ]),
            index_name: "vector".to_owned(),
        };
        let _: Status = self.client.call("CreateIndex", &request)?;
        Ok(())
    }

    fn index_request(&self) -> IndexRequest {
        IndexRequest {
            db_name: self.client.database(),
            collection_name: self.collection.clone(),
            field_name: "vector".to_owned(),
            index_name: String::new(),
        }
    }

    pub(super) fn found_index(&self) -> Result<Option<Index>> {
        let answer: Result<DescribeIndex> =
            self.client.call("DescribeIndex", &self.index_request());
        let found = match answer {
            Ok(found) => found.index_descriptions,
            // Milvus has no better way to say that there is none.
            Err(error) if error.to_string().contains("index") => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(found) = found.first() else { return Ok(None) };
        let kind = found.params.iter().find(|parameter| parameter.key == "index_type");
        Ok(Some(match kind.map(|kind| kind.value.as_str()) {
            Some("FLAT") => Index::Exact,
            // Of whatever kind it is, it may miss some.
            _ => Index::Hnsw,
        }))
    }

    /// Replaces the index.
    pub(super) fn rebuild(&self, index: Index) -> Result<()> {
        if self.found_index()? == Some(index) {
            return Ok(());
        }
        let _: Status = self.client.call("ReleaseCollection", &self.request())?;
        let _: Status = self.client.call("DropIndex", &self.index_request())?;
        self.build(index)?;
        self.load()
    }
}
