//! The bytes of an answer: everything that is ready leaves as one piece.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;

use super::connection::Inline;
use super::pool::{Origin, Pool};

/// The largest piece; what is beyond it stays in the socket, so a slow client slows its upstream down.
const PIECE: usize = 64 * 1024;

/// An answer broke off.
#[derive(Debug, thiserror::Error)]
#[error("the upstream's answer broke off")]
pub(crate) struct BrokenOff(#[source] Option<hyper::Error>);

/// The body of an answer; dropping it cancels the call.
pub(crate) struct AnswerBody {
    source: Source,
    /// Found behind a piece that left first.
    broken: Option<BrokenOff>,
    ended: bool,
}

enum Source {
    /// HTTP/1: the reader drives the connection. The connection is boxed away once it has ended or is back in its pool.
    Inline { incoming: Incoming, connection: Option<(Box<Inline>, Pool, Origin)> },
    /// HTTP/2: somebody else drives it.
    Shared(Incoming),
    /// Written by ourselves, last piece first.
    Local(Vec<Bytes>),
}

impl AnswerBody {
    pub(super) fn inline(incoming: Incoming, inline: Inline, pool: Pool, origin: Origin) -> Self {
        Self::new(Source::Inline { incoming, connection: Some((Box::new(inline), pool, origin)) })
    }

    pub(super) const fn shared(incoming: Incoming) -> Self {
        Self::new(Source::Shared(incoming))
    }

    /// A body of pieces that are there already.
    pub(crate) fn local(mut pieces: Vec<Bytes>) -> Self {
        pieces.reverse();
        Self::new(Source::Local(pieces))
    }

    const fn new(source: Source) -> Self {
        Self { source, broken: None, ended: false }
    }

    /// Whether the last byte has been given out.
    pub(crate) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next piece: all that can be had without waiting.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        if let Some(broken) = self.broken.take() {
            self.ended = true;
            return Poll::Ready(Some(Err(broken)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let mut gathered = Gathered::default();
        loop {
            match self.poll_chunk(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    if gathered.add(chunk) >= PIECE {
                        break;
                    }
                }
                Poll::Ready(Some(Err(broken))) => {
                    self.broken = Some(broken);
                    break;
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    break;
                }
                Poll::Pending if gathered.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        match gathered.finish() {
            Some(piece) => Poll::Ready(Some(Ok(piece))),
            None if self.broken.is_some() => self.poll_piece(cx),
            None => Poll::Ready(None),
        }
    }

    /// The next piece.
    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        std::future::poll_fn(|cx| self.poll_piece(cx)).await
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        match &mut self.source {
            Source::Inline { incoming, connection } => {
                let polled = match poll_data(incoming, cx) {
                    Poll::Pending => {
                        let alive = connection.as_mut().is_some_and(|(inline, ..)| inline.drive(cx));
                        if !alive {
                            connection.take();
                        }
                        ready!(poll_data(incoming, cx))
                    }
                    Poll::Ready(polled) => polled,
                };
                if polled.is_none() {
                    give_back(connection, cx);
                }
                Poll::Ready(polled)
            }
            Source::Shared(incoming) => poll_data(incoming, cx),
            Source::Local(pieces) => Poll::Ready(pieces.pop().map(Ok)),
        }
    }
}

/// A connection whose answer was read to its end can take another request.
fn give_back(connection: &mut Option<(Box<Inline>, Pool, Origin)>, cx: &mut Context<'_>) {
    if let Some((mut inline, pool, origin)) = connection.take()
        && inline.is_reusable(cx)
    {
        pool.put(origin, *inline);
    }
}

fn poll_data(incoming: &mut Incoming, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
    loop {
        match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
            // Trailers are not used.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                _ => {}
            },
            Some(Err(error)) => return Poll::Ready(Some(Err(BrokenOff(Some(error))))),
            None => return Poll::Ready(None),
        }
    }
}

/// One chunk stays what it is; more are copied together.
#[derive(Default)]
struct Gathered {
    first: Option<Bytes>,
    more: BytesMut,
}

impl Gathered {
    /// Adds a chunk; the length of all.
    fn add(&mut self, chunk: Bytes) -> usize {
        if self.more.is_empty() {
            match self.first.take() {
                None => {
                    let length = chunk.len();
                    self.first = Some(chunk);
                    return length;
                }
                Some(first) => {
                    self.more.reserve((first.len() + chunk.len()).max(8 * 1024));
                    self.more.extend_from_slice(&first);
                }
            }
        }
        self.more.extend_from_slice(&chunk);
        self.more.len()
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }

    fn finish(self) -> Option<Bytes> {
        if self.more.is_empty() { self.first } else { Some(self.more.freeze()) }
    }
}
