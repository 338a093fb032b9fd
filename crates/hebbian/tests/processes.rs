//! Training by several processes is training by one: threads stand in for the
//! processes here, which `hebb`'s tests start by MPI.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use common::folder;
use hebbian::collective::{Collective, Group, Threads};
use hebbian::engine::Device;
use hebbian::network::{HeadKind, Model, NetworkSpec, Tensors};
use hebbian::rules::{self, Rule};
use hebbian::train::{
    Checkpoint, Event, Every, FinetuneConfig, LabelledImages, LayerRates, PcaConfig,
    PretrainConfig, PretrainOrder, Protocol, RunFolder, finetune, pretrain, pretrain_pca,
};
use hebbian_data::{Augmentation, Dataset, Images, Preprocess, Size, Skipped, Whitening};

/// A layer by tiles of squares, one by tiles of patches and one by all patches
/// at once, with every normalisation.
const NETWORK: &str = r#"
name = "small"
input = [14, 14, 3]
block = [
    { filters = 8, kernel = 3, pool = 2, norm = "batch" },
    { filters = 12, kernel = 2, norm = "relative" },
    { filters = 60, kernel = "map", norm = "relative" },
]
"#;
const SIZE: Size = Size { height: 14, width: 14 };

fn model(rule: &dyn Rule, images: &Images) -> Model {
    let whitening = if rule.wants_whitening() { Whitening::Fh } else { Whitening::None };
    let preprocess = Preprocess::fit(images, SIZE, whitening, 0.01, &mut |_, _| {}).unwrap();
    let spec = NetworkSpec::parse(NETWORK, Path::new("small.toml")).unwrap();
    Model::new(spec, rule, preprocess, 1).unwrap()
}

/// What each of so many processes makes of `work`, which is given its device
/// and whether it is the first.
fn together<T: Send>(size: usize, work: impl Fn(&Device, bool) -> T + Sync) -> Vec<T> {
    in_parts(size, 1, work)
}

/// The same, each in so many parts.
fn in_parts<T: Send>(
    size: usize,
    parts: usize,
    work: impl Fn(&Device, bool) -> T + Sync,
) -> Vec<T> {
    std::thread::scope(|scope| {
        let members = Threads::group(size).into_iter().map(|member| {
            let work = &work;
            scope.spawn(move || {
                let first = member.rank() == 0;
                let group = Group::new(member).in_parts(parts);
                work(&Device::Cpu.shared(&group).unwrap(), first)
            })
        });
        let members: Vec<_> = members.collect();
        members.into_iter().map(|member| member.join().unwrap()).collect()
    })
}

/// Name, shape and numbers.
type Tensor = (String, Vec<usize>, Vec<f32>);

/// The numbers of a model by name.
fn tensors(model: &Model) -> Vec<Tensor> {
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path()).unwrap();
    let path = folder.path().join("model.safetensors");
    Tensors::from_bytes(&path, &std::fs::read(&path).unwrap()).unwrap().take_prefix("")
}

/// The greatest difference of any tensor's numbers over the greatest of them.
fn apart(model: &[Tensor], other: &[Tensor]) -> f32 {
    let mut most = 0.0f32;
    assert_eq!(model.len(), other.len());
    for ((name, _, values), (other_name, _, other)) in model.iter().zip(other) {
        assert_eq!(name, other_name);
        let largest = values.iter().fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
        let differ = values.iter().zip(other).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        most = most.max(differ / largest);
    }
    most
}

fn no_observer(_: Event<'_>) {}

/// Batches of 20 of 101 images: the last one has an image for one process only.
fn pretraining(epochs: usize) -> PretrainConfig {
    let lr = LayerRates::All(1e-3);
    PretrainConfig { epochs, batch: 20, lr, augment: Augmentation::Light, ..Default::default() }
}

fn pretrained(
    rule: &dyn Rule,
    images: &Images,
    epochs: usize,
    size: usize,
) -> Vec<(Model, Vec<Skipped>)> {
    let (start, config) = (model(rule, images), pretraining(epochs));
    together(size, |device, _| {
        let start = start.clone();
        pretrain(start, rule, images, &config, device, None, None, &mut no_observer).unwrap()
    })
}

#[test]
fn pretraining_by_any_rule_is_that_of_one_process() {
    let (_folder, data) = folder();
    let images = data.images();
    for info in rules::RULES {
        let rule = rules::build(info.name, toml::Table::new()).unwrap();
        // 102 steps of the published rules.
        let epochs = if matches!(info.name, "hpca" | "soft-wta") { 17 } else { 2 };
        let one = pretrained(rule.as_ref(), &images, epochs, 1).remove(0);
        assert_eq!(one.0.provenance.pretrained_images, 98);
        for size in [2, 3] {
            let many = pretrained(rule.as_ref(), &images, epochs, size);
            for (model, skipped) in &many {
                assert_eq!(tensors(model), tensors(&many[0].0), "{}: replicas differ", info.name);
                assert_eq!(model.provenance, one.0.provenance);
                let rows = |skipped: &[Skipped]| {
                    let mut rows: Vec<usize> = skipped.iter().map(|image| image.row).collect();
                    rows.sort_unstable();
                    rows
                };
                assert_eq!(rows(skipped), rows(&one.1));
            }
            let differ = apart(&tensors(&one.0), &tensors(&many[0].0));
            assert!(differ < 1e-6, "{} by {size} processes: {differ:.1e}", info.name);
        }
    }
}

fn labelled(data: &Dataset, rows: std::ops::Range<usize>) -> LabelledImages {
    let data = data.subset(&rows.collect::<Vec<_>>());
    let labels = data.labels().into_iter().flatten().collect();
    LabelledImages { images: data.images(), labels }
}

/// The lines of metrics without what the clock and the machine say.
fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        fields.retain(|key, _| {
            !["time", "images_per_second", "over_floor", "memory_mib"].contains(&&**key)
        });
        line
    };
    text.lines().map(line).collect()
}

#[test]
fn metrics_of_pretraining_are_of_all_images_of_a_batch() {
    let (_folder, data) = folder();
    let images = data.images();
    for rule in ["hpca", "soft-wta"] {
        let rule = rules::build(rule, toml::Table::new()).unwrap();
        let (start, config) = (model(rule.as_ref(), &images), pretraining(4));
        let lines = |size: usize| {
            let folder = tempfile::tempdir().unwrap();
            let run = folder.path().join("run");
            together(size, |device, first| {
                let mut run = first.then(|| RunFolder::create(&run, "", false).unwrap());
                let (start, rule, run) = (start.clone(), rule.as_ref(), run.as_mut());
                pretrain(start, rule, &images, &config, device, run, None, &mut no_observer)
                    .unwrap()
            });
            metrics(&run)
        };
        let values = |line: &serde_json::Value| {
            let all = ["change", "spread"].map(|key| line[key].as_array().unwrap().clone());
            all.concat().iter().map(|value| value.as_f64().unwrap()).collect::<Vec<_>>()
        };
        let (one, two) = (lines(1), lines(2));
        assert_eq!((one.len(), two.len()), (2, 2));
        for (one, two) in one.iter().zip(&two) {
            let pairs = values(one).into_iter().zip(values(two));
            pairs.for_each(|(a, b)| assert!((a - b).abs() <= 1e-4 * a, "{one}\n{two}"));
        }
    }
}

/// Without what cannot be read: the parts of what is left would be others.
fn readable(data: &Dataset) -> Dataset {
    let order = (0..data.len()).collect();
    let batches = hebbian_data::batches(&data.images(), order, 50, SIZE);
    data.subset(&batches.flat_map(|batch| batch.unwrap().rows).collect::<Vec<_>>())
}

/// Fine-tuning follows every rounding: where a rectified unit or the maximum of a
/// pool changes sides, gradients jump. So the number of processes changes nothing
/// only where the batch is computed in the same parts; then not a bit.
#[test]
fn fine_tuning_in_parts_is_the_same_for_any_number_of_processes() {
    let (_folder, data) = folder();
    let data = readable(&data);
    let (train, validation) = (labelled(&data, 0..98), labelled(&data, 40..71));
    for (rule, classifier, protocol) in [
        ("hpca", HeadKind::Linear, Protocol::Strict),
        ("soft-wta", HeadKind::Hidden(24), Protocol::Published),
    ] {
        let rule = rules::build(rule, toml::Table::new()).unwrap();
        let start = model(rule.as_ref(), &train.images);
        // 100 steps with dropout and weight decay; the last batch is of 18.
        let config = FinetuneConfig {
            epochs: 20,
            batch: 20,
            protocol,
            augment: Augmentation::Light,
            classifier,
            ..FinetuneConfig::default()
        };
        let validation = (protocol == Protocol::Published).then_some(&validation);
        let tuned = |size: usize, parts: usize| {
            let folder = tempfile::tempdir().unwrap();
            let run = folder.path().join("run");
            let models = in_parts(size, parts / size, |device, first| {
                let mut run = first.then(|| RunFolder::create(&run, "", false).unwrap());
                let (start, classes) = (start.clone(), data.classes());
                let observer = &mut no_observer;
                let run = run.as_mut();
                finetune(start, &train, validation, classes, &config, device, run, None, observer)
                    .unwrap()
            });
            let models: Vec<_> = models.iter().map(|(model, _)| tensors(model)).collect();
            assert!(models.iter().all(|model| *model == models[0]), "replicas differ");
            (models.into_iter().next().unwrap(), metrics(&run))
        };
        let (one, of_one) = tuned(1, 4);
        // One an epoch, and one every ten steps.
        assert_eq!(of_one.len(), 20 + 10);
        for size in [2, 4] {
            let (many, of_many) = tuned(size, 4);
            assert!(one == many, "{classifier:?} by {size} processes");
            assert_eq!(of_one, of_many);
        }
    }
}

#[test]
fn a_step_of_fine_tuning_is_that_of_one_process() {
    let (_folder, data) = folder();
    // One batch of 101 images, of which three cannot be read.
    let train = labelled(&data, 0..101);
    let rule = rules::build("hpca", toml::Table::new()).unwrap();
    let start = model(rule.as_ref(), &train.images);
    for classifier in [HeadKind::Linear, HeadKind::Hidden(24)] {
        let config =
            FinetuneConfig { epochs: 1, batch: 101, classifier, ..FinetuneConfig::default() };
        let tuned = |size: usize| {
            let models = together(size, |device, _| {
                let (start, classes, observer) = (start.clone(), data.classes(), &mut no_observer);
                finetune(start, &train, None, classes, &config, device, None, None, observer)
                    .unwrap()
            });
            assert!(models.iter().all(|(_, skipped)| skipped.len() == 3));
            models.into_iter().next().unwrap().0
        };
        let one = tuned(1);
        for size in [2, 3] {
            let many = tuned(size);
            let of = |model: &Model| {
                let weights = |name: &str| name.ends_with("weight") || name.ends_with("norm.var");
                tensors(model).into_iter().filter(|(name, ..)| weights(name)).collect::<Vec<_>>()
            };
            let differ = apart(&of(&one), &of(&many));
            assert!(differ < 1e-6, "{classifier:?} by {size} processes: {differ:.1e}");
        }
    }
}

/// Pre-training in parts, frozen layers among them, to the same bits.
#[test]
fn pretraining_in_parts_is_the_same_for_any_number_of_processes() {
    let (_folder, data) = folder();
    let images = labelled(&readable(&data), 20..61).images;
    for (rule, order) in [
        ("hpca", PretrainOrder::Together),
        ("soft-wta", PretrainOrder::Successive),
        ("hica-normalised", PretrainOrder::Together),
    ] {
        let rule = rules::build(rule, toml::Table::new()).unwrap();
        let config = PretrainConfig { order, ..pretraining(2) };
        let start = model(rule.as_ref(), &images);
        let trained = |size: usize| {
            let models = in_parts(size, 4 / size, |device, _| {
                let (start, observer) = (start.clone(), &mut no_observer);
                pretrain(start, rule.as_ref(), &images, &config, device, None, None, observer)
                    .unwrap()
            });
            assert!(models[0].1.is_empty());
            models.into_iter().map(|(model, _)| tensors(&model)).collect::<Vec<_>>()
        };
        let one = trained(1).remove(0);
        for size in [2, 4] {
            assert!(trained(size).iter().all(|model| *model == one), "{} by {size}", rule.name());
        }
    }
}

fn components(
    images: &Images,
    config: &PcaConfig,
    (size, parts): (usize, usize),
) -> Vec<(Model, Vec<Skipped>)> {
    let rule = rules::build("hpca", toml::Table::new()).unwrap();
    let start = model(rule.as_ref(), images);
    in_parts(size, parts / size, |device, _| {
        let start = start.clone();
        pretrain_pca(start, images, config, device, None, None, &mut no_observer).unwrap()
    })
}

/// By several processes and in parts, more of them than some have images.
#[test]
fn principal_components_are_those_of_one_process() {
    let (_folder, data) = folder();
    let images = data.images();
    for (images, config) in [
        (images.clone(), PcaConfig { images: 70, patches: 20 }),
        (images.subset(&[19, 20, 21]), PcaConfig::default()),
    ] {
        let (one, skipped) = components(&images, &config, (1, 1)).remove(0);
        assert!(one.provenance.pretrained_images > 1);
        for (size, parts) in [(2, 2), (3, 3), (1, 8)] {
            let many = components(&images, &config, (size, parts));
            for (model, left_out) in &many {
                assert_eq!(tensors(model), tensors(&many[0].0), "replicas differ");
                assert_eq!(model.provenance, one.provenance);
                assert_eq!(*left_out, skipped);
            }
            let differ = apart(&tensors(&one), &tensors(&many[0].0));
            assert!(differ < 1e-6, "{size} processes, {parts} parts: {differ:.1e}");
        }
        // In the same parts, to the bit.
        let eight = components(&images, &config, (1, 8)).remove(0).0;
        for size in [2, 4, 8] {
            let many = components(&images, &config, (size, 8)).remove(0).0;
            assert!(tensors(&many) == tensors(&eight), "{size} processes");
        }
    }
}

/// A run by two processes, of which the last checkpoint within an epoch is kept,
/// goes on by three.
#[test]
fn a_run_goes_on_with_another_number_of_processes() {
    let (_folder, data) = folder();
    let images = data.images();
    let rule = rules::build("soft-wta", toml::Table::new()).unwrap();
    let config = pretraining(2);
    let start = model(rule.as_ref(), &images);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let run = |size: usize, mut from: Vec<Checkpoint>| {
        let from = Mutex::new(&mut from);
        let models = together(size, |device, first| {
            let from = from.lock().unwrap().pop();
            let folder = first.then(|| match &from {
                None => RunFolder::create(&path, "", true).unwrap(),
                Some(_) => RunFolder::resume(&path, "").unwrap(),
            });
            let mut folder = folder.map(|folder| folder.every(Every::Time(Duration::ZERO)));
            let (start, rule, run) = (start.clone(), rule.as_ref(), folder.as_mut());
            let observer = &mut no_observer;
            pretrain(start, rule, &images, &config, device, run, from, observer).unwrap().0
        });
        models.into_iter().next().unwrap()
    };
    let whole = run(1, Vec::new());
    run(2, Vec::new());
    // The last one is the end.
    std::fs::remove_dir_all(path.join("checkpoints/00000012")).unwrap();
    let load = |_| RunFolder::resume(&path, "").unwrap().load().unwrap().unwrap();
    let saved: Vec<Checkpoint> = (0..3).map(load).collect();
    assert_eq!((saved[0].cursor.epoch, saved[0].cursor.batch), (1, 5));
    let on = run(3, saved);
    assert_eq!(on.provenance, whole.provenance);
    let differ = apart(&tensors(&whole), &tensors(&on));
    assert!(differ < 1e-6, "{differ:.1e}");
}
