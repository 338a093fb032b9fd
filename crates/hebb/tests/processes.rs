//! One training by several processes that `mpirun` starts. Without it the tests
//! say so on stderr and pass, but for `HEBB_REQUIRE_MPI`.
#![cfg(feature = "mpi")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{at, ok, scratch, stderr, stdout};
use hebbian::network::Tensors;
use tempfile::TempDir;

thread_local! {
    /// Open MPI makes and removes the folder of a user's sessions without a
    /// lock: tests that run side by side each have one of their own.
    static SESSIONS: TempDir = tempfile::tempdir().unwrap();
}

/// So many processes of the command, each of one thread.
fn mpirun(processes: usize, arguments: &[&str]) -> Command {
    let mut command = Command::new("mpirun");
    // More processes than cores have to let each other run.
    command.args(["--oversubscribe", "--mca", "mpi_yield_when_idle", "1"]);
    command.envs(["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"].map(|n| (n, "1")));
    command.env("RAYON_NUM_THREADS", "1").stdin(Stdio::null());
    SESSIONS.with(|sessions| command.env("OMPI_MCA_orte_tmpdir_base", sessions.path()));
    command.args(["-n", &processes.to_string(), env!("CARGO_BIN_EXE_hebb")]).args(arguments);
    command
}

fn is_there() -> bool {
    let found = Command::new("mpirun").arg("--version").stdout(Stdio::null()).status();
    if found.is_err() {
        assert!(std::env::var_os("HEBB_REQUIRE_MPI").is_none(), "there is no mpirun");
        eprintln!("no mpirun; tests of several processes are skipped");
    }
    found.is_ok()
}

fn together(processes: usize, arguments: &[&str]) -> Output {
    let output = mpirun(processes, arguments).output().unwrap();
    assert!(output.status.success(), "{processes} x hebb {arguments:?}\n{}", stderr(&output));
    output
}

/// Runs and expects this exit code and words in the one line of error.
fn fails(command: &mut Command, code: i32, words: &[&str]) {
    let output = command.output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    let errors: Vec<_> = message.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 1, "{message}");
    words.iter().for_each(|word| assert!(errors[0].contains(word), "no '{word}' in\n{message}"));
}

/// The greatest difference of any tensor's numbers over the greatest of them.
fn apart(run: &str, other: &str) -> f32 {
    let [run, other] = [run, other].map(|run| {
        let path = Path::new(run).join("model/model.safetensors");
        Tensors::from_bytes(&path, &std::fs::read(&path).unwrap()).unwrap().take_prefix("")
    });
    let mut most = 0.0f32;
    for ((name, _, values), (other_name, _, other)) in run.iter().zip(&other) {
        assert_eq!(name, other_name);
        let largest = values.iter().fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
        let differ = values.iter().zip(other).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        most = most.max(differ / largest);
    }
    most
}

fn same_text(run: &str, other: &str, file: &str) {
    let [a, b] = [run, other].map(|run| std::fs::read_to_string(format!("{run}/{file}")).unwrap());
    assert_eq!(a, b, "{file}");
}

/// A scratch folder with `photos/`, of which one is none.
fn photos() -> tempfile::TempDir {
    let dir = scratch(13);
    let class = std::fs::read_dir(dir.path().join("photos")).unwrap().next().unwrap().unwrap();
    std::fs::write(class.path().join("broken.png"), "no image").unwrap();
    dir
}

/// Pre-training in batches of 10.
fn pretrain<'a>(photos: &'a str, network: &'a str) -> Vec<&'a str> {
    let sets = ["--set", "pretrain.batch=10", "--set", "pretrain.lr=1e-3"];
    [&["pretrain", photos, "--network", network][..], &sets].concat()
}

#[test]
fn several_processes_train_what_one_does() {
    if !is_there() {
        return;
    }
    let dir = photos();
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    // 131 files in batches of 10: the last has one image.
    let base = pretrain(&photos, &network);
    let hebbian = |rule| [&base[..], &["--rule", rule, "--epochs", "3"]].concat();
    let pca = vec!["pretrain", &photos, "--network", &network, "--method", "pca"];
    let cases = [
        ("soft-wta", hebbian("soft-wta"), 2, "pre-training"),
        ("hpca", hebbian("hpca"), 3, "pre-training"),
        ("pca", pca, 3, "L1: patches"),
    ];
    for (name, base, processes, stage) in cases {
        let (one, many) = (at(&dir, &format!("one-{name}")), at(&dir, &format!("many-{name}")));
        ok(&[&base[..], &["--out", &one]].concat());
        let cache = at(&dir, "cache");
        let output =
            together(processes, &[&base[..], &["--out", &many, "--cache", &cache]].concat());
        assert_eq!(stdout(&output), format!("{many}/model\n"));
        let talk = stderr(&output);
        assert_eq!(talk.matches("broken.png").count(), 1, "{talk}");
        assert_eq!(talk.matches(stage).count(), 1, "{talk}");
        assert!(apart(&one, &many) < 1e-6, "{name}: {:.1e}", apart(&one, &many));
        same_text(&one, &many, "config.toml");
        same_text(&one, &many, "model/model.toml");
    }
}

/// In the same parts, by any number of processes, to the bit: what is not so
/// does not stay near, since gradients jump where a unit changes sides.
#[test]
fn fine_tuning_in_parts_is_the_same_for_any_number_of_processes() {
    if !is_there() {
        return;
    }
    let dir = scratch(13);
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    let model = at(&dir, "run");
    ok(&["pretrain", &photos, "--network", &network, "--out", &model]);
    let base = ["finetune", &photos, "--model", &model, "--set", "finetune.batch=10"];
    let published = ["--validation", &photos, "--set", "finetune.protocol=published"];
    let parts = ["--hidden", "20", "--set", "finetune.epochs=8", "--set", "parts=4"];
    let base = [&base[..], &parts, &published].concat();
    let one = at(&dir, "tuned-one");
    ok(&[&base[..], &["--out", &one]].concat());
    for processes in [2, 4] {
        let many = at(&dir, &format!("tuned-{processes}"));
        let output = together(processes, &[&base[..], &["--out", &many]].concat());
        assert_eq!(stdout(&output), format!("{many}/model\n"));
        common::same_end(&one, &many);
    }
    let out = at(&dir, "refused");
    let refused = [&base[..], &["--out", &out]].concat();
    fails(&mut mpirun(3, &refused), 2, &["parts", "3 processes"]);
    let odd = [&refused[..], &["--set", "parts=3"]].concat();
    fails(&mut mpirun(2, &odd), 2, &["parts", "power of 2"]);
}

/// The processes that `mpirun` has started.
fn children(mpirun: &Child) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        // After the name in brackets: the state, then the parent.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        let Ok(command) = std::fs::read_to_string(format!("/proc/{id}/cmdline")) else { continue };
        if parent == Some(&mpirun.id().to_string()) && command.contains("hebb") {
            found.push(id);
        }
    }
    found.sort_unstable();
    found
}

/// Waits until there are so many checkpoints, of which the oldest go, and the
/// run is at this step.
fn wait_for_step(run: &str, step: usize) {
    let begun = Instant::now();
    loop {
        let entries = std::fs::read_dir(format!("{run}/checkpoints")).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        if names.filter_map(|name| name.parse::<usize>().ok()).any(|at| at >= step) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "the run does not get to step {step}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_lost_process_ends_the_others_and_the_run_goes_on_with_more() {
    if !is_there() {
        return;
    }
    let dir = photos();
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    let base = pretrain(&photos, &network);
    // 210 steps: what is promised of a hundred cannot be asked of many hundreds, over which
    // rounding adds up.
    let base = [&base[..], &["--epochs", "15"]].concat();
    let (whole, run) = (at(&dir, "whole"), at(&dir, "run"));
    ok(&[&base[..], &["--out", &whole]].concat());
    let often = [&base[..], &["--out", &run, "--resume", "--checkpoint-every", "0"]].concat();
    // The one that writes is lost, then the other one.
    for (lost, step) in [(0, 20), (1, 60)] {
        let mut command = mpirun(2, &often);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for_step(&run, step);
        let both = children(&child);
        assert_eq!(both.len(), 2);
        let killed = Command::new("kill").args(["-9", &both[lost].to_string()]).status().unwrap();
        assert!(killed.success());
        let output = child.wait_with_output().unwrap();
        let message = stderr(&output);
        assert!(!output.status.success(), "{message}");
        assert!(message.contains("signal 9 (Killed)"), "{message}");
    }
    together(3, &[&base[..], &["--out", &run, "--resume"]].concat());
    assert!(apart(&whole, &run) < 1e-6, "{:.1e}", apart(&whole, &run));
    same_text(&whole, &run, "model/model.toml");
}

#[test]
fn what_one_process_cannot_do_ends_all_with_one_message() {
    if !is_there() {
        return;
    }
    let dir = photos();
    let (photos, network, run) = (at(&dir, "photos"), at(&dir, "small.toml"), at(&dir, "run"));
    let base = ["pretrain", &photos, "--network", &network, "--out", &run];
    fails(&mut mpirun(2, &[&base[..], &["--epochs", "0"]].concat()), 2, &["epochs", "is 0"]);
    fails(&mut mpirun(2, &[&base[..], &["--method", "vae"]].concat()), 2, &["one process"]);
    // The second gets another command.
    let other = |changed: &[&str]| {
        let mut command = mpirun(1, &base);
        command.args([":", "-n", "1", env!("CARGO_BIN_EXE_hebb")]).args(changed);
        command
    };
    let nowhere = at(&dir, "nowhere");
    let missing = ["pretrain", &nowhere, "--network", &network, "--out", &run];
    fails(&mut other(&missing), 1, &["nowhere", "process 1 of 2"]);
    let longer = [&base[..], &["--epochs", "7"]].concat();
    fails(&mut other(&longer), 1, &["process 1", "settings"]);
    assert!(!Path::new(&run).exists(), "nothing was begun");
    // In the middle: there is no more room for checkpoints.
    let often = [&base[..], &["--epochs", "1000", "--checkpoint-every", "0"]].concat();
    let mut command = mpirun(2, &[&often[..], &["--set", "pretrain.batch=10"]].concat());
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_step(&run, 10);
    std::fs::rename(format!("{run}/checkpoints"), format!("{run}/before")).unwrap();
    std::fs::write(format!("{run}/checkpoints"), "in the way").unwrap();
    let output = child.wait_with_output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    let error = message.lines().find(|line| line.starts_with("error:")).unwrap_or_default();
    assert!(error.contains("checkpoints") && error.contains("process 0 of 2"), "{message}");
}
