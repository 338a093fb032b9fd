//! A connection that breaks: passes on what it gets, and after so many bytes hangs up.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Passes connections on to a server of this machine.
pub struct Proxy {
    pub port: u16,
    left: Arc<AtomicI64>,
}

impl Proxy {
    /// Lets `bytes` of what clients send pass, over all connections; then hangs up on everybody
    /// once, and lets all pass from then on.
    pub fn new(server: u16, bytes: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicI64::new(bytes));
        let shared = Arc::clone(&left);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let (back, forth) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let left = Arc::clone(&shared);
                std::thread::spawn(move || pass(client, server, Some(&left)));
                std::thread::spawn(move || pass(back, forth, None));
            }
        });
        Self { port, left }
    }

    /// Whether it has hung up.
    pub fn broke(&self) -> bool {
        self.left.load(Ordering::SeqCst) <= 0
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, left: Option<&AtomicI64>) {
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut bytes) {
        let mut n = n;
        if let Some(left) = left {
            let before = left.fetch_sub(n as i64, Ordering::SeqCst);
            if (1..=n as i64).contains(&before) {
                // In the middle of what was sent.
                n = before as usize;
                let _ = to.write_all(&bytes[..n]);
                break;
            }
        }
        if to.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
