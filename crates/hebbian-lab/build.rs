//! The revision of the source, for the records of results.

use std::process::Command;

/// What decides results.
const SOURCES: [&str; 5] =
    ["hebbian", "hebbian-data", "hebbian-lab", "hebbian-search", "hebbian-eigen"];

fn main() {
    let git = |arguments: &[&str]| -> Option<String> {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let paths = SOURCES.map(|name| format!("../{name}/src"));
    let mut version = env!("CARGO_PKG_VERSION").to_owned();
    // Not where the crate lies in somebody else's working copy.
    let own = git(&["ls-files", "--error-unmatch", "build.rs"]).is_some();
    if let Some(revision) = git(&["rev-parse", "--short=10", "HEAD"]).filter(|_| own) {
        let paths = paths.iter().map(String::as_str);
        let changed: Vec<&str> = ["status", "--porcelain", "--"].into_iter().chain(paths).collect();
        version += &format!("+{revision}");
        if git(&changed).is_none_or(|changes| !changes.is_empty()) {
            version += "-changed";
        }
    }
    println!("cargo:rustc-env=HEBBIAN_VERSION={version}");
    // Looked at again after a commit, and after a change of the sources.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    paths.iter().for_each(|path| println!("cargo:rerun-if-changed={path}"));
}
