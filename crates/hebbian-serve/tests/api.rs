//! What the server answers, asked over the network.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{DIM, Site, encode, form, hits, index, vector};
use hebbian_search::{Filter, Gallery, Glob, Matrix, SearchOptions};
use serde_json::json;

const PNG: &str = "image/png";

/// What the library finds.
fn expected(
    gallery: &Gallery,
    query: Vec<f32>,
    k: usize,
    filter: Filter,
    exclude: &[&str],
) -> Vec<(String, f32)> {
    let exclude = exclude.iter().map(|&id| id.to_owned()).collect();
    let options = SearchOptions { k, filter, exclude, ..SearchOptions::default() };
    let found = gallery.nearest(&Matrix::new(DIM, query).unwrap(), &options).unwrap();
    found[0].iter().map(|hit| (gallery.item(hit.index).unwrap().id.clone(), hit.distance)).collect()
}

#[test]
fn searches_find_what_the_library_finds() {
    let site = Site::new();
    let (gallery, data) = (site.gallery(), site.photos());
    let images = data.images();
    for row in [0, 7, 49] {
        let id = data.id(row);
        let found = hits(&site.get(&format!("/api/search?id={}&k=5", encode(&id))));
        let all = Filter::default();
        assert_eq!(found, expected(&gallery, vector(&images, row), 5, all.clone(), &[&id]));

        let file = images.encoded(row).unwrap();
        let by_upload = expected(&gallery, vector(&images, row), 9, all.clone(), &[]);
        assert_eq!(by_upload[0].1, 0.0);
        assert_eq!(hits(&site.post("/api/search?k=9", PNG, &file)), by_upload);
        let (kind, body) = form(&[&file]);
        assert_eq!(hits(&site.post("/api/search?k=9", &kind, &body)), by_upload);
        let body = json!({"vector": vector(&images, row)}).to_string();
        let answer = site.post("/api/search?k=9", "application/json", body.as_bytes());
        assert_eq!(hits(&answer), by_upload);
    }
    // Two are averaged, sent together or one of them in the gallery already.
    let two = [vector(&images, 3), vector(&images, 4)];
    let mean = Matrix::new(DIM, two.concat()).unwrap().mean().unwrap().row(0).unwrap().to_vec();
    let files = [3, 4].map(|row| images.encoded(row).unwrap().into_owned());
    let (kind, body) = form(&[&files[0], &files[1]]);
    let expected_mean = expected(&gallery, mean.clone(), 8, Filter::default(), &[]);
    assert_eq!(hits(&site.post("/api/search?k=8", &kind, &body)), expected_mean);
    let id = data.id(4);
    let answer = site.post(&format!("/api/search?k=8&id={}", encode(&id)), PNG, &files[0]);
    assert_eq!(hits(&answer), expected(&gallery, mean, 8, Filter::default(), &[&id]));

    // Filters.
    let label = gallery.item(0).unwrap().label.clone().unwrap();
    let filter = Filter { labels: vec![label.clone()], paths: vec![Glob::new("*1*")] };
    let path = format!("/api/search?k=20&label={}&path=*1*", encode(&label));
    let found = hits(&site.post(&path, PNG, &files[0]));
    assert!(!found.is_empty());
    assert_eq!(found, expected(&gallery, vector(&images, 3), 20, filter, &[]));

    // Duplicates collapse: with a threshold beyond all distances, into one.
    let path = format!("/api/search?k=20&threshold=1000&id={}", encode(&id));
    let all = site.get(&path).json();
    assert_eq!(all["hits"].as_array().unwrap().len(), 1);
    assert_eq!(all["hits"][0]["duplicates"].as_array().unwrap().len(), 19);
}

#[test]
fn items_are_listed_and_shown() {
    let site = Site::new();
    let gallery = site.gallery();
    let page = site.get("/api/items?offset=45&limit=10").json();
    assert_eq!((page["total"].as_u64(), page["items"].as_array().unwrap().len()), (Some(50), 5));
    let facts = site.get("/api/gallery").json();
    assert_eq!(facts["images"], 50);
    let counts = facts["labels"].as_array().unwrap().iter();
    assert_eq!(counts.map(|label| label["count"].as_u64().unwrap()).sum::<u64>(), 50);

    let item = gallery.item(3).unwrap();
    let path = format!("/api/items/{}", encode(&item.id));
    assert_eq!(site.get(&path).json()["label"], json!(item.label));
    let row = site.photos();
    let row = (0..row.len()).find(|&i| row.id(i) == item.id).unwrap();
    let image = site.get(&format!("{path}/image"));
    assert_eq!(image.body, &*site.photos().images().encoded(row).unwrap());
    let thumbnail = site.get(&format!("{path}/thumbnail"));
    assert_eq!(thumbnail.header("content-type"), Some(PNG));
    let tag = thumbnail.header("etag").unwrap();
    let again = site.ask("GET", &format!("{path}/thumbnail"), &[("If-None-Match", tag)], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));

    for name in ["../../../../etc/passwd", "/etc/passwd", "..", "photos", "a\0b", "%", "\\"] {
        for form in ["", "/image", "/thumbnail", "/other"] {
            let status = site.get(&format!("/api/items/{}{form}", encode(name))).status;
            assert_eq!(status, 404, "{name:?} {form}");
        }
    }
    assert_eq!(site.get("/api/items/%FF/image").status, 400);
    assert_eq!(site.get("/api/items/../../etc/passwd").status, 404);
    assert_eq!(site.get("/assets/..%2Flib.rs").status, 404);
}

/// The start of a PNG that says it is 60,000 pixels wide and high.
fn bomb() -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    for side in [30_000_u32, 30_000] {
        file.extend(side.to_be_bytes());
    }
    file.extend(b"\x08\x02\0\0\0");
    let mut crc = !0_u32;
    for &byte in &file[12..] {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    file.extend((!crc).to_be_bytes());
    file.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    file
}

#[test]
fn what_is_hostile_is_refused_and_leaves_nothing() {
    let site = Site::new();
    let file = site.photos().images().encoded(0).unwrap().into_owned();
    let before = files(site.folder.path());
    let post = |path: &str, kind: &str, body: &[u8]| site.post(path, kind, body).status;
    assert_eq!(post("/api/search", PNG, &bomb()), 422);
    assert_eq!(post("/api/search", PNG, &file[..file.len() / 2]), 422);
    assert_eq!(post("/api/search", PNG, b""), 422);
    assert_eq!(post("/api/search", PNG, b"GIF89a"), 422);
    assert_eq!(post("/api/search", "text/html", &file), 415);
    assert_eq!(post("/api/search", PNG, &vec![0; 17 << 20]), 413);
    assert_eq!(post("/api/search", "multipart/form-data; boundary=xyz", b"--xyz"), 400);
    assert_eq!(post("/api/search", "multipart/form-data", b"--xyz"), 400);
    let (kind, body) = form(&vec![&file[..]; 17]);
    assert_eq!(post("/api/search", &kind, &body), 400);
    for body in ["", "{", "{\"vector\": [1]}", "{\"vector\": [1e99]}", "{\"x\": 1}", "[]"] {
        let status = post("/api/search", "application/json", body.as_bytes());
        assert!([400, 422].contains(&status), "{body:?} {status}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(post("/api/search", "application/json", deep.as_bytes()), 400);
    for query in [
        "",
        "k=5",
        "id=x&k=-1",
        "id=x&k=100000",
        "id=x&threshold=NaN",
        "id=x&threshold=-1",
        "foo=1",
    ] {
        assert_eq!(site.get(&format!("/api/search?{query}")).status, 400, "{query}");
    }
    assert_eq!(site.get("/api/search?id=nothing").status, 404);
    assert_eq!(site.ask("DELETE", "/api/items", &[], b"").status, 405);
    assert_eq!(site.get("/nothing").status, 404);
    assert_eq!(files(site.folder.path()), before);
    assert_eq!(post("/api/search", PNG, &file), 200, "it still answers");
    assert!(!site.get("/metrics").text().contains("status=\"5"), "no failure of the server");
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

#[test]
fn only_who_may_is_answered() {
    let site = Site::new();
    let status =
        |method: &str, path: &str, more: &[(&str, &str)]| site.ask(method, path, more, b"").status;
    let own = site.running.address().to_string();
    for (host, expected) in [
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("192.168.0.1", 403),
    ] {
        assert_eq!(status("GET", "/api/gallery", &[("Host", host)]), expected, "{host}");
    }
    let post = |more: &[(&str, &str)]| status("POST", "/api/search", more);
    assert_eq!(post(&[]), 415, "a program that is no browser");
    assert_eq!(post(&[("Origin", &format!("http://{own}"))]), 415);
    assert_eq!(post(&[("Origin", "http://evil.example")]), 403);
    assert_eq!(post(&[("Origin", "null")]), 403);
    assert_eq!(post(&[("Sec-Fetch-Site", "cross-site")]), 403);
    assert_eq!(post(&[("Sec-Fetch-Site", "same-origin")]), 415);
    assert_eq!(status("GET", "/api/gallery", &[("Sec-Fetch-Site", "cross-site")]), 403);
    assert_eq!(status("GET", "/", &[("Sec-Fetch-Site", "cross-site")]), 200, "a link");
    let page = site.get("/");
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
}

#[test]
fn a_token_is_demanded_where_there_is_one() {
    let token = "0123456789abcdef";
    let site = Site::with(32, 0, Some(token));
    let status = |path: &str, more: &[(&str, &str)]| site.ask("GET", path, more, b"").status;
    for path in ["/", "/api/gallery", "/metrics", "/openapi.json", "/assets/app.js", "/nothing"] {
        assert_eq!(status(path, &[]), 401, "{path}");
    }
    assert_eq!(status("/healthz", &[]), 200);
    assert_eq!(status("/?token=0123456789abcdeg", &[]), 401);
    assert_eq!(status(&format!("/api/gallery?token={token}"), &[]), 401);
    assert_eq!(status("/api/gallery", &[("Authorization", &format!("Bearer {token}"))]), 200);
    assert_eq!(status("/api/gallery", &[("Authorization", "Bearer ")]), 401);
    let opened = site.get(&format!("/?token={token}"));
    assert_eq!((opened.status, opened.header("location")), (303, Some("/")));
    let cookie = opened.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(status("/", &[("Cookie", &format!("a=b; {cookie}"))]), 200);

    let options = hebbian_serve::Options {
        gallery: site.gallery(),
        model: None,
        listen: "0.0.0.0:0".parse().unwrap(),
        token: None,
        labels: None,
        queue: 1,
    };
    assert!(matches!(hebbian_serve::Server::bind(options), Err(hebbian_serve::Error::Open { .. })));
}

#[test]
fn too_many_are_told_to_come_back() {
    let site = Site::with(2, 300, None);
    let file = site.photos().images().encoded(0).unwrap().into_owned();
    let answers: Vec<common::Answer> = std::thread::scope(|scope| {
        let ask = || site.post("/api/search?k=1", PNG, &file);
        let threads: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let busy: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!busy.is_empty() && busy.iter().all(|a| a.header("retry-after") == Some("1")));
    let good = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(good >= 2 && good + busy.len() == answers.len());
    assert_eq!(site.post("/api/search?k=1", PNG, &file).status, 200, "afterwards");
}

#[test]
fn a_changed_gallery_is_opened_again() {
    let site = Site::new();
    let id = site.photos().id(55);
    let path = format!("/api/search?id={}", encode(&id));
    assert_eq!(site.get(&path).status, 404);
    index(&site.folder.path().join("photos"), &site.folder.path().join("gallery"), 50..60);
    let begun = std::time::Instant::now();
    while site.get("/api/gallery").json()["images"] != 60 {
        assert!(begun.elapsed().as_secs() < 20, "it is never opened");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(site.get(&path).status, 200);
    assert!(site.get("/metrics").text().contains("hebb_gallery_images 60"));
}

#[test]
fn labels_make_a_table_that_fine_tuning_reads() {
    let site = Site::new();
    let (first, second) = (site.photos().id(0), site.photos().id(1));
    let set = |body: serde_json::Value| {
        site.post("/api/labels", "application/json", body.to_string().as_bytes())
    };
    let answer = set(json!({&first: "cat, black", &second: "dog"}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.body, site.get("/api/labels.csv").body);
    let file = site.folder.path().join("labels.csv");
    let data = site.photos().with_labels_csv(&file).unwrap();
    assert_eq!(data.classes(), ["cat, black", "dog"]);
    assert_eq!((data.label(0), data.label(1), data.labelled()), (Some(0), Some(1), 2));
    let item = site.get(&format!("/api/items/{}", encode(&first))).json();
    assert_eq!(item["assigned"], "cat, black");
    assert_eq!(set(json!({"nothing": "cat"})).status, 404);
    assert_eq!(set(json!({&first: " "})).status, 422);
    assert_eq!(set(json!({&first: 3})).status, 400);
    assert_eq!(set(json!({&first: null})).status, 200);
    assert_eq!(site.post("/api/labels", "text/plain", b"{}").status, 415);
}
