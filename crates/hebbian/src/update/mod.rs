//! From a rule's gate to the weight update, exactly, at the machine's speed.
//!
//! Three forms of one update, held equal by tests:
//! - [`naive_update`]: sample by sample, as the papers write it;
//! - [`published_update`]: all patches unfolded, then FastHebb's products in
//!   the published order;
//! - [`hebbian_step`]: what the engine picks by counting operations, in the
//!   same pass over the tiles as the forward computation.

mod batch;
mod deflation;
mod order;
mod reference;
mod step;
mod target;

pub(crate) use batch::Scratch;
pub use order::{Order, choose_order};
pub use reference::{naive_update, published_update, unfold, update_in_order};
pub(crate) use step::reciprocals;
pub use step::{hebbian_step, hebbian_step_applied};

use rayon::prelude::*;

/// Sums of a rule over a batch: numerators and denominators apart, so that
/// the sums of tiles, threads and processes add up and dividing comes last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateSums {
    /// `A^T X - Rec`, C x D.
    pub numerators: Vec<f32>,
    /// What each neuron's row is divided by, C.
    pub denominators: Vec<f32>,
}

impl UpdateSums {
    /// Applies the update: `W += lr * numerators / denominators`, where a
    /// denominator of zero (a neuron that never won) counts as one.
    pub fn apply(&self, lr: f32, weights: &mut [f32]) {
        let d = weights.len() / self.denominators.len();
        let rows = weights.par_chunks_mut(d).zip(self.numerators.par_chunks(d));
        rows.zip(&self.denominators).for_each(|((w, n), &denominator)| {
            let step = lr / nonzero(denominator);
            w.iter_mut().zip(n).for_each(|(w, n)| *w += step * n);
        });
    }

    /// The update `dW` itself (C x D).
    pub fn delta(&self) -> Vec<f32> {
        let mut delta = vec![0.0; self.numerators.len()];
        self.apply(1.0, &mut delta);
        delta
    }
}

fn nonzero(denominator: f32) -> f32 {
    if denominator == 0.0 { 1.0 } else { denominator }
}

/// Norms of the rows of the weights (C x D).
pub(crate) fn row_norms(weights: &[f32], d: usize) -> Vec<f32> {
    weights.par_chunks_exact(d).map(|w| crate::linalg::sum_of_squares(w).sqrt()).collect()
}
