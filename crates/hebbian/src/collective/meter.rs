//! What the exchange costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::Collective;

/// What was exchanged so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Sums taken over all processes.
    pub calls: u64,
    /// Bytes of the numbers summed up, of one process.
    pub bytes: u64,
    /// Seconds that this took, waiting for the slowest process left out.
    pub seconds: f64,
    /// Seconds of waiting for it.
    pub waited: f64,
}

/// A [`Collective`] that counts bytes and time. To tell the exchange from
/// waiting for others, all processes meet before each sum.
#[derive(Debug)]
pub struct Meter {
    inner: Arc<dyn Collective>,
    calls: AtomicU64,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
    waited: AtomicU64,
}

impl Meter {
    /// Counts what goes through `inner`.
    pub fn new(inner: Arc<dyn Collective>) -> Self {
        let [calls, bytes, nanoseconds, waited] = [const { AtomicU64::new(0) }; 4];
        Self { inner, calls, bytes, nanoseconds, waited }
    }

    /// What was counted since the last call of this.
    pub fn take(&self) -> Traffic {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Traffic {
            calls: take(&self.calls),
            bytes: take(&self.bytes),
            seconds: take(&self.nanoseconds) as f64 * 1e-9,
            waited: take(&self.waited) as f64 * 1e-9,
        }
    }

    fn measure(&self, bytes: usize, sum: impl FnOnce()) {
        let begun = Instant::now();
        self.inner.sum_f64(&mut [0.0]);
        let met = Instant::now();
        sum();
        let add = |counter: &AtomicU64, n: u64| counter.fetch_add(n, Ordering::Relaxed);
        add(&self.calls, 1);
        add(&self.bytes, bytes as u64);
        add(&self.waited, (met - begun).as_nanos() as u64);
        add(&self.nanoseconds, met.elapsed().as_nanos() as u64);
    }
}

impl Collective for Meter {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn sum_f32(&self, values: &mut [f32]) {
        self.measure(size_of_val(values), || self.inner.sum_f32(values));
    }

    fn sum_f64(&self, values: &mut [f64]) {
        self.measure(size_of_val(values), || self.inner.sum_f64(values));
    }

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        self.inner.gather(own)
    }
}
