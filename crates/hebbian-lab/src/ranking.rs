//! What the rankings by a cell's features give, over the repetitions.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::results::CellResult;
use crate::statistics::Sample;

/// Quality of rankings over the repetitions, %.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// Amount of labels.
    pub fraction: f64,
    /// Method.
    pub method: String,
    /// Layer, and which of the network's features where they are not its.
    pub layer: String,
    /// Rank; none for the rankings as long as they are.
    pub k: Option<u64>,
    /// Precision.
    pub precision: Option<Sample>,
    /// mAP over the relevant images retrieved.
    pub retrieved: Option<Sample>,
    /// mAP over the smaller of rank and relevant images.
    pub truncated: Option<Sample>,
    /// mAP over the relevant images.
    pub relevant: Option<Sample>,
    /// Repetitions.
    pub n: usize,
}

/// What a cell's rankings gave: one report, or one for each of the features
/// asked for.
fn reports(cell: &CellResult) -> &[Value] {
    match &cell.retrieval {
        None => &[],
        Some(Value::Array(reports)) => reports,
        Some(report) => std::slice::from_ref(report),
    }
}

fn list<'a>(report: &'a Value, name: &str) -> &'a [Value] {
    report[name].as_array().map_or(&[], Vec::as_slice)
}

/// Every precision and mAP of a cell's rankings, as a share of 1, by its name.
pub(crate) fn quality(cell: &CellResult) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    for report in reports(cell) {
        let features = report["features"].as_str().unwrap_or(&cell.layer);
        let maps =
            ["retrieved", "truncated", "relevant"].map(|of| (of, "mAP ", "mean_average_precision"));
        for (of, kind, place) in maps.into_iter().chain([("precision", "", "precision")]) {
            found.extend(list(report, place).iter().filter_map(|at| {
                Some((format!("{kind}{of} of {features} at {}", at["k"]), at[of].as_f64()?))
            }));
        }
    }
    found
}

/// What each cell's rankings gave, over the repetitions.
pub(crate) fn rankings(cells: &[CellResult]) -> Vec<Ranking> {
    type Place = (u64, String, String, Option<u64>);
    type Group = (f64, Vec<[Option<f64>; 4]>);
    let mut groups: BTreeMap<Place, Group> = BTreeMap::new();
    for cell in cells {
        let maps = reports(cell).iter().flat_map(|report| {
            list(report, "mean_average_precision").iter().map(move |map| (report, map))
        });
        for (report, map) in maps {
            let precisions = list(report, "precision");
            let whole = map["whole_gallery"].as_bool() == Some(true);
            let precision = precisions.iter().find(|p| p["k"] == map["k"]);
            let precision = precision.and_then(|p| p["precision"].as_f64());
            let of = |name: &str| map[name].as_f64();
            let values = [precision, of("retrieved"), of("truncated"), of("relevant")];
            let k = map["k"].as_u64().filter(|_| !whole);
            let layer = match report["features"].as_str() {
                Some(features) if features != cell.layer => format!("{}: {features}", cell.layer),
                _ => cell.layer.clone(),
            };
            let place = (cell.share(), cell.method.clone(), layer, k);
            groups.entry(place).or_insert((cell.fraction, Vec::new())).1.push(values);
        }
    }
    let percent = |values: &[[Option<f64>; 4]], i: usize| {
        Sample::new(values.iter().filter_map(|v| Some(100.0 * v[i]?)).collect())
    };
    let ranking = |((_, method, layer, k), (fraction, values)): (Place, Group)| Ranking {
        fraction,
        method,
        layer,
        k,
        precision: percent(&values, 0),
        retrieved: percent(&values, 1),
        truncated: percent(&values, 2),
        relevant: percent(&values, 3),
        n: values.len(),
    };
    let mut found: Vec<Ranking> = groups.into_iter().map(ranking).collect();
    // The whole gallery comes last of its group.
    let last = |r: &Ranking| r.k.unwrap_or(u64::MAX);
    found.sort_by(|a, b| {
        let by = |r: &Ranking| (r.fraction, r.method.clone(), r.layer.clone());
        by(a).partial_cmp(&by(b)).unwrap_or(std::cmp::Ordering::Equal).then(last(a).cmp(&last(b)))
    });
    found
}

#[cfg(test)]
mod tests {
    use crate::Summary;
    use crate::results::Line;
    use crate::results::tests::cell;
    use crate::spec::tests::example;
    use crate::statistics::Sample;

    #[test]
    fn rankings_are_means_over_the_repetitions() {
        let experiment = example();
        let ranked = |seed, retrieved: f64| {
            let Line::Cell(mut c) = cell("HPCA", "L2", 0.1, seed, 0.5) else { unreachable!() };
            c.retrieval = Some(serde_json::json!({
                "mean_average_precision": [
                    { "k": 5, "whole_gallery": false, "retrieved": retrieved, "truncated": 0.2, "relevant": 0.1 },
                    { "k": 80, "whole_gallery": true, "retrieved": 0.3, "truncated": 0.3, "relevant": 0.3 },
                ],
                "precision": [{ "k": 5, "precision": 0.25 }],
            }));
            Line::Cell(c)
        };
        let summary = Summary::new(&experiment, &[ranked(7, 0.4), ranked(8, 0.6)]);
        let [five, whole] = &summary.rankings[..] else { panic!("{:?}", summary.rankings) };
        assert_eq!((five.k, five.n, whole.k), (Some(5), 2, None));
        let says = |sample: &Option<Sample>| sample.as_ref().unwrap().to_string();
        // 12.706 times a deviation of 14.14 over the root of 2.
        assert_eq!(says(&five.retrieved), "50.00 ± 127.06");
        assert_eq!(says(&five.precision), "25.00 ± 0.00");
        assert!(whole.precision.is_none() && says(&whole.relevant) == "30.00 ± 0.00");
        // Several features of each cell.
        let Line::Cell(mut both) = ranked(7, 0.4) else { unreachable!() };
        let report = |name: &str| {
            let mut report = both.retrieval.clone().unwrap();
            report["features"] = name.into();
            report
        };
        both.retrieval = Some(vec![report("L1"), report("code-binary")].into());
        let summary = Summary::new(&experiment, &[Line::Cell(both)]);
        let layers: Vec<&str> = summary.rankings.iter().map(|r| r.layer.as_str()).collect();
        assert_eq!(layers, ["L2: L1", "L2: L1", "L2: code-binary", "L2: code-binary"]);
    }
}
