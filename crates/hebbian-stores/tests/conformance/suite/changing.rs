//! What is there: items written, replaced, removed, kept, refused.

use hebbian_search::{Error, Item, Matrix, SearchOptions};

use super::{filter, ids, item, labelled, search, top, write};
use crate::places::{MODEL, Stores};

pub fn upsert(stores: &dyn Stores) {
    let place = stores.make(2);
    write(&*place, &[item("a"), item("b")], &[0.0, 0.0, 1.0, 0.0]);
    let changed = Item {
        id: "a".into(),
        label: Some("new".into()),
        location: Some("/photos".into()),
        content: Some([9; 32]),
    };
    write(&*place, std::slice::from_ref(&changed), &[5.0, 0.0]);
    let store = place.open();
    assert_eq!(store.count().unwrap(), 2);
    assert_eq!(store.get("a").unwrap(), Some((changed, vec![5.0, 0.0])));
    assert_eq!(ids(&search(&*store, &[0.0, 0.0], &top(5))), ["b", "a"]);
    // What is no longer known of it is gone too.
    write(&*place, &[item("a")], &[5.0, 0.0]);
    assert_eq!(place.open().get("a").unwrap(), Some((item("a"), vec![5.0, 0.0])));
}

pub fn twice_in_a_batch(stores: &dyn Stores) {
    let place = stores.make(1);
    write(&*place, &[item("a"), item("b"), item("a")], &[1.0, 2.0, 3.0]);
    let store = place.open();
    assert_eq!(store.count().unwrap(), 2);
    assert_eq!(store.get("a").unwrap().unwrap().1, [3.0]);
    assert_eq!(ids(&search(&*store, &[2.5], &top(5))), ["b", "a"]);
}

pub fn delete(stores: &dyn Stores) {
    let place = stores.make(1);
    write(&*place, &["a", "b", "c", "d"].map(item), &[1.0, 2.0, 3.0, 4.0]);
    let mut writer = place.writer();
    assert_eq!(writer.delete(&["b", "nothing", "d", "b"]).unwrap(), 2);
    assert_eq!(writer.delete(&[]).unwrap(), 0);
    writer.commit().unwrap();
    assert_eq!(writer.delete(&["b"]).unwrap(), 0);
    drop(writer);
    let store = place.open();
    assert_eq!(store.count().unwrap(), 2);
    assert_eq!(store.get("b").unwrap(), None);
    assert_eq!(ids(&search(&*store, &[4.0], &top(4))), ["c", "a"]);
    write(&*place, &[item("b")], &[4.0]);
    assert_eq!(ids(&search(&*place.open(), &[4.0], &top(4))), ["b", "c", "a"]);
}

pub fn restart(stores: &dyn Stores) {
    let place = stores.make(8);
    let items: Vec<Item> = (0..500).map(|i| item(&i.to_string())).collect();
    let vectors: Vec<f32> = (0..4000).map(|i| i as f32).collect();
    let mut writer = place.writer();
    for (items, vectors) in items.chunks(100).zip(vectors.chunks(800)) {
        writer.upsert(items, vectors).unwrap();
        writer.commit().unwrap();
    }
    assert_eq!(writer.delete(&["7"]).unwrap(), 1);
    writer.commit().unwrap();
    drop(writer);
    // One that was opened before goes on afterwards.
    let before = place.open();
    assert_eq!(before.count().unwrap(), 499);
    stores.restart();
    for store in [before, place.open()] {
        // By a walk through everything, then by the server's own search.
        assert_eq!(search(&*store, &vectors[..8], &top(20_000)).len(), 499);
        assert_eq!(store.count().unwrap(), 499);
        assert_eq!(ids(&search(&*store, &vectors[..8], &top(3))), ["0", "1", "2"]);
        assert_eq!(store.get("499").unwrap().unwrap().1, vectors[3992..]);
        assert_eq!(store.get("7").unwrap(), None);
    }
    write(&*place, &[item("7")], &vectors[..8]);
    assert_eq!(place.open().count().unwrap(), 500);
}

pub fn refused(stores: &dyn Stores) {
    let place = stores.make(2);
    write(&*place, &[item("a")], &[1.0, 1.0]);
    let store = place.open();
    let wrong = store.search(&Matrix::new(3, vec![0.0; 3]).unwrap(), &top(1));
    assert!(matches!(wrong, Err(Error::Dimension { expected: 2, found: 3, .. })));
    let mut writer = place.writer();
    let long = "x".repeat(5000);
    for (items, vectors) in [
        (vec![item("b")], vec![1.0]),
        (vec![item("b")], vec![1.0, 1.0, 1.0]),
        (vec![item("b"), item("c")], vec![1.0, 1.0]),
        (vec![item("b"), item("c")], vec![1.0, 1.0, 1.0, f32::NAN]),
        (vec![item("b"), item("c")], vec![1.0, 1.0, f32::INFINITY, 1.0]),
        (vec![item("b"), item(&long)], vec![1.0; 4]),
        (vec![item("b"), labelled("c", Some(&long))], vec![1.0; 4]),
    ] {
        writer.upsert(&items, &vectors).unwrap_err();
    }
    writer.commit().unwrap();
    assert_eq!(place.open().count().unwrap(), 1);
    // And the writer goes on.
    writer.upsert(&[item("b")], &[2.0, 2.0]).unwrap();
    writer.commit().unwrap();
    assert_eq!(place.open().count().unwrap(), 2);
}

pub fn hostile(stores: &dyn Stores) {
    let place = stores.make(1);
    let long = "x/".repeat(2048);
    let accents = "é".repeat(2048);
    let ids_ = [
        "",
        " ",
        "'; DROP TABLE store_0; --",
        "\" or \"\" == \"",
        "%",
        "_",
        "\\",
        "\\\"",
        "$1",
        "{}",
        "null",
        "a\nb\r\tc",
        "\u{1}\u{7f}",
        "/",
        "//a//",
        "../../etc/passwd",
        "\u{202e}gpj.exe",
        "日本語/写真.jpg",
        "🙂",
        "e\u{301}",
        "é",
        "\u{feff}bom",
        &long,
        &accents,
    ];
    let items: Vec<Item> = ids_.iter().map(|id| labelled(id, Some(id))).collect();
    let vectors: Vec<f32> = (0..items.len()).map(|i| i as f32).collect();
    write(&*place, &items, &vectors);
    let store = place.open();
    assert_eq!(store.count().unwrap(), items.len());
    assert_eq!(ids(&search(&*store, &[0.0], &top(100))), ids_);
    for (item, &value) in items.iter().zip(&vectors) {
        assert_eq!(store.get(&item.id).unwrap(), Some((item.clone(), vec![value])), "{item:?}");
        for filter in [filter(&[&item.id], &[]), filter(&[], &[&item.id])] {
            let options = SearchOptions { k: 100, filter, ..Default::default() };
            let passing = items.iter().filter(|item| options.filter.matches(item));
            let expected: Vec<&str> = passing.map(|item| item.id.as_str()).collect();
            assert_eq!(ids(&search(&*store, &[0.0], &options)), expected, "{:?}", options.filter);
        }
    }
    // A NUL is kept, or refused by the name of what has it and without harm.
    let nul = labelled("a\0b", Some("\0"));
    let mut writer = place.writer();
    match writer.upsert(std::slice::from_ref(&nul), &[100.0]) {
        Ok(()) => {
            writer.commit().unwrap();
            assert_eq!(place.open().get("a\0b").unwrap(), Some((nul, vec![100.0])));
        }
        Err(error) => assert!(error.to_string().contains(r#""a\0b""#), "{error}"),
    }
    assert_eq!(writer.delete(&ids_).unwrap(), ids_.len());
    writer.commit().unwrap();
}

pub fn model(stores: &dyn Stores) {
    let place = stores.make(2);
    let store = place.open();
    store.check_model(MODEL).unwrap();
    let message = store.check_model("another").unwrap_err().to_string();
    for word in ["the model's name", MODEL, "another", &store.name()] {
        assert!(message.contains(word), "{message}");
    }
    assert_eq!((store.info().dim, store.info().layer.as_str()), (2, "L5"));
}
