//! A gallery of real images, a model that any test can follow, and a client that says exactly what
//! it is told to.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "a test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use hebbian_data::{Batch, Dataset, OpenOptions, Part, Size};
use hebbian_search::{Gallery, GalleryInfo, GalleryWriter, Item};
use hebbian_serve::{Card, Embed, Model, Options, Running, Server};
use serde_json::Value;

pub const SIDE: usize = 8;
pub const DIM: usize = SIDE * SIDE;
pub const MODEL: &str = "the first channel";

/// The first channel of the small image: a vector that is easy to follow.
pub struct FirstChannel(pub std::time::Duration);

impl Embed for FirstChannel {
    fn embed(&mut self, batch: &Batch) -> Result<Vec<f32>, String> {
        std::thread::sleep(self.0);
        Ok(batch.pixels.chunks_exact(3).map(|pixel| f32::from(pixel[0]) / 255.0).collect())
    }
}

pub fn vector(images: &hebbian_data::Images, row: usize) -> Vec<f32> {
    let pixels = images.decode_at(row, Size::square(SIDE)).unwrap();
    pixels.chunks_exact(3).map(|pixel| f32::from(pixel[0]) / 255.0).collect()
}

/// Writes `count` images of the repository's sample as PNG class folders, whose names are hard to
/// put into an address.
pub fn photos(folder: &Path, count: usize) -> PathBuf {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hebb/sample/fashion-mnist");
    let part = OpenOptions { part: Part::Test, ..Default::default() };
    let data = Dataset::open_with(&sample, &part).unwrap();
    let photos = folder.join("photos");
    for row in 0..count {
        let class = &data.classes()[data.label(row).unwrap() as usize];
        let class = photos.join(class.replace('/', " "));
        std::fs::create_dir_all(&class).unwrap();
        data.images().decode(row).unwrap().save(class.join(format!("{row} ä?&#%.png"))).unwrap();
    }
    photos
}

pub fn index(photos: &Path, gallery: &Path, rows: std::ops::Range<usize>) {
    let data = Dataset::open(photos).unwrap();
    let mut writer = match gallery.exists() {
        true => GalleryWriter::open(gallery).unwrap(),
        false => {
            let info = GalleryInfo::new(DIM, MODEL, MODEL, "L1");
            GalleryWriter::create(gallery, info, false).unwrap()
        }
    };
    for row in rows {
        let label = data.label(row).map(|label| data.classes()[label as usize].clone());
        let location = Some(photos.to_str().unwrap().to_owned());
        let content = data.images().content_hash(row).ok();
        let item = Item { id: data.id(row), label, location, content };
        writer.push(&[item], &vector(&data.images(), row)).unwrap();
    }
    writer.finish().unwrap();
}

pub struct Site {
    pub folder: tempfile::TempDir,
    pub running: Running,
    pub token: Option<String>,
}

pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Site {
    pub fn new() -> Self {
        Self::with(32, 0, None)
    }

    pub fn with(queue: usize, delay: u64, token: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gallery");
        index(&photos(folder.path(), 60), &path, 0..50);
        let embed = FirstChannel(std::time::Duration::from_millis(delay));
        let card = Card { facts: vec![("Network".into(), "none".into())], filters: None };
        let (size, fingerprint) = (Size::square(SIDE), MODEL.to_owned());
        let options = Options {
            gallery: Gallery::open(&path).unwrap(),
            model: Some(Model { size, fingerprint, card, embed: Box::new(embed) }),
            listen: "127.0.0.1:0".parse().unwrap(),
            token: token.map(str::to_owned),
            labels: Some(folder.path().join("labels.csv")),
            queue,
        };
        let running = Server::bind(options).unwrap().spawn().unwrap();
        Self { folder, running, token: token.map(str::to_owned) }
    }

    pub fn gallery(&self) -> Gallery {
        Gallery::open(self.folder.path().join("gallery")).unwrap()
    }

    pub fn photos(&self) -> Dataset {
        Dataset::open(&self.folder.path().join("photos")).unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, kind: &str, body: &[u8]) -> Answer {
        self.ask("POST", path, &[("Content-Type", kind)], body)
    }

    pub fn ask(&self, method: &str, path: &str, more: &[(&str, &str)], body: &[u8]) -> Answer {
        ask(self.running.address(), method, path, more, body)
    }
}

pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    more: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !more.iter().any(|(name, _)| *name == "Host") {
        request += &format!("Host: {address}\r\n");
    }
    request += &format!("Content-Length: {}\r\n", body.len());
    for (name, value) in more {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    // A server that refuses early does not read the rest.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer to {method} {path}"));
    let headers = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, headers, body: answer[end + 4..].to_vec() }
}

/// Percent-encodes everything that may be.
pub fn encode(id: &str) -> String {
    id.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A form of files.
pub fn form(files: &[&[u8]]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for file in files {
        body.extend_from_slice(
            b"--xyz\r\nContent-Disposition: form-data; name=\"image\"; filename=\"../../etc/passwd\"\r\n\r\n",
        );
        body.extend_from_slice(file);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--xyz--\r\n");
    ("multipart/form-data; boundary=xyz".to_owned(), body)
}

/// Ids and distances of an answer.
pub fn hits(answer: &Answer) -> Vec<(String, f32)> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let hits = json["hits"].as_array().unwrap().iter();
    hits.map(|hit| {
        let distance = hit["distance"].as_f64().unwrap() as f32;
        (hit["id"].as_str().unwrap().to_owned(), distance)
    })
    .collect()
}
