//! Tables that read well as Markdown and in a terminal.

use std::fmt::Write;

/// A Markdown table with columns of even width, of which the first `texts`
/// are text and the rest numbers, to the right.
pub(crate) struct Table {
    texts: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a head and no rows yet.
    pub(crate) fn new(texts: usize, head: &[&str]) -> Self {
        Self { texts, rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    /// Adds a row, with a cell for each column.
    pub(crate) fn push<const COLUMNS: usize>(&mut self, row: [String; COLUMNS]) {
        debug_assert_eq!(COLUMNS, self.rows[0].len());
        self.rows.push(row.into());
    }

    /// The table as Markdown.
    pub(crate) fn to_markdown(&self) -> String {
        let columns = 0..self.rows[0].len();
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(2)
        };
        let widths: Vec<usize> = columns.map(width).collect();
        let mut table = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            for (column, (text, &width)) in row.iter().zip(&widths).enumerate() {
                // Writing to a string does not fail.
                let _ = if column < self.texts {
                    write!(table, "| {text:<width$} ")
                } else {
                    write!(table, "| {text:>width$} ")
                };
            }
            table.push_str("|\n");
            if index == 0 {
                for (column, &width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width);
                    let _ = if column < self.texts {
                        write!(table, "| {dashes} ")
                    } else {
                        write!(table, "| {}: ", &dashes[1..])
                    };
                }
                table.push_str("|\n");
            }
        }
        table
    }
}

/// Seconds in milliseconds.
pub(crate) fn ms(seconds: f64) -> String {
    format!("{:.1}", 1e3 * seconds)
}

/// A ratio; nothing where there is none.
pub(crate) fn times(ratio: Option<f64>) -> String {
    ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
}

/// Memory in MiB; nothing where it is not known.
pub(crate) fn mib(mib: Option<f64>) -> String {
    mib.map_or_else(String::new, |mib| format!("{mib:.0}"))
}
