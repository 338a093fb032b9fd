//! Model files as earlier versions of the program wrote them still open.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use hebbian::network::{Model, Pretraining, Tensors};
use hebbian::rules::Projection;

/// Before models without a rule, biases and methods of pre-training: always a
/// rule, and no word of how it was pre-trained.
const ALWAYS_A_RULE: &str = r#"format_version = 1
classes = ["cat", "dog"]

[rule]
name = "soft-wta"

[rule.params]
temperature = 0.02

[provenance]
code_version = "0.1.0"
seed = 7
pretrained_images = 640
pretrained_epochs = 2
labels = 80
protocol = "strict"

[preprocess]
mean = [0.5, 0.25, 0.125]
std = [0.5, 0.25, 0.125]
whitening = "none"
smoothing = 0.0

[preprocess.size]
height = 4
width = 4

[network]
name = "tiny"
input = [4, 4, 3]

[[network.block]]
filters = 2
kernel = 3
stride = 1
padding = 0
pool = 2
norm = "relative"
"#;

fn tensors() -> Vec<u8> {
    let mut tensors = Tensors::default();
    let numbers = |n: usize| (1..=n).map(|i| i as f32).collect::<Vec<_>>();
    tensors.insert("L1.weight", &[2, 3, 3, 3], &numbers(54));
    for (i, part) in ["gamma", "beta", "mean", "var"].into_iter().enumerate() {
        tensors.insert(format!("L1.norm.{part}"), &[2], &[i as f32, 9.0]);
    }
    tensors.insert("head.weight", &[2, 2], &numbers(4));
    tensors.insert("head.bias", &[2], &numbers(2));
    tensors.to_bytes().unwrap()
}

fn open(text: &str) -> hebbian::Result<Model> {
    let (toml, file) = (Path::new("model.toml"), Path::new("model.safetensors"));
    Model::from_files(toml, text, file, &tensors())
}

#[test]
fn a_model_that_always_had_a_rule() {
    let model = open(ALWAYS_A_RULE).unwrap();
    assert_eq!(model.rule.as_ref().unwrap().name, "soft-wta");
    assert_eq!(model.projection(), Projection::Normalised);
    assert_eq!(model.provenance.pretraining, Pretraining::Hebbian);
    let block = &model.network.blocks[0];
    assert_eq!((&block.bias, block.weights[53], block.norm.var[0]), (&None, 54.0, 3.0));
    assert_eq!(model.head.unwrap().out.bias, [1.0, 2.0]);
    // One that was not pre-trained.
    let model = open(&ALWAYS_A_RULE.replace("images = 640", "images = 0")).unwrap();
    assert_eq!(model.provenance.pretraining, Pretraining::None);
}

#[test]
fn a_model_without_a_rule_opens_and_is_written_as_it_was() {
    let rule = ALWAYS_A_RULE.find("[rule]").unwrap()..ALWAYS_A_RULE.find("[provenance]").unwrap();
    let mut text = ALWAYS_A_RULE.to_owned();
    text.replace_range(rule, "");
    let text = text.replace("seed = 7", "seed = 7\npretraining = \"vae\"");
    let model = open(&text).unwrap();
    assert_eq!((&model.rule, model.projection()), (&None, Projection::Plain));
    assert_eq!(model.provenance.pretraining, Pretraining::Vae);
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path()).unwrap();
    let again = Model::load(folder.path()).unwrap();
    assert_eq!((&again.network, &again.head), (&model.network, &model.head));
    assert_eq!((&again.rule, &again.provenance), (&model.rule, &model.provenance));
    assert_eq!(again.fingerprint().unwrap(), model.fingerprint().unwrap());
}

#[test]
fn what_is_wrong_in_a_file_is_named() {
    let missing =
        open(&ALWAYS_A_RULE.replace("norm = \"relative\"", "norm = \"batch\"\nbias = true"));
    let message = missing.unwrap_err().to_string();
    assert!(message.contains("model.safetensors") && message.contains("L1.bias"), "{message}");
    let unknown = open(&ALWAYS_A_RULE.replace("seed = 7", "pretraining = \"magic\""));
    let message = unknown.unwrap_err().to_string();
    assert!(message.contains("model.toml: line 12") && message.contains("magic"), "{message}");
}
