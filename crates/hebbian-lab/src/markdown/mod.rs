//! Tables as Markdown: accuracy and gains here.

mod compared;
mod convergence;
mod rankings;

use std::path::Path;

pub use compared::compared;

use crate::Summary;
use crate::grid::percent;
use crate::statistics::Sample;
use crate::summary::Place;

/// A place's own value: `36.11 ± 0.42`, bold where it is best.
fn value(place: &Place) -> Option<String> {
    place.sample.as_ref().map(Sample::to_string)
}

/// A difference in points: `+1.20 ± 0.42`.
fn difference(points: &Sample) -> String {
    match points.half_width {
        None => format!("{:+.2}", points.mean),
        Some(half_width) => format!("{:+.2} ± {half_width:.2}", points.mean),
    }
}

/// Whether places of a row rest on different numbers of runs.
pub fn differ(row: &[&Place]) -> bool {
    are_uneven(row.iter().map(|place| place.sample.as_ref().map_or(0, Sample::n)))
}

/// Whether gains of a row rest on different numbers of pairs of runs.
pub fn pairs_differ(row: &[&Place]) -> bool {
    are_uneven(row.iter().map(|place| place.gain.as_ref().map_or(0, Sample::n)))
}

fn are_uneven(mut counts: impl Iterator<Item = usize>) -> bool {
    let first = counts.next();
    counts.any(|n| Some(n) != first)
}

/// How many runs a row's places rest on: one number, or the least and most.
pub fn runs(row: &[&Place]) -> String {
    counted(row, |place| place.sample.as_ref())
}

/// How many pairs of runs a row's gains rest on.
pub fn pairs(row: &[&Place]) -> String {
    counted(row, |place| place.gain.as_ref())
}

fn counted(row: &[&Place], sample: impl Fn(&Place) -> Option<&Sample>) -> String {
    least_to_most(row.iter().map(|place| sample(place).map_or(0, Sample::n)))
}

/// One number, or the least and most.
fn least_to_most(counts: impl Iterator<Item = usize> + Clone) -> String {
    match (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0)) {
        (_, 0) => "–".into(),
        (least, most) if least == most => most.to_string(),
        (least, most) => format!("{least}–{most}"),
    }
}

/// The paper's table: above it the command that makes it again from `file`; a
/// row for each amount of labels and method, a column for each layer, the
/// paper's values in parentheses; below it, what has to be known of it.
pub fn table(summary: &Summary<'_>, file: &Path) -> String {
    let e = summary.experiment;
    let mut text =
        format!("**{}**: {} accuracy, %, on {}.\n\n", e.title, e.judged_on(), e.data.name);
    text += &format!("{}\n\n", again(summary, file));
    text += &head(&summary.layers);
    for &fraction in &summary.fractions {
        for method in &summary.methods {
            let row = summary.row(fraction, method);
            if row.iter().all(|place| place.is_empty()) {
                continue;
            }
            let (labels, n) = (percent(fraction), runs(&row));
            let cells: Vec<String> = row.iter().map(|place| cell(place, &row)).collect();
            text += &format!("| {labels}% | {} | {n} | {} |\n", escaped(method), cells.join(" | "));
        }
    }
    text.push('\n');
    if let Some(baseline) = &e.baseline {
        text += &gains(summary, baseline);
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
    text + &convergence::table(summary) + &rankings::table(summary)
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

fn head(layers: &[String]) -> String {
    let names = format!("| labels | method | n | {} |\n", layers.join(" | "));
    names + &format!("|---|---|---|{}\n", "---|".repeat(layers.len()))
}

/// The same for the gains over the baseline, where there are any.
fn gains(summary: &Summary<'_>, baseline: &str) -> String {
    let mut text = String::new();
    for &fraction in &summary.fractions {
        for method in &summary.methods {
            let row = summary.row(fraction, method);
            if row.iter().any(|place| place.gain.is_some()) {
                let (labels, n) = (percent(fraction), pairs(&row));
                let cells: Vec<_> = row.iter().map(|place| gain_cell(place, &row)).collect();
                let (method, cells) = (escaped(method), cells.join(" | "));
                text += &format!("| {labels}% | {method} | {n} | {cells} |\n");
            }
        }
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "Gain over {baseline}, points: the mean of the differences between runs of the same split \
         and labels, ± its 95% interval.\n\n{}{text}\n",
        head(&summary.layers)
    )
}

/// A place as it is printed.
fn cell(place: &Place, row: &[&Place]) -> String {
    let own = value(place).map(|value| if place.best { format!("**{value}**") } else { value });
    let paper = place.paper.map(|paper| format!(" ({paper:.2})"));
    let n = place.sample.as_ref().filter(|_| differ(row)).map(Sample::n);
    let own = match (own, place.diverged) {
        (own, 0) => shown(own, n),
        (None, _) => "diverges".into(),
        (own, runs) => format!("{}, {runs} diverged", shown(own, n)),
    };
    own + &paper.unwrap_or_default()
}

/// A place's gain as it is printed.
fn gain_cell(place: &Place, row: &[&Place]) -> String {
    let n = place.gain.as_ref().filter(|_| pairs_differ(row)).map(Sample::n);
    shown(place.gain.as_ref().map(difference), n)
}

/// A value, with its own n where that is not the row's.
fn shown(value: Option<String>, n: Option<usize>) -> String {
    match (value, n) {
        (Some(value), Some(n)) => format!("{value}, n = {n}"),
        (Some(value), None) => value,
        (None, _) => "–".into(),
    }
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
        table(&Summary::new(experiment, lines), Path::new("file.toml"))
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
                "| 10% | none | 1–2 | 40.00 ± 0.00, n = 2 | 30.00, n = 1 |",
                "| 10% | HPCA | 0–2 | **42.00 ± 12.71**, n = 2 (33.54) | – |",
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
        assert_eq!(rows, ["| 10% | HPCA | 1–2 | +0.00 ± 12.71, n = 2 | +5.00, n = 1 |"]);
        assert!(!of(&example(), &lines).contains("Gain"));
    }

    #[test]
    fn an_empty_table_says_so() {
        let mut experiment = example();
        experiment.paper.clear();
        let text = of(&experiment, &[]);
        assert!(text.contains("Nothing was measured yet."), "{text}");
        assert!(text.contains("0 of 16 cells"), "{text}");
    }
}
