//! Shards of few and of many images: how start-up, rate and memory grow.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use hebbian_data::{Dataset, Images, Size, batches};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Bench;
use crate::machine::GemmRates;
use crate::peers::json_lines;
use crate::report::{Section, Table};
use crate::timing::status_mib;

/// Images of the sets: a trial, Tiny ImageNet's 100 classes, ImageNet.
const SIZES: [usize; 3] = [1_000, 35_000, 1_281_167];
/// Images a shard, as in ImageNet's usual 151 shards.
const SHARD: usize = 8_485;
/// Images a batch.
const BATCH: usize = 64;
/// Longest time that a set is read, in seconds.
const PATIENCE: f64 = 60.0;
/// Size that images are decoded to.
const SIZE: Size = Size::square(32);

/// What reading a set took, in a process of its own.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row {
    images: usize,
    /// To open the set.
    seconds_opening: f64,
    /// To draw the order of an epoch, after opening.
    seconds_ordering: f64,
    /// To the first batch, from the start.
    seconds_start: f64,
    /// Images read, and in which time, after the first batch.
    read: usize,
    seconds: f64,
    /// Memory of the process in MiB: before, with the set and the order open,
    /// after a tenth of what was read, and the most.
    mib: [Option<f64>; 4],
    /// Of the shards.
    bytes: u64,
}

/// How cost grows.
pub(crate) struct Growth {
    rows: Vec<Row>,
}

/// Writes the shards and reads each set in a process of its own.
///
/// # Errors
/// If shards can't be written or read.
pub(crate) fn measure(bench: &Bench) -> Result<Growth> {
    let mut rows = Vec::new();
    for size in SIZES {
        eprintln!("growth: {size} images");
        let pattern = shards(&bench.input.images, size, &shelf()?)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--stream").arg(pattern).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output()?;
        ensure!(output.status.success(), "reading {size} images failed, see above");
        rows.push(json_lines("the stream", &output.stdout)?.pop().context("it gave no result")?);
    }
    Ok(Growth { rows })
}

/// Where shards stay from one run to the next: the large set is gigabytes.
fn shelf() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("growth");
    fs_err::create_dir_all(&folder)?;
    Ok(folder)
}

/// The pattern of shards with `count` images, those of `images` again and
/// again, and class numbers; written where they are not there yet.
fn shards(images: &Images, count: usize, shelf: &Path) -> Result<PathBuf> {
    let folder = shelf.join(count.to_string());
    let number = count.div_ceil(SHARD);
    let pattern = folder.join(format!("train-{{000..{:03}}}.tar", number - 1));
    if folder.exists() {
        return Ok(pattern);
    }
    let beside = shelf.join(format!("{count}.tmp"));
    fs_err::create_dir_all(&beside)?;
    for shard in 0..number {
        let path = beside.join(format!("train-{shard:03}.tar"));
        let file = BufWriter::new(fs_err::File::create(path)?);
        let mut archive = tar::Builder::new(file);
        for row in shard * SHARD..count.min((shard + 1) * SHARD) {
            let image = row % images.len();
            entry(&mut archive, &format!("{row:08}.jpg"), &images.encoded(image)?)?;
            entry(&mut archive, &format!("{row:08}.cls"), (row % 1000).to_string().as_bytes())?;
        }
        archive.into_inner()?.into_inner().context("a shard can't be written")?.sync_all()?;
    }
    fs_err::rename(beside, folder)?;
    Ok(pattern)
}

/// Adds a file to a tar.
fn entry(archive: &mut tar::Builder<impl Write>, name: &str, content: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    Ok(archive.append_data(&mut header, name, content)?)
}

/// Reads a set for the process that asked for it.
pub(crate) fn stream(pattern: &Path) -> Result<()> {
    let (start, before) = (Instant::now(), status_mib("VmRSS"));
    let data = Dataset::open(pattern)?;
    let seconds_opening = start.elapsed().as_secs_f64();
    ensure!(data.labelled() == data.len(), "a label is missing");
    let images = data.images();
    let order = images.shuffled(0, "epoch");
    let seconds_ordering = start.elapsed().as_secs_f64() - seconds_opening;
    let opened = status_mib("VmRSS");
    let mut stream = batches(&images, order, BATCH, SIZE);
    let first = stream.next().context("there are no images")??;
    let seconds_start = start.elapsed().as_secs_f64();
    let (mut read, mut soon, reading) = (0, None, Instant::now());
    for batch in stream.by_ref() {
        read += batch?.rows.len();
        if soon.is_none() && read >= images.len() / 10 {
            soon = status_mib("VmRSS");
        }
        if reading.elapsed().as_secs_f64() > PATIENCE {
            break;
        }
    }
    let seconds = reading.elapsed().as_secs_f64();
    ensure!(stream.skipped().is_empty() && first.rows.len() == BATCH, "an image can't be read");
    let mut bytes = 0;
    for shard in hebbian_data::source::pattern::expand(pattern)?.unwrap_or_default() {
        bytes += fs_err::metadata(shard)?.len();
    }
    let mib = [before, opened, soon, status_mib("VmHWM")];
    let images = images.len();
    let row =
        Row { images, seconds_opening, seconds_ordering, seconds_start, read, seconds, mib, bytes };
    println!("{}", serde_json::to_string(&row)?);
    Ok(())
}

impl Section for Growth {
    fn key(&self) -> &'static str {
        "growth"
    }

    fn json(&self, _: &GemmRates) -> Result<Value> {
        Ok(json!({ "rows": self.rows, "shard": SHARD, "batch": BATCH, "size": SIZE }))
    }

    fn page(&self, _: &GemmRates) -> String {
        let head = [
            "images",
            "GB",
            "open s",
            "order s",
            "first batch s",
            "read",
            "images/s",
            "MiB before",
            "open",
            "soon",
            "most",
            "bytes an image",
        ];
        let mut table = Table::new(0, &head);
        for row in &self.rows {
            let mib = row.mib.map(|mib| mib.map_or_else(String::new, |mib| format!("{mib:.0}")));
            let held = row.mib[1].zip(row.mib[0]).map(|(open, before)| open - before);
            let each = held.map(|held| held * 1024.0 * 1024.0 / row.images as f64);
            let [before, open, soon, most] = mib;
            table.push([
                row.images.to_string(),
                format!("{:.2}", row.bytes as f64 / 1e9),
                format!("{:.2}", row.seconds_opening),
                format!("{:.2}", row.seconds_ordering),
                format!("{:.2}", row.seconds_start),
                row.read.to_string(),
                format!("{:.0}", row.read as f64 / row.seconds),
                before,
                open,
                soon,
                most,
                each.map_or_else(String::new, |each| format!("{each:.0}")),
            ]);
        }
        format!(
            "## Growth\n\n\
             - tar shards of {SHARD} images with class numbers, the images above again and again, \
             decoded to {SIZE} in an epoch's order, {BATCH} a batch, for {PATIENCE} s at most; each \
             set in a process of its own\n\
             - memory: before the set is opened, with it and the order, after a tenth of the \
             images, the most; bytes an image: what opening added\n\n{}",
            table.to_markdown()
        )
    }
}
