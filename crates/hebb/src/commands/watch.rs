//! `hebb watch`

use std::path::Path;

use anyhow::Result;
use hebbian::Error;

use crate::dashboard;

/// Shows a run until a key ends it.
pub fn run(run: &Path) -> Result<()> {
    if !run.join("config.toml").is_file() {
        let problem = "is no run folder: it has no config.toml; give the --out of a training";
        return Err(Error::file(run, problem).into());
    }
    dashboard::check("hebb watch")?;
    dashboard::watch(run)
}
