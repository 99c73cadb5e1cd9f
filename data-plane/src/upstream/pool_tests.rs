//! Connections against a server of bare sockets: reuse, coalescing, cancelling, broken answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;

/// Serves each connection with a script of answers, one for each request; tells when a connection begins and ends.
async fn serve(script: &'static [&'static str]) -> (String, mpsc::UnboundedReceiver<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let tell = tell.clone();
            tell.send("open").unwrap();
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                for answer in script {
                    let read = socket.read(&mut buffer).await.unwrap_or(0);
                    if read == 0 {
                        break;
                    }
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
                let _ = if script.last().is_some_and(|last| last.ends_with("…")) {
                    socket.read(&mut buffer).await
                } else {
                    Ok(0)
                };
                let _ = tell.send("closed");
            });
        }
    });
    (url, told)
}

fn request(url: &str) -> Request<OutgoingBody> {
    let body = OutgoingBody::new(vec![Bytes::from_static(b"he"), Bytes::from_static(b"llo")]);
    Request::post(format!("{url}/v1/x")).body(body).unwrap()
}

async fn read(mut body: AnswerBody) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while let Some(piece) = body.piece().await {
        pieces.push(piece.unwrap());
    }
    pieces
}

/// A pool that goes straight and trusts nobody.
fn pool() -> Pool {
    through(&[])
}

/// A pool with these variables.
fn through(variables: &[(&str, &str)]) -> Pool {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let look = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Pool::new(tls, Proxies::read(&look).unwrap())
}

const SMALL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn connections_are_reused() {
    let (url, mut told) = serve(&[SMALL, SMALL, SMALL]).await;
    let pool = pool();
    for _ in 0..3 {
        let answer = pool.send(request(&url)).await.unwrap();
        assert_eq!(read(answer.into_body()).await.concat(), b"ok");
    }
    assert_eq!(told.recv().await, Some("open"));
    assert_eq!(told.recv().await, Some("closed"), "three calls took one connection");
    // The server has closed by now: the next call must not stumble over that.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let answer = pool.send(request(&url)).await.unwrap();
    assert_eq!(read(answer.into_body()).await.concat(), b"ok");
    assert_eq!(told.recv().await, Some("open"));
}

#[tokio::test]
async fn chunks_that_arrived_together_leave_together() {
    const BURST: &str =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n";
    let (url, _told) = serve(&[BURST]).await;
    let answer = pool().send(request(&url)).await.unwrap();
    let pieces = read(answer.into_body()).await;
    assert_eq!(pieces, ["onetwothree"]);
}

#[tokio::test]
async fn letting_go_cancels() {
    const BEGUN: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n…";
    let (url, mut told) = serve(&[BEGUN]).await;
    let pool = pool();
    let mut body = pool.send(request(&url)).await.unwrap().into_body();
    assert_eq!(body.piece().await.unwrap().unwrap(), "…");
    assert_eq!(told.recv().await, Some("open"));
    drop(body);
    assert_eq!(tokio::time::timeout(Duration::from_millis(300), told.recv()).await.unwrap(), Some("closed"));
}

#[tokio::test]
async fn broken_answers_are_errors() {
    for broken in [
        &["HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nshort"][..],
        &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n"][..],
    ] {
        let (url, _told) = serve(broken).await;
        let mut body = pool().send(request(&url)).await.unwrap().into_body();
        assert_eq!(body.piece().await.unwrap().unwrap(), "short");
        assert!(body.piece().await.unwrap().is_err());
        assert!(body.piece().await.is_none());
    }
    let (url, _told) = serve(&["no http at all\r\n\r\n"]).await;
    assert!(matches!(pool().send(request(&url)).await.err(), Some(SendError::Garbage(_))));
    let (url, _told) = serve(&[""]).await;
    assert!(matches!(pool().send(request(&url)).await.err(), Some(SendError::Closed(_))));
}

#[tokio::test]
async fn nowhere_is_a_connect_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(pool().send(request(&url)).await.err(), Some(SendError::Connect(_))));
    assert!(matches!(pool().send(request("http://169.254.169.254")).await.err(), Some(SendError::Refused(_))));
    assert!(matches!(pool().send(request("ftp://localhost")).await.err(), Some(SendError::Refused(_))));
}

#[tokio::test]
async fn the_sweep_lets_go_of_ended_connections() {
    let (url, mut told) = serve(&[SMALL]).await;
    let pool = pool();
    read(pool.send(request(&url)).await.unwrap().into_body()).await;
    assert_eq!(told.recv().await, Some("open"));
    assert_eq!(told.recv().await, Some("closed"));
    tokio::time::sleep(Duration::from_millis(20)).await;
    pool.sweep();
    assert!(pool.inner.shelves.lock().is_empty());
}

/// A proxy that answers each connection with this, and shows the head of what it was asked.
async fn proxy(answer: &'static str) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:canary@{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 64 * 1024];
            let read = socket.read(&mut buffer).await.unwrap_or(0);
            tell.send(String::from_utf8_lossy(&buffer[..read]).into_owned()).unwrap();
            socket.write_all(answer.as_bytes()).await.unwrap();
            // What follows is TLS or the body; the answer has been read by then.
            let _ = socket.read(&mut buffer).await;
        }
    });
    (url, told)
}

#[tokio::test]
async fn plain_requests_are_handed_to_the_proxy() {
    let (proxy_url, mut asked) = proxy(SMALL).await;
    let pool = through(&[("HTTP_PROXY", &proxy_url), ("NO_PROXY", "127.0.0.1")]);
    let answer = pool.send(request("http://vllm.invalid:8000")).await.unwrap();
    assert_eq!(read(answer.into_body()).await.concat(), b"ok");
    let head = asked.recv().await.unwrap();
    assert!(head.starts_with("POST http://vllm.invalid:8000/v1/x HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("host: vllm.invalid:8000\r\n")
            && head.contains("proxy-authorization: Basic dXNlcjpjYW5hcnk=\r\n"),
        "{head}"
    );
    let (url, _told) = serve(&[SMALL]).await;
    assert_eq!(read(pool.send(request(&url)).await.unwrap().into_body()).await.concat(), b"ok");
    assert!(asked.try_recv().is_err(), "NO_PROXY");
    for refused in ["http://169.254.169.254", "http://2852039166", "http://metadata.google.internal"] {
        assert!(matches!(pool.send(request(refused)).await.err(), Some(SendError::Refused(_))), "{refused}");
    }
    assert!(asked.try_recv().is_err(), "a proxy is not asked for it either");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_no_answer() {
    for (answer, url, problem) in [
        ("HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n", "https://api.invalid", "asks for credentials"),
        ("HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n", "http://api.invalid", "asks for credentials"),
        ("HTTP/1.1 403 No\r\n\r\n", "https://api.invalid", "status 403"),
        ("SSH-2.0-x\r\n\r\n", "https://api.invalid", "did not answer as a proxy"),
    ] {
        let (proxy_url, mut asked) = proxy(answer).await;
        let error = through(&[("ALL_PROXY", &proxy_url)]).send(request(url)).await.err().unwrap();
        let SendError::Connect(cause) = error else { panic!("{error}") };
        assert!(cause.to_string().contains(problem) && !cause.to_string().contains("canary"), "{cause}");
        let head = asked.recv().await.unwrap();
        if url.starts_with("https") {
            assert!(head.starts_with("CONNECT api.invalid:443 HTTP/1.1\r\nHost: api.invalid:443\r\n"), "{head}");
            assert!(head.contains("\r\nProxy-Authorization: Basic dXNlcjpjYW5hcnk=\r\n"), "{head}");
        }
    }
}
