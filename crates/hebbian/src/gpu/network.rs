//! A network held on the card, and its steps.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use wgpu::{Buffer, SubmissionIndex};

use super::device::Gpu;
use super::head::DeviceHead;
use super::layer::{CHANGE_PARTS, Layer};
use super::plan::{Builder, Plan, Scratch};
use crate::engine::{HebbianStep, SupervisedStep};
use crate::network::{Head, Network};
use crate::{Error, Result};

/// Steps that may be queued before the host waits for the oldest.
const QUEUED: usize = 2;

/// Which step, of how many images.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Features { depth: usize, batch: usize },
    Hebbian { rule: String, batch: usize, learning: Range<usize>, measure: bool },
    Supervised { batch: usize, drop: bool },
}

/// A network, and a classifier where there is one, on a card. Everything stays
/// there; what a step needs is made before the first step of its kind and
/// batch size.
pub struct GpuNetwork {
    gpu: Arc<Gpu>,
    layers: Vec<Layer>,
    head: Option<DeviceHead>,
    scratch: Scratch,
    plans: HashMap<Step, Plan>,
    queued: VecDeque<SubmissionIndex>,
    half: bool,
}

impl GpuNetwork {
    /// Puts a network on the card.
    ///
    /// With `half`, the operands of the forward pass and of `A^T X` and `A^T A`
    /// are rounded to half precision; sums and gradients stay in single
    /// precision.
    ///
    /// # Errors
    /// [`Error::Device`] if the card has not the memory, or no half precision
    /// where it is asked for.
    pub fn new(gpu: &Arc<Gpu>, network: &Network, half: bool) -> Result<Self> {
        if half && !gpu.has_half() {
            let problem = format!("{} does not compute in half precision", gpu.name());
            return Err(Error::Device(problem));
        }
        let blocks = network.blocks.iter().enumerate();
        let response = (network.projection, network.activation);
        let layers = blocks.map(|(i, block)| Layer::new(gpu, i, block, response));
        let layers = layers.collect::<Result<Vec<_>>>()?;
        let (scratch, plans, queued) = (Scratch::default(), HashMap::new(), VecDeque::new());
        let gpu = Arc::clone(gpu);
        Ok(Self { gpu, layers, head: None, scratch, plans, queued, half })
    }

    /// Puts a classifier, without momentum, on top of it, unless it has one.
    pub fn put_head(&mut self, head: &Head) -> Result<()> {
        if self.head.is_none() {
            self.head = Some(DeviceHead::new(&self.gpu, head, &self.layers)?);
        }
        Ok(())
    }

    /// The card it is on.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Features of layer `depth` (1 for `L1`) with the running statistics.
    ///
    /// # Shapes
    /// `x`: batch x height x width x channels; result: batch x feature length,
    /// each image's map in the order height, width, channel.
    pub fn features(&mut self, depth: usize, x: &[f32]) -> Result<Vec<f32>> {
        let batch = self.batch_of(x);
        if batch == 0 || depth == 0 {
            return Ok(Vec::new());
        }
        let step = Step::Features { depth, batch };
        self.run(step, x, |network, b, x| {
            let mut map = x.clone();
            for layer in &network[..depth] {
                map = layer.forward(b, &map, batch, false)?.map;
            }
            Ok(())
        })?;
        let layer = &self.layers[depth - 1];
        let len = batch * layer.g.output_len();
        let map =
            self.scratch.get(&self.gpu, &format!("{}: the normalised map", layer.name), len)?;
        Ok(self.gpu.read(&[(&map, len)])?.swap_remove(0))
    }

    /// One Hebbian step. Where its relative changes are not wanted, it is only
    /// queued.
    ///
    /// # Errors
    /// [`Error::Device`] if the rule has no form for the GPU, or the card
    /// fails.
    pub fn hebbian_step(&mut self, given: &HebbianStep<'_>) -> Result<Vec<f64>> {
        let HebbianStep { rule, x, ref learning, rates, measure } = *given;
        let batch = self.batch_of(x);
        for (layer, &rate) in self.layers[learning.clone()].iter().zip(rates) {
            self.gpu.write(&layer.rate, &[rate as f32, 0.0, 0.0, 0.0]);
        }
        let key = format!("{} {}", rule.name(), rule.params());
        let step = Step::Hebbian { rule: key, batch, learning: learning.clone(), measure };
        self.run(step, x, |layers, b, x| {
            let mut map = x.clone();
            for (index, layer) in layers[..learning.end].iter().enumerate() {
                let passed = if index < learning.start {
                    layer.forward(b, &map, batch, false)?
                } else {
                    let name = format!("{}: the change", layer.name);
                    let change =
                        if measure { Some(b.scratch(&name, 2 * CHANGE_PARTS)?) } else { None };
                    layer.learn(b, rule, &map, batch, change.as_ref())?
                };
                map = passed.map;
            }
            Ok(())
        })?;
        if measure { self.changes(learning.clone(), rates) } else { Ok(Vec::new()) }
    }

    /// Relative change of each layer in the last step.
    fn changes(&mut self, learning: Range<usize>, rates: &[f64]) -> Result<Vec<f64>> {
        let mut buffers = Vec::new();
        for layer in &self.layers[learning] {
            let name = format!("{}: the change", layer.name);
            buffers.push(self.scratch.get(&self.gpu, &name, 2 * CHANGE_PARTS)?);
        }
        let parts: Vec<_> = buffers.iter().map(|buffer| (buffer, 2 * CHANGE_PARTS)).collect();
        let found = self.gpu.read(&parts)?;
        let norm = |parts: &[f32], which: usize| {
            parts[which..].iter().step_by(2).map(|&x| f64::from(x)).sum::<f64>().sqrt()
        };
        let change = |(parts, &rate): (&Vec<f32>, &f64)| {
            rate * norm(parts, 0) / norm(parts, 1).max(f64::MIN_POSITIVE)
        };
        Ok(found.iter().zip(rates).map(change).collect())
    }

    /// One supervised step of all layers and the classifier. Returns the mean
    /// cross-entropy and the scores (batch x classes) before the step.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no classifier or the card fails.
    pub fn supervised_step(&mut self, step: &SupervisedStep<'_>) -> Result<(f64, Vec<f32>)> {
        let batch = step.labels.len();
        let head = self.head.take();
        let result = match &head {
            None => Err(no_head()),
            Some(head) => self.supervised(head, step),
        };
        self.head = head;
        let mut scores = result?;
        let losses = scores.split_off(scores.len() - batch);
        let loss: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
        Ok((loss / batch as f64, scores))
    }

    /// The step itself; returns the scores and then a loss for each image.
    fn supervised(&mut self, head: &DeviceHead, given: &SupervisedStep<'_>) -> Result<Vec<f32>> {
        let SupervisedStep { x, labels, keep, sgd } = *given;
        let (gpu, batch) = (Arc::clone(&self.gpu), labels.len());
        let drop = !keep.is_empty();
        gpu.write(&head.settings, &[sgd.lr, sgd.momentum, sgd.weight_decay, 0.0]);
        gpu.write(&self.scratch.get(&gpu, "labels", batch)?, labels);
        if drop {
            gpu.write(&self.scratch.get(&gpu, "kept features", keep.len())?, keep);
        }
        let step = Step::Supervised { batch, drop };
        self.run(step, x, |layers, b, x| {
            let mut maps = vec![x.clone()];
            let mut passed = Vec::new();
            for layer in layers {
                let step = layer.forward(b, &maps[maps.len() - 1], batch, true)?;
                maps.push(step.map.clone());
                passed.push(step);
            }
            let mut d_map = head.step(b, &maps[layers.len()], batch, drop)?;
            for (index, layer) in layers.iter().enumerate().rev() {
                let len = batch * layer.g.input_len();
                let name = ["gradient by a map", "gradient by another map"][index % 2];
                let d_x = if index > 0 { Some(b.scratch(name, len)?) } else { None };
                let (d_weights, d_learned) =
                    layer.backward(b, &maps[index], &passed[index], batch, &d_map, d_x.as_ref())?;
                let [weights, learned] = [2 * index, 2 * index + 1].map(|i| &head.momentum[i]);
                let len = layer.g.weight_len();
                head.descend(b, &d_weights, &layer.weights, weights, len)?;
                head.descend(b, &d_learned, &layer.learned, learned, layer.learned_len())?;
                d_map = d_x.unwrap_or(d_map);
            }
            Ok(())
        })?;
        let len = batch * (head.classes + 1);
        let scores = self.scratch.get(&gpu, "scores and losses", len)?;
        Ok(gpu.read(&[(&scores, len)])?.swap_remove(0))
    }

    /// Copies weights and running statistics, and the classifier where there
    /// is one on both sides, from the card into `network` and `head`.
    pub fn fetch(&self, network: &mut Network, head: Option<&mut Head>) -> Result<()> {
        let mut parts = Vec::new();
        for layer in &self.layers {
            parts.push((&layer.weights, layer.g.weight_len()));
            parts.push((&layer.learned, layer.learned_len()));
            parts.push((&layer.running, layer.running_len()));
        }
        if let Some(head) = &self.head {
            parts.push((&head.weights, head.classes * head.features));
            parts.push((&head.bias, head.classes));
        }
        let mut found = self.gpu.read(&parts)?.into_iter();
        let mut next = || found.next().unwrap_or_default();
        for block in &mut network.blocks {
            let c = block.geometry.filters;
            block.weights = next();
            let mut learned = next();
            let bias = learned.split_off(2 * c);
            (block.norm.gamma, block.norm.beta) = halves(learned, c);
            block.bias = block.bias.is_some().then_some(bias);
            let mut running = next();
            block.norm.start = running.pop().unwrap_or_default();
            (block.norm.mean, block.norm.var) = halves(running, c);
        }
        if let Some(head) = head.filter(|_| self.head.is_some()) {
            head.out.weights = next();
            head.out.bias = next();
        }
        Ok(())
    }

    /// The momentum of every parameter: weight, gamma, beta and, where there is
    /// one, bias of each layer, then weight and bias of the classifier; empty
    /// without a classifier.
    pub fn momentum(&self) -> Result<Vec<Vec<f32>>> {
        let Some(head) = &self.head else { return Ok(Vec::new()) };
        let parts: Vec<_> = head.momentum.iter().zip(self.momentum_lens(head)).collect();
        let mut all = Vec::new();
        for (index, values) in self.gpu.read(&parts)?.into_iter().enumerate() {
            if index % 2 == 1 && index / 2 < self.layers.len() {
                let filters = self.layers[index / 2].g.filters;
                all.extend(values.chunks_exact(filters).map(<[f32]>::to_vec));
            } else {
                all.push(values);
            }
        }
        Ok(all)
    }

    /// Goes on with a momentum as [`GpuNetwork::momentum`] gives it.
    ///
    /// # Errors
    /// [`Error::Device`] if it is not one of this network.
    pub fn set_momentum(&mut self, momentum: &[Vec<f32>]) -> Result<()> {
        let wrong = || Error::Device("the momentum is not one of this network".into());
        let head = self.head.as_ref().ok_or_else(no_head)?;
        let mut given = momentum.iter();
        let mut next = || given.next().cloned().ok_or_else(wrong);
        let mut values = Vec::new();
        for layer in &self.layers {
            values.push(next()?);
            let learned = layer.learned_len() / layer.g.filters;
            let learned: Vec<_> = (0..learned).map(|_| next()).collect::<Result<_>>()?;
            values.push(learned.concat());
        }
        values.extend([next()?, next()?]);
        let same = |(values, len): (&Vec<f32>, usize)| values.len() == len;
        if !values.iter().zip(self.momentum_lens(head)).all(same) {
            return Err(wrong());
        }
        for (buffer, values) in head.momentum.iter().zip(&values) {
            self.gpu.write(buffer, values);
        }
        Ok(())
    }

    /// Lengths of the buffers of the momentum.
    fn momentum_lens(&self, head: &DeviceHead) -> Vec<usize> {
        let layers = self.layers.iter().map(|layer| [layer.g.weight_len(), layer.learned_len()]);
        layers.flatten().chain([head.classes * head.features, head.classes]).collect()
    }

    /// Waits until every queued step has run.
    pub fn wait(&mut self) -> Result<()> {
        self.queued.clear();
        self.gpu.wait(None)
    }

    /// Kernels that a step runs, of each kind of step run so far.
    pub fn kernels(&self) -> Vec<(String, usize)> {
        self.plans.iter().map(|(step, plan)| (format!("{step:?}"), plan.len())).collect()
    }

    fn batch_of(&self, x: &[f32]) -> usize {
        x.len() / self.layers[0].g.input_len()
    }

    /// Queues a step, making its plan on first use, with the input written
    /// before it.
    fn run(
        &mut self,
        step: Step,
        x: &[f32],
        make: impl Fn(&[Layer], &mut Builder<'_>, &Buffer) -> Result<()>,
    ) -> Result<()> {
        let gpu = Arc::clone(&self.gpu);
        if self.queued.len() >= QUEUED {
            gpu.wait(self.queued.pop_front())?;
        }
        let input = self.scratch.get(&gpu, "the input", x.len())?;
        // Plans hold the buffers they were made with; where one was outgrown,
        // they are made anew, all with the same.
        while !self.plans.contains_key(&step) || self.scratch.outgrown {
            if std::mem::take(&mut self.scratch.outgrown) {
                self.plans.clear();
            }
            let (scratch, half, plan) = (&mut self.scratch, self.half, Plan::default());
            let mut builder = Builder { gpu: &gpu, scratch, half, plan };
            make(&self.layers, &mut builder, &input)?;
            self.plans.insert(step.clone(), builder.plan);
            gpu.check()?;
        }
        gpu.write(&input, x);
        self.queued.push_back(self.plans[&step].submit(&gpu));
        Ok(())
    }
}

fn no_head() -> Error {
    Error::Device("the network on the card has no classifier".into())
}

/// The two halves of what is stored together, `c` numbers each.
fn halves(mut both: Vec<f32>, c: usize) -> (Vec<f32>, Vec<f32>) {
    let second = both.split_off(c);
    (both, second)
}
