//! Forward passes, steps of all kinds and extraction, against their floors.

mod forms;
mod rows;
mod subject;
mod vae;
mod work;

use anyhow::{Result, ensure};
use hebbian::engine::Device;
use hebbian::network::{FeatureLayer, Model};
use hebbian::train::for_each_features;

use crate::Bench;
use crate::timing::Timing;
pub(crate) use forms::{Form, TOLERANCE, difference};
pub(crate) use rows::{Row, Steps};
pub(crate) use subject::{CLASSES, Subject};
pub(crate) use vae::{VAE_NETWORK, VaeSubject};
pub(crate) use work::{Work, rule};

/// Rules whose steps are measured.
pub(crate) const RULES: [&str; 2] = ["soft-wta", "hpca"];

/// Measures all rows at every batch size, in the first round after comparing
/// the forms.
///
/// # Errors
/// If the forms of a rule do not agree, or images can't be read.
pub(crate) fn measure(bench: &Bench, round: usize) -> Result<Steps> {
    let mut steps = Steps::default();
    for (index, &batch) in bench.batches.iter().enumerate() {
        let subject = bench.subject(batch)?;
        steps.add(bench, Work::Forward, Form::Engine, batch)?;
        for name in RULES {
            if bench.is_usual() {
                if round == 0 {
                    steps.compare(name, &subject)?;
                }
                // One image at any batch size: its time is in proportion.
                if index == 0 {
                    steps.add(bench, Work::Hebbian(name), Form::Naive, 1)?;
                }
                steps.add(bench, Work::Hebbian(name), Form::Published, batch)?;
            }
            steps.add(bench, Work::Hebbian(name), Form::Engine, batch)?;
        }
        steps.add(bench, Work::Supervised, Form::Engine, batch)?;
        if bench.is_usual() {
            steps.add(bench, Work::Vae, Form::Engine, batch)?;
        }
    }
    steps.rows.push(extraction(bench)?);
    Ok(steps)
}

impl Steps {
    /// Adds the runs of another round.
    pub(crate) fn merge(&mut self, other: Self) {
        self.largest_difference = self.largest_difference.max(other.largest_difference);
        for (row, other) in self.rows.iter_mut().zip(other.rows) {
            row.timing.add(other.timing);
        }
    }

    /// Compares the forms of a rule.
    ///
    /// # Errors
    /// If they do not agree.
    pub(crate) fn compare(&mut self, name: &str, subject: &Subject) -> Result<()> {
        let (rule, images) = (rule(name)?, subject.labels.len());
        eprintln!("{name}: do its forms agree on {images} images?");
        let network = subject.projecting(rule.projection());
        let apart = forms::compare(rule.as_ref(), network, &subject.x)?;
        self.largest_difference = self.largest_difference.max(apart);
        Ok(())
    }

    /// Measures one more row.
    pub(crate) fn add(
        &mut self,
        bench: &Bench,
        work: Work,
        form: Form,
        images: usize,
    ) -> Result<()> {
        eprintln!("{work}, {form}, {images}");
        let inputs = bench.inputs(images.max(bench.batches[0]))?;
        let on = (bench.spec.name.as_str(), bench.device.as_str());
        let timing = work.measure_apart(on, form, &inputs, images, bench.runs)?;
        let form = matches!(work, Work::Hebbian(_)).then_some(form);
        let (what, floor_macs) = (work.to_string(), work.floor(&bench.spec, images)?);
        self.rows.push(Row { what, form, images, floor_macs, timing });
        Ok(())
    }
}

/// Features of images from their files, decoding included.
fn extraction(bench: &Bench) -> Result<Row> {
    eprintln!("extraction from files");
    let rule = rule(RULES[1])?;
    let preprocess = bench.input.preprocess.clone();
    let model = Model::new(bench.spec.clone(), rule.as_ref(), preprocess, 0)?;
    let images = bench.input.images.subset(&(0..bench.images).collect::<Vec<_>>());
    let layer = FeatureLayer::layer(model.network.depth());
    let timing = Timing::of(bench.runs, || {
        let mut seen = 0;
        let (device, observer) =
            (Device::open(&bench.device)?, &mut |_: hebbian::train::Event<'_>| {});
        for_each_features(&model, layer, &images, &device, "extraction", observer, |rows, _| {
            seen += rows.len();
            Ok(())
        })?;
        ensure!(seen == images.len(), "only {seen} of {} images can be read", images.len());
        Ok::<_, anyhow::Error>(())
    })?;
    let floor_macs = Work::Forward.floor(&bench.spec, images.len())?;
    let what = "extraction from files".to_owned();
    Ok(Row { what, form: None, images: images.len(), floor_macs, timing })
}
