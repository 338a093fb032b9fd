//! Mean average precision.

use super::escaped;
use crate::Summary;
use crate::grid::percent;
use crate::spec::same;
use crate::summary::Ranking;

/// A definition of mean average precision: its name, and its value in a ranking.
type Definition = (&'static str, fn(&Ranking) -> f64);

/// Mean average precision by amount of labels, in every definition, where
/// features were ranked.
pub(super) fn table(summary: &Summary<'_>) -> String {
    const DEFINITIONS: [Definition; 3] = [
        ("retrieved", |r| r.retrieved),
        ("truncated", |r| r.truncated),
        ("relevant", |r| r.relevant),
    ];
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
    let regimes = &summary.experiment.regimes;
    let shares: Vec<_> = regimes.iter().map(|r| format!("{}%", percent(r.fraction))).collect();
    let mut text = format!(
        "\nMean average precision, %, by amount of labels: every {} image against all training \
         images, by Euclidean distance, ties by index. An AP's denominator is the number of \
         relevant images among those ranked (retrieved), the smaller of rank and relevant images \
         (truncated), or the relevant images (relevant); over the whole gallery these are one.\n\n\
         | features | rank | mAP | method | n | {} |\n|---|---|---|---|---|{}\n",
        summary.experiment.judged_on(),
        shares.join(" | "),
        "---|".repeat(shares.len())
    );
    for (features, k) in kinds {
        let definitions = if k.is_some() { &DEFINITIONS[..] } else { &DEFINITIONS[2..] };
        for (name, value) in definitions {
            for method in &summary.methods {
                let of = |fraction: f64| {
                    summary.rankings.iter().find(|r| {
                        r.method == *method
                            && r.layer == features
                            && r.k == k
                            && same(r.fraction, fraction)
                    })
                };
                let found: Vec<_> = regimes.iter().map(|regime| of(regime.fraction)).collect();
                let most = found.iter().flatten().map(|r| r.n).max();
                let Some(most) = most else { continue };
                let cell = |r: &Option<&Ranking>| match r {
                    Some(r) if r.n < most => format!("{:.2}, n = {}", value(r), r.n),
                    Some(r) => format!("{:.2}", value(r)),
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
        let experiment = example();
        let ranked = |method: &str, fraction: f64, map: f64| {
            let Line::Cell(mut c) = cell(method, "L2", fraction, 7, 0.5) else { unreachable!() };
            let of = |k: u64, whole: bool| {
                serde_json::json!({ "k": k, "whole_gallery": whole, "retrieved": map,
                    "truncated": map / 2.0, "relevant": map / 4.0 })
            };
            c.retrieval = Some(serde_json::json!({
                "precision": [],
                "mean_average_precision": [of(5, false), of(80, true)],
            }));
            Line::Cell(c)
        };
        let lines = [ranked("none", 0.1, 0.2), ranked("HPCA", 0.1, 0.4), ranked("HPCA", 1.0, 0.8)];
        let text = table(&Summary::new(&experiment, &lines));
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| L2 ")).collect();
        assert_eq!(
            rows,
            [
                "| L2 | 5 | retrieved | none | 1 | 20.00 | – |",
                "| L2 | 5 | retrieved | HPCA | 1 | 40.00 | 80.00 |",
                "| L2 | 5 | truncated | none | 1 | 10.00 | – |",
                "| L2 | 5 | truncated | HPCA | 1 | 20.00 | 40.00 |",
                "| L2 | 5 | relevant | none | 1 | 5.00 | – |",
                "| L2 | 5 | relevant | HPCA | 1 | 10.00 | 20.00 |",
                "| L2 | all | relevant | none | 1 | 5.00 | – |",
                "| L2 | all | relevant | HPCA | 1 | 10.00 | 20.00 |",
            ]
        );
    }
}
