//! Names by content: the same for the same work, another for any other.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::plan::{Draws, Plan};
use crate::select::Options;
use crate::{Data, Experiment};

const NETWORK: &str = r#"
name = "small"
input = [8, 8, 3]
block = [
    { filters = 4, kernel = 3, pool = 2, norm = "batch" },
    { filters = 8, kernel = "map", norm = "relative" },
]
"#;
const EXPERIMENT: &str = r#"
name = "names"
data = { name = "made up", train = "train", test = "test" }
split = { train = 40, validation = 10, seed = 200, stratified = false }
grid = { layers = ["L1", "L2"], seeds = [0, 1], regimes = [{ fraction = 0.5 }] }
finetune = { epochs = 3 }

[[method]]
name = "none"
pretrain = "none"
network = "small.toml"

[[method]]
name = "HPCA"
pretrain = "hpca"
network = "small.toml"
settings = { epochs = 2 }
"#;

/// A folder with IDX files of `count` made-up images of two classes.
fn images(folder: &Path, count: u8) {
    fs::create_dir_all(folder).unwrap();
    let pixels = (0..count).flat_map(|i| (0..64u8).map(move |p| p.wrapping_mul(i).wrapping_add(i)));
    let file: Vec<u8> =
        [0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 8, 0, 0, 0, 8].into_iter().chain(pixels).collect();
    fs::write(folder.join("train-images-idx3-ubyte"), file).unwrap();
    let labels = (0..count).map(|i| i % 2);
    let file: Vec<u8> = [0, 0, 8, 1, 0, 0, 0, count].into_iter().chain(labels).collect();
    fs::write(folder.join("train-labels-idx1-ubyte"), file).unwrap();
}

fn lab() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    images(&dir.path().join("train"), 50);
    images(&dir.path().join("test"), 20);
    fs::write(dir.path().join("small.toml"), NETWORK).unwrap();
    dir
}

/// The names of all stages and cells of an experiment file.
fn names(dir: &Path, text: &str) -> (Vec<String>, Vec<String>) {
    let experiment = Experiment::parse(text, &dir.join("names.toml")).unwrap();
    let data = Data::open(&experiment, dir, None, &mut |_| {}).unwrap();
    let draws = Draws::new(&experiment, &data).unwrap();
    let plan = Plan::new(&experiment, &data, &draws, &Options::default(), dir).unwrap();
    let stages = plan.stages.iter().map(|stage| stage.id().to_owned());
    let cells = plan.entries.iter().map(|entry| entry.job.id().to_owned());
    (stages.collect(), cells.collect())
}

#[test]
fn names_are_stable_and_all_different() {
    let dir = lab();
    let (stages, cells) = names(dir.path(), EXPERIMENT);
    assert_eq!((stages.len(), cells.len()), (4, 8));
    assert_eq!(names(dir.path(), EXPERIMENT), (stages.clone(), cells.clone()));
    for of in [&stages, &cells] {
        assert!((1..of.len()).all(|i| !of[..i].contains(&of[i])), "{of:?}");
    }
    // Elsewhere, by another name: the same.
    let other = tempfile::tempdir().unwrap();
    fs::rename(dir.path().join("train"), other.path().join("t")).unwrap();
    fs::rename(dir.path().join("test"), other.path().join("test")).unwrap();
    fs::copy(dir.path().join("small.toml"), other.path().join("small.toml")).unwrap();
    let text = EXPERIMENT.replace("\"train\"", "\"t\"").replace("made up", "renamed");
    let text = text.replace("name = \"HPCA\"", "name = \"by components\"");
    assert_eq!(names(other.path(), &text), (stages.clone(), cells));
    // Pinned: a change here throws away every stage that was ever made.
    assert_eq!(stages[0], "9aa11d96f202bfe2");
}

#[test]
fn whatever_decides_a_result_is_in_its_name() {
    let dir = lab();
    let (stages, cells) = names(dir.path(), EXPERIMENT);
    // From, to, whether stages of none and of HPCA change; cells always do.
    let cases = [
        ("epochs = 2", "epochs = 3", [false, true]),
        ("epochs = 2 }", "epochs = 2, lr = 1e-2 }", [false, true]),
        ("pretrain = \"hpca\"", "pretrain = \"hpca\"\nwhitening = \"hl-21\"", [false, true]),
        ("\"hpca\"", "\"soft-wta\"\nrule = { temperature = 0.05 }", [false, true]),
        ("train = 40", "train = 39", [true, true]),
        ("seed = 200", "seed = 201", [true, true]),
        ("seeds = [0, 1]", "seeds = [2, 3]", [true, true]),
        ("stratified = false", "stratified = true", [true, true]),
        ("fraction = 0.5", "fraction = 0.6", [false, false]),
        ("finetune = { epochs = 3 }", "finetune = { epochs = 4 }", [false, false]),
        ("validation = 10", "validation = 9", [false, false]),
    ];
    for (from, to, changes) in cases {
        assert!(EXPERIMENT.contains(from), "{from}");
        let (new_stages, new_cells) = names(dir.path(), &EXPERIMENT.replace(from, to));
        let kept = |new: &[String], old: &[String], i: usize| new[i] == old[i];
        // Stages come as none, HPCA with seed 0, then with seed 1.
        for (i, change) in changes.into_iter().enumerate() {
            assert_eq!(kept(&new_stages, &stages, i), !change, "{to}: stage {i}");
        }
        // Validation images have no part in a strict run.
        let cell_changes = to != "validation = 9";
        let of_hpca = 2;
        assert_eq!(kept(&new_cells, &cells, of_hpca), !cell_changes, "{to}: cell");
    }
}

#[test]
fn images_that_judge_are_in_the_names_of_cells() {
    let dir = lab();
    let (stages, cells) = names(dir.path(), EXPERIMENT);
    let without = EXPERIMENT.replace(", test = \"test\"", "");
    let (same, by_validation) = names(dir.path(), &without);
    assert_eq!(same, stages);
    let fewer = names(dir.path(), &without.replace("validation = 10", "validation = 9")).1;
    for i in 0..cells.len() {
        assert!(cells[i] != by_validation[i] && by_validation[i] != fewer[i], "cell {i}");
    }
}

#[test]
fn a_changed_pixel_or_label_changes_the_names_it_decides() {
    let dir = lab();
    let before = names(dir.path(), EXPERIMENT);
    let flip = |file: &str, from_end: usize| {
        let path = dir.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() - from_end;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
    };
    // A test image decides cells, and no stage.
    flip("test/train-images-idx3-ubyte", 1);
    let tested = names(dir.path(), EXPERIMENT);
    assert_eq!(tested.0, before.0);
    assert!(tested.1.iter().zip(&before.1).all(|(a, b)| a != b));
    flip("test/train-images-idx3-ubyte", 1);
    // All labels of the training images: no stage has ever seen one.
    for i in 1..=50 {
        flip("train/train-labels-idx1-ubyte", i);
    }
    let labelled = names(dir.path(), EXPERIMENT);
    assert_eq!(labelled.0, before.0);
    assert!(labelled.1.iter().zip(&before.1).all(|(a, b)| a != b));
    for i in 1..=50 {
        flip("train/train-labels-idx1-ubyte", i);
    }
    assert_eq!(names(dir.path(), EXPERIMENT), before);
    // A pixel of every training image: everything.
    for i in 0..50 {
        flip("train/train-images-idx3-ubyte", 64 * i + 1);
    }
    let drawn = names(dir.path(), EXPERIMENT);
    assert!(drawn.0.iter().zip(&before.0).all(|(a, b)| a != b));
}
