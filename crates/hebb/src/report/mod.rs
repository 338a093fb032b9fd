//! The report of a run: one HTML file that needs nothing but itself.
//!
//! A [`Report`] is plain data, and [`Report::to_html`] is a pure function of
//! it. The page has no script, makes no request (its content security policy
//! forbids both) and carries its pictures as PNG data addresses. All text is
//! escaped, for class names and file names come from whoever made the data.

mod axis;
mod bars;
mod chart;
mod drawing;
mod filters;
mod neighbours;
mod number;
mod page;
mod panels;
mod picture;
mod results;
mod table;
#[cfg(test)]
mod tests;

// Some verbs want the grid of filters as a file of its own.
pub(crate) use filters::filters_png;

/// A report: a title and its sections, in the order in which they are read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// What the report is about.
    pub(crate) title: String,
    /// What a reader needs to repeat it: data, seed, version, machine.
    pub(crate) subtitle: String,
    /// The sections, each with a heading of its own.
    pub(crate) sections: Vec<Section>,
}

/// One section of a [`Report`].
#[derive(Debug, Clone)]
pub(crate) enum Section {
    /// Running text.
    Text {
        /// Heading of the section.
        heading: String,
        /// One string a paragraph.
        paragraphs: Vec<String>,
    },
    /// A table, its first column naming the rows. A column whose cells are
    /// all numbers is set flush right; a row that is too short is filled up.
    Table {
        /// Heading of the section.
        heading: String,
        /// What the table shows; may be empty.
        caption: String,
        /// Names of the columns.
        columns: Vec<String>,
        /// Cells, row by row.
        rows: Vec<Vec<String>>,
        /// Cells set in bold: (row, column), counted from 0 without the header.
        best: Vec<(usize, usize)>,
    },
    /// Measured values with their intervals, and a paper's values below them.
    Results {
        /// Heading of the section.
        heading: String,
        /// What was measured; may be empty.
        caption: String,
        /// Names of the columns of values.
        columns: Vec<String>,
        /// Rows, in groups.
        groups: Vec<ResultGroup>,
    },
    /// Small line charts side by side, of the same series each.
    Panels {
        /// Heading of the section.
        heading: String,
        /// What the charts show; may be empty.
        caption: String,
        /// What they have in common.
        frame: Frame,
        /// Title and series of each.
        panels: Vec<(String, Vec<Series>)>,
    },
    /// Convolution filters drawn as little colour pictures.
    Filters {
        /// Heading of the section.
        heading: String,
        /// What the filters are; may be empty.
        caption: String,
        /// Side of a filter, in pixels.
        kernel: usize,
        /// Weights, `[count, kernel, kernel, 3]` (NHWC, colours red, green, blue).
        filters: Vec<f32>,
    },
    /// A line chart. A value that can't be drawn (not finite, or not above
    /// zero on a logarithmic axis) leaves a gap, and the chart says how many.
    Chart {
        /// Heading of the section.
        heading: String,
        /// What the chart shows; may be empty.
        caption: String,
        /// Quantity and unit along the horizontal axis.
        x_label: String,
        /// Quantity and unit along the vertical axis.
        y_label: String,
        /// Whether the vertical axis is logarithmic.
        log_y: bool,
        /// The lines.
        series: Vec<Series>,
    },
    /// Queries and what a search found for them.
    Neighbours {
        /// Heading of the section.
        heading: String,
        /// What was searched, and how; may be empty.
        caption: String,
        /// One row a query.
        rows: Vec<NeighbourRow>,
    },
    /// Horizontal bars from zero, such as the time that each step took.
    Bars {
        /// Heading of the section.
        heading: String,
        /// What the bars show; may be empty.
        caption: String,
        /// Unit of the values.
        unit: String,
        /// Name and value of each bar; no bar is drawn for a value below zero
        /// or not finite, the value is still printed.
        bars: Vec<(String, f64)>,
    },
}

impl Section {
    /// The heading, which also names the section in the table of contents.
    fn heading(&self) -> &str {
        match self {
            Self::Text { heading, .. }
            | Self::Table { heading, .. }
            | Self::Results { heading, .. }
            | Self::Panels { heading, .. }
            | Self::Filters { heading, .. }
            | Self::Chart { heading, .. }
            | Self::Neighbours { heading, .. }
            | Self::Bars { heading, .. } => heading,
        }
    }
}

/// One line of a chart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    /// Name in the legend.
    pub(crate) name: String,
    /// Points (x, y), joined in this order.
    pub(crate) points: Vec<(f64, f64)>,
    /// Intervals (x, low, high) about some of the points.
    pub(crate) band: Vec<(f64, f64, f64)>,
    /// Values from elsewhere to compare with, such as a paper's.
    pub(crate) marks: Vec<(f64, f64)>,
}

/// What the charts of [`Section::Panels`] have in common.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame {
    /// Quantity and unit along the horizontal axis.
    pub(crate) x_label: String,
    /// Quantity and unit along the vertical axis.
    pub(crate) y_label: String,
    /// Whether the horizontal axis is logarithmic.
    pub(crate) log_x: bool,
    /// What stands before and behind the numbers along it.
    pub(crate) affixes: [&'static str; 2],
    /// Whether all charts have the same vertical axis.
    pub(crate) same_y: bool,
    /// Whether zero is on the vertical axis, wherever the values are.
    pub(crate) zero: bool,
}

/// Rows of [`Section::Results`] under a common name.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResultGroup {
    /// The name.
    pub(crate) name: String,
    /// The rows.
    pub(crate) rows: Vec<ResultRow>,
}

/// A row of [`Section::Results`].
#[derive(Debug, Clone, Default)]
pub(crate) struct ResultRow {
    /// Its name.
    pub(crate) name: String,
    /// Index of its colour among the series of charts.
    pub(crate) series: usize,
    /// How many runs it rests on.
    pub(crate) runs: String,
    /// Its values.
    pub(crate) cells: Vec<Measured>,
}

/// A value of [`Section::Results`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    /// The value, if there is one.
    pub(crate) value: Option<String>,
    /// Half-width of its interval.
    pub(crate) margin: Option<String>,
    /// Runs it rests on, where those of its row differ.
    pub(crate) runs: Option<String>,
    /// What the paper says.
    pub(crate) paper: Option<String>,
    /// Whether it is the best of its column.
    pub(crate) best: bool,
}

/// A query and its nearest neighbours.
#[derive(Debug, Clone, Default)]
pub(crate) struct NeighbourRow {
    /// The image that was searched for.
    pub(crate) query: Thumb,
    /// What was found, nearest first.
    pub(crate) hits: Vec<Thumb>,
}

/// A small picture with what is known of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Thumb {
    /// Pixels, `[height, width, 3]`; with any other length the report shows
    /// an empty frame.
    pub(crate) rgb: Vec<u8>,
    /// Width in pixels.
    pub(crate) width: usize,
    /// Height in pixels.
    pub(crate) height: usize,
    /// Class or file name.
    pub(crate) label: Option<String>,
    /// Distance to the query.
    pub(crate) distance: Option<f32>,
    /// Whether its class is the query's, where both are known.
    pub(crate) matches: Option<bool>,
}

impl Report {
    /// The report as one HTML document.
    pub(crate) fn to_html(&self) -> String {
        page::page(self).into_string()
    }
}

impl Section {
    /// The section's charts as one SVG file; none where it has none, or nothing
    /// to draw. `about` says what the report is about, `origin` tells those who
    /// open the file how it was made.
    pub(crate) fn to_svg(&self, about: &str, origin: &str) -> Option<String> {
        match self {
            Self::Panels { heading, caption, frame, panels } => {
                // A heading begins a line there; names in it stay as they are.
                let (first, rest) = heading.split_at(heading.chars().next()?.len_utf8());
                let title = format!("{about}: {}{rest}", first.to_lowercase());
                drawing::drawing([&title, caption, origin], frame, panels)
            }
            _ => None,
        }
    }
}
