//! The port for data planes: TLS 1.3, and on the same port connections without it where an operator allows that.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use shared::runtime::shutdown::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::fleet::certificates::NodePortTls;

/// How long the other side may take until TLS is agreed on.
const AGREE_WITHIN: Duration = Duration::from_secs(10);
/// How many may be agreeing on TLS at the same time.
const AGREEING: usize = 256;
/// Connections that wait to be served.
const QUEUE: usize = 64;
/// The first byte of a connection that speaks TLS.
const HANDSHAKE: u8 = 0x16;

/// What is known of a connection.
#[derive(Debug, Clone)]
pub enum NodeConnection {
    /// Without TLS.
    Plain,
    /// With TLS; the certificate that the other side showed and whose key it holds, in DER form. Nobody checked it yet.
    Tls(Option<Arc<[u8]>>),
}

/// One connection of the port.
pub enum NodeStream {
    /// Without TLS.
    Plain(TcpStream),
    /// With it.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connected for NodeStream {
    type ConnectInfo = NodeConnection;

    fn connect_info(&self) -> NodeConnection {
        match self {
            Self::Plain(_) => NodeConnection::Plain,
            Self::Tls(stream) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                NodeConnection::Tls(shown.map(|certificate| Arc::from(certificate.as_ref())))
            }
        }
    }
}

/// Takes connections until the listener is dropped with the last receiver.
pub fn accept(
    listener: TcpListener,
    tls: &NodePortTls,
    plain: bool,
    shutdown: &Shutdown,
) -> mpsc::Receiver<io::Result<NodeStream>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (acceptor, ending) = (TlsAcceptor::from(tls.config()), shutdown.clone());
    let agreeing = Arc::new(Semaphore::new(AGREEING));
    shutdown.spawn("accepting data planes", async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
                () = ending.closing() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                // Out of descriptors, most likely: others will close theirs.
                Err(error) => {
                    tracing::warn!(%error, "a connection of a data plane cannot be taken");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&agreeing).acquire_owned().await else { return };
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                match timeout(AGREE_WITHIN, agree(stream, &acceptor, plain)).await {
                    Ok(Ok(stream)) => {
                        // Nobody serves any more when this fails.
                        let _ = sender.send(Ok(stream)).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "a connection to the port for data planes was given up"),
                    Err(_) => tracing::debug!("a connection to the port for data planes said nothing"),
                }
                drop(permit);
            });
        }
    });
    receiver
}

async fn agree(stream: TcpStream, acceptor: &TlsAcceptor, plain: bool) -> io::Result<NodeStream> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    stream.peek(&mut first).await?;
    if first == [HANDSHAKE] {
        return Ok(NodeStream::Tls(Box::new(acceptor.accept(stream).await?)));
    }
    if plain {
        return Ok(NodeStream::Plain(stream));
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak TLS; https:// is expected"))
}

impl AsyncRead for NodeStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for NodeStream {
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
