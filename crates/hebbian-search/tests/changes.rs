//! Random changes, against a plain list of items and vectors: the same items in the same order,
//! the same search results to the last bit.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use hebbian_search::{
    Filter, Gallery, GalleryInfo, GalleryWriter, Glob, Item, Matrix, SearchOptions, Store, Subset,
    Vectors, search,
};
use proptest::prelude::*;

const DIM: usize = 3;

#[derive(Clone, Debug)]
enum Change {
    /// Writes so many items, from this one on; those there are replaced.
    Push(u8, u8),
    Remove(u8),
    RemoveFrom(u8, u8),
    Commit,
    Compact,
    /// Builds the graph for approximate searches.
    Graph,
    /// Forgets what was not committed.
    RollBack,
    /// Drops the writer, uncommitted changes and all, and opens another.
    Reopen,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        5 => (0..60_u8, 1..12_u8).prop_map(|(id, n)| Change::Push(id, n)),
        2 => (0..60_u8).prop_map(Change::Remove),
        1 => (0..60_u8, 0..30_u8).prop_map(|(id, n)| Change::RemoveFrom(id, n)),
        5 => Just(Change::Commit),
        1 => Just(Change::Compact),
        1 => Just(Change::Graph),
        1 => Just(Change::RollBack),
        1 => Just(Change::Reopen),
    ];
    prop::collection::vec(change, 1..60)
}

type Model = Vec<(Item, [f32; DIM])>;

fn item(id: u8, version: usize) -> (Item, [f32; DIM]) {
    let item = Item {
        id: format!("{}/{id}", id % 3),
        label: id.is_multiple_of(2).then(|| format!("class {}", id % 4)),
        location: Some(version.to_string()),
        content: Some(*blake3::hash(&[id, version as u8]).as_bytes()),
    };
    // Small whole numbers, so that many distances are equal and order decides.
    (item, [f32::from(id % 5), (version % 3) as f32, 1.0])
}

fn push(model: &mut Model, new: (Item, [f32; DIM])) {
    model.retain(|(item, _)| item.id != new.0.id);
    model.push(new);
}

fn assert_same(gallery: &Gallery, model: &Model) {
    gallery.verify().unwrap();
    assert_eq!(gallery.len(), model.len());
    assert!(gallery.items().eq(model.iter().map(|(item, _)| item)));
    let mut values = Vec::new();
    gallery.read(0, model.len(), &mut values).unwrap();
    let expected: Vec<f32> = model.iter().flat_map(|(_, vector)| *vector).collect();
    assert_eq!(values, expected);
    for (row, (item, vector)) in model.iter().enumerate() {
        assert_eq!(gallery.item(row), Some(item));
        assert_eq!(gallery.find(&item.id), Some(row));
        gallery.read(row, 1, &mut values).unwrap();
        assert_eq!(values, vector);
    }
    assert_eq!(gallery.item(model.len()), None);
    assert!(gallery.read(0, model.len() + 1, &mut values).is_err());

    let plain = Matrix::new(DIM, expected).unwrap();
    let queries = Matrix::new(DIM, vec![1.0, 1.0, 1.0, 0.1, 0.2, 0.3]).unwrap();
    let found = search(gallery, &queries, 7).unwrap();
    assert_eq!(found, search(&plain, &queries, 7).unwrap());
    // So few are all looked at, whatever was added or removed since the graph was built.
    assert_eq!(gallery.approximate(&queries, 7).unwrap(), found);

    // Filtered before the nearest are counted, and without one that is left out.
    let filter = Filter { labels: vec!["class 0".into()], paths: vec![Glob::new("1")] };
    let exclude = vec![format!("1/{}", 4), "nowhere".into()];
    let options = SearchOptions {
        k: 4,
        filter: filter.clone(),
        exclude: exclude.clone(),
        ..Default::default()
    };
    let passes = |item: &Item| filter.matches(item) && !exclude.contains(&item.id);
    let rows: Vec<usize> = (0..model.len()).filter(|&row| passes(&model[row].0)).collect();
    let subset = Subset::new(&plain, rows.clone()).unwrap();
    let expected = search(&subset, &queries, 4).unwrap();
    let found = Store::search(gallery, &queries, &options).unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.len(), rows.len().min(4));
        let found: Vec<_> = found.iter().map(|n| (n.item.clone(), n.distance)).collect();
        let expected: Vec<_> =
            expected.iter().map(|h| (model[rows[h.index]].0.clone(), h.distance)).collect();
        assert_eq!(found, expected);
    }
}

fn create(path: &Path) -> GalleryWriter {
    GalleryWriter::create(path, GalleryInfo::new(DIM, "m", "m", "L1"), false).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_changed_gallery_is_a_plain_list(changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gallery");
        let mut writer = create(&path);
        writer.commit().unwrap();
        let (mut committed, mut model): (Model, Model) = Default::default();
        let mut opened = Gallery::open(&path).unwrap();
        for (version, change) in changes.into_iter().enumerate() {
            match change {
                Change::Push(first, n) => {
                    let new: Model = (first..first + n).map(|id| item(id, version)).collect();
                    let (items, vectors): (Vec<Item>, Vec<_>) = new.iter().cloned().unzip();
                    writer.push(&items, &vectors.concat()).unwrap();
                    new.into_iter().for_each(|new| push(&mut model, new));
                }
                Change::Remove(id) => {
                    let (item, _) = item(id, 0);
                    let there = model.iter().any(|(other, _)| other.id == item.id);
                    prop_assert_eq!(writer.remove(&item.id), there);
                    model.retain(|(other, _)| other.id != item.id);
                }
                Change::RemoveFrom(first, n) => {
                    for id in first..first + n {
                        let (item, _) = item(id, 0);
                        writer.remove(&item.id);
                        model.retain(|(other, _)| other.id != item.id);
                    }
                }
                Change::Commit | Change::Compact | Change::Graph => {
                    if matches!(change, Change::Graph) {
                        let gallery = writer.build_graph(|_, _| {}).unwrap();
                        prop_assert_eq!(gallery.graph().is_some(), !model.is_empty());
                        prop_assert_eq!(gallery.without_graph(), 0);
                    } else if matches!(change, Change::Compact) {
                        writer.compact().unwrap();
                        prop_assert!(writer.gallery().manifest().segments.len() <= 1);
                        prop_assert_eq!(writer.gallery().removed(), 0);
                    } else {
                        writer.commit().unwrap();
                    }
                    assert_same(writer.gallery(), &model);
                    // Until then, nothing was to be seen of the changes.
                    assert_same(&opened, &committed);
                    if let Some(newer) = opened.newer().unwrap() {
                        opened = newer;
                    }
                    committed = model.clone();
                    assert_same(&opened, &committed);
                }
                Change::RollBack => {
                    writer.roll_back();
                    model = committed.clone();
                }
                Change::Reopen => {
                    drop(writer);
                    writer = GalleryWriter::open(&path).unwrap();
                    model = committed.clone();
                }
            }
            prop_assert_eq!(writer.len(), model.len());
            prop_assert!(writer.gallery().manifest().segments.len() <= 16);
        }
        let gallery = writer.finish().unwrap();
        assert_same(&gallery, &model);
        assert_same(&Gallery::open(&path).unwrap(), &model);
    }
}
