//! The experiment file as it is written, with where each thing stands in it.

use std::collections::BTreeMap;
use std::path::Path;

use hebbian::error::{Error, Result};
use hebbian::network::{FeatureLayer, toml_problem};
use hebbian::train::{FinetuneConfig, Protocol};
use hebbian_data::Amount;
use serde::Deserialize;
use toml::Spanned;

use super::methods::{MethodSection, methods, part};
use super::source::Source;
use super::{
    Classifier, Convergence, DataSection, Experiment, PaperValue, Regime, Retrieval, SplitSection,
    same,
};
use crate::{Method, frozen};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Spanned<String>,
    #[serde(default)]
    title: String,
    #[serde(default)]
    reference: String,
    data: Spanned<DataSection>,
    split: Spanned<SplitSection>,
    method: Vec<Spanned<MethodSection>>,
    grid: GridSection,
    finetune: Option<Spanned<FinetuneConfig>>,
    #[serde(default)]
    classifier: Option<Spanned<Classifier>>,
    baseline: Option<Spanned<String>>,
    retrieval: Option<RetrievalSection>,
    convergence: Option<Spanned<ConvergenceSection>>,
    #[serde(default)]
    paper: Vec<PaperSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GridSection {
    layers: Spanned<Vec<Spanned<String>>>,
    seeds: Spanned<Vec<u64>>,
    regimes: Spanned<Vec<RegimeSection>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegimeSection {
    fraction: Spanned<f64>,
    /// The first so many of the grid's seeds; all of them if absent.
    seeds: Option<Spanned<usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetrievalSection {
    layers: Vec<Spanned<String>>,
    fractions: Option<Vec<Spanned<f64>>>,
    #[serde(default)]
    features: Vec<Spanned<String>>,
    ks: Spanned<Vec<usize>>,
    truncate: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConvergenceSection {
    fraction: Spanned<f64>,
    layers: Option<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PaperSection {
    method: String,
    fraction: Spanned<f64>,
    accuracy: BTreeMap<Spanned<String>, f64>,
}

/// Parses and checks; see [`Experiment::parse`].
pub(super) fn parse(text: &str, path: &Path) -> Result<Experiment> {
    let source = Source { path, text };
    let file: File = toml::from_str(text)
        .map_err(|e| Error::config(path.display().to_string(), toml_problem(&e, text)))?;
    let name = file.name.get_ref();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        let problem = format!("is '{name}'; it names files: letters, digits, '-', '_' and '.'");
        return source.fail(file.name.span(), "name", problem);
    }
    let classifier = classifier(&source, file.classifier, &file.finetune)?;
    let finetune = match &file.finetune {
        Some(config) => {
            config.get_ref().check().map_err(source.at(config.span(), "finetune"))?;
            config.get_ref().clone()
        }
        None => match classifier {
            Classifier::FineTuned => FinetuneConfig::default(),
            Classifier::Frozen(_) => {
                FinetuneConfig { weight_decay: frozen::WEIGHT_DECAY, ..FinetuneConfig::default() }
            }
        },
    };
    let split = *file.split.get_ref();
    let none = matches!(split.validation, Amount::Count(0) | Amount::Fraction(0.0));
    if finetune.protocol == Protocol::Published && none {
        let problem = "is 0; protocol published chooses the epoch by validation images";
        return source.fail(file.split.span(), "split.validation", problem);
    }
    let problem = match (&file.data.get_ref().test, finetune.protocol) {
        (Some(_), _) => None,
        (None, _) if none => Some("is missing; give it, or split.validation images to judge by"),
        (None, Protocol::Published) => Some(
            "is missing; under protocol published the validation images choose the epoch, so \
             nothing can be judged by them",
        ),
        (None, Protocol::Strict) => None,
    };
    if let Some(problem) = problem {
        return source.fail(file.data.span(), "data.test", problem);
    }
    let mut methods = methods(&source, &file.method)?;
    if let Some(baseline) = &file.baseline
        && !methods.iter().any(|method| method.name == *baseline.get_ref())
    {
        let problem = format!("is '{}', which is no method of this file", baseline.get_ref());
        return source.fail(baseline.span(), "baseline", problem);
    }
    let layers = layers(&source, &file.grid.layers, &methods)?;
    let regimes = regimes(&source, &file.grid)?;
    for (method, section) in methods.iter_mut().zip(&file.method) {
        method.only = part(&source, section.get_ref(), &layers, &regimes)?;
    }
    let (retrieval, convergence) = (&file.retrieval, &file.convergence);
    let retrieval =
        retrieval.as_ref().map(|r| checked_retrieval(&source, r, &layers, &regimes, &finetune));
    let convergence =
        convergence.as_ref().map(|c| checked_convergence(&source, c, &layers, &methods));
    let (retrieval, convergence) = (retrieval.transpose()?, convergence.transpose()?);
    let paper = paper(&source, file.paper, &layers, &regimes)?;
    let title = if file.title.is_empty() { name.clone() } else { file.title };
    Ok(Experiment {
        name: file.name.into_inner(),
        title,
        text: text.to_owned(),
        data: file.data.into_inner(),
        split,
        methods,
        layers,
        regimes,
        finetune,
        classifier,
        retrieval,
        convergence,
        paper,
        reference: file.reference,
        baseline: file.baseline.map(Spanned::into_inner),
    })
}

fn classifier(
    source: &Source<'_>,
    section: Option<Spanned<Classifier>>,
    finetune: &Option<Spanned<FinetuneConfig>>,
) -> Result<Classifier> {
    let Some(section) = section else { return Ok(Classifier::default()) };
    let (span, classifier) = (section.span(), section.into_inner());
    if let Classifier::Frozen(frozen) = &classifier {
        let names = ["k", "c", "lr", "nystroem"].map(|name| format!("classifier.frozen.{name}"));
        frozen
            .check(names.each_ref().map(String::as_str))
            .map_err(source.at(span.clone(), "classifier"))?;
        let published =
            |config: &Spanned<FinetuneConfig>| config.get_ref().protocol == Protocol::Published;
        if finetune.as_ref().is_some_and(published) {
            let problem = "is frozen; under protocol published, epochs of fine-tuning are chosen";
            return source.fail(span, "classifier", problem);
        }
    }
    Ok(classifier)
}

fn layers(
    source: &Source<'_>,
    names: &Spanned<Vec<Spanned<String>>>,
    methods: &[Method],
) -> Result<Vec<String>> {
    let field = "grid.layers";
    let mut layers = Vec::new();
    for name in names.get_ref() {
        let (span, layer) = (name.span(), name.get_ref());
        let depth = layer.strip_prefix('L').and_then(|n| n.parse::<usize>().ok());
        for method in methods {
            let last = method.network.blocks.len();
            if !depth.is_some_and(|depth| (1..=last).contains(&depth)) {
                let (has, who) = (format!("L1 to L{last}"), &method.name);
                let problem = format!("names '{layer}'; the network of {who} has {has}");
                return source.fail(span, field, problem);
            }
        }
        if layers.contains(layer) {
            return source.fail(span, field, format!("names '{layer}' twice"));
        }
        layers.push(layer.clone());
    }
    if layers.is_empty() {
        return source.fail(names.span(), field, "is empty; name at least one layer");
    }
    Ok(layers)
}

fn regimes(source: &Source<'_>, grid: &GridSection) -> Result<Vec<Regime>> {
    let seeds = grid.seeds.get_ref();
    if seeds.is_empty() || (1..seeds.len()).any(|i| seeds[..i].contains(&seeds[i])) {
        let problem = "must hold at least one seed, and none twice";
        return source.fail(grid.seeds.span(), "grid.seeds", problem);
    }
    let mut regimes: Vec<Regime> = Vec::new();
    for section in grid.regimes.get_ref() {
        let (span, fraction) = (section.fraction.span(), *section.fraction.get_ref());
        if !(fraction > 0.0 && fraction <= 1.0) {
            let problem = format!("is {fraction}; it must be above 0, to 1");
            return source.fail(span, "grid.regimes.fraction", problem);
        }
        if regimes.iter().any(|regime| same(regime.fraction, fraction)) {
            return source.fail(
                span,
                "grid.regimes.fraction",
                format!("{fraction} is there twice"),
            );
        }
        let count = section.seeds.as_ref().map_or(seeds.len(), |count| *count.get_ref());
        if count == 0 || count > seeds.len() {
            let span = section.seeds.as_ref().map_or(span, Spanned::span);
            let problem = format!("is {count}; grid.seeds has {}", seeds.len());
            return source.fail(span, "grid.regimes.seeds", problem);
        }
        regimes.push(Regime { fraction, seeds: seeds[..count].to_vec() });
    }
    if regimes.is_empty() {
        return source.fail(grid.regimes.span(), "grid.regimes", "is empty; give a fraction");
    }
    Ok(regimes)
}

pub(super) fn known_layer(
    source: &Source<'_>,
    layer: &Spanned<String>,
    field: &str,
    layers: &[String],
) -> Result<String> {
    if layers.contains(layer.get_ref()) {
        return Ok(layer.get_ref().clone());
    }
    let problem = format!("names '{}', which is not in grid.layers", layer.get_ref());
    source.fail(layer.span(), field, problem)
}

pub(super) fn known_fraction(
    source: &Source<'_>,
    fraction: &Spanned<f64>,
    field: &str,
    regimes: &[Regime],
) -> Result<f64> {
    let found = regimes.iter().find(|regime| same(regime.fraction, *fraction.get_ref()));
    match found {
        Some(regime) => Ok(regime.fraction),
        None => {
            let problem = format!("is {}, which is not in grid.regimes", fraction.get_ref());
            source.fail(fraction.span(), field, problem)
        }
    }
}

fn checked_retrieval(
    source: &Source<'_>,
    section: &RetrievalSection,
    layers: &[String],
    regimes: &[Regime],
    finetune: &FinetuneConfig,
) -> Result<Retrieval> {
    let known = |layer| known_layer(source, layer, "retrieval.layers", layers);
    let chosen = section.layers.iter().map(known).collect::<Result<_>>()?;
    let fractions = match &section.fractions {
        None => regimes.iter().map(|regime| regime.fraction).collect(),
        Some(fractions) => {
            let known = |f| known_fraction(source, f, "retrieval.fractions", regimes);
            fractions.iter().map(known).collect::<Result<_>>()?
        }
    };
    let ks = section.ks.get_ref().clone();
    let longest = section.truncate.unwrap_or(usize::MAX);
    if ks.iter().any(|&k| k == 0 || k > longest) {
        let problem = "must hold ranks from 1 on, none beyond retrieval.truncate";
        return source.fail(section.ks.span(), "retrieval.ks", problem);
    }
    for (index, name) in section.features.iter().enumerate() {
        // What every ranked cell has: the layers of the lowest.
        let depths = section.layers.iter().filter_map(|layer| layer.get_ref()[1..].parse().ok());
        let (depth, has_code) = (depths.min().unwrap_or(0), !finetune.classifier.is_linear());
        if let Err(problem) = FeatureLayer::parse(name.get_ref(), depth, has_code) {
            return source.fail(name.span(), "retrieval.features", problem);
        }
        if section.features[..index].iter().any(|before| before.get_ref() == name.get_ref()) {
            let problem = format!("names '{}' twice", name.get_ref());
            return source.fail(name.span(), "retrieval.features", problem);
        }
    }
    let features = section.features.iter().map(|name| name.get_ref().clone()).collect();
    let truncate = section.truncate;
    Ok(Retrieval { layers: chosen, fractions, features, ks, truncate })
}

fn checked_convergence(
    source: &Source<'_>,
    section: &Spanned<ConvergenceSection>,
    layers: &[String],
    methods: &[Method],
) -> Result<Convergence> {
    let (span, section) = (section.span(), section.get_ref());
    let fraction = *section.fraction.get_ref();
    if !(fraction > 0.0 && fraction <= 1.0) {
        let problem = format!("is {fraction}; it must be above 0, to 1");
        return source.fail(section.fraction.span(), "convergence.fraction", problem);
    }
    if !methods.iter().any(|method| method.pretraining.has_epochs()) {
        let problem = "finds no method whose layers learn together for a fixed number of epochs";
        return source.fail(span, "convergence", problem);
    }
    let chosen = match &section.layers {
        None => layers.to_vec(),
        Some(names) => {
            let known = |layer| known_layer(source, layer, "convergence.layers", layers);
            names.iter().map(known).collect::<Result<_>>()?
        }
    };
    Ok(Convergence { fraction, layers: chosen })
}

fn paper(
    source: &Source<'_>,
    sections: Vec<PaperSection>,
    layers: &[String],
    regimes: &[Regime],
) -> Result<Vec<PaperValue>> {
    let mut values = Vec::new();
    for section in sections {
        let fraction = known_fraction(source, &section.fraction, "paper.fraction", regimes)?;
        for (layer, accuracy) in section.accuracy {
            let layer = known_layer(source, &layer, "paper.accuracy", layers)?;
            let method = section.method.clone();
            values.push(PaperValue { method, fraction, layer, accuracy });
        }
    }
    Ok(values)
}
