//! When a run writes checkpoints, and when it stops.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often checkpoints are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// When so much time has gone by since the last one.
    Time(Duration),
    /// At every multiple of so many steps.
    Steps(usize),
}

impl Default for Every {
    /// Once a minute.
    fn default() -> Self {
        Self::Time(Duration::from_secs(60))
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(f, "{}s", time.as_secs_f64()),
            Self::Steps(steps) => write!(f, "{steps}steps"),
        }
    }
}

impl FromStr for Every {
    type Err = String;

    /// `90` or `90s`, `10m`, `2h`, `500steps`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digit = |c: char| c.is_ascii_digit() || c == '.';
        let (number, unit) = text.split_at(text.find(|c| !digit(c)).unwrap_or(text.len()));
        let seconds = match unit.trim() {
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "step" | "steps" => {
                let steps = number.parse().ok().filter(|&steps| steps > 0);
                return steps.map(Self::Steps).ok_or_else(|| wrong(text));
            }
            _ => return Err(wrong(text)),
        };
        let time = number.parse::<f64>().ok();
        let time = time.and_then(|time| Duration::try_from_secs_f64(seconds * time).ok());
        time.map(Self::Time).ok_or_else(|| wrong(text))
    }
}

fn wrong(text: &str) -> String {
    format!("'{text}' is neither a time (90s, 10m, 2h) nor a number of steps (500steps)")
}

/// Asks runs to stop: after the step in hand they save a checkpoint and end with
/// [`crate::Error::Stopped`]. Clones ask the same runs.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks, from any thread.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_steps() {
        let seconds = |s| Ok(Every::Time(Duration::from_secs_f64(s)));
        for (text, want) in [
            ("60", seconds(60.0)),
            ("0", seconds(0.0)),
            ("0.5s", seconds(0.5)),
            ("10m", seconds(600.0)),
            ("1.5 h", seconds(5400.0)),
            ("500steps", Ok(Every::Steps(500))),
            ("1 step", Ok(Every::Steps(1))),
        ] {
            assert_eq!(text.parse::<Every>(), want, "{text}");
        }
        for text in ["", "s", "-1", "nan", "inf", "5d", "0steps", "1.5steps", "1e999", "1.1.1"] {
            let error = text.parse::<Every>().unwrap_err();
            assert!(error.contains("500steps"), "{text}: {error}");
        }
        for every in [Every::default(), Every::Steps(7)] {
            assert_eq!(every.to_string().parse(), Ok(every));
        }
    }
}
