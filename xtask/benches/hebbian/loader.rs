//! Image files to batches, beside PyTorch's DataLoader with PIL.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hebbian::network::Tensors;
use hebbian_data::{Dataset, Images, Preprocess, Size, batches, seed};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Bench;
use crate::input::Input;
use crate::machine::GemmRates;
use crate::peers::{Answer, Python};
use crate::report::{Section, Table, ms, times};
use crate::timing::Timing;

const SCRIPT: &str = "loader.py";
const PHOTOS: &str = "../shared/data/imagenet-samples-1000.tar";
/// Small images read in a pass.
const SMALL: usize = 4000;
/// Side that photos are scaled to: the input of the published ten-layer network.
const PHOTO_SIDE: usize = 210;
/// Images a batch.
const BATCH: usize = 64;
/// Largest mean difference of pixels, in levels of 255: decoders round
/// differently, a shift or another filter gives more.
const TOLERANCE: f64 = 1.0;

/// One set of files read by both.
#[derive(Serialize)]
struct Row {
    what: String,
    images: usize,
    side: usize,
    ours: Timing,
    theirs: Timing,
    /// Of pixels of the first batch, in levels of 255.
    largest_difference: f64,
    mean_difference: f64,
}

/// Reading files, by both.
pub(crate) struct Loading {
    versions: BTreeMap<String, String>,
    rows: Vec<Row>,
    /// What could not be measured, and why.
    skipped: Vec<String>,
}

/// Reads small images as they are, and photos scaled, after comparing pixels.
///
/// # Errors
/// If the pixels do not agree, files can't be read, or Python fails.
pub(crate) fn measure(bench: &Bench, python: &Python, root: &Path) -> Result<Loading> {
    let mut found = Loading { versions: BTreeMap::new(), rows: Vec::new(), skipped: Vec::new() };
    let small = Input::open(root, SMALL)?;
    found.add(bench, python, small.name, &small.images, &small.preprocess)?;
    let photos = root.join(PHOTOS);
    if photos.exists() {
        let photos = Dataset::open(&photos)?;
        let order = seed::shuffled(photos.len(), 0, "bench");
        let preprocess = Preprocess { size: Size::square(PHOTO_SIDE), ..small.preprocess };
        let images = photos.images().subset(&order);
        found.add(bench, python, "photos, one of each ImageNet class", &images, &preprocess)?;
    } else {
        found.skipped.push(format!("photos: {PHOTOS} is not there"));
    }
    Ok(found)
}

impl Loading {
    fn add(
        &mut self,
        bench: &Bench,
        python: &Python,
        what: &str,
        images: &Images,
        preprocess: &Preprocess,
    ) -> Result<()> {
        eprintln!("reading files: {what}");
        let folder = bench.scratch.path().join(format!("files-{}", self.rows.len()));
        write_files(images, &folder)?;
        let files = Dataset::open(&folder)?.images();
        let ours = read(&files, preprocess, bench.runs)?;

        let side = preprocess.size.height;
        let outputs = bench.scratch.path().join("first.safetensors");
        let text = |number: f32| OsString::from(number.to_string());
        let mut args: Vec<OsString> = vec!["--folder".into(), folder.into(), "--mean".into()];
        args.extend(preprocess.mean.map(text));
        args.push("--std".into());
        args.extend(preprocess.std.map(text));
        for (name, value) in [("--side", side), ("--batch", BATCH), ("--runs", bench.runs)] {
            args.extend([name.into(), value.to_string().into()]);
        }
        args.extend(["--outputs".into(), outputs.clone().into()]);
        let answer = python.run::<Answer>(SCRIPT, args)?.pop();
        let Answer { versions, timing: theirs } =
            answer.context("the DataLoader gave no result")?;
        self.versions = versions;
        let [largest_difference, mean_difference] = compare(&files, preprocess, &outputs)?;
        ensure!(
            mean_difference <= TOLERANCE,
            "{what}: the pixels of PIL differ from ours by {mean_difference:.2} levels on average \
             where {TOLERANCE} is allowed; times of programs that do not agree mean nothing"
        );
        let what = what.to_owned();
        let images = files.len();
        self.rows.push(Row {
            what,
            images,
            side,
            ours,
            theirs,
            largest_difference,
            mean_difference,
        });
        Ok(())
    }
}

/// The images as files in a new folder, in their order.
fn write_files(images: &Images, folder: &Path) -> Result<()> {
    fs_err::create_dir_all(folder)?;
    for i in 0..images.len() {
        let bytes = images.encoded(i)?;
        let ending = if bytes.starts_with(&[0xff, 0xd8]) { "jpg" } else { "png" };
        fs_err::write(folder.join(format!("{i:06}.{ending}")), &bytes)?;
    }
    Ok(())
}

/// Passes over all files, to the numbers a network reads.
fn read(files: &Images, preprocess: &Preprocess, runs: usize) -> Result<Timing> {
    let mut x = Vec::new();
    Timing::of(runs, || {
        let mut seen = 0;
        for batch in batches(files, (0..files.len()).collect(), BATCH, preprocess.size) {
            let batch = batch?;
            preprocess.apply(&batch, &mut x)?;
            seen += batch.rows.len();
        }
        ensure!(seen == files.len(), "only {seen} of {} images can be read", files.len());
        Ok(())
    })
}

/// Largest and mean difference of the first batch's pixels, in levels of 255.
fn compare(files: &Images, preprocess: &Preprocess, theirs: &PathBuf) -> Result<[f64; 2]> {
    let rows = (0..files.len().min(BATCH)).collect();
    let batch = batches(files, rows, BATCH, preprocess.size).next();
    let mut ours = Vec::new();
    preprocess.apply(&batch.context("there are no images")??, &mut ours)?;
    let theirs = Tensors::from_bytes(theirs, &fs_err::read(theirs)?)?;
    let theirs = theirs.get("x").context("the DataLoader has written no batch")?;
    ensure!(
        theirs.len() == ours.len(),
        "the DataLoader's first batch has {} numbers, not {}",
        theirs.len(),
        ours.len()
    );
    let std = preprocess.std.iter().cycle();
    let levels = ours.iter().zip(theirs).zip(std).map(|((a, b), s)| f64::from((a - b).abs() * s));
    let (mut largest, mut sum) = (0.0f64, 0.0);
    for level in levels {
        largest = largest.max(255.0 * level);
        sum += 255.0 * level;
    }
    Ok([largest, sum / ours.len() as f64])
}

impl Section for Loading {
    fn key(&self) -> &'static str {
        "loader"
    }

    fn json(&self, _: &GemmRates) -> Result<Value> {
        Ok(json!({ "versions": self.versions, "rows": self.rows, "skipped": self.skipped }))
    }

    fn page(&self, _: &GemmRates) -> String {
        let head = [
            "files",
            "images",
            "side",
            "ours ms",
            "min",
            "max",
            "images/s",
            "DataLoader ms",
            "min",
            "max",
            "images/s",
            "times",
            "low",
            "high",
            "apart",
            "mean",
        ];
        let mut table = Table::new(1, &head);
        for row in &self.rows {
            let (ours, theirs) = (row.ours.summary(), row.theirs.summary());
            table.push([
                row.what.clone(),
                row.images.to_string(),
                row.side.to_string(),
                ms(ours[1]),
                ms(ours[0]),
                ms(ours[2]),
                format!("{:.0}", row.images as f64 / ours[1]),
                ms(theirs[1]),
                ms(theirs[0]),
                ms(theirs[2]),
                format!("{:.0}", row.images as f64 / theirs[1]),
                times(Some(theirs[1] / ours[1])),
                times(Some(theirs[0] / ours[2])),
                times(Some(theirs[2] / ours[0])),
                format!("{:.1}", row.largest_difference),
                format!("{:.2}", row.mean_difference),
            ]);
        }
        let versions: Vec<_> = self.versions.iter().map(|(n, v)| format!("{n} {v}")).collect();
        let skipped: String = self.skipped.iter().map(|s| format!("- skipped: {s}\n")).collect();
        format!(
            "## Reading files\n\n\
             - from a folder to normalised batches of {BATCH}; the DataLoader ({}) with PIL and as \
             many processes as threads above\n\
             - apart: largest and mean difference of pixels of the first batch, in levels of 255\n\
             {skipped}\n{}",
            versions.join(", "),
            table.to_markdown()
        )
    }
}
