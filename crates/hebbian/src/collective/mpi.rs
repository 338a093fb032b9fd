//! Processes that MPI started, on one machine or many.

use std::fmt;
use std::sync::Mutex;

use ::mpi::Threading;
use ::mpi::collective::SystemOperation;
use ::mpi::datatype::Equivalence;
use ::mpi::environment::{Universe, initialize_with_threading};
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, CommunicatorCollectives, Root};

use super::Collective;
use crate::{Error, Result};

/// Numbers summed up in one go: few enough to stay in cache, enough to fill
/// a network's pipe.
const AT_ONCE: usize = 1 << 20;
/// Bytes sent in one go, since MPI counts in 32 bits.
const BYTES_AT_ONCE: usize = 1 << 28;

/// All processes of an MPI job. Dropping it takes leave of the others, for
/// which it waits.
///
/// An error inside MPI, a lost process among them, ends the whole job.
pub struct Mpi {
    rank: usize,
    size: usize,
    /// Where sums arrive, and that only one thread calls at a time.
    arrived: Mutex<(Vec<f32>, Vec<f64>)>,
    _universe: Universe,
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mpi({} of {})", self.rank, self.size)
    }
}

impl Mpi {
    /// Joins the job that this process was started in; a process started by
    /// itself is a job of its own.
    ///
    /// # Errors
    /// If MPI is in use already, or cannot be called from one thread among
    /// many.
    pub fn start() -> Result<Self> {
        let Some((universe, threading)) = initialize_with_threading(Threading::Serialized) else {
            return Err(Error::Device("MPI is in use already".into()));
        };
        if threading < Threading::Serialized {
            let problem = "this MPI library cannot be called from a program with threads; use one \
                           that has MPI_THREAD_SERIALIZED";
            return Err(Error::Device(problem.into()));
        }
        let world = universe.world();
        let number = |n: i32| usize::try_from(n).unwrap_or_default();
        let (rank, size) = (number(world.rank()), number(world.size()));
        Ok(Self { rank, size, arrived: Mutex::default(), _universe: universe })
    }

    /// Ends all processes with this exit code.
    pub fn abort(&self, code: i32) -> ! {
        SimpleCommunicator::world().abort(code)
    }

    fn sum<T: Equivalence + Copy + Default>(arrived: &mut Vec<T>, values: &mut [T]) {
        let world = SimpleCommunicator::world();
        arrived.resize(values.len().min(AT_ONCE), T::default());
        for part in values.chunks_mut(AT_ONCE) {
            let arrived = &mut arrived[..part.len()];
            world.all_reduce_into(&*part, arrived, SystemOperation::sum());
            part.copy_from_slice(arrived);
        }
    }

    fn arrived(&self) -> std::sync::MutexGuard<'_, (Vec<f32>, Vec<f64>)> {
        self.arrived.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum_f32(&self, values: &mut [f32]) {
        Self::sum(&mut self.arrived().0, values);
    }

    fn sum_f64(&self, values: &mut [f64]) {
        Self::sum(&mut self.arrived().1, values);
    }

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        let _one_at_a_time = self.arrived();
        let world = SimpleCommunicator::world();
        let of = |rank: usize| {
            let root = world.process_at_rank(rank as i32);
            let mut bytes = if rank == self.rank { own.to_vec() } else { Vec::new() };
            let mut len = bytes.len() as u64;
            root.broadcast_into(&mut len);
            bytes.resize(len as usize, 0);
            bytes.chunks_mut(BYTES_AT_ONCE).for_each(|part| root.broadcast_into(part));
            bytes
        };
        (0..self.size).map(of).collect()
    }
}
