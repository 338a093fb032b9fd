//! What is wrong in a file is named with its line and field.

use std::path::Path;

use super::*;
use crate::grid::Part;

pub(crate) const EXAMPLE: &str = r#"name = "example"
title = "An example"
reference = "Somebody, Table 1"

[data]
name = "pictures"
train = "train"
test = "test.tar"

[split]
train = 80
validation = 20
seed = 200
stratified = false

[[method]]
name = "none"
pretrain = "none"

[[method]]
name = "HPCA"
pretrain = "hpca"
settings = { epochs = 3, lr = 1e-2 }

[grid]
layers = ["L1", "L2"]
seeds = [7, 8, 9]
regimes = [
    { fraction = 0.1 },
    { fraction = 1.0, seeds = 1 },
]

[finetune]
epochs = 4

[retrieval]
layers = ["L2"]
fractions = [0.1]
ks = [1, 5]

[convergence]
fraction = 0.5

[[paper]]
method = "VAE"
fraction = 0.1
accuracy = { L1 = 33.54, L2 = 34.41 }
"#;

pub(crate) fn example() -> Experiment {
    Experiment::parse(EXAMPLE, Path::new("a.toml")).unwrap()
}

#[test]
fn a_file_says_what_it_says() {
    let e = example();
    assert_eq!((e.name.as_str(), e.title.as_str()), ("example", "An example"));
    assert_eq!(e.regimes[1], Regime { fraction: 1.0, seeds: vec![7] });
    assert_eq!(e.seeds(), [7, 8, 9]);
    assert_eq!(e.methods[1].pretraining.epochs(), 3);
    assert_eq!((e.finetune.epochs, e.finetune.batch), (4, 64));
    assert_eq!(e.paper("VAE", 0.1, "L2"), Some(34.41));
    assert_eq!(e.paper("VAE", 1.0, "L2"), None);
    assert_eq!(e.convergence.as_ref().unwrap().layers, ["L1", "L2"]);
    // One draw a repetition, unless it is fixed.
    assert_eq!([7, 8].map(|seed| e.split.seed_of(seed)), [207, 208]);
    let fixed = EXAMPLE.replace("seed = 200", "seed = 200\nredraw = false");
    let fixed = Experiment::parse(&fixed, Path::new("a.toml")).unwrap();
    assert_eq!([7, 8].map(|seed| fixed.split.seed_of(seed)), [200, 200]);
}

#[test]
fn whitening_is_the_published_one_unless_said_otherwise() {
    let wta = EXAMPLE.replace("pretrain = \"hpca\"", "pretrain = \"soft-wta\"");
    let method =
        |text: &str| Experiment::parse(text, Path::new("a.toml")).unwrap().methods[1].clone();
    assert_eq!(method(&wta).whitening, hebbian_data::Whitening::Fh);
    let plain = wta.replace("\"soft-wta\"", "\"soft-wta\"\nwhitening = \"none\"");
    assert_eq!(method(&plain).whitening, hebbian_data::Whitening::None);
}

#[test]
fn every_mistake_is_named_with_line_and_field() {
    let cases: &[(&str, &str, usize, &[&str])] = &[
        ("title =", "titel =", 2, &["titel"]),
        ("name = \"example\"", "name = \"../x\"", 1, &["name", "../x"]),
        ("train = 80", "train = true", 11, &["whole number of images"]),
        ("validation = 20", "validatoin = 20", 12, &["validatoin"]),
        ("pretrain = \"none\"", "pretrain = \"nothing\"", 18, &["nothing", "none", "soft-wta"]),
        ("pretrain = \"none\"", "pretrain = \"none\"\nsettings = { epochs = 2 }", 19, &["epochs"]),
        ("name = \"HPCA\"", "name = \"none\"", 21, &["method.name", "twice"]),
        ("epochs = 3, lr", "epocs = 3, lr", 23, &["HPCA", "epocs"]),
        ("epochs = 3", "epochs = 0", 23, &["HPCA", "pretrain.epochs", "0"]),
        ("lr = 1e-2", "lr = [1e-2]", 23, &["pretrain.lr", "5 layers"]),
        (
            "pretrain = \"hpca\"",
            "pretrain = \"hpca\"\nrule = { temperature = 1 }",
            23,
            &["temperature"],
        ),
        (
            "pretrain = \"hpca\"",
            "pretrain = \"hpca\"\nnetwork = \"no.toml\"",
            23,
            &["no.toml", "cifar-6"],
        ),
        ("pretrain = \"none\"", "pretrain = \"none\"\nonly = { seed = 1 }", 19, &["seed"]),
        (
            "pretrain = \"none\"",
            "pretrain = \"none\"\nonly = { layers = [\"L3\"] }",
            19,
            &["method.only.layers", "L3"],
        ),
        (
            "pretrain = \"none\"",
            "pretrain = \"none\"\nonly = { fractions = [0.2] }",
            19,
            &["method.only.fractions", "0.2"],
        ),
        (
            "pretrain = \"none\"",
            "pretrain = \"none\"\nonly = { fractions = [] }",
            19,
            &["method.only.fractions", "empty"],
        ),
        (
            "pretrain = \"none\"",
            "pretrain = \"none\"\nonly = { seeds = 4 }",
            19,
            &["method.only.seeds", "1 to 3"],
        ),
        ("[\"L1\", \"L2\"]", "[\"L1\",\n \"L6\"]", 27, &["grid.layers", "L6", "L1 to L5"]),
        ("[\"L1\", \"L2\"]", "[\"L1\", \"L1\"]", 26, &["twice"]),
        ("[\"L1\", \"L2\"]", "[]", 26, &["grid.layers", "empty"]),
        ("[7, 8, 9]", "[7, 7]", 27, &["grid.seeds"]),
        ("fraction = 0.1 },", "fraction = 0 },", 29, &["grid.regimes.fraction", "0"]),
        ("fraction = 1.0,", "fraction = 0.1,", 30, &["twice"]),
        ("seeds = 1", "seeds = 4", 30, &["grid.regimes.seeds", "4", "3"]),
        ("epochs = 4", "epochs = 0", 33, &["finetune.epochs"]),
        ("epochs = 4", "protocol = \"best\"", 34, &["best", "strict"]),
        ("layers = [\"L2\"]", "layers = [\"L3\"]", 37, &["retrieval.layers", "L3"]),
        ("fractions = [0.1]", "fractions = [0.2]", 38, &["retrieval.fractions", "0.2"]),
        ("ks = [1, 5]", "ks = [0]", 39, &["retrieval.ks"]),
        (
            "ks = [1, 5]",
            "ks = [1]\nfeatures = [\"L2\",\n \"code\"]",
            41,
            &["retrieval.features", "code"],
        ),
        ("ks = [1, 5]", "ks = [1]\nfeatures = [\"L1\", \"L1\"]", 40, &["features", "twice"]),
        ("fraction = 0.5", "fraction = 1.5", 42, &["convergence.fraction"]),
        ("accuracy = { L1", "accuracy = { L9", 47, &["paper.accuracy", "L9"]),
        (
            "method = \"VAE\"\nfraction = 0.1",
            "method = \"VAE\"\nfraction = 0.3",
            46,
            &["paper.fraction"],
        ),
    ];
    for (from, to, line, words) in cases {
        assert_eq!(EXAMPLE.matches(from).count(), 1, "{from}");
        let text = EXAMPLE.replace(from, to);
        let error = Experiment::parse(&text, Path::new("a.toml")).unwrap_err().to_string();
        for word in ["a.toml: ", &format!("line {line}: ")].iter().chain(words.iter()) {
            assert!(error.contains(word), "{to}: no '{word}' in\n{error}");
        }
    }
}

#[test]
fn a_method_may_be_run_on_a_part_of_the_grid() {
    let only = "only = { layers = [\"L2\"], fractions = [0.1], seeds = 2 }";
    let text = EXAMPLE.replace("name = \"HPCA\"", &format!("name = \"HPCA\"\n{only}"));
    let experiment = Experiment::parse(&text, Path::new("a.toml")).unwrap();
    let due = Part { layers: Some(vec!["L2".into()]), fractions: Some(vec![0.1]), seeds: Some(2) };
    assert_eq!(experiment.methods[1].only, due);
    assert_eq!(experiment.methods[0].only, Part::default());
}

#[test]
fn without_test_images_validation_images_judge() {
    let parse = |text: &str| Experiment::parse(text, Path::new("a.toml"));
    let text = EXAMPLE.replace("test = \"test.tar\"\n", "");
    assert_eq!((example().judged_on(), parse(&text).unwrap().judged_on()), ("test", "validation"));
    for (from, to) in [("validation = 20", ""), ("epochs = 4", "protocol = \"published\"")] {
        let error = parse(&text.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains("line 5: data.test is missing"), "{error}");
    }
}

#[test]
fn the_baseline_is_a_method() {
    let with = |name: &str| EXAMPLE.replace("[data]", &format!("baseline = \"{name}\"\n\n[data]"));
    let parse = |text: &str| Experiment::parse(text, Path::new("a.toml"));
    assert_eq!(parse(&with("none")).unwrap().baseline.as_deref(), Some("none"));
    let error = parse(&with("nothing")).unwrap_err().to_string();
    assert!(error.contains("line 5: baseline is 'nothing'"), "{error}");
}

#[test]
fn classifiers_of_frozen_features() {
    let parse = |classifier: &str| {
        let text = EXAMPLE.replace("[data]", &format!("{classifier}\n[data]"));
        Experiment::parse(&text.replace("[finetune]\nepochs = 4", ""), Path::new("a.toml"))
    };
    let of = |text: &str| parse(text).unwrap().classifier;
    assert_eq!(of(""), Classifier::FineTuned);
    assert_eq!(of("classifier = \"fine-tuned\""), Classifier::FineTuned);
    let svm = of("classifier = { frozen = { by = \"svm\", c = 0.5, nystroem = 100 } }");
    let Classifier::Frozen(svm) = svm else { panic!("{svm:?}") };
    assert_eq!((svm.by.name(), svm.k, svm.c, svm.nystroem), ("svm", 10, 0.5, Some(100)));
    // A classifier on a frozen trunk is decayed less.
    let decay = |text: &str| parse(text).unwrap().finetune.weight_decay;
    assert_eq!(decay("classifier = { frozen = { by = \"linear\" } }"), 5e-4);
    assert_eq!(decay(""), 5e-2);
    for (classifier, words) in [
        ("{ frozen = { by = \"svn\" } }", ["svn", "svm"]),
        ("{ frozen = { by = \"knn\", k = 0 } }", ["classifier.frozen.k", "is 0"]),
        ("{ frozen = { by = \"svm\", c = -1 } }", ["classifier.frozen.c", "is -1"]),
        ("{ frozen = { by = \"hebbian\", lr = 0 } }", ["classifier.frozen.lr", "is 0"]),
        ("{ frozen = { by = \"svm\", nystrom = 9 } }", ["nystrom", "nystroem"]),
        ("{ frozen = { by = \"svm\", nystroem = 0 } }", ["frozen.nystroem", "is 0"]),
    ] {
        let error = parse(&format!("classifier = {classifier}")).unwrap_err().to_string();
        for word in ["line 5"].iter().chain(&words) {
            assert!(error.contains(word), "{classifier}: no '{word}' in {error}");
        }
    }
}

#[test]
fn the_published_protocol_needs_validation_images() {
    let text = EXAMPLE.replace("epochs = 4", "protocol = \"published\"");
    assert!(Experiment::parse(&text, Path::new("a.toml")).is_ok());
    let text = text.replace("validation = 20", "");
    let error = Experiment::parse(&text, Path::new("a.toml")).unwrap_err().to_string();
    assert!(error.contains("split.validation"), "{error}");
}
