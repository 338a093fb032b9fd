//! The live view on a real terminal, which is given back in the end.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use common::{at, fails, ok, same_end, scratch};

/// Starts a command on a terminal of 80 x 24; what is typed goes to its standard input.
fn on_terminal(arguments: &[&str]) -> Option<Child> {
    let quoted = arguments.iter().map(|word| format!(" '{word}'")).collect::<String>();
    let script = format!("stty rows 24 cols 80; exec '{}'{quoted}", env!("CARGO_BIN_EXE_hebb"));
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &script, "/dev/null"]);
    command.env("TERM", "xterm-256color").stdin(Stdio::piped()).stdout(Stdio::piped());
    match command.spawn() {
        Ok(child) => Some(child),
        Err(error) => {
            println!("skipped: there is no `script` ({error})");
            None
        }
    }
}

/// Types a `q` a moment after the run has metrics; what was shown until the end.
fn quit(mut child: Child, run: &str) -> (Output, String) {
    while std::fs::metadata(format!("{run}/metrics.jsonl")).map_or(0, |file| file.len()) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(700));
    child.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    let output = child.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    // The other screen is entered, and left in the end with the cursor shown.
    let (entered, left) = (shown.find("\x1b[?1049h"), shown.rfind("\x1b[?1049l"));
    assert!(entered.is_some() && left > entered, "{shown:?}");
    assert!(shown.rfind("\x1b[?25h") > left, "{shown:?}");
    (output, shown)
}

#[test]
fn a_run_is_watched_and_stopped_on_a_terminal() {
    let dir = scratch(20);
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    let base = ["pretrain", &photos, "--network", &network, "--set", "pretrain.batch=4"];
    let base = [&base[..], &["--epochs", "120"]].concat();
    let (unbroken, run) = (at(&dir, "a"), at(&dir, "b"));
    let again = [&base[..], &["--out", &run, "--resume"]].concat();
    let with = [&again[..], &["--dashboard"]].concat();
    // Without a terminal it says so before anything is begun.
    fails(&with, 2, &["--dashboard", "needs a terminal", "hebb watch"]);
    assert!(!std::fs::exists(&run).unwrap());
    let Some(child) = on_terminal(&with) else { return };
    let (output, shown) = quit(child, &run);
    assert!(shown.contains("images/s") && shown.contains("spread"), "{shown:?}");
    assert_eq!(output.status.code(), Some(143), "{shown:?}");
    assert!(shown.contains("a checkpoint is saved"), "{shown:?}");
    // Any run is watched from elsewhere, and goes on.
    let (output, shown) = quit(on_terminal(&["watch", &run]).unwrap(), &run);
    assert!(output.status.success() && shown.contains("images/s"), "{shown:?}");
    fails(&["watch", &run], 2, &["needs a terminal"]);
    fails(&["watch", &photos], 1, &["no run folder"]);
    ok(&again);
    ok(&[&base[..], &["--out", &unbroken]].concat());
    same_end(&unbroken, &run);
}
