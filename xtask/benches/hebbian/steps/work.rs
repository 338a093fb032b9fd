//! What a row runs, and in which form.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};
use hebbian::engine::{Device, Engine, HebbianStep, SupervisedStep};
use hebbian::floor;
use hebbian::network::NetworkSpec;
use hebbian::ops::{Geometry, Workspace};
use hebbian::rules::{self, Rule};
use hebbian::train::{FinetuneConfig, VaeConfig};
use hebbian::vae::VaeTrainer;

use super::forms::{self, Form};
use super::{CLASSES, RULES, Subject, VaeSubject};
use crate::peers::json_lines;
use crate::timing::Timing;

/// Steps a card is given in a run.
const QUEUED_STEPS: usize = 20;

/// One step on an engine.
type Step<'a> = &'a mut dyn FnMut(&mut dyn Engine) -> Result<()>;

/// What is done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Features with the running statistics.
    Forward,
    /// A pre-training step by a rule of [`RULES`].
    Hebbian(&'static str),
    /// Loss, gradients and an optimiser's step.
    Supervised,
    /// The same of the baseline's variational autoencoder.
    Vae,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward => f.write_str("forward"),
            Self::Hebbian(rule) => write!(f, "{rule} step"),
            Self::Supervised => f.write_str("supervised step"),
            Self::Vae => f.write_str("VAE step"),
        }
    }
}

impl FromStr for Work {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let others = [Self::Forward, Self::Supervised, Self::Vae];
        let all = RULES.map(Self::Hebbian).into_iter().chain(others);
        let mut named = all.filter(|work| work.to_string() == name);
        named.next().with_context(|| format!("'{name}' is nothing to measure"))
    }
}

/// The rule of that name with its published parameters.
pub(crate) fn rule(name: &str) -> Result<Box<dyn Rule>> {
    Ok(rules::build(name, toml::Table::new())?)
}

impl Work {
    /// The fewest multiply-accumulates for so many images.
    pub(crate) fn floor(self, spec: &NetworkSpec, images: usize) -> Result<u64> {
        let layers = spec.geometries()?;
        Ok(match self {
            Self::Forward => floor::forward(&layers, images),
            Self::Hebbian(name) => {
                let reconstruction = rule(name)?.reconstruction();
                floor::hebbian(&layers, 0..layers.len(), images, reconstruction)
            }
            Self::Supervised => {
                let features = layers.last().map_or(0, Geometry::output_len);
                floor::supervised(&layers, images, features * CLASSES)
            }
            Self::Vae => floor::vae(&layers, images, VaeConfig::default().latent),
        })
    }

    /// Measures it on the first `images` images.
    pub(crate) fn measure(
        self,
        device: &Device,
        form: Form,
        subject: Subject,
        images: usize,
        runs: usize,
    ) -> Result<Timing> {
        ensure!(images <= subject.labels.len(), "there are {} images", subject.labels.len());
        let x = subject.first(images);
        let mut engine = device.engine();
        // A card works through its queue while the next step is handed over;
        // the wait at the end is paid once for many steps, as in training.
        let steps =
            if matches!(device, Device::Cpu | Device::Processes(_)) { 1 } else { QUEUED_STEPS };
        let time = |engine: &mut dyn Engine, step: Step<'_>| -> Result<Timing> {
            let timing = Timing::of(runs, || {
                (0..steps).try_for_each(|_| step(engine))?;
                Ok::<_, Error>(engine.wait()?)
            })?;
            Ok(timing.over(steps))
        };
        match self {
            Self::Forward => {
                let network = &subject.network;
                time(engine.as_mut(), &mut |engine| {
                    engine.features(network, network.depth(), x)?;
                    Ok(())
                })
            }
            Self::Hebbian(name) => {
                let rule = rule(name)?;
                let rule = rule.as_ref();
                let lr = rules::info(name)?.learning_rate;
                let mut network = subject.projecting(rule.projection());
                if form != Form::Engine {
                    let mut workspace = Workspace::default();
                    return Timing::of(runs, || {
                        forms::step(form, rule, lr as f32, &mut network, x, &mut workspace);
                        Ok(())
                    });
                }
                let depth = network.depth();
                let rates = vec![lr; depth];
                let step =
                    HebbianStep { rule, x, learning: 0..depth, rates: &rates, measure: false };
                time(engine.as_mut(), &mut |engine| {
                    engine.hebbian_step(&mut network, &step)?;
                    Ok(())
                })
            }
            Self::Supervised => {
                let (mut network, mut head) = (subject.network.clone(), subject.head.clone());
                let config = FinetuneConfig::default();
                let (labels, sgd) = (&subject.labels[..images], config.sgd(config.lr));
                let step = SupervisedStep { x, labels, keep: &[], sgd };
                time(engine.as_mut(), &mut |engine| {
                    engine.supervised_step(&mut network, &mut head, &step)?;
                    Ok(())
                })
            }
            Self::Vae => {
                let VaeSubject { mut encoder, mut vae, noise } = VaeSubject::new(images)?;
                let (mut trainer, config) = (VaeTrainer::default(), VaeConfig::default());
                let (beta, sgd) = (config.beta, config.sgd(config.lr));
                Timing::of(runs, || {
                    trainer.gradients(&mut encoder, &mut vae, x, &noise, beta);
                    trainer.step(&mut encoder, &mut vae, &sgd);
                    Ok(())
                })
            }
        }
    }

    /// As [`Work::measure`], in a process of its own, so that no row inherits
    /// the memory of another; `inputs` is a file of [`Subject::write`].
    pub(super) fn measure_apart(
        self,
        (network, device): (&str, &str),
        form: Form,
        inputs: &Path,
        images: usize,
        runs: usize,
    ) -> Result<Timing> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--row", &self.to_string(), "--form", &form.to_string()]);
        command.args(["--network", network, "--device", device]);
        command.arg("--inputs").arg(inputs);
        command.args(["--images", &images.to_string(), "--runs", &runs.to_string()]);
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "measuring {self} failed; see above");
        let mut timings = json_lines(&self.to_string(), &output.stdout)?;
        match (timings.pop(), timings.is_empty()) {
            (Some(timing), true) => Ok(timing),
            _ => bail!("measuring {self} gave no single result"),
        }
    }
}
