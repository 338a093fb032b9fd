//! Tables as Markdown.

mod compared;
mod convergence;

use std::path::Path;

pub use compared::compared;

use crate::Summary;
use crate::tables::{self, Row, Table, Value};

/// What the paper's tables show, and what has to be known of it: above them the
/// command that makes them again from `file`; the paper's values in parentheses.
pub fn report(summary: &Summary<'_>, file: &Path) -> String {
    let e = summary.experiment;
    let mut text =
        format!("**{}**: {} accuracy, %, on {}.\n\n", e.title, e.judged_on(), e.data.name);
    text += &format!("{}\n\n", again(summary, file));
    text += &table(&tables::accuracies(summary));
    let gains = table(&tables::gains(summary));
    if let Some(baseline) = e.baseline.as_ref().filter(|_| !gains.is_empty()) {
        text += &format!(
            "Gain over {baseline}, points: the mean of the differences between runs of the same \
             split and labels, ± its 95% interval.\n\n{gains}"
        );
    }
    for note in summary.notes() {
        text += &format!("{note}\n");
    }
    if !e.paper.is_empty() {
        text += "In parentheses, the paper's value.\n";
    }
    if let Some(origins) = summary.origins() {
        text += &format!("Made by {origins}.\n");
    }
    text + &convergence::table(summary) + &rankings(summary)
}

/// Precision and mean average precision, where features were ranked.
fn rankings(summary: &Summary<'_>) -> String {
    let rankings = table(&tables::rankings(summary));
    if rankings.is_empty() {
        return rankings;
    }
    format!(
        "\nPrecision and mean average precision, %: every {} image against all training images, by \
         Euclidean distance, ties by index. An AP's denominator is the number of relevant images \
         among those ranked (retrieved), the smaller of rank and relevant images (truncated), or \
         the relevant images (relevant); over the whole gallery these are one.\n\n{}\n",
        summary.experiment.judged_on(),
        rankings.trim_end()
    )
}

/// A table and an empty line; nothing of an empty one.
fn table(table: &Table<'_>) -> String {
    let Some(first) = table.groups.first() else { return String::new() };
    let names: Vec<&str> = first.of.parts().into_iter().map(|(name, _)| name).collect();
    let mut text =
        format!("| {} | method | n | {} |\n", names.join(" | "), table.columns.join(" | "));
    text += &format!("|{}\n", "---|".repeat(names.len() + 2 + table.columns.len()));
    for group in &table.groups {
        let of: Vec<String> = group.of.parts().into_iter().map(|(_, part)| part).collect();
        for row in &group.rows {
            let n = if row.n > 0 { row.n.to_string() } else { "–".into() };
            let cells = row.values.iter().map(|value| cell(table, row, value));
            let cells: Vec<String> = cells.collect();
            let (of, method, cells) = (of.join(" | "), escaped(row.method), cells.join(" | "));
            text += &format!("| {of} | {method} | {n} | {cells} |\n");
        }
    }
    text + "\n"
}

/// A value as it is printed: `**36.11 ± 0.42**, n = 3 (37.01)`.
fn cell(table: &Table<'_>, row: &Row<'_>, value: &Value<'_>) -> String {
    let mut text = match (value.sample, value.diverged) {
        (Some(sample), _) if table.signed => format!("{sample:+}"),
        (Some(sample), _) => sample.to_string(),
        (None, 0) => "–".into(),
        (None, _) => "diverges".into(),
    };
    if value.best {
        text = format!("**{text}**");
    }
    if let Some(n) = row.fewer(value) {
        text += &format!(", n = {n}");
    }
    if value.sample.is_some() && value.diverged > 0 {
        text += &format!(", {} diverged", value.diverged);
    }
    if let Some(paper) = value.paper {
        text += &format!(" ({paper:.2})");
    }
    text
}

/// The command that makes the table again.
fn again(summary: &Summary<'_>, file: &Path) -> String {
    let data = &summary.experiment.data;
    let name = |path: &Path| format!("`{}`", path.display());
    let mut holds = name(&data.train);
    if let Some(test) = &data.test {
        holds += &format!(" and {}", name(test));
    }
    let (file, part) = (file.display(), &summary.selection);
    format!(
        "Again: `hebb experiment run {file}{part} --data DATA --out OUT`, where DATA holds {holds}."
    )
}

/// A name that does not end its cell.
fn escaped(name: &str) -> String {
    name.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::cell;
    use crate::spec::tests::example;
    use crate::{Experiment, Line};

    fn of(experiment: &Experiment, lines: &[Line]) -> String {
        report(&Summary::new(experiment, lines), Path::new("file.toml"))
    }

    #[test]
    fn the_table_has_ours_and_the_papers_values_side_by_side() {
        let mut experiment = example();
        experiment.paper[0].method = "HPCA".into();
        let lines = [
            cell("HPCA", "L1", 0.1, 7, 0.41),
            cell("HPCA", "L1", 0.1, 8, 0.43),
            cell("none", "L1", 0.1, 7, 0.40),
            cell("none", "L1", 0.1, 8, 0.40),
            cell("none", "L2", 0.1, 7, 0.30),
        ];
        let text = of(&experiment, &lines);
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(
            rows,
            [
                "| labels | method | n | L1 | L2 |",
                "|---|---|---|---|---|",
                "| 10% | none | 2 | 40.00 ± 0.00 | 30.00, n = 1 |",
                "| 10% | HPCA | 2 | **42.00 ± 12.71** (33.54) | – |",
                "| 10% | VAE | – | – | – (34.41) |",
            ]
        );
        assert!(text.contains("Somebody, Table 1") && text.contains("(Student's t)"), "{text}");
        assert!(text.contains("`hebb experiment run file.toml --data DATA --out OUT`"), "{text}");
    }

    #[test]
    fn gains_stand_in_a_table_of_their_own() {
        let experiment = crate::Experiment { baseline: Some("none".into()), ..example() };
        let lines = [
            cell("HPCA", "L1", 0.1, 7, 0.39),
            cell("HPCA", "L1", 0.1, 8, 0.43),
            cell("none", "L1", 0.1, 7, 0.40),
            cell("none", "L1", 0.1, 8, 0.42),
            cell("none", "L2", 0.1, 7, 0.30),
            cell("HPCA", "L2", 0.1, 7, 0.35),
        ];
        let text = of(&experiment, &lines);
        let gains = text.split("Gain over none, points").nth(1).unwrap();
        let rows: Vec<&str> = gains.lines().filter(|line| line.starts_with("| 10%")).collect();
        assert_eq!(rows, ["| 10% | HPCA | 2 | +0.00 ± 12.71 | +5.00, n = 1 |"]);
        assert!(!of(&example(), &lines).contains("Gain"));
    }

    #[test]
    fn one_layer_stands_by_amount_of_labels() {
        let mut experiment = Experiment { baseline: Some("none".into()), ..example() };
        experiment.layers.truncate(1);
        experiment.paper.clear();
        let lines = [
            cell("none", "L1", 0.1, 7, 0.40),
            cell("none", "L1", 1.0, 7, 0.70),
            cell("HPCA", "L1", 0.1, 7, 0.41),
            cell("HPCA", "L1", 0.1, 8, 0.43),
            cell("HPCA", "L1", 1.0, 7, 0.69),
        ];
        let text = of(&experiment, &lines);
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(
            rows,
            [
                "| layer | method | n | 10% | 100% |",
                "|---|---|---|---|---|",
                "| L1 | none | 1 | 40.00 | **70.00** |",
                "| L1 | HPCA | 2 | 42.00 ± 12.71 | 69.00, n = 1 |",
                "| layer | method | n | 10% | 100% |",
                "|---|---|---|---|---|",
                "| L1 | HPCA | 1 | +1.00 | -1.00 |",
            ]
        );
    }

    #[test]
    fn an_empty_table_says_so() {
        let mut experiment = example();
        experiment.paper.clear();
        let text = of(&experiment, &[]);
        assert!(text.contains("Nothing was measured yet."), "{text}");
        assert!(text.contains("0 of 16 cells") && !text.contains('|'), "{text}");
    }

    #[test]
    fn rankings_stand_in_every_definition() {
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
        let ranked = |experiment: &Experiment| {
            let text = rankings(&Summary::new(experiment, &lines));
            text.lines().filter(|line| line.starts_with('|')).map(str::to_owned).collect()
        };
        // With 10% of the labels alone.
        let narrow: Vec<String> = ranked(&experiment);
        assert_eq!(
            narrow,
            [
                "| features | rank | method | n | precision | mAP retrieved | mAP truncated | mAP relevant |",
                "|---|---|---|---|---|---|---|---|",
                "| L2 | 5 | none | 1 | 2.50 | 20.00 | 10.00 | 5.00 |",
                "| L2 | 5 | HPCA | 1 | **5.00** | **40.00** | **20.00** | **10.00** |",
                "| L2 | all | none | 1 | – | – | – | 5.00 |",
                "| L2 | all | HPCA | 1 | – | – | – | **10.00** |",
            ]
        );
        experiment.retrieval.as_mut().unwrap().fractions.push(1.0);
        let rows: Vec<String> = ranked(&experiment);
        assert_eq!(
            rows,
            [
                "| features | rank | measure | method | n | 10% | 100% |",
                "|---|---|---|---|---|---|---|",
                "| L2 | 5 | precision | none | 1 | 2.50 | – |",
                "| L2 | 5 | precision | HPCA | 1 | **5.00** | 10.00 |",
                "| L2 | 5 | mAP retrieved | none | 1 | 20.00 | – |",
                "| L2 | 5 | mAP retrieved | HPCA | 1 | **40.00** | 80.00 |",
                "| L2 | 5 | mAP truncated | none | 1 | 10.00 | – |",
                "| L2 | 5 | mAP truncated | HPCA | 1 | **20.00** | 40.00 |",
                "| L2 | 5 | mAP relevant | none | 1 | 5.00 | – |",
                "| L2 | 5 | mAP relevant | HPCA | 1 | **10.00** | 20.00 |",
                "| L2 | all | mAP relevant | none | 1 | 5.00 | – |",
                "| L2 | all | mAP relevant | HPCA | 1 | **10.00** | 20.00 |",
            ]
        );
    }
}
