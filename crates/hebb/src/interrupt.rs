//! Ctrl-C and SIGTERM during a long run: the first asks it to stop, the second
//! ends the program.

use std::fmt;
use std::path::Path;

use anyhow::Result;
use hebbian::train::Stop;

use crate::dashboard::Dashboard;

/// What ended a run, by signal.
#[derive(Debug)]
pub struct Interrupted {
    /// Number of the signal.
    signal: u8,
    /// What is saved, and how to go on.
    message: String,
}

impl Interrupted {
    /// Status that the program ends with, as shells give it to what a signal ends.
    pub fn code(&self) -> u8 {
        128 + self.signal
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Interrupted {}

/// Does `work`, which stops when a signal asks it to; `go_on` says how to go on
/// then. Signals do as ever until here, since before there is nothing to lose.
/// The run in folder `shown`, if there is one, is on the whole terminal meanwhile;
/// `tell` says whether a signal is answered there.
///
/// # Errors
/// [`Interrupted`] if a signal stopped it, or a key, which stands for SIGTERM;
/// what `work` fails with.
pub fn stoppable<T>(
    go_on: &str,
    (shown, tell): (Option<&Path>, bool),
    work: impl FnOnce(Stop) -> Result<T>,
) -> Result<T> {
    let stop = Stop::default();
    let signals = system::Signals::listen(&stop, tell)?;
    let dashboard = shown.map(|run| Dashboard::start(run, stop.clone())).transpose()?;
    let result = work(stop);
    drop(dashboard);
    let signal = signals.end();
    result.map_err(|error| match error.downcast_ref::<hebbian::Error>() {
        Some(stopped @ hebbian::Error::Stopped { .. }) => {
            let message = format!("{stopped}; {go_on}");
            Interrupted { signal: signal.unwrap_or(SIGTERM), message }.into()
        }
        _ => error,
    })
}

/// Number of the signal that a key stands for.
const SIGTERM: u8 = 15;

#[cfg(unix)]
mod system {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::thread::JoinHandle;

    use anyhow::{Context, Result};
    use hebbian::train::Stop;
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Handle;

    /// A thread that waits for signals.
    pub(super) struct Signals {
        first: Arc<AtomicU8>,
        handle: Handle,
        thread: JoinHandle<()>,
    }

    impl Signals {
        /// Begins to listen; `tell` says whether there is somewhere to say so.
        pub(super) fn listen(stop: &Stop, tell: bool) -> Result<Self> {
            let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
                .context("signals can't be listened for")?;
            let (handle, first) = (signals.handle(), Arc::new(AtomicU8::new(0)));
            let (stop, seen) = (stop.clone(), Arc::clone(&first));
            let listen = move || {
                for signal in signals.forever() {
                    let signal = signal as u8;
                    if seen.swap(signal, Ordering::Relaxed) != 0 {
                        crate::dashboard::restore();
                        std::process::exit(128 + i32::from(signal));
                    }
                    stop.ask();
                    if tell {
                        crate::ui::clear_line();
                        eprintln!("stopping after the step in hand; once more ends it at once");
                    }
                }
            };
            let thread = std::thread::Builder::new().name("hebb-signals".to_owned());
            let thread = thread.spawn(listen).context("no thread for signals could be started")?;
            Ok(Self { first, handle, thread })
        }

        /// Ends the thread; the signal that came, if one did.
        pub(super) fn end(self) -> Option<u8> {
            self.handle.close();
            // It does not panic.
            let _ = self.thread.join();
            Some(self.first.load(Ordering::Relaxed)).filter(|&signal| signal != 0)
        }
    }
}

#[cfg(not(unix))]
mod system {
    use anyhow::Result;
    use hebbian::train::Stop;

    /// Nothing: a signal ends the program, and its last checkpoint is there.
    pub(super) struct Signals;

    impl Signals {
        pub(super) fn listen(_: &Stop, _: bool) -> Result<Self> {
            Ok(Self)
        }

        pub(super) fn end(self) -> Option<u8> {
            None
        }
    }
}
