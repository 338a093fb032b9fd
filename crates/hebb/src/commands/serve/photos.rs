//! Photos served at once: a model is trained on them, then their gallery built while it is searched.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hebbian::engine::Device;
use hebbian::error::Error;
use hebbian::network::FeatureLayer;
use hebbian_data::{Dataset, seed};

use crate::cli::ServeArgs;
use crate::commands::{pretrain, shared::load_model};
use crate::ui::Progress;

/// Most images to learn from: more of them change nothing (decision 25), and waiting takes longer.
const LEARNED: usize = 1000;
/// Parts a side that the learned layer's map is averaged over.
const PARTS: usize = 4;
/// Seconds between commits of the gallery.
const COMMIT_EVERY: &str = "2";
/// Time between two looks whether there is a gallery yet.
const LOOK: Duration = Duration::from_millis(20);
const MANIFEST: &str = "gallery.toml";

/// The gallery that `path` is, or that was made in it of photos.
pub(super) fn gallery_in(path: &Path) -> Option<PathBuf> {
    [path.to_owned(), path.join("gallery")].into_iter().find(|path| path.join(MANIFEST).is_file())
}

/// Another process that brings the gallery up to date, so that searches wait for none of it.
pub(super) struct Indexing(Child);

impl Drop for Indexing {
    fn drop(&mut self) {
        // It may have ended long ago. What it committed stays, the next one goes on from there.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The gallery of the photos asked for once it holds some, and what goes on adding the others.
pub(super) fn gallery_of(args: &ServeArgs, device: &Device) -> Result<(PathBuf, Indexing)> {
    let photos = &args.what;
    let data = Dataset::open(photos)?;
    let out = args.out.clone().map_or_else(|| folder_for(photos), Ok)?;
    let model = match &args.model {
        Some(model) => model.clone(),
        None => learn(&data, photos, &out.join("run"), device)?,
    };
    let gallery = out.join("gallery");
    let manifest = gallery.join(MANIFEST);
    let mut command = Command::new(std::env::current_exe().context("this program")?);
    command.arg("index").arg(photos).arg("--model").arg(&model).arg("--out").arg(&gallery);
    command.args(["--remove-missing", "--commit-every", COMMIT_EVERY, "--device", &args.device]);
    if !manifest.is_file() {
        let last = FeatureLayer::of(&load_model(&model)?, None)?;
        // A map of few layers is large, and finds more where it is averaged.
        let pool = NonZero::new(PARTS).filter(|_| args.model.is_none());
        let layer = FeatureLayer { pool, unit: true, ..last };
        command.args(["--layer", &layer.to_string()]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut indexing = Indexing(command.spawn().context("`hebb index` can't be started")?);
    // One that is there already is served as it is.
    while !manifest.is_file() {
        if let Some(status) = indexing.0.try_wait()?
            && !manifest.is_file()
        {
            bail!("`hebb index` made no gallery ({status}); see above");
        }
        std::thread::sleep(LOOK);
    }
    Ok((gallery, indexing))
}

/// `hebb-NAME` in the current folder.
fn folder_for(photos: &Path) -> Result<PathBuf> {
    let whole = fs_err::canonicalize(photos)?;
    let name = whole.file_stem().map(|name| name.to_string_lossy().into_owned());
    let problem = "has no name to call a folder by; give one with --out";
    let name = name.ok_or_else(|| Error::file(photos, problem))?;
    Ok(PathBuf::from(format!("hebb-{name}")))
}

/// The run folder of a model, trained on some of the images unless it was before.
fn learn(data: &Dataset, photos: &Path, run: &Path, device: &Device) -> Result<PathBuf> {
    if !run.join("model/model.toml").is_file() {
        let mut some = seed::shuffled(data.len(), 0, "learn");
        some.truncate(LEARNED);
        let images = data.images().subset(&some);
        eprintln!("learning from {} of {} images, without labels", images.len(), data.len());
        pretrain::quick(&images, (photos, run), device, &mut Progress::default())?;
    }
    Ok(run.to_owned())
}
