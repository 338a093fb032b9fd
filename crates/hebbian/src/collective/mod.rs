//! Processes that train one network together: each works on its own part of
//! every batch, and the sums of all are the same for all.
//!
//! What is exchanged are sums over rows, never their quotients, so a step of
//! several processes is the step of one on the whole batch, to rounding.

mod meter;
#[cfg(feature = "mpi")]
mod mpi;
mod threads;

#[cfg(feature = "mpi")]
pub use self::mpi::Mpi;
pub use meter::{Meter, Traffic};
pub use threads::Threads;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use hebbian_data::Share;

/// What processes that train together ask of each other. Every one of them
/// makes the same calls in the same order, with slices of the same length.
///
/// A process that is lost ends all others; none goes on without it.
pub trait Collective: fmt::Debug + Send + Sync {
    /// Which process this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Puts the sums over all processes in place of each number, the same bits
    /// for every process.
    fn sum_f32(&self, values: &mut [f32]);

    /// [`Collective::sum_f32`] in double precision.
    fn sum_f64(&self, values: &mut [f64]);

    /// What every process gives, by rank.
    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>>;

    /// What the first process gives; the others give nothing.
    fn broadcast(&self, of_first: &[u8]) -> Vec<u8> {
        let own = if self.rank() == 0 { of_first } else { &[] };
        self.gather(own).swap_remove(0)
    }

    /// The number that each process gives, by rank.
    fn counts(&self, own: usize) -> Vec<usize> {
        let mut counts = vec![0.0; self.size()];
        counts[self.rank()] = own as f64;
        self.sum_f64(&mut counts);
        counts.iter().map(|&count| count as usize).collect()
    }

    /// The sum of what each process counts.
    fn count(&self, own: usize) -> usize {
        let mut count = [own as f64];
        self.sum_f64(&mut count);
        count[0] as usize
    }

    /// Whether there are others.
    fn is_shared(&self) -> bool {
        self.size() > 1
    }

    /// This process's share of what all work on.
    fn share(&self) -> Share {
        Share::new(self.rank(), self.size()).unwrap_or(Share::ALL)
    }
}

/// The processes that train together, shared by whatever works for them; one
/// process by itself unless said otherwise.
#[derive(Clone, Debug)]
pub struct Group(Arc<dyn Collective>);

impl Group {
    /// Those that `collective` connects.
    pub fn new(collective: impl Collective + 'static) -> Self {
        Self(Arc::new(collective))
    }
}

impl From<Arc<dyn Collective>> for Group {
    fn from(collective: Arc<dyn Collective>) -> Self {
        Self(collective)
    }
}

impl Default for Group {
    fn default() -> Self {
        Self::new(Solo)
    }
}

impl Deref for Group {
    type Target = dyn Collective;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

/// One process by itself; nothing is exchanged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

impl Collective for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum_f32(&self, _: &mut [f32]) {}

    fn sum_f64(&self, _: &mut [f64]) {}

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        vec![own.to_vec()]
    }
}
