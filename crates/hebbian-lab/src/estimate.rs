//! How long what is left will take, from what is done.

use std::ops::AddAssign;

use hebbian::network::NetworkSpec;
use hebbian::train::Protocol;

use crate::cell::is_ranked;
use crate::{Cell, Experiment, Line, Method};

/// A supervised step is about three forward passes.
const STEP: f64 = 3.0;

/// Seconds, and the pieces of work of which nothing like it was ever measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Of what is known.
    pub seconds: f64,
    /// Pieces of work that are not in the seconds.
    pub unknown: usize,
}

impl AddAssign for Estimate {
    fn add_assign(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.unknown += other.unknown;
    }
}

impl From<Option<f64>> for Estimate {
    fn from(seconds: Option<f64>) -> Self {
        Self { seconds: seconds.unwrap_or(0.0), unknown: usize::from(seconds.is_none()) }
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.seconds, self.unknown) {
            (seconds, 0) => f.write_str(&duration(seconds)),
            (0.0, _) => f.write_str("unknown, nothing was measured yet"),
            (seconds, n) => write!(f, "{} and {n} parts never measured", duration(seconds)),
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

fn depth_of(layer: &str) -> usize {
    layer.strip_prefix('L').and_then(|n| n.parse().ok()).unwrap_or(usize::MAX)
}

/// What was measured: seconds an operation, of cells by layer and of stages by
/// method, and seconds of rankings by layer.
pub struct Rates<'a> {
    experiment: &'a Experiment,
    cells: Vec<(String, f64)>,
    stages: Vec<(String, f64)>,
    rankings: Vec<(String, f64)>,
}

impl<'a> Rates<'a> {
    /// The rates of finished cells and stages.
    pub fn measured(experiment: &'a Experiment, lines: &[Line]) -> Self {
        let mut rates = Self { experiment, cells: vec![], stages: vec![], rankings: vec![] };
        for line in lines {
            match line {
                Line::Cell(c) => {
                    let Some(method) = experiment.method(&c.method) else { continue };
                    let work = cell_work(experiment, method, &c.layer, c.labels, c.test_images);
                    rates.cells.push((c.layer.clone(), c.seconds / work));
                    let seconds = c.retrieval_seconds;
                    rates.rankings.extend(seconds.map(|seconds| (c.layer.clone(), seconds)));
                }
                Line::Stage(s) => {
                    let Some(method) = experiment.method(&s.method) else { continue };
                    let rate = s.seconds / stage_work(method, s.images);
                    rates.stages.push((s.method.clone(), rate));
                }
            }
        }
        rates
    }

    /// Time of a cell.
    pub fn cell(&self, cell: &Cell<'_>, labels: usize, test: usize) -> Estimate {
        let work = cell_work(self.experiment, cell.method, cell.layer, labels, test);
        let rate = typical(&self.cells, |layer| layer == cell.layer);
        let rate = rate.or_else(|| typical(&self.cells, |_| true));
        let mut time = Estimate::from(rate.map(|rate| rate * work));
        if is_ranked(self.experiment, cell) {
            let seconds = typical(&self.rankings, |layer| layer == cell.layer);
            time += seconds.or_else(|| typical(&self.rankings, |_| true)).into();
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
        rate.map(|rate| rate * stage_work(method, images)).into()
    }
}

/// Operations of fine-tuning and testing.
fn cell_work(e: &Experiment, method: &Method, layer: &str, labels: usize, test: usize) -> f64 {
    let published = e.finetune.protocol == Protocol::Published;
    let validation = match e.split.validation {
        hebbian_data::Amount::Count(count) if published => count,
        _ => 0,
    };
    let passes = e.finetune.epochs as f64 * (STEP * labels as f64 + validation as f64);
    operations(&method.network, depth_of(layer)) * (passes + test as f64)
}

/// Operations of pre-training; one pass over the images for their statistics
/// counts too.
fn stage_work(method: &Method, images: usize) -> f64 {
    let passes = method.pretraining.epochs() as f64 + 0.1;
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
    fn before_anything_is_measured_nothing_is_claimed() {
        let experiment = example();
        let rates = Rates::measured(&experiment, &[]);
        let cells = crate::grid(&experiment);
        let mut all = Estimate::default();
        for cell in &cells {
            all += rates.cell(cell, 8, 50);
        }
        // Every cell, and the rankings of L2 with 10%: two methods, three seeds.
        assert_eq!(all, Estimate { seconds: 0.0, unknown: 16 + 6 });
        assert!(all.to_string().starts_with("unknown"));
        assert_eq!(rates.stage(&experiment.methods[1], 80).unknown, 1);
    }

    #[test]
    fn a_measured_cell_foretells_itself_and_scales_with_the_labels() {
        let experiment = example();
        let lines = [line("HPCA", "L1", 0.1, 7, 0.5)];
        let rates = Rates::measured(&experiment, &lines);
        let cells = crate::grid(&experiment);
        let of = |layer: &str, labels| {
            let cell = cells.iter().find(|c| c.layer == layer && c.fraction == 1.0).unwrap();
            rates.cell(cell, labels, 50).seconds
        };
        assert!((of("L1", 8) - 2.0).abs() < 1e-9, "{}", of("L1", 8));
        // 4 epochs of 8 labels at three passes, and 50 test images.
        let factor = (4.0 * 3.0 * 80.0 + 50.0) / (4.0 * 3.0 * 8.0 + 50.0);
        assert!((of("L1", 80) - 2.0 * factor).abs() < 1e-9);
        // L2 costs more, by its operations: 5.6 M and 15.9 M an image.
        assert!((of("L2", 8) / 2.0 - 21.57 / 5.64).abs() < 0.02, "{}", of("L2", 8));
    }

    #[test]
    fn durations_are_for_people() {
        assert_eq!([40.0, 700.0, 11_100.0].map(duration), ["40 s", "12 min", "3 h 05 min"]);
    }
}
