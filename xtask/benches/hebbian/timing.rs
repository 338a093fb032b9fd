//! Seconds and memory of one thing, run several times.

use std::time::Instant;

use hebbian::memory;
use serde::{Deserialize, Serialize};

/// What repeated runs took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Timing {
    /// Seconds of each run, in order.
    pub(crate) runs: Vec<f64>,
    /// Most memory of the process meanwhile, in MiB; since its start where the
    /// system does not let the mark be reset.
    pub(crate) peak_mib: Option<f64>,
    /// Memory of the process before, in MiB.
    pub(crate) before_mib: Option<f64>,
}

impl Timing {
    /// Runs `body` once to warm up and then `runs` times by the clock.
    pub(crate) fn of<E>(runs: usize, mut body: impl FnMut() -> Result<(), E>) -> Result<Self, E> {
        reset_peak();
        let before_mib = status_mib("VmRSS");
        body()?;
        let mut seconds = Vec::with_capacity(runs);
        for _ in 0..runs {
            let start = Instant::now();
            body()?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(Self { runs: seconds, peak_mib: status_mib("VmHWM"), before_mib })
    }

    /// Of one of so many steps that each run was made of.
    pub(crate) fn over(mut self, steps: usize) -> Self {
        self.runs.iter_mut().for_each(|seconds| *seconds /= steps as f64);
        self
    }

    /// Adds the runs of the same thing at another time.
    pub(crate) fn add(&mut self, other: Self) {
        self.runs.extend(other.runs);
        self.peak_mib = self.peak_mib.zip(other.peak_mib).map(|(a, b)| a.max(b));
        self.before_mib = self.before_mib.zip(other.before_mib).map(|(a, b)| a.max(b));
    }

    /// Most memory meanwhile beyond what was held before, in MiB.
    pub(crate) fn added_mib(&self) -> Option<f64> {
        Some(self.peak_mib? - self.before_mib?)
    }

    /// `[minimum, median, maximum]` in seconds.
    pub(crate) fn summary(&self) -> [f64; 3] {
        summary(self.runs.clone())
    }
}

/// `[minimum, median, maximum]` of at least one number.
pub(crate) fn summary(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    [values[0], (low + high) / 2.0, values[values.len() - 1]]
}

/// Sets the mark of most memory back to what is in use now; says whether the
/// system allows it.
pub(crate) fn reset_peak() -> bool {
    fs_err::write("/proc/self/clear_refs", "5").is_ok()
}

/// A figure of this process's memory; see [`memory::status_mib`].
pub(crate) fn status_mib(name: &str) -> Option<f64> {
    memory::status_mib(std::process::id(), name)
}
