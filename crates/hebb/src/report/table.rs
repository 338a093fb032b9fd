//! Tables.

use maud::{Markup, html};

use super::page::figure;

/// A table in a frame that scrolls sideways where the page is narrow.
pub(super) fn section(
    heading: &str,
    caption: &str,
    columns: &[String],
    rows: &[Vec<String>],
    best: &[(usize, usize)],
) -> Markup {
    let width = rows.iter().map(Vec::len).fold(columns.len(), usize::max);
    let numeric: Vec<bool> = (0..width).map(|column| is_numeric(rows, column)).collect();
    let class = |column: usize| numeric[column].then_some("number");
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let content = html! {
        // Whoever has no pointer scrolls the frame with the arrow keys.
        div.wide tabindex="0" role="region" aria-label=(heading) {
            table {
                thead { tr {
                    @for column in 0..width {
                        th scope="col" class=[class(column)] { (cell(columns, column)) }
                    }
                } }
                tbody {
                    @for (i, row) in rows.iter().enumerate() { tr {
                        @for column in 0..width {
                            @let text = cell(row, column);
                            @let content = html! {
                                @if best.contains(&(i, column)) { strong { (text) } }
                                @else { (text) }
                            };
                            @if column == 0 {
                                th scope="row" class=[class(column)] { (content) }
                            } @else {
                                td class=[class(column)] { (content) }
                            }
                        }
                    } }
                }
            }
        }
    };
    figure(content, caption, None)
}

/// Whether a column is one of numbers, with units and margins, as in
/// `41.88 ± 0.31`, `28.9x` or `12 ms`; empty cells and dashes are neutral.
fn is_numeric(rows: &[Vec<String>], column: usize) -> bool {
    let mut cells = rows
        .iter()
        .filter_map(|row| row.get(column))
        .map(|cell| cell.trim())
        .filter(|cell| !matches!(*cell, "" | "-" | "–" | "—"))
        .peekable();
    cells.peek().is_some()
        && cells.all(|cell| {
            let first = cell.split_whitespace().next().unwrap_or_default();
            let bare = first.trim_matches(|c| "%x×±~<>≤≥+−".contains(c)).replace(',', "");
            bare.parse::<f64>().is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(cells: &[&str]) -> bool {
        is_numeric(&cells.iter().map(|c| vec![(*c).to_owned()]).collect::<Vec<_>>(), 0)
    }

    #[test]
    fn columns_of_numbers_are_told_from_columns_of_words() {
        assert!(numeric(&["41.88 ± 0.31", "", "—", "9"]));
        assert!(numeric(&["28.9x", "1,250", "12 ms", "37 %", "NaN"]));
        assert!(!numeric(&["12", "soft-WTA"]));
        assert!(!numeric(&["5x5"]));
        assert!(!numeric(&["", "-"]));
        assert!(!numeric(&[]));
    }

    #[test]
    fn ragged_rows_become_a_rectangle_and_the_best_is_bold() {
        let rows = vec![vec!["a".into()], vec!["b".into(), "1".into(), "2".into()]];
        let page = section("", "", &["n".into()], &rows, &[(1, 2), (7, 7)]).into_string();
        assert_eq!(page.matches("<th scope=\"col\"").count(), 3);
        assert_eq!(page.matches("<td").count(), 4);
        assert_eq!(page.matches("<strong>").count(), 1);
        assert!(page.contains("<strong>2</strong>"));
    }
}
