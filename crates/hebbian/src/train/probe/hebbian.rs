//! A classifier learned by a Hebbian rule with a teacher: one vector a class,
//! each following the mean of its class's features.

use hebbian_data::seed;
use rand::RngExt;

use super::LabelledFeatures;
use crate::linalg::add_assign;
use crate::network::Linear;
use crate::train::{Event, Observer};
use crate::update::{UpdateSums, reciprocals, row_norms};
use crate::{Error, Result};

/// Settings of [`train_hebbian_head`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HebbianHeadConfig {
    /// Learning rate.
    pub lr: f64,
    /// Images a step.
    pub batch: usize,
    /// Passes over the images.
    pub epochs: usize,
}

impl Default for HebbianHeadConfig {
    /// As published: 1e-3, 64, 20.
    fn default() -> Self {
        Self { lr: 1e-3, batch: 64, epochs: 20 }
    }
}

impl HebbianHeadConfig {
    /// # Errors
    /// [`Error::Config`] naming a field that is out of range.
    pub fn check(&self) -> Result<()> {
        let problem = |field: &str, problem: &str| Err(Error::config(field, problem));
        if !(self.lr > 0.0 && self.lr.is_finite()) {
            return problem("lr", "must be a number above 0");
        }
        if self.batch == 0 {
            return problem("batch", "is 0; it must be 1 or more");
        }
        if self.epochs == 0 {
            return problem("epochs", "is 0; it must be 1 or more");
        }
        Ok(())
    }
}

/// Class vectors with the teacher's rule, as the published code computes it
/// for its last layer: with the one-hot teacher `t` for the gate, the weights
/// for the reconstruction and an average weighted by the gate,
///
/// ```text
/// dw_k  = sum_n t_nk (x_n - w_k) / sum_n t_nk
/// score = w_k . x / ||w_k||
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct HebbianHead {
    /// Class vectors, classes x features.
    pub weights: Vec<f32>,
    /// Number of classes.
    pub classes: usize,
}

impl HebbianHead {
    /// Random class vectors, uniform in `+-1/sqrt(features)`, from the stream
    /// `init/hebbian-head` of `seed`.
    pub fn new(features: usize, classes: usize, seed: u64) -> Self {
        let mut rng = seed::stream(seed, "init/hebbian-head");
        let bound = 1.0 / (features as f32).sqrt();
        let weights = (0..classes * features).map(|_| rng.random_range(-bound..bound)).collect();
        Self { weights, classes }
    }

    /// Length of the features it takes.
    pub fn features(&self) -> usize {
        self.weights.len() / self.classes
    }

    /// Sums of the update over features (batch x feature length) and the
    /// classes of their images; those of parts of a batch add up. A class
    /// beyond the number of classes is passed over.
    pub fn sums(&self, features: &[f32], labels: &[u32]) -> UpdateSums {
        let f = self.features();
        let mut sums = UpdateSums {
            numerators: vec![0.0; self.weights.len()],
            denominators: vec![0.0; self.classes],
            ..UpdateSums::default()
        };
        for (x, &label) in features.chunks_exact(f).zip(labels) {
            let class = label as usize;
            if let Some(count) = sums.denominators.get_mut(class) {
                *count += 1.0;
                add_assign(&mut sums.numerators[class * f..][..f], x);
            }
        }
        let rows = sums.numerators.chunks_exact_mut(f).zip(self.weights.chunks_exact(f));
        for ((sum, w), count) in rows.zip(&sums.denominators) {
            sum.iter_mut().zip(w).for_each(|(sum, w)| *sum -= count * w);
        }
        sums
    }

    /// The linear classifier with the same scores: normalised class vectors
    /// and no bias.
    pub fn to_linear(&self) -> Linear {
        let f = self.features();
        let scale = reciprocals(&row_norms(&self.weights, f));
        let rows = self.weights.chunks_exact(f).zip(scale);
        let weights = rows.flat_map(|(w, scale)| w.iter().map(move |w| w * scale)).collect();
        Linear { weights, bias: vec![0.0; self.classes] }
    }
}

/// Trains class vectors, in batches of an order drawn from `seed` for each epoch.
///
/// In memory are the class vectors, their update and a batch of rows.
///
/// # Errors
/// Bad settings, weights that diverge, or what reading fails with.
pub fn train_hebbian_head(
    features: &LabelledFeatures<'_>,
    config: &HebbianHeadConfig,
    seed: u64,
    observer: Observer<'_>,
) -> Result<HebbianHead> {
    config.check()?;
    let LabelledFeatures { dim, labels, classes, read } = *features;
    let mut head = HebbianHead::new(dim, classes, seed);
    let (mut x, mut step) = (Vec::new(), 0);
    observer(Event::Stage { name: "class vectors", done: 0, total: config.epochs });
    for epoch in 0..config.epochs {
        let order = seed::shuffled(labels.len(), seed, &format!("shuffle/teacher/{epoch}"));
        for rows in order.chunks(config.batch) {
            step += 1;
            read(rows, &mut x)?;
            let labels: Vec<u32> = rows.iter().map(|&row| labels[row]).collect();
            head.sums(&x, &labels).apply(config.lr as f32, &mut head.weights);
            if !head.weights.iter().all(|w| w.is_finite()) {
                let (stage, layer) = ("training the class vectors", "the classifier".into());
                return Err(Error::Diverged { stage, layer, step });
            }
        }
        observer(Event::Step { done: epoch + 1, text: String::new() });
    }
    observer(Event::End);
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rule as its formula stands, in double precision.
    fn naive(w: &[f32], classes: usize, x: &[f32], labels: &[u32]) -> Vec<f64> {
        let f = w.len() / classes;
        let mut delta = vec![0.0; w.len()];
        for class in 0..classes {
            let members = x.chunks(f).zip(labels).filter(|(_, label)| **label as usize == class);
            let members: Vec<&[f32]> = members.map(|(x, _)| x).collect();
            for i in 0..f {
                let w = f64::from(w[class * f + i]);
                let steps = members.iter().map(|x| f64::from(x[i]) - w);
                delta[class * f + i] = steps.sum::<f64>() / members.len().max(1) as f64;
            }
        }
        delta
    }

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = seed::stream(seed, "test");
        (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    proptest! {
        #[test]
        fn sums_equal_the_formula_and_those_of_parts_add_up(
            (f, classes, n, cut) in (1usize..40, 2usize..6, 1usize..50, 0.0..1.0f64),
            seed: u64,
        ) {
            let head = HebbianHead::new(f, classes, seed);
            let x = numbers(n * f, seed);
            // The last class has no image.
            let labels: Vec<u32> = (0..n).map(|i| (i * 7 % (classes - 1)) as u32).collect();
            let whole = head.sums(&x, &labels);
            for (got, want) in whole.delta().iter().zip(naive(&head.weights, classes, &x, &labels)) {
                prop_assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
            }
            let cut = (cut * n as f64) as usize;
            let (a, b) = (head.sums(&x[..cut * f], &labels[..cut]), head.sums(&x[cut * f..], &labels[cut..]));
            for ((whole, a), b) in whole.numerators.iter().zip(&a.numerators).zip(&b.numerators) {
                prop_assert!((whole - a - b).abs() < 1e-4, "{whole} {a} {b}");
            }
            for ((whole, a), b) in whole.denominators.iter().zip(&a.denominators).zip(&b.denominators) {
                prop_assert_eq!(*whole, a + b);
            }
        }
    }

    #[test]
    fn many_small_steps_reach_the_means_and_scores_are_cosines_times_length() {
        let (f, classes, n) = (5, 3, 12);
        let mut head = HebbianHead::new(f, classes, 1);
        let x = numbers(n * f, 2);
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 3).collect();
        for _ in 0..200 {
            head.sums(&x, &labels).apply(0.1, &mut head.weights);
        }
        for class in 0..classes {
            for i in 0..f {
                let rows = (class..n).step_by(classes);
                let mean = rows.map(|row| x[row * f + i]).sum::<f32>() / 4.0;
                assert!((head.weights[class * f + i] - mean).abs() < 1e-5);
            }
        }
        let inner = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        for (x, scores) in x.chunks(f).zip(head.to_linear().forward(&x).chunks(classes)) {
            for (w, score) in head.weights.chunks(f).zip(scores) {
                assert!((inner(w, x) / inner(w, w).sqrt() - score).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn every_epoch_visits_each_vector_once_in_a_new_order() {
        let (f, classes, n) = (6, 3, 50);
        let x = numbers(n * f, 3);
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 3).collect();
        let read = |rows: &[usize], out: &mut Vec<f32>| {
            *out = rows.iter().flat_map(|&row| x[row * f..][..f].to_vec()).collect();
            Ok(())
        };
        let features = LabelledFeatures { dim: f, labels: &labels, classes, read: &read };
        let config = HebbianHeadConfig { lr: 0.5, batch: 20, epochs: 2 };
        let train = |config| train_hebbian_head(&features, &config, 7, &mut |_| {});
        let mut want = HebbianHead::new(f, classes, 7);
        for epoch in 0..2 {
            let order = seed::shuffled(n, 7, &format!("shuffle/teacher/{epoch}"));
            for rows in order.chunks(20) {
                let x: Vec<f32> = rows.iter().flat_map(|&row| x[row * f..][..f].to_vec()).collect();
                let labels: Vec<u32> = rows.iter().map(|&row| labels[row]).collect();
                let delta: Vec<f64> = naive(&want.weights, classes, &x, &labels);
                let step = want.weights.iter_mut().zip(delta);
                step.for_each(|(w, delta)| *w += 0.5 * delta as f32);
            }
        }
        for (got, want) in train(config).unwrap().weights.iter().zip(&want.weights) {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
        for (config, field) in [
            (HebbianHeadConfig { lr: 0.0, ..config }, "lr"),
            (HebbianHeadConfig { batch: 0, ..config }, "batch"),
            (HebbianHeadConfig { epochs: 0, ..config }, "epochs"),
        ] {
            let error = train(config).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
