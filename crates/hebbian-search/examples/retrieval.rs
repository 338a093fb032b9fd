//! Times exact retrieval over a gallery file of random features and reports its memory.
//!
//! ```text
//! cargo run --release -p hebbian-search --example retrieval -- 40000 1000 4096 10 real
//! ```
//! Arguments: gallery size, queries, dimensions, classes, `real` or `binary` features, and
//! optionally the length at which rankings are cut. Features are classes of a shared random centre
//! plus noise, so that the metrics mean something.

use std::time::Instant;

use hebbian_search::metrics::{EvaluateOptions, evaluate};
use hebbian_search::{Gallery, GalleryInfo, GalleryWriter, Item, Matrix};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [n, m, dim, classes, kind, rest @ ..] = arguments.as_slice() else {
        return Err(
            "usage: retrieval GALLERY QUERIES DIMENSIONS CLASSES real|binary [LENGTH]".into()
        );
    };
    let (n, m, dim): (usize, usize, usize) = (n.parse()?, m.parse()?, dim.parse()?);
    let classes: usize = classes.parse()?;
    let truncate = rest.first().map(|length| length.parse()).transpose()?;

    let mut random = ChaCha8Rng::seed_from_u64(1);
    let centres: Vec<f32> = (0..classes * dim).map(|_| random.random_range(-0.3..0.3)).collect();
    let mut feature = |class: usize, out: &mut Vec<f32>| {
        out.extend(centres[class * dim..][..dim].iter().map(|centre| {
            let value = centre + random.random_range(-1.0_f32..1.0);
            if kind == "binary" { f32::from(u8::from(value >= 0.0)) } else { value }
        }));
    };

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("gallery");
    let started = Instant::now();
    let info = GalleryInfo::new(dim, "random", "random", "L5");
    let mut writer = GalleryWriter::create(&path, info, false)?;
    let mut row = Vec::new();
    for i in 0..n {
        row.clear();
        feature(i % classes, &mut row);
        writer.push(&[Item { id: i.to_string(), ..Item::default() }], &row)?;
    }
    writer.finish()?;
    println!("write      {:8.2} s", started.elapsed().as_secs_f64());

    let started = Instant::now();
    let gallery = Gallery::open(&path)?;
    println!("open       {:8.2} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    gallery.verify()?;
    println!("verify     {:8.2} s", started.elapsed().as_secs_f64());

    let mut queries = Vec::new();
    (0..m).for_each(|i| feature(i % classes, &mut queries));
    let queries = Matrix::new(dim, queries)?;
    let labels = |n: usize| (0..n).map(|i| Some((i % classes) as u32)).collect::<Vec<_>>();
    let options = EvaluateOptions { ks: vec![100.min(truncate.unwrap_or(n))], truncate };
    let started = Instant::now();
    let (known, asked) = (labels(n), labels(m));
    let report = evaluate(&gallery, &known, &queries, &asked, None, &options, |_, _| {})?;
    let seconds = started.elapsed().as_secs_f64();
    let operations = 2.0 * n as f64 * m as f64 * dim as f64;
    println!("evaluate   {seconds:8.2} s, {:.1} GFLOP/s of products", operations / seconds / 1e9);
    println!("{:?}", report.mean_average_precision);
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
    }
    Ok(())
}
