//! What the tables of a report hold, whether they become Markdown or a page.

use crate::Summary;
use crate::grid::percent;
use crate::ranking::Ranking;
use crate::spec::same;
use crate::statistics::{Sample, highest};
use crate::summary::Place;

/// Methods in groups of rows.
pub struct Table<'a> {
    /// Names of the columns of values.
    pub columns: Vec<String>,
    /// Groups, all of one kind; none that is empty.
    pub groups: Vec<Group<'a>>,
    /// Whether the values are differences, which have a sign.
    pub signed: bool,
}

/// Rows of one kind.
pub struct Group<'a> {
    /// What they are of.
    pub of: Kind<'a>,
    /// A row for each method of which there is something to say.
    pub rows: Vec<Row<'a>>,
}

/// What the rows of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind<'a> {
    /// The amount of labels.
    Labels(f64),
    /// The layer.
    Layer(&'a str),
    /// The features that rank, the rank (none for rankings as long as they are),
    /// and the measure, where the columns are not the measures.
    Ranking(&'a str, Option<u64>, Option<&'static str>),
}

impl Kind<'_> {
    /// What it consists of, and each part as it is printed.
    pub fn parts(&self) -> Vec<(&'static str, String)> {
        match *self {
            Self::Labels(fraction) => vec![("labels", share(fraction))],
            Self::Layer(layer) => vec![("layer", layer.to_owned())],
            Self::Ranking(features, k, measure) => {
                let rank = k.map_or("all".to_owned(), |k| k.to_string());
                let measure = measure.map(|measure| ("measure", measure.to_owned()));
                let parts = [("features", features.to_owned()), ("rank", rank)];
                parts.into_iter().chain(measure).collect()
            }
        }
    }
}

/// A method's values.
pub struct Row<'a> {
    /// The method.
    pub method: &'a str,
    /// Most runs that a value of the row rests on; 0 where nothing was measured.
    pub n: usize,
    /// One for each column.
    pub values: Vec<Value<'a>>,
}

impl Row<'_> {
    /// The runs a value rests on, where they are fewer than the row's.
    pub fn fewer(&self, value: &Value<'_>) -> Option<usize> {
        value.sample.map(Sample::n).filter(|&n| n < self.n)
    }
}

/// A value, as far as it is known.
#[derive(Clone, Copy, Default)]
pub struct Value<'a> {
    /// What was measured.
    pub sample: Option<&'a Sample>,
    /// What the paper says.
    pub paper: Option<f64>,
    /// Runs whose pre-training diverged.
    pub diverged: usize,
    /// Whether its mean is the highest of its column and group.
    pub best: bool,
}

impl Value<'_> {
    fn is_empty(&self) -> bool {
        self.sample.is_none() && self.paper.is_none() && self.diverged == 0
    }
}

/// An amount of labels as it is printed.
fn share(fraction: f64) -> String {
    format!("{}%", percent(fraction))
}

/// A group, if there is anything in it: what `values` says of each method.
pub(crate) fn group<'a>(
    of: Kind<'a>,
    methods: impl IntoIterator<Item = &'a str>,
    values: impl Fn(&str) -> Vec<Value<'a>>,
) -> Option<Group<'a>> {
    let rows = methods.into_iter().filter_map(|method| {
        let values = values(method);
        let n = values.iter().map(|value| value.sample.map_or(0, Sample::n)).max().unwrap_or(0);
        let known = values.iter().any(|value| !value.is_empty());
        known.then_some(Row { method, n, values })
    });
    let rows: Vec<Row<'_>> = rows.collect();
    (!rows.is_empty()).then_some(Group { of, rows })
}

/// The accuracies, and the paper's.
///
/// A column for each layer and a group for each amount of labels, as in
/// Lagani 2022, Table 1; where one layer alone is shown, a column for each amount
/// of labels, as in Lagani 2023, Table 2.
pub fn accuracies<'a>(summary: &'a Summary<'_>) -> Table<'a> {
    by_place(summary, false, |place| Value {
        sample: place.sample.as_ref(),
        paper: place.paper,
        diverged: place.diverged,
        best: place.best,
    })
}

/// The gains over the baseline, in points, likewise.
pub fn gains<'a>(summary: &'a Summary<'_>) -> Table<'a> {
    by_place(summary, true, |place| Value { sample: place.gain.as_ref(), ..Value::default() })
}

fn by_place<'a>(
    summary: &'a Summary<'_>,
    signed: bool,
    value: fn(&'a Place) -> Value<'a>,
) -> Table<'a> {
    let at = |fraction: f64, method: &str, layer: &str| {
        summary.place(fraction, method, layer).map(value).unwrap_or_default()
    };
    let methods = || summary.methods.iter().map(String::as_str);
    let fractions = || summary.fractions.iter().copied();
    match &summary.layers[..] {
        [layer] if summary.fractions.len() > 1 => {
            let values = |method: &str| fractions().map(|f| at(f, method, layer)).collect();
            Table {
                columns: fractions().map(share).collect(),
                groups: group(Kind::Layer(layer), methods(), values).into_iter().collect(),
                signed,
            }
        }
        layers => {
            let of = |f: f64| {
                let values = |method: &str| layers.iter().map(|l| at(f, method, l)).collect();
                group(Kind::Labels(f), methods(), values)
            };
            Table { columns: layers.to_vec(), groups: fractions().filter_map(of).collect(), signed }
        }
    }
}

/// A measure of a ranking: its name, and its value.
type Measure = (&'static str, fn(&Ranking) -> Option<&Sample>);

/// The last of them is the one of rankings as long as they are.
const MEASURES: [Measure; 4] = [
    ("precision", |r| r.precision.as_ref()),
    ("mAP retrieved", |r| r.retrieved.as_ref()),
    ("mAP truncated", |r| r.truncated.as_ref()),
    ("mAP relevant", |r| r.relevant.as_ref()),
];

/// Precision, and mean average precision in every definition, where features
/// were ranked.
///
/// A column for each amount of labels, as in Lagani 2023, Table 2; where that is
/// one, a column for each measure.
pub fn rankings<'a>(summary: &'a Summary<'_>) -> Table<'a> {
    // Amounts of labels that are never ranked have no column.
    let ranked = |fraction: &f64| {
        let retrieval = summary.experiment.retrieval.as_ref();
        retrieval.is_none_or(|retrieval| retrieval.fractions.iter().any(|&f| same(f, *fraction)))
    };
    let fractions: Vec<f64> = summary.fractions.iter().copied().filter(ranked).collect();
    let mut kinds: Vec<(&str, Option<u64>)> = Vec::new();
    for ranking in &summary.rankings {
        let kind = (ranking.layer.as_str(), ranking.k);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let at = |(features, k): (&str, Option<u64>), method: &str, fraction: f64| {
        let mut rankings = summary.rankings.iter();
        rankings.find(|r| {
            r.method == method && r.layer == features && r.k == k && same(r.fraction, fraction)
        })
    };
    let methods = || summary.methods.iter().map(String::as_str);
    let known = |sample: Option<&'a Sample>| Value { sample, ..Value::default() };
    let first = |k: Option<u64>| if k.is_some() { 0 } else { MEASURES.len() - 1 };
    let mut groups = Vec::new();
    for kind in kinds {
        let (features, k) = kind;
        if let [fraction] = fractions[..] {
            let values = |method: &str| {
                let ranking = at(kind, method, fraction);
                let value = |(i, (_, of)): (usize, &Measure)| {
                    known(ranking.filter(|_| i >= first(k)).and_then(of))
                };
                MEASURES.iter().enumerate().map(value).collect()
            };
            groups.extend(group(Kind::Ranking(features, k, None), methods(), values));
            continue;
        }
        for (name, of) in &MEASURES[first(k)..] {
            let values = |method: &str| {
                fractions.iter().map(|&f| known(at(kind, method, f).and_then(of))).collect()
            };
            groups.extend(group(Kind::Ranking(features, k, Some(name)), methods(), values));
        }
    }
    let columns: Vec<String> = match fractions.len() {
        1 => MEASURES.iter().map(|(name, _)| (*name).to_owned()).collect(),
        _ => fractions.into_iter().map(share).collect(),
    };
    for group in &mut groups {
        for column in 0..columns.len() {
            let of = |row: &Row<'a>| row.values[column].sample;
            let best = highest(&group.rows.iter().map(of).collect::<Vec<_>>());
            for (row, best) in group.rows.iter_mut().zip(best) {
                row.values[column].best = best;
            }
        }
    }
    Table { columns, groups, signed: false }
}
