//! What is told about a data set.
#![allow(clippy::unwrap_used)]

mod common;

use common::{class_folders, few, sample};
use hebbian_data::decode::Colour;
use hebbian_data::describe::describe;
use hebbian_data::{Dataset, Error, Size, SourceKind};

#[test]
fn a_folder_with_everything_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = few(50);
    let ids = class_folders(&data, dir.path());
    fs_err::copy(dir.path().join(&ids[0]), dir.path().join("class-0/copy.png")).unwrap();
    fs_err::write(dir.path().join("class-1/bad.jpg"), b"no jpeg").unwrap();
    let wide = image::RgbaImage::new(40, 10);
    wide.save(dir.path().join("class-2/wide.png")).unwrap();
    let data = Dataset::open(dir.path()).unwrap();
    let mut last = (0, 0);
    let found = describe(&data, &mut |done, all| last = (done, all)).unwrap();
    assert_eq!(last, (53, 53));
    assert_eq!((found.kind, found.images, found.labelled), (SourceKind::ClassFolders, 53, 53));
    assert_eq!(found.classes.iter().map(|class| class.count).sum::<usize>(), 53);
    let class = few(50).labels().iter().filter(|l| **l == Some(2)).count() + 1;
    assert_eq!((found.classes[2].name.as_str(), found.classes[2].count), ("class-2", class));
    assert_eq!((found.sizes[0].size, found.sizes[0].count), (Size::square(28), 51));
    assert_eq!(found.smallest, Some(Size { height: 10, width: 28 }));
    assert_eq!(found.largest, Some(Size { height: 28, width: 40 }));
    assert_eq!(found.colours[&Colour::Rgb], 51);
    assert_eq!(found.colours[&Colour::Rgba], 1);
    assert_eq!(found.unreadable.len(), 1);
    assert_eq!(found.unreadable[0].id, "class-1/bad.jpg");
    assert_eq!(found.duplicates, [[ids[0].clone(), "class-0/copy.png".to_owned()]]);
    let bytes: u64 = (0..53).map(|i| data.images().encoded(i).unwrap().len() as u64).sum();
    assert_eq!(found.bytes, bytes);
    assert!(found.require_readable().is_ok());
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["kind"], "class-folders");
    assert_eq!(json["colours"]["rgba"], 1);
}

#[test]
fn the_sample_has_ten_even_grey_classes() {
    let found = describe(&Dataset::open(&sample()).unwrap(), &mut |_, _| {}).unwrap();
    assert!(found.classes.iter().all(|class| class.count == 1_000));
    assert_eq!(found.colours[&Colour::Grey], 10_000);
    assert_eq!(found.bytes, 10_000 * 28 * 28 * 3);
    assert!(found.unreadable.is_empty());
}

#[test]
fn nothing_readable_is_told() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("a.png"), "nothing").unwrap();
    let found = describe(&Dataset::open(dir.path()).unwrap(), &mut |_, _| {}).unwrap();
    assert!(matches!(found.require_readable(), Err(Error::NothingReadable { asked: 1, .. })));
}
