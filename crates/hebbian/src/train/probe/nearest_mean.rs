//! The class whose mean is nearest.

use super::{BLOCK, LabelledFeatures};
use crate::Result;
use crate::network::Linear;
use crate::train::{Event, Observer};

/// The classifier that gives a vector the class of the nearest class mean, by
/// Euclidean distance: `m.x - |m|^2 / 2` is largest where `|x - m|` is
/// smallest. A class without a vector is never given. One pass; the means and
/// a block of rows are in memory.
///
/// # Errors
/// Those of reading.
pub fn nearest_mean(features: &LabelledFeatures<'_>, observer: Observer<'_>) -> Result<Linear> {
    let LabelledFeatures { dim, labels, classes, read } = *features;
    let (mut sums, mut counts) = (vec![0.0f64; classes * dim], vec![0usize; classes]);
    let mut x = Vec::new();
    observer(Event::Stage { name: "class means", done: 0, total: labels.len() });
    for start in (0..labels.len()).step_by(BLOCK) {
        let rows: Vec<usize> = (start..labels.len().min(start + BLOCK)).collect();
        read(&rows, &mut x)?;
        for (&row, x) in rows.iter().zip(x.chunks_exact(dim)) {
            let class = labels[row] as usize;
            counts[class] += 1;
            let sum = &mut sums[class * dim..][..dim];
            sum.iter_mut().zip(x).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        observer(Event::Step { done: start + rows.len(), text: String::new() });
    }
    observer(Event::End);
    let mut linear = Linear { weights: Vec::with_capacity(sums.len()), bias: Vec::new() };
    for (sum, count) in sums.chunks_exact(dim).zip(counts) {
        let mean: Vec<f64> = sum.iter().map(|sum| sum / count.max(1) as f64).collect();
        linear.weights.extend(mean.iter().map(|&m| m as f32));
        let half = mean.iter().map(|m| m * m).sum::<f64>() / 2.0;
        linear.bias.push(if count == 0 { f32::MIN } else { -half as f32 });
    }
    Ok(linear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mean_scores_best() {
        let vectors = [[0.0, 0.0], [2.0, 0.0], [10.0, 3.0], [10.0, 5.0]];
        let read = |rows: &[usize], out: &mut Vec<f32>| {
            *out = rows.iter().flat_map(|&row| vectors[row]).collect();
            Ok(())
        };
        // Class 1 has no vector; the means of the others are (1, 0) and (10, 4).
        let features = LabelledFeatures { dim: 2, labels: &[0, 0, 2, 2], classes: 3, read: &read };
        let linear = nearest_mean(&features, &mut |_| {}).unwrap();
        assert_eq!(linear.weights, [1.0, 0.0, 0.0, 0.0, 10.0, 4.0]);
        for (x, class) in [([1.0, 0.0], 0), ([5.0, 1.0], 0), ([6.0, 3.0], 2), ([99.0, 0.0], 2)] {
            let scores = linear.forward(&x);
            let best = (0..3).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            assert_eq!(best, Some(class), "{x:?}: {scores:?}");
        }
    }
}
