//! A linear classifier on frozen features.

use hebbian_data::seed;

use super::{Event, FinetuneConfig, Observer};
use crate::network::{Head, cross_entropy};

/// Trains a linear classifier on features (n x feature length) that stay as
/// they are, by the same optimiser and schedule as fine-tuning, without
/// dropout.
pub fn train_head(
    features: &[f32],
    labels: &[u32],
    classes: usize,
    config: &FinetuneConfig,
    seed: u64,
    observer: Observer<'_>,
) -> Head {
    let f = features.len() / labels.len().max(1);
    let mut head = Head::new(f, classes, seed);
    let mut momentum = (vec![0.0; head.weights.len()], vec![0.0; classes]);
    let (mut d_weights, mut d_bias) = (Vec::new(), Vec::new());
    observer(Event::Stage { name: "linear probe", done: 0, total: config.epochs });
    for epoch in 0..config.epochs {
        let sgd = config.sgd(config.rate(epoch));
        let order = seed::shuffled(labels.len(), seed, &format!("shuffle/probe/{epoch}"));
        for rows in order.chunks(config.batch) {
            let x: Vec<f32> =
                rows.iter().flat_map(|&row| &features[row * f..(row + 1) * f]).copied().collect();
            let of_rows: Vec<u32> = rows.iter().map(|&row| labels[row]).collect();
            let mut d_scores = head.scores(&x);
            cross_entropy(&mut d_scores, &of_rows);
            head.gradients(&x, &d_scores, &mut d_weights, &mut d_bias);
            sgd.step(&mut head.weights, &mut momentum.0, &d_weights);
            sgd.step(&mut head.bias, &mut momentum.1, &d_bias);
        }
        observer(Event::Step { done: epoch + 1, text: String::new() });
    }
    observer(Event::End);
    head
}
