//! Galleries that change: brought up to date, searched, cleared out, exported and imported.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{at, fails, hebb, ok, scratch, stderr};
use hebbian_search::{Gallery, GalleryWriter, Vectors};
use serde_json::Value;

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(&[arguments, &["--json"]].concat())).unwrap()
}

/// The images of a folder of class folders, by id.
fn images(photos: &str) -> Vec<(String, PathBuf)> {
    let mut images = Vec::new();
    for class in fs::read_dir(photos).unwrap().map(|entry| entry.unwrap()) {
        for image in fs::read_dir(class.path()).unwrap().map(|entry| entry.unwrap()) {
            let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
            images.push((format!("{}/{}", name(&class), name(&image)), image.path()));
        }
    }
    images.sort();
    images
}

fn trained(dir: &tempfile::TempDir) -> (String, String) {
    let (photos, run) = (at(dir, "photos"), at(dir, "run"));
    ok(&["pretrain", &photos, "--network", &at(dir, "small.toml"), "--out", &run]);
    (photos, run)
}

fn vector(gallery: &Path, id: &str) -> Vec<f32> {
    let gallery = Gallery::open(gallery).unwrap();
    let mut vector = Vec::new();
    gallery.read(gallery.find(id).unwrap(), 1, &mut vector).unwrap();
    vector
}

#[test]
fn a_gallery_follows_its_images() {
    let dir = scratch(6);
    let (photos, run) = trained(&dir);
    let gallery = at(&dir, "gallery");
    let index = ["index", &photos, "--model", &run, "--out", &gallery];
    let counts = |found: &Value| {
        let names =
            ["added", "updated", "moved", "relabelled", "unchanged", "removed", "unreadable"];
        names.map(|name| found[name].as_u64().unwrap())
    };
    assert_eq!(counts(&json(&index)), [60, 0, 0, 0, 0, 0, 0]);
    assert_eq!(counts(&json(&index)), [0, 0, 0, 0, 60, 0, 0]);

    let all = images(&photos);
    let (first, second, third) = (&all[0], &all[1], &all[2]);
    let before = vector(gallery.as_ref(), &first.0);
    // One changes, one is renamed, one copied, one goes, one comes that is none.
    fs::copy(&all[59].1, &second.1).unwrap();
    let renamed = first.1.with_file_name("renamed.png");
    fs::rename(&first.1, &renamed).unwrap();
    fs::copy(&third.1, third.1.with_file_name("twin.png")).unwrap();
    fs::remove_file(&all[30].1).unwrap();
    fs::write(renamed.with_file_name("text.jpg"), "not an image").unwrap();
    let found = json(&index);
    assert_eq!(counts(&found), [1, 1, 1, 0, 57, 0, 1]);
    assert_eq!(found["images"], 61, "what is gone stays");
    let id = first.0.rsplit_once('/').unwrap().0.to_owned() + "/renamed.png";
    assert_eq!(vector(gallery.as_ref(), &id), before);
    // Copied files have the very vector of what they are copies of.
    assert_eq!(vector(gallery.as_ref(), &second.0), vector(gallery.as_ref(), &all[59].0));

    let output = hebb(&[&index[..], &["--remove-missing"]].concat());
    let talk = stderr(&output);
    assert!(talk.contains("0 added, 0 updated, 60 unchanged, 1 removed"), "{talk}");
    assert!(talk.contains("text.jpg"), "{talk}");
    fs::remove_file(renamed.with_file_name("text.jpg")).unwrap();

    // Labels may come later, and cost no vector.
    let labels = at(&dir, "labels.csv");
    let id = &all[40].0;
    fs::write(&labels, format!("path,label\n{id},odd\n{},even\n", all[41].0)).unwrap();
    let relabelled = json(&[&index[..], &["--labels", &labels]].concat());
    assert_eq!(counts(&relabelled), [0, 0, 0, 60, 0, 0, 0]);
    let opened = Gallery::open(&gallery).unwrap();
    assert_eq!(opened.item(opened.find(id).unwrap()).unwrap().label.as_deref(), Some("odd"));
    opened.verify().unwrap();

    // Everything at once gives the same neighbours as a gallery made anew.
    let anew = at(&dir, "anew");
    json(&["index", &photos, "--model", &run, "--out", &anew]);
    let nearest = |gallery: &str| {
        let found = json(&["search", gallery, "--id", id, "-k", "5"]);
        let hits = found[0]["hits"].as_array().unwrap().clone();
        hits.into_iter().map(|hit| hit["distance"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    for (a, b) in nearest(&gallery).into_iter().zip(nearest(&anew)) {
        // The batches were others, and so is the rounding.
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }

    // Another model, another layer, another writer.
    let other = at(&dir, "other");
    ok(&[
        "pretrain",
        &photos,
        "--network",
        &at(&dir, "small.toml"),
        "--seed",
        "1",
        "--out",
        &other,
    ]);
    let with = |model: &str, layer: &str, code, words: &[&str]| {
        let index = ["index", &photos, "--model", model, "--out", &gallery, "--layer", layer];
        fails(&index, code, words);
    };
    with(&other, "L3", 1, &["gallery holds features of model", "run"]);
    with(&run, "L1", 2, &["--layer", "L1", "L3"]);
    let writer = GalleryWriter::open(&gallery).unwrap();
    fails(&index, 1, &["gallery: another process is writing to this gallery"]);
    drop(writer);
    assert_eq!(counts(&json(&[&index[..], &["--overwrite"]].concat())), [60, 0, 0, 0, 0, 0, 0]);

    // What can't be read takes the place of nothing.
    let text = dir.path().join("text");
    fs::create_dir(&text).unwrap();
    fs::write(text.join("text.jpg"), "not an image").unwrap();
    let index = ["index", text.to_str().unwrap(), "--model", &run, "--out", &gallery];
    fails(&[&index[..], &["--overwrite"]].concat(), 1, &["text.jpg"]);
    assert_eq!(Gallery::open(&gallery).unwrap().len(), 60);
    assert_eq!(counts(&json(&index)), [0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn every_kind_of_query_and_filter() {
    let dir = scratch(8);
    let (photos, run) = trained(&dir);
    let gallery = at(&dir, "gallery");
    ok(&["index", &photos, "--model", &run, "--out", &gallery]);
    let all = images(&photos);
    let (id, image) = (all[20].0.as_str(), all[20].1.to_str().unwrap());
    let hits = |arguments: &[&str]| {
        let found = json(&[&["search", &gallery], arguments].concat());
        let text = |hit: &Value, field: &str| hit[field].as_str().unwrap().to_owned();
        let hits = found[0]["hits"].as_array().unwrap().iter();
        hits.map(|hit| (text(hit, "id"), text(hit, "label"), hit["distance"].as_f64().unwrap()))
            .collect::<Vec<_>>()
    };
    let by_image = hits(&[image, "-k", "80"]);
    assert_eq!((by_image.len(), by_image[0].0.as_str()), (80, id));
    // More like this: the same without itself.
    let by_id = hits(&["--id", id, "-k", "79"]);
    assert_eq!(by_id.len(), 79);
    assert!(by_id.iter().all(|hit| hit.0 != id));
    assert!((by_id[0].2 - by_image[1].2).abs() < 1e-4);

    // Filters keep the ranking and let nothing pass that was not asked for.
    let label = &by_id[30].1;
    let expected: Vec<_> = by_id.iter().filter(|hit| hit.1 == *label).take(5).cloned().collect();
    assert_eq!(hits(&["--id", id, "--label", label, "-k", "5"]), expected);
    let folder = by_id[10].0.split('/').next().unwrap();
    let glob = format!("{folder}/*3.png");
    let expected: Vec<_> = by_id
        .iter()
        .filter(|hit| hit.0.starts_with(folder) && hit.0.ends_with("3.png"))
        .cloned()
        .collect();
    assert_eq!(hits(&["--id", id, "--path", &glob]), expected);
    assert!(hits(&["--id", id, "--label", "nothing"]).is_empty());

    // Vectors in a file, and the mean of several queries.
    let exported = at(&dir, "exported");
    ok(&["gallery", "export", &gallery, "--out", &exported]);
    let vectors = format!("{exported}/vectors.npy");
    let found = json(&["search", &gallery, "--vector", &vectors, "-k", "1"]);
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 80);
    for (query, (id, _)) in found.iter().zip(&all) {
        assert_eq!(query["hits"][0]["id"].as_str(), Some(id.as_str()));
        assert_eq!(query["hits"][0]["distance"], 0.0);
    }
    let average = ["--id", id, "--id", all[60].0.as_str(), "--average", "-k", "80"];
    let mean = hits(&average);
    assert_eq!(mean.len(), 78, "without either of the two");
    let [a, b] = [id, &all[60].0].map(|id| vector(gallery.as_ref(), id));
    let nearest = vector(gallery.as_ref(), &mean[0].0);
    let distance = |(i, value): (usize, &f32)| {
        (f64::from((f64::midpoint(a[i].into(), b[i].into())) as f32) - f64::from(*value)).powi(2)
    };
    let distance = nearest.iter().enumerate().map(distance).sum::<f64>().sqrt();
    assert!((mean[0].2 - distance).abs() < 1e-4, "{} {distance}", mean[0].2);

    fails(&["search", &gallery, "--id", "nowhere"], 1, &["nowhere", "gallery"]);
    fails(&["search", &gallery, "--vector", image], 1, &[".png", "numpy.save"]);
    assert_eq!(hebb(&["search", &gallery]).status.code(), Some(2));
    // Vectors and ids need no model.
    fs::rename(&run, at(&dir, "moved")).unwrap();
    ok(&["search", &gallery, "--id", id]);
    fails(&["search", &gallery, image], 2, &["--model", "run"]);
}

#[test]
fn a_gallery_is_looked_after() {
    let dir = scratch(5);
    let (photos, run) = trained(&dir);
    let gallery = at(&dir, "gallery");
    let all = images(&photos);
    let class = all[0].0.split('/').next().unwrap();
    // Two copies and a near copy: one row of pixels fewer, scaled as the others.
    fs::copy(&all[7].1, all[7].1.with_file_name("copy.png")).unwrap();
    let near = image::open(&all[23].1).unwrap();
    near.crop_imm(0, 0, 28, 27).save(all[23].1.with_file_name("near.png")).unwrap();
    ok(&["index", &photos, "--model", &run, "--out", &gallery]);

    let info = json(&["gallery", "info", &gallery]);
    assert_eq!(
        (&info["images"], &info["labels"], &info["dim"]),
        (&52.into(), &10.into(), &300.into())
    );
    assert!(ok(&["gallery", "info", &gallery]).contains("layer L3"), "{info}");
    assert!(ok(&["gallery", "verify", &gallery]).contains("whole, 52 images"));

    let output = hebb(&["gallery", "duplicates", &gallery, "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(stderr(&output).contains("threshold"), "{}", stderr(&output));
    let groups: Vec<Vec<&str>> = found["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g.as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect())
        .collect();
    assert!(groups.iter().any(|g| g.contains(&all[7].0.as_str()) && g.len() >= 2), "{found}");
    let exact = json(&["gallery", "duplicates", &gallery, "--threshold", "0"]);
    assert_eq!(exact["groups"].as_array().unwrap().len(), 1, "{exact}");
    fails(&["gallery", "duplicates", &gallery, "--threshold", "nan"], 2, &["--threshold"]);

    // Out and in again: the same vectors, the same items.
    let (exported, other) = (at(&dir, "exported"), at(&dir, "imported"));
    ok(&["gallery", "export", &gallery, "--out", &exported]);
    fails(&["gallery", "export", &gallery, "--out", &exported], 1, &["vectors.npy", "--overwrite"]);
    ok(&["gallery", "export", &gallery, "--out", &exported, "--overwrite"]);
    assert_eq!(fs::read_dir(&exported).unwrap().count(), 2, "nothing else is left");
    let (vectors, items) = (format!("{exported}/vectors.npy"), format!("{exported}/items.parquet"));
    let import = |into: &str, more: &[&str]| {
        let base = ["gallery", "import", into, "--vectors", &vectors, "--items", &items];
        [&base[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run_import = |into: &str, more: &[&str]| {
        let arguments = import(into, more);
        json(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(run_import(&other, &["--model", &run])["added"], 52);
    let (a, b) = (Gallery::open(&gallery).unwrap(), Gallery::open(&other).unwrap());
    assert!(a.items().eq(b.items()));
    assert_eq!(a.info().model, b.info().model);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    a.read(0, 52, &mut x).unwrap();
    b.read(0, 52, &mut y).unwrap();
    assert_eq!(x, y);
    assert_eq!(run_import(&other, &["--model", &run])["updated"], 52);
    // It knows the images by their content.
    let again = json(&["index", &photos, "--model", &run, "--out", &other]);
    assert_eq!(again["unchanged"], 52);
    let arguments = import(&other, &[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    fails(&arguments, 1, &["imported", "--model"]);
    let cut = at(&dir, "cut.parquet");
    let whole = fs::read(&items).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let new = at(&dir, "new");
    let import = ["gallery", "import", &new, "--vectors", &vectors, "--items"];
    fails(&[&import[..], &[&cut]].concat(), 1, &["cut.parquet"]);
    assert!(!Path::new(&new).exists());
    // Whatever is wrong with a file of another program, it is one sentence.
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        fs::write(&cut, &damaged).unwrap();
        let output = hebb(&[&import[..], &[&cut]].concat());
        assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
        match output.status.code() {
            Some(0) => fs::remove_dir_all(&new).unwrap(),
            code => assert_eq!(code, Some(1), "{}", stderr(&output)),
        }
    }

    // Approximate searches: so few images are all looked at, later ones too.
    let id = all[30].0.as_str();
    let search = ["search", &gallery, "--id", id, "-k", "51"];
    let exact = json(&search);
    let approximate = || {
        let output = hebb(&[&search[..], &["--approximate", "--json"]].concat());
        (serde_json::from_slice::<Value>(&output.stdout).unwrap(), stderr(&output))
    };
    assert!(approximate().1.contains("no graph"));
    assert_eq!(json(&["gallery", "approximate", &gallery])["recall"], 1.0);
    let (found, talk) = approximate();
    assert!(found == exact && talk.contains("100.00 %"), "{talk}");
    ok(&["gallery", "remove", &gallery, "--id", &all[23].0]);
    ok(&["index", &photos, "--model", &run, "--out", &gallery]);
    let (found, talk) = approximate();
    // By itself in a batch, an image's vector is rounded otherwise.
    assert!(found == json(&search) && talk.contains("1 images were added since"), "{talk}");
    assert!(ok(&["gallery", "info", &gallery]).contains("1 images beside it"));

    // Removing says how many and leaves the rest.
    let remove = |more: &[&str]| json(&[&["gallery", "remove", &gallery], more].concat());
    let dry = remove(&["--path", class, "--dry-run"]);
    assert_eq!((&dry["removed"], &dry["images"]), (&5.into(), &52.into()));
    assert_eq!(remove(&["--path", class])["images"], 47);
    assert_eq!(remove(&["--id", &all[10].0, "--id", &all[11].0])["removed"], 2);
    assert_eq!(remove(&["--label", all[20].0.split('/').next().unwrap()])["images"], 39);
    fails(&["gallery", "remove", &gallery, "--id", &all[10].0], 1, &[&all[10].0]);
    assert_eq!(hebb(&["gallery", "remove", &gallery]).status.code(), Some(2));
    ok(&["gallery", "compact", &gallery]);
    let info = json(&["gallery", "info", &gallery]);
    assert_eq!((&info["segments"], &info["removed_rows"]), (&1.into(), &0.into()));
    assert!(ok(&["gallery", "verify", &gallery]).contains("whole, 39 images"));
    // What was removed and is still in the folder comes again.
    let back = json(&["index", &photos, "--model", &run, "--out", &gallery]);
    assert_eq!((&back["added"], &back["unchanged"]), (&13.into(), &39.into()));
    // A gallery is no folder of something else.
    fails(&["gallery", "verify", &photos], 1, &["gallery.toml"]);
}

/// Shards of the images, each by a process of its own, are the whole when they are put together.
#[test]
fn shards_join_to_the_whole() {
    let dir = scratch(5);
    let (photos, run) = trained(&dir);
    fs::write(dir.path().join("photos/broken.jpg"), "not an image").unwrap();
    let numbers = |file: &str| {
        let bytes = fs::read(file).unwrap();
        let tensors =
            hebbian::network::Tensors::from_bytes(file.as_ref(), &bytes).unwrap().take_prefix("");
        assert_eq!(tensors.len(), 1);
        tensors.into_iter().next().unwrap().2
    };
    let close = |a: &[f32], b: &[f32]| {
        assert_eq!(a.len(), b.len());
        // The batches were others, and so is the rounding.
        a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a} {b}"));
    };
    let extract = |shard: &[&str], name: &str| {
        let out = at(&dir, &format!("{name}.safetensors"));
        ok(&[&["extract", &photos, "--model", &run, "--out", &out], shard].concat());
        let names = fs::read_to_string(at(&dir, &format!("{name}.csv"))).unwrap();
        (numbers(&out), names.lines().skip(1).map(str::to_owned).collect::<Vec<_>>())
    };
    let (whole, names) = extract(&[], "whole");
    let parts = ["1/3", "2/3", "3/3"].map(|shard| extract(&["--shard", shard], &shard[..1]));
    assert_eq!(parts.iter().flat_map(|part| part.1.clone()).collect::<Vec<_>>(), names);
    close(&parts.iter().flat_map(|part| part.0.clone()).collect::<Vec<_>>(), &whole);

    let index = |shard: &[&str], out: &str| {
        json(&[&["index", &photos, "--model", &run, "--out", out], shard].concat())
    };
    let (whole, joined) = (at(&dir, "whole"), at(&dir, "joined"));
    index(&[], &whole);
    let parts = ["1/3", "2/3", "3/3"].map(|shard| {
        let out = at(&dir, &format!("part-{}", &shard[..1]));
        let found = index(&["--shard", shard], &out);
        assert!((16..=17).contains(&found["added"].as_u64().unwrap()), "{found}");
        out
    });
    let join = ["gallery", "join", &joined, &parts[0], &parts[1], &parts[2]];
    let found = json(&join);
    assert_eq!((&found["added"], &found["replaced"]), (&50.into(), &0.into()));
    assert_eq!(json(&join)["replaced"], 50);
    let [whole_gallery, joined_gallery] =
        [&whole, &joined].map(|path| Gallery::open(path).unwrap());
    joined_gallery.verify().unwrap();
    let mut vectors = [Vec::new(), Vec::new()];
    for (gallery, vectors) in [&whole_gallery, &joined_gallery].into_iter().zip(&mut vectors) {
        gallery.read(0, 50, vectors).unwrap();
    }
    assert!(whole_gallery.items().eq(joined_gallery.items()));
    close(&vectors[0], &vectors[1]);
    // Nothing is left to do for the whole, nor for a shard of it in one gallery.
    assert_eq!(index(&[], &joined)["unchanged"], 50);
    let found = index(&["--shard", "2/3"], &joined);
    assert_eq!((&found["images"], &found["removed"]), (&50.into(), &0.into()));
    fails(
        &[
            "index",
            &photos,
            "--model",
            &run,
            "--out",
            &joined,
            "--shard",
            "2/3",
            "--remove-missing",
        ],
        2,
        &["--shard"],
    );
    let other = at(&dir, "pixels");
    index(&["--layer", "pixels"], &other);
    fails(&["gallery", "join", &joined, &other], 1, &["pixels", "L3"]);
}
