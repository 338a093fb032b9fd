//! The developer's commands: `cargo xtask check` and `cargo xtask bench`.

mod check;

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Checks everything, the cheapest first, and stops at the first failure
    Check {
        /// Leave out documentation, integration tests and fuzz seeds
        #[arg(long)]
        fast: bool,
    },
    /// Measures rates, times and memory on an optimised build
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on; --help lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Check { fast } => check::check(fast),
        Task::Bench { options } => bench(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &[OsString]) -> Result<()> {
    let args = ["bench", "--quiet", "--locked", "--package", "xtask", "--bench", "hebbian"];
    let mut command = cargo();
    command.args(args);
    // Only these need MPI to be there.
    if options.iter().any(|option| option == "processes") {
        command.args(["--features", "mpi"]);
    }
    command.arg("--").args(options);
    let status = command.status().context("cargo can't be started")?;
    if !status.success() {
        bail!("the benchmark failed; see above");
    }
    Ok(())
}

/// Cargo, to be run at the root of the workspace.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The root of the workspace.
fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}
