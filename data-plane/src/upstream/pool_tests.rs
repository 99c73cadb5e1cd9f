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
                let _ = if script.last().is_some_and(|last| last.ends_with("…")) { socket.read(&mut buffer).await } else { Ok(0) };
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

const SMALL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn connections_are_reused() {
    let (url, mut told) = serve(&[SMALL, SMALL, SMALL]).await;
    let pool = Pool::new();
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
    const BURST: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n";
    let (url, _told) = serve(&[BURST]).await;
    let answer = Pool::new().send(request(&url)).await.unwrap();
    let pieces = read(answer.into_body()).await;
    assert_eq!(pieces, ["onetwothree"]);
}

#[tokio::test]
async fn letting_go_cancels() {
    const BEGUN: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n…";
    let (url, mut told) = serve(&[BEGUN]).await;
    let pool = Pool::new();
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
        let mut body = Pool::new().send(request(&url)).await.unwrap().into_body();
        assert_eq!(body.piece().await.unwrap().unwrap(), "short");
        assert!(body.piece().await.unwrap().is_err());
        assert!(body.piece().await.is_none());
    }
    let (url, _told) = serve(&["no http at all\r\n\r\n"]).await;
    assert!(matches!(Pool::new().send(request(&url)).await.err(), Some(SendError::Garbage(_))));
    let (url, _told) = serve(&[""]).await;
    assert!(matches!(Pool::new().send(request(&url)).await.err(), Some(SendError::Closed(_))));
}

#[tokio::test]
async fn nowhere_is_a_connect_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(Pool::new().send(request(&url)).await.err(), Some(SendError::Connect(_))));
    assert!(matches!(Pool::new().send(request("http://169.254.169.254")).await.err(), Some(SendError::Refused(_))));
    assert!(matches!(Pool::new().send(request("ftp://localhost")).await.err(), Some(SendError::Refused(_))));
}

#[tokio::test]
async fn the_sweep_lets_go_of_ended_connections() {
    let (url, mut told) = serve(&[SMALL]).await;
    let pool = Pool::new();
    read(pool.send(request(&url)).await.unwrap().into_body()).await;
    assert_eq!(told.recv().await, Some("open"));
    assert_eq!(told.recv().await, Some("closed"));
    tokio::time::sleep(Duration::from_millis(20)).await;
    pool.sweep();
    assert!(pool.inner.shelves.lock().is_empty());
}
