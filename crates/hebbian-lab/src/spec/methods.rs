//! The methods of an experiment file.

use std::path::Path;

use hebbian::error::{Error, Result};
use hebbian::network::{NetworkSpec, PRESETS};
use hebbian_data::Whitening;
use serde::Deserialize;
use toml::Spanned;

use super::Regime;
use super::file::{known_fraction, known_layer};
use super::source::Source;
use crate::grid::Part;
use crate::method::VAE;
use crate::{Method, Pretraining};

/// A method as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MethodSection {
    name: Spanned<String>,
    pretrain: Spanned<String>,
    #[serde(default)]
    rule: Option<Spanned<toml::Table>>,
    #[serde(default)]
    settings: Option<Spanned<toml::Table>>,
    network: Option<Spanned<String>>,
    whitening: Option<Whitening>,
    smoothing: Option<f64>,
    only: Option<OnlySection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnlySection {
    layers: Option<Spanned<Vec<Spanned<String>>>>,
    fractions: Option<Spanned<Vec<Spanned<f64>>>>,
    seeds: Option<Spanned<usize>>,
}

/// Checks the methods.
pub(super) fn methods(
    source: &Source<'_>,
    sections: &[Spanned<MethodSection>],
) -> Result<Vec<Method>> {
    let mut methods: Vec<Method> = Vec::new();
    for section in sections {
        let method = method(source, section)?;
        if methods.iter().any(|other| other.name == method.name) {
            let span = section.get_ref().name.span();
            return source.fail(span, "method.name", format!("'{}' is there twice", method.name));
        }
        methods.push(method);
    }
    if methods.is_empty() {
        return source.fail(0..0, "method", "is missing; give at least one [[method]]");
    }
    Ok(methods)
}

fn method(source: &Source<'_>, section: &Spanned<MethodSection>) -> Result<Method> {
    let (place, section) = (section.span(), section.get_ref());
    let name = section.name.get_ref().clone();
    if name.is_empty() || name.contains('/') {
        let problem = format!("is '{name}'; it must not be empty or hold a '/'");
        return source.fail(section.name.span(), "method.name", problem);
    }
    let (network, network_file) = network(source, section)?;
    let table = |of: &Option<Spanned<toml::Table>>| {
        of.as_ref().map(|table| table.get_ref().clone()).unwrap_or_default()
    };
    let (params, settings) = (table(&section.rule), table(&section.settings));
    let pretrain = section.pretrain.get_ref();
    let parsed = Pretraining::parse(pretrain, params, settings, network.blocks.len());
    let pretraining = parsed.map_err(|error| {
        // The place of the table that the error is about.
        let about =
            |word: &str| matches!(&error, Error::Config { field, .. } if field.starts_with(word));
        let span = match (&section.rule, &section.settings) {
            (Some(rule), _) if about("rule") => rule.span(),
            (_, Some(settings)) if !about("rule") => settings.span(),
            (Some(rule), None) => rule.span(),
            _ => section.pretrain.span(),
        };
        let span =
            if about("pretrain") && !about("pretrain.") { section.pretrain.span() } else { span };
        source.error(span, &format!("method {name}:"), error)
    })?;
    let whitening = match section.whitening {
        Some(whitening) => whitening,
        None => pretraining.published_whitening()?,
    };
    let smoothing = section.smoothing.unwrap_or(1e-2);
    if !(smoothing > 0.0 && smoothing.is_finite()) {
        return source.fail(place, "method.smoothing", "must be a number above 0");
    }
    let only = Part::default();
    Ok(Method { name, network, network_file, whitening, smoothing, pretraining, only })
}

/// The part of the grid that a method is run on.
pub(super) fn part(
    source: &Source<'_>,
    section: &MethodSection,
    layers: &[String],
    regimes: &[Regime],
) -> Result<Part> {
    let Some(only) = &section.only else { return Ok(Part::default()) };
    let mut part = Part {
        layers: known_list(source, &only.layers, "method.only.layers", |name, field| {
            known_layer(source, name, field, layers)
        })?,
        fractions: known_list(source, &only.fractions, "method.only.fractions", |share, field| {
            known_fraction(source, share, field, regimes)
        })?,
        seeds: None,
    };
    if let Some(seeds) = &only.seeds {
        let most = regimes.iter().map(|regime| regime.seeds.len()).max().unwrap_or(0);
        if !(1..=most).contains(seeds.get_ref()) {
            let problem = format!("is {}; it must be 1 to {most}", seeds.get_ref());
            return source.fail(seeds.span(), "method.only.seeds", problem);
        }
        part.seeds = Some(*seeds.get_ref());
    }
    Ok(part)
}

/// A list, if it is given, of at least one thing, each of which is known.
fn known_list<T, U>(
    source: &Source<'_>,
    list: &Option<Spanned<Vec<Spanned<T>>>>,
    field: &str,
    known: impl Fn(&Spanned<T>, &str) -> Result<U>,
) -> Result<Option<Vec<U>>> {
    let Some(list) = list else { return Ok(None) };
    if list.get_ref().is_empty() {
        return source.fail(list.span(), field, "is empty; leave it out for all");
    }
    list.get_ref().iter().map(|one| known(one, field)).collect::<Result<_>>().map(Some)
}

/// A preset, or a network file beside the experiment file: at its path from
/// there, or, as in an OUT folder, by its name alone.
fn network(source: &Source<'_>, section: &MethodSection) -> Result<(NetworkSpec, Option<String>)> {
    let Some(name) = &section.network else {
        let vae = section.pretrain.get_ref() == VAE;
        let preset = if vae { "cifar-6-backprop" } else { "cifar-6" };
        return Ok((NetworkSpec::find(preset)?, None));
    };
    let (field, given) = ("method.network", Path::new(name.get_ref()));
    if PRESETS.iter().any(|(preset, _)| preset == name.get_ref()) {
        return Ok((NetworkSpec::find(name.get_ref())?, None));
    }
    let folder = source.path.parent().unwrap_or(Path::new(""));
    let file = given.file_name().and_then(|file| file.to_str()).unwrap_or(name.get_ref());
    let path = Some(folder.join(given)).filter(|path| path.is_file());
    let path = path.unwrap_or_else(|| folder.join(file));
    let Some(path) = path.to_str() else {
        return source.fail(name.span(), field, "is a path that is not UTF-8");
    };
    let spec = NetworkSpec::find(path).map_err(source.at(name.span(), field))?;
    Ok((spec, Some(file.to_owned())))
}
