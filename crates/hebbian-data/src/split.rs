//! Training, validation and test images, and the labelled few.
//!
//! Every choice is an order of which the first or last so many are taken. As
//! published, the order is one shuffle. Stratified, which is the default, it is
//! the same shuffle with the classes interleaved in proportion, so that any
//! first or last n images hold every class in its share, to within rounding
//! (the apportionment of Webster and Sainte-Lague), and a smaller choice is
//! always part of a larger one.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, seed};

/// How many images: a number, or a fraction of those there are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "an amount is a whole number of images, or a fraction such as 0.2")]
pub enum Amount {
    /// So many.
    Count(usize),
    /// Between 0 and 1, of those there are.
    Fraction(f64),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Fraction(fraction) => write!(f, "{fraction:?}"),
        }
    }
}

impl Amount {
    /// The number of images out of `of`, rounded to the nearest; a fraction above 0 is at least 1.
    ///
    /// # Errors
    /// [`Error::Parameter`] under `name` for a fraction outside 0 to 1 or a
    /// count above `of`.
    pub fn of(self, of: usize, name: &'static str) -> Result<usize> {
        let bad = |must: String| Error::Parameter { name, value: self.to_string(), must };
        match self {
            Self::Count(count) if count <= of => Ok(count),
            Self::Count(_) => Err(bad(format!("only {of} images are there to choose from"))),
            Self::Fraction(fraction) if !(0.0..=1.0).contains(&fraction) => {
                Err(bad("a fraction must be between 0 and 1".to_owned()))
            }
            Self::Fraction(fraction) => {
                let count = (fraction * of as f64).round() as usize;
                Ok(count.max(usize::from(fraction > 0.0)).min(of))
            }
        }
    }
}

/// How to split a data set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitSpec {
    /// Default: all that validation and test leave.
    pub train: Option<Amount>,
    /// Default: none.
    pub validation: Amount,
    /// Default: none, for data that brings its own test part.
    pub test: Amount,
    /// Of the shuffle; default 0.
    pub seed: u64,
    /// Whether every part holds the classes in their shares; default true.
    /// Images without a label count as a class of their own.
    pub stratified: bool,
}

impl Default for SplitSpec {
    fn default() -> Self {
        let none = Amount::Count(0);
        Self { train: None, validation: none, test: none, seed: 0, stratified: true }
    }
}

/// Disjoint indices into a data set, each part in random order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// To learn from.
    pub train: Vec<usize>,
    /// To choose by.
    pub validation: Vec<usize>,
    /// To judge by.
    pub test: Vec<usize>,
}

impl SplitSpec {
    /// Splits the images that have these `labels`: train is the first of the
    /// order, validation the last, test what stands before validation.
    ///
    /// Unstratified, with test 0, this is the published split: one shuffle,
    /// train = its first n, validation = its last m.
    ///
    /// # Errors
    /// [`Error::Parameter`] when an amount is out of range or the parts are
    /// more than all images.
    pub fn split(&self, labels: &[Option<u32>]) -> Result<Split> {
        let all = labels.len();
        let validation = self.validation.of(all, "split.validation")?;
        let test = self.test.of(all, "split.test")?;
        let held = validation + test;
        let left = all.checked_sub(held).ok_or_else(|| Error::Parameter {
            name: "split.test",
            value: self.test.to_string(),
            must: format!("with validation it takes {held} of {all} images; lower one of them"),
        })?;
        let train = match self.train {
            None => left,
            Some(train) => train.of(all, "split.train")?,
        };
        if train > left {
            return Err(Error::Parameter {
                name: "split.train",
                value: train.to_string(),
                must: format!(
                    "validation and test leave {left} of {all} images; lower one of them"
                ),
            });
        }
        let order = order(labels, self.seed, "split", self.stratified);
        Ok(Split {
            train: order[..train].to_vec(),
            validation: order[all - validation..].to_vec(),
            test: order[left..all - validation].to_vec(),
        })
    }
}

/// The images of `train` whose labels may be used: `amount` of those that have
/// a label at all. A fraction is of the labelled images in `train`.
///
/// `labels` are those of the whole data set, `train` indices into it. A smaller
/// amount is always part of a larger one with the same seed. Unstratified, as
/// published: the first n of a shuffle, so that classes may be missing.
///
/// # Errors
/// [`Error::Parameter`] when the amount is out of range;
/// [`Error::RowOutOfRange`] when an index has no label entry.
pub fn labelled_subset(
    train: &[usize],
    labels: &[Option<u32>],
    amount: Amount,
    stratified: bool,
    seed: u64,
) -> Result<Vec<usize>> {
    if let Some(&row) = train.iter().find(|&&i| i >= labels.len()) {
        return Err(Error::RowOutOfRange { row, len: labels.len() });
    }
    let labelled: Vec<usize> = train.iter().copied().filter(|&i| labels[i].is_some()).collect();
    let count = amount.of(labelled.len(), "labels")?;
    let their: Vec<Option<u32>> = labelled.iter().map(|&i| labels[i]).collect();
    let order = order(&their, seed, "labelled subset", stratified);
    Ok(order[..count].iter().map(|&i| labelled[i]).collect())
}

/// `0..labels.len()` shuffled, and if `stratified` with the classes interleaved.
fn order(labels: &[Option<u32>], seed: u64, purpose: &str, stratified: bool) -> Vec<usize> {
    let mut order = seed::shuffled(labels.len(), seed, purpose);
    if !stratified {
        return order;
    }
    let mut sizes: HashMap<Option<u32>, usize> = HashMap::new();
    for label in labels {
        *sizes.entry(*label).or_default() += 1;
    }
    // The r-th of a class of s images belongs at (2r + 1) / 2s of the way.
    let mut ranks: HashMap<Option<u32>, usize> = HashMap::new();
    let mut place = vec![0.0; labels.len()];
    for &i in &order {
        let rank = ranks.entry(labels[i]).or_default();
        place[i] = (2 * *rank + 1) as f64 / (2 * sizes[&labels[i]]) as f64;
        *rank += 1;
    }
    // Stable: equal places, as balanced classes have, stay shuffled.
    order.sort_by(|&a, &b| place[a].total_cmp(&place[b]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(classes: &[usize]) -> Vec<Option<u32>> {
        let class = |(class, &n)| std::iter::repeat_n(Some(class as u32), n);
        classes.iter().enumerate().flat_map(class).collect()
    }

    fn counts(indices: &[usize], labels: &[Option<u32>], classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &i in indices {
            counts[labels[i].unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn the_published_split_is_one_shuffle() {
        let spec = SplitSpec {
            train: Some(Amount::Count(40)),
            validation: Amount::Count(10),
            seed: 200,
            stratified: false,
            ..SplitSpec::default()
        };
        let split = spec.split(&labels(&[30, 30])).unwrap();
        let shuffled = seed::shuffled(60, 200, "split");
        assert_eq!(split.train, shuffled[..40]);
        assert_eq!(split.validation, shuffled[50..]);
        assert!(split.test.is_empty());
    }

    #[test]
    fn balanced_classes_split_evenly() {
        let labels = labels(&[100; 10]);
        let spec = SplitSpec {
            validation: Amount::Fraction(0.1),
            test: Amount::Count(200),
            ..SplitSpec::default()
        };
        let split = spec.split(&labels).unwrap();
        assert_eq!(counts(&split.train, &labels, 10), [70; 10]);
        assert_eq!(counts(&split.validation, &labels, 10), [10; 10]);
        assert_eq!(counts(&split.test, &labels, 10), [20; 10]);
    }

    #[test]
    fn a_labelled_subset_uses_labelled_images_alone() {
        let mut labels = labels(&[50, 150]);
        labels.extend([None; 800]);
        let train: Vec<usize> = (0..1000).rev().collect();
        let few = labelled_subset(&train, &labels, Amount::Fraction(0.1), true, 3).unwrap();
        assert_eq!(counts(&few, &labels, 2), [5, 15]);
        let most = labelled_subset(&train, &labels, Amount::Count(100), true, 3).unwrap();
        assert_eq!(most[..20], few);
        let random = labelled_subset(&train, &labels, Amount::Count(100), false, 3).unwrap();
        assert_ne!(counts(&random, &labels, 2), [25, 75]);
        let error = labelled_subset(&train, &labels, Amount::Count(201), true, 3).unwrap_err();
        assert_eq!(error.to_string(), "labels is 201; only 200 images are there to choose from");
    }

    #[test]
    fn too_much_is_refused() {
        let half = Amount::Fraction(0.6);
        let spec = SplitSpec { validation: half, test: half, ..SplitSpec::default() };
        assert!(spec.split(&labels(&[10])).unwrap_err().to_string().contains("takes 12 of 10"));
        let spec = SplitSpec { validation: Amount::Fraction(f64::NAN), ..SplitSpec::default() };
        assert!(spec.split(&labels(&[10])).is_err());
    }

    proptest! {
        #[test]
        fn parts_are_disjoint_and_in_proportion(
            sizes in prop::collection::vec(1usize..60, 1..6), seed: u64, share in 0.0..0.5f64
        ) {
            let labels = labels(&sizes);
            let part = Amount::Fraction(share);
            let spec = SplitSpec { validation: part, test: part, seed, ..SplitSpec::default() };
            let Ok(split) = spec.split(&labels) else { return Ok(()) };
            let mut all = [split.train.clone(), split.validation.clone(), split.test].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
            for part in [split.train, split.validation] {
                let share = part.len() as f64 / labels.len() as f64;
                for (found, size) in counts(&part, &labels, sizes.len()).iter().zip(&sizes) {
                    let due = share * *size as f64;
                    // Webster's method stays within the number of classes' rounding.
                    prop_assert!((*found as f64 - due).abs() <= 0.5 + sizes.len() as f64 / 2.0);
                }
            }
        }
    }
}
