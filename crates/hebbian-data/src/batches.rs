//! Decoding in parallel and ahead of the consumer.

use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};

use crate::ahead::{Ahead, Read};
use crate::{Error, Images, Order, Result, Share, Size};

/// Batches decoded ahead of the one in use.
const AHEAD: usize = 2;
/// Images in a row that the system may refuse before the data counts as lost:
/// a few files may be, a disk that is gone is not a few files.
const REFUSED: usize = 64;

/// Decoded images of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Positions in the [`Images`] of the images that decoded.
    pub rows: Vec<usize>,
    /// rows x height x width x 3, RGB interleaved.
    pub pixels: Vec<u8>,
    /// Of every image.
    pub size: Size,
    /// The images that were left out.
    pub skipped: Vec<Skipped>,
}

/// An image that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its position in the [`Images`].
    pub row: usize,
    /// Its name.
    pub id: String,
    /// Why it could not be used.
    pub reason: String,
}

/// The images of `order`, `batch_size` at a time, in that order.
///
/// Decoded in parallel, at most two batches ahead; images that lie in shards are
/// read by a thread of its own, from front to back, a window ahead. An image that
/// can't be read is left out of its batch and told by [`Batch::skipped`]; a
/// batch may be left with none, so that the n-th batch is always the same. The
/// iterator yields an error, and then ends, for a position out of range, a batch
/// size of 0, a size out of range, when the data is lost ([`Error::Lost`]), or
/// when not one image of a whole order could be read.
pub fn batches(images: &Images, order: Order, batch_size: usize, size: Size) -> Batches {
    shared_batches(images, order, batch_size, Share::ALL, size)
}

/// A process's share of each of these batches, which may be no image at all, so
/// that the n-th batch of every process is part of the same one. Where there are
/// others, that no image could be read is left to be found out by all together.
pub fn shared_batches(
    images: &Images,
    order: Order,
    batch_size: usize,
    share: Share,
    size: Size,
) -> Batches {
    let (send, receive) = sync_channel(AHEAD);
    let images = images.clone();
    let decoder = std::thread::Builder::new().name("hebbian-batches".to_owned()).spawn({
        let send = send.clone();
        move || {
            let mut decoder = Decoder { images, size, read: 0, first: None, refused: 0 };
            let run = || -> Result<()> {
                check(&decoder.images, order.rows(), batch_size, size)?;
                let whole = order.len();
                let order = order.share(batch_size, share);
                let (asked, is_whole) = (order.len(), order.is_whole());
                let pixels = decoder.images.are_cached(size);
                let mut ahead = Ahead::start(&decoder.images, order, pixels)?;
                for start in (0..whole).step_by(batch_size) {
                    let own = share.rows(batch_size.min(whole - start)).len();
                    let batch = decoder.decode(ahead.take(own)?)?;
                    // The consumer has gone: nothing is left to do.
                    if send.send(Ok(batch)).is_err() {
                        return Ok(());
                    }
                }
                // A part says nothing about the others.
                if is_whole { decoder.finish(asked) } else { Ok(()) }
            };
            if let Err(error) = run() {
                // Likewise.
                let _ = send.send(Err(error));
            }
        }
    });
    let decoder = match decoder {
        Ok(thread) => Some(thread),
        Err(error) => {
            let problem = format!("no thread for decoding could be started ({error})");
            // The channel is empty and has room.
            let _ = send.send(Err(Error::Internal { problem }));
            None
        }
    };
    Batches { receive: Some(receive), decoder, skipped: Vec::new() }
}

/// The iterator that [`batches`] returns.
pub struct Batches {
    receive: Option<Receiver<Result<Batch>>>,
    decoder: Option<JoinHandle<()>>,
    skipped: Vec<Skipped>,
}

impl Batches {
    /// The images left out of the batches yielded so far.
    pub fn skipped(&self) -> Vec<Skipped> {
        self.skipped.clone()
    }

    fn stop(&mut self) -> Result<()> {
        // The decoder's next send fails once the receiver is gone.
        self.receive = None;
        match self.decoder.take().map(JoinHandle::join) {
            Some(Err(_)) => {
                Err(Error::Internal { problem: "decoding a batch panicked".to_owned() })
            }
            _ => Ok(()),
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.receive.as_ref()?.recv() {
            Ok(Ok(batch)) => {
                self.skipped.extend_from_slice(&batch.skipped);
                Some(Ok(batch))
            }
            Ok(Err(error)) => Some(Err(self.stop().err().unwrap_or(error))),
            Err(_) => self.stop().err().map(Err),
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // A panic of the decoder was already printed by its thread.
        let _ = self.stop();
    }
}

fn check(images: &Images, order: &[usize], batch_size: usize, size: Size) -> Result<()> {
    size.check()?;
    if batch_size == 0 {
        let must = "it must be at least 1".to_owned();
        return Err(Error::Parameter { name: "batch_size", value: "0".to_owned(), must });
    }
    match order.iter().find(|&&row| row >= images.len()) {
        Some(&row) => Err(Error::RowOutOfRange { row, len: images.len() }),
        None => Ok(()),
    }
}

struct Decoder {
    images: Images,
    size: Size,
    read: usize,
    first: Option<Skipped>,
    /// Images in a row that the system refused.
    refused: usize,
}

impl Decoder {
    fn decode(&mut self, images: Vec<Read>) -> Result<Batch> {
        let (size, bytes) = (self.size, self.size.bytes());
        let mut pixels = vec![0; images.len() * bytes];
        let decoded: Vec<(usize, Option<Error>)> = pool()?.install(|| {
            let each = images.into_par_iter().zip(pixels.par_chunks_mut(bytes));
            each.map(|((row, stored), out)| {
                let decoded = self.images.decode_into(row, stored, size, out);
                (row, decoded.err())
            })
            .collect()
        });
        let mut kept = Vec::with_capacity(decoded.len());
        let mut skipped = Vec::new();
        for (position, (row, failure)) in decoded.into_iter().enumerate() {
            match failure {
                Some(error) => {
                    let id = self.images.id(row);
                    let error = self.check_lost(&id, error)?;
                    skipped.push(Skipped { row, id, reason: reason(error) });
                }
                None => {
                    self.refused = 0;
                    let from = position * bytes;
                    pixels.copy_within(from..from + bytes, kept.len() * bytes);
                    kept.push(row);
                }
            }
        }
        pixels.truncate(kept.len() * bytes);
        self.read += kept.len();
        self.first = self.first.take().or_else(|| skipped.first().cloned());
        Ok(Batch { rows: kept, pixels, size, skipped })
    }

    /// Whether what kept image `id` from being read ends the work.
    fn check_lost(&mut self, id: &str, error: Error) -> Result<Error> {
        match error {
            Error::Lost { .. } => return Err(error),
            Error::Io { .. } => self.refused += 1,
            _ => self.refused = 0,
        }
        if self.refused < REFUSED {
            return Ok(error);
        }
        let problem = format!("and the {} images before it can't be read ({error})", REFUSED - 1);
        Err(Error::Lost { what: id.to_owned(), problem })
    }

    fn finish(self, asked: usize) -> Result<()> {
        match self.first {
            Some(Skipped { id: first, reason, .. }) if self.read == 0 => {
                Err(Error::NothingReadable { asked, first, reason })
            }
            _ => Ok(()),
        }
    }
}

/// What to record about an image that was left out: its id stands beside.
pub(crate) fn reason(error: Error) -> String {
    match error {
        Error::Unreadable { reason, .. } => reason,
        error => error.to_string(),
    }
}

/// The threads that decode. They are apart from rayon's global pool, whose
/// threads may all be waiting for a batch.
pub(crate) fn pool() -> Result<&'static ThreadPool> {
    static POOL: OnceLock<std::result::Result<ThreadPool, String>> = OnceLock::new();
    let build = || {
        let name = |n| format!("hebbian-decode-{n}");
        ThreadPoolBuilder::new().thread_name(name).build().map_err(|e| e.to_string())
    };
    POOL.get_or_init(build).as_ref().map_err(|e| Error::Internal {
        problem: format!("no threads for decoding could be started ({e})"),
    })
}
