//! `hebb completions`

use clap::CommandFactory;

use crate::cli::Cli;

/// Prints a completion script.
pub fn run(shell: clap_complete::Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "hebb", &mut std::io::stdout());
}
