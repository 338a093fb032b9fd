//! Real images to measure on.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use hebbian_data::{
    Dataset, Images, OpenOptions, Part, Preprocess, Size, Whitening, batches, seed,
};

use crate::steps::CLASSES;

const CIFAR: &str = "../shared/data/cifar-10-jpeg/test.tar";
const PHOTOS: &str = "../shared/data/imagenet-samples-1000.tar";
/// From this side on, images are photos.
const PHOTO_SIDE: usize = 128;
const SAMPLE: &str = "crates/hebb/sample/fashion-mnist";

/// Images of ten classes in a random order, and their labels.
pub(crate) struct Input {
    /// What they are, for the report.
    pub(crate) name: &'static str,
    /// The images.
    pub(crate) images: Images,
    /// Class of each image.
    pub(crate) labels: Vec<u32>,
    /// Fitted to them; no whitening.
    pub(crate) preprocess: Preprocess,
}

impl Input {
    /// Opens CIFAR-10 as JPEG files where it is there, else the sample that
    /// comes with the project, and takes `count` images of it.
    ///
    /// Images of `size`; where that is a photo's, photos in place of icons, as often as needed.
    pub(crate) fn open(root: &Path, size: Size, count: usize) -> Result<Self> {
        let (cifar, photos) = (root.join(CIFAR), root.join(PHOTOS));
        if size.height.min(size.width) >= PHOTO_SIDE && photos.exists() {
            return Self::photos(&photos, size, count);
        }
        let (name, data) = if cifar.exists() {
            ("CIFAR-10 (JPEG files in a tar)", Dataset::open(&cifar)?)
        } else {
            let options = OpenOptions { part: Part::Test, ..OpenOptions::default() };
            let data = Dataset::open_with(&root.join(SAMPLE), &options)?;
            ("Fashion-MNIST sample (gzipped IDX, 28x28 scaled to 32x32)", data)
        };
        let mut order = seed::shuffled(data.len(), 0, "bench");
        order.truncate(count);
        let data = data.subset(&order);
        let labels = data.labels().into_iter().map(|label| label.context("an image has no label"));
        let (images, labels) = (data.images(), labels.collect::<Result<_>>()?);
        let preprocess = Preprocess::fit(&images, size, Whitening::None, 1e-2, &mut |_, _| {})?;
        Ok(Self { name, images, labels, preprocess })
    }

    fn photos(path: &Path, size: Size, count: usize) -> Result<Self> {
        let data = Dataset::open(path)?;
        ensure!(!data.is_empty(), "there are no photos");
        let rows: Vec<usize> = (0..count).map(|i| i % data.len()).collect();
        let images = data.images().subset(&rows);
        let some = images.subset(&(0..count.min(data.len())).collect::<Vec<_>>());
        let preprocess = Preprocess::fit(&some, size, Whitening::None, 1e-2, &mut |_, _| {})?;
        // They have no classes; steps take as long with any.
        let labels = (0..count).map(|i| (i % CLASSES) as u32).collect();
        Ok(Self { name: "photos (JPEG files in a tar)", images, labels, preprocess })
    }

    /// The first `count` images as a network reads them, and their labels.
    pub(crate) fn batch(&self, count: usize) -> Result<(Vec<f32>, Vec<u32>)> {
        let rows = (0..count).collect();
        let batch = batches(&self.images, rows, count, self.preprocess.size).next();
        let batch = batch.context("there are no images")??;
        let mut x = Vec::new();
        self.preprocess.apply(&batch, &mut x)?;
        Ok((x, batch.rows.iter().map(|&row| self.labels[row]).collect()))
    }
}
