//! Cells are done once, whoever does them and whatever happens meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::RngExt;

use super::{CELLS, EXPERIMENT, lab, names, results, run};
use crate::common::{at, fails, hebb, ok, signal, stderr, stdout};

fn spawn(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hebb"));
    let quiet = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    quiet.spawn().unwrap()
}

/// The bits of every stage's model.
fn models(out: &str) -> BTreeSet<(String, Vec<u8>)> {
    let stages = fs::read_dir(format!("{out}/stages")).unwrap();
    let model = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let bits = fs::read(entry.path().join("model/model.safetensors")).unwrap();
        (entry.file_name().into_string().unwrap(), bits)
    };
    stages.map(model).collect()
}

#[test]
fn a_killed_grid_and_a_shared_one_end_like_an_unbroken_one() {
    let dir = lab();
    let (file, data) = (at(&dir, "tiny.toml"), dir.path().to_str().unwrap());
    let whole = at(&dir, "whole");
    ok(&run(&file, data, &whole, &[]));
    let due = results(&whole);
    let kinds = |kind: &str| due.iter().filter(|line| line["kind"] == kind).count();
    // Stages: two methods with two seeds, each made once for all its cells.
    assert_eq!((kinds("cell"), kinds("stage")), (CELLS, 4));
    assert!(names(&format!("{whole}/work")).is_empty(), "finished cells leave nothing behind");

    // Killed again and again, each time later. The seed is printed, so that
    // the moments can be had again.
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    println!("seed {now}");
    let mut rng = hebbian_data::seed::stream(u64::from(now), "kills");
    let (killed, mut kills, mut stopped) = (at(&dir, "killed"), 0, 0);
    let arguments = run(&file, data, &killed, &[]);
    loop {
        let mut child = spawn(&arguments);
        std::thread::sleep(Duration::from_millis(rng.random_range(100..400) + 20 * kills));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        // By SIGTERM, by which it ends itself, or if need be by SIGKILL.
        if cfg!(unix) && rng.random() {
            signal(&child, "TERM");
        } else {
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let message = stderr(&output);
        match output.status.code() {
            // It was done, or died before there was anything to save.
            Some(0) | None => {}
            Some(143) => {
                assert!(message.contains("the same command goes on"), "{message}");
                stopped += 1;
            }
            Some(other) => panic!("{other}: {message}"),
        }
        kills += 1;
        assert!(kills < 200, "the run never gets to its end");
    }
    println!("killed {kills} times, {stopped} of them stopped at their own pace");
    assert!(kills >= 2, "killed only {kills} times: too fast to show anything");
    assert_eq!(results(&killed), due);
    assert!(models(&killed) == models(&whole));

    // Two processes in one folder, each with its share; and two without.
    for shards in [&[["--shard", "1/2"], ["--shard", "2/2"]][..], &[["--max-cells", "99"]; 2]] {
        let shared = at(&dir, &format!("shared{}", shards[0][0]));
        let children: Vec<Child> =
            shards.iter().map(|shard| spawn(&run(&file, data, &shared, shard))).collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
        }
        assert_eq!(results(&shared), due);
        assert!(models(&shared) == models(&whole));
    }
}

#[test]
fn what_is_done_is_not_done_again() {
    let dir = lab();
    let (file, data, out) = (at(&dir, "tiny.toml"), dir.path().to_str().unwrap(), at(&dir, "out"));
    let dry = |more: &[&str]| -> serde_json::Value {
        let more = [more, &["--dry-run", "--json"]].concat();
        serde_json::from_str(&ok(&run(&file, data, &out, &more))).unwrap()
    };
    let before = dry(&[]);
    assert_eq!(before["cells"].as_array().unwrap().len(), CELLS);
    assert_eq!((&before["stages"], &before["stages_done"]), (&4.into(), &0.into()));
    // Cells, rankings of L3, stages: guessed, but not left out.
    assert!(before["seconds_left"].as_f64() > Some(0.0));
    assert_eq!(before["parts_guessed"], CELLS + CELLS / 2 + 4);
    assert!(!Path::new(&out).exists(), "a dry run leaves nothing behind");
    let said = hebb(&run(&file, data, &out, &["--dry-run"]));
    assert!(stdout(&said).contains("time left: about "), "{}", stdout(&said));

    // One cell, then one layer of one method.
    ok(&run(&file, data, &out, &["--max-cells", "1"]));
    assert_eq!(names(&format!("{out}/stages")).len(), 1);
    ok(&run(&file, data, &out, &["--only", "none/L3"]));
    let cells = || results(&out).into_iter().filter(|line| line["kind"] == "cell").count();
    assert_eq!(cells(), 1 + 3);
    let between = dry(&["--only", "none"]);
    assert!(between["seconds_left"].as_f64() > Some(0.0), "{between}");
    assert_eq!(between["parts_guessed"], 0);
    ok(&run(&file, data, &out, &[]));
    let kept = || {
        let cells = fs::read_dir(format!("{out}/cells")).unwrap();
        let stages = fs::read_dir(format!("{out}/stages")).unwrap();
        let stages = stages.map(|e| e.unwrap().path().join("stage.json"));
        let files: BTreeSet<_> = cells.map(|e| e.unwrap().path()).chain(stages).collect();
        files.into_iter().map(|f| (fs::metadata(&f).unwrap().modified().unwrap(), f)).collect()
    };
    let first: Vec<_> = kept();
    let again = hebb(&run(&file, data, &out, &["--json"]));
    assert!(
        again.status.success() && !stderr(&again).contains("fine-tuning"),
        "{}",
        stderr(&again)
    );
    assert_eq!(kept(), first);
    assert_eq!(dry(&[])["parts_guessed"], 0);

    // Other settings of fine-tuning are other cells after the same stages; the
    // images decide, not what their folder is called.
    fs::rename(at(&dir, "photos"), at(&dir, "pictures")).unwrap();
    let edited =
        EXPERIMENT.replace("epochs = 3", "epochs = 2").replace("\"photos\"", "\"pictures\"");
    fs::write(&file, edited).unwrap();
    let changed = dry(&[]);
    assert_eq!((&changed["stages"], &changed["stages_done"]), (&4.into(), &4.into()));
    let done = changed["cells"].as_array().unwrap().iter().filter(|c| c["done"] == true).count();
    assert_eq!(done, 0);
    // Another image is another stage.
    let class = fs::read_dir(at(&dir, "pictures")).unwrap().next().unwrap().unwrap().path();
    let class = fs::read_dir(class.parent().unwrap().join(class.file_name().unwrap())).unwrap();
    let mut images: Vec<_> = class.map(|e| e.unwrap().path()).collect();
    images.sort();
    fs::copy(at(&dir, "small.toml"), &images[0]).unwrap();
    assert!(dry(&[])["stages_done"].as_u64() < Some(4));
}

#[test]
fn results_kept_elsewhere_are_not_computed_again() {
    let dir = lab();
    let (file, data) = (at(&dir, "tiny.toml"), dir.path().to_str().unwrap());
    let (kept, first, second) = (at(&dir, "kept.jsonl"), at(&dir, "first"), at(&dir, "second"));
    let gather = |out: &str, more: &[&str]| {
        hebb(&run(&file, data, out, &[more, &["--results", &kept]].concat()))
    };
    // Some cells in one folder, by what they are; each is in the file as soon
    // as it is done.
    let some = ["--only", "HPCA", "--labels", "40%", "--seed", "0", "--layer", "L1,L3"];
    assert!(gather(&first, &some).status.success());
    let lines = || -> Vec<serde_json::Value> {
        let text = fs::read_to_string(&kept).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let of_cells = || lines().into_iter().filter(|l| l["kind"] == "cell").collect::<Vec<_>>();
    assert_eq!(of_cells().len(), 2);
    let before = of_cells();
    // Elsewhere they are known, and so is what their pre-training took.
    let dry = || -> serde_json::Value {
        let output = gather(&second, &["--dry-run", "--json"]);
        serde_json::from_str(&stdout(&output)).unwrap()
    };
    let state = |key: &str| {
        dry()["cells"].as_array().unwrap().iter().filter(|cell| cell[key] == true).count()
    };
    assert_eq!((state("known"), state("done")), (2, 2));
    assert!(!Path::new(&second).exists(), "a dry run leaves nothing behind");
    let output = gather(&second, &["--only", "HPCA", "--labels", "0.4", "--seed", "0"]);
    assert!(output.status.success() && stderr(&output).contains("2 of 2 cells were known"));
    assert!(!Path::new(&at(&dir, "second/stages")).exists(), "nothing had to be learned");
    assert_eq!(results(&second).len(), 3, "two cells and their stage");
    // The rest is computed, and the file ends up like that of one run.
    assert!(gather(&second, &[]).status.success());
    let whole = at(&dir, "whole");
    ok(&run(&file, data, &whole, &[]));
    assert_eq!(results(&second), results(&whole));
    assert_eq!(of_cells().len(), CELLS);
    for line in &before {
        assert!(of_cells().contains(line), "a known line stays as it was: {line}");
    }
    assert!(before[0]["code_version"].as_str().unwrap().starts_with(env!("CARGO_PKG_VERSION")));
    // Other settings are other cells, and what is kept does not pass for theirs.
    fs::write(&file, EXPERIMENT.replace("epochs = 3", "epochs = 4")).unwrap();
    assert_eq!(state("done"), 0);
    let report = hebb(&["experiment", "report", &file, "--results", &kept]);
    assert!(stdout(&report).contains("0 of 12 cells are done"), "{report:?}");
    assert!(stderr(&report).contains("or of other settings"), "{report:?}");
    // What the file does not have is refused by name.
    for (option, value, known) in
        [("--layer", "L2", "L1, L3"), ("--labels", "5%", "40%, 100%"), ("--seed", "7", "0, 1")]
    {
        fails(&run(&file, data, &second, &[option, value]), 2, &[option, known]);
    }
    assert_eq!(hebb(&run(&file, data, &second, &["--labels", "many"])).status.code(), Some(2));
}

#[test]
fn a_method_that_diverges_leaves_the_others_alone() {
    let dir = lab();
    let (file, data, out) = (at(&dir, "tiny.toml"), dir.path().to_str().unwrap(), at(&dir, "out"));
    let wild = EXPERIMENT.replace("batch = 16 }", "batch = 16, lr = 900.0 }");
    fs::write(&file, wild).unwrap();
    let warned = |output: &std::process::Output| {
        let said = stderr(output);
        assert!(output.status.success(), "{said}");
        for word in ["6 of 12 cells have no model", "HPCA", "no longer finite"] {
            assert!(said.contains(word), "{said}");
        }
    };
    warned(&hebb(&run(&file, data, &out, &[])));
    let cells = results(&out).into_iter().filter(|line| line["kind"] == "cell");
    assert!(cells.map(|c| c["method"].clone()).eq(["none"; 6].map(serde_json::Value::from)));
    // That it diverges is a result: it is kept, not tried again, and in the table.
    let (kept, other) = (at(&dir, "out/tiny.jsonl"), at(&dir, "other"));
    let elsewhere = run(&file, data, &other, &["--results", &kept]);
    warned(&hebb(&elsewhere));
    assert!(!Path::new(&other).join("stages").exists());
    let preview = ok(&[&elsewhere[..], &["--dry-run"]].concat());
    assert!(preview.contains("diverges") && preview.contains("6 of 12 cells done"), "{preview}");
    assert!(preview.contains("time left: 0 s"), "{preview}");
    let table = ok(&["experiment", "report", &out]);
    assert!(table.contains("| 40% | HPCA | – | diverges (37.01) | diverges (41.88) |"), "{table}");
    assert!(table.contains("no longer finite (6 cells)"), "{table}");
}

#[test]
fn the_vae_is_looked_at_after_each_epoch() {
    let dir = lab();
    let (file, data, out) = (at(&dir, "tiny.toml"), dir.path().to_str().unwrap(), at(&dir, "out"));
    let vae = EXPERIMENT
        .replace("pretrain = \"hpca\"", "pretrain = \"vae\"")
        .replace("epochs = 2, batch = 16", "epochs = 2, batch = 16, latent = 8");
    fs::write(&file, vae).unwrap();
    ok(&run(&file, data, &out, &["--only", "HPCA/L1", "--max-cells", "1"]));
    let stage = results(&out).into_iter().find(|line| line["kind"] == "stage").unwrap();
    let probes = stage["convergence"].as_array().unwrap();
    let of = |layer: &str| {
        let probes = probes.iter().filter(|probe| probe["layer"] == layer);
        probes.map(|probe| probe["epoch"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((of("L1"), of("L3")), (vec![0, 1, 2], vec![0, 1, 2]), "{stage}");
}

#[test]
fn features_as_they_are_are_classified_and_judged_by_validation_images() {
    let dir = lab();
    let data = dir.path().to_str().unwrap();
    let only = EXPERIMENT.split("[retrieval]").next().unwrap();
    let text = only
        .replace("test = \"test\"\n", "")
        .replace("train = 150", "train = 150\nvalidation = 40")
        .replace("[finetune]\nepochs = 3\nbatch = 16", "");
    let mut found = Vec::new();
    for by in [
        "by = \"nearest-mean\"",
        "by = \"knn\", k = 3",
        "by = \"svm\", nystroem = 30",
        "by = \"hebbian\", lr = 0.1",
    ] {
        let file = at(&dir, "frozen.toml");
        let text =
            text.replace("\n[data]", &format!("\nclassifier = {{ frozen = {{ {by} }} }}\n[data]"));
        fs::write(&file, text).unwrap();
        let out = at(&dir, "frozen");
        ok(&run(&file, data, &out, &[]));
        let lines = results(&out);
        let cells: Vec<_> = lines.into_iter().filter(|line| line["kind"] == "cell").collect();
        assert_eq!(cells.len(), CELLS, "{by}");
        for cell in &cells {
            assert_eq!((&cell["test_images"], &cell["protocol"]), (&40.into(), &"strict".into()));
            assert_eq!(cell["config"]["judged_on"], "validation");
            // Ten classes: better than a guess.
            assert!(cell["accuracy"].as_f64() > Some(0.2), "{cell}");
        }
        found.push(cells.iter().map(|cell| cell["accuracy"].to_string()).collect::<Vec<_>>());
    }
    assert!(found.windows(2).all(|two| two[0] != two[1]), "{found:?}");
    // One pre-training for all of them.
    assert_eq!(names(&at(&dir, "frozen/stages")).len(), 4);
    let report = ok(&["experiment", "report", &at(&dir, "frozen")]);
    assert!(report.contains("validation accuracy"), "{report}");
}
