//! Dials a control plane: one address of a list, or the other plane in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use shared::kernel::ids::NodeId;
use shared::kernel::secret::Secret;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use url::{Host, Url};

use super::enroll::Member;

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
    #[error("no address of a control plane; expected --control-plane https://HOST:PORT")]
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
    /// Some with TLS and some without.
    #[error("control planes are reached either all by https or all by http")]
    Mixed,
    /// There is no certificate to show yet.
    #[error("this node is not enrolled")]
    NotEnrolled,
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
    /// Where TLS is spoken: who this node is, once it is enrolled.
    member: Arc<ArcSwapOption<Member>>,
}

#[derive(Clone)]
enum To {
    Addresses { all: Arc<[Address]>, current: Arc<AtomicUsize> },
    Local(mpsc::Sender<DuplexStream>),
}

/// One control plane.
#[derive(Clone)]
struct Address {
    endpoint: Endpoint,
    /// The name in its certificate, where TLS is spoken.
    name: Option<ServerName<'static>>,
    host: String,
    port: u16,
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
    /// For a list of addresses. Without TLS the token travels in the clear, so an address beyond this machine needs
    /// `insecure`; with it, nothing is dialled before [`Dialer::join`].
    ///
    /// # Errors
    /// [`DialError`] when an address or the token cannot be used.
    pub fn addresses(addresses: &[Url], token: Option<&Secret>, insecure: bool) -> Result<Self, DialError> {
        let all = addresses.iter().map(|address| Address::new(address, insecure)).collect::<Result<Arc<[_]>, _>>()?;
        if all.is_empty() {
            return Err(DialError::NoAddress);
        }
        let tls = all.iter().filter(|address| address.name.is_some()).count();
        if tls > 0 && tls < all.len() {
            return Err(DialError::Mixed);
        }
        // With TLS it is shown once, to enrol.
        let token = token.filter(|_| tls == 0).map(|token| {
            let value = format!("Bearer {}", token.expose().trim());
            let mut value: MetadataValue<Ascii> = value.parse().map_err(|_| DialError::Token)?;
            value.set_sensitive(true);
            Ok(value)
        });
        // Nodes of one fleet begin at different addresses.
        let current = Arc::new(AtomicUsize::new(usize::from(rand::random::<u16>())));
        Ok(Self { to: To::Addresses { all, current }, token: Token(token.transpose()?), member: Arc::default() })
    }

    /// To the other plane in this process, which serves what comes out of the line.
    #[must_use]
    pub fn local() -> (Self, LocalLine) {
        let (sender, line) = mpsc::channel(4);
        (Self { to: To::Local(sender), token: Token(None), member: Arc::default() }, line)
    }

    /// Connects, to the address that worked last or the one after it.
    pub(super) async fn dial(&self) -> Result<Connection, DialError> {
        let member = self.member();
        let channel = self.channel(member.as_ref().map(|member| &member.tls)).await?;
        Ok(InterceptedService::new(channel, self.token.clone()))
    }

    /// Which node this is, as its fleet names it; nothing where it names itself.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.member().map(|member| member.node)
    }

    /// Whether its control planes are reached by TLS.
    pub(super) fn is_tls(&self) -> bool {
        matches!(&self.to, To::Addresses { all, .. } if all.iter().any(|address| address.name.is_some()))
    }

    pub(super) fn member(&self) -> Option<Arc<Member>> {
        self.member.load_full()
    }

    /// Connections from now on show this certificate; those that are open stay.
    pub(super) fn admit(&self, member: Arc<Member>) {
        self.member.store(Some(member));
    }

    /// Connects, where TLS is spoken with these settings.
    pub(super) async fn channel(&self, tls: Option<&Arc<ClientConfig>>) -> Result<Channel, DialError> {
        Ok(match &self.to {
            To::Addresses { all, current } => {
                let at = current.load(Ordering::Relaxed);
                let address = all.get(at % all.len().max(1)).ok_or(DialError::NoAddress)?;
                address.connect(tls).await.inspect_err(|_| self.give_up())?
            }
            To::Local(line) => {
                let endpoint = tuned(Endpoint::from_static("http://control-plane.local"));
                let line = line.clone();
                let connector = tower::service_fn(move |_: Uri| {
                    let line = line.clone();
                    async move {
                        let (ours, theirs) = tokio::io::duplex(LINE_BUFFER);
                        line.send(theirs)
                            .await
                            .map_err(|_| std::io::Error::from(std::io::ErrorKind::ConnectionRefused))?;
                        Ok::<_, std::io::Error>(TokioIo::new(ours))
                    }
                });
                let failed =
                    |source| DialError::Connect { address: "the control plane of this process".to_owned(), source };
                endpoint.connect_with_connector(connector).await.map_err(failed)?
            }
        })
    }

    /// Tries another address next time.
    pub(super) fn give_up(&self) {
        if let To::Addresses { current, .. } = &self.to {
            current.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Address {
    fn new(address: &Url, insecure: bool) -> Result<Self, DialError> {
        let bad = |reason| DialError::Address { address: shown(address), reason };
        let tls = match address.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(bad("https://HOST:PORT or http://HOST:PORT is expected")),
        };
        let (is_here, host) = match address.host() {
            None => return Err(bad("it names no host")),
            Some(Host::Domain(name)) => (name == "localhost", name.to_owned()),
            Some(Host::Ipv4(address)) => (address.is_loopback(), address.to_string()),
            Some(Host::Ipv6(address)) => (address.is_loopback(), address.to_string()),
        };
        if !is_here && !tls && !insecure {
            return Err(bad(
                "it is another machine and the way there is not encrypted; https is expected, or --insecure, which allows that",
            ));
        }
        if !address.username().is_empty() || address.password().is_some() || address.query().is_some() {
            return Err(bad("it must hold no user, password or query"));
        }
        let name = tls
            .then(|| ServerName::try_from(host.clone()))
            .transpose()
            .map_err(|_| bad("its host is no name that a certificate can carry"))?;
        let port = address.port_or_known_default().ok_or_else(|| bad("it names no port"))?;
        // TLS is spoken below HTTP/2, by the connector.
        let text = address.as_str();
        let text = text.strip_prefix("https").map_or_else(|| text.to_owned(), |rest| format!("http{rest}"));
        let endpoint = tuned(Endpoint::from_shared(text).map_err(|_| bad("it is no URI"))?);
        Ok(Self { endpoint, name, host, port })
    }

    async fn connect(&self, tls: Option<&Arc<ClientConfig>>) -> Result<Channel, DialError> {
        let scheme = if self.name.is_some() { "https" } else { "http" };
        let failed = |source| DialError::Connect { address: format!("{scheme}://{}:{}", self.host, self.port), source };
        let Some(name) = &self.name else { return self.endpoint.connect().await.map_err(failed) };
        let tls = tls.ok_or(DialError::NotEnrolled)?;
        let (to, name, tls) = ((self.host.clone(), self.port), name.clone(), TlsConnector::from(Arc::clone(tls)));
        let connector = tower::service_fn(move |_: Uri| {
            let (to, name, tls) = (to.clone(), name.clone(), tls.clone());
            async move {
                let stream = TcpStream::connect(to).await?;
                stream.set_nodelay(true)?;
                Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, stream).await?))
            }
        });
        self.endpoint.connect_with_connector(connector).await.map_err(failed)
    }
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
            ("https://control.example:8081", false, true),
            ("http://user:pass@127.0.0.1:8081", true, false),
            ("ftp://127.0.0.1", true, false),
        ] {
            assert_eq!(dialer(address, insecure), Ok::<_, url::ParseError>(good), "{address}");
        }
        let mixed = ["https://control.example:8081".parse()?, "http://127.0.0.1:8081".parse()?];
        assert!(matches!(Dialer::addresses(&mixed, None, true), Err(DialError::Mixed)));
        assert!(matches!(Dialer::addresses(&[], None, true), Err(DialError::NoAddress)));
        Ok(())
    }
}
