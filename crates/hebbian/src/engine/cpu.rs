//! The engine of the processor.

use std::path::Path;

use super::{Engine, HebbianStep, SupervisedStep, Trainer};
use crate::collective::Group;
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

    fn hebbian_step(&mut self, network: &mut Network, step: &HebbianStep<'_>) -> Result<Vec<f64>> {
        let HebbianStep { rule, learning, .. } = step;
        let batch = step.x.len() / network.blocks[0].geometry.input_len();
        let mut changes = Vec::new();
        let [mut map, mut out] = self.workspace.take_maps();
        network.map_into(learning.start, step.x, &mut map, &mut out, &mut self.workspace);
        for (index, rate) in learning.clone().zip(step.rates) {
            let block = &mut network.blocks[index];
            let (g, w, lr) = (block.geometry, &mut block.weights, *rate as f32);
            let x = if index == 0 { step.x } else { &map };
            out.resize(batch * g.output_len(), 0.0);
            let workspace = &mut self.workspace;
            let adapted = block.variances.as_deref().and_then(|v| rule.with_variances(v));
            let rule = adapted.as_deref().unwrap_or(*rule);
            let applied;
            let moments = if step.measure || self.group.is_shared() {
                let sums = &mut self.sums;
                hebbian_step_into(rule, &g, batch, x, w, workspace, &mut out, sums);
                sums.add_up(&*self.group);
                if step.measure {
                    changes.push(relative_change(sums, lr, w));
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
            block.norm.train_shared(&mut out, &*self.group);
            std::mem::swap(&mut map, &mut out);
        }
        self.workspace.keep_maps([map, out]);
        Ok(changes)
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
