//! The engine of the processor.

use std::ops::Range;
use std::path::Path;

use super::{Engine, HebbianStep, Measured, SupervisedStep, Trainer};
use crate::collective::{Collective, Group, Parts};
use crate::error::Result;
use crate::linalg::sum_of_squares;
use crate::network::{Head, Network, Tensors};
use crate::ops::Workspace;
use crate::update::{UpdateSums, hebbian_step_applied, hebbian_step_into};

/// Works on the host's network itself; keeps the buffers.
pub(super) struct Cpu {
    group: Group,
    workspace: Workspace,
    sums: UpdateSums,
    trainer: Trainer,
}

impl Cpu {
    /// One of the processes of `group`.
    pub(super) fn new(group: Group) -> Self {
        let trainer = Trainer::shared(group.clone());
        Self { group, workspace: Workspace::default(), sums: UpdateSums::default(), trainer }
    }
}

impl Engine for Cpu {
    fn features(&mut self, network: &Network, depth: usize, x: &[f32]) -> Result<Vec<f32>> {
        Ok(network.features(depth, x, &mut self.workspace))
    }

    fn hebbian_step(
        &mut self,
        network: &mut Network,
        step: &HebbianStep<'_>,
    ) -> Result<Vec<Measured>> {
        let HebbianStep { rule, learning, .. } = step;
        let batch = step.x.len() / network.blocks[0].geometry.input_len();
        let mut measured = Vec::new();
        let [mut map, mut out] = self.workspace.take_maps();
        let parts = Parts { group: &self.group, images: batch };
        if learning.start > 0 {
            map.clear();
            for images in parts.ranges() {
                let x = parts.of(step.x, &images);
                map.extend(network.features(learning.start, x, &mut self.workspace));
            }
        }
        for (index, rate) in learning.clone().zip(step.rates) {
            let block = &mut network.blocks[index];
            let (g, w, lr) = (block.geometry, &mut block.weights, *rate as f32);
            let x = if index == 0 { step.x } else { &map };
            out.resize(batch * g.output_len(), 0.0);
            let workspace = &mut self.workspace;
            let adapted = block.variances.as_deref().and_then(|v| rule.with_variances(v));
            let rule = adapted.as_deref().unwrap_or(*rule);
            let applied;
            let moments = if step.measure || self.group.is_split() {
                // Buffers of the step before, for the first part.
                let mut kept = Some(std::mem::take(&mut self.sums));
                let of_part = |images: Range<usize>| {
                    let mut sums = kept.take().unwrap_or_default();
                    let (n, x) = (images.len(), parts.of(x, &images));
                    let out = parts.of_mut(&mut out, &images);
                    hebbian_step_into(rule, &g, n, x, w, workspace, out, &mut sums);
                    sums
                };
                self.sums = parts.add(of_part, UpdateSums::add);
                let sums = &mut self.sums;
                sums.add_up(&*self.group);
                if step.measure {
                    let spread = Some(spread(&sums.denominators, &out, &*self.group));
                    measured.push(Measured { change: relative_change(sums, lr, w), spread });
                }
                sums.apply(lr, w);
                &sums.moments
            } else {
                applied = hebbian_step_applied(rule, &g, batch, x, w, lr, workspace, &mut out);
                &applied
            };
            if let Some(variances) = &mut block.variances {
                moments.follow(variances);
            }
            block.norm.train_shared(&mut out, parts);
            std::mem::swap(&mut map, &mut out);
        }
        self.workspace.keep_maps([map, out]);
        Ok(measured)
    }

    fn supervised_step(
        &mut self,
        network: &mut Network,
        head: &mut Head,
        step: &SupervisedStep<'_>,
    ) -> Result<(f64, Vec<f32>)> {
        let SupervisedStep { x, labels, keep, sgd } = step;
        let found = self.trainer.gradients(network, head, x, labels, keep, false);
        let result = (found.loss, found.scores.clone());
        if result.0.is_finite() {
            self.trainer.step(network, head, sgd);
        }
        Ok(result)
    }

    fn fetch(&mut self, _: &mut Network, _: Option<&mut Head>) -> Result<()> {
        Ok(())
    }

    fn momentum(&mut self, network: &Network, head: &Head) -> Result<Tensors> {
        Ok(self.trainer.momentum(network, head))
    }

    fn set_momentum(
        &mut self,
        network: &Network,
        head: &Head,
        path: &Path,
        saved: Tensors,
    ) -> Result<()> {
        self.trainer.set_momentum(network, head, path, saved)
    }
}

fn relative_change(sums: &UpdateSums, lr: f32, weights: &[f32]) -> f64 {
    let norm = |x: &[f32]| f64::from(sum_of_squares(x).sqrt());
    f64::from(lr) * norm(&sums.delta()) / norm(weights).max(f64::MIN_POSITIVE)
}

/// Winners' spread of a layer's neurons, from their denominators (C) over all
/// processes and this one's responses (rows x C).
fn spread(denominators: &[f32], responses: &[f32], all: &dyn Collective) -> f64 {
    let c = denominators.len();
    // Where neurons compete, a denominator is the sum of a neuron's gates;
    // elsewhere it is the number of patches, the same for all.
    if denominators.iter().any(|d| d != &denominators[0]) {
        return evenness(denominators.iter().map(|&d| f64::from(d)));
    }
    let mut squares = vec![0.0; c];
    for row in responses.chunks_exact(c) {
        for (square, response) in squares.iter_mut().zip(row) {
            *square += f64::from(*response) * f64::from(*response);
        }
    }
    all.sum_f64(&mut squares);
    evenness(squares.into_iter())
}

/// Perplexity of shares over their number: 1 where all are equal, and where
/// there is nothing to share.
fn evenness(parts: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let (count, sum) = (parts.len() as f64, parts.clone().sum::<f64>());
    let shares = parts.map(|part| part / sum).filter(|&share| share > 0.0);
    let entropy: f64 = shares.map(|share| -share * share.ln()).sum();
    if sum > 0.0 { entropy.exp() / count } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collective::Solo;

    #[test]
    fn spread_is_that_of_the_winners_or_of_the_responses() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        let spread = |denominators: &[f32], out: &[f32]| spread(denominators, out, &Solo);
        // One neuron takes all; two of four share.
        close(spread(&[0.0, 8.0, 0.0, 0.0], &[]), 0.25);
        close(spread(&[4.0, 4.0, 0.0, 0.0], &[]), 0.5);
        // No competition: by the responses.
        close(spread(&[2.0; 2], &[1.0, -1.0, 3.0, 3.0]), 1.0);
        close(spread(&[2.0; 2], &[0.0, -1.0, 0.0, 3.0]), 0.5);
        close(spread(&[2.0; 2], &[0.0; 4]), 1.0);
    }
}
