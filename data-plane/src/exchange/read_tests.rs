//! Bodies that are too large, too slow, too many, or cut.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::task::{Context, Poll};

use http::HeaderValue;
use http_body::Frame;

use super::*;

/// Pieces, each after a pause.
struct Slow {
    pieces: Vec<Result<&'static [u8], ()>>,
    pause: Duration,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Body for Slow {
    type Data = Bytes;
    type Error = ();

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        if !self.pause.is_zero() {
            let pause = self.pause;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
        }
        if self.pieces.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(self.pieces.remove(0).map(|piece| Frame::data(Bytes::from_static(piece)))))
    }
}

use std::future::Future as _;

fn slow(pieces: &[Result<&'static [u8], ()>], pause: Duration) -> Slow {
    Slow { pieces: pieces.to_vec(), pause, sleep: None }
}

async fn code(headers: &HeaderMap, body: Slow, budget: &Arc<BodyBudget>) -> String {
    match read(headers, body, 10, budget).await {
        Ok((bytes, _)) => String::from_utf8(bytes.to_vec()).unwrap(),
        Err(fault) => format!("{} {}", fault.status().as_u16(), fault.code),
    }
}

#[tokio::test(start_paused = true)]
async fn limits_hold() {
    let budget = BodyBudget::new(16);
    let none = HeaderMap::new();
    let quick = Duration::ZERO;
    assert_eq!(code(&none, slow(&[Ok(b"one")], quick), &budget).await, "one");
    assert_eq!(code(&none, slow(&[Ok(b"one"), Ok(b"two"), Ok(b"")], quick), &budget).await, "onetwo");
    assert_eq!(code(&none, slow(&[], quick), &budget).await, "");
    assert_eq!(code(&none, slow(&[Ok(b"0123456789"), Ok(b"x")], quick), &budget).await, "413 request_too_large");
    assert_eq!(code(&none, slow(&[Ok(b"0"), Err(())], quick), &budget).await, "400 incomplete_body");
    assert_eq!(budget.held(), 0, "everything is given back");

    let (_, held) = read(&none, slow(&[Ok(b"0123456789")], quick), 10, &budget).await.unwrap();
    assert_eq!(budget.held(), 10);
    assert_eq!(code(&none, slow(&[Ok(b"01234567")], quick), &budget).await, "503 bodies_exhausted");
    drop(held);
    assert_eq!(code(&none, slow(&[Ok(b"01234567")], quick), &budget).await, "01234567");

    let mut declared = HeaderMap::new();
    declared.insert(CONTENT_LENGTH, HeaderValue::from_static("11"));
    assert_eq!(code(&declared, slow(&[], Duration::from_secs(1000)), &budget).await, "413 request_too_large");
    let mut encoded = HeaderMap::new();
    encoded.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert_eq!(code(&encoded, slow(&[], quick), &budget).await, "415 unsupported_media_type");
    encoded.insert(CONTENT_ENCODING, HeaderValue::from_static("Identity"));
    assert_eq!(code(&encoded, slow(&[Ok(b"x")], quick), &budget).await, "x");
}

#[tokio::test(start_paused = true)]
async fn slow_bodies_end() {
    let budget = BodyBudget::new(1000);
    let none = HeaderMap::new();
    assert_eq!(code(&none, slow(&[Ok(b"a"), Ok(b"b")], Duration::from_secs(10)), &budget).await, "ab");
    assert_eq!(code(&none, slow(&[Ok(b"a")], Duration::from_secs(16)), &budget).await, "408 request_timeout");
    assert_eq!(code(&none, slow(&[Ok(&b"a"[..]); 9], Duration::from_secs(10)), &budget).await, "408 request_timeout");
    assert_eq!(budget.held(), 0);
}
