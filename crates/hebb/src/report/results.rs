//! Tables of measured values: what we found, how sure it is, what a paper says.

use maud::{Markup, html};

use super::chart::colour;
use super::page::figure;
use super::{Measured, ResultGroup};

/// A table in groups of rows, in a frame that scrolls sideways where the page
/// is narrow.
pub(super) fn section(
    heading: &str,
    caption: &str,
    columns: &[String],
    groups: &[ResultGroup],
) -> Markup {
    if groups.iter().all(|group| group.rows.is_empty()) {
        return figure(html! { p.empty { "Nothing was measured yet." } }, caption, None);
    }
    let content = html! {
        div.wide tabindex="0" role="region" aria-label=(heading) {
            table.results {
                thead { tr {
                    th scope="col" {}
                    th.number scope="col" { "n" }
                    @for column in columns { th.number scope="col" { (column) } }
                } }
                @for group in groups {
                    tbody {
                        tr.group { th scope="rowgroup" colspan=(columns.len() + 2) { (group.name) } }
                        @for row in &group.rows { tr {
                            th scope="row" {
                                span class={ "swatch " (colour(row.series)) } {}
                                (row.name)
                            }
                            td.number.runs { (row.runs) }
                            @for column in 0..columns.len() {
                                td.number { @if let Some(cell) = row.cells.get(column) { (measured(cell)) } }
                            }
                        } }
                    }
                }
            }
        }
    };
    figure(content, caption, None)
}

fn measured(cell: &Measured) -> Markup {
    html! {
        @match &cell.value {
            Some(value) if cell.best => { strong { (value) } }
            Some(value) => { (value) }
            None => { span.margin { "–" } }
        }
        @if let Some(margin) = &cell.margin { span.margin { " ± " (margin) } }
        @if let Some(runs) = &cell.runs { span.paper { "n = " (runs) } }
        @if let Some(paper) = &cell.paper { span.paper { "paper " (paper) } }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ResultRow;
    use super::*;

    #[test]
    fn the_papers_value_stands_by_ours_or_alone() {
        let cell = |value: Option<&str>, best| Measured {
            value: value.map(Into::into),
            margin: value.map(|_| "0.31".into()),
            paper: Some("41.88".into()),
            best,
            ..Measured::default()
        };
        let row = ResultRow {
            name: "HPCA".into(),
            runs: "5".into(),
            cells: vec![cell(Some("41.02"), true), cell(None, false)],
            ..ResultRow::default()
        };
        let group = ResultGroup { name: "1%".into(), rows: vec![row] };
        let columns = ["L1".to_owned(), "L2".to_owned(), "L3".to_owned()];
        let page = section("", "", &columns, &[group]).into_string();
        assert!(page.contains("<strong>41.02</strong><span class=\"margin\"> ± 0.31</span>"));
        assert_eq!(page.matches("paper 41.88").count(), 2);
        // Rows are filled up to the columns there are.
        assert_eq!(page.matches("<td").count(), 4);
    }
}
