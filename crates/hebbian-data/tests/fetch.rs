//! Downloads from a real server on this machine.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use hebbian_data::fetch::{Archive, fetch};
use hebbian_data::{Dataset, Error, SourceKind};
use md5::{Digest, Md5};

/// Serves `body` at any path until dropped.
struct Server {
    server: Arc<tiny_http::Server>,
    thread: Option<std::thread::JoinHandle<()>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(status: u16, body: Vec<u8>) -> Self {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let (inner, count) = (Arc::clone(&server), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            for request in inner.incoming_requests() {
                count.fetch_add(1, Ordering::SeqCst);
                let response = tiny_http::Response::from_data(body.clone());
                request.respond(response.with_status_code(status)).unwrap();
            }
        });
        Self { server, thread: Some(thread), asked }
    }

    fn url(&self) -> String {
        format!("http://{}/cifar.tar.gz", self.server.server_addr())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.server.unblock();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The official layout in small: two records a batch, and a file nobody expects.
fn archive_bytes() -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), content).unwrap();
    };
    for name in (1..=5).map(|n| format!("data_batch_{n}.bin")).chain(["test_batch.bin".into()]) {
        add(&name, &[3; 2 * 3073]);
    }
    add("batches.meta.txt", b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
    add("readme.html", b"unexpected");
    tar.into_inner().unwrap().finish().unwrap()
}

fn md5_of(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let name = |e: std::io::Result<fs_err::DirEntry>| e.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs_err::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn an_archive_is_fetched_once_and_opens() {
    let bytes = archive_bytes();
    let server = Server::start(200, bytes.clone());
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive { md5: md5_of(&bytes), ..Archive::cifar10() }.from_url(&server.url());
    let mut told = (0, None);
    let folder = fetch(&archive, dir.path(), &mut |done, all| told = (done, all)).unwrap();
    assert_eq!(told, (bytes.len() as u64, Some(bytes.len() as u64)));
    assert_eq!(names(dir.path()), ["cifar-10"]);
    assert_eq!(names(&folder).len(), 7);
    let data = Dataset::open(&folder).unwrap();
    assert_eq!((data.kind(), data.len()), (SourceKind::CifarBinary, 12));
    assert_eq!(fetch(&archive, dir.path(), &mut |_, _| {}).unwrap(), folder);
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
}

#[test]
fn what_is_not_the_archive_leaves_nothing_behind() {
    let bytes = archive_bytes();
    let dir = tempfile::tempdir().unwrap();
    let failed = |archive: Archive, status: u16, body: &[u8]| {
        let server = Server::start(status, body.to_vec());
        let error = fetch(&archive.from_url(&server.url()), dir.path(), &mut |_, _| {});
        assert!(names(dir.path()).is_empty());
        error.unwrap_err()
    };
    let good = Archive { md5: md5_of(&bytes), ..Archive::cifar10() };
    let error = failed(good.clone(), 200, &bytes[..bytes.len() - 9]);
    assert!(matches!(&error, Error::Checksum { expected, .. } if *expected == good.md5), "{error}");
    let message = failed(good.clone(), 404, b"not here").to_string();
    assert!(message.contains("404") && message.contains("--from"), "{message}");
    let message = failed(Archive { max_bytes: 10, ..good.clone() }, 200, &bytes).to_string();
    assert!(message.contains("longer than 10 bytes"), "{message}");
    let mut more = good.clone();
    more.members.push(("absent.bin".to_owned(), 1));
    assert!(failed(more, 200, &bytes).to_string().contains("absent.bin is not in it"));
    let mut short = good.clone();
    short.members[0].1 = 100;
    assert!(failed(short, 200, &bytes).to_string().contains("at most 100 are due"));
    let cut = &bytes[..bytes.len() / 2];
    assert!(failed(Archive { md5: md5_of(cut), ..good }, 200, cut).to_string().contains("again"));
}

#[test]
fn a_machine_without_the_server_gets_one_clear_sentence() {
    let dir = tempfile::tempdir().unwrap();
    // Bound and closed again: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}/x");
    let archive = Archive::cifar100().from_url(&url);
    let message = fetch(&archive, dir.path(), &mut |_, _| {}).unwrap_err().to_string();
    assert!(message.starts_with(&format!("{url}: can't be downloaded (")), "{message}");
    assert!(message.contains("check the network"), "{message}");
}
