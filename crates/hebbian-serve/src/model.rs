//! What turns images into vectors, and the thread that owns it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use hebbian_data::{Batch, Size};
use tokio::sync::{mpsc, oneshot};

use crate::problem::Problem;

/// Most images computed at once.
const BATCH: usize = 64;

/// Turns images into vectors.
pub trait Embed: Send {
    /// The vectors of a batch.
    ///
    /// # Shapes
    /// Returns rows x dim of the gallery.
    ///
    /// # Errors
    /// A sentence.
    fn embed(&mut self, batch: &Batch) -> Result<Vec<f32>, String>;
}

/// What turns uploads into vectors, and what is told about it.
pub struct Model {
    /// Size of the images it takes.
    pub size: Size,
    /// Its fingerprint, which is that of the gallery.
    pub fingerprint: String,
    /// What the page shows.
    pub card: Card,
    /// It itself.
    pub embed: Box<dyn Embed>,
}

/// A model in words and one picture.
#[derive(Clone, Debug, Default)]
pub struct Card {
    /// Names and values, in the order to be shown.
    pub facts: Vec<(String, String)>,
    /// The filters of the first layer as a PNG.
    pub filters: Option<Vec<u8>>,
}

struct Job {
    pixels: Vec<u8>,
    reply: oneshot::Sender<Result<Vec<f32>, String>>,
}

/// The way to the thread that owns the model.
pub(crate) struct ModelQueue {
    pub(crate) size: Size,
    pub(crate) fingerprint: String,
    pub(crate) card: Card,
    jobs: mpsc::Sender<Job>,
    waiting: Arc<AtomicUsize>,
}

impl ModelQueue {
    /// Starts the thread; it ends when this is dropped.
    pub(crate) fn start(model: Model, dim: usize, bound: usize) -> std::io::Result<Self> {
        let Model { size, fingerprint, card, embed } = model;
        let (jobs, receive) = mpsc::channel(bound.max(1));
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        std::thread::Builder::new()
            .name("hebbian-serve-model".to_owned())
            .spawn(move || work(embed, size, dim, receive, &left))?;
        Ok(Self { size, fingerprint, card, jobs, waiting })
    }

    /// The vector of an image of height x width x 3 bytes.
    pub(crate) async fn embed(&self, pixels: Vec<u8>) -> Result<Vec<f32>, Problem> {
        let (reply, answer) = oneshot::channel();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.jobs.try_send(Job { pixels, reply }).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Problem::busy());
        }
        let stopped = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the model has stopped");
        answer.await.map_err(|_| stopped())?.map_err(Problem::failed)
    }

    /// Images that wait for the model.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// Takes what has queued up as one batch, again and again.
fn work(
    mut embed: Box<dyn Embed>,
    size: Size,
    dim: usize,
    mut jobs: mpsc::Receiver<Job>,
    waiting: &AtomicUsize,
) {
    while let Some(first) = jobs.blocking_recv() {
        let mut taken = vec![first];
        while taken.len() < BATCH {
            match jobs.try_recv() {
                Ok(job) => taken.push(job),
                Err(_) => break,
            }
        }
        waiting.fetch_sub(taken.len(), Ordering::Relaxed);
        // Nobody waits for the answer of a request that was given up.
        taken.retain(|job| !job.reply.is_closed());
        let pixels = taken.iter().flat_map(|job| job.pixels.iter().copied()).collect();
        let batch = Batch { rows: (0..taken.len()).collect(), pixels, size };
        if taken.is_empty() {
            continue;
        }
        let vectors =
            embed.embed(&batch).and_then(|vectors| match vectors.len() == taken.len() * dim {
                true => Ok(vectors),
                false => Err(format!("the model's vectors are not the gallery's {dim} long")),
            });
        for (row, job) in taken.into_iter().enumerate() {
            let vector = match &vectors {
                Ok(vectors) => Ok(vectors[row * dim..(row + 1) * dim].to_vec()),
                Err(problem) => Err(problem.clone()),
            };
            // As above.
            let _ = job.reply.send(vector);
        }
    }
}
