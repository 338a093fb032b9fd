//! What the tests of the rules share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use hebbian::rules::{self, Rule};

/// The rules of the golden files: name, parameters, and what the files are
/// called.
pub const GOLDEN: [(&str, &str, &str); 8] = [
    ("hpca", "", "hpca"),
    ("hpca-tanh", "", "hpcat"),
    ("soft-wta", "", "eswta"),
    ("power-soft-wta", "", "pswta"),
    ("k-wta", "", "1wta"),
    ("k-wta", "k = 5", "5wta"),
    ("ica", "", "ica"),
    ("hica", "", "hica"),
];

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
