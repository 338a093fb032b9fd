//! One command run by several processes at once, as `mpirun` starts them.

#[cfg(feature = "mpi")]
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};
use hebbian::Error;
use hebbian::collective::Group;

/// What launchers tell the processes they start: of Open MPI, and of MPICH, Intel
/// MPI and Slurm.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// The processes that do the same command together.
pub struct Processes {
    group: Group,
}

impl Processes {
    /// Those that this one was started with.
    ///
    /// # Errors
    /// If there are others and this build cannot speak with them.
    pub fn join() -> Result<Self> {
        let size = SIZES.iter().find_map(|name| std::env::var(name).ok()?.parse::<usize>().ok());
        Ok(Self { group: connect(size.unwrap_or(1))? })
    }

    /// This one by itself.
    pub fn alone() -> Self {
        Self { group: Group::default() }
    }

    /// What connects them.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Whether this is the one that writes and speaks for all.
    pub fn is_first(&self) -> bool {
        self.group.rank() == 0
    }

    /// Goes on if all of them can.
    ///
    /// # Errors
    /// Of the first that fails, its error; the others wait to be ended by it.
    pub fn agree<T>(&self, own: Result<T>) -> Result<T> {
        let (own, value) = match own {
            Ok(value) => (Ok(Vec::new()), Some(value)),
            Err(error) => (Err(error), None),
        };
        self.exchange(own)?;
        value.ok_or_else(|| anyhow!("a process failed without an error"))
    }

    /// What the first one makes of `make`, in bytes, for all.
    ///
    /// # Errors
    /// As [`Processes::agree`].
    pub fn of_first(&self, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let own = if self.is_first() { make() } else { Ok(Vec::new()) };
        Ok(self.exchange(own)?.swap_remove(0))
    }

    /// The first one does it, then the others, which find what it has made.
    ///
    /// # Errors
    /// As [`Processes::agree`].
    pub fn first_alone<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        let done = if self.is_first() { work().map(Some) } else { Ok(None) };
        match self.agree(done)? {
            Some(done) => Ok(done),
            None => work(),
        }
    }

    /// Checks that all see the same.
    ///
    /// # Errors
    /// That one sees other `what`; as [`Processes::agree`].
    pub fn check_same(&self, what: &str, own: &str) -> Result<()> {
        let all = self.exchange(Ok(own.as_bytes().to_vec()))?;
        match all.iter().position(|other| *other != all[0]) {
            None => Ok(()),
            Some(rank) => self.agree(Err(Error::Data(format!(
                "process {rank} has other {what} than process 0; start all with the same command \
                 and the same data"
            ))
            .into())),
        }
    }

    /// What each has, by rank.
    fn exchange(&self, own: Result<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        let (failed, given) = match &own {
            Ok(bytes) => (false, bytes.as_slice()),
            Err(_) => (true, &[][..]),
        };
        let all = self.group.gather(&[&[u8::from(failed)], given].concat());
        let has_failed = |of_one: &Vec<u8>| of_one.first() != Some(&0);
        match all.iter().position(has_failed) {
            None => Ok(all.into_iter().map(|mut of_one| of_one.split_off(1)).collect()),
            Some(first) if first == self.group.rank() => own.map(|_| Vec::new()),
            // That one says what is wrong, and ends all.
            Some(_) => loop {
                std::thread::park();
            },
        }
    }
}

/// The MPI job that this process is part of.
#[cfg(feature = "mpi")]
static JOB: Mutex<Option<Arc<hebbian::collective::Mpi>>> = Mutex::new(None);

#[cfg(feature = "mpi")]
fn connect(size: usize) -> Result<Group> {
    use hebbian::collective::{Collective, Mpi};

    if size == 1 {
        return Ok(Group::default());
    }
    let mpi = Arc::new(Mpi::start()?);
    *JOB.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&mpi));
    Ok(Group::from(mpi as Arc<dyn Collective>))
}

#[cfg(not(feature = "mpi"))]
fn connect(size: usize) -> Result<Group> {
    if size == 1 {
        return Ok(Group::default());
    }
    let problem = format!(
        "was started as {size} processes, but this program was built without MPI; build it with \
         `--features mpi`, or start it once"
    );
    Err(Error::config("hebb", problem).into())
}

/// Which process speaks, for its messages: nothing where there is one.
#[cfg(feature = "mpi")]
pub fn whose() -> String {
    use hebbian::collective::Collective;

    let job = JOB.lock().unwrap_or_else(PoisonError::into_inner);
    job.as_ref()
        .map_or_else(String::new, |job| format!(" (process {} of {})", job.rank(), job.size()))
}

#[cfg(not(feature = "mpi"))]
pub fn whose() -> String {
    String::new()
}

/// Ends this process's part: takes leave of the others, or, where it has failed,
/// ends them too.
#[cfg(feature = "mpi")]
pub fn leave(code: u8) {
    let job = JOB.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(job) = job.filter(|_| code != 0) {
        job.abort(code.into());
    }
}

#[cfg(not(feature = "mpi"))]
pub fn leave(_: u8) {}
