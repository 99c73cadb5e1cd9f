//! The accept loop against good, slow, silent and dishonest clients, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Instant;

use axum::Router;
use axum::extract::Extension;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::framing::HeadWatch;
use super::*;
use crate::runtime::readiness::Readiness;
use crate::runtime::shutdown::DrainTiming;

async fn panics() -> &'static str {
    panic!("on purpose")
}

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    served: tokio::task::JoinHandle<()>,
}

fn start() -> Server {
    let limits = HttpLimits {
        header_read: Duration::from_millis(500),
        keep_alive: Duration::from_secs(2),
        ..HttpLimits::default()
    };
    let timing = DrainTiming {
        min_drain: Duration::from_millis(200),
        drain_timeout: Duration::from_millis(600),
        ..DrainTiming::default()
    };
    let shutdown = Shutdown::new(Readiness::new(), timing);
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        "slow"
    };
    let forever = || async {
        std::future::pending::<()>().await;
        "never"
    };
    let routes = Router::new()
        .route("/peer", get(|Extension(client): Extension<ClientAddr>| async move { client.0.to_string() }))
        .route("/echo", post(|body: String| async move { body }))
        .route("/panic", get(panics))
        .route("/slow", get(slow))
        .route("/forever", get(forever));
    let listener = bind("127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(serve(listener, routes, limits, shutdown.clone()));
    Server { address, shutdown, served }
}

impl Server {
    async fn open(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the server closes, or nothing more comes for a while.
    async fn say(&self, bytes: &str) -> (String, bool) {
        let mut stream = self.open().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        hear(&mut stream).await
    }
}

async fn hear(stream: &mut TcpStream) -> (String, bool) {
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match tokio::time::timeout(Duration::from_millis(250), stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return (String::from_utf8_lossy(&heard).into_owned(), true),
            Ok(Ok(n)) => heard.extend_from_slice(&buffer[..n]),
            Err(_) => return (String::from_utf8_lossy(&heard).into_owned(), false),
        }
    }
}

#[tokio::test]
async fn good_clients_are_served() {
    let server = start();
    let (answer, closed) =
        server.say("GET /peer HTTP/1.1\r\nHost: x\r\n\r\nGET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(answer.matches("127.0.0.1").count(), 2, "{answer}");
    assert!(!closed);
    let (answer, _) = server
        .say("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET /peer HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert!(answer.contains("hello") && answer.contains("127.0.0.1"), "{answer}");
    let chunked = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (answer, closed) = server.say(chunked).await;
    assert!(answer.contains("hello") && closed, "{answer}");
}

#[tokio::test]
async fn http2_is_recognised() {
    let server = start();
    let io = hyper_util::rt::TokioIo::new(server.open().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("http://{}/echo", server.address)).body("two".to_owned()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
}

#[tokio::test]
async fn doubtful_framing_is_refused_and_closed() {
    let server = start();
    let both = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /peer HTTP/1.1\r\nHost: x\r\n\r\n";
    let swapped = "POST /echo HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\nGET /peer HTTP/1.1\r\nHost: x\r\n\r\n";
    let rows = [
        both,
        swapped,
        "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /peer HTTP/1.1\r\n\r\n",
        "GET /peer HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET /peer HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        "GET /peer HTTP/1.1\r\nHost: x\r\nX: a\u{1}b\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 4\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        "nonsense\r\n\r\n",
    ];
    for row in rows {
        let (answer, closed) = server.say(row).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{row:?} → {answer}");
        assert!(closed, "{row:?} → {answer}");
        assert!(answer.contains("bad_framing") && answer.contains("x-request-id: "), "{row:?} → {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{row:?} → {answer}");
    }
}

#[tokio::test]
async fn large_heads_are_refused() {
    let server = start();
    let (answer, closed) =
        server.say(&format!("GET /peer HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(40_000))).await;
    assert!(answer.starts_with("HTTP/1.1 431 ") && closed, "{answer}");
    assert!(answer.contains("headers_too_large"), "{answer}");
    let many: String = (0..150).map(|n| format!("x{n}: 1\r\n")).collect();
    let (answer, _) = server.say(&format!("GET /peer HTTP/1.1\r\nHost: x\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn an_early_answer_arrives_although_the_client_still_sends() {
    let server = start();
    let lines = "x-many: 1\r\n".repeat(20_000);
    let long = "x".repeat(200_000);
    let rows = [
        format!("GET /peer HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(1_000_000)),
        format!("GET /peer HTTP/1.1\r\nHost: x\r\n{lines}\r\n"),
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET /peer HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n{}", "a".repeat(2_000_000)),
    ];
    for row in rows {
        let (answer, closed) = server.say(&row).await;
        assert!(answer.starts_with("HTTP/1.1 4") && closed, "{} → {answer:?}", &row[..40]);
    }
}

#[tokio::test]
async fn silent_and_slow_sockets_are_closed() {
    let server = start();
    let begin = Instant::now();
    let mut silent = server.open().await;
    let mut slow = server.open().await;
    let mut half_preface = server.open().await;
    half_preface.write_all(b"PRI * HT").await.unwrap();
    slow.write_all(b"GET /peer HTTP/1.1\r\nHo").await.unwrap();
    let drip = async {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(60)).await;
            if slow.write_all(b"s").await.is_err() {
                break;
            }
        }
        slow.read(&mut [0; 8]).await
    };
    let (dripped, _, _) = tokio::join!(drip, silent.read_u8(), half_preface.read_u8());
    assert!(matches!(dripped, Ok(0) | Err(_)));
    assert!(begin.elapsed() < Duration::from_millis(1600), "{:?}", begin.elapsed());
    let (answer, _) = server.say("GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.contains("127.0.0.1"));
}

#[tokio::test]
async fn idle_connections_outlive_the_head_limit_and_end_at_their_own() {
    let server = start();
    let mut stream = server.open().await;
    stream.write_all(b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(!hear(&mut stream).await.1);
    tokio::time::sleep(Duration::from_millis(900)).await;
    stream.write_all(b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let (answer, closed) = hear(&mut stream).await;
    assert!(answer.contains("127.0.0.1") && !closed);
    let end = tokio::time::timeout(Duration::from_secs(4), stream.read_u8()).await;
    assert!(end.is_ok_and(|read| read.is_err()));
}

#[tokio::test]
async fn a_panic_costs_one_answer() {
    let server = start();
    let (answer, _) = server.say("GET /panic HTTP/1.1\r\nHost: x\r\n\r\nGET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("internal_error"), "{answer}");
    assert!(answer.contains("127.0.0.1") && !answer.contains("on purpose"), "{answer}");
}

#[tokio::test]
async fn draining_finishes_what_was_begun_and_cuts_what_never_ends() {
    let server = start();
    let (mut slow, mut forever, mut idle) = (server.open().await, server.open().await, server.open().await);
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    forever.write_all(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    idle.write_all(b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.shutdown.begin();
    let ending = tokio::spawn({
        let shutdown = server.shutdown.clone();
        async move { shutdown.finished().await }
    });
    let (answer, _) = server.say("GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(
        answer.contains("127.0.0.1") && answer.contains("connection: close"),
        "still open while draining: {answer}"
    );
    tokio::time::sleep(Duration::from_millis(280)).await;
    assert!(TcpStream::connect(server.address).await.is_err(), "closed after min_drain");
    assert!(hear(&mut idle).await.1);
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("slow"), "{answer}");
    ending.await.unwrap();
    assert!(hear(&mut forever).await.1);
    server.served.await.unwrap();
}

#[tokio::test]
async fn a_silent_socket_is_cheap() {
    let server = start();
    let client = server.open().await;
    let peer = client.local_addr().unwrap();
    let service = Router::<()>::new().route("/peer", get(panics));
    let silent = connection::run(client, peer, service, Arc::new(Port::default()), server.shutdown.clone());
    let size = size_of_val(&silent);
    assert!(size < 2048, "{size} bytes");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = bind("127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
    let address = taken.local_addr().unwrap();
    let message = bind(address, "--grpc-listen").unwrap_err().to_string();
    assert_eq!(message, format!("{address} is already in use (--grpc-listen, GATEWRIGHT_GRPC_LISTEN)"));
}

#[test]
fn heads_are_found_however_the_bytes_are_split() {
    let text = b"\r\nPOST / HTTP/1.1\r\nContent-Length: 30\r\n\r\nTransfer-Encoding: x\r\n\r\n012345GET / HTTP/1.1\nHost: x\n\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-length: 2\r\n\r\nab";
    for step in 1..text.len() {
        let mut watch = HeadWatch::default();
        let sights: Vec<_> = text.chunks(step).map(|chunk| watch.observe(chunk)).collect();
        assert!(sights.last().unwrap().two_lengths, "step {step}");
        assert!(!sights.last().unwrap().in_head);
    }
}
