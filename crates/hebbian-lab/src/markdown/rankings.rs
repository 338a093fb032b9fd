//! Mean average precision.

use super::escaped;
use crate::Summary;
use crate::grid::percent;
use crate::ranking::Ranking;
use crate::spec::same;
use crate::statistics::Sample;

/// A measure of a ranking: its name, and its value.
type Measure = (&'static str, fn(&Ranking) -> Option<&Sample>);

/// The last of them is the one of rankings as long as they are.
const MEASURES: [Measure; 4] = [
    ("precision", |r| r.precision.as_ref()),
    ("mAP retrieved", |r| r.retrieved.as_ref()),
    ("mAP truncated", |r| r.truncated.as_ref()),
    ("mAP relevant", |r| r.relevant.as_ref()),
];

/// Precision, and mean average precision in every definition, by amount of
/// labels, where features were ranked.
pub(super) fn table(summary: &Summary<'_>) -> String {
    let mut kinds: Vec<(&str, Option<u64>)> = Vec::new();
    for ranking in &summary.rankings {
        let kind = (ranking.layer.as_str(), ranking.k);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    if kinds.is_empty() {
        return String::new();
    }
    // Amounts of labels that are never ranked have no column.
    let ranked = |fraction: f64| {
        let retrieval = summary.experiment.retrieval.as_ref();
        retrieval.is_none_or(|retrieval| retrieval.fractions.iter().any(|&f| same(f, fraction)))
    };
    let fractions = summary.fractions.iter().copied();
    let fractions: Vec<f64> = fractions.filter(|&fraction| ranked(fraction)).collect();
    let shares: Vec<_> = fractions.iter().map(|&f| format!("{}%", percent(f))).collect();
    let mut text = format!(
        "\nPrecision and mean average precision, %, by amount of labels: every {} image against all \
         training images, by Euclidean distance, ties by index. An AP's denominator is the number \
         of relevant images among those ranked (retrieved), the smaller of rank and relevant \
         images (truncated), or the relevant images (relevant); over the whole gallery these are \
         one.\n\n| features | rank | measure | method | n | {} |\n|---|---|---|---|---|{}\n",
        summary.experiment.judged_on(),
        shares.join(" | "),
        "---|".repeat(shares.len())
    );
    for (features, k) in kinds {
        let measures = if k.is_some() { &MEASURES[..] } else { &MEASURES[3..] };
        for (name, value) in measures {
            for method in &summary.methods {
                let of = |fraction: f64| {
                    summary.rankings.iter().find(|r| {
                        r.method == *method
                            && r.layer == features
                            && r.k == k
                            && same(r.fraction, fraction)
                    })
                };
                let found: Vec<_> = fractions.iter().map(|&fraction| of(fraction)).collect();
                let known = found.iter().flatten().filter(|r| value(r).is_some());
                let most = known.map(|r| r.n).max();
                let Some(most) = most else { continue };
                let cell = |r: &Option<&Ranking>| match r.and_then(|r| Some((value(r)?, r.n))) {
                    Some((value, n)) if n < most => format!("{value}, n = {n}"),
                    Some((value, _)) => value.to_string(),
                    None => "–".into(),
                };
                let cells: Vec<String> = found.iter().map(cell).collect();
                let rank = k.map_or("all".into(), |k| k.to_string());
                let (method, cells) = (escaped(method), cells.join(" | "));
                text +=
                    &format!("| {features} | {rank} | {name} | {method} | {most} | {cells} |\n");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Line;
    use crate::results::tests::cell;
    use crate::spec::tests::example;

    #[test]
    fn rankings_stand_by_amount_of_labels_in_every_definition() {
        let mut experiment = example();
        let ranked = |method: &str, fraction: f64, map: f64| {
            let Line::Cell(mut c) = cell(method, "L2", fraction, 7, 0.5) else { unreachable!() };
            let of = |k: u64, whole: bool| {
                serde_json::json!({ "k": k, "whole_gallery": whole, "retrieved": map,
                    "truncated": map / 2.0, "relevant": map / 4.0 })
            };
            c.retrieval = Some(serde_json::json!({
                "precision": [{ "k": 5, "precision": map / 8.0 }],
                "mean_average_precision": [of(5, false), of(80, true)],
            }));
            Line::Cell(c)
        };
        let lines = [ranked("none", 0.1, 0.2), ranked("HPCA", 0.1, 0.4), ranked("HPCA", 1.0, 0.8)];
        // Ranked with 10% of the labels alone.
        let narrow = table(&Summary::new(&experiment, &lines));
        assert!(narrow.contains("| method | n | 10% |\n"), "{narrow}");
        assert!(narrow.contains("| L2 | 5 | precision | HPCA | 1 | 5.00 |\n"), "{narrow}");
        experiment.retrieval.as_mut().unwrap().fractions.push(1.0);
        let text = table(&Summary::new(&experiment, &lines));
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| L2 ")).collect();
        assert_eq!(
            rows,
            [
                "| L2 | 5 | precision | none | 1 | 2.50 | – |",
                "| L2 | 5 | precision | HPCA | 1 | 5.00 | 10.00 |",
                "| L2 | 5 | mAP retrieved | none | 1 | 20.00 | – |",
                "| L2 | 5 | mAP retrieved | HPCA | 1 | 40.00 | 80.00 |",
                "| L2 | 5 | mAP truncated | none | 1 | 10.00 | – |",
                "| L2 | 5 | mAP truncated | HPCA | 1 | 20.00 | 40.00 |",
                "| L2 | 5 | mAP relevant | none | 1 | 5.00 | – |",
                "| L2 | 5 | mAP relevant | HPCA | 1 | 10.00 | 20.00 |",
                "| L2 | all | mAP relevant | none | 1 | 5.00 | – |",
                "| L2 | all | mAP relevant | HPCA | 1 | 10.00 | 20.00 |",
            ]
        );
    }
}
