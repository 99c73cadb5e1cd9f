//! Our own accept loop, because the frameworks' loops hide the limits that a public port needs.
//!
//! What it guarantees to a service behind it: a request whose framing is beyond doubt, its client's address as
//! [`ClientAddr`], a path below the configured prefix, and that a panic costs one answer (500) and nothing else. What it
//! guarantees to the process: silent and slow sockets are closed, heads are small, connections are counted, and [`Shutdown`] ends everything in order.
//!
//! Limits on bodies are not here: only the service knows what a route may take.

mod answer;
mod connection;
pub mod framing;
mod port;
mod rarely;
mod tap;

#[cfg(test)]
mod http2_tests;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tower::Service;

pub use super::edge::ClientAddr;
use super::shutdown::Shutdown;
pub use port::{Closes, HttpLimits, Port};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4096;
/// File descriptors that connections may not take: they belong to files, upstreams and the operations port.
const RESERVED_DESCRIPTORS: u64 = 256;

/// Why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody has it.
    #[error("{address} is already in use ({flag}, {})", variable(flag))]
    Taken {
        /// The address.
        address: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
    },
    /// The operating system refused.
    #[error("cannot listen on {address} ({flag}, {})", variable(flag))]
    Io {
        /// The address.
        address: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
        /// Its reason.
        #[source]
        source: io::Error,
    },
}

/// `--grpc-listen` → `GATEWRIGHT_GRPC_LISTEN`.
fn variable(flag: &str) -> String {
    format!("GATEWRIGHT_{}", flag.trim_start_matches('-').replace('-', "_").to_ascii_uppercase())
}

/// Listens on an address; `flag` (such as `--listen`) is what an error tells to change.
///
/// # Errors
/// [`ListenError`] when the address is taken or not ours.
pub fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ListenError> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Without it a restart would wait for the connections of the process before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken { address, flag },
        _ => ListenError::Io { address, flag, source },
    })
}

/// Serves HTTP/1.1 and HTTP/2 on a port, with TLS when it has a certificate, until [`Shutdown`] closes it; returns when no connection is left.
///
/// The service is cloned for each request and must be ready at any time, as axum's routers are.
pub async fn serve<S, B>(listener: TcpListener, service: S, port: impl Into<Port>, shutdown: Shutdown)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let port = Arc::new(port.into());
    let slots = slots(port.limits.connections);
    let capacity = slots.available_permits();
    let mut pause = Duration::ZERO;
    loop {
        let accepted = tokio::select! {
            biased;
            () = port.closing(&shutdown) => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                pause = Duration::ZERO;
                let connection = connection::run(stream, peer, service.clone(), Arc::clone(&port), shutdown.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                pause = back_off(&error, pause);
                tokio::time::sleep(pause).await;
            }
        }
    }
    drop(listener);
    // Each connection holds one slot; all of them back means that none is left.
    let all = u32::try_from(capacity).unwrap_or(u32::MAX);
    let _ = slots.acquire_many(all).await;
}

/// The next connection, once there is a slot for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Tokens of a stream are small and must leave at once.
    let _ = stream.set_nodelay(true);
    Ok((stream, peer, slot))
}

/// A peer that left before it was accepted costs nothing; a lack of descriptors passes only with time.
fn back_off(error: &io::Error, last: Duration) -> Duration {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        return Duration::ZERO;
    }
    if last.is_zero() {
        tracing::error!(%error, "connections cannot be accepted; waiting");
    }
    (last * 2).clamp(Duration::from_millis(10), Duration::from_millis(500))
}

/// As many slots as asked for, or as the process has descriptors for.
fn slots(wanted: usize) -> Arc<Semaphore> {
    let descriptors = raise_descriptor_limit();
    // Each request may need a second one, for its upstream.
    let affordable = usize::try_from(descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2).unwrap_or(usize::MAX);
    Arc::new(Semaphore::new(wanted.min(affordable.max(64)).min(Semaphore::MAX_PERMITS)))
}

/// Raises the soft limit of open files to the hard one, whose default is often 1024 for no good reason.
fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: now.maximum, maximum: now.maximum };
    let raised = now.current != now.maximum && setrlimit(Resource::Nofile, wanted).is_ok();
    if raised { now.maximum } else { now.current }.unwrap_or(u64::MAX)
}
