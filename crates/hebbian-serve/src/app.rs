//! What all requests share.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::guard::Guard;
use crate::labels::Labels;
use crate::metrics::Metrics;
use crate::model::ModelQueue;
use crate::pictures::Pictures;
use crate::problem::Problem;
use crate::scores::Known;
use crate::searches::SearchQueue;
use crate::snapshot::Current;

/// What all requests share.
pub(crate) struct App {
    pub(crate) current: Current,
    pub(crate) model: Option<ModelQueue>,
    pub(crate) searches: SearchQueue,
    pub(crate) scores: Known,
    pub(crate) pictures: Pictures,
    pub(crate) labels: Labels,
    pub(crate) metrics: Metrics,
    pub(crate) guard: Guard,
    /// A permit for every search under way or waiting.
    pub(crate) queue: Arc<Semaphore>,
    /// A permit for every thread at work: decoding, reading the gallery.
    pub(crate) threads: Arc<Semaphore>,
}

impl App {
    /// A place in the queue of searches, or status 429.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.queue).try_acquire_owned().map_err(|_| Problem::busy())
    }

    /// Runs what takes time on a thread of its own, as many at once as there are cores. The thread
    /// goes on, and counts, should the request be given up.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let threads = Arc::clone(&self.threads);
        let permit = threads.acquire_owned().await.map_err(Problem::failed)?;
        let app = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&app)
        });
        // A decoder that panics is stopped by what it read.
        work.await.map_err(|_| Problem::unusable("this can't be read"))?
    }
}
