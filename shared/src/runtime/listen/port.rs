//! What a port accepts, and how it is served.

use std::time::Duration;

use super::super::edge::Edge;
use super::super::tls::Tls;

/// What a port accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpLimits {
    /// From the first byte of a head to its last; also from connecting to the first byte, TLS included.
    pub header_read: Duration,
    /// How long a connection may be idle between requests.
    pub keep_alive: Duration,
    /// Request line and headers together.
    pub header_bytes: usize,
    /// How many headers.
    pub headers: usize,
    /// Connections at once; more wait in the kernel. Cut to what the process has descriptors for.
    pub connections: usize,
    /// HTTP/2 streams at once on one connection.
    pub streams: u32,
    /// HTTP/2 streams that a peer may open and take back before they were looked at.
    pub reset_streams: usize,
    /// How often an HTTP/2 peer is asked whether it lives.
    pub ping_interval: Duration,
    /// How long it has to answer.
    pub ping_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            header_read: Duration::from_secs(10),
            keep_alive: Duration::from_secs(90),
            header_bytes: 32 * 1024,
            headers: 100,
            connections: 16_384,
            streams: 256,
            reset_streams: 20,
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
        }
    }
}

impl HttpLimits {
    /// For the operations port: few and short connections.
    #[must_use]
    pub fn operations() -> Self {
        Self { connections: 64, streams: 16, keep_alive: Duration::from_secs(30), ..Self::default() }
    }
}

/// How a port is served; limits alone make a plain one.
#[derive(Debug, Clone, Default)]
pub struct Port {
    /// What it accepts.
    pub limits: HttpLimits,
    /// Its certificate; without one it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Where it stands.
    pub edge: Edge,
}

impl From<HttpLimits> for Port {
    fn from(limits: HttpLimits) -> Self {
        Self { limits, ..Self::default() }
    }
}
