//! A forward proxy: tunnels on `CONNECT`, passes plain requests on, and remembers what it was asked.
//!
//! Whatever the name that it is asked for, it goes to this machine: tests can use names that nobody can look up.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::runtime;

/// A proxy on a port of its own; ends when it is dropped.
pub struct Proxy {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Proxy {
    /// A proxy for whoever sends this `Proxy-Authorization`, or for everybody.
    pub async fn start(authorization: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the proxy");
        let address = listener.local_addr().expect("its address").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heads = asked.clone();
        let server = runtime::runtime().spawn(async move {
            // Connections end with the proxy.
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                connections.spawn(pass(stream, authorization, heads.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, asked, server }
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The head of the first request of each connection so far.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

async fn pass(mut stream: TcpStream, authorization: Option<&'static str>, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    asked.lock().push(head.clone());
    let header = |name: &str| {
        head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)))
    };
    if authorization.is_some() && header("proxy-authorization").map(|(_, value)| value) != authorization {
        let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").await;
        return;
    }
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let place = target.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let port = place.rsplit_once(':').map_or("80", |(_, port)| port);
    let Ok(mut there) = TcpStream::connect(format!("127.0.0.1:{port}")).await else {
        let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await;
        return;
    };
    // A connection is for one upstream, so what follows on it can be passed on as it comes: servers take whole addresses.
    let begun = match method {
        "CONNECT" => stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await,
        _ => there.write_all(head.as_bytes()).await,
    };
    if begun.is_ok() {
        let _ = copy_bidirectional(&mut stream, &mut there).await;
    }
}
