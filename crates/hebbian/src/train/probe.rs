//! A linear classifier on frozen features.

use hebbian_data::seed;

use super::{Event, FinetuneConfig, Observer};
use crate::linalg::{Mat, MatMut, gemm};
use crate::network::{Head, softmax_rows};

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
    let (mu, decay) = (config.momentum as f32, config.weight_decay as f32);
    observer(Event::Stage { name: "linear probe", done: 0, total: config.epochs });
    for epoch in 0..config.epochs {
        let lr = config.rate(epoch) as f32;
        let order = seed::shuffled(labels.len(), seed, &format!("shuffle/probe/{epoch}"));
        for rows in order.chunks(config.batch) {
            let x: Vec<f32> =
                rows.iter().flat_map(|&row| &features[row * f..(row + 1) * f]).copied().collect();
            let mut d_scores = head.scores(&x);
            softmax_rows(&mut d_scores, classes);
            for (scores, &row) in d_scores.chunks_exact_mut(classes).zip(rows) {
                scores[labels[row] as usize] -= 1.0;
                scores.iter_mut().for_each(|d| *d /= rows.len() as f32);
            }
            let mut d_weights = vec![0.0; classes * f];
            let out = &mut MatMut::new(&mut d_weights, classes, f);
            let d = Mat::new(&d_scores, rows.len(), classes);
            gemm(out, 0.0, 1.0, d.t(), Mat::new(&x, rows.len(), f));
            let mut d_bias = vec![0.0; classes];
            for row in d_scores.chunks_exact(classes) {
                d_bias.iter_mut().zip(row).for_each(|(sum, d)| *sum += d);
            }
            let parts = [
                (&mut head.weights, &mut momentum.0, d_weights),
                (&mut head.bias, &mut momentum.1, d_bias),
            ];
            for (w, v, d) in parts {
                for ((w, v), d) in w.iter_mut().zip(v).zip(d) {
                    let d = d + decay * *w;
                    *v = mu * *v + d;
                    *w -= lr * (d + mu * *v);
                }
            }
        }
        observer(Event::Step { done: epoch + 1, text: String::new() });
    }
    observer(Event::End);
    head
}
