//! Hostile requests, made from a seed: the same number always gives the same bytes.

use std::io::Cursor;
use std::time::Duration;

use image::{DynamicImage, GrayImage, ImageFormat};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

/// What is sent, and what may come back.
pub(crate) struct Case {
    pub(crate) what: &'static str,
    /// Parts that are sent one after the other.
    pub(crate) parts: Vec<Vec<u8>>,
    /// Time between them.
    pub(crate) pause: Duration,
    /// Whether the client goes away instead of waiting for an answer.
    pub(crate) leaves: bool,
    /// Whether it is HTTP, so that an answer must come.
    pub(crate) answered: bool,
}

/// Makes cases of real images.
pub(crate) struct Cases {
    host: String,
    images: Vec<Vec<u8>>,
    bombs: Vec<Vec<u8>>,
}

const KINDS: [&str; 9] = [
    "image/png",
    "image/jpeg",
    "image/*",
    "application/octet-stream",
    "multipart/form-data; boundary=xyz",
    "multipart/form-data",
    "application/json",
    "text/html",
    "",
];
const NAMES: [&str; 9] = [
    "../../../../etc/passwd",
    "/etc/passwd",
    "..\\..\\boot.ini",
    "a\0b.png",
    "con",
    "\u{202e}gnp.exe",
    "; rm -rf ~ #.png",
    "<script>alert(1)</script>.png",
    "%00%2e%2e%2f",
];

impl Cases {
    /// `image` in every format that is read, and images that are small only as files.
    pub(crate) fn new(host: &str, image: &DynamicImage) -> Self {
        let formats = [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::Gif,
            ImageFormat::WebP,
            ImageFormat::Bmp,
            ImageFormat::Tiff,
        ];
        let images = formats.map(|format| encoded(&image.to_rgb8().into(), format)).to_vec();
        let large = DynamicImage::from(GrayImage::new(7000, 7000));
        let mut bombs = vec![encoded(&large, ImageFormat::Png), encoded(&large, ImageFormat::Jpeg)];
        // What the headers say is far more than what follows.
        for (file, places) in [
            (&images[0], &[16..20, 20..24][..]),
            (&images[2], &[6..8, 8..10]),
            (&images[4], &[18..22, 22..26]),
        ] {
            for byte in [0x7f, 0xff] {
                let mut bomb = file.clone();
                places.iter().for_each(|place| bomb[place.clone()].fill(byte));
                bombs.push(bomb);
            }
        }
        Self { host: host.to_owned(), images, bombs }
    }

    /// Case number `index`.
    pub(crate) fn case(&self, index: u64) -> Case {
        let random = &mut SmallRng::seed_from_u64(index);
        let mut case = match index % 12 {
            0 => self.one("truncated", self.truncated(random), random),
            1 => self.one("flipped", self.flipped(random), random),
            2 => self.one("bomb", any(&self.bombs, random).clone(), random),
            3 => self.wrong_type(random),
            4 => self.names(random),
            5 => self.broken_form(random),
            6 => self.vector(random),
            7 => self.query(random),
            8 => self.headers(random),
            9 => self.not_http(random),
            10 => self.lies(random),
            _ => self.slow(random),
        };
        case.leaves |= random.random_ratio(1, 40);
        case
    }

    fn truncated(&self, random: &mut SmallRng) -> Vec<u8> {
        let image = any(&self.images, random);
        image[..random.random_range(0..image.len())].to_vec()
    }

    fn flipped(&self, random: &mut SmallRng) -> Vec<u8> {
        let mut image = any(&self.images, random).clone();
        // The first bytes say most.
        let reach = if random.random() { image.len() } else { image.len().min(64) };
        for _ in 0..random.random_range(1..20) {
            let at = random.random_range(0..reach);
            image[at] = random.random();
        }
        image
    }

    /// A file, sent as one of the ways to send it.
    fn one(&self, what: &'static str, file: Vec<u8>, random: &mut SmallRng) -> Case {
        let (kind, body) = match random.random_range(0..3) {
            0 => ("application/octet-stream", file),
            1 => ("image/png", file),
            _ => (KINDS[4], form(&[("image", "photo.png", &file)])),
        };
        self.post(what, kind, &body)
    }

    fn wrong_type(&self, random: &mut SmallRng) -> Case {
        let body = match random.random_range(0..5) {
            0 => b"<html><script>alert(1)</script></html>".to_vec(),
            1 => b"PK\x03\x04".iter().copied().chain(noise(500, random)).collect(),
            2 => b"\x7fELF".iter().copied().chain(noise(500, random)).collect(),
            3 => noise(random.random_range(0..5000), random),
            _ => any(&self.images, random).clone(),
        };
        self.post("wrong type", any::<&str>(&KINDS, random), &body)
    }

    fn names(&self, random: &mut SmallRng) -> Case {
        let long = "x".repeat(random.random_range(200..9000));
        let (name, file) = (any(&NAMES, random), any(&NAMES, random));
        let file = if random.random_ratio(1, 5) { &long } else { *file };
        let image = any(&self.images, random);
        let files = vec![(*name, file, &image[..]); random.random_range(1..20)];
        self.post("hostile names", KINDS[4], &form(&files))
    }

    fn broken_form(&self, random: &mut SmallRng) -> Case {
        let mut body = form(&[("image", "photo.png", &any(&self.images, random)[..])]);
        match random.random_range(0..4) {
            0 => body.truncate(random.random_range(0..body.len())),
            1 => {
                let at = random.random_range(0..body.len().min(120));
                body[at] = random.random();
            }
            2 => body = b"--xyz\r\n".repeat(random.random_range(1..3000)),
            _ => body = [b"--xyz\r\n\r\n".repeat(100), noise(300, random)].concat(),
        }
        let boundary = match random.random_range(0..4) {
            0 => "multipart/form-data; boundary=".to_owned(),
            1 => format!("multipart/form-data; boundary={}", "y".repeat(5000)),
            2 => "multipart/form-data; boundary=other".to_owned(),
            _ => KINDS[4].to_owned(),
        };
        self.post("broken form", &boundary, &body)
    }

    fn vector(&self, random: &mut SmallRng) -> Case {
        let numbers =
            |n: usize, number: &str| format!("{{\"vector\": [{}]}}", vec![number; n].join(","));
        let body = match random.random_range(0..6) {
            0 => numbers(random.random_range(0..2000), "0.5"),
            1 => numbers(
                300,
                any::<&str>(&["1e38", "-3.4e38", "1e999", "NaN", "null", "\"1\""], random),
            ),
            2 => "[".repeat(random.random_range(1..50_000)),
            3 => "{\"vector\":".repeat(random.random_range(1..2000)),
            4 => "{\"vector\": [1], \"vector\": [2]}".to_owned(),
            _ => String::from_utf8_lossy(&noise(200, random)).into_owned(),
        };
        self.post("vector", "application/json", body.as_bytes())
    }

    fn query(&self, random: &mut SmallRng) -> Case {
        let noise: String = noise(30, random).iter().map(|byte| format!("%{byte:02x}")).collect();
        let path = match random.random_range(0..7) {
            0 => format!("/api/search?id={noise}&k=5"),
            1 => format!("/api/items?label={noise}&path={}", "*a".repeat(500)),
            2 => format!("/api/items/{noise}/image"),
            3 => "/api/items/..%2f..%2f..%2f..%2fetc%2fpasswd/image".to_owned(),
            4 => format!("/api/search?{}", "id=x&".repeat(random.random_range(1..500))),
            5 => format!("/assets/%2e%2e%2f{noise}"),
            _ => format!("/api/items?offset={}&limit=7", random.random::<u64>()),
        };
        self.whole("query", format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.host), &[])
    }

    fn headers(&self, random: &mut SmallRng) -> Case {
        let mut head = format!("POST /api/search HTTP/1.1\r\nHost: {}\r\n", self.host);
        match random.random_range(0..3) {
            0 => head += &format!("X-A: {}\r\n", "a".repeat(random.random_range(1000..200_000))),
            1 => (0..random.random_range(50..3000)).for_each(|i| head += &format!("X-{i}: b\r\n")),
            _ => head = head.replace("search", &"s/".repeat(random.random_range(100..40_000))),
        }
        // What is too large is cut off, maybe before the answer has been read.
        Case { answered: false, ..self.whole("huge headers", head, &[]) }
    }

    fn not_http(&self, random: &mut SmallRng) -> Case {
        let bytes = match random.random_range(0..5) {
            0 => noise(random.random_range(1..3000), random),
            1 => b"GET /\r\n\r\n".to_vec(),
            2 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            3 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            _ => b"POST /api/search HTTP/1.1\nHost\n\n".to_vec(),
        };
        raw("not HTTP", vec![bytes])
    }

    /// What is said about the body's length does not hold.
    fn lies(&self, random: &mut SmallRng) -> Case {
        let image = any(&self.images, random);
        let length = match random.random_range(0..6) {
            0 => format!("Content-Length: {}", image.len() + 1000),
            1 => "Content-Length: 99999999999999999999".to_owned(),
            2 => "Content-Length: -1".to_owned(),
            3 => format!("Content-Length: 5\r\nContent-Length: {}", image.len()),
            4 => "Transfer-Encoding: chunked".to_owned(),
            _ => "Content-Length: 3".to_owned(),
        };
        let head = format!(
            "POST /api/search HTTP/1.1\r\nHost: {}\r\nContent-Type: image/png\r\n{length}\r\n\r\n",
            self.host
        );
        Case {
            leaves: true,
            ..raw("lies about its length", vec![head.into_bytes(), image.clone()])
        }
    }

    /// In small pieces; some stop midway.
    fn slow(&self, random: &mut SmallRng) -> Case {
        let case = self.one("slow", any(&self.images, random).clone(), random);
        let whole = case.parts.concat();
        let mut parts: Vec<Vec<u8>> =
            whole.chunks(whole.len() / 8 + 1).map(<[u8]>::to_vec).collect();
        let leaves = random.random_ratio(1, 3);
        if leaves {
            parts.truncate(random.random_range(1..parts.len()));
        }
        Case { parts, leaves, pause: Duration::from_millis(20), ..case }
    }

    fn post(&self, what: &'static str, kind: &str, body: &[u8]) -> Case {
        let host = &self.host;
        let head =
            format!("POST /api/search?k=3 HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n");
        self.whole(what, head, body)
    }

    fn whole(&self, what: &'static str, head: String, body: &[u8]) -> Case {
        let head = format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        Case { answered: true, ..raw(what, vec![head.into_bytes(), body.to_vec()]) }
    }
}

fn raw(what: &'static str, parts: Vec<Vec<u8>>) -> Case {
    Case { what, parts, pause: Duration::ZERO, leaves: false, answered: false }
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, format).expect("an image file");
    file.into_inner()
}

fn form(files: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, content) in files {
        let head = format!(
            "--xyz\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\
             Content-Type: image/png\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--xyz--\r\n");
    body
}

fn any<'a, T>(all: &'a [T], random: &mut SmallRng) -> &'a T {
    &all[random.random_range(0..all.len())]
}

fn noise(length: usize, random: &mut SmallRng) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill_bytes(&mut bytes);
    bytes
}
