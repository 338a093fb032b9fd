//! `hebb serve`: it finds what `hebb search` finds, and stops when asked.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use common::{at, fails, ok, scratch};
use serde_json::Value;

/// Ends the server should the test fail.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(address: &str, head: &str, body: &[u8]) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "{head} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: image/png\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn a_served_gallery_finds_what_the_command_finds() {
    let dir = scratch(4);
    let (photos, run, gallery) = (at(&dir, "photos"), at(&dir, "run"), at(&dir, "gallery"));
    ok(&["pretrain", &photos, "--network", &at(&dir, "small.toml"), "--out", &run]);
    ok(&["index", &photos, "--model", &run, "--out", &gallery]);
    fails(&["serve", &gallery, "--queue", "0"], 2, &["--queue"]);
    fails(&["serve", &at(&dir, "nothing")], 1, &["nothing"]);
    std::fs::write(dir.path().join("token"), "short").unwrap();
    fails(&["serve", &gallery, "--token-file", &at(&dir, "token")], 1, &["token", "16"]);

    let mut command = Command::new(env!("CARGO_BIN_EXE_hebb"));
    command.args(["serve", &gallery, "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut served = Served(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(served.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();

    let image = std::fs::read_dir(&photos).unwrap().next().unwrap().unwrap().path();
    let image = image.join("000.png");
    let searched = ok(&["search", &gallery, image.to_str().unwrap(), "-k", "7", "--json"]);
    let searched: Value = serde_json::from_str(&searched).unwrap();
    let found = ask(&address, "POST /api/search?k=7", &std::fs::read(&image).unwrap());
    let pairs = |hits: &Value| -> Vec<(String, String)> {
        let hits = hits["hits"].as_array().unwrap().iter();
        hits.map(|hit| (hit["id"].to_string(), hit["distance"].to_string())).collect()
    };
    assert_eq!(pairs(&found).len(), 7);
    assert_eq!(pairs(&found), pairs(searched.get(0).unwrap_or(&searched)));
    let facts = ask(&address, "GET /api/gallery", b"");
    assert_eq!(facts["model"]["filters"], true);

    #[cfg(unix)]
    {
        let id = served.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(served.0.wait().unwrap().success(), "it stops in peace");
    }
}
