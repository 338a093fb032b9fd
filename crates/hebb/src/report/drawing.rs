//! Charts that stand alone: one SVG file for a talk, a paper or a README.
//!
//! A page lays out letters by itself, a file has to say where they stand. How
//! wide they are depends on the reader's fonts, so widths here are a little more
//! than those of common ones.

use maud::{Markup, PreEscaped, html};

use super::chart::{Legend, Plot};
use super::panels::Sheet;
use super::{Frame, Series};

/// Space around the drawing and between panels.
const MARGIN: f64 = 20.0;
/// Size of letters, and of those of title and panel titles.
const LETTER: f64 = 13.0;
const TITLE: f64 = 17.0;
const PANEL_TITLE: f64 = 14.0;
/// From line to line.
const LINE: f64 = 20.0;
/// What a panel takes above, right of, below and left of its axes.
const AROUND: [f64; 4] = [52.0, 10.0, 50.0, 42.0];
/// What a piece of a line takes in the legend, and what parts its entries.
const KEY: f64 = 38.0;
const APART: f64 = 24.0;
/// Width of a letter over its size.
const WIDTH: f64 = 0.54;

/// The panels of a section in one drawing, under `title`, above `caption`;
/// none where there is nothing to draw. `origin` says to those who open the
/// file how it was made.
pub(super) fn drawing(
    [title, caption, origin]: [&str; 3],
    frame: &Frame,
    panels: &[(String, Vec<Series>)],
) -> Option<String> {
    let mut sheet = Sheet::new(frame, panels)?;
    let (columns, size) = match sheet.panels.len() {
        1 => (1, [640.0, 300.0]),
        2 | 4 => (2, [420.0, 220.0]),
        _ => (3, [320.0, 190.0]),
    };
    // Nothing is stretched: not every program that shows drawings knows of
    // strokes that keep their width then.
    sheet.panels.iter_mut().for_each(|(_, plot, _)| plot.sides = size);
    let [top, right, bottom, left] = AROUND;
    let whole = [left + size[0] + right, top + size[1] + bottom];
    let width = columns as f64 * (whole[0] + MARGIN) + MARGIN;
    let mut y = MARGIN + TITLE;
    let mut texts = vec![html! { text.title x=(MARGIN) y=(y) { (title) } }];
    y += LINE + 8.0;
    for row in rows(&sheet.legend, width - 2.0 * MARGIN) {
        let mut x = MARGIN;
        for (entry, wide) in row {
            texts.push(html! {
                (entry.key(x, y - 9.0))
                text x=(x + KEY) y=(y) { (entry.name) }
            });
            x += wide;
        }
        y += LINE;
    }
    let place = |i: usize| {
        let (column, row) = ((i % columns) as f64, (i / columns) as f64);
        [MARGIN + column * (whole[0] + MARGIN), y + row * (whole[1] + MARGIN)]
    };
    let drawn = sheet
        .panels
        .iter()
        .enumerate()
        .map(|(i, (title, plot, series))| panel(place(i), size, title, plot, series));
    let drawn: Vec<Markup> = drawn.collect();
    y += drawn.len().div_ceil(columns) as f64 * (whole[1] + MARGIN) + LETTER / 2.0;
    for line in lines(caption, width - 2.0 * MARGIN) {
        texts.push(html! { text.soft x=(MARGIN) y=(y) { (line) } });
        y += LINE;
    }
    let height = y;
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {width} {height}"))
            width=(width) height=(height) role="img" font-size=(LETTER)
            font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif" {
            title { (title) }
            desc { (origin) }
            style { (PreEscaped(style())) }
            rect.paper width="100%" height="100%" {}
            @for text in texts { (text) }
            @for panel in drawn { (panel) }
        }
    };
    // XML has no way to write what controls a terminal, however it is escaped.
    let known = |c: &char| !c.is_control() || *c == '\n';
    Some(picture.into_string().chars().filter(known).chain(['\n']).collect())
}

/// A panel with its upper left corner at a place, its axes of a size.
fn panel(
    [x, y]: [f64; 2],
    size: [f64; 2],
    title: &str,
    plot: &Plot<'_>,
    series: &[Series],
) -> Markup {
    let [top, _, _, left] = AROUND;
    let below = y + top + size[1] + 42.0;
    html! {
        text.panel x=(x) y=(y + PANEL_TITLE) { (title) }
        text.soft x=(x) y=(y + top - 16.0) { (plot.y_label) }
        svg x=(x + left) y=(y + top) width=(size[0]) height=(size[1]) { (plot.body(series)) }
        text.soft x=(x + left + size[0]) y=(below) text-anchor="end" { (plot.x_label) }
    }
}

/// The legend in rows of a width, with what each entry takes.
fn rows<'a>(legend: &'a [Legend<'a>], width: f64) -> Vec<Vec<(&'a Legend<'a>, f64)>> {
    let mut rows: Vec<Vec<(&Legend<'_>, f64)>> = vec![Vec::new()];
    let mut used = 0.0;
    for entry in legend {
        let wide = KEY + wide(entry.name) + APART;
        if used + wide - APART > width && used > 0.0 {
            rows.push(Vec::new());
            used = 0.0;
        }
        used += wide;
        rows.last_mut().expect("there is one").push((entry, wide));
    }
    rows
}

/// A text in lines of a width.
fn lines(text: &str, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().map(|line| (format!("{line} {word}"), line)) {
            Some((longer, line)) if wide(&longer) <= width => *line = longer,
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// About how wide a text is.
fn wide(text: &str) -> f64 {
    text.chars().count() as f64 * WIDTH * LETTER
}

/// The style sheet, light and dark. Colours are written out: programs that
/// place drawings in documents often know no variables.
fn style() -> String {
    let own = format!(
        "text {{ fill: var(--ink); }}
.title {{ font-size: {TITLE}px; font-weight: 700; }}
.panel {{ font-size: {PANEL_TITLE}px; font-weight: 650; }}
.soft {{ fill: var(--soft); }}
.paper {{ fill: var(--paper); }}
"
    );
    let rules = own + include_str!("chart.css");
    let palette = include_str!("palette.css");
    let filled = |scheme: &str| {
        let colour = |line: &str| {
            let (name, value) = line.trim().strip_suffix(';')?.split_once(": ")?;
            Some((format!("var({name})"), value.to_owned()))
        };
        let colours = scheme.lines().filter_map(colour);
        colours.fold(rules.clone(), |rules, (name, value)| rules.replace(&name, &value))
    };
    let mut schemes = palette.split(":root {").skip(1);
    let mut next = || filled(schemes.next().unwrap_or_default());
    let (light, dark) = (next(), next());
    format!("\n{light}@media screen and (prefers-color-scheme: dark) {{\n{dark}}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, points: &[(f64, f64)]) -> Series {
        Series { name: name.into(), points: points.to_vec(), ..Series::default() }
    }

    #[test]
    fn every_colour_is_written_out_in_both_schemes() {
        let style = style();
        assert!(!style.contains("var("), "{style}");
        let (light, dark) = style.split_once("@media").unwrap();
        for (scheme, ink) in [(light, "#1d2126"), (dark, "#e8eaeb")] {
            assert!(scheme.contains(&format!("text {{ fill: {ink}; }}")), "{scheme}");
            assert!(scheme.contains(".series7 { color: #"), "{scheme}");
        }
    }

    #[test]
    fn panels_stand_side_by_side_and_nothing_leaves_the_drawing() {
        let names = ["a\u{1} & b", "a name that is rather long <for a line>"];
        let panels: Vec<(String, Vec<Series>)> = (0..4)
            .map(|i| {
                let of = |name: &&str| series(name, &[(1.0, 30.0), (2.0, 40.0 + f64::from(i))]);
                (format!("panel {i}"), names.iter().map(of).collect())
            })
            .collect();
        let caption = "A caption of many words. ".repeat(20);
        let frame = Frame { affixes: ["L", ""], ..Frame::default() };
        let svg = drawing(["title", &caption, "made so"], &frame, &panels).unwrap();
        assert!(svg.starts_with("<svg xmlns=") && svg.contains("<desc>made so</desc>"));
        assert!(svg.contains("a &amp; b") && !svg.contains("<for"), "{svg}");
        for text in ["panel 0", "panel 3", ">L1<", "title</text>"] {
            assert!(svg.contains(text), "no '{text}' in {svg}");
        }
        let number = |text: &str, of: &str| -> Option<f64> {
            text.split(&format!(" {of}=\"")).nth(1)?.split('"').next()?.parse().ok()
        };
        let size = ["width", "height"].map(|of| number(&svg, of).unwrap());
        for text in svg.split("<text").skip(1) {
            let tag = text.split('>').next().unwrap();
            for (of, most) in [("x", size[0]), ("y", size[1])] {
                // Labels of axes are placed in per cent of their panel.
                if let Some(at) = number(tag, of) {
                    assert!(at >= 0.0 && at < most, "{tag} in {size:?}");
                }
            }
        }
        assert!(drawing(["", "", ""], &frame, &panels[..0]).is_none());
    }

    #[test]
    fn text_breaks_where_a_line_is_full() {
        let text = "one two three";
        assert_eq!(lines(text, 1e9), [text]);
        assert_eq!(lines(text, wide("one two")), ["one two", "three"]);
        assert_eq!(lines(text, 1.0), ["one", "two", "three"]);
        assert!(lines("", 1.0).is_empty());
    }
}
