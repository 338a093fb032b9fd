//! Programs of other projects that ours is measured against.
//!
//! A peer is a script in `benches/peers`: arguments in, one JSON object a line
//! out, talk to standard error.

mod expected;
pub(crate) mod pytorch;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::timing::Timing;

const SCRIPTS: &str = "benches/peers";
const REQUIREMENTS: &str = "requirements.txt";

/// What a script writes of something it measured.
#[derive(Deserialize)]
pub(crate) struct Answer {
    /// Of its packages, by name.
    pub(crate) versions: BTreeMap<String, String>,
    /// What it took.
    pub(crate) timing: Timing,
}

/// A Python with the packages that the peers need.
pub(crate) struct Python {
    interpreter: PathBuf,
    scripts: PathBuf,
}

impl Python {
    /// The interpreter `given`, or else one in a virtual environment of the
    /// build folder, into which the packages are installed first where they
    /// are missing or not those of `benches/peers/requirements.txt`.
    ///
    /// # Errors
    /// If there is no Python, or the packages can't be installed.
    pub(crate) fn open(root: &Path, given: Option<&Path>) -> Result<Self> {
        let scripts = root.join(SCRIPTS);
        let interpreter = match given {
            Some(interpreter) => interpreter.to_owned(),
            None => installed(&scripts.join(REQUIREMENTS))?,
        };
        let version = Command::new(&interpreter).arg("--version").output();
        let works = version.as_ref().is_ok_and(|output| output.status.success());
        ensure!(works, "{} is no Python that runs", interpreter.display());
        Ok(Self { interpreter, scripts })
    }

    /// Runs a script of `benches/peers` and reads what it found. All threads
    /// of the current pool are what it may use.
    ///
    /// # Errors
    /// If it fails, or says anything that is no `T`.
    pub(crate) fn run<T: DeserializeOwned>(
        &self,
        script: &str,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Vec<T>> {
        let threads = rayon::current_num_threads().to_string();
        let mut command = Command::new(&self.interpreter);
        command.arg(self.scripts.join(script)).args(args).args(["--threads", &threads]);
        for pool in ["OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
            command.env(pool, &threads);
        }
        // Nothing is left beside the scripts; what torch.compile has compiled
        // stays in the build folder.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let compiled = Path::new(env!("CARGO_TARGET_TMPDIR")).join("torchinductor");
        command.env("TORCHINDUCTOR_CACHE_DIR", compiled);
        let command = command.stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output().with_context(|| format!("{script} can't be started"))?;
        if !output.status.success() {
            bail!(
                "{SCRIPTS}/{script} failed, see above; does {} have the packages of \
                 {SCRIPTS}/{REQUIREMENTS}?",
                self.interpreter.display()
            );
        }
        json_lines(script, &output.stdout)
    }
}

/// What a program wrote: one JSON object a line.
///
/// # Errors
/// If a line is no `T`; the message names the program and the line.
pub(crate) fn json_lines<T: DeserializeOwned>(program: &str, output: &[u8]) -> Result<Vec<T>> {
    let text = String::from_utf8_lossy(output);
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let parse = |line| {
        serde_json::from_str(line)
            .with_context(|| format!("{program} wrote a line that is no result: {line}"))
    };
    lines.map(parse).collect()
}

/// The interpreter of the virtual environment, made and filled where it is
/// not there yet or the list of packages is another.
fn installed(requirements: &Path) -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("no build folder")?;
    let folder = target.join("peers");
    let interpreter = folder.join("bin/python");
    let stamp = folder.join(REQUIREMENTS);
    let wanted = fs_err::read_to_string(requirements)?;
    if fs_err::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(interpreter);
    }
    eprintln!("installing the peers into {} (a download of gigabytes)", folder.display());
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&folder);
    succeed(&mut venv).context(
        "no virtual environment of Python can be made; install python3 with its module venv, or \
         give an interpreter with --python",
    )?;
    let mut pip = Command::new(&interpreter);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    succeed(pip.arg("--requirement").arg(requirements)).context(
        "the peers' packages can't be installed from PyPI; connect to the network, or give an \
         interpreter that has them with --python",
    )?;
    fs_err::write(&stamp, wanted)?;
    Ok(interpreter)
}

fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    // What it says belongs to the talk: standard output is for results.
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let status = output.with_context(|| format!("{program} can't be started"))?.status;
    ensure!(status.success(), "{program} failed; see above");
    Ok(())
}
