//! `hebb`: the command line.
#![allow(unreachable_pub, reason = "a binary exports nothing; pub marks what a module offers")]

mod cli;
mod commands;
mod dashboard;
mod interrupt;
mod processes;
mod report;
mod settings;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What a damaged file did to a library is reported as an error, and as nothing else.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        const QUIET: [&str; 2] =
            [hebbian_search::gallery::ITEMS_THREAD, hebbian_data::source::parquet::PARQUET_THREAD];
        dashboard::restore();
        if !std::thread::current().name().is_some_and(|name| QUIET.contains(&name)) {
            hook(panic);
        }
    }));
    let code = match commands::run(cli.command) {
        Ok(()) => 0,
        // A reader that went away, as `head` does, is no failure.
        Err(error) if commands::is_closed_pipe(&error) => 0,
        Err(error) => {
            if let Some(interrupted) = error.downcast_ref::<interrupt::Interrupted>() {
                eprintln!("{interrupted}");
                interrupted.code()
            } else {
                eprintln!("error: {error:#}{}", processes::whose());
                if commands::is_usage(&error) { 2 } else { 1 }
            }
        }
    };
    processes::leave(code);
    ExitCode::from(code)
}
