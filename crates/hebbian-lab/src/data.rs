//! The data of an experiment: sets, splits, and what they are by content.

use std::path::Path;

use hebbian::error::Result;
use hebbian::train::{self, LabelledImages};
use hebbian_data::{Amount, Dataset, Size, Split, SplitSpec, labelled_subset};

use crate::{Experiment, counter};

/// The sets, with a hash of every image.
pub struct Data {
    /// Images to learn from and to choose by.
    pub train: Dataset,
    /// Images to judge by; none where those of each split's validation do.
    test: Option<Dataset>,
    hashes: [Vec<[u8; 32]>; 2],
}

/// What one repetition learns from and chooses by.
#[derive(Clone, Debug)]
pub struct Draw {
    /// Indices into the training set.
    pub split: Split,
    /// Seed it was drawn with.
    pub seed: u64,
    stratified: bool,
}

impl Data {
    /// Opens the experiment's sets, whose paths start from `folder`, and
    /// hashes every image; with `cache`, decoded images are kept there.
    ///
    /// # Errors
    /// If a set can't be opened or read, or has no labels to judge by.
    pub fn open(
        experiment: &Experiment,
        folder: &Path,
        cache: Option<&Path>,
        observer: train::Observer<'_>,
    ) -> Result<Self> {
        let mut open = |path: &Path| -> Result<(Dataset, Vec<[u8; 32]>)> {
            let mut data = Dataset::open(&folder.join(path))?;
            data.require_classes()?;
            let images = data.images();
            let mut count = counter("reading images", observer);
            let hash = |i| {
                let hash = images.content_hash(i);
                count(i + 1, images.len());
                hash
            };
            let hashes = (0..images.len()).map(hash).collect::<hebbian_data::Result<_>>()?;
            drop(count);
            if let (Some(cache), Some(method)) = (cache, experiment.methods.first()) {
                let size = Size { height: method.network.input[0], width: method.network.input[1] };
                data = data.cached(cache, size, &mut counter("decoding", observer))?;
            }
            Ok((data, hashes))
        };
        let (train, train_hashes) = open(&experiment.data.train)?;
        let test = experiment.data.test.as_deref().map(&mut open).transpose()?;
        let (test, test_hashes) = test.unzip();
        Ok(Self { train, test, hashes: [train_hashes, test_hashes.unwrap_or_default()] })
    }

    /// The split of the repetition of seed `seed`.
    ///
    /// # Errors
    /// If there are fewer images than the split asks for.
    pub fn draw(&self, experiment: &Experiment, seed: u64) -> Result<Draw> {
        let section = &experiment.split;
        let spec = SplitSpec {
            train: section.train,
            validation: section.validation,
            test: Amount::Count(0),
            seed: section.seed_of(seed),
            stratified: section.stratified,
        };
        let split = spec.split(&self.train.labels())?;
        Ok(Draw { split, seed: spec.seed, stratified: spec.stratified })
    }

    /// The labelled few of a draw, as indices into the training set.
    ///
    /// # Errors
    /// If the draw holds no labelled image.
    pub fn labelled(&self, draw: &Draw, fraction: f64) -> Result<Vec<usize>> {
        let (labels, amount) = (self.train.labels(), Amount::Fraction(fraction));
        Ok(labelled_subset(&draw.split.train, &labels, amount, draw.stratified, draw.seed)?)
    }

    /// The images that a repetition is judged by.
    pub fn judges(&self, draw: &Draw) -> Dataset {
        match &self.test {
            Some(test) => test.clone(),
            None => self.train.subset(&draw.split.validation),
        }
    }

    /// How many they are.
    pub(crate) fn judges_len(&self, draw: &Draw) -> usize {
        self.test.as_ref().map_or(draw.split.validation.len(), Dataset::len)
    }

    /// A name of those images, with their labels.
    pub(crate) fn judges_digest(&self, draw: &Draw) -> String {
        match &self.test {
            Some(test) => digest(test, &self.hashes[1], &(0..test.len()).collect::<Vec<_>>()),
            None => self.labelled_digest(&draw.split.validation),
        }
    }

    /// A name of the training images at `rows`, in their order, by their content.
    pub(crate) fn images_digest(&self, rows: &[usize]) -> String {
        let mut hasher = blake3::Hasher::new();
        for &row in rows {
            hasher.update(&self.hashes[0][row]);
        }
        hasher.finalize().to_hex().as_str()[..32].to_owned()
    }

    /// A name of the training images at `rows` with their labels.
    pub(crate) fn labelled_digest(&self, rows: &[usize]) -> String {
        digest(&self.train, &self.hashes[0], rows)
    }
}

/// A name of the images of `data` at `rows` with their labels.
fn digest(data: &Dataset, hashes: &[[u8; 32]], rows: &[usize]) -> String {
    let mut hasher = blake3::Hasher::new();
    for &row in rows {
        hasher.update(&hashes[row]);
        let class = data.label(row).and_then(|label| data.classes().get(label as usize));
        let class = class.map_or("", String::as_str);
        hasher.update(&(class.len() as u64).to_le_bytes());
        hasher.update(class.as_bytes());
    }
    hasher.finalize().to_hex().as_str()[..32].to_owned()
}

/// Images of a data set at `indices` that have a label.
pub fn select(data: &Dataset, indices: &[usize]) -> LabelledImages {
    let kept: Vec<usize> = indices.iter().copied().filter(|&i| data.label(i).is_some()).collect();
    let labels = kept.iter().filter_map(|&i| data.label(i)).collect();
    LabelledImages { images: data.images().subset(&kept), labels }
}

/// Labels of `data` in the numbering of `classes`; `None` for an image without
/// a label or of a class that is not among them.
pub fn labels_in(data: &Dataset, classes: &[String]) -> Vec<Option<u32>> {
    let number = |name: &String| classes.iter().position(|c| c == name);
    let map: Vec<Option<u32>> = data
        .classes()
        .iter()
        .map(|name| number(name).and_then(|n| u32::try_from(n).ok()))
        .collect();
    data.labels().into_iter().map(|label| map.get(label? as usize).copied().flatten()).collect()
}
