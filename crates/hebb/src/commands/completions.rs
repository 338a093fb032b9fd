//! `hebb completions`

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory;

use crate::cli::Cli;

/// Prints a completion script.
pub fn run(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hebb", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}
