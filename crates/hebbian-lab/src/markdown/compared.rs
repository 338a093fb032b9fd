//! What changed from one set of results to another.

use super::table;
use crate::compare::{Comparison, Spread};
use crate::grid::depth_of;
use crate::spec::same;
use crate::tables::{Kind, Table, Value, group};

/// The table: a row for each amount of labels and method, a column for each
/// layer; below it, how many pairs are equal, how far the others are apart, and
/// what else is not the same.
pub fn compared(found: &Comparison) -> String {
    let mut layers: Vec<String> = found.places.iter().map(|place| place.layer.clone()).collect();
    layers.sort_by_cached_key(|layer| (depth_of(layer), layer.clone()));
    layers.dedup();
    let mut text = String::new();
    let rows = table(&changes(found, layers));
    if !rows.is_empty() {
        text += "Accuracy, later minus earlier, points: the mean over the seeds that both have, \
                 ± its 95% interval.\n\n";
        text += &rows;
    }
    for (what, spread) in found.spreads() {
        text += &summed(what, spread);
    }
    for (cells, of) in [(found.only_before, "earlier"), (found.only_after, "later")] {
        if cells > 0 {
            text += &format!("{cells} cells are in the {of} results only.\n");
        }
    }
    for setting in &found.settings {
        text += &format!("Another setting: {setting}.\n");
    }
    if found.other_inputs > 0 {
        let n = found.other_inputs;
        text += &format!(
            "{n} pairs have the same settings, but not the same images, labels or network.\n"
        );
    }
    text
}

fn changes(found: &Comparison, layers: Vec<String>) -> Table<'_> {
    let groups = found.places.chunk_by(|a, b| same(a.fraction, b.fraction)).filter_map(|places| {
        let mut methods: Vec<&str> = places.iter().map(|place| place.method.as_str()).collect();
        methods.dedup();
        let value = |method: &str, layer: &String| {
            let mut places = places.iter();
            let place = places.find(|place| place.method == method && place.layer == *layer);
            Value { sample: place.map(|place| &place.points), ..Value::default() }
        };
        let values = |method: &str| layers.iter().map(|layer| value(method, layer)).collect();
        group(Kind::Labels(places[0].fraction), methods, values)
    });
    Table { groups: groups.collect(), columns: layers, signed: true }
}

fn summed(what: &str, spread: &Spread) -> String {
    let Spread { pairs, same, mean, largest, of } = spread;
    match (*pairs, *pairs == *same) {
        (0, _) => String::new(),
        (pairs, true) => format!("All {pairs} {what} are equal.\n"),
        (pairs, false) => format!(
            "{same} of {pairs} {what} are equal; mean difference {mean:+.3} points, largest \
             {largest:+.2} ({of}).\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::cell;

    #[test]
    fn a_row_for_each_method_a_column_for_each_layer() {
        let before = [
            cell("HPCA", "L1", 0.1, 7, 0.40),
            cell("HPCA", "L1", 0.1, 8, 0.42),
            cell("HPCA", "L2", 0.1, 7, 0.30),
            cell("a|b", "L2", 1.0, 7, 0.30),
        ];
        let after = [
            cell("HPCA", "L1", 0.1, 7, 0.41),
            cell("HPCA", "L1", 0.1, 8, 0.43),
            cell("HPCA", "L2", 0.1, 7, 0.30),
            cell("a|b", "L2", 1.0, 7, 0.25),
            cell("a|b", "L1", 1.0, 7, 0.25),
        ];
        let text = compared(&Comparison::new(&before, &after));
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(
            rows,
            [
                "| labels | method | n | L1 | L2 |",
                "|---|---|---|---|---|",
                "| 10% | HPCA | 2 | +1.00 ± 0.00 | +0.00, n = 1 |",
                "| 100% | a\\|b | 1 | – | -5.00 |",
            ]
        );
        assert!(text.contains("1 of 4 accuracies are equal; mean difference -0.750 points, largest -5.00 (a|b L2, 100% of the labels, seed 7)."), "{text}");
        assert!(text.contains("\n1 cells are in the later results only.\n"), "{text}");
        let same = compared(&Comparison::new(&before, &before));
        assert!(same.contains("All 4 accuracies are equal."), "{same}");
    }

    #[test]
    fn layers_are_in_the_order_of_depth() {
        let cells = ["L10", "L9", "L2", "L10"].map(|layer| cell("HPCA", layer, 0.1, 7, 0.40));
        let text = compared(&Comparison::new(&cells, &cells));
        assert!(text.contains("| labels | method | n | L2 | L9 | L10 |"), "{text}");
    }
}
