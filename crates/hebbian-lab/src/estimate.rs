//! How long what is left will take, from what is done; before anything is, from
//! the time of a forward pass.

use std::ops::AddAssign;
use std::time::Instant;

use hebbian::engine::Device;
use hebbian::error::Result;
use hebbian::network::{Network, NetworkSpec};
use hebbian::ops::Activation;
use hebbian::rules::Projection;
use hebbian::train::Protocol;

use crate::cell::is_ranked;
use crate::grid::depth_of;
use crate::spec::Classifier;
use crate::{Cell, Experiment, Line, Method, Pretraining};

/// Forward passes that a step takes about as long as: supervised, by a
/// Hebbian rule, of the VAE; and that principal components take, for all layers.
const SUPERVISED: f64 = 3.5;
const HEBBIAN: f64 = 2.8;
const VAE: f64 = 8.0;
const PCA: f64 = 3.0;

/// Images of the forward pass that is measured.
const BATCH: usize = 64;

/// Seconds, and of how many pieces of work they are a guess.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Of all pieces.
    pub seconds: f64,
    /// Pieces of which nothing like it was ever measured: their time is in
    /// proportion to that of a forward pass.
    pub guessed: usize,
}

impl AddAssign for Estimate {
    fn add_assign(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.guessed += other.guessed;
    }
}

impl Estimate {
    /// What is measured, or else the guess.
    fn of(measured: Option<f64>, guess: f64) -> Self {
        Self { seconds: measured.unwrap_or(guess), guessed: usize::from(measured.is_none()) }
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.guessed {
            0 => f.write_str(&duration(self.seconds)),
            _ => write!(f, "about {}", duration(self.seconds)),
        }
    }
}

/// A duration for people: `40 s`, `12 min`, `3 h 05 min`.
pub fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        _ if seconds < 90.0 => format!("{seconds:.0} s"),
        0..100 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

/// Multiply-accumulates of an image's way through the first `depth` layers.
fn operations(network: &NetworkSpec, depth: usize) -> f64 {
    let geometries = network.geometries().unwrap_or_default();
    let of_layer = |g: &hebbian::ops::Geometry| {
        (g.out_height() * g.out_width()) as f64 * (g.filters * g.patch_len()) as f64
    };
    geometries.iter().take(depth).map(of_layer).sum()
}

/// Length of an image's features after `depth` layers.
fn feature_len(network: &NetworkSpec, depth: usize) -> f64 {
    let geometries = network.geometries().unwrap_or_default();
    geometries.iter().take(depth).next_back().map_or(0.0, |g| g.output_len() as f64)
}

/// Seconds that an operation of the experiment's forward passes takes on
/// `device`.
///
/// # Errors
/// If the device fails.
pub fn measure_forward(experiment: &Experiment, device: &Device) -> Result<f64> {
    let Some(method) = experiment.methods.first() else { return Ok(0.0) };
    let spec = method.network.clone();
    let work = operations(&spec, usize::MAX) * BATCH as f64;
    let pixels = spec.input.iter().product::<usize>();
    let network = Network::new(spec, Projection::Plain, Activation::Relu, 0)?;
    let x: Vec<f32> = (0..BATCH * pixels).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect();
    let mut engine = device.engine();
    // The first warms up.
    let mut seconds = 0.0;
    for _ in 0..2 {
        let start = Instant::now();
        engine.features(&network, network.depth(), &x)?;
        engine.wait()?;
        seconds = start.elapsed().as_secs_f64();
    }
    Ok(seconds / work)
}

/// What was measured: seconds an operation, of cells by layer and of stages by
/// method, and seconds of rankings by layer.
pub struct Rates<'a> {
    experiment: &'a Experiment,
    /// Seconds an operation of a forward pass.
    forward: f64,
    cells: Vec<(String, f64)>,
    stages: Vec<(String, f64)>,
    rankings: Vec<(String, f64)>,
}

impl<'a> Rates<'a> {
    /// The rates of finished cells and stages, and `forward` seconds an
    /// operation for what is like none of them.
    pub fn measured(experiment: &'a Experiment, lines: &[Line], forward: f64) -> Self {
        let (cells, stages, rankings) = (Vec::new(), Vec::new(), Vec::new());
        let mut rates = Self { experiment, forward, cells, stages, rankings };
        for line in lines {
            match line {
                Line::Cell(c) => {
                    let Some(method) = experiment.method(&c.method) else { continue };
                    let work = cell_work(experiment, method, &c.layer, c.labels, c.test_images);
                    rates.cells.push((c.layer.clone(), c.seconds / work));
                    let seconds = c.retrieval_seconds;
                    rates.rankings.extend(seconds.map(|seconds| (c.layer.clone(), seconds)));
                }
                // What diverged was over before its time.
                Line::Stage(s) if s.diverged.is_some() => {}
                Line::Stage(s) => {
                    let Some(method) = experiment.method(&s.method) else { continue };
                    let rate = s.seconds / stage_work(method, s.images);
                    rates.stages.push((s.method.clone(), rate));
                }
            }
        }
        rates
    }

    /// Time of a cell, with so many labels and images to be judged by, after
    /// learning from `train` images.
    pub fn cell(&self, cell: &Cell<'_>, labels: usize, test: usize, train: usize) -> Estimate {
        let work = cell_work(self.experiment, cell.method, cell.layer, labels, test);
        let rate = typical(&self.cells, |layer| layer == cell.layer);
        let rate = rate.or_else(|| typical(&self.cells, |_| true));
        let mut time = Estimate::of(rate.map(|rate| rate * work), self.forward * work);
        if is_ranked(self.experiment, cell) {
            let seconds = typical(&self.rankings, |layer| layer == cell.layer);
            let seconds = seconds.or_else(|| typical(&self.rankings, |_| true));
            let network = &cell.method.network;
            let features = operations(network, depth_of(cell.layer)) * (test + train) as f64;
            let distances = feature_len(network, depth_of(cell.layer)) * (test * train) as f64;
            time += Estimate::of(seconds, self.forward * (features + distances));
        }
        time
    }

    /// Time of a stage.
    pub fn stage(&self, method: &Method, images: usize) -> Estimate {
        let own = typical(&self.stages, |name| *name == method.name);
        // Another method's time says little, but more than none; what needs
        // no training is not like one that does.
        let alike = |name: &str| {
            let other = self.experiment.method(name);
            other.is_some_and(|m| (m.pretraining.epochs() > 0) == (method.pretraining.epochs() > 0))
        };
        let rate = own.or_else(|| typical(&self.stages, alike));
        let work = stage_work(method, images);
        Estimate::of(rate.map(|rate| rate * work), self.forward * work)
    }
}

/// Operations of fine-tuning and testing.
fn cell_work(e: &Experiment, method: &Method, layer: &str, labels: usize, test: usize) -> f64 {
    let published = e.finetune.protocol == Protocol::Published;
    let validation = match e.split.validation {
        hebbian_data::Amount::Count(count) if published => count,
        _ => 0,
    };
    let passes = match e.classifier {
        Classifier::FineTuned => {
            e.finetune.epochs as f64 * (SUPERVISED * labels as f64 + validation as f64)
        }
        // The features of each image are computed once.
        Classifier::Frozen(_) => labels as f64,
    };
    operations(&method.network, depth_of(layer)) * (passes + test as f64)
}

/// Operations of pre-training; one pass over the images for their statistics
/// counts too.
fn stage_work(method: &Method, images: usize) -> f64 {
    let a_step = match method.pretraining {
        Pretraining::None => 0.0,
        Pretraining::Hebbian { .. } => HEBBIAN,
        Pretraining::Vae { .. } => VAE,
        Pretraining::Pca { .. } => PCA,
    };
    let passes = method.pretraining.epochs() as f64 * a_step + 0.1;
    operations(&method.network, usize::MAX) * images as f64 * passes
}

/// The median of the rates that are meant.
fn typical(rates: &[(String, f64)], meant: impl Fn(&str) -> bool) -> Option<f64> {
    let mut rates: Vec<f64> = rates.iter().filter(|(of, _)| meant(of)).map(|(_, r)| *r).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().filter(|rate| rate.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::cell as line;
    use crate::spec::tests::example;

    #[test]
    fn before_anything_is_measured_all_is_a_guess() {
        let experiment = example();
        let rates = Rates::measured(&experiment, &[], 1e-9);
        let cells = crate::grid(&experiment);
        let mut all = Estimate::default();
        for cell in &cells {
            all += rates.cell(cell, 8, 50, 80);
        }
        // Every cell, and the rankings of L2 with 10%: two methods, three seeds.
        assert_eq!(all.guessed, 16 + 6);
        assert!(all.seconds > 0.0 && all.to_string().starts_with("about "));
        // Three epochs of 80 images, and a look at them before.
        let stage = rates.stage(&experiment.methods[1], 80);
        let due =
            1e-9 * 80.0 * (3.0 * HEBBIAN + 0.1) * operations(&experiment.methods[1].network, 9);
        assert!(stage.guessed == 1 && (stage.seconds - due).abs() < 1e-9, "{stage:?}");
        assert!(measure_forward(&experiment, &Device::Cpu).unwrap() > 0.0);
    }

    #[test]
    fn a_measured_cell_foretells_itself_and_scales_with_the_labels() {
        let experiment = example();
        let lines = [line("HPCA", "L1", 0.1, 7, 0.5)];
        let rates = Rates::measured(&experiment, &lines, 1.0);
        let cells = crate::grid(&experiment);
        let of = |layer: &str, labels| {
            let cell = cells.iter().find(|c| c.layer == layer && c.fraction == 1.0).unwrap();
            rates.cell(cell, labels, 50, 80).seconds
        };
        assert!((of("L1", 8) - 2.0).abs() < 1e-9, "{}", of("L1", 8));
        // 4 epochs of 8 labels at a step's passes, and 50 test images.
        let factor = (4.0 * SUPERVISED * 80.0 + 50.0) / (4.0 * SUPERVISED * 8.0 + 50.0);
        assert!((of("L1", 80) - 2.0 * factor).abs() < 1e-9);
        // L2 costs more, by its operations: 5.6 M and 15.9 M an image.
        assert!((of("L2", 8) / 2.0 - 21.57 / 5.64).abs() < 0.02, "{}", of("L2", 8));
    }

    #[test]
    fn durations_are_for_people() {
        assert_eq!([40.0, 700.0, 11_100.0].map(duration), ["40 s", "12 min", "3 h 05 min"]);
    }
}
