//! A connection's bytes, watched while hyper reads and writes them.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::answer;
use super::framing::HeadWatch;

/// How long, and for how many bytes, a closing connection listens to a client that is still sending.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// What the two sides of one connection tell each other: the tap, the service, and the timer that watches both.
#[derive(Debug)]
pub(super) struct Vitals {
    started: Instant,
    /// Milliseconds since the start at which the open head began, plus one; 0 when there is none.
    head_since: AtomicU64,
    /// Milliseconds since the start at which the connection became idle.
    idle_since: AtomicU64,
    /// Requests whose answer has not ended.
    in_flight: AtomicUsize,
    two_lengths: AtomicBool,
}

impl Vitals {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            head_since: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            two_lengths: AtomicBool::new(false),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long a head has been open, in milliseconds.
    pub(super) fn head_age(&self) -> Option<u64> {
        let since = self.head_since.load(Ordering::Relaxed);
        (since > 0).then(|| (self.now() + 1).saturating_sub(since))
    }

    /// How long nothing has been asked, in milliseconds; nothing while an answer is on its way.
    pub(super) fn idle_age(&self) -> Option<u64> {
        let busy = self.in_flight.load(Ordering::Relaxed) > 0;
        (!busy).then(|| self.now().saturating_sub(self.idle_since.load(Ordering::Relaxed)))
    }

    /// Whether the head that hyper just parsed told two lengths.
    pub(super) fn two_lengths(&self) -> bool {
        self.two_lengths.load(Ordering::Relaxed)
    }

    /// A request has begun; it ends when the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { vitals: Arc::clone(self) }
    }
}

/// One request on its way.
#[derive(Debug)]
pub(super) struct InFlight {
    vitals: Arc<Vitals>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.vitals.idle_since.store(self.vitals.now(), Ordering::Relaxed);
        self.vitals.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connection as hyper sees it.
pub(super) struct Tap<T> {
    stream: T,
    /// Read while finding out which HTTP this is; given to hyper first.
    first: Bytes,
    watch: Option<HeadWatch>,
    /// An answer of ours that replaces one of hyper's, being written.
    instead: Bytes,
    lingering: Option<Linger>,
    vitals: Arc<Vitals>,
}

/// The end of a connection whose client has not finished sending.
struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl<T> Tap<T> {
    /// `first` has been read from the stream already; only HTTP/1 is watched.
    pub(super) fn new(stream: T, first: Bytes, http1: bool, vitals: Arc<Vitals>) -> Self {
        Self { stream, first, watch: http1.then(HeadWatch::default), instead: Bytes::new(), lingering: None, vitals }
    }

    fn observe(&mut self, bytes: &[u8]) {
        let Some(watch) = &mut self.watch else { return };
        let sight = watch.observe(bytes);
        let vitals = &self.vitals;
        if sight.in_head {
            let begun = vitals.now() + 1;
            let _ = vitals.head_since.compare_exchange(0, begun, Ordering::Relaxed, Ordering::Relaxed);
        } else {
            vitals.head_since.store(0, Ordering::Relaxed);
        }
        vitals.two_lengths.store(sight.two_lengths, Ordering::Relaxed);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Tap<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tap = &mut *self;
        let before = buf.filled().len();
        if tap.first.is_empty() {
            ready!(Pin::new(&mut tap.stream).poll_read(cx, buf))?;
        } else {
            let take = tap.first.len().min(buf.remaining());
            buf.put_slice(&tap.first.split_to(take));
        }
        tap.observe(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> Tap<T> {
    /// Writes the replacement to its end, then claims that hyper's bytes were written.
    fn poll_instead(&mut self, cx: &mut Context<'_>, claimed: usize) -> Poll<io::Result<usize>> {
        while self.instead.has_remaining() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.instead))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(claimed))
    }

    /// Whether hyper is about to send a bodiless refusal of its own; if so, ours takes its place.
    fn replaces(&mut self, buf: &[u8]) -> bool {
        if self.instead.is_empty()
            && self.watch.is_some()
            && let Some(refusal) = answer::instead_of(buf)
        {
            self.instead = refusal;
        }
        self.instead.has_remaining()
    }
}

impl<T: AsyncRead + Unpin> Tap<T> {
    /// Closing with unread bytes makes the kernel send a reset, which can overtake the answer that explains it: so what
    /// an early answer left unread is read and thrown away, within limits.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.watch.as_ref().is_none_or(HeadWatch::is_between_requests) {
            return Poll::Ready(());
        }
        let start = || Linger { until: Box::pin(sleep(LINGER)), left: LINGER_BYTES };
        let linger = self.lingering.get_or_insert_with(start);
        let mut room = [0_u8; 8192];
        while linger.left > 0 && linger.until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut room);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => linger.left = linger.left.saturating_sub(buf.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tap<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let tap = &mut *self;
        if tap.replaces(buf) { tap.poll_instead(cx, buf.len()) } else { Pin::new(&mut tap.stream).poll_write(cx, buf) }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tap = &mut *self;
        match bufs {
            [only] if tap.replaces(only) => tap.poll_instead(cx, only.len()),
            _ => Pin::new(&mut tap.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        ready!(self.poll_linger(cx));
        Poll::Ready(Ok(()))
    }
}
