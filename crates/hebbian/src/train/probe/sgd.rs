//! A linear or two-layer classifier, by stochastic gradient descent.

use hebbian_data::seed;

use super::LabelledFeatures;
use crate::engine::HeadGradients;
use crate::network::{Head, HeadKind};
use crate::train::finetune::dropout;
use crate::train::{Event, FinetuneConfig, Observer};
use crate::{Error, Result};

/// Trains a classifier of form `kind` by the optimiser, schedule and dropout
/// of fine-tuning, as the published code does on a frozen trunk; the form in
/// `config` is not looked at. Beside the classifier, one batch is in memory.
///
/// # Errors
/// Bad settings, weights that diverge, or reading.
pub fn train_head(
    features: &LabelledFeatures<'_>,
    kind: HeadKind,
    config: &FinetuneConfig,
    seed: u64,
    observer: Observer<'_>,
) -> Result<Head> {
    config.check()?;
    let mut head = kind.init(features.dim, features.classes, seed)?;
    let lens = head.parameters();
    let mut momentum: Vec<_> = lens.iter().map(|(_, len)| vec![0.0; *len]).collect();
    let mut by_parameter = vec![Vec::new(); lens.len()];
    let mut gradients = HeadGradients::default();
    let (mut x, mut step) = (Vec::new(), 0);
    let name = if kind.is_linear() { "linear classifier" } else { "two-layer classifier" };
    observer(Event::Stage { name, done: 0, total: config.epochs });
    for epoch in 0..config.epochs {
        let sgd = config.sgd(config.rate(epoch));
        let purpose = format!("shuffle/probe/{epoch}");
        for rows in seed::shuffled(features.labels.len(), seed, &purpose).chunks(config.batch) {
            (features.read)(rows, &mut x)?;
            let labels: Vec<u32> = rows.iter().map(|&row| features.labels[row]).collect();
            let (len, purpose) = (rows.len() * head.out.inputs(), format!("dropout/probe/{step}"));
            let keep = dropout(config.dropout, 0..len, seed, &purpose);
            let into = &mut by_parameter;
            let (loss, _) = gradients.compute(&mut head, &mut x, &labels, &keep, into, None);
            step += 1;
            if !loss.is_finite() {
                let layer = "the classifier".into();
                return Err(Error::Diverged { stage: "probe", layer, step });
            }
            let parameters = head.parameters_mut().into_iter().zip(&mut momentum);
            parameters.zip(&by_parameter).for_each(|((w, v), d)| sgd.step(w, v, d));
        }
        observer(Event::Step { done: epoch + 1, text: String::new() });
    }
    observer(Event::End);
    Ok(head)
}
