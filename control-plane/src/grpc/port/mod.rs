//! The port for data planes: TLS 1.3, and on the same port connections without it where an operator allows that.
//!
//! 1. `lobby` lets a connection in, unless too many are there of whom nobody knows who they are.
//! 2. It agrees on TLS and says the words that begin HTTP/2, within seconds; nothing else is ever served.
//! 3. `stream` ends it when nobody makes a call on it that is let in; after such a call it may stay.
//!
//! Used by `app`, which serves what comes out, and by the checks of calls. Bounds here are for whoever can reach the
//! port: what members of the fleet may do is bounded by the services.

mod lobby;
mod stream;
#[cfg(test)]
mod tests;

pub use lobby::Stranger;
pub use stream::{NodeConnection, NodeStream, Way};

use std::io;
use std::sync::Arc;
use std::time::Duration;

use shared::runtime::shutdown::Shutdown;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::refused;
use crate::fleet::certificates::NodePortTls;
use lobby::Lobby;
use stream::Transport;

/// How long the other side may take until HTTP/2 has begun.
const AGREE_WITHIN: Duration = Duration::from_secs(10);
/// How long somebody who came to the wrong port may take for each of its last words.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Connections at the same time: a thousand nodes with a few each.
const MOST: usize = 4_096;
/// Connections that wait to be served.
const QUEUE: usize = 64;
/// The first byte of a connection that speaks TLS.
const HANDSHAKE: u8 = 0x16;
/// How HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What is told to somebody with a browser.
const WRONG_PORT: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 41\r\nconnection: close\r\n\r\nThis port is for data planes, over gRPC.\n";

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it does not speak TLS; https:// is expected")]
    NotTls,
    #[error("it does not speak HTTP/2")]
    NotHttp2,
    #[error("TLS is not agreed on: {0}")]
    Tls(io::Error),
    #[error("it broke: {0}")]
    Broken(#[from] io::Error),
}

impl Refusal {
    const fn reason(&self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::NotHttp2 => "not_http2",
            Self::Tls(_) => "tls",
            Self::Broken(_) => "broken",
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
    let (lobby, places) = (Lobby::default(), Arc::new(Semaphore::new(MOST)));
    shutdown.spawn("accepting data planes", async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
                () = ending.closing() => return,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                // Out of descriptors, most likely: others will close theirs.
                Err(error) => {
                    tracing::warn!(%error, "a connection of a data plane cannot be taken");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            // Whoever is honest comes again a little later; to wait here would make everybody wait.
            let Some(stranger) = lobby.admit(address.ip()) else {
                refused("strangers");
                continue;
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                refused("full");
                continue;
            };
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                match timeout(AGREE_WITHIN, agree(stream, &acceptor, plain)).await {
                    Ok(Ok(transport)) => {
                        // Nobody serves any more when this fails.
                        let _ = sender.send(Ok(NodeStream::new(transport, stranger, place))).await;
                    }
                    Ok(Err(refusal)) => {
                        refused(refusal.reason());
                        tracing::debug!(%address, reason = %refusal, "a connection to the port for data planes was given up");
                    }
                    Err(_) => {
                        refused("silent");
                        tracing::debug!(%address, "a connection to the port for data planes said nothing");
                    }
                }
            });
        }
    });
    receiver
}

async fn agree(stream: TcpStream, acceptor: &TlsAcceptor, plain: bool) -> Result<Transport, Refusal> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    stream.peek(&mut first).await?;
    if first == [HANDSHAKE] {
        let mut stream = acceptor.accept(stream).await.map_err(Refusal::Tls)?;
        begun(&mut stream).await?;
        return Ok(Transport::Tls(Box::new(stream)));
    }
    if !plain {
        return Err(Refusal::NotTls);
    }
    let mut stream = stream;
    if let Err(refusal) = begun(&mut stream).await {
        if first.iter().all(u8::is_ascii_uppercase) {
            tell_wrong_port(&mut stream).await;
        }
        return Err(refusal);
    }
    Ok(Transport::Plain(stream))
}

/// They may be gone, and do not have to be told.
async fn tell_wrong_port(stream: &mut TcpStream) {
    if stream.write_all(WRONG_PORT).await.is_ok() && stream.shutdown().await.is_ok() {
        // What they still say is heard, or the system would throw the answer away with it.
        let mut rest = [0; 4_096];
        while let Ok(Ok(1..)) = timeout(LAST_WORDS, stream.read(&mut rest)).await {}
    }
}

/// Reads how HTTP/2 begins, and not a byte more than it takes to see that it is something else.
async fn begun(stream: &mut (impl AsyncRead + Unpin)) -> Result<(), Refusal> {
    let mut read = [0; PREFACE.len()];
    let mut length = 0;
    while let Some(rest @ [_, ..]) = read.get_mut(length..) {
        match stream.read(rest).await? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            more => length += more,
        }
        if read.get(..length) != PREFACE.get(..length) {
            return Err(Refusal::NotHttp2);
        }
    }
    Ok(())
}
