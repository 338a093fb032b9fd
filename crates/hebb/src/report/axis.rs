//! The axis of a chart: from values to places, and where its ticks stand.

use super::number::{fixed, number};

/// Values beyond this magnitude (or, on a logarithmic axis, below its inverse)
/// count as not drawable, so that no sum or power of them overflows.
const LARGEST: f64 = 1e150;

/// About how many gaps between ticks an axis has.
const GAPS: f64 = 5.0;

/// Share of an axis that a label takes in a small chart.
const ROOM: f64 = 0.12;

/// The span of values along one side of a chart.
#[derive(Debug)]
pub(super) struct Axis {
    first: f64,
    last: f64,
    log: bool,
    /// Decimals of the tick labels; none: as many as each one needs.
    decimals: Option<usize>,
    ticks: Vec<f64>,
}

/// Whether a value can be drawn.
pub(super) fn drawable(value: f64, log: bool) -> bool {
    value.abs() <= LARGEST && (!log || value >= 1.0 / LARGEST)
}

impl Axis {
    /// An axis as long as the values, the ticks within; whole ticks where all
    /// values are whole. None where no value is [`drawable`].
    pub(super) fn tight(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let (first, last) = range(values.clone())?;
        let step = nice_step(first, last);
        let step = if values.clone().all(|v| v.fract() == 0.0) { step.max(1.0) } else { step };
        Some(Self::linear(first, last, step))
    }

    /// An axis that begins and ends at a tick, about the values; a logarithmic
    /// one over several decades is as long as the values.
    /// None where no value is [`drawable`].
    pub(super) fn rounded(values: impl Iterator<Item = f64>, log: bool) -> Option<Self> {
        let (first, last) = range(values)?;
        if log {
            return Some(Self::logarithmic(first, last));
        }
        let step = nice_step(first, last);
        // The small tolerance keeps 0.3 / 0.1 from asking for a tick more.
        let first = (first / step + 1e-6).floor() * step;
        let last = (last / step - 1e-6).ceil() * step;
        Some(Self::linear(first, last, step))
    }

    /// A logarithmic axis as long as the values, with its ticks at the values
    /// themselves, as far as their labels have room.
    pub(super) fn at_values(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let (first, last) = range(values.clone())?;
        let mut axis = Self { first, last, log: true, decimals: None, ticks: Vec::new() };
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        // From the end, whose label a chart should not be without.
        for value in sorted.into_iter().rev() {
            let room = |tick: &f64| (axis.place(*tick) - axis.place(value)).abs() > ROOM;
            if axis.ticks.iter().all(room) {
                axis.ticks.push(value);
            }
        }
        axis.ticks.reverse();
        Some(axis)
    }

    fn linear(first: f64, last: f64, step: f64) -> Self {
        let from = (first / step - 1e-6).ceil() as i64;
        let to = (last / step + 1e-6).floor() as i64;
        let ticks = (from..=to).map(|i| i as f64 * step).collect();
        let plain = first.abs().max(last.abs()) < 1e7 && step >= 1e-5;
        let decimals = plain.then(|| (-(step * 1.001).log10().floor()).max(0.0) as usize);
        Self { first, last, log: false, decimals, ticks }
    }

    /// Over more than two decades the axis is as long as the values, with
    /// ticks at powers of ten; a shorter one would have too few of them, so it
    /// begins and ends at a tick, and these are 1, 2 and 5 times such powers.
    fn logarithmic(first: f64, last: f64) -> Self {
        let axis = |first, last, ticks| Self { first, last, log: true, decimals: None, ticks };
        let (a, b) = (first.log10(), last.log10());
        let (low, high) = (a.floor() as i32, b.ceil() as i32);
        if b - a > 2.0 {
            let (from, to) = ((a - 1e-9).ceil() as i32, (b + 1e-9).floor() as i32);
            let stride = (high - low + 5) as usize / 6;
            let ticks = (from..=to).step_by(stride).map(|power| 10f64.powi(power)).collect();
            return axis(first, last, ticks);
        }
        let marks: Vec<f64> =
            (low..=high).flat_map(|power| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(power))).collect();
        let from = marks.iter().rposition(|&m| m <= first * (1.0 + 1e-9)).unwrap_or(0);
        let to = marks.iter().position(|&m| m >= last * (1.0 - 1e-9)).unwrap_or(marks.len() - 1);
        let ticks = marks[from..=to.max(from + 1)].to_vec();
        axis(marks[from], marks[to.max(from + 1)], ticks)
    }

    /// Where a value lies: 0 at the beginning of the axis, 1 at its end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let (a, b, v) = if self.log {
            (self.first.log10(), self.last.log10(), value.log10())
        } else {
            (self.first, self.last, value)
        };
        (v - a) / (b - a)
    }

    /// Where zero lies, if it is within the axis.
    pub(super) fn zero(&self) -> Option<f64> {
        (!self.log && self.first < 0.0 && self.last > 0.0).then(|| self.place(0.0))
    }

    /// The ticks: place and label of each, from the beginning to the end.
    pub(super) fn ticks(&self) -> impl Iterator<Item = (f64, String)> {
        self.ticks.iter().map(|&tick| {
            let label = match self.decimals {
                Some(decimals) => fixed(tick, decimals),
                None => number(tick),
            };
            (self.place(tick), label)
        })
    }
}

/// Least and greatest value; a range without extent is widened.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (least, greatest) = values
        .map(|v| (v, v))
        .reduce(|(least, greatest), (v, _)| (least.min(v), greatest.max(v)))?;
    let size = least.abs().max(greatest.abs());
    if greatest - least > size * 1e-9 {
        return Some((least, greatest));
    }
    // On a logarithmic axis this stays above zero.
    let margin = if size == 0.0 { 1.0 } else { size * 0.5 };
    Some((least - margin, greatest + margin))
}

/// The 1, 2 or 5 times a power of ten that parts a range into about [`GAPS`].
fn nice_step(first: f64, last: f64) -> f64 {
    let raw = (last - first) / GAPS;
    let power = 10f64.powf(raw.log10().floor());
    let multiple = match raw / power {
        m if m < 1.5 => 1.0,
        m if m < 3.5 => 2.0,
        m if m < 7.5 => 5.0,
        _ => 10.0,
    };
    multiple * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Option<Axis>) -> Vec<String> {
        axis.expect("an axis").ticks().map(|(_, label)| label).collect()
    }

    fn rounded(values: &[f64], log: bool) -> Option<Axis> {
        Axis::rounded(values.iter().copied(), log)
    }

    fn tight(values: &[f64]) -> Option<Axis> {
        Axis::tight(values.iter().copied())
    }

    #[test]
    fn ticks_are_round_numbers_with_even_labels() {
        assert_eq!(
            labels(rounded(&[0.337, 0.419], false)),
            ["0.32", "0.34", "0.36", "0.38", "0.40", "0.42"]
        );
        assert_eq!(
            labels(rounded(&[0.0, 0.3], false)),
            ["0.00", "0.05", "0.10", "0.15", "0.20", "0.25", "0.30"]
        );
        assert_eq!(
            labels(rounded(&[-3.0, 95.0], false)),
            ["-20", "0", "20", "40", "60", "80", "100"]
        );
        assert_eq!(labels(rounded(&[0.0, 50_000.0], false))[5], "50,000");
        assert_eq!(labels(rounded(&[0.0, 3e9], false))[1], "5e8");
    }

    #[test]
    fn whole_values_have_whole_ticks() {
        assert_eq!(labels(tight(&[1.0, 2.0, 3.0])), ["1", "2", "3"]);
        assert_eq!(labels(tight(&[1.0, 20.0])), ["5", "10", "15", "20"]);
        assert_eq!(labels(tight(&[0.0, 0.5, 1.0])), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    }

    #[test]
    fn logarithmic_ticks_stand_at_powers_of_ten() {
        assert_eq!(labels(rounded(&[3e-5, 0.4], true)), ["0.0001", "0.001", "0.01", "0.1"]);
        assert_eq!(labels(rounded(&[0.3, 0.45], true)), ["0.2", "0.5"]);
        assert_eq!(labels(rounded(&[0.3, 2.3], true)), ["0.2", "0.5", "1", "2", "5"]);
        let axis = rounded(&[0.01, 1.0], true).unwrap();
        assert!((axis.place(0.1) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn ticks_at_values_leave_out_what_has_no_room() {
        let at = |values: &[f64]| labels(Axis::at_values(values.iter().copied()));
        assert_eq!(at(&[100.0, 1.0, 10.0, 5.0, 5.0]), ["1", "5", "10", "100"]);
        assert_eq!(
            at(&[1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 25.0, 100.0]),
            ["1", "2", "5", "10", "25", "100"]
        );
        assert_eq!(at(&[5.0]), ["5"]);
    }

    #[test]
    fn every_axis_holds_its_values_and_few_ticks() {
        let magnitudes = [0.0, 1e-150, 3.3e-9, 0.07, 1.0, 640.0, 2.5e11, 1e150];
        for a in magnitudes {
            for b in magnitudes {
                for (a, b) in [(a, b), (-a, b)] {
                    for log in [false, true] {
                        if log && (a <= 0.0 || b <= 0.0) {
                            continue;
                        }
                        let axis = rounded(&[a, b], log).unwrap();
                        let at = format!("{a} {b} log {log}: {axis:?}");
                        for place in [axis.place(a), axis.place(b)] {
                            assert!((-1e-6..=1.0 + 1e-6).contains(&place), "{place} {at}");
                        }
                        assert!((2..=9).contains(&axis.ticks().count()), "{at}");
                    }
                }
            }
        }
    }

    #[test]
    fn zero_is_within_what_has_both_signs() {
        assert_eq!(rounded(&[-1.0, 1.0], false).unwrap().zero(), Some(0.5));
        assert!(rounded(&[0.0, 1.0], false).unwrap().zero().is_none());
        assert!(rounded(&[0.1, 1.0], true).unwrap().zero().is_none());
    }

    #[test]
    fn one_value_gets_room_about_it_and_none_gets_no_axis() {
        assert_eq!(tight(&[4.0]).unwrap().place(4.0), 0.5);
        assert!(labels(tight(&[4.0])).contains(&"4".to_owned()));
        assert!(rounded(&[], false).is_none());
        assert!(!drawable(f64::NAN, false) && !drawable(f64::INFINITY, false));
        assert!(drawable(0.0, false) && !drawable(0.0, true));
    }
}
