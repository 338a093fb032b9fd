//! What a run has written down so far, read as it grows.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hebbian::train::curves;
use serde_json::Value;

/// Lines that the pace is measured over.
const RECENT: usize = 20;

/// Points of a curve: step and value.
pub type Points = Vec<(f64, f64)>;

/// A run as its folder tells it.
#[derive(Default)]
pub struct History {
    run: PathBuf,
    /// Bytes of `metrics.jsonl` that were read.
    read: u64,
    /// The latest line.
    pub last: Value,
    /// By name; those of layers as `change/L1`.
    pub curves: BTreeMap<String, Points>,
    /// When which step was done, in seconds since 1970.
    times: Vec<(f64, f64)>,
    /// Step of the last checkpoint, and when it was written.
    pub checkpoint: Option<(usize, SystemTime)>,
    /// Whether the model is there.
    pub finished: bool,
}

impl History {
    /// The run in a folder; nothing is read yet.
    pub fn of(run: &Path) -> Self {
        Self { run: run.to_owned(), ..Self::default() }
    }

    /// Its folder.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// If what is there can't be read; a run that has not begun has nothing.
    pub fn refresh(&mut self) -> io::Result<()> {
        self.checkpoint = last_checkpoint(&self.run.join("checkpoints"));
        self.finished = self.run.join("model/model.toml").is_file();
        let mut file = match std::fs::File::open(self.run.join("metrics.jsonl")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        if file.metadata()?.len() < self.read {
            // It was resumed from a checkpoint, and forgot what came after.
            self.forget();
        }
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // The rest is being written.
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        self.read += whole as u64;
        for line in bytes[..whole].split(|&byte| byte == b'\n') {
            let Ok(line) = serde_json::from_slice::<Value>(line) else { continue };
            let Some(step) = line["step"].as_f64() else { continue };
            if step < self.number("step").unwrap_or(0.0) {
                self.forget();
                return self.refresh();
            }
            self.take(step, line);
        }
        Ok(())
    }

    fn forget(&mut self) {
        *self = Self::of(&self.run);
    }

    fn take(&mut self, step: f64, line: Value) {
        for (name, value) in curves(&line) {
            self.curves.entry(name).or_default().push((step, value));
        }
        self.times.extend(line["time"].as_f64().map(|time| (step, time)));
        self.last = line;
    }

    /// A number of the latest line.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.last[key].as_f64()
    }

    /// The curves called `name`, or `name/L1` and so on, by their last part.
    pub fn family<'a>(&'a self, name: &'a str) -> Vec<(&'a str, &'a Points)> {
        let own = self.curves.iter().filter_map(|(curve, points)| {
            let rest = curve.strip_prefix(name)?;
            let layer = rest.strip_prefix('/');
            (rest.is_empty() || layer.is_some()).then(|| (layer.unwrap_or(name), points))
        });
        let mut own: Vec<_> = own.collect();
        // L2 comes before L10.
        own.sort_by_key(|(name, _)| (name.len(), *name));
        own
    }

    /// Seconds a step, over the latest lines.
    fn pace(&self) -> Option<f64> {
        let recent = &self.times[self.times.len().saturating_sub(RECENT)..];
        let (&(from, since), &(to, until)) = (recent.first()?, recent.last()?);
        (to > from).then(|| (until - since) / (to - from)).filter(|pace| *pace > 0.0)
    }

    /// Seconds since the latest line.
    pub fn silence(&self, now: SystemTime) -> Option<f64> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64();
        Some((now - self.times.last()?.1).max(0.0))
    }

    /// Whether it seems to go on: it is not finished, and the next line not long overdue.
    pub fn goes_on(&self, now: SystemTime) -> bool {
        let patience = 60.0 + 50.0 * self.pace().unwrap_or(0.0);
        !self.finished && self.silence(now).is_none_or(|silence| silence < patience)
    }

    /// Seconds left, by the pace of late.
    pub fn left(&self, now: SystemTime) -> Option<f64> {
        let steps = self.number("steps")? - self.number("step")?;
        Some((steps * self.pace()? - self.silence(now)?).max(0.0))
    }
}

fn last_checkpoint(folder: &Path) -> Option<(usize, SystemTime)> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let of = |entry: std::fs::DirEntry| {
        let step: usize = entry.file_name().to_str()?.parse().ok()?;
        Some((step, entry.path().join("state.toml").metadata().ok()?.modified().ok()?))
    };
    entries.filter_map(of).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: usize, time: f64, change: f64) -> String {
        format!("{{\"step\":{step},\"steps\":100,\"time\":{time},\"change\":[null,{change}]}}\n")
    }

    #[test]
    fn a_run_is_read_as_it_grows_and_again_when_it_was_resumed() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = History::of(folder.path());
        history.refresh().unwrap();
        assert_eq!(history.number("step"), None);
        let path = folder.path().join("metrics.jsonl");
        let half = &line(20, 1010.0, 0.25)[..9];
        std::fs::write(&path, line(10, 1000.0, 0.5) + half).unwrap();
        history.refresh().unwrap();
        assert_eq!(history.family("change"), [("L2", &vec![(10.0, 0.5)])]);
        let lines = line(10, 1000.0, 0.5) + &line(20, 1010.0, 0.25);
        std::fs::write(&path, &lines).unwrap();
        history.refresh().unwrap();
        assert_eq!(history.curves["change/L2"].last(), Some(&(20.0, 0.25)));
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1015);
        // A second a step, of which 80 are left, five seconds ago.
        assert_eq!(history.left(now), Some(75.0));
        assert!(history.goes_on(now));
        assert!(!history.goes_on(now + std::time::Duration::from_secs(200)));
        // Resumed from step 10, with longer lines than before.
        let longer = line(10, 1000.0, 0.5) + &line(15, 2000.0, 0.123_456_789_012_345);
        std::fs::write(&path, longer + &line(16, 2001.0, 0.125)).unwrap();
        history.refresh().unwrap();
        let points: Vec<f64> = history.curves["change/L2"].iter().map(|point| point.0).collect();
        assert_eq!(points, [10.0, 15.0, 16.0]);
    }
}
