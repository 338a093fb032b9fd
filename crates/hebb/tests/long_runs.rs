//! Long runs: stopped by signals, killed, without room to write, without data to read. Each ends
//! with a checkpoint or a clear error, and, gone on with, with the bits of a run left alone.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use common::{at, fails, hebb, number, ok, same_end, scratch, shards, signal, stderr};
use rand::{RngExt, SeedableRng};

/// `HEBB_KILLS` asks for another number.
const KILLS: usize = 6;

const SLOW: &str = r#"
name = "slow"
input = [64, 64, 3]
block = [
    { filters = 256, kernel = 5, norm = "batch" },
    { filters = 256, kernel = 3, pool = 2, norm = "batch" },
]
"#;

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hebb"));
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until a run has written so many lines of metrics.
fn await_lines(run: &str, lines: usize) {
    let path = format!("{run}/metrics.jsonl");
    let count = || std::fs::read_to_string(&path).unwrap_or_default().lines().count();
    while count() < lines {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The steps whose checkpoints a run has, each of them whole.
fn checkpoints(run: &str) -> Vec<usize> {
    let mut steps = Vec::new();
    for entry in std::fs::read_dir(format!("{run}/checkpoints")).unwrap() {
        let path = entry.unwrap().path();
        hebbian::network::Model::load(&path).unwrap();
        steps.push(path.file_name().unwrap().to_str().unwrap().parse().unwrap());
    }
    steps.sort_unstable();
    steps
}

#[test]
fn a_signal_saves_a_checkpoint_first_and_a_second_one_does_not_wait() {
    let dir = scratch(20);
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    let base = ["pretrain", &photos, "--network", &network, "--epochs", "60"];
    let base = [&base[..], &["--set", "pretrain.batch=16"]].concat();
    let (unbroken, run) = (at(&dir, "a"), at(&dir, "b"));
    ok(&[&base[..], &["--out", &unbroken]].concat());
    let again = ["--out", &run, "--resume", "--checkpoint-every", "1h"];
    let again = [&base[..], &again].concat();
    let mut steps = 0;
    for (name, code, lines) in [("TERM", 143, 3), ("INT", 130, 30)] {
        let child = start(&again);
        await_lines(&run, lines);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{message}");
        let last = *checkpoints(&run).last().unwrap();
        assert!(last > steps, "{last} {steps}");
        steps = last;
        let told = format!("stopped after step {last}; a checkpoint is saved; go on with");
        assert!(message.contains(&told) && message.contains("--resume"), "{message}");
    }
    ok(&again);
    same_end(&unbroken, &run);

    // A step of seconds.
    std::fs::write(at(&dir, "slow.toml"), SLOW).unwrap();
    let slow = ["pretrain", &photos, "--network", &at(&dir, "slow.toml")];
    let child = start(&[&slow[..], &["--out", &at(&dir, "slow")]].concat());
    let whole = format!("{}/checkpoints/00000000/state.toml", at(&dir, "slow"));
    while !Path::new(&whole).exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    // Both while it is held, so that it finds both whether a step is in hand or not; it takes
    // them by number, SIGINT first, and ends by the second.
    for name in ["STOP", "TERM", "INT", "CONT"] {
        signal(&child, name);
    }
    let output = child.wait_with_output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(143), "{message}");
    assert!(message.contains("once more") && !message.contains("is saved"), "{message}");
}

#[test]
fn checkpoints_come_at_every_so_many_steps() {
    let dir = scratch(8);
    let (photos, network, run) = (at(&dir, "photos"), at(&dir, "small.toml"), at(&dir, "run"));
    let base = ["pretrain", &photos, "--network", &network, "--out", &run, "--epochs", "2"];
    let every = ["--set", "pretrain.batch=10", "--checkpoint-every", "3steps"];
    ok(&[&base[..], &every].concat());
    // 16 steps: the last multiple of 3, and the end.
    assert_eq!(checkpoints(&run), [15, 16]);
    fails(&[&base[..], &["--checkpoint-every", "3 parsecs"]].concat(), 2, &["500steps"]);
}

/// What was done to a run.
#[derive(Debug, Default)]
struct Kills {
    /// By SIGKILL.
    at_once: usize,
    /// By SIGTERM before there was anything to save.
    early: usize,
    /// By SIGTERM, saved first.
    saved: usize,
    /// Times that it was done before the next kill, and begun anew.
    done: usize,
}

/// Kills a run in folder `run` `wanted` times at random moments; one that is done by then, to the
/// end of `whole`, is begun anew.
fn kill(
    arguments: &[&str],
    (run, whole): (&str, &str),
    wanted: usize,
    random: &mut impl rand::Rng,
) -> Kills {
    let mut kills = Kills::default();
    while kills.at_once + kills.early + kills.saved < wanted {
        let mut child = start(arguments);
        std::thread::sleep(Duration::from_millis(random.random_range(1..250)));
        if child.try_wait().unwrap().is_some_and(|status| status.success()) {
            kills.done += 1;
            same_end(whole, run);
            std::fs::remove_dir_all(run).unwrap();
            continue;
        }
        let gently = random.random::<bool>();
        if gently {
            signal(&child, "TERM")
        } else {
            child.kill().unwrap()
        }
        let output = child.wait_with_output().unwrap();
        let ended = |status: ExitStatus| (status.code(), status.signal());
        match (gently, ended(output.status)) {
            (false, (None, Some(9))) => kills.at_once += 1,
            (true, (None, Some(15))) => kills.early += 1,
            (true, (Some(143), None)) => kills.saved += 1,
            // Its last step was the one in hand.
            (_, (Some(0), None)) => {}
            (_, other) => panic!("{other:?}\n{}", stderr(&output)),
        }
    }
    kills
}

#[test]
fn a_run_killed_at_random_moments_ends_with_the_bits_of_one_left_alone() {
    let dir = scratch(20);
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    let (kills, seed) = (number("HEBB_KILLS", KILLS), number("HEBB_SEED", 1));
    let mut random = rand::rngs::SmallRng::seed_from_u64(seed as u64);
    let often = ["--resume", "--checkpoint-every", "25steps"];
    let tuned = at(&dir, "pretrain");
    let epochs = (12 * kills).to_string();
    let epochs_of_tuning = format!("finetune.epochs={}", 6 * kills);
    let epochs_of_vae = format!("vae.epochs={}", 2 * kills);
    let pretrain = ["pretrain", &photos, "--network", &network, "--epochs", &epochs];
    let finetune = ["finetune", &photos, "--model", &tuned, "--set", &epochs_of_tuning];
    let vae = ["pretrain", &photos, "--network", &network, "--method", "vae", "--set"];
    let vae = [&vae[..], &[&epochs_of_vae, "--set", "vae.latent=8"]].concat();
    for (name, base, batch) in [
        ("pretrain", &pretrain[..], "pretrain.batch=16"),
        ("finetune", &finetune, "finetune.batch=16"),
        ("vae", &vae, "vae.batch=16"),
    ] {
        let (whole, broken) = (at(&dir, name), at(&dir, &format!("{name}-killed")));
        let base = [base, &["--set", batch]].concat();
        ok(&[&base[..], &["--out", &whole]].concat());
        let again = [&base[..], &often, &["--out", &broken]].concat();
        let done = kill(&again, (&broken, &whole), kills / 3, &mut random);
        ok(&again);
        same_end(&whole, &broken);
        println!("{name}: {done:?}");
    }
}

#[test]
fn metrics_that_can_not_be_written_are_an_error_and_the_run_goes_on_later() {
    let dir = scratch(12);
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    let base = ["pretrain", &photos, "--network", &network, "--set", "pretrain.batch=4"];
    let (unbroken, run) = (at(&dir, "a"), at(&dir, "b"));
    ok(&[&base[..], &["--out", &unbroken]].concat());
    ok(&[&base[..], &["--out", &run, "--epochs", "2"]].concat());
    // As if it had just begun, on a device that is full.
    std::fs::remove_dir_all(format!("{run}/checkpoints")).unwrap();
    std::fs::remove_dir_all(format!("{run}/model")).unwrap();
    std::fs::create_dir(format!("{run}/checkpoints")).unwrap();
    std::fs::remove_file(format!("{run}/metrics.jsonl")).unwrap();
    std::os::unix::fs::symlink("/dev/full", format!("{run}/metrics.jsonl")).unwrap();
    let again = [&base[..], &["--out", &run, "--resume"]].concat();
    fails(&again, 1, &["metrics.jsonl", "No space left on device", "--resume"]);
    assert!(!checkpoints(&run).is_empty());
    std::fs::remove_file(format!("{run}/metrics.jsonl")).unwrap();
    ok(&again);
    same_end(&unbroken, &run);
}

/// Runs a script that may mount file systems, in a place of its own; none where that is not
/// allowed.
fn with_mounts(script: &str, arguments: &[&str]) -> Option<std::process::Output> {
    let unshare = ["--mount", "--map-root-user", "sh", "-c"];
    let allowed = Command::new("unshare").args(unshare).arg("mount -t tmpfs none /mnt").output();
    if !allowed.is_ok_and(|allowed| allowed.status.success()) {
        println!("skipped: no file system can be mounted here");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(unshare).args([script, env!("CARGO_BIN_EXE_hebb")]).args(arguments);
    Some(command.output().unwrap())
}

#[test]
fn a_disk_that_fills_up_keeps_the_last_checkpoint_and_the_run_goes_on_later() {
    let dir = scratch(8);
    let (photos, network, small) = (at(&dir, "photos"), at(&dir, "small.toml"), at(&dir, "disk"));
    std::fs::create_dir(&small).unwrap();
    let (unbroken, kept) = (at(&dir, "a"), at(&dir, "b"));
    let base = ["pretrain", &photos, "--network", &network, "--set", "pretrain.batch=4"];
    ok(&[&base[..], &["--out", &unbroken]].concat());
    // A checkpoint takes about 240 KB. With room for one, the second fails. With room for two, the
    // older one gives way to each new one, but the model has no room beside them.
    let script = "
        disk=$1 kept=$2; shift 2
        mount -t tmpfs -o size=400k disk \"$disk\"
        \"$0\" \"$@\" >/dev/null; echo \"status $?\"
        ls \"$disk/run/checkpoints\"
        for size in 600k 2m; do
            mount -o remount,size=$size disk \"$disk\"
            \"$0\" \"$@\" --resume >/dev/null; echo \"status $?\"
        done
        cp -r \"$disk/run\" \"$kept\"";
    let run = format!("{small}/run");
    let often = ["--out", &run, "--checkpoint-every", "1step"];
    let arguments = [&[&small[..], &kept][..], &base, &often].concat();
    let Some(output) = with_mounts(script, &arguments) else { return };
    let (talk, lines) = (stderr(&output), common::stdout(&output));
    let errors: Vec<&str> = talk.lines().filter(|line| line.starts_with("error:")).collect();
    let file = ["checkpoints/00000001: can't be written", "run/model: can't be written"];
    assert_eq!(errors.len(), 2, "{talk}");
    for (error, file) in errors.iter().zip(file) {
        let words = [file, "No space left on device", "with --resume"];
        assert!(words.iter().all(|word| error.contains(word)), "{talk}");
    }
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines, ["status 1", "00000000", "status 1", "status 0"], "{talk}");
    same_end(&unbroken, &kept);
}

#[test]
fn a_shard_cut_short_during_a_run_ends_it_and_it_goes_on_with_the_shard_whole() {
    let dir = scratch(30);
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    let data = shards(&photos, &at(&dir, "shards"));
    let base = ["pretrain", &data, "--network", &network, "--set", "pretrain.batch=16"];
    let base = [&base[..], &["--epochs", "40"]].concat();
    let (unbroken, run) = (at(&dir, "a"), at(&dir, "b"));
    ok(&[&base[..], &["--out", &unbroken]].concat());
    let again = [&base[..], &["--out", &run, "--resume", "--checkpoint-every", "20steps"]].concat();
    let child = start(&again);
    await_lines(&run, 5);
    let shard = at(&dir, "shards/train-2.tar");
    let whole = std::fs::read(&shard).unwrap();
    let file = std::fs::File::options().write(true).open(&shard).unwrap();
    file.set_len(whole.len() as u64 / 3).unwrap();
    let output = child.wait_with_output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("train-2.tar: was cut short while it was in use"), "{message}");
    assert!(!checkpoints(&run).is_empty());
    fails(&again, 1, &["train-2.tar", "the archive ends", "make the archive again"]);
    std::fs::write(&shard, whole).unwrap();
    ok(&again);
    same_end(&unbroken, &run);
}

#[test]
fn images_that_are_left_out_are_listed_once_however_often_a_run_is_stopped() {
    let dir = scratch(20);
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    for name in ["aa.png", "zz.png"] {
        std::fs::write(format!("{photos}/{name}"), "no image").unwrap();
    }
    let base = ["pretrain", &photos, "--network", &network, "--epochs", "40"];
    let base = [&base[..], &["--set", "pretrain.batch=16", "--json"]].concat();
    let (unbroken, run) = (at(&dir, "a"), at(&dir, "b"));
    ok(&[&base[..], &["--out", &unbroken]].concat());
    let again = [&base[..], &["--out", &run, "--resume", "--checkpoint-every", "20steps"]].concat();
    for lines in [4, 12, 24] {
        let mut child = start(&again);
        await_lines(&run, lines);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let output = hebb(&again);
    assert!(output.status.success());
    assert!(stderr(&output).contains("2 images could not be read"), "{}", stderr(&output));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["skipped"], 2);
    let list = |run: &str| std::fs::read_to_string(format!("{run}/skipped.jsonl")).unwrap();
    assert_eq!(list(&run).lines().count(), 80);
    assert_eq!(list(&run), list(&unbroken));
    same_end(&unbroken, &run);
}
