//! Hebbian pre-training: images without labels, one to three passes.

use hebbian_data::{Images, Skipped, shared_batches};
use serde::Serialize;

use super::metrics::{Meter, is_due};
use super::together::{check_same, read_by_all};
use super::{Checkpoint, Cursor, Event, Observer, PretrainConfig, PretrainOrder, RunFolder};
use crate::engine::{Device, HebbianStep, Measured};
use crate::linalg::sum_of_squares;
use crate::network::{Model, Network, NetworkSpec, Pretraining, Tensors};
use crate::rules::Rule;
use crate::{Error, Result, floor};

/// What a line of metrics holds; `null` for layers that did not learn.
#[derive(Serialize)]
struct Values {
    turn: usize,
    /// `||lr dW|| / ||W||` of the step, one a layer.
    change: Vec<Option<f64>>,
    /// Winners' spread ([`crate::engine::Measured::spread`]), one a layer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    spread: Vec<Option<f64>>,
}

/// Pre-trains a model's layers by a Hebbian rule. Only images go in: labels
/// cannot, by type.
///
/// With a run folder, checkpoints are written now and then and at the end of
/// each epoch, and `from` goes on from one to the same bits. Returns the model
/// and the images of the last epoch that could not be read.
///
/// Where several processes train together ([`Device::shared`]), each calls this
/// with the same model, images and settings, and one of them with a run folder;
/// each takes its part of every batch. How many they are may change from one
/// checkpoint to the next.
///
/// # Errors
/// Bad settings, an empty set, weights that diverge, or reading and writing;
/// [`Error::Stopped`] if the run was asked to stop.
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
    let mut skipped = Vec::new();
    if let Some(checkpoint) = from {
        Checkpoint { model, cursor, extra: reference, skipped } = checkpoint;
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
    let mut meter = Meter::new("pretrain", total, skipped, device, run.is_some());
    let layers = model.network.spec.geometries()?;
    observer(Event::Stage { name: "pre-training", done: cursor.step, total });
    while cursor.turn < turns {
        let learning = match config.order {
            PretrainOrder::Together => 0..depth,
            PretrainOrder::Successive => cursor.turn..cursor.turn + 1,
        };
        let reconstruction = rule.reconstruction();
        let macs = floor::hebbian(&layers, learning.clone(), config.batch, reconstruction);
        meter.set_floor(macs, config.batch);
        while cursor.epoch < config.epochs {
            run.as_deref().map_or(Ok(()), |run| run.go_on(cursor.step))?;
            meter.begin_epoch(&cursor);
            let purpose = format!("shuffle/pretrain/{}/{}", cursor.turn, cursor.epoch);
            let order = images.shuffled(model.provenance.seed, &purpose);
            let order = order.skip(cursor.batch * config.batch);
            cursor.sums.resize(1, 0.0);
            let purpose = format!("pretrain/{}/{}", cursor.turn, cursor.epoch);
            let images = images.augmented(config.augment, model.provenance.seed, &purpose);
            let (share, size) = (group.share(), model.preprocess.size);
            let mut stream = shared_batches(&images, order, config.batch, share, size);
            let mut x = Vec::new();
            for batch in &mut stream {
                let mut batch = batch?;
                let mut measured = None;
                let used = read_by_all(&group, &mut batch)?.iter().sum();
                if used > 0 {
                    model.preprocess.apply(&batch, &mut x)?;
                    let log = is_due(cursor.step + 1);
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
                    let found = engine.hebbian_step(&mut model.network, &step)?;
                    if let Some(layer) = found.iter().position(|of| !of.change.is_finite()) {
                        let layer = format!("L{}", learning.start + layer + 1);
                        let (stage, step) = ("pre-training", cursor.step + 1);
                        return Err(Error::Diverged { stage, layer, step });
                    }
                    measured = log.then_some(found);
                }
                cursor.sums[0] += used as f64;
                cursor.batch += 1;
                cursor.step += 1;
                meter.count(used, &mut batch, &cursor, run.as_deref())?;
                if let (Some(measured), Some(run)) = (measured, run.as_deref()) {
                    meter.log(run, &cursor, &values(&measured, cursor.turn, learning.start))?;
                }
                observer(Event::Step { done: cursor.step, text: String::new() });
                let within = cursor.batch < steps;
                if let Some(run) = run.as_deref_mut().filter(|run| within && run.due(cursor.step)) {
                    engine.fetch(&mut model.network, None)?;
                    check_finite(&model.network, cursor.step)?;
                    run.save(&model, &cursor, &reference)?;
                    run.go_on(cursor.step)?;
                }
            }
            engine.fetch(&mut model.network, None)?;
            check_finite(&model.network, cursor.step)?;
            check_same(&group, &model)?;
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
    if !meter.skipped.is_empty() {
        observer(Event::Skipped(&meter.skipped));
    }
    Ok((model, meter.skipped))
}

/// The values of a line, by what was measured of the layers from `first` on.
fn values(measured: &[Measured], turn: usize, first: usize) -> Values {
    let of_layers = |part: fn(&Measured) -> Option<f64>| {
        std::iter::repeat_n(None, first).chain(measured.iter().map(part)).collect::<Vec<_>>()
    };
    let mut spread = of_layers(|of| of.spread);
    if spread.iter().all(Option::is_none) {
        spread.clear();
    }
    Values { turn, change: of_layers(|of| Some(of.change)), spread }
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
