//! Real images to measure on.

use std::path::Path;

use anyhow::{Context, Result};
use hebbian_data::{
    Dataset, Images, OpenOptions, Part, Preprocess, Size, Whitening, batches, seed,
};

const CIFAR: &str = "../shared/data/cifar-10-jpeg/test.tar";
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
    pub(crate) fn open(root: &Path, count: usize) -> Result<Self> {
        let cifar = root.join(CIFAR);
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
        let size = Size::square(32);
        let preprocess = Preprocess::fit(&images, size, Whitening::None, 1e-2, &mut |_, _| {})?;
        Ok(Self { name, images, labels, preprocess })
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
