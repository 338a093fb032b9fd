//! Supervised gradients, running statistics and an optimiser step against
//! what PyTorch computes in double precision (`gradients.py` makes the file).

use std::path::Path;

use hebbian::engine::Trainer;
use hebbian::network::{Head, Linear, Network, NetworkSpec, Tensors};
use hebbian::ops::Activation;
use hebbian::rules::Projection;
use hebbian::train::FinetuneConfig;

const NETWORK: &str = r#"
name = "small"
input = [14, 14, 3]
block = [
    { filters = 6, kernel = 5, pool = 2, norm = "batch" },
    { filters = 8, kernel = 3, padding = 1, norm = "batch-relu" },
    { filters = 10, kernel = 3, stride = 2, norm = "relative" },
    { filters = 40, kernel = 2, norm = "relative" },
]
"#;

fn close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(1e-6f32, |m, w| m.max(w.abs()));
    let error = got.iter().zip(want).fold(0.0f32, |m, (g, w)| m.max((g - w).abs())) / largest;
    assert!(error < 2e-5, "{what}: {error}");
}

#[test]
fn gradients_and_step_equal_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gradients.safetensors");
    let file = Tensors::from_bytes(&path, &std::fs::read(&path).unwrap()).unwrap();
    let labels = [0, 3, 1, 2, 3];
    for (name, projection) in [("plain", Projection::Plain), ("normalised", Projection::Normalised)]
    {
        let get = |key: &str| file.get(&format!("{name}.{key}")).expect(key).to_vec();
        let spec = NetworkSpec::parse(NETWORK, Path::new("small.toml")).unwrap();
        let mut network = Network::new(spec, projection, Activation::Relu, 0).unwrap();
        for (index, block) in network.blocks.iter_mut().enumerate() {
            let layer = index + 1;
            block.weights = get(&format!("L{layer}.weight"));
            block.norm.gamma = get(&format!("L{layer}.gamma"));
            block.norm.beta = get(&format!("L{layer}.beta"));
        }
        let (weights, bias) = (get("head.weight"), get("head.bias"));
        let mut head = Head::from(Linear { weights, bias });
        let mut trainer = Trainer::default();
        let x = get("x");
        let found = trainer.gradients(&mut network, &mut head, &x, &labels, &[], true);
        close("loss", &[found.loss as f32], &get("loss"));
        close("scores", &found.scores, &get("scores"));
        close("d_x", &found.by_input.clone().unwrap(), &get("d_x"));
        let mut names = Vec::new();
        for (index, block) in network.blocks.iter().enumerate() {
            let layer = format!("L{}", index + 1);
            names.extend(["weight", "gamma", "beta"].map(|part| format!("{layer}.{part}")));
            close("running mean", &block.norm.mean, &get(&format!("{layer}.mean")));
            close("running variance", &block.norm.var, &get(&format!("{layer}.var")));
        }
        names.extend(["head.weight", "head.bias"].map(String::from));
        for (key, gradient) in names.iter().zip(&found.by_parameter) {
            close(&format!("{name} {key}"), gradient, &get(&format!("d_{key}")));
        }
        let config = FinetuneConfig::default();
        trainer.step(&mut network, &mut head, &config.sgd(0.1));
        for (index, block) in network.blocks.iter().enumerate() {
            let layer = format!("L{}", index + 1);
            close("stepped weight", &block.weights, &get(&format!("stepped_{layer}.weight")));
            close("stepped gamma", &block.norm.gamma, &get(&format!("stepped_{layer}.gamma")));
        }
        close("stepped head", &head.out.weights, &get("stepped_head.weight"));
    }
}
