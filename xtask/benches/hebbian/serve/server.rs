//! `hebb serve` as a process of its own, over a gallery of real features.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hebbian::memory::status_mib;

/// Units of the hidden layer whose output is searched.
const DIM: &str = "256";
/// Share of the images whose labels train it.
const LABELS: &str = "0.01";

/// The program, built as users have it.
pub(super) fn program(root: &Path) -> Result<PathBuf> {
    eprintln!("building hebb");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--release", "--quiet", "--locked", "-p", "hebb"]);
    ensure!(command.status()?.success(), "hebb can't be built; see above");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    Ok(target.join("release").join(format!("hebb{}", std::env::consts::EXE_SUFFIX)))
}

/// The gallery of `data` in `folder`, made if it is not there: a network from random weights is
/// fine-tuned with a few labels, and the output of its hidden layer is indexed.
pub(super) fn gallery(hebb: &Path, data: &Path, folder: &Path) -> Result<PathBuf> {
    let (run, gallery) = (folder.join("run"), folder.join("gallery"));
    if !gallery.join("gallery.toml").is_file() {
        let mut train = Command::new(hebb);
        train.arg("finetune").arg(data).args(["--fraction", LABELS, "--hidden", DIM]);
        train.args(["--set", "finetune.epochs=5", "--overwrite", "--out"]).arg(&run);
        let mut index = Command::new(hebb);
        index.arg("index").arg(data).args(["--part", "train", "--layer", "code", "--model"]);
        index.arg(&run).arg("--out").arg(&gallery);
        for mut command in [train, index] {
            ensure!(command.stdout(Stdio::null()).status()?.success(), "hebb failed; see above");
        }
    }
    Ok(gallery)
}

/// A server, ended when dropped.
pub(super) struct Server {
    child: Child,
    /// Host and port.
    pub(super) address: String,
}

impl Server {
    pub(super) fn start(hebb: &Path, gallery: &Path, scratch: &Path) -> Result<Self> {
        let mut command = Command::new(hebb);
        command.arg("serve").arg(gallery).args(["--listen", "127.0.0.1:0", "--labels"]);
        command.arg(scratch.join("labels.csv")).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().strip_prefix("http://").context("no address; see above")?;
        let address = address.trim_end_matches('/').to_owned();
        Ok(Self { child, address })
    }

    /// Does `work` while the memory of the process is looked at every second; in MiB.
    pub(super) fn watch<R>(&self, work: impl FnOnce() -> R) -> (R, Vec<f64>) {
        let look = || status_mib(self.child.id(), "VmRSS");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut samples = Vec::from_iter(look());
                let mut looks = 0_u32;
                while !over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(100));
                    looks += 1;
                    if looks.is_multiple_of(10) {
                        samples.extend(look());
                    }
                }
                samples.extend(look());
                samples
            });
            let result = work();
            over.store(true, Ordering::Relaxed);
            (result, watcher.join().unwrap_or_default())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
