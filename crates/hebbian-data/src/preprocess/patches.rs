//! Images as their square patches, one after the other, and back.
//!
//! Images whose sides are at most [`PATCH`] are one patch; others are scaled
//! up first until their sides are multiples of it, and back afterwards.

use std::borrow::Cow;

use crate::Size;

/// Side of the patches that [`Whitening::Fh`](super::Whitening::Fh) whitens one by one.
pub const PATCH: usize = 32;

/// Elements of one row of a patch.
const ROW: usize = PATCH * 3;

/// Whether an image is a patch as it is.
pub(super) fn is_one(size: Size) -> bool {
    size.height <= PATCH && size.width <= PATCH
}

/// The size that images of `size` are cut into patches at.
pub(super) fn whole(size: Size) -> Size {
    if is_one(size) {
        return size;
    }
    let side = |n: usize| n.next_multiple_of(PATCH);
    Size { height: side(size.height), width: side(size.width) }
}

/// images x height x width x 3 as patches x 32 x 32 x 3, of images of a size
/// that [`whole`] gives.
pub(super) fn split(pixels: &[u8], size: Size) -> Cow<'_, [u8]> {
    // Patches below each other lie one after the other already.
    if is_one(size) || size.width == PATCH {
        return Cow::Borrowed(pixels);
    }
    let mut patches = vec![0; pixels.len()];
    let images = patches.chunks_exact_mut(size.bytes()).zip(pixels.chunks_exact(size.bytes()));
    for (to, from) in images {
        for (image, patch) in rows(size) {
            to[patch..patch + ROW].copy_from_slice(&from[image..image + ROW]);
        }
    }
    Cow::Owned(patches)
}

/// The reverse of [`split`], in place.
pub(super) fn join(values: &mut [f32], size: Size) {
    if is_one(size) || size.width == PATCH {
        return;
    }
    let mut whole = vec![0.0; size.bytes()];
    for image in values.chunks_exact_mut(size.bytes()) {
        for (to, from) in rows(size) {
            whole[to..to + ROW].copy_from_slice(&image[from..from + ROW]);
        }
        image.copy_from_slice(&whole);
    }
}

/// Where each row of each patch begins in the image, and in the patches.
fn rows(size: Size) -> impl Iterator<Item = (usize, usize)> {
    let across = size.width / PATCH;
    (0..size.height).flat_map(move |y| {
        (0..across).map(move |x| {
            let patch = y / PATCH * across + x;
            ((y * across + x) * ROW, (patch * PATCH + y % PATCH) * ROW)
        })
    })
}
