//! Hebbian pre-training: images without labels, one to three passes.

use std::time::Instant;

use hebbian_data::{Images, Skipped, shared_batches};
use serde::Serialize;

use super::together::{all_skipped, check_same};
use super::{Checkpoint, Cursor, Event, Observer, PretrainConfig, PretrainOrder, RunFolder};
use crate::engine::{Device, HebbianStep};
use crate::linalg::sum_of_squares;
use crate::network::{Model, Network, NetworkSpec, Pretraining, Tensors};
use crate::rules::Rule;
use crate::{Error, Result};

/// Steps between two lines of metrics.
const LOG_EVERY: usize = 10;

#[derive(Serialize)]
struct Line<'a> {
    stage: &'static str,
    step: usize,
    turn: usize,
    epoch: usize,
    images_per_second: f64,
    /// `||lr dW|| / ||W||` of the step, one a layer that learned.
    change: &'a [f64],
}

/// Pre-trains a model's layers by a Hebbian rule. Only images go in: labels
/// cannot, by type.
///
/// With a run folder, checkpoints are written once a minute and at the end of
/// each epoch, and `from` goes on from one to the same bits. Returns the model
/// and the images that could not be read.
///
/// Where several processes train together ([`Device::shared`]), each calls this
/// with the same model, images and settings, and one of them with a run folder;
/// each takes its part of every batch. How many they are may change from one
/// checkpoint to the next.
///
/// # Errors
/// Bad settings, an empty set, weights that diverge, or reading and writing.
#[allow(clippy::too_many_arguments)]
pub fn pretrain(
    mut model: Model,
    rule: &dyn Rule,
    images: &Images,
    config: &PretrainConfig,
    device: &Device,
    mut run: Option<&mut RunFolder>,
    from: Option<Checkpoint>,
    observer: Observer<'_>,
) -> Result<(Model, Vec<Skipped>)> {
    let depth = model.network.depth();
    config.check(depth)?;
    check_rule(&model.network.spec)?;
    if images.is_empty() {
        return Err(Error::Data("there are no images to pre-train on".into()));
    }
    let mut cursor = Cursor::default();
    let mut reference;
    if let Some(checkpoint) = from {
        (model, cursor, reference) = (checkpoint.model, checkpoint.cursor, checkpoint.extra);
    } else {
        reference = weights_of(&model.network, config);
        model.provenance.pretraining = Pretraining::Hebbian;
        if let Some(run) = run.as_deref_mut() {
            run.save(&model, &cursor, &reference)?;
        }
    }
    let turns = match config.order {
        PretrainOrder::Together => 1,
        PretrainOrder::Successive => depth,
    };
    let steps = images.len().div_ceil(config.batch);
    let total = turns * config.epochs * steps;
    let (mut engine, group) = (device.engine(), device.group());
    let mut skipped = Vec::new();
    observer(Event::Stage { name: "pre-training", done: cursor.step, total });
    while cursor.turn < turns {
        let learning = match config.order {
            PretrainOrder::Together => 0..depth,
            PretrainOrder::Successive => cursor.turn..cursor.turn + 1,
        };
        while cursor.epoch < config.epochs {
            let purpose = format!("shuffle/pretrain/{}/{}", cursor.turn, cursor.epoch);
            let order = images.shuffled(model.provenance.seed, &purpose);
            let order = order.skip(cursor.batch * config.batch);
            cursor.sums.resize(1, 0.0);
            let purpose = format!("pretrain/{}/{}", cursor.turn, cursor.epoch);
            let images = images.augmented(config.augment, model.provenance.seed, &purpose);
            let (share, size) = (group.share(), model.preprocess.size);
            let mut stream = shared_batches(&images, order, config.batch, share, size);
            let mut x = Vec::new();
            let (mut since, mut seen) = (Instant::now(), 0);
            for batch in &mut stream {
                let batch = batch?;
                let used = group.count(batch.rows.len());
                if used > 0 {
                    model.preprocess.apply(&batch, &mut x)?;
                    let log = (cursor.step + 1).is_multiple_of(LOG_EVERY);
                    let done = cursor.epoch * steps + cursor.batch;
                    let factor = config.schedule.factor(done, config.epochs * steps);
                    let patch = |layer: usize| model.network.blocks[layer].geometry.patch_len();
                    let rate = |layer| factor * config.lr.of(layer, patch(layer));
                    let rates: Vec<f64> = learning.clone().map(rate).collect();
                    let step = HebbianStep {
                        rule,
                        x: &x,
                        learning: learning.clone(),
                        rates: &rates,
                        measure: log,
                    };
                    let change = engine.hebbian_step(&mut model.network, &step)?;
                    if let Some(layer) = change.iter().position(|c| !c.is_finite()) {
                        let layer = format!("L{}", learning.start + layer + 1);
                        let (stage, step) = ("pre-training", cursor.step + 1);
                        return Err(Error::Diverged { stage, layer, step });
                    }
                    if log && let Some(run) = run.as_deref() {
                        run.log(&Line {
                            stage: "pretrain",
                            step: cursor.step + 1,
                            turn: cursor.turn,
                            epoch: cursor.epoch,
                            images_per_second: (seen + used) as f64 / since.elapsed().as_secs_f64(),
                            change: &change,
                        })?;
                        (since, seen) = (Instant::now(), 0);
                    } else {
                        seen += used;
                    }
                }
                cursor.sums[0] += used as f64;
                cursor.batch += 1;
                cursor.step += 1;
                observer(Event::Step { done: cursor.step, text: String::new() });
                let within = cursor.batch < steps;
                if let Some(run) = run.as_deref_mut().filter(|run| run.due() && within) {
                    engine.fetch(&mut model.network, None)?;
                    check_finite(&model.network, cursor.step)?;
                    run.save(&model, &cursor, &reference)?;
                }
            }
            engine.fetch(&mut model.network, None)?;
            check_finite(&model.network, cursor.step)?;
            check_same(&group, &model)?;
            skipped = all_skipped(&group, stream.skipped())?;
            model.provenance.pretrained_images = cursor.sums[0] as usize;
            cursor.sums.clear();
            cursor.epoch += 1;
            cursor.batch = 0;
            let still = has_settled(&model.network, learning.clone(), config, &mut reference);
            if still {
                cursor.epoch = config.epochs;
            }
            model.provenance.pretrained_epochs += 1;
            if let Some(run) = run.as_deref_mut() {
                run.save(&model, &cursor, &reference)?;
            }
        }
        cursor.turn += 1;
        cursor.epoch = 0;
    }
    observer(Event::End);
    if model.provenance.pretrained_images == 0 {
        return Err(Error::Data("none of the images could be read".into()));
    }
    if !skipped.is_empty() {
        observer(Event::Skipped(&skipped));
    }
    Ok((model, skipped))
}

/// Whether a Hebbian rule can train such a network.
///
/// # Errors
/// If one of its layers has a bias, which no rule learns.
pub fn check_rule(spec: &NetworkSpec) -> Result<()> {
    let Some(layer) = spec.biased_layer() else { return Ok(()) };
    let problem = "has a bias, which Hebbian rules do not learn; take a network without, such as \
                   cifar-6, or pre-train it as a VAE";
    Err(Error::Network { network: spec.name.clone(), layer, problem: problem.into() })
}

pub(super) fn check_finite(network: &Network, step: usize) -> Result<()> {
    for (index, block) in network.blocks.iter().enumerate() {
        let norm = block.norm.parts().into_iter().map(|(_, values)| values);
        let finite = |x: &Vec<f32>| x.iter().all(|x| x.is_finite());
        if !norm.chain([&block.weights]).chain(&block.bias).chain(&block.variances).all(finite) {
            let layer = format!("L{}", index + 1);
            return Err(Error::Diverged { stage: "pre-training", layer, step });
        }
    }
    Ok(())
}

/// The weights to compare an epoch's end with; none without a tolerance.
fn weights_of(network: &Network, config: &PretrainConfig) -> Tensors {
    let mut tensors = Tensors::default();
    if config.tolerance > 0.0 {
        for (index, block) in network.blocks.iter().enumerate() {
            tensors.insert(format!("L{}", index + 1), &[block.weights.len()], &block.weights);
        }
    }
    tensors
}

/// Whether no layer that learned changed by more than the tolerance since the
/// last epoch; `reference` moves on to the weights as they are now.
fn has_settled(
    network: &Network,
    learning: std::ops::Range<usize>,
    config: &PretrainConfig,
    reference: &mut Tensors,
) -> bool {
    if config.tolerance <= 0.0 {
        return false;
    }
    let settled = learning.clone().all(|index| {
        let weights = &network.blocks[index].weights;
        let before = reference.get(&format!("L{}", index + 1)).unwrap_or_default();
        let difference: Vec<f32> = weights.iter().zip(before).map(|(a, b)| a - b).collect();
        let bound = config.tolerance as f32 * sum_of_squares(before).sqrt();
        sum_of_squares(&difference).sqrt() <= bound
    });
    *reference = weights_of(network, config);
    settled
}
