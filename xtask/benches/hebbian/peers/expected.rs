//! What a peer must compute: the same as ours, from the same inputs.

use anyhow::{Context, Result, bail};
use hebbian::engine::Trainer;
use hebbian::network::Tensors;
use hebbian::ops::Workspace;
use hebbian::train::{FinetuneConfig, VaeConfig};
use hebbian::update::hebbian_step;
use hebbian::vae::VaeTrainer;

use crate::steps::{Subject, VaeSubject, Work, difference, rule};

/// Largest difference relative to the largest entry of a tensor. Forms of one
/// layer agree ten times better; through five layers, each normalised and
/// with a sharp softmax, rounding grows.
const TOLERANCE: f64 = 1e-3;
/// The same for gradients, in the Euclidean norm. A response within rounding of
/// zero is active in one program and not in the other, and with it the gradient
/// of one image through all layers below: two memory layouts of PyTorch differ
/// by a hundredth.
const KINK_TOLERANCE: f64 = 3e-2;

/// A tensor that a peer writes, and what it should hold.
struct Expected {
    name: String,
    values: Vec<f32>,
    /// What to subtract of both first: a step is small beside the weights.
    from: Vec<f32>,
    /// Whether it depends on which responses are above zero.
    is_gradient: bool,
}

impl Expected {
    fn new(name: impl Into<String>, values: Vec<f32>) -> Self {
        Self { name: name.into(), values, from: Vec::new(), is_gradient: false }
    }
}

/// Compares the tensors a peer wrote with ours from the first `images` images
/// of the subject. Returns the largest relative difference, of gradients in
/// the Euclidean norm.
///
/// # Errors
/// If one is missing, or differs by more than [`TOLERANCE`] or, of gradients,
/// [`KINK_TOLERANCE`].
pub(super) fn compare(
    peer: &str,
    work: Work,
    subject: &Subject,
    images: usize,
    got: &Tensors,
) -> Result<f64> {
    let mut worst = 0.0f64;
    for Expected { name, mut values, from, is_gradient } in expected(work, subject, images)? {
        let got = got.get(&name).with_context(|| format!("{peer} has not written {name}"))?;
        if got.len() != values.len() {
            bail!("{peer} has written {} numbers as {name}, not {}", got.len(), values.len());
        }
        let mut got = got.to_vec();
        for moved in [&mut got, &mut values] {
            moved.iter_mut().zip(&from).for_each(|(value, from)| *value -= from);
        }
        let (apart, allowed) = if is_gradient {
            (relative_norm(&got, &values), KINK_TOLERANCE)
        } else {
            (difference(&got, &values), TOLERANCE)
        };
        if apart.is_nan() || apart > allowed {
            bail!(
                "{work}: {name} of {peer} differs from ours by {apart:.1e} where {allowed:e} is \
                 allowed; times of programs that do not agree mean nothing"
            );
        }
        worst = worst.max(apart);
    }
    Ok(worst)
}

/// `||a - b|| / ||b||`.
fn relative_norm(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let apart: f64 = a.iter().zip(b).map(|(&a, &b)| square(a - b)).sum();
    let norm: f64 = b.iter().map(|&b| square(b)).sum();
    (apart / norm.max(f64::MIN_POSITIVE)).sqrt()
}

fn expected(work: Work, subject: &Subject, images: usize) -> Result<Vec<Expected>> {
    let x = subject.first(images);
    Ok(match work {
        Work::Forward => {
            let network = &subject.network;
            let features = network.features(network.depth(), x, &mut Workspace::default());
            vec![Expected::new("features", features)]
        }
        Work::Hebbian(name) => {
            let rule = rule(name)?;
            let mut network = subject.projecting(rule.projection());
            let mut workspace = Workspace::default();
            let mut all = Vec::new();
            let mut map = x.to_vec();
            for (index, block) in network.blocks.iter_mut().enumerate() {
                let (g, weights) = (block.geometry, &block.weights);
                let mut out = vec![0.0; images * g.output_len()];
                let (rule, workspace) = (rule.as_ref(), &mut workspace);
                let sums = hebbian_step(rule, &g, images, &map, weights, workspace, &mut out);
                block.norm.train(&mut out);
                map.clone_from(&out);
                all.push(Expected::new(format!("L{}.delta", index + 1), sums.delta()));
                all.push(Expected::new(format!("L{}.out", index + 1), out));
            }
            all
        }
        Work::Supervised => supervised(subject, images),
        Work::Vae => vae(x, images)?,
    })
}

/// Loss, gradients and the step that the optimiser takes from rest.
fn supervised(subject: &Subject, images: usize) -> Vec<Expected> {
    let (mut network, mut head) = (subject.network.clone(), subject.head.clone());
    let (mut trainer, config) = (Trainer::default(), FinetuneConfig::default());
    let (x, labels) = (subject.first(images), &subject.labels[..images]);
    let found = trainer.gradients(&mut network, &mut head, x, labels, &[], false);
    let (loss, gradients) = (found.loss as f32, found.by_parameter.clone());
    trainer.step(&mut network, &mut head, &config.sgd(config.lr));
    let mut parameters = Vec::new();
    for (index, (before, after)) in subject.network.blocks.iter().zip(network.blocks).enumerate() {
        let layer = format!("L{}", index + 1);
        let (norm, moved) = (&before.norm, after.norm);
        parameters.push((format!("{layer}.weight"), &before.weights, after.weights));
        parameters.push((format!("{layer}.gamma"), &norm.gamma, moved.gamma));
        parameters.push((format!("{layer}.beta"), &norm.beta, moved.beta));
    }
    parameters.push(("head.weight".into(), &subject.head.out.weights, head.out.weights));
    parameters.push(("head.bias".into(), &subject.head.out.bias, head.out.bias));
    let mut all = vec![Expected::new("loss", vec![loss])];
    for ((name, before, after), gradient) in parameters.into_iter().zip(gradients) {
        let gradient = Expected::new(format!("{name}.gradient"), gradient);
        all.push(Expected { is_gradient: true, ..gradient });
        let (name, from) = (format!("{name}.after"), before.clone());
        all.push(Expected { name, values: after, from, is_gradient: true });
    }
    all
}

/// Losses, images and the gradients by the weights. Images go back to where
/// the maxima were, which rounding may decide, so they count as gradients do.
fn vae(x: &[f32], images: usize) -> Result<Vec<Expected>> {
    let VaeSubject { mut encoder, mut vae, noise } = VaeSubject::new(images)?;
    let mut trainer = VaeTrainer::default();
    let beta = VaeConfig::default().beta;
    let losses = trainer.gradients(&mut encoder, &mut vae, x, &noise, beta);
    let losses = vec![losses.reconstruction as f32, losses.divergence as f32];
    let names = vae.parameters(&encoder).into_iter().map(|(name, _)| name);
    let gradients = names.zip(trainer.by_parameter()).filter(|(name, _)| name.ends_with(".weight"));
    let gradients = gradients.map(|(name, d)| (format!("{name}.gradient"), d.clone()));
    let delicate = [("images".to_owned(), trainer.images().to_vec())].into_iter().chain(gradients);
    let delicate = delicate
        .map(|(name, values)| Expected { is_gradient: true, ..Expected::new(name, values) });
    Ok([Expected::new("losses", losses)].into_iter().chain(delicate).collect())
}
