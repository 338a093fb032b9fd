//! Two sets of results of the same cells, run by run: before and after a
//! change, or kept and computed again.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::grid::sentence;
use crate::ranking::quality;
use crate::results::{CellResult, Line, Probe, StageResult, origins};
use crate::statistics::Sample;

/// What changed from one set of results to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Accuracy by place of the table, in the order of amounts of labels,
    /// methods and layers.
    pub places: Vec<Change>,
    /// Accuracies of cells.
    pub accuracy: Spread,
    /// Precision and mAP of cells, at every depth and in every definition.
    pub rankings: Spread,
    /// Linear probes after the epochs of a pre-training.
    pub probes: Spread,
    /// Cells that only the earlier results have.
    pub only_before: usize,
    /// Cells that only the later ones have.
    pub only_after: usize,
    /// Settings that differ, each once, in words.
    pub settings: Vec<String>,
    /// What the cells that both have were computed by, earlier and later.
    pub by: [Option<String>; 2],
    /// Pairs whose settings are the same, but not their images, labels or
    /// network: the hash of all that decides them differs.
    pub other_inputs: usize,
}

/// What accuracy changed by at a place of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Amount of labels.
    pub fraction: f64,
    /// Method.
    pub method: String,
    /// Layer.
    pub layer: String,
    /// Later minus earlier, points, seed by seed.
    pub points: Sample,
}

/// Differences of many pairs of numbers, points.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Pairs.
    pub pairs: usize,
    /// Of those, how many are equal.
    pub same: usize,
    /// Mean of later minus earlier.
    pub mean: f64,
    /// The difference that is furthest from 0.
    pub largest: f64,
    /// What it is of; empty where all are equal.
    pub of: String,
}

impl Spread {
    /// Adds a pair of shares of 1.
    fn add(&mut self, before: f64, after: f64, of: impl FnOnce() -> String) {
        let points = 100.0 * (after - before);
        self.pairs += 1;
        self.same += usize::from(before == after);
        self.mean += (points - self.mean) / self.pairs as f64;
        if points.abs() > self.largest.abs() {
            (self.largest, self.of) = (points, of());
        }
    }
}

/// What a cell is looked for by: it may be of a file of another name.
type Place<'a> = (u64, &'a str, &'a str, u64);

fn place(cell: &CellResult) -> Place<'_> {
    (cell.share(), &cell.method, &cell.layer, cell.seed)
}

fn name(cell: &CellResult) -> String {
    sentence(&cell.method, &cell.layer, cell.fraction, cell.seed)
}

impl Comparison {
    /// Pairs the cells and pre-trainings of two sets of results by amount of
    /// labels, method, layer and seed.
    #[must_use]
    pub fn new(before: &[Line], after: &[Line]) -> Self {
        let [(cells, stages), (later, later_stages)] = [before, after].map(parted);
        let mut found = Self {
            only_before: cells.keys().filter(|place| !later.contains_key(*place)).count(),
            only_after: later.keys().filter(|place| !cells.contains_key(*place)).count(),
            by: [
                origins(pairs(&cells, &later).map(|(_, (before, _))| before)),
                origins(pairs(&cells, &later).map(|(_, (_, after))| after)),
            ],
            ..Self::default()
        };
        let mut settings = BTreeSet::new();
        let mut points: BTreeMap<(u64, String, String), (f64, Vec<f64>)> = BTreeMap::new();
        for (place, (before, after)) in pairs(&cells, &later) {
            found.accuracy.add(before.accuracy, after.accuracy, || name(before));
            let of = quality(after);
            for (what, before_it) in quality(before) {
                let Some((_, after_it)) = of.iter().find(|(other, _)| *other == what) else {
                    continue;
                };
                found.rankings.add(before_it, *after_it, || format!("{what} of {}", name(before)));
            }
            let (share, method, layer, _) = place;
            let group = points.entry((share, method.to_owned(), layer.to_owned()));
            let group = group.or_insert((before.fraction, Vec::new()));
            group.1.push(100.0 * (after.accuracy - before.accuracy));
            if before.data != after.data {
                settings.insert(format!("the data was {}, is {}", before.data, after.data));
            }
            differing(method, "", (&before.config, &after.config), &mut settings);
            let renamed = before.id.as_ref().zip(after.id.as_ref()).is_some_and(|(a, b)| a != b);
            found.other_inputs += usize::from(renamed && before.config == after.config);
        }
        for (_, (before, after)) in pairs(&stages, &later_stages) {
            for probe in &before.convergence {
                let again =
                    |other: &&Probe| other.epoch == probe.epoch && other.layer == probe.layer;
                let Some(again) = after.convergence.iter().find(again) else { continue };
                found.probes.add(probe.accuracy, again.accuracy, || {
                    let (layer, epoch) = (&probe.layer, probe.epoch);
                    format!("{} {layer} after {epoch} epochs, seed {}", before.method, before.seed)
                });
            }
        }
        let change = |((_, method, layer), (fraction, points))| {
            Some(Change { fraction, method, layer, points: Sample::new(points)? })
        };
        found.places = points.into_iter().filter_map(change).collect();
        found.settings = settings.into_iter().collect();
        found
    }

    /// All differences together.
    pub fn spreads(&self) -> [(&'static str, &Spread); 3] {
        [
            ("accuracies", &self.accuracy),
            ("qualities of rankings", &self.rankings),
            ("probes", &self.probes),
        ]
    }

    /// Whether there is nothing to compare.
    pub fn is_empty(&self) -> bool {
        self.spreads().iter().all(|(_, spread)| spread.pairs == 0)
    }

    /// The difference furthest from 0.
    pub fn largest(&self) -> &Spread {
        let mut largest = &self.accuracy;
        for (_, spread) in self.spreads() {
            if spread.largest.abs() > largest.largest.abs() {
                largest = spread;
            }
        }
        largest
    }
}

type Cells<'a> = BTreeMap<Place<'a>, &'a CellResult>;
type Stages<'a> = BTreeMap<(&'a str, u64), &'a StageResult>;

fn parted(lines: &[Line]) -> (Cells<'_>, Stages<'_>) {
    let (mut cells, mut stages) = (Cells::new(), Stages::new());
    for line in lines {
        match line {
            Line::Cell(cell) => drop(cells.insert(place(cell), cell)),
            Line::Stage(stage) => drop(stages.insert((&stage.method, stage.seed), stage)),
        }
    }
    (cells, stages)
}

fn pairs<'m, K: Ord + Copy, V>(
    before: &'m BTreeMap<K, &'m V>,
    after: &'m BTreeMap<K, &'m V>,
) -> impl Iterator<Item = (K, (&'m V, &'m V))> + Clone {
    before.iter().filter_map(|(key, &value)| Some((*key, (value, *after.get(key)?))))
}

/// Adds every setting of a method that two records do not agree in; `path` is
/// where in the records these are.
fn differing(
    method: &str,
    path: &str,
    (before, after): (&Value, &Value),
    found: &mut BTreeSet<String>,
) {
    if let (Value::Object(a), Value::Object(b)) = (before, after) {
        let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            differing(method, &path, (&before[key], &after[key]), found);
        }
    } else if before != after {
        let words = |value: &Value| match value {
            Value::Null => "not set".to_owned(),
            value => value.to_string(),
        };
        let (before, after) = (words(before), words(after));
        found.insert(format!("{method}: {path} was {before}, is {after}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::results::tests::cell;

    fn with(line: Line, edit: impl FnOnce(&mut CellResult)) -> Line {
        let Line::Cell(mut cell) = line else { unreachable!() };
        edit(&mut cell);
        Line::Cell(cell)
    }

    #[test]
    fn cells_are_paired_by_place_and_seed() {
        let before = [
            cell("HPCA", "L1", 0.1, 7, 0.40),
            cell("HPCA", "L1", 0.1, 8, 0.50),
            cell("HPCA", "L2", 0.1, 7, 0.30),
            cell("none", "L1", 0.1, 7, 0.30),
        ];
        let after = [
            // Of a file of another name.
            with(cell("HPCA", "L1", 0.1, 7, 0.41), |c| c.experiment = "edited".into()),
            cell("HPCA", "L1", 0.1, 8, 0.47),
            cell("HPCA", "L2", 0.1, 7, 0.30),
            cell("HPCA", "L2", 0.1, 8, 0.99),
            cell("HPCA", "L2", 1.0, 7, 0.99),
        ];
        let found = Comparison::new(&before, &after);
        let places: Vec<(&str, usize)> =
            found.places.iter().map(|p| (p.layer.as_str(), p.points.n())).collect();
        assert_eq!(places, [("L1", 2), ("L2", 1)]);
        assert!((found.places[0].points.mean + 1.0).abs() < 1e-9);
        let Spread { pairs, same, mean, largest, of } = &found.accuracy;
        assert_eq!((*pairs, *same, found.only_before, found.only_after), (3, 1, 1, 2));
        assert!((mean + 2.0 / 3.0).abs() < 1e-9 && (largest + 3.0).abs() < 1e-9);
        assert_eq!(of, "HPCA L1, 10% of the labels, seed 8");
        assert!(found.settings.is_empty() && found.other_inputs == 0);
        assert!(found.by.iter().all(Option::is_some));
        assert!(Comparison::new(&before, &[]).is_empty() && !found.is_empty());
    }

    #[test]
    fn what_else_differs_is_said() {
        let before = cell("HPCA", "L1", 0.1, 7, 0.4);
        let settings = |lr: f64, more: Value| {
            with(before.clone(), |c| {
                c.config = json!({ "pretraining": { "config": { "lr": lr } }, "more": more });
                c.id = Some("4567".into());
            })
        };
        let elsewhere = with(before.clone(), |c| c.data = "photos".into());
        let found = Comparison::new(std::slice::from_ref(&before), &[elsewhere]);
        assert_eq!(found.settings, ["the data was pictures, is photos"]);
        let changed = Comparison::new(&[settings(0.1, json!(null))], &[settings(0.2, json!([1]))]);
        assert_eq!(
            changed.settings,
            ["HPCA: more was not set, is [1]", "HPCA: pretraining.config.lr was 0.1, is 0.2"]
        );
        let other = with(before.clone(), |c| c.id = Some("4567".into()));
        let found = Comparison::new(std::slice::from_ref(&before), &[other]);
        assert!(found.settings.is_empty() && found.other_inputs == 1);
    }

    #[test]
    fn rankings_are_compared_depth_by_depth() {
        let ranked = |retrieved: f64, features: &str| {
            with(cell("HPCA", "L2", 0.1, 7, 0.5), |c| {
                c.retrieval = Some(json!([{
                    "features": features,
                    "mean_average_precision": [
                        { "k": 5, "retrieved": retrieved, "truncated": 0.2, "relevant": 0.1 },
                    ],
                    "precision": [{ "k": 5, "precision": 0.25 }],
                }]));
            })
        };
        let found = Comparison::new(&[ranked(0.40, "code")], &[ranked(0.45, "code")]);
        assert_eq!((found.rankings.pairs, found.rankings.same), (4, 3));
        assert!((found.largest().largest - 5.0).abs() < 1e-9);
        let of = "mAP retrieved of code at 5 of HPCA L2, 10% of the labels, seed 7";
        assert_eq!(found.largest().of, of);
        let other = Comparison::new(&[ranked(0.40, "code")], &[ranked(0.45, "L2")]);
        assert_eq!(other.rankings.pairs, 0);
    }
}
