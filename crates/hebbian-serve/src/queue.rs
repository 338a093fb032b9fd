//! A thread that answers questions, and takes what has queued up as one batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use tokio::sync::{mpsc, oneshot};

use crate::problem::Problem;

/// A question on its way, and where the answer goes.
struct Job<Q, A> {
    question: Q,
    reply: oneshot::Sender<Result<A, Problem>>,
}

/// The way to a thread that answers questions `Q` with `A`.
pub(crate) struct Queue<Q, A> {
    jobs: mpsc::Sender<Job<Q, A>>,
    counts: Arc<Counts>,
}

/// What a queue has done.
#[derive(Default)]
pub(crate) struct Counts {
    /// Questions that wait.
    pub(crate) waiting: AtomicUsize,
    /// Batches answered.
    pub(crate) batches: AtomicUsize,
    /// Questions in them.
    pub(crate) questions: AtomicUsize,
}

impl<Q: Send + 'static, A: Send + 'static> Queue<Q, A> {
    /// Starts the thread, which ends when this is dropped. `answer` is given at most `batch`
    /// questions and answers all of them, in their order; `bound` more may wait.
    pub(crate) fn start(
        name: &str,
        (bound, batch): (usize, usize),
        mut answer: impl FnMut(Vec<Q>) -> Vec<Result<A, Problem>> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, mut received) = mpsc::channel::<Job<Q, A>>(bound.max(1));
        let counts = Arc::<Counts>::default();
        let own = Arc::clone(&counts);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut taken = Vec::new();
            while received.blocking_recv_many(&mut taken, batch) > 0 {
                own.waiting.fetch_sub(taken.len(), Ordering::Relaxed);
                // Nobody waits for the answer of a request that was given up.
                taken.retain(|job| !job.reply.is_closed());
                if taken.is_empty() {
                    continue;
                }
                own.batches.fetch_add(1, Ordering::Relaxed);
                own.questions.fetch_add(taken.len(), Ordering::Relaxed);
                let jobs = taken.drain(..).map(|job| (job.question, job.reply));
                let (questions, replies): (Vec<_>, Vec<_>) = jobs.unzip();
                for (answer, reply) in answer(questions).into_iter().zip(replies) {
                    // As above.
                    let _ = reply.send(answer);
                }
            }
        })?;
        Ok(Self { jobs, counts })
    }

    /// The answer, once the thread gets to it; status 429 where too many wait.
    pub(crate) async fn ask(&self, question: Q) -> Result<A, Problem> {
        let (reply, answer) = oneshot::channel();
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        if self.jobs.try_send(Job { question, reply }).is_err() {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Problem::busy());
        }
        let stopped = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "this has stopped");
        answer.await.map_err(|_| stopped())?
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }
}
