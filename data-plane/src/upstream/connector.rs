//! The bytes below an upstream's TLS: straight to it, or through a proxy.
//!
//! An upstream with https is reached by a tunnel (`CONNECT`): the proxy sees its name and no more. Requests to one with
//! http are handed to the proxy itself, which is what proxies expect; [`super::pool`] writes them so.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_service::Service;

use super::egress::CheckedResolver;
use super::proxy::{Proxies, Proxy};

/// From looking up the name to the end of the TLS handshake.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a proxy may say before the tunnel stands.
const PREFACE_MOST: usize = 16 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Tcp = HttpConnector<CheckedResolver>;

/// Opens connections to upstreams, with every check.
pub(super) type Secured = HttpsConnector<Connector>;
/// A connection's bytes, with or without TLS.
pub(super) type Stream = MaybeHttpsStream<Line>;

/// Makes what [`super::pool::Pool`] opens connections with.
pub(super) fn connector(tls: ClientConfig, proxies: Arc<Proxies>) -> Secured {
    let mut tcp = HttpConnector::new_with_resolver(CheckedResolver::new());
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(Duration::from_secs(15)));
    let to_proxy = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http().enable_http1();
    let below = Connector { to_proxy: to_proxy.wrap_connector(tcp.clone()), tcp, proxies };
    HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(below)
}

/// Opens what TLS with an upstream is spoken over.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: Tcp,
    to_proxy: HttpsConnector<Tcp>,
    proxies: Arc<Proxies>,
}

/// What it opened.
pub(super) enum Line {
    Straight(TokioIo<TcpStream>),
    /// Boxed, because a TLS session with the proxy may be in it.
    Proxied(Box<MaybeHttpsStream<TokioIo<TcpStream>>>),
}

/// A proxy did not do its part.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// It cannot be reached.
    #[error("the proxy {proxy} cannot be reached")]
    Connect {
        proxy: String,
        #[source]
        source: BoxError,
    },
    /// It does not know us.
    #[error(
        "the proxy {proxy} asks for credentials, or for others; they belong into its address: http://user:password@…"
    )]
    Credentials { proxy: String },
    /// It will not.
    #[error("the proxy {proxy} refused to connect, with status {status}")]
    Refused { proxy: String, status: u16 },
    /// It speaks something else.
    #[error("the proxy {proxy} did not answer as a proxy")]
    Garbage { proxy: String },
}

impl ProxyError {
    /// Also told in the log: the client learns only that the upstream cannot be reached.
    pub(super) fn told(self) -> Self {
        let error = &self as &dyn std::error::Error;
        tracing::warn!(error, "an upstream cannot be reached through its proxy");
        self
    }
}

impl Service<Uri> for Connector {
    type Response = Line;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Line, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Both rest on the same resolver, which is always ready.
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, upstream: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.before(&upstream).cloned() else {
            let connecting = self.tcp.call(upstream);
            return Box::pin(async move { Ok(Line::Straight(connecting.await?)) });
        };
        let connecting = self.to_proxy.call(proxy.uri().clone());
        Box::pin(async move {
            let mut stream = match connecting.await {
                Ok(stream) => TokioIo::new(stream),
                Err(source) => return Err(ProxyError::Connect { proxy: proxy.to_string(), source }.told().into()),
            };
            if upstream.scheme() == Some(&Scheme::HTTPS) {
                tunnel(&mut stream, &upstream, &proxy).await?;
            }
            Ok(Line::Proxied(Box::new(stream.into_inner())))
        })
    }
}

/// Asks a proxy for a tunnel.
async fn tunnel<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut T,
    upstream: &Uri,
    proxy: &Proxy,
) -> Result<(), BoxError> {
    let host = upstream.host().unwrap_or_default();
    let place = format!("{host}:{}", upstream.port_u16().unwrap_or(443));
    let mut ask = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes();
    ask.extend_from_slice(concat!("User-Agent: gatewright/", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes());
    if let Some(authorization) = proxy.authorization() {
        ask.extend_from_slice(b"Proxy-Authorization: ");
        ask.extend_from_slice(authorization.as_bytes());
        ask.extend_from_slice(b"\r\n");
    }
    ask.extend_from_slice(b"\r\n");
    stream.write_all(&ask).await?;
    let status = preface(stream).await?;
    let proxy = proxy.to_string();
    match status {
        Some(200..=299) => Ok(()),
        Some(407) => Err(ProxyError::Credentials { proxy }.told().into()),
        Some(status) => Err(ProxyError::Refused { proxy, status }.told().into()),
        None => Err(ProxyError::Garbage { proxy }.told().into()),
    }
}

/// Reads the head of the proxy's answer and not a byte more: the rest belongs to the upstream. Its status, when it is one.
async fn preface<T: AsyncRead + Unpin>(stream: &mut T) -> io::Result<Option<u16>> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PREFACE_MOST {
            return Ok(None);
        }
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let digits =
        head.strip_prefix(b"HTTP/1.1 ").or_else(|| head.strip_prefix(b"HTTP/1.0 ")).and_then(|rest| rest.get(..3));
    Ok(digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()))
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        match self {
            Self::Straight(stream) => stream.connected(),
            // Whatever was agreed on with the proxy says nothing about the upstream.
            Self::Proxied(_) => Connected::new().proxy(true),
        }
    }
}

impl Read for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Straight(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Proxied(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl Write for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Straight(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Proxied(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Straight(stream) => Pin::new(stream).poll_flush(cx),
            Self::Proxied(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Straight(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Proxied(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Straight(stream) => stream.is_write_vectored(),
            Self::Proxied(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Straight(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Proxied(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, pieces),
        }
    }
}
