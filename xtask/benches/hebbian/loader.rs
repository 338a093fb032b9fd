//! Image files to batches, beside PyTorch's DataLoader with PIL and with
//! PyTurboJPEG.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

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
/// Sides that photos are scaled to: the input of the published ten-layer
/// network, and that of Tiny ImageNet, a quarter of the photos'.
const PHOTO_SIDES: [usize; 2] = [210, 64];
/// What decodes in the DataLoader.
const DECODERS: [&str; 2] = ["pil", "turbojpeg"];
/// What decodes JPEG files of ours, and the one of theirs to compare it with.
const OURS: (&str, usize) =
    if cfg!(feature = "turbojpeg") { ("libjpeg-turbo", 1) } else { ("zune-jpeg", 0) };
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
    /// By each of [`DECODERS`].
    theirs: [Timing; 2],
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
    let small = Input::open(root, Size::square(32), SMALL)?;
    found.add(bench, python, small.name, &small.images, &small.preprocess)?;
    let photos = root.join(PHOTOS);
    if photos.exists() {
        let photos = Dataset::open(&photos)?;
        let order = seed::shuffled(photos.len(), 0, "bench");
        let images = photos.images().subset(&order);
        for side in PHOTO_SIDES {
            let size = Size::square(side);
            let preprocess = Preprocess { size, ..small.preprocess.clone() };
            found.add(bench, python, "photos, one of each ImageNet class", &images, &preprocess)?;
        }
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

        let outputs = DECODERS.map(|name| bench.scratch.path().join(name));
        let theirs = [
            self.data_loader(python, DECODERS[0], (&folder, &outputs[0]), preprocess, bench.runs)?,
            self.data_loader(python, DECODERS[1], (&folder, &outputs[1]), preprocess, bench.runs)?,
        ];
        let [largest_difference, mean_difference] = compare(&files, preprocess, &outputs[OURS.1])?;
        ensure!(
            mean_difference <= TOLERANCE,
            "{what}: the pixels of {} differ from ours by {mean_difference:.2} levels on average \
             where {TOLERANCE} is allowed; times of programs that do not agree mean nothing",
            DECODERS[OURS.1]
        );
        let what = what.to_owned();
        let images = files.len();
        self.rows.push(Row {
            what,
            images,
            side: preprocess.size.height,
            ours,
            theirs,
            largest_difference,
            mean_difference,
        });
        Ok(())
    }
}

impl Loading {
    /// The same by the DataLoader; the first batch goes to a file.
    fn data_loader(
        &mut self,
        python: &Python,
        decoder: &str,
        (folder, outputs): (&Path, &Path),
        preprocess: &Preprocess,
        runs: usize,
    ) -> Result<Timing> {
        let text = |number: f32| OsString::from(number.to_string());
        let mut args: Vec<OsString> = vec!["--folder".into(), folder.into(), "--mean".into()];
        args.extend(preprocess.mean.map(text));
        args.push("--std".into());
        args.extend(preprocess.std.map(text));
        for (name, value) in
            [("--side", preprocess.size.height), ("--batch", BATCH), ("--runs", runs)]
        {
            args.extend([name.into(), value.to_string().into()]);
        }
        args.extend(["--decoder".into(), decoder.into(), "--outputs".into(), outputs.into()]);
        let answer = python.run::<Answer>(SCRIPT, args)?.pop();
        let Answer { versions, timing } = answer.context("the DataLoader gave no result")?;
        self.versions.extend(versions);
        Ok(timing)
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
fn compare(files: &Images, preprocess: &Preprocess, theirs: &Path) -> Result<[f64; 2]> {
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
        Ok(json!({
            "versions": self.versions,
            "decoder": OURS.0,
            "decoders": DECODERS,
            "rows": self.rows,
            "skipped": self.skipped,
        }))
    }

    fn page(&self, _: &GemmRates) -> String {
        let cores = rayon::current_num_threads() as f64;
        let head = [
            "files",
            "images",
            "side",
            "by",
            "ms",
            "min",
            "max",
            "images/s",
            "a core",
            "ours times",
            "low",
            "high",
            "apart",
            "mean",
        ];
        let mut table = Table::new(1, &head);
        for row in &self.rows {
            let ours = row.ours.summary();
            let mut push = |by: &str, theirs: [f64; 3], apart: [String; 2]| {
                let rate = row.images as f64 / theirs[1];
                let [largest, mean] = apart;
                table.push([
                    row.what.clone(),
                    row.images.to_string(),
                    row.side.to_string(),
                    by.to_owned(),
                    ms(theirs[1]),
                    ms(theirs[0]),
                    ms(theirs[2]),
                    format!("{rate:.0}"),
                    format!("{:.0}", rate / cores),
                    times(Some(theirs[1] / ours[1])),
                    times(Some(theirs[0] / ours[2])),
                    times(Some(theirs[2] / ours[0])),
                    largest,
                    mean,
                ]);
            };
            let apart = [row.largest_difference, row.mean_difference].map(|d| format!("{d:.2}"));
            push("ours", ours, apart);
            for (by, theirs) in DECODERS.into_iter().zip(&row.theirs) {
                push(by, theirs.summary(), Default::default());
            }
        }
        let versions: Vec<_> = self.versions.iter().map(|(n, v)| format!("{n} {v}")).collect();
        let skipped: String = self.skipped.iter().map(|s| format!("- skipped: {s}\n")).collect();
        format!(
            "## Reading files\n\n\
             - from a folder to normalised batches of {BATCH}; ours decodes JPEG by {}; the \
             DataLoader ({}) with PIL and with PyTurboJPEG, and as many processes as threads above\n\
             - apart: largest and mean difference of pixels of the first batch from {}'s, in levels \
             of 255\n\
             {skipped}\n{}",
            OURS.0,
            versions.join(", "),
            DECODERS[OURS.1],
            table.to_markdown()
        )
    }
}
