//! How a node takes part in its fleet, and what it tells of itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use shared::kernel::ids::ProviderId;

use super::identity::Identity;
use super::last_good::LastGoodOptions;

/// What this node is doing, for its sign of life.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    /// Calls in flight.
    pub in_flight: u64,
    /// Usage records not acknowledged.
    pub usage_backlog: u64,
    /// How its upstreams fare.
    pub upstreams: Vec<UpstreamPulse>,
}

/// How one upstream fares, since the last time.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamPulse {
    /// Which.
    pub provider: ProviderId,
    /// Attempts in flight.
    pub in_flight: u64,
    /// Attempts that were answered.
    pub successes: u64,
    /// Attempts that failed.
    pub failures: u64,
}

/// Asked every ten seconds.
pub type PulseSource = Arc<dyn Fn() -> Pulse + Send + Sync>;

/// How a node takes part.
pub struct LinkOptions {
    /// Who it is.
    pub identity: Identity,
    /// Region, rack, features: candidates are chosen by them.
    pub labels: HashMap<String, String>,
    /// Older than this, the catalog lets nobody in; absent: it serves at any age.
    pub max_stale: Option<Duration>,
    /// Where it keeps a copy of the catalog, with which it starts when nothing else is up.
    pub last_good: Option<LastGoodOptions>,
    /// What it is doing.
    pub pulse: PulseSource,
    /// Takes another log filter; an empty one is the one that the process started with.
    pub log_level: Arc<dyn Fn(&str) + Send + Sync>,
}
