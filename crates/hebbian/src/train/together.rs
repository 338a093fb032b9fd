//! What processes that train one network together have to agree on.

use hebbian_data::{Batch, Skipped};

use crate::collective::Group;
use crate::network::Model;
use crate::{Error, Result};

/// How many images of a batch each process could read, by rank; those left out
/// become those of all.
pub(super) fn read_by_all(group: &Group, batch: &mut Batch) -> Result<Vec<usize>> {
    batch.skipped = all_skipped(group, std::mem::take(&mut batch.skipped))?;
    Ok(group.counts(batch.rows.len()))
}

/// The images that any of them could not read, by rank.
pub(super) fn all_skipped(group: &Group, own: Vec<Skipped>) -> Result<Vec<Skipped>> {
    if !group.is_shared() || group.count(own.len()) == 0 {
        return Ok(own);
    }
    let broken =
        |e: serde_json::Error| Error::Device(format!("what a process sent is broken: {e}"));
    let mut all = Vec::new();
    for of_one in group.gather(&serde_json::to_vec(&own).map_err(broken)?) {
        all.extend(serde_json::from_slice::<Vec<Skipped>>(&of_one).map_err(broken)?);
    }
    Ok(all)
}

/// Checks that all have the same weights, to the bit, as they must if their
/// processors compute alike.
pub(super) fn check_same(group: &Group, model: &Model) -> Result<()> {
    if !group.is_shared() {
        return Ok(());
    }
    let all = group.gather(model.fingerprint()?.as_bytes());
    match all.iter().position(|other| *other != all[0]) {
        None => Ok(()),
        Some(rank) => Err(Error::Device(format!(
            "the weights of process {rank} are no longer those of process 0; train on machines \
             with processors of one kind"
        ))),
    }
}
