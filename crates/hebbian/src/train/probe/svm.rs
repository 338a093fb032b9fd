//! Linear support vector machines, one a class against the rest, by dual
//! coordinate descent (Hsieh et al., *A Dual Coordinate Descent Method for
//! Large-scale Linear SVM*, ICML 2008, Algorithm 1).

use hebbian_data::seed;
use rayon::prelude::*;

use super::{BLOCK, LabelledFeatures};
use crate::error::{Error, Result};
use crate::linalg::simd;
use crate::network::Linear;
use crate::train::{Event, Observer};

/// Smaller steps of a dual variable are not taken.
const NEGLIGIBLE: f64 = 1e-12;

/// Settings of a linear support vector machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SvmConfig {
    /// Weight `C` of the loss beside the regularisation.
    pub penalty: f64,
    /// A class has settled when its projected gradients differ by no more.
    pub tolerance: f64,
    /// Most passes over the features.
    pub epochs: usize,
}

impl Default for SvmConfig {
    /// As scikit-learn's `LinearSVC`: `C = 1`, tolerance 1e-4, 1000 passes.
    fn default() -> Self {
        Self { penalty: 1.0, tolerance: 1e-4, epochs: 1000 }
    }
}

/// A trained machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Svm {
    /// Weights and bias of each class.
    pub linear: Linear,
    /// Classes that had not settled after the last pass.
    pub unsettled: usize,
}

/// One class against the rest.
struct Machine {
    class: u32,
    /// Weights, then bias.
    w: Vec<f64>,
    /// Dual variables, one a vector.
    alpha: Vec<f64>,
    /// Least and largest projected gradient of the pass.
    span: [f64; 2],
    settled: bool,
}

impl Machine {
    /// Moves the dual variables of a block of vectors, one after the other.
    fn visit(&mut self, rows: &[usize], x: &[f32], labels: &[u32], diagonal: f64) {
        let Self { class, w, alpha, span, .. } = self;
        let Some((bias, w)) = w.split_last_mut() else { return };
        for (&row, x) in rows.iter().zip(x.chunks_exact(w.len())) {
            let (y, alpha) = (if labels[row] == *class { 1.0 } else { -1.0 }, &mut alpha[row]);
            let [product, squared] = products(w, x);
            let gradient = y * (product + *bias) - 1.0 + diagonal * *alpha;
            let projected = if *alpha > 0.0 { gradient } else { gradient.min(0.0) };
            *span = [span[0].min(projected), span[1].max(projected)];
            if projected.abs() > NEGLIGIBLE {
                // The bias is the weight of a feature that is always 1.
                let next = (*alpha - gradient / (squared + 1.0 + diagonal)).max(0.0);
                let step = (next - *alpha) * y;
                w.iter_mut().zip(x).for_each(|(w, &x)| *w += step * f64::from(x));
                *bias += step;
                *alpha = next;
            }
        }
    }
}

/// `w.x` and `x.x`, in eight interleaved sums.
fn products(w: &[f64], x: &[f32]) -> [f64; 2] {
    simd(
        #[inline(always)]
        || {
            let mut sums = [[0.0f64; 8]; 2];
            let ((w, w_tail), (x, x_tail)) = (w.as_chunks::<8>(), x.as_chunks::<8>());
            for (w, x) in w.iter().zip(x) {
                for lane in 0..8 {
                    let x = f64::from(x[lane]);
                    sums[0][lane] += w[lane] * x;
                    sums[1][lane] += x * x;
                }
            }
            for (lane, (&w, &x)) in w_tail.iter().zip(x_tail).enumerate() {
                let x = f64::from(x);
                sums[0][lane] += w * x;
                sums[1][lane] += x * x;
            }
            sums.map(|lanes| lanes.iter().sum())
        },
    )
}

/// Trains a machine for each class against the rest: the weights and bias that
/// minimise `(|w|^2 + b^2) / 2 + C sum_n max(0, 1 - y_n (w.x_n + b))^2`, with
/// `y_n` 1 for the class and -1 for the rest, as scikit-learn's `LinearSVC`
/// does. Vectors are visited in an order drawn from `seed` for each pass.
///
/// In memory are a block of rows, and for each class 8 bytes a feature and a
/// vector.
///
/// # Errors
/// If a setting is out of its range, or reading fails.
pub fn train_svm(
    features: &LabelledFeatures<'_>,
    config: &SvmConfig,
    seed: u64,
    observer: Observer<'_>,
) -> Result<Svm> {
    let SvmConfig { penalty, tolerance, epochs } = *config;
    for (field, value) in [("svm.penalty", penalty), ("svm.tolerance", tolerance)] {
        if !(value > 0.0 && value <= 1e12) {
            let problem = format!("is {value}; it must be a number above 0, at most 1e12");
            return Err(Error::config(field, problem));
        }
    }
    let LabelledFeatures { dim, labels, classes, read } = *features;
    let machine = |class| Machine {
        class,
        w: vec![0.0; dim + 1],
        alpha: vec![0.0; labels.len()],
        span: [0.0; 2],
        settled: false,
    };
    let mut machines: Vec<Machine> = (0..classes as u32).map(machine).collect();
    let diagonal = 0.5 / penalty;
    let mut x = Vec::new();
    observer(Event::Stage { name: "support vector machine", done: 0, total: epochs });
    for epoch in 0..epochs {
        machines.iter_mut().for_each(|m| m.span = [f64::INFINITY, f64::NEG_INFINITY]);
        let order = seed::shuffled(labels.len(), seed, &format!("shuffle/svm/{epoch}"));
        for rows in order.chunks(BLOCK) {
            read(rows, &mut x)?;
            let moving = machines.par_iter_mut().filter(|m| !m.settled);
            moving.for_each(|m| m.visit(rows, &x, labels, diagonal));
        }
        for m in &mut machines {
            m.settled |= m.span[1] - m.span[0] <= tolerance;
        }
        let settled = machines.iter().filter(|m| m.settled).count();
        let text = format!("{settled} of {classes} classes settled");
        observer(Event::Step { done: epoch + 1, text });
        if settled == classes {
            break;
        }
    }
    observer(Event::End);
    let mut linear = Linear { weights: Vec::with_capacity(classes * dim), bias: Vec::new() };
    for m in &machines {
        linear.weights.extend(m.w[..dim].iter().map(|&w| w as f32));
        linear.bias.push(m.w[dim] as f32);
    }
    Ok(Svm { linear, unsettled: machines.iter().filter(|m| !m.settled).count() })
}
