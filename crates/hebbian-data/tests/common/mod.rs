//! Real images for the tests.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use hebbian_data::{Dataset, OpenOptions, Part};

/// The sample of Fashion-MNIST in this repository: 8,000 + 2,000 images.
pub(crate) fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../hebb/sample/fashion-mnist")
}

/// The first `n` test images of the sample.
pub(crate) fn few(n: usize) -> Dataset {
    let options = OpenOptions { part: Part::Test, ..OpenOptions::default() };
    let rows: Vec<usize> = (0..n).collect();
    Dataset::open_with(&sample(), &options).unwrap().subset(&rows)
}

/// A file beside the repository that only some machines have.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if !path.exists() {
        println!("skipped: {} is not on this machine", path.display());
        return None;
    }
    Some(path)
}

/// Writes images as PNG files `root/<class>/<number>.png`; returns the ids in order.
pub(crate) fn class_folders(data: &Dataset, root: &Path) -> Vec<String> {
    let mut ids = Vec::new();
    for i in 0..data.len() {
        let class = data.label(i).unwrap();
        let id = format!("class-{class}/{i:04}.png");
        let path = root.join(&id);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, data.images().encoded(i).unwrap()).unwrap();
        ids.push(id);
    }
    ids.sort();
    ids
}

/// A tar of the folder `root`, its paths below `prefix`.
pub(crate) fn tar_of(root: &Path, prefix: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(prefix, root).unwrap();
    builder.into_inner().unwrap()
}
