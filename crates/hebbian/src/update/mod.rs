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
pub use step::{hebbian_step, hebbian_step_applied, hebbian_step_into};

use rayon::prelude::*;

use crate::collective::Collective;
use crate::linalg::dot;
use crate::rules::Rule;

/// Sums of a rule over a batch: numerators and denominators apart, so that
/// the sums of tiles, threads and processes add up and dividing comes last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateSums {
    /// `A^T X - Rec`, C x D.
    pub numerators: Vec<f32>,
    /// What each neuron's row is divided by, C.
    pub denominators: Vec<f32>,
    /// What a rule that adapts goes by in later steps.
    pub moments: Moments,
}

impl UpdateSums {
    /// Room for `len` numerators, all 0.
    fn of_length(len: usize) -> Self {
        Self { numerators: vec![0.0; len], ..Self::default() }
    }

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

    /// Leaves of each row what lies across the neuron's weight: with weights
    /// of length 1, their length stays.
    fn keep_tangent(&mut self, weights: &[f32]) {
        let d = weights.len() / self.denominators.len();
        let rows = self.numerators.par_chunks_mut(d).zip(weights.par_chunks(d));
        rows.for_each(|(n, w)| {
            let along = dot(n, w);
            n.iter_mut().zip(w).for_each(|(n, w)| *n -= along * w);
        });
    }

    /// Puts the sums over all processes in place of this one's.
    pub fn add_up(&mut self, all: &dyn Collective) {
        if !all.is_shared() {
            return;
        }
        all.sum_f32(&mut self.numerators);
        let Moments { rows, sums, squares } = &mut self.moments;
        let few = [&mut self.denominators, sums, squares].into_iter().flatten().chain([rows]);
        let few: Vec<&mut f32> = few.collect();
        let mut together: Vec<f64> = few.iter().map(|number| f64::from(**number)).collect();
        all.sum_f64(&mut together);
        few.into_iter().zip(together).for_each(|(number, sum)| *number = sum as f32);
    }

    /// The update `dW` itself (C x D).
    pub fn delta(&self) -> Vec<f32> {
        let mut delta = vec![0.0; self.numerators.len()];
        self.apply(1.0, &mut delta);
        delta
    }
}

/// Sums over a batch of the projections and of their squares, where the rule
/// adapts; they add up as the other sums do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Rows that were summed up.
    pub rows: f32,
    /// Sums of the projections, C, or none.
    pub sums: Vec<f32>,
    /// Sums of their squares, C, or none.
    pub squares: Vec<f32>,
}

impl Moments {
    /// Share of a batch's variances in the running ones.
    const MOMENTUM: f32 = 0.1;

    /// Length of the sums that a gate keeps for `c` neurons: denominators, and
    /// these where the rule adapts.
    pub(crate) fn kept(rule: &dyn Rule, c: usize) -> usize {
        if rule.adapts() { 3 * c } else { c }
    }

    /// Those that a gate kept after the denominators of `c` neurons, which stay.
    fn split_off(kept: &mut Vec<f32>, c: usize) -> Self {
        if kept.len() == c {
            return Self::default();
        }
        let mut sums = kept.split_off(c);
        let squares = sums.split_off(c);
        Self { rows: kept.first().copied().unwrap_or(0.0), sums, squares }
    }

    /// Moves running variances (C) towards those of the batch.
    pub fn follow(&self, variances: &mut [f32]) {
        let moments = self.sums.iter().zip(&self.squares);
        for (running, (sum, square)) in variances.iter_mut().zip(moments) {
            let (mean, rows) = (f64::from(*sum) / f64::from(self.rows), f64::from(self.rows));
            let variance = (f64::from(*square) / rows - mean * mean).max(0.0) as f32;
            *running += Self::MOMENTUM * (variance - *running);
        }
    }
}

fn nonzero(denominator: f32) -> f32 {
    if denominator == 0.0 { 1.0 } else { denominator }
}

/// Norms of the rows of the weights (C x D).
pub(crate) fn row_norms(weights: &[f32], d: usize) -> Vec<f32> {
    weights.par_chunks_exact(d).map(|w| crate::linalg::sum_of_squares(w).sqrt()).collect()
}
