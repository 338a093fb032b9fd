//! What the results of an experiment say together.

use serde_json::{Value, json};

use crate::ranking::{Ranking, rankings};
use crate::results::{CellResult, Line, Probe, StageResult, distinct, origins};
use crate::spec::same;
use crate::statistics::{Sample, highest};
use crate::{Cell, Experiment, Selection, grid};

/// The results of an experiment, grouped.
pub struct Summary<'a> {
    /// The experiment.
    pub experiment: &'a Experiment,
    /// The part of it that is shown.
    pub selection: Selection,
    /// Its methods, then those that only the paper has, as far as they are
    /// shown.
    pub methods: Vec<String>,
    /// Layers that are shown.
    pub layers: Vec<String>,
    /// Amounts of labels that are shown.
    pub fractions: Vec<f64>,
    /// Every place of the table.
    pub places: Vec<Place>,
    /// Rankings, by amount of labels, method, layer and rank.
    pub rankings: Vec<Ranking>,
    /// Finished stages of what is shown.
    pub stages: Vec<StageResult>,
    /// Finished cells that are shown.
    pub cells: Vec<CellResult>,
    /// Lines, shown or not, that are of no cell of this file, or of one with other settings.
    pub foreign: usize,
}

/// A place of the table: accuracies in per cent.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Amount of labels.
    pub fraction: f64,
    /// Method.
    pub method: String,
    /// Layer.
    pub layer: String,
    /// What was measured, if anything.
    pub sample: Option<Sample>,
    /// What it gains over the baseline, in points, repetition by repetition:
    /// both saw the same split and labels.
    pub gain: Option<Sample>,
    /// What the paper says, if anything.
    pub paper: Option<f64>,
    /// Runs whose pre-training diverged.
    pub diverged: usize,
    /// Whether its mean is the highest of its column; never where one method
    /// alone was measured, or some more often than others.
    pub best: bool,
}

impl Place {
    /// One of which there is nothing to be said.
    fn nothing((fraction, method, layer): (f64, &str, &str)) -> Self {
        Self {
            fraction,
            method: method.to_owned(),
            layer: layer.to_owned(),
            sample: None,
            gain: None,
            paper: None,
            diverged: 0,
            best: false,
        }
    }
}

impl<'a> Summary<'a> {
    /// Groups lines of results; a cell measured twice counts once, the later
    /// line.
    pub fn new(experiment: &'a Experiment, lines: &[Line]) -> Self {
        Self::of(experiment, lines, &Selection::default())
    }

    /// The same of a part of the experiment. Gains are over the baseline, in
    /// the part or not.
    pub fn of(experiment: &'a Experiment, lines: &[Line], selection: &Selection) -> Self {
        let mut methods: Vec<String> = experiment.methods.iter().map(|m| m.name.clone()).collect();
        for value in &experiment.paper {
            if !methods.contains(&value.method) {
                methods.push(value.method.clone());
            }
        }
        let planned = grid(experiment);
        let has = |cell: &CellResult| {
            has_settings(experiment, &cell.method, &cell.config) && belongs(&planned, cell)
        };
        let lines = crate::results::sorted(lines.iter().cloned());
        let (mut cells, mut stages, mut foreign) = (Vec::new(), Vec::new(), 0);
        for line in lines {
            match line {
                Line::Cell(cell) if has(&cell) => cells.push(*cell),
                Line::Stage(stage) if has_settings(experiment, &stage.method, &stage.config) => {
                    stages.push(*stage);
                }
                _ => foreign += 1,
            }
        }
        stages.retain(|stage| selection.has_seed(stage.seed));
        cells.retain(|cell| selection.has_seed(cell.seed));
        let mut places = Vec::new();
        for regime in &experiment.regimes {
            for layer in &experiment.layers {
                let column = methods.iter().map(|method| {
                    let at = (regime.fraction, method.as_str(), layer.as_str());
                    if !selection.has_place(at.0, at.1, at.2) {
                        return Place::nothing(at);
                    }
                    let here = |cell: &&Cell<'_>| {
                        cell.method.name == *method
                            && cell.layer == layer
                            && same(cell.fraction, regime.fraction)
                    };
                    let diverged = |cell: &&Cell<'_>| {
                        let mut stages = stages.iter();
                        stages.any(|s| {
                            s.diverged.is_some() && s.method == *method && s.seed == cell.seed
                        })
                    };
                    let diverged = planned.iter().filter(here).filter(diverged).count();
                    Place { diverged, ..place(experiment, &cells, at) }
                });
                places.extend(marked(column.collect()));
            }
        }
        cells.retain(|cell| selection.has_place(cell.fraction, &cell.method, &cell.layer));
        let shown = |of: &dyn Fn(&Place) -> bool| {
            let mut places = places.iter();
            places.any(|p| of(p) && selection.has_place(p.fraction, &p.method, &p.layer))
        };
        methods.retain(|method| shown(&|place| place.method == *method));
        stages.retain(|stage| methods.contains(&stage.method));
        let layers = experiment.layers.iter().filter(|l| shown(&|place| place.layer == **l));
        let fractions = experiment.regimes.iter().map(|regime| regime.fraction);
        Self {
            experiment,
            layers: layers.cloned().collect(),
            fractions: fractions.filter(|f| shown(&|place| same(place.fraction, *f))).collect(),
            selection: selection.clone(),
            rankings: rankings(&cells),
            methods,
            places,
            stages,
            cells,
            foreign,
        }
    }

    /// A place of the table.
    pub fn place(&self, fraction: f64, method: &str, layer: &str) -> Option<&Place> {
        self.places.iter().find(|place| {
            place.method == method && place.layer == layer && same(place.fraction, fraction)
        })
    }

    /// Places of a row, in the order of the layers.
    pub fn row(&self, fraction: f64, method: &str) -> Vec<&Place> {
        self.layers.iter().filter_map(|layer| self.place(fraction, method, layer)).collect()
    }

    /// Cells of what is shown, done or not.
    pub fn planned(&self) -> usize {
        grid(self.experiment).iter().filter(|cell| self.selection.has(cell)).count()
    }

    /// Layers that are looked at after each epoch of pre-training, as far as
    /// they are shown.
    pub fn probed(&self) -> impl Iterator<Item = &String> {
        let asked = self.experiment.convergence.iter().flat_map(|asked| &asked.layers);
        asked.filter(|layer| self.selection.has_layer(layer))
    }

    /// Probes of a method after each epoch, of the first repetition.
    pub fn convergence(&self, method: &str) -> &[Probe] {
        let probed = self.stages.iter().find(|s| s.method == method && !s.convergence.is_empty());
        probed.map_or(&[], |stage| &stage.convergence)
    }

    /// What a reader has to know of the table, one sentence or two each.
    pub fn notes(&self) -> Vec<String> {
        let e = self.experiment;
        let mut notes = Vec::new();
        let most = self.places.iter().filter_map(|p| p.sample.as_ref()).map(Sample::n).max();
        let draws =
            if e.split.redraw { "split, labels and weights" } else { "weights and shuffles" };
        notes.push(match most {
            None => "Nothing was measured yet.".to_owned(),
            Some(1) => "n = 1: there is no interval, and with few labels differences of a point \
                        or two are chance."
                .to_owned(),
            Some(_) => format!(
                "Mean ± half-width of the 95% confidence interval (Student's t) over n runs that \
                 differ in {draws}; without ± where n = 1."
            ),
        });
        if self.places.iter().any(|place| place.best) {
            let bold =
                "Bold: the highest mean among ours in its column, where all have the same n.";
            notes.push(bold.to_owned());
        }
        let protocols: Vec<&str> = distinct(self.cells.iter().map(|cell| cell.protocol.as_str()));
        let says = |protocol: &&str| match *protocol {
            "strict" => "Protocol strict: no label but those trained on is looked at, the last \
                         epoch is kept."
                .to_owned(),
            "published" => "Protocol published: validation labels choose the epoch.".to_owned(),
            other => format!("Protocol {other}."),
        };
        notes.extend(protocols.iter().map(says));
        if e.paper.iter().any(|value| value.accuracy > 0.0) {
            notes.push(format!("The paper's values: {}", e.reference.trim()));
        }
        let (done, planned) = (self.cells.len(), self.planned());
        let diverged: usize = self.places.iter().map(|place| place.diverged).sum();
        if diverged > 0 {
            notes.push(format!(
                "Diverges: the weights of pre-training are no longer finite ({diverged} cells)."
            ));
        }
        if done + diverged < planned {
            notes.push(format!("{done} of {planned} cells are done."));
        }
        notes
    }

    /// What the results come from: see [`origins`].
    pub fn origins(&self) -> Option<String> {
        origins(self.cells.iter())
    }
}

/// Whether a record of settings is of this file's method as it is now: a result
/// from before an edit must not pass for one after it. What a record does not
/// hold is not compared.
fn has_settings(experiment: &Experiment, method: &str, recorded: &Value) -> bool {
    let Some(method) = experiment.method(method) else { return false };
    let now = json!({
        "network": method.network.name,
        "input": method.network.input,
        "whitening": method.whitening,
        "smoothing": method.smoothing,
        "pretraining": method.pretraining,
        "finetune": experiment.finetune,
        "classifier": experiment.classifier,
    });
    let same = |(key, value): (&String, &Value)| recorded.get(key).is_none_or(|r| r == value);
    now.as_object().is_some_and(|now| now.iter().all(same))
}

/// Whether a result is of one of these cells.
fn belongs(cells: &[Cell<'_>], result: &CellResult) -> bool {
    cells.iter().any(|cell| {
        cell.method.name == result.method
            && cell.layer == result.layer
            && same(cell.fraction, result.fraction)
            && cell.seed == result.seed
    })
}

fn place(
    experiment: &Experiment,
    cells: &[CellResult],
    (fraction, method, layer): (f64, &str, &str),
) -> Place {
    let of = |method: &str| -> Vec<(u64, f64)> {
        let of = cells.iter().filter(|cell| {
            cell.method == method && cell.layer == layer && same(cell.fraction, fraction)
        });
        of.map(|cell| (cell.seed, 100.0 * cell.accuracy)).collect()
    };
    let own = of(method);
    let baseline = experiment.baseline.as_deref().filter(|baseline| *baseline != method);
    let gain = baseline.map(of).and_then(|baseline| {
        let gain = |(seed, value): &(u64, f64)| {
            let (_, before) = baseline.iter().find(|(other, _)| other == seed)?;
            Some(value - before)
        };
        Sample::new(own.iter().filter_map(gain).collect())
    });
    let sample = Sample::new(own.into_iter().map(|(_, value)| value).collect());
    let paper = experiment.paper(method, fraction, layer);
    Place { sample, gain, paper, ..Place::nothing((fraction, method, layer)) }
}

/// A column with its highest mean marked.
fn marked(mut column: Vec<Place>) -> Vec<Place> {
    let best = highest(&column.iter().map(|place| place.sample.as_ref()).collect::<Vec<_>>());
    for (place, best) in column.iter_mut().zip(best) {
        place.best = best;
    }
    column
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::cell;
    use crate::spec::tests::example;

    #[test]
    fn runs_are_grouped_and_the_highest_mean_is_marked() {
        let experiment = example();
        let lines = [
            cell("HPCA", "L1", 0.1, 7, 0.40),
            cell("HPCA", "L1", 0.1, 8, 0.44),
            cell("none", "L1", 0.1, 7, 0.41),
            cell("none", "L1", 0.1, 8, 0.41),
            cell("none", "L2", 0.1, 7, 0.30),
            // Of no cell: another layer, another seed.
            cell("none", "L3", 0.1, 7, 0.99),
            cell("none", "L1", 0.1, 99, 0.99),
        ];
        let summary = Summary::new(&experiment, &lines);
        assert_eq!(summary.methods, ["none", "HPCA", "VAE"]);
        assert_eq!((summary.cells.len(), summary.foreign, summary.planned()), (5, 2, 16));
        let hpca = summary.place(0.1, "HPCA", "L1").unwrap();
        let sample = hpca.sample.as_ref().unwrap();
        assert!((sample.mean - 42.0).abs() < 1e-9 && sample.n() == 2 && hpca.best);
        // 12.706 * 2.828 / sqrt 2.
        assert!((sample.half_width.unwrap() - 25.41).abs() < 0.01);
        assert!(!summary.place(0.1, "none", "L1").unwrap().best);
        let alone = summary.place(0.1, "none", "L2").unwrap();
        assert!(!alone.best && alone.sample.as_ref().unwrap().half_width.is_none());
        // Of more runs than the other's: not to be compared.
        let fewer = Summary::new(&experiment, &lines[1..]);
        assert!(fewer.places.iter().all(|place| !place.best));
        let vae = summary.place(0.1, "VAE", "L2").unwrap();
        assert!(vae.sample.is_none() && vae.paper == Some(34.41));
        assert!(summary.notes().iter().any(|note| note == "5 of 16 cells are done."));
    }

    #[test]
    fn a_gain_is_the_mean_of_the_differences_of_the_same_repetition() {
        let experiment = Experiment { baseline: Some("none".into()), ..example() };
        let lines = [
            cell("none", "L1", 0.1, 7, 0.30),
            cell("none", "L1", 0.1, 8, 0.40),
            cell("HPCA", "L1", 0.1, 7, 0.33),
            cell("HPCA", "L1", 0.1, 8, 0.41),
            // Without its pair.
            cell("HPCA", "L1", 0.1, 9, 0.99),
            cell("HPCA", "L2", 0.1, 7, 0.50),
        ];
        let summary = Summary::new(&experiment, &lines);
        let gain =
            |method: &str, layer: &str| summary.place(0.1, method, layer).unwrap().gain.clone();
        let found = gain("HPCA", "L1").unwrap();
        assert!((found.mean - 2.0).abs() < 1e-9 && found.n() == 2, "{found:?}");
        // 12.706 * 1.414 / sqrt 2.
        assert!((found.half_width.unwrap() - 12.706).abs() < 0.01);
        assert!(gain("HPCA", "L2").is_none() && gain("none", "L1").is_none());
        let plain = example();
        assert!(Summary::new(&plain, &lines).place(0.1, "HPCA", "L1").unwrap().gain.is_none());
    }

    #[test]
    fn a_result_of_other_settings_is_of_no_cell() {
        let experiment = example();
        let with = |config: Value| {
            let Line::Cell(c) = cell("HPCA", "L1", 0.1, 7, 0.5) else { unreachable!() };
            let lines = [Line::Cell(Box::new(CellResult { config, ..*c }))];
            Summary::new(&experiment, &lines).cells.len()
        };
        let mut config = json!({
            "pretraining": experiment.methods[1].pretraining,
            "finetune": experiment.finetune,
            "split": "whatever it was",
        });
        assert_eq!(with(config.clone()), 1);
        config["finetune"]["lr"] = 0.5.into();
        assert_eq!(with(config.clone()), 0);
        config["finetune"]["lr"] = experiment.finetune.lr.into();
        config["pretraining"]["config"]["epochs"] = 2.into();
        assert_eq!(with(config), 0, "the file says 3");
    }

    #[test]
    fn a_result_that_its_method_leaves_out_is_of_no_cell() {
        let mut experiment = example();
        let lines = [cell("HPCA", "L1", 0.1, 7, 0.1), cell("HPCA", "L1", 0.1, 9, 0.2)];
        experiment.methods[1].only.seeds = Some(2);
        let summary = Summary::new(&experiment, &lines);
        assert_eq!((summary.cells.len(), summary.foreign), (1, 1));
        assert_eq!(summary.planned(), 16 - 2);
    }

    #[test]
    fn the_later_line_of_a_cell_counts() {
        let experiment = example();
        let lines = [cell("none", "L1", 0.1, 7, 0.1), cell("none", "L1", 0.1, 7, 0.2)];
        let summary = Summary::new(&experiment, &lines);
        let sample = summary.place(0.1, "none", "L1").unwrap().sample.clone().unwrap();
        assert_eq!(sample.values, [20.0]);
    }

    #[test]
    fn a_part_is_shown_as_it_stands_in_the_whole() {
        let experiment = Experiment { baseline: Some("none".into()), ..example() };
        let lines = [
            cell("none", "L1", 0.1, 7, 0.40),
            cell("none", "L2", 0.1, 7, 0.30),
            cell("HPCA", "L1", 0.1, 7, 0.39),
            cell("HPCA", "L1", 0.1, 8, 0.43),
            cell("HPCA", "L2", 0.1, 7, 0.35),
            cell("none", "L1", 0.1, 99, 0.99),
        ];
        let of = |selection: &Selection| Summary::of(&experiment, &lines, selection);
        let hpca = of(&Selection {
            only: vec!["HPCA/L1".parse().unwrap()],
            fractions: vec![0.1],
            ..Selection::default()
        });
        assert_eq!(
            (&hpca.methods[..], &hpca.layers[..]),
            (&["HPCA".into()][..], &["L1".into()][..])
        );
        assert_eq!((&hpca.fractions[..], hpca.cells.len()), (&[0.1][..], 2));
        // The three seeds of 10%; one line is of no cell, whatever is shown.
        assert_eq!((hpca.planned(), hpca.foreign), (3, 1));
        let gain = hpca.place(0.1, "HPCA", "L1").unwrap().gain.as_ref().unwrap();
        assert!((gain.mean + 1.0).abs() < 1e-9 && gain.n() == 1, "over what is not shown");
        // What is not asked for leaves its place in a row empty.
        let only = ["HPCA/L1", "none/L2"].map(|only| only.parse().unwrap()).to_vec();
        let two = of(&Selection { only, ..Selection::default() });
        assert_eq!(two.layers, ["L1", "L2"]);
        let known: Vec<bool> =
            two.row(0.1, "HPCA").iter().map(|place| place.sample.is_some()).collect();
        assert_eq!(known, [true, false]);
        let seed = of(&Selection { seeds: vec![8], ..Selection::default() });
        assert_eq!((seed.cells.len(), seed.planned()), (1, 4));
    }
}
