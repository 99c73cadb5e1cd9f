//! Connections to upstreams: opened with every check, kept while useful, handed out again.

use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use hyper::client::conn::http2;
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use shared::kernel::quick_map::QuickMap;
use tower_service::Service as _;

use super::body::AnswerBody;
use super::client::{Client, SendError, Sending};
use super::connection::{Inline, Unanswered};
use super::connector::{CONNECT_TIMEOUT, ProxyError, Secured, connector};
use super::egress::refused_host;
use super::outgoing::OutgoingBody;
use super::proxy::{Proxies, Proxy};

/// Longer than most answers are apart, shorter than middleboxes forget.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Kept for one origin.
const IDLE_MOST: usize = 512;

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    secure: bool,
    authority: Authority,
}

#[derive(Default)]
struct Shelf {
    idle: Vec<Inline>,
    multiplexed: Option<http2::SendRequest<OutgoingBody>>,
}

/// All connections of the process to upstreams.
#[derive(Clone)]
pub(crate) struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Secured,
    proxies: Arc<Proxies>,
    shelves: Mutex<QuickMap<Origin, Shelf>>,
}

/// What a connection turned out to be.
enum Fresh {
    One(Inline),
    Many(http2::SendRequest<OutgoingBody>),
}

impl Pool {
    /// An empty pool that speaks TLS in this way, through these proxies.
    pub(crate) fn new(tls: ClientConfig, proxies: Proxies) -> Self {
        let proxies = Arc::new(proxies);
        let connector = connector(tls, Arc::clone(&proxies));
        Self { inner: Arc::new(Inner { connector, proxies, shelves: Mutex::default() }) }
    }

    /// Lets go of connections that ended or were idle for too long; to be called now and then.
    pub(crate) fn sweep(&self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut shelves = self.inner.shelves.lock();
        shelves.retain(|_, shelf| {
            shelf.idle.retain_mut(|inline| inline.idle_since().elapsed() < IDLE_TIMEOUT && inline.is_reusable(&mut cx));
            shelf.multiplexed.take_if(|sender| sender.is_closed());
            !shelf.idle.is_empty() || shelf.multiplexed.is_some()
        });
    }

    /// Takes a connection back after its answer was read to the end.
    pub(super) fn put(&self, origin: Origin, mut inline: Inline) {
        inline.rest();
        let mut shelves = self.inner.shelves.lock();
        let shelf = shelves.entry(origin).or_default();
        if shelf.idle.len() < IDLE_MOST {
            shelf.idle.push(inline);
        }
    }

    /// A connection that is still good: the one used last, because the others may then grow old and go.
    fn take(&self, origin: &Origin) -> Option<Fresh> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        loop {
            let mut inline = {
                let mut shelves = self.inner.shelves.lock();
                let shelf = shelves.get_mut(origin)?;
                if let Some(sender) = shelf.multiplexed.as_ref().filter(|sender| sender.is_ready()) {
                    return Some(Fresh::Many(sender.clone()));
                }
                shelf.idle.pop()?
            };
            let fresh = inline.idle_since() + IDLE_TIMEOUT > Instant::now();
            if fresh && inline.is_reusable(&mut cx) {
                return Some(Fresh::One(inline));
            }
        }
    }

    async fn open(&self, origin: &Origin) -> Result<Fresh, SendError> {
        let uri = origin.uri()?;
        if let Some(reason) = refused_host(&uri) {
            return Err(SendError::Refused(reason));
        }
        let mut connector = self.inner.connector.clone();
        let connecting = async {
            std::future::poll_fn(|cx| connector.poll_ready(cx)).await?;
            connector.call(uri).await
        };
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(SendError::Connect)?,
            Err(elapsed) => return Err(SendError::Connect(Box::new(elapsed))),
        };
        if !stream.connected().is_negotiated_h2() {
            return Inline::open(stream).await.map(Fresh::One).map_err(|error| SendError::Connect(Box::new(error)));
        }
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).adaptive_window(true);
        builder.keep_alive_interval(Duration::from_secs(10)).keep_alive_timeout(Duration::from_secs(5));
        let handshake = builder.handshake(stream).await;
        let (sender, driver) = handshake.map_err(|error| SendError::Connect(Box::new(error)))?;
        // Streams of many calls share it, so no single call can drive it. It ends when its last sender is dropped.
        tokio::spawn(async move {
            let _ = driver.await;
        });
        self.inner.shelves.lock().entry(origin.clone()).or_default().multiplexed = Some(sender.clone());
        Ok(Fresh::Many(sender))
    }

    async fn exchange(self, request: Request<OutgoingBody>) -> Result<Response<AnswerBody>, SendError> {
        let origin = Origin::of(request.uri())?;
        let proxy = self.inner.proxies.forwarding(request.uri());
        let mut request = request;
        // A kept connection may end at the very moment it is used; then nothing was sent and a new one takes over.
        let mut connection = self.take(&origin);
        loop {
            let reused = connection.is_some();
            let fresh = match connection.take() {
                Some(kept) => kept,
                // Rare, and much larger than all the rest: on the heap, so that each call need not have room for it.
                None => Box::pin(self.open(&origin)).await?,
            };
            let unanswered = match fresh {
                Fresh::One(mut inline) => match inline.send(for_http1(request, &origin, proxy)).await {
                    Ok(answer) => {
                        refused_by(proxy, answer.status())?;
                        return Ok(answer.map(|body| AnswerBody::inline(body, inline, self.clone(), origin)));
                    }
                    Err(unanswered) => unanswered,
                },
                Fresh::Many(mut sender) => match sender.try_send_request(request).await {
                    Ok(answer) => return Ok(answer.map(AnswerBody::shared)),
                    Err(mut error) => {
                        let request = error.take_message();
                        Unanswered { error: error.into_error(), request }
                    }
                },
            };
            match unanswered.request {
                Some(unsent) if reused => request = in_absolute_form(unsent, &origin),
                _ if unanswered.error.is_parse() => return Err(SendError::Garbage(unanswered.error)),
                _ => return Err(SendError::Closed(unanswered.error)),
            }
        }
    }
}

impl Client for Pool {
    fn send(&self, request: Request<OutgoingBody>) -> Sending {
        Box::pin(self.clone().exchange(request))
    }
}

impl Origin {
    fn of(uri: &Uri) -> Result<Self, SendError> {
        let authority = uri.authority().cloned().ok_or(SendError::Refused("an upstream needs a host"))?;
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => Ok(Self { secure: false, authority }),
            Some(scheme) if *scheme == Scheme::HTTPS => Ok(Self { secure: true, authority }),
            _ => Err(SendError::Refused("an upstream is called by http or https")),
        }
    }

    fn uri(&self) -> Result<Uri, SendError> {
        self.with(PathAndQuery::from_static("/"))
    }

    fn with(&self, path: PathAndQuery) -> Result<Uri, SendError> {
        let scheme = if self.secure { Scheme::HTTPS } else { Scheme::HTTP };
        let uri = Uri::builder().scheme(scheme).authority(self.authority.clone()).path_and_query(path).build();
        uri.map_err(|error| SendError::Connect(Box::new(error)))
    }
}

/// What HTTP/1 servers expect: the path in the request line, the host in its header. A proxy needs the whole address.
fn for_http1(mut request: Request<OutgoingBody>, origin: &Origin, proxy: Option<&Proxy>) -> Request<OutgoingBody> {
    *request.version_mut() = Version::HTTP_11;
    if let Ok(host) = HeaderValue::from_str(origin.authority.as_str()) {
        request.headers_mut().insert(header::HOST, host);
    }
    match proxy {
        Some(proxy) => {
            if let Some(authorization) = proxy.authorization() {
                request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
            }
        }
        None => {
            let path = request.uri().path_and_query().cloned();
            *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
        }
    }
    request
}

/// A proxy that does not know us answers in the place of the upstream, whose answer this must not become.
fn refused_by(proxy: Option<&Proxy>, status: StatusCode) -> Result<(), SendError> {
    let Some(proxy) = proxy.filter(|_| status == StatusCode::PROXY_AUTHENTICATION_REQUIRED) else { return Ok(()) };
    let error = ProxyError::Credentials { proxy: proxy.to_string() };
    Err(SendError::Connect(Box::new(error.told())))
}

/// What HTTP/2 needs, and another form can be made from.
fn in_absolute_form(mut request: Request<OutgoingBody>, origin: &Origin) -> Request<OutgoingBody> {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if let Ok(uri) = origin.with(path) {
        *request.uri_mut() = uri;
    }
    request.headers_mut().remove(header::HOST);
    request
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
