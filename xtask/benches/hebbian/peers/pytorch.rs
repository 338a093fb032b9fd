//! The same network in PyTorch, on the same images, weights and threads.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use hebbian::network::{NetworkSpec, Tensors};
use hebbian::rules;
use hebbian::train::{FinetuneConfig, VaeConfig};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Answer, Python, expected};
use crate::Bench;
use crate::machine::GemmRates;
use crate::report::{Section, Table, mib, ms, times};
use crate::steps::{Form, RULES, Row, Steps, VAE_NETWORK, Work, rule};
use crate::timing::Timing;

const SCRIPT: &str = "pytorch.py";
/// Images of the naive form, whose tensors take 16 times the published form's
/// patches for each group of channels; its time is in proportion.
const NAIVE_IMAGES: usize = 4;
/// Channels last, by `torch.compile`.
const COMPILED: &str = "compiled";

/// One thing measured in PyTorch.
#[derive(Serialize)]
struct PeerRow {
    what: String,
    /// Memory layout, or form of the update.
    form: &'static str,
    images: usize,
    floor_macs: u64,
    timing: Timing,
    /// Of its outputs from ours, relative to the largest entry; of gradients in
    /// the Euclidean norm.
    largest_difference: f64,
}

impl PeerRow {
    fn seconds_per_image(&self) -> [f64; 3] {
        self.timing.summary().map(|seconds| seconds / self.images as f64)
    }
}

/// How many times as many images a second ours does.
#[derive(Serialize)]
struct Ratio {
    what: String,
    images: usize,
    /// Form in PyTorch.
    over: &'static str,
    /// By the medians.
    times: f64,
    /// Our slowest run against PyTorch's fastest.
    low: f64,
    /// Our fastest run against PyTorch's slowest.
    high: f64,
    /// Our memory over PyTorch's, each beyond network and images; none where
    /// the numbers of images differ.
    memory: Option<f64>,
}

/// All rows of PyTorch.
pub(crate) struct PyTorch {
    versions: BTreeMap<String, String>,
    rows: Vec<PeerRow>,
    ratios: Vec<Ratio>,
}

impl PyTorch {
    /// Adds the runs of another round.
    pub(crate) fn merge(&mut self, other: Self) {
        for (row, other) in self.rows.iter_mut().zip(other.rows) {
            row.timing.add(other.timing);
            row.largest_difference = row.largest_difference.max(other.largest_difference);
        }
    }

    /// Sets ours over all of its rows.
    pub(crate) fn compare(&mut self, steps: &Steps) {
        self.ratios = steps.rows.iter().flat_map(|row| self.ratios_of(row)).collect();
    }
}

/// Measures all rows at every batch size, each after comparing its outputs.
///
/// # Errors
/// If outputs do not agree with ours, or Python fails.
pub(crate) fn measure(bench: &Bench, python: &Python) -> Result<PyTorch> {
    let settings = bench.scratch.path().join("settings.json");
    fs_err::write(&settings, settings_of(bench)?.to_string())?;
    let mut found = PyTorch { versions: BTreeMap::new(), rows: Vec::new(), ratios: Vec::new() };
    let mut forms = vec!["contiguous", "channels-last"];
    if ["c++", "g++", "clang++"].into_iter().any(runs) {
        forms.push(COMPILED);
    } else {
        eprintln!("skipped: PyTorch, compiled: there is no C++ compiler");
    }
    for (index, &batch) in bench.batches.iter().enumerate() {
        for work in [Work::Forward, Work::Supervised, Work::Vae] {
            for &form in &forms {
                found.add(bench, python, &settings, (work, form), (batch, batch))?;
            }
        }
        for work in RULES.map(Work::Hebbian) {
            for form in ["published", "convolution"] {
                found.add(bench, python, &settings, (work, form), (batch, batch))?;
            }
            if index == 0 {
                let images = NAIVE_IMAGES.min(batch);
                found.add(bench, python, &settings, (work, "naive"), (batch, images))?;
            }
        }
    }
    Ok(found)
}

/// Whether there is such a program.
fn runs(program: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

/// What the script needs to know of the network, the optimiser and the rules.
fn settings_of(bench: &Bench) -> Result<Value> {
    let (sgd, vae) = (FinetuneConfig::default(), VaeConfig::default());
    let mut all = Map::new();
    for name in RULES {
        let mut settings = match serde_json::to_value(rule(name)?.params())? {
            Value::Object(params) => params,
            _ => Map::new(),
        };
        settings.insert("name".into(), name.into());
        settings.insert("lr".into(), rules::info(name)?.learning_rate.into());
        all.insert(name.into(), settings.into());
    }
    Ok(json!({
        "network": bench.spec,
        "sgd": { "lr": sgd.lr, "momentum": sgd.momentum, "weight_decay": sgd.weight_decay },
        "rules": all,
        "vae": {
            "network": NetworkSpec::find(VAE_NETWORK)?,
            "lr": vae.lr,
            "momentum": vae.momentum,
            "beta": vae.beta,
        },
    }))
}

impl PyTorch {
    fn add(
        &mut self,
        bench: &Bench,
        python: &Python,
        settings: &Path,
        (work, form): (Work, &'static str),
        (batch, images): (usize, usize),
    ) -> Result<()> {
        eprintln!("PyTorch: {work}, {form}, {images}");
        let outputs = bench.scratch.path().join("outputs.safetensors");
        let inputs = match work {
            Work::Vae => bench.vae_inputs(batch)?,
            _ => bench.inputs(batch)?,
        };
        let args: [(&str, OsString); 7] = [
            ("--row", work.to_string().into()),
            ("--form", form.into()),
            ("--inputs", inputs.into()),
            ("--settings", settings.into()),
            ("--outputs", outputs.clone().into()),
            ("--images", images.to_string().into()),
            ("--runs", bench.runs.to_string().into()),
        ];
        let args = args.into_iter().flat_map(|(name, value)| [name.into(), value]);
        let answer = python.run::<Answer>(SCRIPT, args)?.pop();
        let Answer { versions, timing } = answer.context("PyTorch gave no result")?;
        self.versions = versions;
        let got = Tensors::from_bytes(&outputs, &fs_err::read(&outputs)?)?;
        let peer = format!("PyTorch ({form})");
        let subject = bench.subject(batch)?;
        let largest_difference = expected::compare(&peer, work, &subject, images, &got)?;
        let (what, floor_macs) = (work.to_string(), work.floor(&bench.spec, images)?);
        self.rows.push(PeerRow { what, form, images, floor_macs, timing, largest_difference });
        Ok(())
    }

    /// A row of ours over PyTorch's of the same: for forward pass, supervised
    /// and VAE step the better layout and the compiled one, for Hebbian
    /// steps every form.
    fn ratios_of(&self, ours: &Row) -> Vec<Ratio> {
        if ours.form.is_some_and(|form| form != Form::Engine) {
            return Vec::new();
        }
        let is_same = |peer: &&PeerRow| {
            peer.what == ours.what && (peer.form == "naive" || peer.images == ours.images)
        };
        let peers = self.rows.iter().filter(is_same);
        let peers: Vec<&PeerRow> = if ours.form.is_none() {
            let (compiled, layouts): (Vec<_>, Vec<_>) = peers.partition(|p| p.form == COMPILED);
            let median = |peer: &PeerRow| peer.seconds_per_image()[1];
            let better = layouts.into_iter().min_by(|a, b| median(a).total_cmp(&median(b)));
            better.into_iter().chain(compiled).collect()
        } else {
            peers.collect()
        };
        let own = ours.timing.summary().map(|seconds| seconds / ours.images as f64);
        let ratio = |peer: &PeerRow| {
            let theirs = peer.seconds_per_image();
            let memory = || Some(ours.timing.added_mib()? / peer.timing.added_mib()?);
            Ratio {
                what: ours.what.clone(),
                images: ours.images,
                over: peer.form,
                times: theirs[1] / own[1],
                low: theirs[0] / own[2],
                high: theirs[2] / own[0],
                memory: (peer.images == ours.images).then(memory).flatten(),
            }
        };
        peers.into_iter().map(ratio).collect()
    }
}

impl Section for PyTorch {
    fn key(&self) -> &'static str {
        "pytorch"
    }

    fn json(&self, _: &GemmRates) -> Result<Value> {
        Ok(json!({ "versions": self.versions, "rows": self.rows, "ratios": self.ratios }))
    }

    fn page(&self, rates: &GemmRates) -> String {
        let head = [
            "what",
            "form",
            "images",
            "median ms",
            "min ms",
            "max ms",
            "images/s",
            "x floor",
            "added MiB",
            "apart",
        ];
        let mut rows = Table::new(2, &head);
        for row in &self.rows {
            let [low, median, high] = row.timing.summary();
            rows.push([
                row.what.clone(),
                row.form.to_owned(),
                row.images.to_string(),
                ms(median),
                ms(low),
                ms(high),
                format!("{:.1}", row.images as f64 / median),
                times(Some(median * rates.all_threads / row.floor_macs as f64)),
                mib(row.timing.added_mib()),
                format!("{:.0e}", row.largest_difference),
            ]);
        }
        let head = ["ours over PyTorch", "its form", "images", "times", "low", "high", "memory"];
        let mut ratios = Table::new(2, &head);
        for ratio in &self.ratios {
            ratios.push([
                ratio.what.clone(),
                ratio.over.to_owned(),
                ratio.images.to_string(),
                times(Some(ratio.times)),
                times(Some(ratio.low)),
                times(Some(ratio.high)),
                times(ratio.memory),
            ]);
        }
        let versions: Vec<_> = self.versions.iter().map(|(n, v)| format!("{n} {v}")).collect();
        format!(
            "## PyTorch\n\n\
             - {}; weights, images and threads as above; each row in a process of its own\n\
             - compiled: channels last by torch.compile, compiling left out\n\
             - published: patches unfolded, products in FastHebb's order, 128 channels at a time; \
             convolution: the same update by the weight gradient of a convolution, channels last; \
             naive: a tensor of positions x 128 channels x patch, on {} images\n\
             - apart: largest difference from our outputs (features; updates and outputs of each \
             layer; losses), relative to the largest entry; of gradients, the optimiser's step and \
             a VAE's images in the Euclidean norm, since a response within rounding of zero or of \
             its neighbour decides them\n\n{}\n\
             Times as many images a second by the medians (low: our slowest run over its fastest; \
             high: our fastest over its slowest), and our added memory over its; forward pass, \
             supervised and VAE step over its better layout, and over it compiled:\n\n{}",
            versions.join(", "),
            NAIVE_IMAGES,
            rows.to_markdown(),
            ratios.to_markdown()
        )
    }
}
