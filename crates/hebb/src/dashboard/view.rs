//! A run on a terminal: curves, throughput, spread, time left.

use std::time::SystemTime;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Axis, Block, Chart, Dataset, Gauge, GraphType, LegendPosition, Paragraph, Sparkline,
};

use super::history::{History, Points};

/// Colours of layers and curves, one after the other.
const COLOURS: [Color; 6] =
    [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta, Color::Blue, Color::Red];

/// Curves measured on other images than those trained on.
const VALIDATION: [(&str, &str); 2] =
    [("validation", "validation_loss"), ("validation", "validation_accuracy")];

/// How a run is drawn.
pub struct View<'a> {
    /// What is known of it.
    pub history: &'a History,
    /// Now.
    pub now: SystemTime,
    /// What the keys do.
    pub keys: &'a str,
    /// Whether there may be colours.
    pub colours: bool,
}

impl View<'_> {
    /// Draws all of it.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let rows = [
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Fill(3),
            Constraint::Fill(1),
            Constraint::Length(1),
            Constraint::Length(1),
        ];
        let [title, progress, curves, rate, state, keys] =
            Layout::vertical(rows).areas(frame.area());
        frame.render_widget(self.title(), title);
        frame.render_widget(self.progress(), progress);
        let halves = [Constraint::Percentage(58), Constraint::Percentage(42)];
        let [left, right] = Layout::horizontal(halves).areas(curves);
        self.curves(frame, left, right);
        self.rate(frame, rate);
        frame.render_widget(self.state(), state);
        frame.render_widget(Paragraph::new(self.keys).style(self.faint()), keys);
    }

    fn colour(&self, index: usize) -> Style {
        if !self.colours {
            return Style::default();
        }
        Style::default().fg(COLOURS[index % COLOURS.len()])
    }

    fn faint(&self) -> Style {
        Style::default().add_modifier(Modifier::DIM)
    }

    fn title(&self) -> Paragraph<'_> {
        let history = self.history;
        let bold = Style::default().add_modifier(Modifier::BOLD);
        let mut parts = vec![Span::styled(history.run().display().to_string(), bold)];
        if let Some(stage) = history.last["stage"].as_str() {
            parts.push(format!("  {stage}").into());
        }
        if let Some(epoch) = history.number("epoch") {
            parts.push(format!("  epoch {}", epoch + 1.0).into());
        }
        if let (Some(step), Some(steps)) = (history.number("step"), history.number("steps")) {
            parts.push(format!("  step {} of {}", count(step), count(steps)).into());
        }
        Paragraph::new(Line::from(parts))
    }

    fn progress(&self) -> Gauge<'_> {
        let history = self.history;
        let share = match (history.number("step"), history.number("steps")) {
            (Some(step), Some(steps)) if steps > 0.0 => (step / steps).clamp(0.0, 1.0),
            _ => 0.0,
        };
        let left = || history.left(self.now).map(|left| format!(", {} left", duration(left)));
        let label = match (history.finished, history.goes_on(self.now)) {
            (true, _) => "finished".to_owned(),
            (false, true) => format!("{:.0} %{}", 100.0 * share, left().unwrap_or_default()),
            (false, false) => {
                let silence = history.silence(self.now).unwrap_or(0.0);
                format!("{:.0} %, no news for {}", 100.0 * share, duration(silence))
            }
        };
        let share = if history.finished { 1.0 } else { share };
        let gauge = Gauge::default().ratio(share).label(label).use_unicode(true);
        gauge.gauge_style(self.colour(0))
    }

    fn curves(&self, frame: &mut Frame<'_>, left: Rect, right: Rect) {
        let change = self.history.family("change");
        if !change.is_empty() {
            self.chart(frame, left, "change of the weights a step, by layer", &change, true);
            let spread = self.history.family("spread");
            self.bars(frame, right, "winners' spread (1: even)", &spread);
            return;
        }
        let explained = self.history.family("explained");
        if !explained.is_empty() {
            let title = "share of the patches' squares that the filters explain, by layer";
            self.bars(frame, left.union(right), title, &explained);
            return;
        }
        let loss = self.named(&[("steps", "batch_loss"), ("epochs", "loss"), VALIDATION[0]]);
        let steps = [("steps", "batch_accuracy"), ("epochs", "train_accuracy"), VALIDATION[1]];
        let accuracy = self.named(&steps);
        self.chart(frame, left, "loss", &loss, false);
        if accuracy.is_empty() {
            let parts = ["reconstruction", "divergence"].map(|name| (name, name));
            self.chart(frame, right, "parts of the loss", &self.named(&parts), false);
        } else {
            self.chart(frame, right, "accuracy while training", &accuracy, false);
        }
    }

    /// Those of the curves that there are, under other names.
    fn named<'b>(&'b self, curves: &[(&'b str, &str)]) -> Vec<(&'b str, &'b Points)> {
        let found =
            |(name, curve): &(&'b str, &str)| Some((*name, self.history.curves.get(*curve)?));
        curves.iter().filter_map(found).collect()
    }

    fn chart(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        title: &str,
        curves: &[(&str, &Points)],
        logarithmic: bool,
    ) {
        let scaled = |value: f64| if logarithmic { value.max(1e-12).log10() } else { value };
        let width = 2 * usize::from(area.width);
        let steps = curves.iter().filter_map(|(_, points)| Some(points.last()?.0));
        let last = steps.fold(1.0, f64::max);
        let curves: Vec<(&str, Points)> = curves
            .iter()
            .map(|(name, points)| {
                let scaled = points.iter().map(|&(step, value)| (step, scaled(value)));
                (*name, thinned(&scaled.collect::<Points>(), width))
            })
            .collect();
        let all = || curves.iter().flat_map(|(_, points)| points);
        let lowest = all().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let highest = all().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
        let block = Block::bordered().title(title).border_style(self.faint());
        if !lowest.is_finite() || !highest.is_finite() {
            frame.render_widget(Paragraph::new("no values yet").block(block), area);
            return;
        }
        // A flat line lies in the middle.
        let room = (0.05 * (highest - lowest)).max(1e-6 * highest.abs().max(1e-3));
        let bounds = [lowest - room, highest + room];
        let shown = |value: f64| short(if logarithmic { 10f64.powf(value) } else { value });
        let labels = [bounds[0], f64::midpoint(bounds[0], bounds[1]), bounds[1]].map(shown);
        let drawn = curves.iter().enumerate().map(|(index, (name, points))| {
            let line = Dataset::default().name(*name).data(points).style(self.colour(index));
            line.graph_type(GraphType::Line).marker(Marker::Braille)
        });
        let x = Axis::default().bounds([0.0, last]).labels(["0".to_owned(), count(last)]);
        let y = Axis::default().bounds(bounds).labels(labels);
        let chart = Chart::new(drawn.collect()).block(block);
        let chart = chart.x_axis(x.style(self.faint())).y_axis(y.style(self.faint()));
        let legend = (Constraint::Percentage(60), Constraint::Percentage(70));
        let chart = chart.legend_position(Some(LegendPosition::TopRight));
        frame.render_widget(chart.hidden_legend_constraints(legend), area);
    }

    /// The latest value of each layer, from 0 to 1.
    fn bars(&self, frame: &mut Frame<'_>, area: Rect, title: &str, layers: &[(&str, &Points)]) {
        let block = Block::bordered().title(title).border_style(self.faint());
        let inside = block.inner(area);
        frame.render_widget(block, area);
        if layers.is_empty() {
            frame.render_widget(Paragraph::new("not measured on this device"), inside);
            return;
        }
        // Side by side where there are more layers than lines.
        let lines = usize::from(inside.height).max(1);
        let columns = vec![Constraint::Fill(1); layers.len().div_ceil(lines)];
        let columns = Layout::horizontal(columns).split(inside);
        for (index, (layer, points)) in layers.iter().enumerate() {
            let Some(&(_, value)) = points.last() else { continue };
            let column = columns[index / lines];
            let row = Rect { y: column.y + (index % lines) as u16, height: 1, ..column };
            let width = usize::from(row.width).saturating_sub(10);
            let full = (value.clamp(0.0, 1.0) * width as f64).round() as usize;
            let bar = format!("{}{}", "█".repeat(full), "░".repeat(width - full));
            let parts = [
                Span::raw(format!("{layer:<4}")),
                Span::styled(bar, self.colour(index)),
                Span::raw(format!(" {value:.2}")),
            ];
            frame.render_widget(Line::from(parts.to_vec()), row);
        }
    }

    fn rate(&self, frame: &mut Frame<'_>, area: Rect) {
        let none = Points::new();
        let rates = self.history.curves.get("images_per_second").unwrap_or(&none);
        let floor = self.history.number("over_floor");
        let floor = floor.map_or_else(String::new, |over| format!(", {over:.2} x floor"));
        let best = rates.iter().map(|point| point.1).fold(0.0, f64::max);
        let title = match rates.last() {
            None => "images/s".to_owned(),
            Some(&(_, now)) => format!(
                "images/s: {} now, {} at best ({:.0} %){floor}",
                count(now),
                count(best),
                100.0 * now / best.max(f64::MIN_POSITIVE)
            ),
        };
        let block = Block::bordered().title(title).border_style(self.faint());
        let width = usize::from(block.inner(area).width);
        let shown = thinned(rates, width);
        let bars = Sparkline::default().data(shown.iter().map(|point| point.1 as u64));
        frame.render_widget(bars.max(best as u64).style(self.colour(2)).block(block), area);
    }

    fn state(&self) -> Paragraph<'_> {
        let history = self.history;
        let mut parts = Vec::new();
        if let Some(mib) = history.number("memory_mib") {
            parts.push(format!("memory {} MiB", count(mib)));
        }
        parts.push(match history.checkpoint {
            None => "no checkpoint".to_owned(),
            Some((step, at)) => {
                let age = self.now.duration_since(at).unwrap_or_default().as_secs_f64();
                format!("checkpoint of step {}, {} ago", count(step as f64), duration(age))
            }
        });
        if let Some(skipped) = history.number("skipped").filter(|&skipped| skipped > 0.0) {
            parts.push(format!("{} images left out", count(skipped)));
        }
        Paragraph::new(parts.join("   "))
    }
}

/// At most `most` points, each the mean of those it stands for.
fn thinned(points: &[(f64, f64)], most: usize) -> Points {
    let each = points.len().div_ceil(most.max(1)).max(1);
    let mean = |some: &[(f64, f64)]| {
        let n = some.len() as f64;
        (some.iter().map(|p| p.0).sum::<f64>() / n, some.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(each).map(mean).collect()
}

/// A whole number in groups of three digits.
fn count(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number in few characters.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => count(value),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.0e}"),
    }
}

/// Seconds as people say them.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) if h < 48 => format!("{h} h {m} min"),
        (h, _, _) => format!("{} days {} h", h / 24, h % 24),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    /// What is drawn of a run with these lines of metrics, a second after the last.
    fn drawn(lines: &str, (width, height): (u16, u16)) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("metrics.jsonl"), lines).unwrap();
        let mut history = History::of(folder.path());
        history.refresh().unwrap();
        let seconds = history.number("time").unwrap_or(0.0) + 1.0;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds);
        let view = View { history: &history, now, keys: "q quits", colours: false };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn lines(values: &str) -> String {
        let line = |n: usize| {
            let (time, step, rate) = (1000.0 + n as f64, 10 * n, 1000 + 100 * (n % 3));
            let value = 1.0 / n as f64;
            let values = values.replace("VALUE", &value.to_string());
            format!(
                "{{\"time\":{time},\"stage\":\"s\",\"step\":{step},\"steps\":1000,\"epoch\":1,\
                 \"images_per_second\":{rate},\"over_floor\":1.12,\"skipped\":3,\"memory_mib\":2048.0,{values}}}\n"
            )
        };
        (1..=50).map(line).collect()
    }

    #[test]
    fn a_run_fits_on_terminals_of_any_size() {
        let hebbian = lines("\"change\":[VALUE,0.01],\"spread\":[VALUE,0.5]");
        let shown = drawn(&hebbian, (80, 24));
        for words in [
            "epoch 2  step 500 of 1,000",
            "50 %, 49 s left",
            "L1  ░░░░░░░░░░░░░░░░░░░░░░ 0.02",
            "L2  ███████████░░░░░░░░░░░ 0.50",
            "images/s: 1,200 now, 1,200 at best (100 %), 1.12 x floor",
            "memory 2,048 MiB   no checkpoint   3 images left out",
        ] {
            assert!(shown.contains(words), "{words}\n{shown}");
        }
        let tuning = lines("\"batch_loss\":VALUE,\"batch_accuracy\":0.5");
        let shown = drawn(&tuning, (120, 40));
        assert!(shown.contains("accuracy while training") && shown.contains("steps"), "{shown}");
        let components = lines("\"explained\":[0.9,VALUE]");
        let shown = drawn(&components, (80, 24));
        assert!(shown.contains("that the filters explain, by layer"), "{shown}");
        assert!(shown.contains("█ 0.90") || shown.contains("░ 0.90"), "{shown}");
        for lines in [&hebbian, &tuning, &components, ""] {
            for size in [(200, 60), (80, 24), (20, 6), (3, 2), (1, 1)] {
                drawn(lines, size);
            }
        }
    }
}
