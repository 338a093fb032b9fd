//! Labels that were given on the page or over HTTP.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Error;
use crate::problem::Problem;

/// Longest label, in bytes.
const MAX_LABEL: usize = 200;

/// Labels by path.
pub(crate) type Table = BTreeMap<String, String>;

/// A table of labels, kept in a file where there is one.
pub(crate) struct Labels {
    file: Option<PathBuf>,
    table: Mutex<Arc<Table>>,
}

impl Labels {
    /// Starts with what is in `file`, if it is there.
    pub(crate) fn open(file: Option<PathBuf>) -> Result<Self, Error> {
        let mut table = Table::new();
        if let Some(file) = file.as_deref().filter(|file| file.exists()) {
            for line in hebbian_data::labels::parse(file, &fs_err::read(file)?)? {
                table.insert(line.path, line.label);
            }
        }
        Ok(Self { file, table: Mutex::new(Arc::new(table)) })
    }

    /// The table as it is now.
    pub(crate) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives labels, or takes them away where there is none, and keeps the table; returns its
    /// length. Nothing is changed unless everything can be.
    pub(crate) fn set(&self, changes: BTreeMap<String, Option<String>>) -> Result<usize, Problem> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Table::clone(&table);
        for (id, label) in changes {
            match label {
                None => next.remove(&id),
                Some(label) => {
                    let label = label.trim();
                    check(&id, label)?;
                    next.insert(id, label.to_owned())
                }
            };
        }
        if let Some(file) = &self.file {
            write(file, &csv(&next)).map_err(Problem::failed)?;
        }
        *table = Arc::new(next);
        Ok(table.len())
    }

    /// The table as `path,label`, as `hebb finetune --labels` reads it.
    pub(crate) fn csv(&self) -> Vec<u8> {
        csv(&self.table())
    }
}

/// Refuses what a table of labels can't hold or is read from one as something else.
fn check(id: &str, label: &str) -> Result<(), Problem> {
    if label.is_empty() || label.len() > MAX_LABEL || label.contains(char::is_control) {
        let rule = format!("it must be 1 to {MAX_LABEL} bytes of text on one line");
        return Err(Problem::unusable(format!("the label of {id:?} is {label:?}; {rule}")));
    }
    if id.trim() != id || id.contains('\\') || id.starts_with("./") || id.is_empty() {
        let problem = "can't be written in a table of labels: its name would be read as another";
        return Err(Problem::unusable(format!("{id:?} {problem}")));
    }
    Ok(())
}

fn csv(table: &Table) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory can't fail.
    let _ = writer.write_record(["path", "label"]);
    for (path, label) in table {
        let _ = writer.write_record([path, label]);
    }
    writer.into_inner().unwrap_or_default()
}

fn write(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    beside.write_all(content)?;
    beside.as_file().sync_all()?;
    beside.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels.csv");
        let labels = Labels::open(Some(file.clone())).unwrap();
        let ids = ["a.png", "with, comma.png", "with \"quote\".png", "ä/ö.png", "id"];
        let changes = ids.map(|id| (id.to_owned(), Some(format!(" cat, {id}"))));
        assert_eq!(labels.set(changes.into_iter().collect()).unwrap(), 5);
        let again = Labels::open(Some(file)).unwrap();
        for id in ids {
            assert_eq!(again.table().get(id), Some(&format!("cat, {id}")));
        }
        assert_eq!(again.csv(), labels.csv());
        let one = |id: &str, label: &str| [(id.to_owned(), Some(label.to_owned()))].into();
        for (id, label) in [("a\\b", "x"), (" a", "x"), ("./a", "x"), ("a", " "), ("a", "x\ny")] {
            assert!(labels.set(one(id, label)).is_err(), "{id:?} {label:?}");
        }
        assert_eq!(labels.set([("id".to_owned(), None)].into()).unwrap(), 4);
    }
}
