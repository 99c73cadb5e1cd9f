//! Dials a control plane: one address of a list, or the other plane in this process.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use shared::kernel::secret::Secret;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use url::{Host, Url};

/// How long to wait for one address.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A connection that does not answer this often is dead.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(8);
/// What may be on its way: chunks of a whole catalog without a pause.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Bytes between the planes of one process.
const LINE_BUFFER: usize = 256 * 1024;

/// Why no control plane can be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Not one address.
    #[error("no address of a control plane; expected --control-plane http://HOST:PORT")]
    NoAddress,
    /// An address that cannot be used.
    #[error("`{address}` is not an address of a control plane: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A token that no header can carry.
    #[error("the join token has characters that no header can carry")]
    Token,
    /// Nobody answers there.
    #[error("no connection to {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Where the other plane of this process takes connections: it serves what it receives here.
pub type LocalLine = mpsc::Receiver<DuplexStream>;

/// Dials. Clones share the address that worked last.
#[derive(Clone)]
pub struct Dialer {
    to: To,
    token: Token,
}

#[derive(Clone)]
enum To {
    Addresses { all: Arc<[Endpoint]>, current: Arc<AtomicUsize> },
    Local(mpsc::Sender<DuplexStream>),
}

/// Shows the join token with each call.
#[derive(Clone)]
pub(super) struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// A connection that shows the join token.
pub(super) type Connection = InterceptedService<Channel, Token>;

impl Dialer {
    /// For a list of addresses. Without mutual TLS the token travels in the clear, so an address beyond this machine needs
    /// `insecure`.
    ///
    /// # Errors
    /// [`DialError`] when an address or the token cannot be used.
    pub fn addresses(addresses: &[Url], token: Option<&Secret>, insecure: bool) -> Result<Self, DialError> {
        let all = addresses.iter().map(|address| endpoint(address, insecure)).collect::<Result<Arc<[_]>, _>>()?;
        if all.is_empty() {
            return Err(DialError::NoAddress);
        }
        let token = token.map(|token| {
            let value = format!("Bearer {}", token.expose().trim());
            let mut value: MetadataValue<Ascii> = value.parse().map_err(|_| DialError::Token)?;
            value.set_sensitive(true);
            Ok(value)
        });
        // Nodes of one fleet begin at different addresses.
        let current = Arc::new(AtomicUsize::new(usize::from(rand::random::<u16>())));
        Ok(Self { to: To::Addresses { all, current }, token: Token(token.transpose()?) })
    }

    /// To the other plane in this process, which serves what comes out of the line.
    #[must_use]
    pub fn local() -> (Self, LocalLine) {
        let (sender, line) = mpsc::channel(4);
        (Self { to: To::Local(sender), token: Token(None) }, line)
    }

    /// Connects, to the address that worked last or the one after it.
    pub(super) async fn dial(&self) -> Result<Connection, DialError> {
        let channel = match &self.to {
            To::Addresses { all, current } => {
                let at = current.load(Ordering::Relaxed);
                let endpoint = all.get(at % all.len().max(1)).ok_or(DialError::NoAddress)?;
                endpoint.connect().await.map_err(|source| {
                    self.give_up();
                    DialError::Connect { address: endpoint.uri().to_string(), source }
                })?
            }
            To::Local(line) => {
                let endpoint = tuned(Endpoint::from_static("http://control-plane.local"));
                let line = line.clone();
                let connector = tower::service_fn(move |_: Uri| {
                    let line = line.clone();
                    async move {
                        let (ours, theirs) = tokio::io::duplex(LINE_BUFFER);
                        line.send(theirs).await.map_err(|_| std::io::Error::from(std::io::ErrorKind::ConnectionRefused))?;
                        Ok::<_, std::io::Error>(TokioIo::new(ours))
                    }
                });
                let failed = |source| DialError::Connect { address: "the control plane of this process".to_owned(), source };
                endpoint.connect_with_connector(connector).await.map_err(failed)?
            }
        };
        Ok(InterceptedService::new(channel, self.token.clone()))
    }

    /// Tries another address next time.
    pub(super) fn give_up(&self) {
        if let To::Addresses { current, .. } = &self.to {
            current.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn endpoint(address: &Url, insecure: bool) -> Result<Endpoint, DialError> {
    let bad = |reason| DialError::Address { address: shown(address), reason };
    match address.scheme() {
        "http" => {}
        "https" => return Err(bad("TLS between the planes is not built yet; http is expected, on a network that you trust")),
        _ => return Err(bad("http://HOST:PORT is expected")),
    }
    let is_here = match address.host() {
        None => return Err(bad("it names no host")),
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
    };
    if !is_here && !insecure {
        return Err(bad("it is another machine and the way there is not encrypted; --insecure allows that"));
    }
    if !address.username().is_empty() || address.password().is_some() || address.query().is_some() {
        return Err(bad("it must hold no user, password or query"));
    }
    Ok(tuned(Endpoint::from_shared(address.to_string()).map_err(|_| bad("it is no URI"))?))
}

/// An address as it may be logged.
fn shown(address: &Url) -> String {
    format!("{}://{}", address.scheme(), address.host_str().unwrap_or_default())
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_are_safe_are_taken() -> Result<(), url::ParseError> {
        let dialer = |address: &str, insecure| Ok(Dialer::addresses(&[address.parse()?], None, insecure).is_ok());
        for (address, insecure, good) in [
            ("http://127.0.0.1:8081", false, true),
            ("http://localhost:8081", false, true),
            ("http://[::1]:8081", false, true),
            ("http://control.example:8081", false, false),
            ("http://control.example:8081", true, true),
            ("https://control.example:8081", true, false),
            ("http://user:pass@127.0.0.1:8081", true, false),
            ("ftp://127.0.0.1", true, false),
        ] {
            assert_eq!(dialer(address, insecure), Ok::<_, url::ParseError>(good), "{address}");
        }
        assert!(matches!(Dialer::addresses(&[], None, true), Err(DialError::NoAddress)));
        Ok(())
    }
}
