//! What is said of results: reports, comparisons, the tables that are kept.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{CELLS, EXPERIMENT, lab, run};
use crate::common::{at, fails, ok, stderr, stdout};

#[test]
fn kept_results_are_checked_by_a_sample_and_a_change_is_compared() {
    let dir = lab();
    let (file, data) = (at(&dir, "tiny.toml"), dir.path().to_str().unwrap());
    let (kept, out) = (at(&dir, "kept"), at(&dir, "again"));
    ok(&run(&file, data, &kept, &[]));
    let sample = run(&file, data, &out, &["--sample", "3"]);
    let planned = ok(&[&sample[..], &["--dry-run"]].concat());
    assert!(planned.contains("0 of 3 cells done"), "{planned}");
    ok(&sample);
    // From the experiment's file and from the folder of a run.
    fs::create_dir_all(at(&dir, "results")).unwrap();
    fs::copy(format!("{kept}/tiny.jsonl"), at(&dir, "results/tiny.jsonl")).unwrap();
    let compare = ["experiment", "compare", &file, &out];
    let same = ok(&[&compare[..], &["--within", "0"]].concat());
    assert!(same.contains("All 3 accuracies are equal."), "{same}");
    let rest = format!("{} cells are in the earlier results only.", CELLS - 3);
    assert!(same.contains(&rest) && same.contains("tiny.jsonl"), "{same}");

    // Another rate: what it changed, and that it did.
    let text = EXPERIMENT.replace("batch = 16 }", "batch = 16, lr = 0.02 }");
    fs::write(&file, text).unwrap();
    let changed = at(&dir, "changed");
    ok(&run(&file, data, &changed, &[]));
    let compare = ["experiment", "compare", &kept, &changed];
    let said = ok(&compare);
    assert!(said.contains("| 40% | HPCA | 2 | ") && said.contains("| 40% | none | 2 | +0.00 "));
    assert!(said.contains("HPCA: pretraining.config.lr was 0.001, is 0.02"), "{said}");
    let json: serde_json::Value =
        serde_json::from_str(&ok(&[&compare[..], &["--json"]].concat())).unwrap();
    assert_eq!(json["accuracy"]["pairs"], CELLS);
    assert!(
        json["rankings"]["pairs"].as_u64() > Some(0) && json["probes"]["pairs"].as_u64() > Some(0)
    );
    let largest =
        ["accuracy", "rankings", "probes"].map(|of| json[of]["largest"].as_f64().unwrap());
    let largest = largest.into_iter().map(f64::abs).fold(0.0, f64::max);
    assert!(largest > 0.0, "{json}");
    let below = format!("{}", largest / 2.0);
    fails(&[&compare[..], &["--within", &below]].concat(), 1, &["points, more than"]);
    ok(&[&compare[..], &["--within", "100"]].concat());

    // Mistakes.
    fails(&[&compare[..], &["--within", "-1"]].concat(), 2, &["--within", "from 0 on"]);
    fails(&run(&file, data, &out, &["--sample", "0"]), 2, &["--sample", "at least 1"]);
    let missing = at(&dir, "missing.jsonl");
    fails(&["experiment", "compare", &kept, &missing], 1, &["missing.jsonl"]);
    let empty = at(&dir, "empty.jsonl");
    fs::write(&empty, "").unwrap();
    fails(&["experiment", "compare", &kept, &empty], 2, &["empty.jsonl", "no cell in common"]);
    fs::write(&empty, "{}\n").unwrap();
    fails(&["experiment", "compare", &kept, &empty], 1, &["empty.jsonl", "line 1"]);
}

#[test]
fn a_report_shows_what_was_found() {
    let dir = lab();
    let (file, data, out) = (at(&dir, "tiny.toml"), dir.path().to_str().unwrap(), at(&dir, "out"));
    let kept = at(&dir, "kept.jsonl");
    let printed = ok(&run(&file, data, &out, &["--results", &kept]));
    let page = at(&dir, "page.html");
    let table = ok(&["experiment", "report", &out, "--html", &page]);
    // Each names the file that it was given; OUT has a copy.
    assert_eq!(table, printed.replace(&file, &at(&dir, "out/tiny.toml")));
    assert!(table.contains("| labels | method | n | L1 | L3 |"), "{table}");
    let rows = |start: &str| table.lines().filter(|line| line.starts_with(start)).count();
    // Two methods; of one of them its gain too.
    assert_eq!((rows("| labels"), rows("| 40%"), rows("| 100%")), (2, 3, 3), "{table}");
    // Epoch by epoch, and every definition of mAP of both features and methods.
    assert_eq!((rows("| L1 | HPCA |"), rows("| L3: L1 | 5 | mAP truncated |")), (1, 2), "{table}");
    assert!(table.contains("(37.01)") && table.contains("(41.88)") && table.contains('±'));
    let page = fs::read_to_string(&page).unwrap();
    for word in [
        "Test accuracy, %",
        "Accuracy by layer",
        "Accuracy by number of labels",
        "Convergence without labels",
        "First layer: HPCA",
        "Retrieval, %",
        "L3: L1, the first 5: mAP truncated",
        "Nearest images: none",
        "Where the time went",
        "paper 41.88",
    ] {
        assert!(page.contains(word), "no '{word}' in the page");
    }
    // The same charts as files of their own, of all or of what is asked for.
    let figures = at(&dir, "figures");
    ok(&["experiment", "report", &out, "--figures", &figures]);
    for chart in ["by-epoch", "by-labels", "by-layer", "gains", "retrieval"] {
        let path = format!("{figures}/tiny-{chart}.svg");
        assert!(fs::read_to_string(&path).unwrap().contains("</svg>"), "{path}");
    }
    let part = ["--only", "HPCA", "--labels", "40%", "--figures", &figures];
    let less = ok(&[&["experiment", "report", &out][..], &part].concat());
    assert!(less.contains(" --only HPCA --labels 40% --data DATA"), "{less}");
    assert!(less.contains("| 40% | HPCA |") && !less.contains("| 40% | none |"), "{less}");
    assert!(!less.contains("| 100% |") && less.contains("Gain over none"), "{less}");
    let svg = fs::read_to_string(format!("{figures}/tiny-by-layer.svg")).unwrap();
    assert!(svg.contains(" --only HPCA --labels 40% --figures DIR</desc>"), "{svg}");
    assert!(svg.contains(">40% of the labels<") && !svg.contains(">100% of the labels<"));
    let nothing = ["--layer", "L1", "--labels", "40%", "--only", "none", "--figures", &figures];
    fails(
        &[&["experiment", "report", &out][..], &nothing].concat(),
        2,
        &["--figures", "nothing to draw"],
    );
    fails(&["experiment", "report", &out, "--only", "hpca"], 2, &["--only", "none, HPCA"]);
    // Compared with another method than the file's.
    let turned = ok(&["experiment", "report", &out, "--baseline", "HPCA", "--figures", &figures]);
    let svg = fs::read_to_string(format!("{figures}/tiny-gains.svg")).unwrap();
    assert!(svg.contains("<title>A tiny grid: gain over HPCA by layer</title>"), "{svg}");
    assert!(svg.contains(" --baseline HPCA --figures DIR</desc>"), "{svg}");
    let gains = turned.split("Gain over HPCA, points").nth(1).unwrap();
    assert!(gains.contains("| 40% | none | 2 |") && !gains.contains("| 40% | HPCA |"), "{gains}");
    fails(&["experiment", "report", &out, "--baseline", "x"], 2, &["--baseline", "none, HPCA"]);
    // From the lines alone, without the folder: the same table.
    let alone = ok(&["experiment", "report", &file, "--results", &kept]);
    assert_eq!(alone, printed);
    // Results given back into a file leave other lines alone.
    let more = fs::read_to_string(&kept).unwrap();
    let other = more.lines().next().unwrap().replace("\"tiny\"", "\"another\"");
    fs::write(&kept, format!("{other}\n")).unwrap();
    ok(&run(&file, data, &out, &["--results", &kept]));
    let merged = fs::read_to_string(&kept).unwrap();
    assert_eq!(merged.lines().count(), more.lines().count() + 1);
    assert!(merged.lines().any(|line| line == other));
}

/// Nobody copies a figure by hand: the tables in the repository are what the
/// program says of the results beside them.
#[test]
fn the_tables_kept_with_results_are_what_the_results_say() {
    let mut seen = 0;
    for entry in fs::read_dir(repository().join("experiments/results")).unwrap() {
        let kept = entry.unwrap().path().with_extension("md");
        let name = kept.file_stem().unwrap().to_str().unwrap();
        let file = format!("experiments/{name}.toml");
        let printed = in_repository(&["experiment", "report", &file]);
        let again = format!("hebb experiment report {file} > experiments/results/{name}.md");
        let text = fs::read_to_string(&kept).unwrap_or_default();
        assert!(text == printed, "{} is not of its results: {again}", kept.display());
        assert!(text.contains(&format!("`hebb experiment run {file} ")), "{text}");
        seen += 1;
    }
    assert!(seen > 0);
}

/// The same of figures: each says the command that draws it.
#[test]
fn the_figures_kept_are_what_the_results_say() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(repository().join("docs/figures")).unwrap() {
        let kept = entry.unwrap().path();
        let figure = fs::read_to_string(&kept).unwrap();
        let command = figure.split("<desc>").nth(1).unwrap().split("</desc>").next().unwrap();
        let words = words(command).into_iter();
        let words: Vec<&str> =
            words.map(|word| if word == "DIR" { folder } else { word }).collect();
        in_repository(&words);
        let drawn = fs::read_to_string(dir.path().join(kept.file_name().unwrap())).unwrap();
        assert!(figure == drawn, "{} is not of its results: {command}", kept.display());
        seen += 1;
    }
    assert!(seen > 0);
}

/// Three runs of every method, by two amounts of labels.
#[test]
fn retrieval_is_drawn_with_the_intervals_of_its_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (file, folder) = ("experiments/cifar10-search-tuned.toml", dir.path().to_str().unwrap());
    in_repository(&["experiment", "report", file, "--figures", folder]);
    let path = dir.path().join("cifar10-search-tuned-retrieval.svg");
    let drawn = fs::read_to_string(path).unwrap();
    assert!(drawn.matches(r#"<path class="band""#).count() > 10, "{drawn}");
}

/// Nine methods, of which two are measured with 1% of the labels only.
#[test]
fn of_too_many_methods_those_in_the_most_places_are_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let (file, folder) = ("experiments/cifar10-table-1.toml", dir.path().to_str().unwrap());
    let page = at(&dir, "page.html");
    in_repository(&["experiment", "report", file, "--figures", folder, "--html", &page]);
    let drawn = fs::read_to_string(at(&dir, "cifar10-table-1-by-layer.svg")).unwrap();
    assert!(drawn.contains(">PCA<") && drawn.contains(">VAE<"), "{drawn}");
    assert!(!drawn.contains(">soft-WTA, whitened as in 2021<"), "{drawn}");
    let page = fs::read_to_string(&page).unwrap();
    assert!(page.contains("Not drawn, as they are in few places: no pre-training, VAE"));
}

/// What is said with an interval is in a table, or printed by a command that
/// the text names.
#[test]
fn intervals_in_the_text_are_those_of_the_results() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
    let (readme, results) = (read("README.md"), read("docs/results.md"));
    let mut known = String::new();
    for entry in fs::read_dir(repository().join("experiments/results")).unwrap() {
        known += &fs::read_to_string(entry.unwrap().path().with_extension("md")).unwrap();
    }
    let commands = results.split('`').filter(|code| {
        let of_results =
            |verb: &str| code.starts_with(&format!("hebb experiment {verb} experiments/"));
        !code.contains("NAME") && (of_results("report") || of_results("compare"))
    });
    for command in commands {
        known += &in_repository(&words(command));
    }
    let known = intervals(&known);
    for (name, text) in [("README.md", readme), ("docs/results.md", results)] {
        let said = intervals(&text);
        assert!(said.len() > 10, "{name}: {said:?}");
        for interval in said {
            assert!(known.contains(&interval), "{name}: {interval} is in no table");
        }
    }
}

/// All that reads like `1.23 ± 0.45`, whatever its sign.
fn intervals(text: &str) -> BTreeSet<String> {
    let number = |c: char| c.is_ascii_digit() || c == '.';
    let mut pieces = text.split(" ± ");
    let mut before = pieces.next().unwrap_or_default();
    let mut found = BTreeSet::new();
    for piece in pieces {
        let mean = before.rsplit(|c| !number(c)).next().unwrap_or_default();
        let margin = piece.split(|c| !number(c)).next().unwrap_or_default();
        if !mean.is_empty() && !margin.is_empty() {
            // A sentence may end here.
            found.insert(format!("{mean} ± {}", margin.trim_end_matches('.')));
        }
        before = piece;
    }
    found
}

/// The words after `hebb`; what is between quotation marks is one.
fn words(command: &str) -> Vec<&str> {
    let pieces = command.split('\'').enumerate().flat_map(|(i, piece)| match i % 2 {
        0 => piece.split_whitespace().collect(),
        _ => vec![piece],
    });
    pieces.skip(1).collect()
}

/// What `hebb` prints in the repository's folder.
fn in_repository(words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hebb"));
    let output = command.current_dir(repository()).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    stdout(&output)
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// The first example of the documentation is what a reader types first.
#[test]
fn the_documented_experiment_runs() {
    let text = fs::read_to_string(repository().join("docs/experiments.md")).unwrap();
    let file = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let (dir, data) =
        (tempfile::tempdir().unwrap(), repository().join("crates/hebb/sample/fashion-mnist"));
    fs::write(dir.path().join("winners.toml"), file).unwrap();
    let (file, out) = (at(&dir, "winners.toml"), at(&dir, "out"));
    let cells = ok(&run(&file, data.to_str().unwrap(), &out, &["--dry-run"]));
    assert!(cells.contains("0 of 18 cells done, 0 of 9 pre-trainings"), "{cells}");
}
