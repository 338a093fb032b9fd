//! Cells of a grid, and the order in which they are run.

use crate::spec::same;
use crate::{Experiment, Method};

/// A cell: one method, layer, amount of labels and seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell<'a> {
    /// The method.
    pub method: &'a Method,
    /// The layer.
    pub layer: &'a str,
    /// Share of the labels.
    pub fraction: f64,
    /// Seed of every random choice but the split's.
    pub seed: u64,
    /// Whether it is of the first repetition of its regime.
    pub first: bool,
}

impl std::fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { method, layer, fraction, seed, .. } = self;
        f.write_str(&sentence(&method.name, layer, *fraction, *seed))
    }
}

/// What a cell is called wherever people read of it.
pub(crate) fn sentence(method: &str, layer: &str, fraction: f64, seed: u64) -> String {
    format!("{method} {layer}, {}% of the labels, seed {seed}", percent(fraction))
}

/// How deep a layer is, by its name; below all others where the name says nothing.
pub fn depth_of(layer: &str) -> usize {
    layer.strip_prefix('L').and_then(|n| n.parse().ok()).unwrap_or(usize::MAX)
}

/// The part of the grid that a method is run on: what an ablation asks need not
/// cost what the table does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// Only these layers.
    pub layers: Option<Vec<String>>,
    /// Only these amounts of labels.
    pub fractions: Option<Vec<f64>>,
    /// Only the first so many repetitions of each.
    pub seeds: Option<usize>,
}

impl Part {
    /// Whether the cell of `layer`, `fraction` and the repetition of index
    /// `repetition` is in it.
    fn holds(&self, layer: &str, fraction: f64, repetition: usize) -> bool {
        self.layers.as_ref().is_none_or(|layers| layers.iter().any(|l| l == layer))
            && self.fractions.as_ref().is_none_or(|all| all.iter().any(|&f| same(f, fraction)))
            && self.seeds.is_none_or(|seeds| repetition < seeds)
    }
}

/// A share in per cent, without idle zeros.
pub fn percent(fraction: f64) -> String {
    let text = format!("{:.3}", 100.0 * fraction);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// All cells but those that a method leaves out, cheap and informative ones
/// first: by their labels times their repetition (the second repetition with 1%
/// counts as 2%), so that the first row of every regime is there early and an
/// interval follows where it costs little. Within one such step the methods come one after the other, so that
/// each is pre-trained once and used at once.
pub fn grid(experiment: &Experiment) -> Vec<Cell<'_>> {
    let mut cells = Vec::new();
    for regime in &experiment.regimes {
        for (repetition, &seed) in regime.seeds.iter().enumerate() {
            let cost = regime.fraction * (repetition + 1) as f64;
            for method in &experiment.methods {
                for layer in &experiment.layers {
                    let (fraction, first) = (regime.fraction, repetition == 0);
                    if method.only.holds(layer, fraction, repetition) {
                        cells.push((cost, Cell { method, layer, fraction, seed, first }));
                    }
                }
            }
        }
    }
    // Stable: what costs the same stays in the order of the file.
    cells.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    cells.into_iter().map(|(_, cell)| cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::example;

    #[test]
    fn every_combination_is_there_once_and_cheap_ones_come_first() {
        let experiment = example();
        let cells = grid(&experiment);
        // Two methods, two layers; three seeds with 10%, one with 100%.
        assert_eq!(cells.len(), 2 * 2 * (3 + 1));
        let of = |c: &Cell<'_>| (c.fraction, c.seed, c.method.name.clone(), c.layer.to_owned());
        for (i, cell) in cells.iter().enumerate() {
            assert!(cells[..i].iter().all(|other| of(other) != of(cell)), "{cell} twice");
        }
        let order: Vec<(f64, u64)> =
            cells.iter().step_by(4).map(|c| (c.fraction, c.seed)).collect();
        assert_eq!(order, [(0.1, 7), (0.1, 8), (0.1, 9), (1.0, 7)]);
        let first: Vec<(String, &str)> =
            cells[..4].iter().map(|c| (c.method.name.clone(), c.layer)).collect();
        let due = [("none", "L1"), ("none", "L2"), ("HPCA", "L1"), ("HPCA", "L2")];
        assert_eq!(first, due.map(|(m, l)| (m.to_owned(), l)));
        assert!(cells[..4].iter().all(|c| c.first) && !cells[4].first);
    }

    #[test]
    fn a_dear_regime_waits_for_the_cheap_repetitions() {
        let mut experiment = example();
        experiment.regimes[1].fraction = 0.25;
        let order: Vec<(f64, u64)> =
            grid(&experiment).iter().step_by(4).map(|c| (c.fraction, c.seed)).collect();
        assert_eq!(order, [(0.1, 7), (0.1, 8), (0.25, 7), (0.1, 9)]);
    }

    #[test]
    fn a_method_may_be_run_on_a_part_of_the_grid() {
        let left = |part: Part| {
            let mut experiment = example();
            experiment.methods[1].only = part;
            let cells = grid(&experiment);
            let of = |name: &str| cells.iter().filter(|c| c.method.name == name).count();
            assert_eq!(of("none"), 2 * (3 + 1));
            of("HPCA")
        };
        let layers = Part { layers: Some(vec!["L2".into()]), ..Part::default() };
        assert_eq!(left(layers.clone()), 3 + 1);
        assert_eq!(left(Part { fractions: Some(vec![0.1]), ..layers.clone() }), 3);
        assert_eq!(left(Part { seeds: Some(2), ..layers }), 2 + 1);
    }

    #[test]
    fn shares_read_as_per_cent() {
        assert_eq!([0.01, 0.05, 0.1, 1.0, 0.005].map(percent), ["1", "5", "10", "100", "0.5"]);
    }
}
