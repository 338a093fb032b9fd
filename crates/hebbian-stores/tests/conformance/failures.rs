//! Filling a store, and what can go wrong with a server: connections and servers that end in the
//! middle, batches that are half written, and stores that hold what nobody here wrote.

use std::path::Path;

use hebbian_search::{
    Error, Gallery, GalleryInfo, GalleryWriter, Item, Matrix, SearchOptions, Store, StoreWriter,
    Vectors,
};
use hebbian_stores::{Index, PushOptions, Pushed, ServerStore, push};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::places::{Served, Stores, info};
use crate::proxy::Proxy;
use crate::servers::{Kind, free_port};

const DIM: usize = 256;

type Body = fn(&Served);

/// Runs them all.
pub fn run(served: &Served) {
    let bodies: [(&str, Body); 9] = [
        ("a push goes on where it was stopped", resumed),
        ("a push after changes writes the changes", changed),
        ("a push shared by several", shared),
        ("a connection lost in the middle of a push", connection_lost),
        ("a server killed in the middle of a push", server_killed),
        ("what was not committed", uncommitted),
        ("another model, another layer", mismatched),
        ("an index for approximate searches", approximate),
        ("what is not there", missing),
    ];
    for (name, body) in bodies {
        let start = std::time::Instant::now();
        eprintln!("  {name}");
        body(served);
        eprintln!("    {:.2} s", start.elapsed().as_secs_f64());
    }
}

/// Random vectors, of which some are equal.
fn items(range: std::ops::Range<usize>, seed: u64) -> (Vec<Item>, Vec<f32>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let items = range.clone().map(|i| Item {
        id: format!("{}/{i}.jpg", i % 3),
        label: (i % 2 == 0).then(|| format!("class {}", i % 5)),
        location: Some("/photos".into()),
        content: Some([i as u8; 32]),
    });
    let items: Vec<Item> = items.collect();
    let mut vectors = Vec::new();
    for i in range {
        match i % 7 {
            0 => vectors.extend([0.5; DIM]),
            _ => vectors.extend((0..DIM).map(|_| rng.random_range(-1.0..1.0_f32))),
        }
    }
    (items, vectors)
}

fn gallery(path: &Path, len: usize) -> Gallery {
    let mut writer = GalleryWriter::create(path, info(DIM), false).unwrap();
    let (items, vectors) = items(0..len, 1);
    writer.push(&items, &vectors).unwrap();
    writer.finish().unwrap()
}

/// Holds the store against the gallery: every item, and rankings with their ties.
fn assert_same(gallery: &Gallery, store: &ServerStore) {
    assert_eq!(store.count().unwrap(), gallery.len());
    let mut vector = Vec::new();
    for row in (0..gallery.len()).step_by(101) {
        gallery.read(row, 1, &mut vector).unwrap();
        let item = gallery.item(row).unwrap();
        assert_eq!(store.get(&item.id).unwrap(), Some((item.clone(), vector.clone())));
    }
    let mut queries = vec![0.5; DIM];
    queries.extend([0.0; DIM]);
    queries.extend(&vector);
    let queries = Matrix::new(DIM, queries).unwrap();
    for k in [10, 500] {
        let options = SearchOptions { k, ..SearchOptions::default() };
        let expected = Store::search(gallery, &queries, &options).unwrap();
        assert!(store.search(&queries, &options).unwrap() == expected, "{k}");
    }
    // So that is the same too.
    let again = push(gallery, store, &PushOptions::default(), |_, _| {}).unwrap();
    assert_eq!(again, Pushed { unchanged: gallery.len(), ..Pushed::default() });
}

fn all() -> PushOptions {
    PushOptions::default()
}

fn resumed(served: &Served) {
    let folder = tempfile::tempdir().unwrap();
    let gallery = gallery(&folder.path().join("gallery"), 3000);
    let store = ServerStore::create(&served.fresh(), gallery.info()).unwrap();
    let part = PushOptions { rows: Some(0..1200), ..all() };
    let mut seen = Vec::new();
    let first = push(&gallery, &store, &part, |done, len| seen.push((done, len))).unwrap();
    assert_eq!(first, Pushed { added: 1200, ..Pushed::default() });
    assert_eq!((seen[0], seen[1], *seen.last().unwrap()), ((0, 1200), (1024, 1200), (1200, 1200)));
    let second = push(&gallery, &store, &all(), |_, _| {}).unwrap();
    assert_eq!(second, Pushed { added: 1800, unchanged: 1200, ..Pushed::default() });
    assert_same(&gallery, &store);
}

fn changed(served: &Served) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery");
    let before = gallery(&path, 2000);
    let store = ServerStore::create(&served.fresh(), before.info()).unwrap();
    push(&before, &store, &all(), |_, _| {}).unwrap();
    let mut writer = GalleryWriter::open(&path).unwrap();
    for row in [0, 5, 1999] {
        assert!(writer.remove(&before.item(row).unwrap().id));
    }
    // Ten with other vectors, twenty new ones.
    let (mut again, mut vectors) = items(100..110, 2);
    let (new, more) = items(2000..2020, 3);
    again.extend(new);
    vectors.extend(more);
    writer.push(&again, &vectors).unwrap();
    let after = writer.finish().unwrap();
    let pushed = push(&after, &store, &all(), |_, _| {}).unwrap();
    let expected = Pushed { added: 20, updated: 10, unchanged: 1987, removed: 0, others: 3 };
    assert_eq!(pushed, expected);
    assert_eq!(store.count().unwrap(), 2020);
    let options = PushOptions { remove_missing: true, ..all() };
    let pushed = push(&after, &store, &options, |_, _| {}).unwrap();
    assert_eq!(pushed, Pushed { unchanged: 2017, removed: 3, ..Pushed::default() });
    assert_same(&after, &store);
}

fn shared(served: &Served) {
    let folder = tempfile::tempdir().unwrap();
    let gallery = gallery(&folder.path().join("gallery"), 3000);
    let address = served.fresh();
    ServerStore::create(&address, gallery.info()).unwrap();
    let share = |rows: std::ops::Range<usize>| {
        let store = ServerStore::open(&address).unwrap();
        push(&gallery, &store, &PushOptions { rows: Some(rows), ..all() }, |_, _| {}).unwrap()
    };
    let share = &share;
    let added: usize = std::thread::scope(|scope| {
        let rows = [0..1000, 1000..2000, 2000..3000];
        let shares = rows.map(|rows| scope.spawn(move || share(rows)));
        shares.map(|share| share.join().unwrap().added).into_iter().sum()
    });
    assert_eq!(added, 3000);
    assert_same(&gallery, &ServerStore::open(&address).unwrap());
}

fn connection_lost(served: &Served) {
    let folder = tempfile::tempdir().unwrap();
    let gallery = gallery(&folder.path().join("gallery"), 2000);
    let port = served.server.lock().unwrap().port;
    for bytes in [3_000, 900_000, 1_800_000] {
        let direct = served.fresh();
        let name = direct.rsplit('/').next().unwrap();
        let store = ServerStore::create(&direct, gallery.info()).unwrap();
        let proxy = Proxy::new(port, bytes);
        let address = served.server.lock().unwrap().address_at(proxy.port, name);
        let mut reported = 0;
        let done = ServerStore::open(&address)
            .and_then(|through| push(&gallery, &through, &all(), |done, _| reported = done));
        assert!(proxy.broke(), "{bytes}: everything passed");
        // Nothing that was reported is lost, whether the push got over it or not.
        assert!(store.count().unwrap() >= reported, "{bytes}");
        match done {
            Ok(_) => assert_eq!(reported, gallery.len()),
            Err(error) => {
                assert!(matches!(error, Error::Server { .. }), "{error}");
                eprintln!("    after {bytes} bytes: {error}");
                push(&gallery, &store, &all(), |_, _| {}).unwrap();
            }
        }
        assert_same(&gallery, &store);
    }
}

fn server_killed(served: &Served) {
    let folder = tempfile::tempdir().unwrap();
    let gallery = gallery(&folder.path().join("gallery"), 3000);
    let address = served.fresh();
    let store = ServerStore::create(&address, gallery.info()).unwrap();
    let mut reported = 0;
    let done = push(&gallery, &store, &all(), |done, _| {
        if (1..=2048).contains(&done) {
            served.restart();
            // On a connection of its own, while the push still has the old one.
            assert!(ServerStore::open(&address).unwrap().count().unwrap() >= done, "{done}");
        }
        reported = done;
    });
    done.unwrap();
    assert_eq!(reported, gallery.len());
    assert_same(&gallery, &store);
}

fn uncommitted(served: &Served) {
    let kind = served.server.lock().unwrap().kind;
    let store = ServerStore::create(&served.fresh(), &info(DIM)).unwrap();
    let (items, vectors) = items(0..50, 1);
    let mut writer = store.writer().unwrap();
    writer.upsert(&items, &vectors).unwrap();
    drop(writer);
    // A transaction is nothing before it is all; Milvus has what it has acknowledged.
    assert_eq!(store.count().unwrap(), if kind == Kind::Postgres { 0 } else { 50 });
    let mut writer = store.writer().unwrap();
    writer.upsert(&items, &vectors).unwrap();
    writer.commit().unwrap();
    drop(writer);
    assert_eq!(store.count().unwrap(), 50);
    let address = store.name();
    store.remove().unwrap();
    assert!(ServerStore::find(&address).unwrap().is_none());
}

fn mismatched(served: &Served) {
    let folder = tempfile::tempdir().unwrap();
    let gallery = gallery(&folder.path().join("gallery"), 10);
    let with = |change: fn(&mut GalleryInfo)| {
        let mut info = info(DIM);
        change(&mut info);
        let store = ServerStore::create(&served.fresh(), &info).unwrap();
        push(&gallery, &store, &all(), |_, _| {}).unwrap_err().to_string()
    };
    let message = with(|info| info.model = "another".into());
    assert!(message.contains("another") && message.contains("the model's name"), "{message}");
    let message = with(|info| info.layer = "L4".into());
    assert!(message.contains("L4") && message.contains("L5"), "{message}");
    let message = with(|info| info.dim = 128);
    assert!(message.contains("128") && message.contains("256"), "{message}");
}

fn approximate(served: &Served) {
    let folder = tempfile::tempdir().unwrap();
    // Vectors around a few centres, as features of images lie.
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let centres: Vec<f32> = (0..20 * DIM).map(|_| rng.random_range(-1.0..1.0)).collect();
    let mut writer =
        GalleryWriter::create(folder.path().join("gallery"), info(DIM), false).unwrap();
    let (items, mut vectors) = items(0..2000, 1);
    for (row, vector) in vectors.chunks_mut(DIM).enumerate() {
        let centre = &centres[row % 20 * DIM..][..DIM];
        for (value, centre) in vector.iter_mut().zip(centre) {
            *value = centre + rng.random_range(-0.3..0.3);
        }
    }
    writer.push(&items, &vectors).unwrap();
    let gallery = writer.finish().unwrap();
    let store = ServerStore::create(&served.fresh(), gallery.info()).unwrap();
    push(&gallery, &store, &all(), |_, _| {}).unwrap();
    assert_eq!(store.index().unwrap(), Index::Exact);
    store.set_index(Index::Hnsw).unwrap();
    assert_eq!(store.index().unwrap(), Index::Hnsw);
    let queries = Matrix::new(DIM, vectors[..50 * DIM].to_vec()).unwrap();
    let mut options = SearchOptions { k: 10, ..SearchOptions::default() };
    let exact = Store::search(&gallery, &queries, &options).unwrap();
    assert!(store.search(&queries, &options).unwrap() == exact);
    options.approximate = true;
    let mut found = 0;
    for (near, exact) in store.search(&queries, &options).unwrap().iter().zip(&exact) {
        assert!(near.is_sorted_by(|a, b| a.distance <= b.distance));
        // Which are found is a matter of luck, their distances are not.
        found += near.iter().filter(|neighbour| exact.contains(neighbour)).count();
    }
    assert!(found >= 400, "{found} of 500");
    store.set_index(Index::Exact).unwrap();
    assert_eq!(store.index().unwrap(), Index::Exact);
    assert!(store.search(&queries, &options).unwrap() == exact);
    if served.server.lock().unwrap().kind == Kind::Postgres {
        let long = ServerStore::create(&served.fresh(), &info(4096)).unwrap();
        let message = long.set_index(Index::Hnsw).unwrap_err().to_string();
        assert!(message.contains("2000") && message.contains("4096"), "{message}");
        let message =
            ServerStore::create(&served.fresh(), &info(16_001)).err().unwrap().to_string();
        assert!(message.contains("16000"), "{message}");
    }
}

fn missing(served: &Served) {
    let address = served.fresh();
    assert!(ServerStore::find(&address).unwrap().is_none());
    let message = ServerStore::open(&address).err().unwrap().to_string();
    assert!(message.contains(&address) && message.contains("hebb gallery push"), "{message}");
    ServerStore::create(&address, &info(2)).unwrap();
    assert!(matches!(ServerStore::create(&address, &info(2)), Err(Error::Exists { .. })));
    let nowhere = served.server.lock().unwrap().address_at(free_port(), "x");
    let start = std::time::Instant::now();
    let message = ServerStore::open(&nowhere).err().unwrap().to_string();
    assert!(message.contains("refused"), "{message}");
    assert!(start.elapsed().as_secs() < 5);
    let secret = nowhere.replace("://", "://someone:secret@").replace("hebb@", "");
    let message = ServerStore::open(&secret).err().unwrap().to_string();
    assert!(!message.contains("secret"), "{message}");
}
