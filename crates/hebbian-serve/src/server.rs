//! Listening, answering, stopping.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, oneshot};

use crate::app::App;
use crate::guard::Guard;
use crate::labels::Labels;
use crate::metrics::Metrics;
use crate::model::ModelQueue;
use crate::pictures::Pictures;
use crate::scores::Known;
use crate::snapshot::Current;
use crate::{Error, Options, check_token, routes, searches};

/// Most connections; more wait.
const CONNECTIONS: usize = 512;
/// Time in which the headers of a request must have arrived.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks at the gallery on disk.
const POLL: Duration = Duration::from_millis(500);
/// Time that requests under way are given when the server stops.
const FAREWELL: Duration = Duration::from_secs(10);

/// A server that listens already and answers once it is run.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
}

impl Server {
    /// Listens and starts the model's thread.
    ///
    /// # Errors
    /// [`Error`]: the address, the token, the labels.
    pub fn bind(options: Options) -> Result<Self, Error> {
        let Options { gallery, model, listen, token, labels, queue } = options;
        match &token {
            Some(token) => check_token(token)?,
            None if listen.ip().is_loopback() => {}
            None => return Err(Error::Open { address: listen }),
        }
        let labels = Labels::open(labels)?;
        let listener = TcpListener::bind(listen)
            .map_err(|source| Error::Listen { address: listen, source })?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let dim = gallery.info().dim;
        let start = |model| ModelQueue::start(model, dim, queue);
        let app = App {
            current: Current::new(gallery),
            model: model.map(start).transpose()?,
            searches: searches::start(queue)?,
            scores: Known::default(),
            pictures: Pictures::default(),
            labels,
            metrics: Metrics::default(),
            guard: Guard { address, token },
            queue: Arc::new(Semaphore::new(queue.clamp(1, Semaphore::MAX_PERMITS))),
            threads: Arc::new(Semaphore::new(cores)),
        };
        Ok(Self { app: Arc::new(app), listener })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.app.guard.address
    }

    /// The address of its page, with the token where one is needed.
    #[must_use]
    pub fn link(&self) -> String {
        let token = self.app.guard.token.as_ref();
        let token = token.map_or_else(String::new, |token| format!("?token={token}"));
        format!("http://{}/{token}", self.address())
    }

    /// Answers until the process is asked to stop (SIGINT, SIGTERM), then finishes what is under
    /// way.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn run(self) -> Result<(), Error> {
        runtime()?.block_on(async { self.answer(asked_to_stop()).await })
    }

    /// Answers on a thread of its own until what is returned is dropped.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn spawn(self) -> Result<Running, Error> {
        let address = self.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = runtime()?;
        let thread = std::thread::Builder::new().name("hebbian-serve".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(self.answer(async {
                // Dropped or sent, it means the same.
                let _ = stopped.await;
            }))
        })?;
        Ok(Running { address, stop: Some(stop), thread: Some(thread) })
    }

    async fn answer(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let service = TowerToHyperService::new(routes::router(&self.app));
        let poll = tokio::spawn(poll(Arc::clone(&self.app)));
        let graceful = GracefulShutdown::new();
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let mut stop = std::pin::pin!(stop);
        loop {
            let next = async {
                let permit = Arc::clone(&connections).acquire_owned().await;
                (listener.accept().await, permit)
            };
            let (stream, permit) = tokio::select! {
                () = &mut stop => break,
                (Ok((stream, _)), permit) = next => (stream, permit),
                // Such as too many open files: wait for some to be closed.
                else => { tokio::time::sleep(Duration::from_millis(50)).await; continue }
            };
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_buf_size(64 << 10)
                .serve_connection(TokioIo::new(stream), service.clone());
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                let _permit = permit;
                // A client that goes away is no failure.
                let _ = connection.await;
            });
        }
        drop(listener);
        poll.abort();
        // Whoever is slower than this is cut off.
        let _ = tokio::time::timeout(FAREWELL, graceful.shutdown()).await;
        Ok(())
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

async fn asked_to_stop() {
    #[cfg(unix)]
    if let Ok(mut terminate) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        return;
    }
    // Without signals it runs until it is killed.
    let _ = tokio::signal::ctrl_c().await;
}

/// Looks for a new generation of the gallery, for ever.
async fn poll(app: Arc<App>) {
    loop {
        tokio::time::sleep(POLL).await;
        let app = Arc::clone(&app);
        let look = tokio::task::spawn_blocking(move || {
            let before = app.current.get().gallery.manifest().generation;
            if app.current.refresh().is_err() {
                app.metrics.reload_failures.fetch_add(1, Ordering::Relaxed);
            }
            if app.current.get().gallery.manifest().generation != before {
                app.pictures.close();
            }
        });
        // A look that failed is followed by another.
        let _ = look.await;
    }
}

/// A server at work; it stops when this is dropped.
pub struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<Result<(), Error>>>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its error has nobody left to hear it.
            let _ = thread.join();
        }
    }
}
