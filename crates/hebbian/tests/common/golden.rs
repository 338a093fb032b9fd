//! Weight updates that the published implementation computed in double precision.

use std::path::Path;

use hebbian::ops::Geometry;
use hebbian::rules::Rule;
use safetensors::SafeTensors;

/// The rules of the golden files: name, parameters, and what the files are
/// called.
const RULES: [(&str, &str, &str); 8] = [
    ("hpca", "", "hpca"),
    ("hpca-tanh", "", "hpcat"),
    ("soft-wta", "", "eswta"),
    ("power-soft-wta", "", "pswta"),
    ("k-wta", "", "1wta"),
    ("k-wta", "k = 5", "5wta"),
    ("ica", "", "ica"),
    ("hica", "", "hica"),
];

const SHAPES: [&str; 3] = ["conv", "deep", "fc"];

/// A batch, and what the published implementation made of it.
pub struct Golden {
    pub g: Geometry,
    pub batch: usize,
    pub x: Vec<f64>,
    pub weights: Vec<f64>,
    pub output: Vec<f64>,
    pub delta: Vec<f64>,
}

/// Channels-first to channels-last: the field's files are NCHW, ours NHWC.
fn channels_last(data: &[f64], n: usize, c: usize, pixels: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(data.len());
    for item in 0..n {
        for pixel in 0..pixels {
            out.extend((0..c).map(|channel| data[(item * c + channel) * pixels + pixel]));
        }
    }
    out
}

/// None, which it says, where the files are not.
fn load(file: &str) -> Option<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    let path = folder.join(format!("{file}.safetensors"));
    let Ok(bytes) = std::fs::read(&path) else {
        println!("skipped: {} is not here", path.display());
        return None;
    };
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let get = |name: &str| {
        let view = tensors.tensor(name).unwrap();
        let s = view.shape().to_vec();
        let (numbers, _) = view.data().as_chunks::<8>();
        let data: Vec<f64> = numbers.iter().map(|&b| f64::from_le_bytes(b)).collect();
        (channels_last(&data, s[0], s[1], s[2] * s[3]), s)
    };
    let ((x, xs), (weights, ws)) = (get("x"), get("weight"));
    let ((output, _), (delta, _)) = (get("output"), get("delta"));
    let g = Geometry {
        height: xs[2],
        width: xs[3],
        channels: xs[1],
        kernel: ws[2],
        stride: 1,
        padding: 0,
        filters: ws[0],
        pool: 1,
    };
    Some(Golden { g, batch: xs[0], x, weights, output, delta })
}

/// Each file that is there, with its rule and its name.
pub fn for_each(test: impl Fn(&dyn Rule, &str, Golden)) {
    for (name, params, file) in RULES {
        let rule = super::rule(name, params);
        for shape in SHAPES {
            let file = format!("{file}-{shape}");
            if let Some(golden) = load(&file) {
                test(rule.as_ref(), &file, golden);
            }
        }
    }
}

pub fn single(data: &[f64]) -> Vec<f32> {
    data.iter().map(|&x| x as f32).collect()
}
