//! The verbs, one file each, and what they share.

mod completions;
mod data;
mod demo;
mod eval;
mod experiment;
mod export;
mod extract;
mod finetune;
mod gallery;
mod index;
mod predict;
mod pretrain;
mod probe;
mod search;
mod serve;
mod shared;
mod update;
mod watch;

use anyhow::Result;

use crate::cli::Command;

/// Does what was typed.
pub fn run(command: Command) -> Result<()> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Data(args) => data::run(args),
        Command::Pretrain(args) => pretrain::run(&args),
        Command::Finetune(args) => finetune::run(&args),
        Command::Watch { run } => watch::run(&run),
        Command::Probe(args) => probe::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Extract(args) => extract::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Index(args) => index::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Gallery(command) => gallery::run(&command),
        Command::Eval(args) => eval::run(&args),
        Command::Experiment(command) => experiment::run(&command),
        Command::Completions { shell } => completions::run(shell),
    }
}

/// Whether an error is about how the command was given: exit code 2.
pub fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(
            cause.downcast_ref::<hebbian::Error>(),
            Some(hebbian::Error::Config { .. } | hebbian::Error::Network { .. })
        )
    })
}

/// Whether the reader of standard output has gone away.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
