//! Training: pre-training without labels by a Hebbian rule, by the principal
//! components that one of them ends at or, as the baseline, as the encoder of a
//! variational autoencoder; fine-tuning with few labels; and the runs on disk that
//! all can be resumed from.

mod checkpoint;
mod config;
mod evaluate;
mod events;
mod finetune;
mod metrics;
mod pace;
mod pca;
mod pretrain;
mod probe;
mod together;
mod vae;

pub use checkpoint::{Checkpoint, Cursor, RunFolder};
pub use config::{
    FinetuneConfig, LayerRates, PcaConfig, PretrainConfig, PretrainOrder, Protocol, Schedule,
    VaeConfig,
};
pub use evaluate::{Scores, accuracy, for_each_features, for_each_map, score};
pub use finetune::{check_labels, finetune};
pub use metrics::curves;
pub use pace::{Every, Stop};
pub use pca::{check_components, pretrain_pca};
pub use pretrain::{check_rule, pretrain};
pub use probe::{
    HebbianHead, HebbianHeadConfig, LabelledFeatures, Nystroem, ReadRows, Svm, SvmConfig,
    nearest_mean, train_head, train_hebbian_head, train_svm,
};
pub use vae::pretrain_vae;

use hebbian_data::{Images, Skipped};

/// Images with a label each.
#[derive(Clone)]
pub struct LabelledImages {
    /// The images.
    pub images: Images,
    /// Class of each image.
    pub labels: Vec<u32>,
}

/// What a long job tells whoever watches it.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A stage of `total` steps begins; `done` of them may be done already.
    Stage {
        /// What it does.
        name: &'a str,
        /// Steps done before.
        done: usize,
        /// Steps in all.
        total: usize,
    },
    /// So many steps of the stage are done.
    Step {
        /// Steps done.
        done: usize,
        /// State in a few words.
        text: String,
    },
    /// The stage is over.
    End,
    /// Images that could not be read and were left out.
    Skipped(&'a [Skipped]),
}

/// Receives the events of a job.
pub type Observer<'a> = &'a mut dyn FnMut(Event<'_>);
