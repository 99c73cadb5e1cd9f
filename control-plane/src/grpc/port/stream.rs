//! One connection of the port: its bytes, and how long it may stay without showing who it is.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::PREFACE;
use super::lobby::Stranger;
use crate::grpc::{CONNECTIONS, refused};

/// How long a connection may last on which nobody made a call that was let in.
const STRANGE_FOR: Duration = Duration::from_secs(20);

/// What is known of a connection.
#[derive(Debug, Clone)]
pub struct NodeConnection {
    /// How the other side reached us.
    pub by: Way,
    /// To be told when the other side shows who it is.
    pub stranger: Stranger,
}

/// How a connection is made.
#[derive(Debug, Clone)]
pub enum Way {
    /// Without TLS.
    Plain,
    /// With TLS; the certificate that the other side showed and whose key it holds, in DER form. Nobody checked it yet.
    Tls(Option<Arc<[u8]>>),
}

/// The bytes below HTTP/2.
pub(super) enum Transport {
    /// Without TLS.
    Plain(TcpStream),
    /// With it.
    Tls(Box<TlsStream<TcpStream>>),
}

/// One connection of the port, which began as HTTP/2 does.
pub struct NodeStream {
    transport: Transport,
    /// What was read of it already and is still to be handed on.
    begun: &'static [u8],
    stranger: Stranger,
    /// Until when it may be a stranger; nothing once it is none.
    until: Option<Pin<Box<Sleep>>>,
    _open: Open,
}

/// Counts the connection among those that are open.
struct Open {
    _place: OwnedSemaphorePermit,
}

impl NodeStream {
    /// Of a connection whose preface was read.
    pub(super) fn new(transport: Transport, stranger: Stranger, place: OwnedSemaphorePermit) -> Self {
        metrics::gauge!(CONNECTIONS).increment(1.0);
        let until = Some(Box::pin(sleep(STRANGE_FOR)));
        Self { transport, begun: PREFACE, stranger, until, _open: Open { _place: place } }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!(CONNECTIONS).decrement(1.0);
    }
}

impl Connected for NodeStream {
    type ConnectInfo = NodeConnection;

    fn connect_info(&self) -> NodeConnection {
        let by = match &self.transport {
            Transport::Plain(_) => Way::Plain,
            Transport::Tls(stream) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                Way::Tls(shown.map(|certificate| Arc::from(certificate.as_ref())))
            }
        };
        NodeConnection { by, stranger: self.stranger.clone() }
    }
}

impl AsyncRead for NodeStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(until) = &mut this.until {
            if !this.stranger.is_strange() {
                this.until = None;
            } else if until.as_mut().poll(context).is_ready() {
                refused("stranger");
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        if !this.begun.is_empty() {
            let (now, later) = this.begun.split_at(this.begun.len().min(buffer.remaining()));
            buffer.put_slice(now);
            this.begun = later;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.transport).poll_read(context, buffer)
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().transport).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(context)
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
