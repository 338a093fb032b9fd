//! TensorBoard reads from a run's event file what `metrics.jsonl` says, also after a kill.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use common::{at, ok, run_with_kills, scratch};

/// Step and value of every point of every curve of a folder, by TensorBoard's own reader.
const READ: &str = "
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0})
found.Reload()
curves = {tag: [(point.step, point.value) for point in found.Scalars(tag)]
          for tag in found.Tags()['scalars']}
json.dump(curves, sys.stdout)
";

type Curves = BTreeMap<String, Vec<(u64, f64)>>;

/// What TensorBoard reads; none where it is not installed.
fn read(run: &str) -> Option<Curves> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join("target/store-servers/bin/python");
    let output = Command::new(python).args(["-c", READ, run]).output();
    match output {
        Ok(output) if output.status.success() => {
            let mut curves: Curves = serde_json::from_slice(&output.stdout).unwrap();
            // Event files hold single precision; reading their decimals in double precision may
            // miss it by a last bit.
            let values = curves.values_mut().flatten();
            values.for_each(|(_, value)| *value = f64::from(*value as f32));
            Some(curves)
        }
        failed => {
            let required = std::env::var_os("HEBB_REQUIRE_TENSORBOARD").is_some();
            assert!(!required, "TensorBoard does not read {run}: {failed:?}");
            println!("skipped: TensorBoard is not installed");
            None
        }
    }
}

/// The same from `metrics.jsonl`, rounded as event files round.
fn written(run: &str) -> Curves {
    let mut curves = Curves::new();
    let text = std::fs::read_to_string(format!("{run}/metrics.jsonl")).unwrap();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let step = line["step"].as_u64().unwrap();
        let mut add = |tag: String, value: &serde_json::Value| {
            if let Some(value) = value.as_f64() {
                curves.entry(tag).or_default().push((step, f64::from(value as f32)));
            }
        };
        for (key, value) in line.as_object().unwrap() {
            match value.as_array() {
                Some(layers) => {
                    (1..).zip(layers).for_each(|(n, of)| add(format!("{key}/L{n}"), of))
                }
                None => add(key.clone(), value),
            }
        }
    }
    curves.retain(|tag, _| !["time", "step", "steps"].contains(&tag.as_str()));
    curves
}

#[test]
fn tensorboard_reads_what_the_metrics_say() {
    let dir = scratch(12);
    let (photos, network) = (at(&dir, "photos"), at(&dir, "small.toml"));
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    println!("seed {now}");
    let mut random = hebbian_data::seed::stream(u64::from(now), "kills");
    let (run, tuned) = (at(&dir, "run"), at(&dir, "tuned"));
    let pretrain = ["pretrain", &photos, "--network", &network, "--set", "pretrain.batch=4"];
    let order = ["--set", "pretrain.order=successive", "--out", &run, "--resume"];
    let kills = run_with_kills(&[&pretrain[..], &order].concat(), &mut random);
    println!("killed {kills} times");
    ok(&["finetune", &photos, "--model", &run, "--out", &tuned]);
    for (run, tags) in [
        (&run, ["change/L1", "change/L3", "spread/L2", "images_per_second"]),
        (&tuned, ["batch_loss", "batch_accuracy", "loss", "train_accuracy"]),
    ] {
        let want = written(run);
        for tag in tags {
            assert!(want[tag].len() > 2, "{tag}: {want:?}");
        }
        let Some(found) = read(run) else { return };
        assert_eq!(found, want);
    }
}
