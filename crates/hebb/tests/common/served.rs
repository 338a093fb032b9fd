//! `hebb serve` as a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A server, ended should the test fail.
pub struct Served {
    child: Child,
    /// Host and port.
    pub address: String,
}

impl Served {
    /// Starts `hebb serve` on any port that is free, and waits until it listens.
    pub fn start(arguments: &[&str], with: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hebb"));
        command.arg("serve").args(arguments).args(["--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::piped());
        with(&mut command);
        let mut child = command.spawn().expect("hebb serve starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("standard output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("http://").unwrap_or_default();
        let address = address.trim_end_matches('/').to_owned();
        Self { child, address }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a state").is_none()
    }

    /// Asks it to stop, and waits; whether it stopped in peace.
    #[cfg(unix)]
    pub fn stop(mut self) -> bool {
        let id = self.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status().expect("kill starts");
        asked.success() && self.child.wait().expect("an end").success()
    }

    /// Status and body of what is answered to a request.
    pub fn ask(&self, head: &str, kind: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let (address, length) = (&self.address, body.len());
        let head = format!(
            "{head} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        let answer = self.send(&[head.as_bytes(), body].concat());
        answer.unwrap_or_else(|| panic!("no answer to {head}"))
    }

    /// The JSON answered to a request.
    pub fn json(&self, head: &str, body: &[u8]) -> Value {
        let (status, answer) = self.ask(head, "image/png", body);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).expect("JSON")
    }

    /// Sends bytes as they are; status and body of the answer, if there is one.
    pub fn send(&self, bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        // A server that refuses early does not read the rest.
        let _ = stream.write_all(bytes);
        read(&mut stream)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of an answer, if one comes.
pub fn read(stream: &mut TcpStream) -> Option<(u16, Vec<u8>)> {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_off(end + 4)))
}
