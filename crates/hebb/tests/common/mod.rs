//! What the tests of the command share: the program, real images, a network
//! small enough to train in a blink.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod served;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rand::RngExt;

pub const SMALL: &str = r#"
name = "small"
input = [14, 14, 3]
block = [
    { filters = 8, kernel = 3, pool = 2, norm = "batch" },
    { filters = 12, kernel = 3, norm = "relative" },
    { filters = 300, kernel = "map", norm = "relative" },
]
"#;

/// The sample inside the repository: 8,000 + 2,000 images of ten classes.
pub fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample/fashion-mnist")
}

pub fn hebb(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hebb")).args(arguments).output().expect("the program starts")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Sends a signal by its name without SIG.
pub fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill");
    assert!(sent.success());
}

/// Runs and expects success; returns standard output.
pub fn ok(arguments: &[&str]) -> String {
    let output = hebb(arguments);
    assert!(output.status.success(), "hebb {arguments:?}\n{}", stderr(&output));
    stdout(&output)
}

/// Runs and expects this exit code and words in the one line of error.
pub fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    let output = hebb(arguments);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "hebb {arguments:?}\n{message}");
    let error = message.lines().find(|line| line.starts_with("error:")).unwrap_or_default();
    for word in words {
        assert!(error.contains(word), "hebb {arguments:?}: no '{word}' in\n{message}");
    }
    assert!(!message.contains("panicked"), "{message}");
}

/// Writes the first `each` training images of every class as PNG class folders.
pub fn class_folders(folder: &Path, each: usize) {
    let data = hebbian_data::Dataset::open_with(
        &sample(),
        &hebbian_data::OpenOptions { part: hebbian_data::Part::Train, ..Default::default() },
    )
    .expect("the sample opens");
    let mut count = vec![0; data.classes().len()];
    for row in 0..data.len() {
        let label = data.label(row).expect("a label") as usize;
        if count[label] < each {
            let class = folder.join(&data.classes()[label]);
            std::fs::create_dir_all(&class).expect("a folder");
            let image = data.images().decode(row).expect("an image");
            image.save(class.join(format!("{:03}.png", count[label]))).expect("a PNG");
            count[label] += 1;
        }
    }
}

/// A scratch folder with `photos/` (class folders) and `small.toml`.
pub fn scratch(each: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    class_folders(&folder.path().join("photos"), each);
    std::fs::write(folder.path().join("small.toml"), SMALL).expect("a file");
    folder
}

/// The images of `photos` as four shards with labels, in random order; a file in between is no
/// image. Returns the pattern.
pub fn shards(photos: &str, folder: &str) -> String {
    let data = hebbian_data::Dataset::open(Path::new(photos)).unwrap();
    std::fs::create_dir_all(folder).unwrap();
    let order = hebbian_data::seed::shuffled(data.len(), 0, "shards");
    for (shard, rows) in order.chunks(data.len().div_ceil(4)).enumerate() {
        let file = std::fs::File::create(format!("{folder}/train-{shard}.tar")).unwrap();
        let mut builder = tar::Builder::new(file);
        let mut add = |name: String, content: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content).unwrap();
        };
        for &row in rows {
            add(format!("{row:05}.png"), &data.images().encoded(row).unwrap());
            add(format!("{row:05}.cls"), data.label(row).unwrap().to_string().as_bytes());
        }
        add("broken.jpg".to_owned(), b"no image");
        builder.finish().unwrap();
    }
    format!("{folder}/train-{{0..3}}.tar")
}

/// `folder/name` as text.
pub fn at(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().expect("UTF-8").to_owned()
}

/// A number given in the environment, for runs longer than those of every day.
pub fn number(name: &str, otherwise: usize) -> usize {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |text| text.parse().expect("the environment holds a number"))
}

/// All files in a folder and those below it, in order.
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files_in(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// Kills a run again and again, each time later, until one gets to its end;
/// returns how often it was killed.
pub fn run_with_kills(arguments: &[&str], rng: &mut impl rand::Rng) -> usize {
    let mut kills = 0;
    loop {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hebb"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let patience = Duration::from_millis(rng.random_range(5..60) + 12 * kills as u64);
        std::thread::sleep(patience);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{arguments:?}");
            return kills;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        assert!(kills < 300, "the run never gets to its end");
    }
}

/// The metrics without what depends on the clock and the machine.
fn metrics(run: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(format!("{run}/metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        for key in ["time", "images_per_second", "over_floor", "memory_mib"] {
            line.as_object_mut().unwrap().remove(key);
        }
        line
    });
    lines.collect()
}

pub fn same_end(unbroken: &str, killed: &str) {
    for file in ["model/model.safetensors", "model/model.toml"] {
        let read = |run: &str| std::fs::read(format!("{run}/{file}")).unwrap();
        assert!(read(unbroken) == read(killed), "{file} differs");
    }
    assert_eq!(metrics(unbroken), metrics(killed));
}
