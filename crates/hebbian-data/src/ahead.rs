//! Reading ahead of the decoders.

use std::sync::mpsc::{Receiver, sync_channel};
use std::vec;

use crate::order::Order;
use crate::source::Stored;
use crate::{Error, Images, Result};

/// An image and, where it lies in a shard, what is stored of it.
pub(crate) type Read = (usize, Option<Result<Stored<'static>>>);

/// Images in an order. Those that lie in shards are read by a thread of its own,
/// a window ahead of the one in use; others are left to whoever decodes them.
pub(crate) struct Ahead {
    /// Positions not yet given out.
    left: usize,
    from: From,
}

enum From {
    Anywhere(vec::IntoIter<usize>),
    Shards { windows: Receiver<Vec<Read>>, window: vec::IntoIter<Read> },
}

impl Ahead {
    /// Begins to read; `pixels` says that no image files are needed, since
    /// decoded pixels are kept.
    pub(crate) fn start(images: &Images, mut order: Order, pixels: bool) -> Result<Self> {
        let left = order.len();
        if pixels || !images.in_shards() {
            return Ok(Self { left, from: From::Anywhere(order.rows().to_vec().into_iter()) });
        }
        // No room: with the window that waits to be taken and the one in use there are two.
        let (send, windows) = sync_channel(0);
        let images = images.clone();
        let read = move || {
            while let Some(rows) = order.take_window(&images) {
                let stored = images.stored_many(rows).into_iter().map(Some);
                let window = rows.iter().copied().zip(stored).collect();
                // Nobody waits any more: nothing is left to do.
                if send.send(window).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("hebbian-read".to_owned()).spawn(read);
        thread.map_err(|error| Error::Internal {
            problem: format!("no thread for reading could be started ({error})"),
        })?;
        Ok(Self { left, from: From::Shards { windows, window: Vec::new().into_iter() } })
    }

    /// The next `n` images, or those that are left.
    pub(crate) fn take(&mut self, n: usize) -> Result<Vec<Read>> {
        let n = n.min(self.left);
        let mut found = Vec::with_capacity(n);
        while found.len() < n {
            match &mut self.from {
                From::Anywhere(rows) => found.extend(rows.take(n).map(|row| (row, None))),
                From::Shards { windows, window } => {
                    found.extend(window.take(n - found.len()));
                    if found.len() < n {
                        let next = windows.recv().map_err(|_| Error::Internal {
                            problem: "reading ahead ended before its end".to_owned(),
                        })?;
                        *window = next.into_iter();
                    }
                }
            }
        }
        self.left -= n;
        Ok(found)
    }
}
