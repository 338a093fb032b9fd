//! Which cells of a grid a process runs, and which a report shows.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hebbian::error::{Error, Result};
use hebbian::train::Stop;
use hebbian_data::Share;

use crate::grid::percent;
use crate::spec::same;
use crate::{Cell, Experiment};

/// Cells of a method, or of one of its layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Only {
    method: String,
    layer: Option<String>,
}

impl FromStr for Only {
    type Err = String;

    /// `METHOD` or `METHOD/LAYER`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (method, layer) = match text.split_once('/') {
            Some((method, layer)) => (method, Some(layer.to_owned())),
            None => (text, None),
        };
        Ok(Self { method: method.to_owned(), layer })
    }
}

/// A part of the grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Only these methods, or layers of them; all if empty.
    pub only: Vec<Only>,
    /// Only these layers; all if empty.
    pub layers: Vec<String>,
    /// Only these amounts of labels; all if empty.
    pub fractions: Vec<f64>,
    /// Only these seeds; all if empty.
    pub seeds: Vec<u64>,
}

impl Selection {
    /// Whether it holds anything of this place of the table.
    pub fn has_place(&self, fraction: f64, method: &str, layer: &str) -> bool {
        let named = |only: &Only| {
            only.method == method && only.layer.as_ref().is_none_or(|own| own == layer)
        };
        (self.only.is_empty() || self.only.iter().any(named))
            && self.has_layer(layer)
            && (self.fractions.is_empty() || self.fractions.iter().any(|&own| same(own, fraction)))
    }

    /// Whether it holds anything of a layer, of whichever method.
    pub fn has_layer(&self, layer: &str) -> bool {
        self.layers.is_empty() || self.layers.iter().any(|own| own == layer)
    }

    /// Whether it holds the repetition of a seed.
    pub fn has_seed(&self, seed: u64) -> bool {
        self.seeds.is_empty() || self.seeds.contains(&seed)
    }

    /// Whether a cell is in it.
    pub(crate) fn has(&self, cell: &Cell<'_>) -> bool {
        self.has_place(cell.fraction, &cell.method.name, cell.layer) && self.has_seed(cell.seed)
    }

    /// Refuses what the experiment does not have.
    ///
    /// # Errors
    /// If a method, layer, amount of labels or seed is none of the
    /// experiment's; the message names the option and those there are.
    pub fn check(&self, experiment: &Experiment) -> Result<()> {
        let refuse = |option, asked: &dyn fmt::Display, known| Err(unknown(option, asked, known));
        for only in &self.only {
            known_method(experiment, "--only", &only.method)?;
            if let Some(layer) = only.layer.as_ref().filter(|l| !experiment.layers.contains(l)) {
                return refuse("--only", layer, experiment.layers.clone());
            }
        }
        if let Some(layer) = self.layers.iter().find(|l| !experiment.layers.contains(l)) {
            return refuse("--layer", layer, experiment.layers.clone());
        }
        let regimes = &experiment.regimes;
        let known = |f: &&f64| regimes.iter().any(|regime| same(regime.fraction, **f));
        if let Some(fraction) = self.fractions.iter().find(|f| !known(f)) {
            let known = regimes.iter().map(|regime| format!("{}%", percent(regime.fraction)));
            return refuse("--labels", &format!("{}%", percent(*fraction)), known.collect());
        }
        let seeds = experiment.seeds();
        if let Some(seed) = self.seeds.iter().find(|seed| !seeds.contains(seed)) {
            return refuse("--seed", seed, seeds.iter().map(u64::to_string).collect());
        }
        Ok(())
    }
}

impl fmt::Display for Selection {
    /// The options that ask for it, as typed in a shell, each after a space.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Only { method, layer } in &self.only {
            let layer = layer.as_ref().map(|layer| format!("/{layer}")).unwrap_or_default();
            write!(f, " --only {}", quoted(&format!("{method}{layer}")))?;
        }
        let mut list = |option: &str, values: Vec<String>| match values.is_empty() {
            true => Ok(()),
            false => write!(f, " --{option} {}", quoted(&values.join(","))),
        };
        list("layer", self.layers.clone())?;
        list("labels", self.fractions.iter().map(|&f| format!("{}%", percent(f))).collect())?;
        list("seed", self.seeds.iter().map(u64::to_string).collect())
    }
}

/// Refuses what is given for an option if it is no method of the experiment.
pub(crate) fn known_method(experiment: &Experiment, option: &str, name: &str) -> Result<()> {
    if experiment.method(name).is_some() {
        return Ok(());
    }
    Err(unknown(option, &name, experiment.methods.iter().map(|m| m.name.clone()).collect()))
}

/// What is said of something that is asked for and not there.
fn unknown(option: &str, asked: &dyn fmt::Display, known: Vec<String>) -> Error {
    Error::config(option, format!("'{asked}' is none of {}", known.join(", ")))
}

/// A word as a shell has to be given it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,%".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Which cells a process runs, and what it need not run again.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The part of the grid.
    pub selection: Selection,
    /// Its share of that; all if absent.
    pub shard: Option<Share>,
    /// Only so many of these, drawn at random, the same ones each time; all if
    /// absent.
    pub sample: Option<usize>,
    /// At most so many.
    pub max_cells: Option<usize>,
    /// A file of results that this run adds its own to; what it holds already
    /// is not done again.
    pub results: Option<PathBuf>,
    /// Ends the run after the step in hand, or before the next cell.
    pub stop: Stop,
}

impl Options {
    /// Which cells of a grid with so many layers are this process's.
    pub(crate) fn mine(&self, cells: &[Cell<'_>], layers: usize) -> Vec<bool> {
        let asked = (0..cells.len()).filter(|&i| self.selection.has(&cells[i]));
        let mut asked: Vec<usize> = asked.collect();
        if let Some(sample) = self.sample {
            asked
                .sort_by_cached_key(|&i| *blake3::hash(cells[i].to_string().as_bytes()).as_bytes());
            asked.truncate(sample);
        }
        let mut mine = vec![false; cells.len()];
        // Turned by one whenever layers and shards meet in the same way again:
        // else a shard might be a single layer.
        let share = |index: usize| {
            self.shard.is_none_or(|s| {
                (index + index / common_multiple(layers, s.of())) % s.of() == s.index()
            })
        };
        asked.into_iter().filter(|&i| share(i)).for_each(|i| mine[i] = true);
        mine
    }
}

/// The least common multiple of two numbers above 0.
fn common_multiple(a: usize, b: usize) -> usize {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a / divisor * b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid;
    use crate::spec::tests::example;

    #[test]
    fn shards_part_the_cells_and_mix_the_layers() {
        let experiment = example();
        let cells = grid(&experiment);
        for of in 1..6 {
            let options = (1..=of).map(|i| Options {
                shard: Some(format!("{i}/{of}").parse().unwrap()),
                ..Options::default()
            });
            let mut owners = vec![0; cells.len()];
            for options in options {
                let mut layers: Vec<&str> = Vec::new();
                let mine = options.mine(&cells, experiment.layers.len());
                for index in (0..cells.len()).filter(|&index| mine[index]) {
                    owners[index] += 1;
                    layers.push(cells[index].layer);
                }
                assert!(layers.contains(&"L1") && layers.contains(&"L2"), "{options:?}");
            }
            assert_eq!(owners, vec![1; cells.len()], "{of} shards");
        }
    }

    #[test]
    fn only_names_a_method_or_a_layer_of_it() {
        let experiment = example();
        let cells = grid(&experiment);
        let count = |text: &str| {
            let only = vec![text.parse().unwrap()];
            let selection = Selection { only, ..Selection::default() };
            selection
                .check(&experiment)
                .map(|()| cells.iter().filter(|cell| selection.has(cell)).count())
        };
        assert_eq!((count("HPCA").unwrap(), count("HPCA/L2").unwrap()), (8, 4));
        assert!(count("hpca").unwrap_err().to_string().contains("none, HPCA"));
        assert!(count("HPCA/L7").unwrap_err().to_string().contains("L1, L2"));
    }

    #[test]
    fn a_sample_is_of_what_is_asked_for_and_always_the_same() {
        let experiment = example();
        let cells = grid(&experiment);
        let layers = vec!["L2".to_owned()];
        let of = |sample, shard: Option<&str>| {
            let shard = shard.map(|shard| shard.parse().unwrap());
            let selection = Selection { layers: layers.clone(), ..Selection::default() };
            let options = Options { selection, sample, shard, ..Options::default() };
            options.mine(&cells, 2)
        };
        let three = of(Some(3), None);
        let drawn: Vec<&Cell<'_>> =
            cells.iter().zip(&three).filter(|(_, m)| **m).map(|(c, _)| c).collect();
        assert!(drawn.len() == 3 && drawn.iter().all(|cell| cell.layer == "L2"), "{drawn:?}");
        // Not the first three, and part of any larger sample.
        assert!(drawn.iter().any(|cell| cell.seed != 7 || cell.fraction > 0.1), "{drawn:?}");
        assert!(three.iter().zip(of(Some(5), None)).all(|(three, five)| five || !three));
        assert_eq!(of(Some(99), None), of(None, None));
        // Shards part the sample, not the grid before it.
        let parts = ["1/2", "2/2"].map(|shard| of(Some(3), Some(shard)));
        let whole: Vec<bool> = parts[0].iter().zip(&parts[1]).map(|(a, b)| a ^ b).collect();
        assert_eq!(whole, three);
    }

    #[test]
    fn layers_labels_and_seeds_narrow_the_grid_and_unknown_ones_are_refused() {
        let experiment = example();
        let count = |selection: Selection| {
            let cells = grid(&experiment);
            selection
                .check(&experiment)
                .map(|()| cells.iter().filter(|cell| selection.has(cell)).count())
        };
        // Two methods and layers; three seeds of 10%, one of 100%.
        let layers = vec!["L2".to_owned()];
        assert_eq!(count(Selection { layers, ..Selection::default() }).unwrap(), 8);
        let ten = Selection { fractions: vec![0.1], ..Selection::default() };
        assert_eq!(count(ten.clone()).unwrap(), 12);
        assert_eq!(count(Selection { seeds: vec![8, 9], ..ten }).unwrap(), 8);
        let says = |options: Selection, words: &str| {
            let error = count(options).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        says(Selection { layers: vec!["L9".into()], ..Selection::default() }, "L1, L2");
        says(
            Selection { fractions: vec![0.2], ..Selection::default() },
            "'20%' is none of 10%, 100%",
        );
        says(Selection { seeds: vec![1], ..Selection::default() }, "'1' is none of 7, 8, 9");
    }

    #[test]
    fn a_selection_reads_as_it_is_typed() {
        let selection = Selection {
            only: vec!["no pre-training".parse().unwrap(), "it's/L2".parse().unwrap()],
            layers: vec!["L1".into(), "L2".into()],
            fractions: vec![0.01, 1.0],
            seeds: vec![7],
        };
        assert_eq!(
            selection.to_string(),
            r" --only 'no pre-training' --only 'it'\''s/L2' --layer L1,L2 --labels 1%,100% --seed 7"
        );
        assert_eq!(Selection::default().to_string(), "");
    }
}
