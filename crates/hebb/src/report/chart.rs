//! Line charts as drawings within the page.
//!
//! The drawing is as wide as the page lets it be. Lines are laid out in a
//! stretched square and everything else in per cent, so letters, dots and
//! strokes keep their size on a phone.

use maud::{Markup, html};

use super::Series;
use super::axis::{Axis, drawable};
use super::number::number;
use super::page::figure;

/// Sides of the square in which a page's lines are laid out.
pub(super) const SQUARE: [f64; 2] = [1000.0; 2];
/// Up to so many points of a series carry a visible dot.
const DOTTED: usize = 40;
/// About so many points of a series answer to the pointer.
const TITLED: usize = 200;
/// How many colours the style sheet has for series.
const COLOURS: usize = 8;
/// Dashes tell the lines apart in print and without colour vision. They move on
/// by one where the colours begin again, so that no line looks like another
/// until all combinations have been used.
const DASHES: [&str; 4] = ["none", "7 4", "2 4", "12 4 2 4"];

/// The series in one drawing, with axes and a legend.
pub(super) fn section(
    caption: &str,
    x_label: &str,
    y_label: &str,
    log_y: bool,
    series: &[Series],
) -> Markup {
    let good = |&&(x, y): &&(f64, f64)| drawable(x, false) && drawable(y, log_y);
    let all = || series.iter().flat_map(|s| &s.points);
    let left_out = all().count() - all().filter(good).count();
    let note = (left_out > 0).then(|| {
        let why = if log_y { "not finite or not above zero" } else { "not finite" };
        format!("{left_out} of {} points left out: {why}.", all().count())
    });
    let drawing = match (
        Axis::tight(all().filter(good).map(|p| p.0)),
        Axis::rounded(all().filter(good).map(|p| p.1), log_y),
    ) {
        (Some(x), Some(y)) => {
            let plot = Plot {
                x,
                y,
                x_label,
                y_label,
                log: [false, log_y],
                affixes: ["", ""],
                sides: SQUARE,
            };
            html! {
                (legend(&Legend::of(series, |_| true, series.iter().any(|s| !s.marks.is_empty()))))
                (plot.drawing(series))
            }
        }
        _ => html! { p.empty { "There are no points to draw." } },
    };
    figure(drawing, caption, note.as_deref())
}

/// An entry of a legend.
pub(super) struct Legend<'a> {
    pub(super) name: &'a str,
    /// Place of the series; none for the mark of a paper.
    series: Option<usize>,
}

impl<'a> Legend<'a> {
    /// An entry for each series that is `drawn` by its place, and one for a
    /// paper's mark, where there are `marks`.
    pub(super) fn of(
        series: &'a [Series],
        drawn: impl Fn(usize) -> bool,
        marks: bool,
    ) -> Vec<Self> {
        let drawn = series.iter().enumerate().filter(|(i, _)| drawn(*i));
        let named = drawn.map(|(i, s)| Self { name: &s.name, series: Some(i) });
        named.chain(marks.then_some(Self { name: "the paper", series: None })).collect()
    }

    /// What stands beside the name: a piece of the line, or the mark.
    pub(super) fn key(&self, x: f64, y: f64) -> Markup {
        html! {
            @match self.series {
                Some(i) => svg class=(colour(i)) x=(x) y=(y) width="30" height="10" aria-hidden="true" {
                    line.line x1="1" y1="5" x2="29" y2="5" stroke-dasharray=(dash(i)) {}
                },
                None => svg.series5 x=(x) y=(y) width="14" height="10" aria-hidden="true" {
                    circle.mark cx="7" cy="5" r="4.5" {}
                },
            }
        }
    }
}

pub(super) fn legend(entries: &[Legend<'_>]) -> Markup {
    html! {
        ul.legend { @for entry in entries { li { (entry.key(0.0, 0.0)) (entry.name) } } }
    }
}

pub(super) fn colour(series: usize) -> String {
    format!("series{}", series % COLOURS)
}

fn dash(series: usize) -> &'static str {
    DASHES[(series + series / COLOURS) % DASHES.len()]
}

/// A drawing within its axes.
pub(super) struct Plot<'a> {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) x_label: &'a str,
    pub(super) y_label: &'a str,
    /// Whether x and y are logarithmic.
    pub(super) log: [bool; 2],
    /// What stands before and behind the numbers along x.
    pub(super) affixes: [&'a str; 2],
    /// Width and height in which lines are laid out, whatever those of the
    /// drawing are.
    pub(super) sides: [f64; 2],
}

impl Plot<'_> {
    /// The series, with axes.
    pub(super) fn drawing(&self, series: &[Series]) -> Markup {
        html! {
            div.plot {
                p.y-label { (self.y_label) @if self.log[1] { " (logarithmic)" } }
                svg role="img" aria-label=(self.summary(series)) { (self.body(series)) }
                p.x-label { (self.x_label) }
            }
        }
    }

    /// The series between the axes: what fills the `svg` element around it.
    pub(super) fn body(&self, series: &[Series]) -> Markup {
        html! {
            (self.grid())
            @for (i, s) in series.iter().enumerate() {
                g class=(colour(i)) { (self.band(s)) }
            }
            @for (i, s) in series.iter().enumerate() {
                g class=(colour(i)) {
                    (self.whiskers(s)) (self.line(s, dash(i))) (self.marks(s)) (self.dots(s))
                }
            }
        }
    }

    /// What a listener is told in place of the drawing.
    fn summary(&self, series: &[Series]) -> String {
        let mut text = format!("Line chart of {} against {}.", self.y_label, self.x_label);
        for s in series {
            let mut points = s.points.iter().filter(|p| self.draws(p));
            if let Some(first) = points.next() {
                let last = points.next_back().unwrap_or(first);
                text.push_str(&format!(
                    " {}: from {} at {} to {} at {}.",
                    s.name,
                    number(first.1),
                    number(first.0),
                    number(last.1),
                    number(last.0)
                ));
            }
        }
        text
    }

    fn draws(&self, point: &(f64, f64)) -> bool {
        drawable(point.0, self.log[0]) && drawable(point.1, self.log[1])
    }

    /// The intervals about the points, joined to a band where neighbours both
    /// have one.
    fn band(&self, series: &Series) -> Markup {
        let bound = |&(x, y): &(f64, f64)| {
            let interval = series.band.iter().find(|(at, ..)| *at == x);
            interval.filter(|_| self.draws(&(x, y))).map(|&(_, low, high)| (x, low, high))
        };
        let bounds: Vec<_> = series.points.iter().map(bound).collect();
        let mut path = String::new();
        for run in bounds.split(Option::is_none).filter(|run| run.len() > 1) {
            let known = || run.iter().flatten();
            let there = known().map(|&(x, _, high)| (x, high));
            let back = known().rev().map(|&(x, low, _)| (x, low));
            for (i, (x, y)) in there.chain(back).enumerate() {
                let [x, y] = self.at(x, y);
                path.push_str(&format!("{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' }));
            }
            path.push('Z');
        }
        if path.is_empty() {
            return html! {};
        }
        self.stretched(html! { path.band d=(path) {} })
    }

    /// Where a point stands among the lines.
    fn at(&self, x: f64, y: f64) -> [f64; 2] {
        [self.x.place(x) * self.sides[0], (1.0 - self.y.place(y)) * self.sides[1]]
    }

    /// Lines in their sides, stretched over the drawing.
    fn stretched(&self, lines: Markup) -> Markup {
        let [width, height] = self.sides;
        html! {
            svg viewBox={ "0 0 " (width) " " (height) } preserveAspectRatio="none" width="100%" height="100%" {
                (lines)
            }
        }
    }

    /// A stroke over each interval.
    fn whiskers(&self, series: &Series) -> Markup {
        html! {
            @for &(x, low, high) in series.band.iter().filter(|(x, ..)| drawable(*x, self.log[0])) {
                @let x = percent(self.x.place(x));
                line.whisker x1=(x) x2=(x) y1=(percent(1.0 - self.y.place(low)))
                    y2=(percent(1.0 - self.y.place(high))) {}
            }
        }
    }

    /// Values from elsewhere.
    fn marks(&self, series: &Series) -> Markup {
        html! {
            @for &(x, y) in series.marks.iter().filter(|p| self.draws(p)) {
                circle.mark r="4.5" cx=(percent(self.x.place(x))) cy=(percent(1.0 - self.y.place(y))) {
                    title { (series.name) ", the paper: " (number(y)) }
                }
            }
        }
    }

    fn grid(&self) -> Markup {
        html! {
            g.grid {
                @for (place, label) in self.y.ticks() {
                    @let y = percent(1.0 - place);
                    line x1="0" x2="100%" y1=(y) y2=(y) {}
                    text x="0" dx="-10" y=(y) dy="0.35em" text-anchor="end" { (label) }
                }
                @for (place, label) in self.x.ticks() {
                    svg x=(percent(place)) y="100%" {
                        line.axis y2="6" {}
                        text dy="1.75em" text-anchor="middle" {
                            (self.affixes[0]) (label) (self.affixes[1])
                        }
                    }
                }
                @for place in self.y.zero().into_iter().chain([0.0]) {
                    @let y = percent(1.0 - place);
                    line.axis x1="0" x2="100%" y1=(y) y2=(y) {}
                }
            }
        }
    }

    /// The line of a series, broken where a point can't be drawn.
    fn line(&self, series: &Series, dash: &str) -> Markup {
        let mut path = String::new();
        for run in series.points.split(|p| !self.draws(p)) {
            for (i, &(x, y)) in run.iter().enumerate() {
                let command = if i == 0 { 'M' } else { 'L' };
                let [x, y] = self.at(x, y);
                path.push_str(&format!("{command}{x:.1} {y:.1}"));
            }
            if let [(x, y)] = run {
                // A line to itself: the round cap makes it a dot.
                let [x, y] = self.at(*x, *y);
                path.push_str(&format!("L{x:.1} {y:.1}"));
            }
        }
        self.stretched(html! {
            path.line d=(path) stroke-dasharray=(dash) vector-effect="non-scaling-stroke" {}
        })
    }

    /// Dots that tell their values to the pointer; the dots of a long series
    /// are invisible, and only some of its points have one.
    fn dots(&self, series: &Series) -> Markup {
        let class = if series.points.len() <= DOTTED { "dot" } else { "unseen" };
        let stride = series.points.len().div_ceil(TITLED).max(1);
        html! {
            @for &(x, y) in series.points.iter().step_by(stride).filter(|p| self.draws(p)) {
                circle class=(class) r="3" cx=(percent(self.x.place(x))) cy=(percent(1.0 - self.y.place(y))) {
                    title {
                        (series.name) ": " (number(y)) " (" (self.x_label) " " (number(x)) ")"
                    }
                }
            }
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, points: &[(f64, f64)]) -> Series {
        Series { name: name.into(), points: points.to_vec(), ..Series::default() }
    }

    fn chart(log_y: bool, series: &[Series]) -> String {
        section("", "epoch", "loss", log_y, series).into_string()
    }

    /// The commands of the first line.
    fn path(page: &str) -> &str {
        page.split(" d=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a line")
    }

    #[test]
    fn points_stand_where_the_axes_say() {
        let page = chart(false, &[series("a", &[(0.0, 0.0), (5.0, 10.0), (10.0, 5.0)])]);
        assert_eq!(path(&page), "M0.0 1000.0L500.0 0.0L1000.0 500.0");
        assert!(
            page.contains(r#"cx="50.00%" cy="0.00%"><title>a: 10 (epoch 5)</title>"#),
            "{page}"
        );
    }

    #[test]
    fn a_point_that_cannot_be_drawn_breaks_the_line_and_is_counted() {
        let points =
            [(0.0, 0.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, f64::INFINITY), (5.0, 0.0)];
        let page = chart(false, &[series("a", &points)]);
        assert_eq!(path(&page).matches('M').count(), 3, "{page}");
        assert!(page.contains("2 of 6 points left out: not finite."));
        assert!(!page.contains("NaN") && !page.contains("inf"));
        let page = chart(true, &[series("a", &points)]);
        assert!(page.contains("4 of 6 points left out: not finite or not above zero."));
    }

    #[test]
    fn nothing_to_draw_is_said() {
        let nothing = [series("a", &[]), series("b", &[(f64::NAN, 1.0)])];
        for series in [&nothing[..0], &nothing[..1], &nothing[..]] {
            assert!(chart(false, series).contains("no points to draw"));
        }
        assert!(
            chart(true, &[series("a", &[(1.0, 0.0), (2.0, -1.0)])]).contains("no points to draw")
        );
    }

    #[test]
    fn a_long_series_keeps_its_line_and_thins_its_dots() {
        let points: Vec<_> = (0..10_000).map(|i| (f64::from(i), f64::from(i % 7))).collect();
        let page = chart(false, &[series("a", &points)]);
        assert_eq!(path(&page).matches('L').count(), 9_999);
        assert_eq!(page.matches("<circle").count(), 200);
    }

    #[test]
    fn twelve_lines_differ() {
        let looks: std::collections::HashSet<_> = (0..12).map(|i| (colour(i), dash(i))).collect();
        assert_eq!(looks.len(), 12);
    }
}
