//! Time spent on a piece of work, over all processes that had a part in it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hebbian::error::Result;
use hebbian::network::write_atomically;

/// How often the time so far is written down, for the next process.
const EVERY: Duration = Duration::from_secs(5);

/// A clock that goes on where a killed process left it.
pub(crate) struct Stopwatch {
    path: PathBuf,
    earlier: f64,
    since: Instant,
    written: Instant,
}

impl Stopwatch {
    /// The clock of the work in `folder`.
    pub(crate) fn open(folder: &Path) -> Self {
        let path = folder.join("seconds");
        // A clock that can't be read is one that starts at 0.
        let text = fs_err::read_to_string(&path).unwrap_or_default();
        let earlier = text.trim().parse().ok().filter(|s: &f64| s.is_finite() && *s >= 0.0);
        let now = Instant::now();
        Self { path, earlier: earlier.unwrap_or(0.0), since: now, written: now }
    }

    /// Seconds so far.
    pub(crate) fn seconds(&self) -> f64 {
        self.earlier + self.since.elapsed().as_secs_f64()
    }

    /// Writes the time so far, now and then.
    pub(crate) fn tick(&mut self) -> Result<()> {
        if self.written.elapsed() < EVERY {
            return Ok(());
        }
        self.written = Instant::now();
        write_atomically(&self.path, format!("{:.1}\n", self.seconds()).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Stopwatch::open(folder.path()).seconds() < 1.0);
        std::fs::write(folder.path().join("seconds"), "120.5\n").unwrap();
        assert!((120.5..122.0).contains(&Stopwatch::open(folder.path()).seconds()));
        std::fs::write(folder.path().join("seconds"), "-inf").unwrap();
        assert!(Stopwatch::open(folder.path()).seconds() < 1.0);
    }
}
