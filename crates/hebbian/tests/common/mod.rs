//! What the tests of rules and engines share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

pub mod golden;
pub mod pytorch;

use std::path::Path;

use hebbian::ops::Geometry;
use hebbian::rules::{self, Rule};
use hebbian_data::{Dataset, Images, OpenOptions, Part};
use proptest::prelude::*;

/// A network with a strided layer, one of either normalisation, and one whose
/// kernel is its map.
pub const NETWORK: &str = r#"
name = "small"
input = [14, 14, 3]
block = [
    { filters = 6, kernel = 5, pool = 2, norm = "batch" },
    { filters = 8, kernel = 3, padding = 1, norm = "batch-relu" },
    { filters = 10, kernel = 3, stride = 2, norm = "relative" },
    { filters = 70, kernel = 2, norm = "relative" },
]
"#;

/// Real images, the first `count` of the sample.
pub fn images(count: usize) -> Images {
    sample().images().subset(&(0..count).collect::<Vec<_>>())
}

/// Real images as files, of which three cannot be read.
pub fn folder() -> (tempfile::TempDir, Dataset) {
    let (data, folder) = (sample(), tempfile::tempdir().unwrap());
    for row in 0..101 {
        let class = folder.path().join(&data.classes()[data.label(row).unwrap() as usize]);
        std::fs::create_dir_all(&class).unwrap();
        let images = data.images();
        let bytes = images.encoded(row).unwrap();
        let bytes = if row % 40 == 19 { &b"no image"[..] } else { &bytes[..] };
        std::fs::write(class.join(format!("{row:03}.png")), bytes).unwrap();
    }
    let data = Dataset::open(folder.path()).unwrap();
    (folder, data)
}

fn sample() -> Dataset {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hebb/sample/fashion-mnist");
    let options = OpenOptions { part: Part::Train, ..OpenOptions::default() };
    Dataset::open_with(&sample, &options).unwrap()
}

/// What `run` gives on so many threads.
pub fn in_pool<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

/// A rule by name and the TOML of its parameters.
pub fn rule(name: &str, params: &str) -> Box<dyn Rule> {
    let params = params.parse().expect("parameters in TOML");
    rules::build(name, params).expect("a rule")
}

/// Every rule, those with parameters more than once.
pub fn every_rule() -> Vec<Box<dyn Rule>> {
    let defaults = rules::RULES.iter().map(|info| (info.name, ""));
    let others = [("k-wta", "k = 5"), ("hebb", "decay = 0.01"), ("power-soft-wta", "k = 0.5")];
    defaults.chain(others).map(|(name, params)| rule(name, params)).collect()
}

/// Whether single precision can tell what the rule asks of the patches (N x D):
/// which neurons are the most similar; or how similar, where none is and a
/// power of what rounding left of the similarity would decide.
pub fn is_decided(rule: &dyn Rule, d: usize, patches: &[f32], w: &[f32]) -> bool {
    let k = match rule.name() {
        "k-wta" => rule.params()["k"].as_integer().map(|k| k as usize),
        "power-soft-wta" => None,
        _ => return true,
    };
    let norm = |v: &[f32]| v.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let nonzero = |x: f64| if x == 0.0 { 1.0 } else { x };
    patches.chunks_exact(d).all(|x| {
        let cosine = |w: &[f32]| {
            let inner: f64 = w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
            inner / nonzero(norm(w) * norm(x))
        };
        let mut cosines: Vec<f64> = w.chunks_exact(d).map(cosine).collect();
        cosines.sort_by(|a, b| b.total_cmp(a));
        match k {
            None => cosines[0] > -0.5,
            Some(k) if k >= cosines.len() => true,
            Some(k) => cosines[k - 1] == cosines[k] || cosines[k - 1] - cosines[k] > 2e-6,
        }
    })
}

/// Shapes on both sides of N = C, with tile edges and rows pooling leaves over.
pub fn any_geometry() -> impl Strategy<Value = (Geometry, usize)> {
    let shape = (1usize..14, 1usize..14, 1usize..5, 1usize..5, 1usize..3, 0usize..2);
    (shape, 1usize..300, 1usize..4, 1usize..20)
        .prop_filter("kernel and pool fit", |((h, w, _, k, s, p), _, pool, _)| {
            let fits = |n: usize| n + 2 * p >= *k && (n + 2 * p - k) / s + 1 >= *pool;
            fits(*h) && fits(*w)
        })
        .prop_map(|((height, width, channels, kernel, stride, padding), filters, pool, batch)| {
            (Geometry { height, width, channels, kernel, stride, padding, filters, pool }, batch)
        })
}

pub fn numbers(n: usize, seed: u64, scale: f32) -> Vec<f32> {
    use rand::RngExt;
    let mut rng = hebbian_data::seed::stream(seed, "test");
    (0..n).map(|_| rng.random_range(-scale..scale)).collect()
}
