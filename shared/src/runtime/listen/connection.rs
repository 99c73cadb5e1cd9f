//! One connection from its first byte to its last.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::server::TlsStream;
use tower::Service;

use super::answer::{self, Served};
use super::framing::{self, FramingFault};
use super::rarely::Rarely;
use super::tap::{Tap, Vitals};
use super::{Closes, HttpLimits, Port};
use crate::runtime::shutdown::Shutdown;
use crate::runtime::tls::{HANDSHAKE_FAILURES, Tls};

/// The headers that hyper takes unless it is told otherwise.
const HYPER_HEADERS: usize = 100;
/// What an HTTP/2 client says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves one connection; returns when it has ended.
pub(super) async fn run<S, B>(stream: TcpStream, peer: SocketAddr, service: S, port: Arc<Port>, shutdown: Shutdown)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _counted = (port.closes == Closes::WithTraffic).then(|| shutdown.connection());
    let handler = Handler { service, peer, port, vitals: Vitals::new(), shutdown };
    let Some(tls) = handler.port.tls.clone() else { return handler.converse(stream, None).await };
    // Silence is waited for before anything is set up for it.
    let deadline = Instant::now() + handler.port.limits.header_read;
    let first = tokio::select! {
        first = timeout_at(deadline, first_byte(&stream)) => first,
        () = handler.port.closing(&handler.shutdown) => return,
    };
    let Ok(Some(first)) = first else { return };
    if first.is_ascii_uppercase() {
        refuse_plain(stream).await;
        return;
    }
    Box::pin(async {
        if let Some((stream, http2)) = handshake(&tls, stream, deadline).await {
            handler.converse(stream, http2).await;
        }
    })
    .await;
}

/// The first byte of a connection, left in place.
async fn first_byte(stream: &TcpStream) -> Option<u8> {
    let mut room = [0_u8];
    let read = stream.peek(&mut room).await.ok()?;
    room.first().filter(|_| read == 1).copied()
}

/// Tells a client that speaks HTTP to a port with TLS what is wrong; anything else would look like an outage to it.
async fn refuse_plain(mut stream: TcpStream) {
    metrics::counter!(HANDSHAKE_FAILURES, "reason" => "plain_http").increment(1);
    let _ = stream.write_all(&answer::plain_on_tls()).await;
    let _ = stream.shutdown().await;
    // What was sent must be read, or the kernel's reset overtakes the answer.
    let mut room = [0_u8; 1024];
    let drain = async { while matches!(stream.read(&mut room).await, Ok(read) if read > 0) {} };
    let _ = timeout(Duration::from_secs(1), drain).await;
}

async fn handshake(tls: &Tls, stream: TcpStream, deadline: Instant) -> Option<(TlsStream<TcpStream>, Option<bool>)> {
    let failed = |reason: &'static str| metrics::counter!(HANDSHAKE_FAILURES, "reason" => reason).increment(1);
    match timeout_at(deadline, tls.accept(stream)).await {
        Ok(Ok(agreed)) => Some(agreed),
        Ok(Err(error)) => {
            failed("refused");
            tracing::debug!(%error, "no TLS was agreed on");
            None
        }
        Err(_) => {
            failed("timeout");
            None
        }
    }
}

fn http1_builder(limits: &HttpLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // hyper's own head timer would also end idle connections; `drive` tells the two apart.
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    builder.max_header_size(limits.header_bytes).keep_alive(true).half_close(false);
    // Any number but its own makes hyper fill a list of that length for each request.
    if limits.headers != HYPER_HEADERS {
        builder.max_headers(limits.headers);
    }
    builder
}

fn http2_builder(limits: &HttpLimits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(limits.reset_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_timeout);
    builder
}

/// Reads until it is clear which HTTP this is.
async fn first_bytes<T: AsyncRead + Unpin>(stream: &mut T) -> Option<(Bytes, bool)> {
    let mut buffer = [0_u8; PREFACE.len()];
    let mut filled = 0;
    loop {
        let read = stream.read(buffer.get_mut(filled..)?).await.ok()?;
        filled += read;
        let seen = buffer.get(..filled)?;
        if read == 0 {
            return None;
        }
        let http1 = !PREFACE.starts_with(seen);
        if http1 || filled == PREFACE.len() {
            return Some((Bytes::copy_from_slice(seen), http1));
        }
    }
}

/// Polls a connection while watching the clock and the end of the process.
async fn drive<C, E>(
    connection: C,
    finish: impl Fn(Pin<&mut C>),
    vitals: &Arc<Vitals>,
    port: &Port,
    shutdown: &Shutdown,
) where
    C: Future<Output = Result<(), E>>,
{
    let mut connection = pin!(connection);
    let limits = &port.limits;
    let tick = (limits.header_read / 5).clamp(Duration::from_millis(10), Duration::from_secs(2));
    // Acting one tick early keeps the promise that the limit is never exceeded.
    let head_limit = millis(limits.header_read.saturating_sub(tick));
    let idle_limit = millis(limits.keep_alive);
    let mut finishing: Option<Instant> = None;
    loop {
        let may_close = finishing.is_none();
        let event = pin!(async {
            tokio::select! {
                biased;
                () = shutdown.cut() => Event::Cut,
                () = port.closing(shutdown), if may_close => Event::Closing,
                () = sleep(tick) => Event::Tick,
            }
        });
        let event = tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            event = Rarely::new(event) => event,
        };
        match event {
            Event::Cut => return,
            Event::Closing => {
                finishing = Some(Instant::now());
                finish(connection.as_mut());
            }
            Event::Tick => {
                if vitals.head_age().is_some_and(|age| age >= head_limit) {
                    return;
                }
                let idle = |limit| vitals.idle_age().is_some_and(|age| age >= limit);
                match finishing {
                    None if idle(idle_limit) => {
                        finishing = Some(Instant::now());
                        finish(connection.as_mut());
                    }
                    // HTTP/2 asks its peer before it closes; one that does not answer is not waited for.
                    Some(since) if since.elapsed() >= limits.header_read && idle(head_limit) => return,
                    _ => {}
                }
            }
        }
    }
}

/// What may happen beside a connection.
enum Event {
    /// Everything ends now.
    Cut,
    /// No more requests are taken.
    Closing,
    /// Time to look at the limits.
    Tick,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The service with what every request needs around it.
struct Handler<S> {
    service: S,
    peer: SocketAddr,
    port: Arc<Port>,
    vitals: Arc<Vitals>,
    shutdown: Shutdown,
}

impl<S, B> Handler<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
{
    /// Speaks HTTP until the end; `agreed` tells whether TLS settled on HTTP/2, if there was any talk of it.
    async fn converse<T>(self, mut stream: T, agreed: Option<bool>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (port, shutdown, vitals) = (Arc::clone(&self.port), self.shutdown.clone(), Arc::clone(&self.vitals));
        let limits = &port.limits;
        let opening = tokio::select! {
            opening = timeout(limits.header_read, first_bytes(&mut stream)) => opening,
            () = port.closing(&shutdown) => return,
        };
        // Silence, or a peer that left: there is nobody to answer.
        let Ok(Some((first, http1))) = opening else { return };
        if agreed.is_some_and(|http2| http2 == http1) {
            return;
        }
        let io = TokioIo::new(Tap::new(stream, first, http1, Arc::clone(&vitals)));
        let handler = Arc::new(self);
        let service = service_fn(move |request| Arc::clone(&handler).answer(request));
        // Boxed, so that a socket that has not said anything yet costs a few hundred bytes and not a whole connection.
        if http1 {
            Box::pin(async {
                let connection = http1_builder(limits).serve_connection(io, service);
                drive(connection, |c| c.graceful_shutdown(), &vitals, &port, &shutdown).await;
            })
            .await;
        } else {
            Box::pin(async {
                let connection = http2_builder(limits).serve_connection(io, service);
                drive(connection, |c| c.graceful_shutdown(), &vitals, &port, &shutdown).await;
            })
            .await;
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Served<B>>, Infallible>
    where
        S: Clone,
    {
        let in_flight = self.vitals.begin();
        let (mut parts, body) = request.into_parts();
        let one = parts.version <= Version::HTTP_11;
        let framing = match framing::check(&parts) {
            Ok(()) if one && self.vitals.two_lengths() => Err(FramingFault::TwoLengths),
            other => other,
        };
        if let Err(fault) = framing {
            return Ok(answer::bad_framing(&fault.to_string(), in_flight));
        }
        // Nothing may follow on a connection whose next head could not be told from a body.
        let last = one && (parts.headers.contains_key(TRANSFER_ENCODING) || parts.headers.contains_key(UPGRADE));
        let visit = match self.port.edge.enter(&mut parts, self.peer.ip()) {
            Ok(visit) => visit,
            Err(turned) => return Ok(answer::turned(*turned, in_flight)),
        };
        let request = Request::from_parts(parts, body);
        let called = catch_unwind(AssertUnwindSafe(|| self.service.clone().call(request)));
        let Ok(future) = called else { return Ok(answer::panicked(in_flight)) };
        let mut future = pin!(future);
        let outcome = std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        })
        .await;
        let mut response = match outcome {
            Some(Ok(response)) => response.map(|body| Served::service(body, in_flight)),
            None => {
                tracing::error!("a request handler panicked");
                answer::panicked(in_flight)
            }
        };
        visit.leave(response.headers_mut());
        if one && (last || self.shutdown.is_draining()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}
