//! `hebb demo`
use anyhow::Result;

use crate::cli::DemoArgs;

/// Runs the demo.
pub fn run(_args: &DemoArgs) -> Result<()> {
    Ok(())
}
