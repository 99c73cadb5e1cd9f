//! HTTP/2 frame by frame: what a client library would never send, and caps that hold against whoever tries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;
use crate::runtime::readiness::Readiness;
use crate::runtime::shutdown::DrainTiming;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// How often the service was called, and how often it got a whole body.
#[derive(Clone, Default)]
struct Counts {
    called: Arc<AtomicUsize>,
    whole: Arc<AtomicUsize>,
}

impl Counts {
    fn called(&self) -> usize {
        self.called.load(Ordering::SeqCst)
    }
}

/// What came for a stream (0: for the connection).
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Answer(u8),
    Reset(u32),
    GoAway(u32),
    Closed,
}

struct Peer {
    stream: TcpStream,
}

struct Server {
    address: SocketAddr,
    counts: Counts,
}

fn start() -> Server {
    let timing = DrainTiming { min_drain: Duration::ZERO, ..DrainTiming::default() };
    let shutdown = Shutdown::new(Readiness::new(), timing);
    let counts = Counts::default();
    let hello = |State(counts): State<Counts>| async move {
        counts.called.fetch_add(1, Ordering::SeqCst);
        "hello"
    };
    let forever = |State(counts): State<Counts>| async move {
        counts.called.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    };
    let read = |State(counts): State<Counts>, body: axum::body::Body| async move {
        if axum::body::to_bytes(body, 1 << 20).await.is_ok() {
            counts.whole.fetch_add(1, Ordering::SeqCst);
        }
    };
    let routes = Router::new()
        .route("/hello", get(hello))
        .route("/forever", get(forever))
        .route("/read", post(read))
        .with_state(counts.clone());
    let limits = HttpLimits {
        header_read: Duration::from_millis(500),
        keep_alive: Duration::from_secs(1),
        ..HttpLimits::default()
    };
    let listener = bind("127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, routes, limits, shutdown));
    Server { address, counts }
}

fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(content);
    frame
}

/// Headers as literals that are not indexed: nothing is cleaned up on the way.
fn literals(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut headers = vec![(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")];
    headers.extend(more);
    literals(&headers)
}

impl Server {
    async fn open(&self) -> Peer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Peer { stream }
    }

    /// One request made of these frames' contents on stream 1, then a good one on stream 3 of the same connection.
    async fn one_bad_one_good(&self, bad: Vec<u8>) -> (Heard, Heard) {
        let mut peer = self.open().await;
        peer.send(&bad).await;
        let first = if bad.is_empty() { Heard::Closed } else { peer.hear(1).await };
        peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &head("GET", "/hello", &[]))).await;
        (first, peer.hear(3).await)
    }
}

impl Peer {
    async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut front = [0_u8; 9];
        let read = async {
            self.stream.read_exact(&mut front).await.ok()?;
            let mut content = vec![0; u32::from_be_bytes([0, front[0], front[1], front[2]]) as usize];
            self.stream.read_exact(&mut content).await.ok()?;
            let stream = u32::from_be_bytes([front[5], front[6], front[7], front[8]]);
            Some((front[3], front[4], stream, content))
        };
        timeout(Duration::from_secs(5), read).await.expect("an answer")
    }

    /// What comes first for this stream, or for the whole connection.
    async fn hear(&mut self, wanted: u32) -> Heard {
        let code = |content: &[u8], at: usize| u32::from_be_bytes(content[at..at + 4].try_into().unwrap());
        loop {
            match self.next().await {
                None => return Heard::Closed,
                Some((GOAWAY, _, _, content)) => return Heard::GoAway(code(&content, 4)),
                Some((RST_STREAM, _, stream, content)) if stream == wanted => return Heard::Reset(code(&content, 0)),
                // The first byte of the head: 0x88 is `:status: 200`, indexed.
                Some((HEADERS, _, stream, content)) if stream == wanted => return Heard::Answer(content[0]),
                Some(_) => {}
            }
        }
    }
}

const OK: Heard = Heard::Answer(0x88);

#[tokio::test]
async fn a_malformed_request_costs_its_stream_alone() {
    let server = start();
    let headers = |block: Vec<u8>| frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
    let get = |more: &[(&str, &str)]| headers(head("GET", "/hello", more));
    for (what, bad) in [
        ("an empty path", headers(head("GET", "", &[]))),
        ("connection", get(&[("connection", "keep-alive")])),
        ("transfer-encoding", get(&[("transfer-encoding", "chunked")])),
        ("te", get(&[("te", "gzip")])),
        ("a pseudo header at the end", get(&[("x-a", "b"), (":path", "/hello")])),
        ("two paths", get(&[(":path", "/hello")])),
        ("no method", headers(literals(&[(":scheme", "http"), (":path", "/hello"), (":authority", "a")]))),
        ("a status", get(&[(":status", "200")])),
    ] {
        let (first, second) = server.one_bad_one_good(bad).await;
        assert_eq!(first, Heard::Reset(PROTOCOL_ERROR), "{what}");
        assert_eq!(second, OK, "after {what}");
    }
    let good = 8;
    assert_eq!(server.counts.called(), good, "nothing malformed reached the service");
    // The decoder of headers does not go on after such names: the connection ends, which is allowed too.
    for name in ["X-Upper", ":colour", "x y"] {
        let (first, second) = server.one_bad_one_good(get(&[(name, "a")])).await;
        assert_eq!((first, second), (Heard::GoAway(PROTOCOL_ERROR), Heard::Closed), "{name}");
    }
    assert_eq!(server.one_bad_one_good(vec![]).await.1, OK);
}

#[tokio::test]
async fn a_length_that_is_not_true_is_noticed() {
    let server = start();
    let post = |length: &str| frame(HEADERS, END_HEADERS, 1, &head("POST", "/read", &[("content-length", length)]));
    let body = |bytes: &[u8]| frame(DATA, END_STREAM, 1, bytes);
    for (what, bad) in [
        ("too much", [post("3"), body(b"hello")].concat()),
        ("too little", [post("30"), body(b"hello")].concat()),
        (
            "something at nothing",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("POST", "/read", &[("content-length", "5")])),
        ),
    ] {
        let (first, second) = server.one_bad_one_good(bad).await;
        assert_eq!(first, Heard::Reset(PROTOCOL_ERROR), "{what}");
        assert_eq!(second, OK, "after {what}");
    }
    let framing = frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", "/hello", &[("content-length", "x")]));
    let (first, second) = server.one_bad_one_good(framing).await;
    assert!(matches!(first, Heard::Reset(_) | Heard::Answer(_)) && first != OK, "{first:?}");
    assert_eq!(second, OK);
    assert_eq!(server.counts.whole.load(Ordering::SeqCst), 0, "no service took a body for whole");
}

#[tokio::test]
async fn streams_are_capped() {
    let server = start();
    let mut peer = server.open().await;
    let wanted = HttpLimits::default().streams;
    // Settled first: until then a client may not know the cap.
    assert!(peer.next().await.is_some_and(|(kind, _, _, content)| {
        kind == SETTINGS && content.chunks(6).any(|one| one[..2] == [0, 3] && one[2..] == wanted.to_be_bytes())
    }));
    peer.send(&frame(SETTINGS, 1, 0, &[])).await;
    let block = head("GET", "/forever", &[]);
    for index in 0..=wanted {
        peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, index * 2 + 1, &block)).await;
    }
    let over = wanted * 2 + 1;
    assert_eq!(peer.hear(over).await, Heard::Reset(REFUSED_STREAM));
    let begin = std::time::Instant::now();
    while server.counts.called() < wanted as usize {
        assert!(begin.elapsed() < Duration::from_secs(5), "{} of {wanted}", server.counts.called());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.one_bad_one_good(vec![]).await.1, OK, "others are served");
}

impl Server {
    async fn flood(&self, burst: impl Fn(u32) -> Vec<u8>) -> Heard {
        let mut peer = self.open().await;
        for index in 0..20_000 {
            let bytes = burst(index * 2 + 1);
            if timeout(Duration::from_secs(2), peer.stream.write_all(&bytes)).await.map_or(true, |sent| sent.is_err()) {
                break;
            }
        }
        peer.hear(0).await
    }
}

#[tokio::test]
async fn floods_end_their_connection() {
    let server = start();
    let block = head("GET", "/forever", &[]);
    let open = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
    let rapid_reset =
        server.flood(|stream| [open(stream), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat());
    let ended = rapid_reset.await;
    assert!(matches!(ended, Heard::GoAway(ENHANCE_YOUR_CALM) | Heard::Closed), "{ended:?}");
    let piece = literals(&[("x-filler", "0123456789012345678901234567890123456789")]);
    let continuation = server.flood(|stream| match stream {
        1 => frame(HEADERS, 0, 1, &head("GET", "/hello", &[])),
        _ => frame(CONTINUATION, 0, 1, &piece),
    });
    let ended = continuation.await;
    assert!(matches!(ended, Heard::GoAway(_) | Heard::Closed), "{ended:?}");
    assert_eq!(server.one_bad_one_good(vec![]).await.1, OK, "others are served");
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_waited_for() {
    let server = start();
    let mut peer = server.open().await;
    peer.send(&frame(HEADERS, 0, 1, &head("GET", "/hello", &[]))).await;
    let ended = timeout(Duration::from_secs(8), async { while peer.next().await.is_some() {} }).await;
    assert!(ended.is_ok());
    assert_eq!(server.counts.called(), 0);
}
