//! What the paths of a pile of images say: official parts and classes.

use std::collections::BTreeSet;

use super::Part;

/// Parts and labels read off the paths.
pub(super) struct Layout {
    /// Class names in byte-wise order; empty without class folders.
    pub(super) classes: Vec<String>,
    /// A path's class.
    pub(super) labels: Vec<Option<u32>>,
    /// A path's official part, where the paths have any.
    parts: Vec<Option<Part>>,
}

impl Layout {
    /// Reads `paths`, which use `/` and are relative to the root.
    ///
    /// Folders that all paths share carry no meaning, unless they are named
    /// as a part. What follows is `class/image` (or `class/images/image`, as
    /// Tiny ImageNet has it) for every image of a part, or there are no labels
    /// in it.
    pub(super) fn read(paths: &[&str]) -> Self {
        let paths = without_shared_folders(paths);
        let parts = parts(&paths);
        let class_of: Vec<Option<&str>> = match &parts {
            None => classes_of(&paths),
            Some(_) => {
                let below: Vec<&str> =
                    paths.iter().map(|path| path.split_once('/').map_or("", |p| p.1)).collect();
                // Each folder by itself: the test part often has no class folders.
                let mut class_of = vec![None; paths.len()];
                for folder in BTreeSet::from_iter(paths.iter().map(|path| first(path))) {
                    let rows: Vec<usize> =
                        (0..paths.len()).filter(|&row| first(paths[row]) == folder).collect();
                    let here: Vec<&str> = rows.iter().map(|&row| below[row]).collect();
                    for (row, class) in rows.into_iter().zip(classes_of(&here)) {
                        class_of[row] = class;
                    }
                }
                class_of
            }
        };
        let names: Vec<&str> =
            class_of.iter().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let number = |class: &str| names.binary_search(&class).ok().and_then(|n| n.try_into().ok());
        Self {
            labels: class_of.iter().map(|class| class.and_then(number)).collect(),
            classes: names.iter().map(|&name| name.to_owned()).collect(),
            parts: parts.unwrap_or_else(|| vec![None; paths.len()]),
        }
    }

    /// The rows of `part`, in order; `None` where the layout has no such part.
    pub(super) fn rows(&self, part: Part) -> Option<Vec<usize>> {
        let all = 0..self.parts.len();
        if part == Part::All {
            return Some(all.collect());
        }
        let rows: Vec<usize> = all.filter(|&row| self.parts[row] == Some(part)).collect();
        (!rows.is_empty()).then_some(rows)
    }
}

fn first(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

fn without_shared_folders<'a>(paths: &[&'a str]) -> Vec<&'a str> {
    let mut paths = paths.to_vec();
    loop {
        let Some((shared, _)) = paths.first().and_then(|path| path.split_once('/')) else {
            return paths;
        };
        let below: Option<Vec<&str>> = paths
            .iter()
            .map(|path| path.split_once('/').filter(|p| p.0 == shared).map(|p| p.1))
            .collect();
        match below {
            Some(below) if part_name(shared).is_none() => paths = below,
            _ => return paths,
        }
    }
}

enum PartName {
    Train,
    Test,
    Validation,
}

fn part_name(folder: &str) -> Option<PartName> {
    match folder.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(PartName::Train),
        "test" | "testing" => Some(PartName::Test),
        "val" | "valid" | "validation" => Some(PartName::Validation),
        _ => None,
    }
}

/// Every path's part, or `None` unless all paths lie in folders named as parts.
pub(super) fn parts(paths: &[&str]) -> Option<Vec<Option<Part>>> {
    let names: Vec<PartName> = paths
        .iter()
        .map(|path| path.split_once('/').and_then(|p| part_name(p.0)))
        .collect::<Option<_>>()?;
    let tested = names.iter().any(|name| matches!(name, PartName::Test));
    let part = |name| match name {
        PartName::Train => Some(Part::Train),
        PartName::Test => Some(Part::Test),
        PartName::Validation => (!tested).then_some(Part::Test),
    };
    Some(names.into_iter().map(part).collect())
}

fn classes_of<'a>(paths: &[&'a str]) -> Vec<Option<&'a str>> {
    let class = |path: &&'a str| {
        let components: Vec<&'a str> = path.split('/').collect();
        match components[..] {
            [class, _] | [class, "images", _] => Some(class),
            _ => None,
        }
    };
    let classes: Vec<Option<&str>> = paths.iter().map(class).collect();
    // One folder tells nothing apart: it is where the images happen to lie.
    if classes.contains(&None) || classes.iter().all(|class| *class == classes[0]) {
        return vec![None; paths.len()];
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(paths: &[&str]) -> (Vec<String>, Vec<Option<u32>>, Layout) {
        let layout = Layout::read(paths);
        (layout.classes.clone(), layout.labels.clone(), layout)
    }

    #[test]
    fn class_folders_under_a_shared_folder() {
        let (classes, labels, _) = read(&["set/cat/1.jpg", "set/cat/2.jpg", "set/dog/1.jpg"]);
        assert_eq!(classes, ["cat", "dog"]);
        assert_eq!(labels, [Some(0), Some(0), Some(1)]);
    }

    #[test]
    fn one_stray_image_makes_a_pile() {
        let (classes, labels, _) = read(&["1.jpg", "cat/1.jpg", "dog/1.jpg"]);
        assert!(classes.is_empty());
        assert_eq!(labels, [None; 3]);
    }

    #[test]
    fn a_single_folder_is_no_class() {
        assert!(read(&["holiday/1.jpg", "holiday/2.jpg"]).0.is_empty());
    }

    #[test]
    fn parts_share_their_class_numbers() {
        let (classes, labels, layout) =
            read(&["s/train/b/1", "s/train/c/1", "s/val/a/1", "s/val/b/1"]);
        assert_eq!(classes, ["a", "b", "c"]);
        assert_eq!(labels, [Some(1), Some(2), Some(0), Some(1)]);
        assert_eq!(layout.rows(Part::Train), Some(vec![0, 1]));
        assert_eq!(layout.rows(Part::Test), Some(vec![2, 3]));
    }

    #[test]
    fn val_is_no_test_part_beside_test() {
        let (_, _, layout) = read(&["test/a/1", "train/a/1", "val/a/1"]);
        assert_eq!(layout.rows(Part::Test), Some(vec![0]));
        assert_eq!(layout.rows(Part::All), Some(vec![0, 1, 2]));
    }

    #[test]
    fn the_official_tiny_imagenet_layout() {
        let (classes, labels, layout) = read(&[
            "t/train/n01/images/n01_0.JPEG",
            "t/train/n02/images/n02_0.JPEG",
            "t/val/images/val_0.JPEG",
            "t/val/images/val_1.JPEG",
        ]);
        // `val/images/*` is one folder of images, which is no class of its own.
        assert_eq!(classes, ["n01", "n02"]);
        assert_eq!(labels, [Some(0), Some(1), None, None]);
        assert!(layout.rows(Part::Test).is_some());
    }

    #[test]
    fn a_lone_part_folder_is_that_part() {
        let (classes, _, layout) = read(&["train/cat/1.jpg", "train/dog/1.jpg"]);
        assert_eq!(classes, ["cat", "dog"]);
        assert!(layout.rows(Part::Train).is_some());
        assert!(layout.rows(Part::Test).is_none());
    }
}
