//! Everything that must hold before a change goes in.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{cargo, root};

/// The rules' modules are declared by a macro, into which `cargo fmt` does not look.
const RULES: &str = "crates/hebbian/src/rules";
const FUZZ: &str = "fuzz/Cargo.toml";
/// Features that all is checked with: layer steps on a graphics card, whose tests
/// say so where no card and no software driver is found, and fail with
/// `HEBB_REQUIRE_GPU` set; and, where MPI can be built against, training by
/// several processes, whose tests want `mpirun` likewise by `HEBB_REQUIRE_MPI`.
const FEATURES: [&str; 2] = ["vulkan", "vulkan,mpi"];

/// Runs every check, the cheapest first; `fast` leaves out the slow ones.
///
/// # Errors
/// At the first check that fails.
pub(crate) fn check(fast: bool) -> Result<()> {
    let start = Instant::now();
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args(["fmt", "--check", "--manifest-path", FUZZ]))?;
    let edition = ["--check", "--edition", "2024"];
    run(Command::new("rustfmt").current_dir(root()).args(edition).args(rules()?))?;
    let warnings = ["--", "-D", "warnings"];
    let features = FEATURES[usize::from(has_mpi())];
    let all = ["clippy", "--locked", "--workspace", "--all-targets", "--features", features];
    run(cargo().args(all).args(warnings))?;
    // Without these, as it is built by default.
    run(cargo().args(["clippy", "--locked", "-p", "hebb", "-p", "hebbian"]).args(warnings))?;
    if fast {
        run(cargo().args([
            "test",
            "--locked",
            "--workspace",
            "--lib",
            "--bins",
            "--features",
            features,
        ]))?;
        return passed("fast checks", start);
    }
    let doc = ["doc", "--locked", "--workspace", "--no-deps", "--features", features];
    run(cargo().env("RUSTDOCFLAGS", "-D warnings").args(doc))?;
    run(cargo().args(["test", "--locked", "--workspace", "--features", features]))?;
    turbojpeg()?;
    let fuzz = ["--locked", "--manifest-path", FUZZ, "--lib"];
    run(in_shared_target(cargo().arg("clippy").args(fuzz).arg("--examples").args(warnings)))?;
    run(in_shared_target(cargo().arg("test").args(fuzz)))?;
    passed("checks", start)
}

/// Whether there is what feature `mpi` is built with, or has to be.
fn has_mpi() -> bool {
    let found = is_there("mpicc") || std::env::var_os("HEBB_REQUIRE_MPI").is_some();
    if !found {
        println!("==> skipped: feature mpi needs mpicc and libclang\n");
    }
    found
}

fn is_there(tool: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg("--version").stdout(Stdio::null()).status().is_ok()
}

/// The decoder that is built from C, where its tools are there.
fn turbojpeg() -> Result<()> {
    if !(is_there("cmake") && is_there("nasm")) {
        println!("==> skipped: feature turbojpeg needs cmake and nasm\n");
        return Ok(());
    }
    let of = ["--locked", "--package", "hebbian-data", "--features", "turbojpeg"];
    run(cargo().arg("clippy").args(of).args(["--all-targets", "--", "-D", "warnings"]))?;
    run(cargo().arg("test").args(of).args(["--test", "pil", "--test", "images"]))
}

fn passed(what: &str, start: Instant) -> Result<()> {
    println!("All {what} passed in {:.0} s.", start.elapsed().as_secs_f64());
    Ok(())
}

fn rules() -> Result<Vec<PathBuf>> {
    let entries =
        root().join(RULES).read_dir().with_context(|| format!("{RULES}: can't be read"))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = PathBuf::from(RULES).join(entry?.file_name());
        if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Lets a command of the fuzz workspace use what the main one has built.
fn in_shared_target(command: &mut Command) -> &mut Command {
    if std::env::var_os("CARGO_TARGET_DIR").is_none() {
        command.env("CARGO_TARGET_DIR", root().join("target"));
    }
    command
}

fn run(command: &mut Command) -> Result<()> {
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    println!("==> {line}");
    let start = Instant::now();
    let status = command.status().with_context(|| format!("`{line}` can't be started"))?;
    let seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        bail!("`{line}` failed after {seconds:.1} s; see above");
    }
    println!("    passed in {seconds:.1} s\n");
    Ok(())
}
