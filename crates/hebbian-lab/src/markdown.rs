//! The table as Markdown.

use crate::Summary;
use crate::grid::percent;
use crate::summary::Place;

/// A place's own value: `36.11 ± 0.42`, bold where it is best.
pub fn value(place: &Place) -> Option<String> {
    let sample = place.sample.as_ref()?;
    Some(match sample.half_width {
        None => format!("{:.2}", sample.mean),
        Some(half_width) => format!("{:.2} ± {half_width:.2}", sample.mean),
    })
}

/// How many runs a row's places rest on: one number, or the least and most.
pub fn runs(row: &[&Place]) -> String {
    let counts = || row.iter().map(|p| p.sample.as_ref().map_or(0, |sample| sample.n()));
    match (counts().min().unwrap_or(0), counts().max().unwrap_or(0)) {
        (_, 0) => "–".into(),
        (least, most) if least == most => most.to_string(),
        (least, most) => format!("{least}–{most}"),
    }
}

/// The paper's table: a row for each amount of labels and method, a column for
/// each layer, the paper's values in parentheses; below it, what has to be
/// known of it.
pub fn table(summary: &Summary<'_>) -> String {
    let e = summary.experiment;
    let mut text =
        format!("**{}**: {} accuracy, %, on {}.\n\n", e.title, e.judged_on(), e.data.name);
    text += &format!("| labels | method | n | {} |\n", e.layers.join(" | "));
    text += &format!("|---|---|---|{}\n", "---|".repeat(e.layers.len()));
    for regime in &e.regimes {
        for method in &summary.methods {
            let row = summary.row(regime.fraction, method);
            if row.iter().all(|place| place.sample.is_none() && place.paper.is_none()) {
                continue;
            }
            let cells: Vec<String> = row.iter().map(|place| cell(place)).collect();
            let (labels, n) = (percent(regime.fraction), runs(&row));
            text += &format!("| {labels}% | {} | {n} | {} |\n", escaped(method), cells.join(" | "));
        }
    }
    text.push('\n');
    for note in summary.notes() {
        text += &format!("{note}\n");
    }
    if e.paper.iter().any(|_| true) {
        text += "In parentheses, the paper's value.\n";
    }
    text
}

fn cell(place: &Place) -> String {
    let own = match value(place) {
        Some(value) if place.best => format!("**{value}**"),
        Some(value) => value,
        None => String::new(),
    };
    let paper = place.paper.map(|paper| format!("({paper:.2})")).unwrap_or_default();
    format!("{own} {paper}").trim().to_owned()
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

    #[test]
    fn the_table_has_ours_and_the_papers_values_side_by_side() {
        let mut experiment = example();
        experiment.paper[0].method = "HPCA".into();
        let lines = [
            cell("HPCA", "L1", 0.1, 7, 0.41),
            cell("HPCA", "L1", 0.1, 8, 0.43),
            cell("none", "L1", 0.1, 7, 0.40),
            cell("none", "L2", 0.1, 7, 0.30),
        ];
        let text = table(&Summary::new(&experiment, &lines));
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(
            rows,
            [
                "| labels | method | n | L1 | L2 |",
                "|---|---|---|---|---|",
                "| 10% | none | 1 | 40.00 | 30.00 |",
                "| 10% | HPCA | 0–2 | **42.00 ± 12.71** (33.54) |  |",
                "| 10% | VAE | – |  | (34.41) |",
            ]
        );
        assert!(text.contains("Somebody, Table 1") && text.contains("(Student's t)"), "{text}");
    }

    #[test]
    fn an_empty_table_says_so() {
        let mut experiment = example();
        experiment.paper.clear();
        let text = table(&Summary::new(&experiment, &[]));
        assert!(text.contains("Nothing was measured yet."), "{text}");
        assert!(text.contains("0 of 16 cells"), "{text}");
    }
}
