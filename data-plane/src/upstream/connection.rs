//! One HTTP/1 connection that lives in the task of whoever waits for its answer.
//!
//! The usual client drives each connection in a task of its own and hands over one chunk at a time: two task switches
//! and a write for each chunk. Here the reader drives the connection itself, so everything that one read of the socket
//! brought is taken in one go, a small call switches tasks never, and letting go of the answer closes the socket.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};

use super::connector::Stream;
use super::outgoing::OutgoingBody;

/// A connection and the handle to send on it.
pub(super) struct Inline {
    sender: http1::SendRequest<OutgoingBody>,
    driver: Pin<Box<http1::Connection<Stream, OutgoingBody>>>,
    /// When it last had something to do.
    idle_since: Instant,
}

/// A request that got no answer, and the request itself when no byte of it was sent.
pub(super) struct Unanswered {
    pub(super) error: hyper::Error,
    pub(super) request: Option<Request<OutgoingBody>>,
}

impl Inline {
    pub(super) async fn open(stream: Stream) -> hyper::Result<Self> {
        let (sender, driver) = http1::handshake(stream).await?;
        Ok(Self { sender, driver: Box::pin(driver), idle_since: Instant::now() })
    }

    /// When it was last used.
    pub(super) const fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Moves the connection on; false when it has ended.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        self.driver.as_mut().poll(cx).is_pending()
    }

    /// Whether it can take another request now. Notices a peer that closed in the meantime.
    pub(super) fn is_reusable(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx) && matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(())))
    }

    /// Marks the beginning of idleness.
    pub(super) fn rest(&mut self) {
        self.idle_since = Instant::now();
    }

    /// Sends and waits for the head of the answer.
    pub(super) async fn send(&mut self, request: Request<OutgoingBody>) -> Result<Response<Incoming>, Unanswered> {
        let driver = &mut self.driver;
        let mut answer = pin!(self.sender.try_send_request(request));
        let mut ended = false;
        let outcome = std::future::poll_fn(|cx| {
            if let Poll::Ready(outcome) = answer.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            // A finished connection must not be polled again; its end has answered the request.
            ended = ended || driver.as_mut().poll(cx).is_ready();
            answer.as_mut().poll(cx)
        });
        outcome.await.map_err(|mut error: TrySendError<Request<OutgoingBody>>| {
            let request = error.take_message();
            Unanswered { error: error.into_error(), request }
        })
    }
}
