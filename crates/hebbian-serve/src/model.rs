//! What turns images into vectors, and the thread that owns it.

use hebbian_data::{Batch, Size};

use crate::problem::Problem;
use crate::queue::Queue;

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

/// The way to the thread that owns the model.
pub(crate) struct ModelQueue {
    pub(crate) size: Size,
    pub(crate) fingerprint: String,
    pub(crate) card: Card,
    /// From height x width x 3 bytes to a vector.
    pub(crate) queue: Queue<Vec<u8>, Vec<f32>>,
}

impl ModelQueue {
    /// Starts the thread; it ends when this is dropped.
    pub(crate) fn start(model: Model, dim: usize, bound: usize) -> std::io::Result<Self> {
        let Model { size, fingerprint, card, mut embed } = model;
        let answer = move |images: Vec<Vec<u8>>| {
            let n = images.len();
            let (rows, pixels) = ((0..n).collect(), images.concat());
            let batch = Batch { rows, pixels, size, skipped: Vec::new() };
            let vectors = embed.embed(&batch).map_err(Problem::failed);
            let vectors = vectors.and_then(|vectors| match vectors.len() == n * dim {
                true => Ok(vectors),
                false => {
                    let problem = format!("the model's vectors are not the gallery's {dim} long");
                    Err(Problem::failed(problem))
                }
            });
            match vectors {
                Ok(vectors) => vectors.chunks_exact(dim).map(|row| Ok(row.to_vec())).collect(),
                Err(problem) => vec![Err(problem); n],
            }
        };
        let queue = Queue::start("hebbian-serve-model", (bound, BATCH), answer)?;
        Ok(Self { size, fingerprint, card, queue })
    }
}
