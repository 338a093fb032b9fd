//! How long pre-training takes: an epoch and to convergence, by the VAE and by
//! each rule in its naive and its fast form. The shape of Lagani 2023, Table 1.

use anyhow::Result;
use hebbian::train::{PretrainConfig, VaeConfig};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Bench;
use crate::machine::GemmRates;
use crate::report::{Section, Table, times};
use crate::steps::{Form, RULES, Steps, Work};

/// Images of an epoch: CIFAR-10's as published.
const IMAGES: usize = 40_000;

/// The published ratios of an epoch, naive over fast, and of the totals, VAE over
/// fast Hebbian, on a graphics card and ImageNet.
const PUBLISHED: [(&str, f64); 2] = [("soft-wta", 28.9), ("hpca", 42.6)];
const PUBLISHED_TOTAL: f64 = 4.4;

/// One way of pre-training.
#[derive(Serialize)]
struct Line {
    method: String,
    form: Form,
    epoch_seconds: f64,
    epochs: usize,
    total_seconds: f64,
    /// Times as fast as the same rule's naive form.
    over_naive: Option<f64>,
    /// Times as fast as the VAE to the end.
    total_over_vae: Option<f64>,
}

/// What pre-training takes.
pub(crate) struct Epochs {
    steps: Steps,
    threads: usize,
}

/// Measures the steps that epochs are made of, at the first batch size.
///
/// # Errors
/// If the forms of a rule do not agree, or images can't be read.
pub(crate) fn measure(bench: &Bench) -> Result<Epochs> {
    let (mut steps, batch) = (Steps::default(), bench.batches[0]);
    steps.add(bench, Work::Vae, Form::Engine, batch)?;
    for name in RULES {
        steps.compare(name, &bench.subject(batch)?)?;
        steps.add(bench, Work::Hebbian(name), Form::Naive, 1)?;
        steps.add(bench, Work::Hebbian(name), Form::Engine, batch)?;
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Epochs { steps, threads })
}

impl Epochs {
    fn lines(&self) -> Vec<Line> {
        let epoch = |work: Work, form: Form| {
            let form_of = matches!(work, Work::Hebbian(_)).then_some(form);
            let what = work.to_string();
            let row = self.steps.rows.iter().find(|r| r.what == what && r.form == form_of)?;
            let threads = if form == Form::Naive { self.threads } else { 1 };
            Some(IMAGES as f64 / row.rate() / threads as f64)
        };
        let vae_epochs = VaeConfig::default().epochs;
        let vae = epoch(Work::Vae, Form::Engine).map(|seconds| seconds * vae_epochs as f64);
        let line = |method: &str, work: Work, form: Form, epochs: usize| {
            let epoch_seconds = epoch(work, form)?;
            let has_naive = work != Work::Vae && form != Form::Naive;
            let naive = epoch(work, Form::Naive).filter(|_| has_naive);
            let total_seconds = epoch_seconds * epochs as f64;
            Some(Line {
                method: method.to_owned(),
                form,
                epoch_seconds,
                epochs,
                total_seconds,
                over_naive: naive.map(|naive| naive / epoch_seconds),
                total_over_vae: vae.filter(|_| work != Work::Vae).map(|vae| vae / total_seconds),
            })
        };
        let hebbian = PretrainConfig::default().epochs;
        let rules = RULES.into_iter().flat_map(|name| {
            [Form::Naive, Form::Engine].map(|form| line(name, Work::Hebbian(name), form, hebbian))
        });
        let vae = line("VAE", Work::Vae, Form::Engine, vae_epochs);
        std::iter::once(vae).chain(rules).flatten().collect()
    }
}

/// A time in hours, minutes and seconds, as the paper writes it.
fn clock(seconds: f64) -> String {
    let all = seconds.round() as u64;
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds:02}s"),
        _ => format!("{hours}h{minutes:02}m{seconds:02}s"),
    }
}

impl Section for Epochs {
    fn key(&self) -> &'static str {
        "epochs"
    }

    fn json(&self, _: &GemmRates) -> Result<Value> {
        let (lines, steps) = (self.lines(), &self.steps.rows);
        Ok(json!({ "images": IMAGES, "threads": self.threads, "rows": lines, "steps": steps }))
    }

    fn page(&self, _: &GemmRates) -> String {
        let head =
            ["method", "update", "an epoch", "epochs", "in total", "x naive", "published", "x VAE"];
        let mut table = Table::new(2, &head);
        for line in self.lines() {
            let published = PUBLISHED.iter().find(|(name, _)| *name == line.method);
            let published = published.filter(|_| line.form == Form::Engine).map(|(_, x)| *x);
            let fast = if line.form == Form::Naive { "naive" } else { "fast" };
            let update = if line.method == "VAE" { "" } else { fast };
            table.push([
                line.method,
                update.to_owned(),
                clock(line.epoch_seconds),
                line.epochs.to_string(),
                clock(line.total_seconds),
                times(line.over_naive),
                times(published),
                times(line.total_over_vae),
            ]);
        }
        format!(
            "## Epochs\n\n\
             Time of pre-training on {IMAGES} images (CIFAR-10's number) and until it has \
             converged; Lagani 2023, Table 1, has the same of ImageNet on a graphics card.\n\n\
             - the forms of a rule agree within {:.1e} of their largest entry\n\
             - measured steps times their number, the median; decoding goes on beside them and is \
             not counted\n\
             - naive: sample by sample; measured on one image and one thread and divided by the \
             {} threads, as if these shared the images perfectly\n\
             - epochs: those after which the published networks have converged, by a Hebbian rule \
             and as a VAE (Lagani 2022: one to two against ten to twenty)\n\
             - x naive: an epoch, beside the published ratio; x VAE: in total, published \
             {PUBLISHED_TOTAL} for both rules\n\n{}",
            self.steps.largest_difference,
            self.threads,
            table.to_markdown()
        )
    }
}
