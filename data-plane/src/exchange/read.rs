//! The body: within its own limit, within what the whole process may hold, and within time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame};
use shared::catalog::FaultKind;
use tokio::time::{Instant, timeout_at};

use super::fault::Fault;

/// For a whole body.
const WHOLE: Duration = Duration::from_secs(60);
/// Without a byte.
const SILENCE: Duration = Duration::from_secs(15);

/// What the bodies of all requests together may hold in memory.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    left: AtomicUsize,
    total: usize,
}

impl BodyBudget {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(total), total })
    }

    /// How much is held now.
    pub(crate) fn held(&self) -> usize {
        self.total.saturating_sub(self.left.load(Ordering::Relaxed))
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

impl Held {
    /// Nothing yet.
    pub(super) fn nothing(budget: &Arc<BodyBudget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Takes more; false when there is no more.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let taken = self.budget.take(bytes);
        self.bytes += if taken { bytes } else { 0 };
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Checks what the head says about the body, so that nobody sends in vain.
///
/// # Errors
/// A body that is too large, or encoded.
pub(crate) fn check_head(headers: &HeaderMap, limit: usize) -> Result<(), Box<Fault>> {
    let encoded =
        headers.get_all(CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return Err(Fault::new(
            FaultKind::InvalidRequest,
            "unsupported_media_type",
            "The body has a `Content-Encoding`; send it as it is.",
        )
        .about("content-encoding")
        .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        .closing());
    }
    if declared(headers).is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    Ok(())
}

/// The length of the body that the head tells.
pub(super) fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a body.
///
/// # Errors
/// A body that is too large, too slow, cut short, or more than the process can hold now.
pub(crate) async fn read<B>(
    headers: &HeaderMap,
    mut body: B,
    limit: usize,
    budget: &Arc<BodyBudget>,
) -> Result<(Bytes, Held), Box<Fault>>
where
    B: Body<Data = Bytes> + Unpin,
{
    check_head(headers, limit)?;
    let mut held = Held::nothing(budget);
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    let mut last_call: Option<Instant> = None;
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        // Most bodies are there already; a timer is set for the others.
        let ready = futures_util::FutureExt::now_or_never(frame).map(known);
        let data = match ready {
            Some(data) => data,
            None => {
                let now = Instant::now();
                let end = *last_call.get_or_insert(now + WHOLE);
                let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
                known(timeout_at(end.min(now + SILENCE), frame).await.map_err(|_| too_slow())?)
            }
        };
        let Some(data) = data? else { break };
        if held.bytes + data.len() > limit {
            return Err(too_large(limit));
        }
        if !held.take(data.len()) {
            return Err(no_memory());
        }
        if first.is_empty() && more.is_empty() {
            first = data;
            continue;
        }
        if more.is_empty() {
            // In one piece where the length is known: growing would copy, and hold twice as much. Memory that is only
            // reserved costs nothing until it is written.
            let expected = declared(headers).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
            more.reserve(expected.min(limit).max(first.len() + data.len()));
            more.extend_from_slice(&first);
        }
        more.extend_from_slice(&data);
    }
    Ok((if more.is_empty() { first } else { more.freeze() }, held))
}

/// The data of a frame; nothing at the end. Trailers are not used.
pub(super) fn known<E>(frame: Option<Result<Frame<Bytes>, E>>) -> Result<Option<Bytes>, Box<Fault>> {
    match frame {
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        Some(Err(_)) => Err(cut_short()),
        None => Ok(None),
    }
}

pub(super) fn too_large(limit: usize) -> Box<Fault> {
    let message = format!("The body is larger than {limit} bytes.");
    Fault::new(FaultKind::TooLarge, "request_too_large", message).closing()
}

pub(super) fn too_slow() -> Box<Fault> {
    Fault::new(FaultKind::InvalidRequest, "request_timeout", "The body did not arrive in time.")
        .with_status(StatusCode::REQUEST_TIMEOUT)
        .closing()
}

fn cut_short() -> Box<Fault> {
    Fault::new(FaultKind::ClientGone, "incomplete_body", "The body was cut short.")
        .with_status(StatusCode::BAD_REQUEST)
        .closing()
}

pub(super) fn no_memory() -> Box<Fault> {
    let message = "Too many large requests are being served; try again later.";
    Fault::new(FaultKind::Unavailable, "bodies_exhausted", message).retry_after(1).closing()
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
