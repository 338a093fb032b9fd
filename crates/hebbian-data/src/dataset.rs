//! A data set: images and the labels that some of them have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::source::{self, Joined, Opened, Part, Source, SourceKind};
use crate::{Error, Images, Result, labels};

/// How to open a data set.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Labels given apart: a CSV file of `path,label`, whose labels replace
    /// those of the layout, or a folder or tar of class folders, whose images
    /// are added behind the pile, which then counts as unlabelled.
    pub labels: Option<PathBuf>,
    /// The official part to open; all of it by default.
    pub part: Part,
}

/// Images, in a fixed order, of which some or all or none have a label.
#[derive(Clone, Debug)]
pub struct Dataset {
    images: Images,
    labels: Vec<Option<u32>>,
    classes: Vec<String>,
    path: PathBuf,
}

impl Dataset {
    /// Opens all of the data set at `path`; see [`Dataset::open_with`].
    ///
    /// # Errors
    /// As [`Dataset::open_with`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// Opens the data set at `path`, whose kind is recognised by names and
    /// first bytes: a folder of images with class folders or without, a tar of
    /// either, a folder of CIFAR binary files, or IDX files; tar shards or
    /// Parquet files by a pattern (`train-{000..150}.tar`, see
    /// [`source::pattern`]) or by the folder that holds them.
    ///
    /// Images come in byte-wise order of their paths, CIFAR and IDX records in
    /// their official order, training part first; images of shards as the
    /// shards are named and as they lie there.
    ///
    /// A tar file may hold the label of `NAME.jpg` as a number in `NAME.cls`,
    /// as WebDataset does; other files beside the images are left alone.
    ///
    /// # Errors
    /// When nothing is recognised, a file is damaged, the part is not there, or
    /// the labels do not fit.
    pub fn open_with(path: &Path, options: &OpenOptions) -> Result<Self> {
        let data = Self::of(path, source::open(path, options.part)?);
        match &options.labels {
            None => Ok(data),
            Some(labels) if is_table(labels)? => data.with_labels_csv(labels),
            Some(labels) => data.joined(labels),
        }
    }

    /// The images and labels in a pair of IDX files, gzipped or plain, held in memory.
    ///
    /// # Errors
    /// [`Error::Format`] when the bytes are no such files, do not belong
    /// together, or have a label beyond `classes`.
    pub fn from_idx_bytes(images: &[u8], labels: &[u8], classes: &[&str]) -> Result<Self> {
        let opened = source::idx::from_bytes(images, labels, classes)?;
        if opened.source.is_empty() {
            return Err(Error::Empty { path: "memory".into() });
        }
        Ok(Self::of(Path::new("memory"), opened))
    }

    fn of(path: &Path, opened: Opened) -> Self {
        let Opened { source, labels, classes } = opened;
        Self { images: Images::new(source), labels, classes, path: path.to_path_buf() }
    }

    /// The same images with the labels of a CSV file of `path,label` in place
    /// of any they had; see [`labels::parse`].
    ///
    /// # Errors
    /// [`Error::Labels`] naming the line that can't be used.
    pub fn with_labels_csv(self, csv: &Path) -> Result<Self> {
        let (labels, classes) = labels::read(csv, (0..self.len()).map(|i| self.id(i)))?;
        Ok(Self { labels, classes, ..self })
    }

    /// This data set without its labels, and behind it the labelled one at `path`.
    fn joined(self, path: &Path) -> Result<Self> {
        let labelled = source::open(path, Part::All)?;
        if labelled.classes.is_empty() {
            return Err(Error::TooFewClasses { path: path.to_path_buf(), found: 0 });
        }
        // A labelled folder may lie inside the pile; its images count once.
        // A pattern of shards is no folder that anything could lie in.
        let root = |path: &Path| std::fs::canonicalize(path).ok();
        let inside = root(&self.path)
            .and_then(|pile| Some(root(path)?.strip_prefix(pile).ok()?.to_path_buf()));
        let inside = inside.map(|path| {
            let parts: Vec<_> =
                path.components().map(|c| c.as_os_str().to_string_lossy()).collect();
            parts.join("/") + "/"
        });
        let is_extra = |&i: &usize| inside.as_ref().is_none_or(|dir| !self.id(i).starts_with(dir));
        let rows: Vec<usize> = (0..self.len()).filter(is_extra).collect();
        let prefix = path.file_stem().map_or("labelled".into(), |name| name.to_string_lossy());
        let labels = std::iter::repeat_n(None, rows.len()).chain(labelled.labels).collect();
        let rows = rows.iter().map(|&i| self.images.rows[i]).collect();
        let pile = Arc::clone(&self.images.source);
        let joined = Joined::new(pile, rows, labelled.source, prefix.into_owned());
        let source: Arc<dyn Source> = Arc::new(joined);
        Ok(Self::of(&self.path, Opened { source, labels, classes: labelled.classes }))
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// What was recognised.
    pub fn kind(&self) -> SourceKind {
        self.images.source.kind()
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last component of [`Dataset::path`], for people.
    pub fn name(&self) -> String {
        self.path
            .file_stem()
            .map_or_else(|| self.path.display().to_string(), |n| n.to_string_lossy().into_owned())
    }

    /// The class names; a label is an index into them.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The label of image `i`: `None` when it has none or is out of range.
    pub fn label(&self, i: usize) -> Option<u32> {
        self.labels.get(i).copied().flatten()
    }

    /// The name of image `i`; see [`Images::id`].
    pub fn id(&self, i: usize) -> String {
        self.images.id(i)
    }

    /// The images alone, without their labels.
    pub fn images(&self) -> Images {
        self.images.clone()
    }

    /// The label of every image.
    pub fn labels(&self) -> Vec<Option<u32>> {
        self.labels.clone()
    }

    /// How many images have a label.
    pub fn labelled(&self) -> usize {
        self.labels.iter().flatten().count()
    }

    /// The images at `indices` with their labels, in that order; classes stay
    /// as they are. An index out of range is left out.
    #[must_use]
    pub fn subset(&self, indices: &[usize]) -> Self {
        Self {
            images: self.images.subset(indices),
            labels: indices.iter().filter_map(|&i| self.labels.get(i).copied()).collect(),
            classes: self.classes.clone(),
            path: self.path.clone(),
        }
    }

    /// The same data set with its pixels kept at a size; see [`Images::cached`].
    ///
    /// # Errors
    /// As [`Images::cached`].
    pub fn cached(
        self,
        dir: &Path,
        size: crate::Size,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        Ok(Self { images: self.images.cached(dir, size, progress)?, ..self })
    }

    /// Checks that a classifier can learn from the labels.
    ///
    /// # Errors
    /// [`Error::TooFewClasses`] when fewer than two classes have an image.
    pub fn require_classes(&self) -> Result<()> {
        let mut used: Vec<u32> = self.labels.iter().flatten().copied().collect();
        used.sort_unstable();
        used.dedup();
        if used.len() >= 2 {
            return Ok(());
        }
        Err(Error::TooFewClasses { path: self.path.clone(), found: used.len() })
    }
}

/// Whether labels given apart are a table: a file that is no tar.
fn is_table(path: &Path) -> Result<bool> {
    if source::pattern::expand(path)?.is_some() {
        return Ok(false);
    }
    let metadata = std::fs::metadata(path).map_err(Error::io("open", path))?;
    let images = |ending| source::shards::has_ending(path, ending);
    Ok(metadata.is_file() && !images("tar") && !images("parquet"))
}
