//! The page around the sections.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Report, Section, bars, chart, filters, neighbours, panels, results, table};

/// Pictures from the page itself, styles from the page itself, nothing else.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
                      base-uri 'none'; form-action 'none'";

const STYLES: [&str; 3] =
    [include_str!("palette.css"), include_str!("style.css"), include_str!("chart.css")];

/// The whole document.
pub(super) fn page(report: &Report) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Served over HTTP, a page without an icon is asked for one.
                link rel="icon" href="data:,";
                title { (report.title) }
                @for sheet in STYLES { style { (PreEscaped(sheet)) } }
            }
            body {
                header {
                    h1 { (report.title) }
                    p.subtitle { (report.subtitle) }
                }
                @if report.sections.len() > 1 { (contents(&report.sections)) }
                main {
                    @for (i, section) in report.sections.iter().enumerate() {
                        section aria-labelledby=(anchor(i)) {
                            h2 id=(anchor(i)) { (section.heading()) }
                            (body(section))
                        }
                    }
                }
            }
        }
    }
}

/// Links to the sections.
fn contents(sections: &[Section]) -> Markup {
    html! {
        nav aria-label="Contents" {
            ol {
                @for (i, section) in sections.iter().enumerate() {
                    li { a href={ "#" (anchor(i)) } { (section.heading()) } }
                }
            }
        }
    }
}

/// Name of a section within the page; headings need not be unique.
fn anchor(section: usize) -> String {
    format!("section-{}", section + 1)
}

fn body(section: &Section) -> Markup {
    match section {
        Section::Text { paragraphs, .. } => html! {
            @for paragraph in paragraphs { p { (paragraph) } }
        },
        Section::Table { heading, caption, columns, rows, best } => {
            table::section(heading, caption, columns, rows, best)
        }
        Section::Results { heading, caption, columns, groups } => {
            results::section(heading, caption, columns, groups)
        }
        Section::Panels { caption, frame, panels, .. } => panels::section(caption, frame, panels),
        Section::Filters { caption, kernel, filters, .. } => {
            filters::section(caption, *kernel, filters)
        }
        Section::Chart { caption, x_label, y_label, log_y, series, .. } => {
            chart::section(caption, x_label, y_label, *log_y, series)
        }
        Section::Neighbours { caption, rows, .. } => neighbours::section(caption, rows),
        Section::Bars { caption, unit, bars, .. } => bars::section(caption, unit, bars),
    }
}

/// A figure, its caption and, where there is one, a remark on what it lacks.
pub(super) fn figure(content: Markup, caption: &str, note: Option<&str>) -> Markup {
    html! {
        figure {
            (content)
            @if !caption.is_empty() || note.is_some() {
                figcaption {
                    (caption)
                    @if let Some(note) = note { " " span.note { (note) } }
                }
            }
        }
    }
}
