//! Finished parts of an evaluation, in a folder that processes share.
//!
//! ```text
//! PARTS/evaluation.toml  what is evaluated
//!       NNNNNN.toml      sums over the images of a part
//! ```

use std::path::{Path, PathBuf};

use anyhow::Result;
use hebbian::error::Error;
use hebbian::network::write_atomically;
use hebbian_search::metrics::RetrievalSums;
use tempfile::TempDir;

/// The folder, in the place for temporary files if nobody wants to keep it.
pub struct Parts {
    folder: PathBuf,
    _temporary: Option<TempDir>,
}

impl Parts {
    /// Opens the folder of an evaluation, or makes it.
    ///
    /// # Errors
    /// If it holds parts of another evaluation.
    pub fn open(folder: Option<&Path>, question: &str) -> Result<Self> {
        let Some(folder) = folder else {
            let temporary = tempfile::tempdir()?;
            return Ok(Self { folder: temporary.path().into(), _temporary: Some(temporary) });
        };
        fs_err::create_dir_all(folder)?;
        let path = folder.join("evaluation.toml");
        if path.exists() {
            let found = fs_err::read_to_string(&path)?;
            if let Some((line, (was, now))) =
                found.lines().zip(question.lines()).enumerate().find(|(_, (was, now))| was != now)
            {
                let line = line + 1;
                let problem = format!(
                    "line {line}: the parts here were made with '{was}', not '{now}'; give \
                     another folder"
                );
                return Err(Error::file(path, problem).into());
            }
            if found != question {
                let problem = "the parts here are of another evaluation; give another folder";
                return Err(Error::file(path, problem).into());
            }
        } else {
            if fs_err::read_dir(folder)?.next().is_some() {
                let problem = "holds other files; give a folder of its own";
                return Err(Error::file(folder, problem).into());
            }
            write_atomically(&path, question.as_bytes())?;
        }
        Ok(Self { folder: folder.to_owned(), _temporary: None })
    }

    fn path(&self, part: usize) -> PathBuf {
        self.folder.join(format!("{part:06}.toml"))
    }

    /// The sums of a part, if it is finished.
    pub fn load(&self, part: usize) -> Result<Option<RetrievalSums>> {
        let path = self.path(part);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs_err::read_to_string(&path)?;
        match toml::from_str(&text) {
            Ok(sums) => Ok(Some(sums)),
            Err(problem) => {
                let problem = format!("{}; delete the file to make it anew", problem.message());
                Err(Error::file(path, problem).into())
            }
        }
    }

    /// Keeps the sums of a part.
    pub fn store(&self, part: usize, sums: &RetrievalSums) -> Result<()> {
        Ok(write_atomically(&self.path(part), toml::to_string(sums)?.as_bytes())?)
    }

    /// All `parts` together, in their order; or how many are missing.
    pub fn sum(&self, parts: usize) -> Result<std::result::Result<RetrievalSums, usize>> {
        let mut sums: Option<RetrievalSums> = None;
        let mut missing = 0;
        for part in 0..parts {
            match (self.load(part)?, &mut sums) {
                (None, _) => missing += 1,
                (Some(found), None) => sums = Some(found),
                (Some(found), Some(sums)) => sums
                    .add(&found)
                    .map_err(|problem| Error::file(self.path(part), problem.to_string()))?,
            }
        }
        Ok(sums.filter(|_| missing == 0).ok_or(missing))
    }
}
