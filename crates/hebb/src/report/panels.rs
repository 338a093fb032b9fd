//! Small charts side by side.

use maud::{Markup, html};

use super::axis::{Axis, drawable};
use super::chart::{Legend, Plot, SQUARE, legend};
use super::page::figure;
use super::{Frame, Series};

/// Charts with all that they share.
pub(super) struct Sheet<'a> {
    pub(super) legend: Vec<Legend<'a>>,
    /// Title, axes and series of each chart that has a point to draw.
    pub(super) panels: Vec<(&'a str, Plot<'a>, &'a [Series])>,
}

impl<'a> Sheet<'a> {
    /// None where there is nothing to draw.
    pub(super) fn new(frame: &'a Frame, panels: &'a [(String, Vec<Series>)]) -> Option<Self> {
        let all: Vec<&Series> = panels.iter().flat_map(|(_, series)| series).collect();
        let has_points = |series: &Series| {
            points(series).any(|(x, y)| drawable(x, frame.log_x) && drawable(y, false))
        };
        let drawn = panels.iter().filter(|(_, series)| series.iter().any(has_points));
        let plots = drawn.filter_map(|(title, series)| {
            let own: Vec<&Series> = series.iter().collect();
            let plot = Plot {
                x: x_axis(frame, &all)?,
                y: y_axis(frame, if frame.same_y { &all } else { &own })?,
                x_label: &frame.x_label,
                y_label: &frame.y_label,
                log: [frame.log_x, false],
                affixes: frame.affixes,
                sides: SQUARE,
            };
            Some((title.as_str(), plot, series.as_slice()))
        });
        let plots: Vec<_> = plots.collect();
        // The panel with most to name speaks for all of them.
        let named = panels.iter().map(|(_, series)| series).max_by_key(|s| s.len())?;
        let legend = Legend::of(
            named,
            |i| panels.iter().any(|(_, series)| series.get(i).is_some_and(has_points)),
            all.iter().any(|s| !s.marks.is_empty()),
        );
        (!plots.is_empty()).then_some(Self { legend, panels: plots })
    }
}

/// The charts in a grid, under one legend.
pub(super) fn section(caption: &str, frame: &Frame, panels: &[(String, Vec<Series>)]) -> Markup {
    let Some(sheet) = Sheet::new(frame, panels) else {
        return figure(html! { p.empty { "There are no points to draw." } }, caption, None);
    };
    let content = html! {
        (legend(&sheet.legend))
        // Three to a row, but four are two and two.
        div class={ "panels" @if matches!(sheet.panels.len(), 2 | 4) { " pairs" } } {
            @for (title, plot, series) in &sheet.panels {
                div.panel { h3 { (title) } (plot.drawing(series)) }
            }
        }
    };
    figure(content, caption, None)
}

/// Points, bounds and marks of a series: all that needs a place in the chart.
fn points(series: &Series) -> impl Iterator<Item = (f64, f64)> + Clone {
    let bounds = series.band.iter().flat_map(|&(x, low, high)| [(x, low), (x, high)]);
    series.points.iter().chain(&series.marks).copied().chain(bounds)
}

fn x_axis(frame: &Frame, series: &[&Series]) -> Option<Axis> {
    let values = series.iter().copied().flat_map(points).map(|p| p.0);
    let values = values.filter(|&x| drawable(x, frame.log_x));
    if frame.log_x { Axis::at_values(values) } else { Axis::tight(values) }
}

fn y_axis(frame: &Frame, series: &[&Series]) -> Option<Axis> {
    let good = |&(x, y): &(f64, f64)| drawable(x, frame.log_x) && drawable(y, false);
    let values = series.iter().copied().flat_map(points).filter(good).map(|p| p.1);
    Axis::rounded(values.chain(frame.zero.then_some(0.0)), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: &[(f64, f64)], band: &[(f64, f64, f64)]) -> Series {
        let (points, band) = (points.to_vec(), band.to_vec());
        Series { name: "a".into(), points, band, ..Series::default() }
    }

    fn page(frame: &Frame, panels: &[Vec<Series>]) -> String {
        let panels: Vec<_> = panels.iter().map(|s| ("p".to_owned(), s.clone())).collect();
        section("", frame, &panels).into_string()
    }

    #[test]
    fn bands_stand_about_their_points() {
        let band = [(1.0, 0.0, 10.0), (2.0, 5.0, 10.0)];
        let page = page(&Frame::default(), &[vec![series(&[(1.0, 5.0), (2.0, 7.5)], &band)]]);
        assert!(
            page.contains("class=\"band\" d=\"M0.0 0.0L1000.0 0.0L1000.0 500.0L0.0 1000.0Z\""),
            "{page}"
        );
        assert_eq!(page.matches("class=\"whisker\"").count(), 2);
    }

    #[test]
    fn a_point_without_interval_parts_the_band() {
        let points: Vec<_> = (1..=5).map(|i| (f64::from(i), 1.0)).collect();
        let band: Vec<_> = [1, 2, 4, 5].map(|i| (f64::from(i), 0.5, 1.5)).to_vec();
        let page = page(&Frame::default(), &[vec![series(&points, &band)]]);
        let path = page.split("class=\"band\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!((path.matches('M').count(), path.matches('Z').count()), (2, 2), "{path}");
    }

    #[test]
    fn panels_share_their_axes_where_asked() {
        let panels = [
            vec![series(&[(1.0, 0.0), (2.0, 1.0)], &[])],
            vec![series(&[(1.0, 50.0), (2.0, 100.0)], &[])],
        ];
        let own = page(&Frame::default(), &panels);
        let same = page(&Frame { same_y: true, ..Frame::default() }, &panels);
        let hundred = |page: &str| page.matches(">100<").count();
        assert_eq!((hundred(&own), hundred(&same)), (1, 2));
    }

    #[test]
    fn the_legend_names_what_is_drawn_somewhere() {
        let named =
            |name: &str, points: &[(f64, f64)]| Series { name: name.into(), ..series(points, &[]) };
        let point = [(1.0, 2.0)];
        let panels = [
            vec![named("first", &[]), named("second", &[]), named("third", &point)],
            vec![named("first", &point), named("second", &[]), named("third", &point)],
        ];
        let page = page(&Frame::default(), &panels);
        let legend = page.split("</ul>").next().unwrap();
        assert!(legend.contains("first") && legend.contains("third"), "{legend}");
        assert!(!legend.contains("second") && legend.contains("series2"), "{legend}");
        assert!(!legend.contains("the paper"), "{legend}");
        // Marked in one panel only, and not the last.
        let marked = vec![Series { marks: point.to_vec(), ..named("first", &point) }];
        let page = self::page(&Frame::default(), &[marked, panels[1].clone()]);
        assert!(page.split("</ul>").next().unwrap().contains("the paper"), "{page}");
    }

    #[test]
    fn zero_is_on_the_axis_where_it_is_asked_for() {
        let panels = [vec![series(&[(1.0, -6.0), (2.0, -5.0)], &[])]];
        let frame = |zero| Frame { zero, ..Frame::default() };
        assert!(page(&frame(true), &panels).contains(">0<"));
        assert!(!page(&frame(false), &panels).contains(">0<"));
    }

    #[test]
    fn what_has_no_place_on_a_logarithmic_axis_is_left_out() {
        let frame = Frame { log_x: true, affixes: ["", "%"], ..Frame::default() };
        let page = page(&frame, &[vec![series(&[(0.0, 1.0), (1.0, 2.0), (100.0, 3.0)], &[])]]);
        assert_eq!(page.matches("<circle").count(), 2);
        assert!(page.contains(">1%<") && page.contains(">100%<"), "{page}");
    }
}
