//! What a port accepts, and how it is served.

use std::time::Duration;

use super::super::edge::Edge;
use super::super::shutdown::Shutdown;
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

/// When a port is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Closes {
    /// With traffic: what it has accepted is waited for.
    #[default]
    WithTraffic,
    /// When traffic is over, so that the end can be watched; nothing waits for it.
    Last,
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
    /// When it is closed.
    pub closes: Closes,
}

impl Port {
    /// For probes and metrics: few and short connections, to the very end.
    #[must_use]
    pub fn operations() -> Self {
        let limits =
            HttpLimits { connections: 64, streams: 16, keep_alive: Duration::from_secs(30), ..HttpLimits::default() };
        Self { limits, closes: Closes::Last, ..Self::default() }
    }

    /// The moment has come.
    pub(super) async fn closing(&self, shutdown: &Shutdown) {
        match self.closes {
            Closes::WithTraffic => shutdown.closing().await,
            Closes::Last => shutdown.stopping().await,
        }
    }
}

impl From<HttpLimits> for Port {
    fn from(limits: HttpLimits) -> Self {
        Self { limits, ..Self::default() }
    }
}
