//! Many data planes in this process: each runs the real way from the control plane to a table, without the HTTP around it.
//!
//! A simulated node enrols, dials, resumes, applies, acknowledges and backs off by the data plane's own code; what it would
//! decide about a key is asked of its real table. So a fleet of a hundred costs the memory of its tables and no ports.

mod crowd;
mod fleet;
mod spread;

pub use crowd::add_keys;
pub use fleet::{Fleet, Plan};
pub use spread::Spread;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_plane::link::{Dialer, Identity, Link, LinkOptions, Pulse};
use data_plane::table::Handle;
use shared::kernel::clock::FleetClock;
use shared::kernel::ids::{BootId, NodeId};
use shared::kernel::secret::Secret;
use shared::runtime::readiness::Readiness;
use shared::runtime::shutdown::{DrainTiming, Shutdown};
use tokio::task::JoinSet;
use tokio::time::sleep;
use url::Url;

/// How often tables are looked at while something is awaited.
const LOOK: Duration = Duration::from_millis(1);

/// One data plane's catalog, kept up to date from control planes.
pub struct Simulated {
    table: Handle,
    clock: FleetClock,
    shutdown: Shutdown,
    id: NodeId,
}

impl Simulated {
    /// Joins the fleet and follows it from now on.
    pub async fn start(control_planes: &[Url], token: &Secret) -> Self {
        let readiness = Readiness::new();
        let timing = DrainTiming {
            min_drain: Duration::ZERO,
            drain_timeout: Duration::ZERO,
            flush_timeout: Duration::from_secs(1),
        };
        let shutdown = Shutdown::new(readiness.clone(), timing);
        let dialer = Dialer::addresses(control_planes, Some(token), true).expect("addresses of control planes");
        let joined = dialer.join(None, Some(token), &shutdown).await;
        assert!(joined.expect("a node that joins"), "the fleet ended before the node joined");
        let identity = Identity { node: dialer.node().unwrap_or_else(NodeId::generate), boot: BootId::generate() };
        let (table, clock) = (Handle::default(), FleetClock::from_wall_clock());
        let options = LinkOptions {
            identity,
            labels: HashMap::new(),
            max_stale: None,
            last_good: None,
            pulse: Arc::new(Pulse::default),
            log_level: Arc::new(|_| {}),
        };
        let (catalog, table_of_link) = (readiness.condition("catalog"), table.clone());
        Link::new(dialer, options, table_of_link, clock.clone(), catalog, shutdown.clone()).start();
        Self { table, clock, shutdown, id: identity.node }
    }

    /// What it is called in the fleet.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// The revision that it decides by.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.table.load().revision().0
    }

    /// Whether it would let this key in.
    #[must_use]
    pub fn admits(&self, key: &str) -> bool {
        self.table.load().authenticate(key, self.clock.now()).is_ok()
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.shutdown.begin();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let shutdown = self.shutdown.clone();
            runtime.spawn(async move { shutdown.finished().await });
        }
    }
}

/// A crowd of them.
#[derive(Default)]
pub struct Simulator {
    nodes: Vec<Simulated>,
}

impl Simulator {
    /// Starts so many nodes at once and waits until each holds the catalog.
    pub async fn start(count: usize, control_planes: &[Url], token: &Secret) -> Self {
        let mut starting = JoinSet::new();
        for _ in 0..count {
            let (control_planes, token) = (control_planes.to_vec(), token.clone());
            starting.spawn(async move { Simulated::start(&control_planes, &token).await });
        }
        let simulator = Self { nodes: starting.join_all().await };
        simulator.until("the catalog", Duration::from_secs(60), |node| node.revision() > 0).await;
        simulator
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Simulated] {
        &self.nodes
    }

    /// The lowest revision that a node decides by.
    #[must_use]
    pub fn lowest(&self) -> u64 {
        self.nodes.iter().map(Simulated::revision).min().unwrap_or(0)
    }

    /// Waits until every node is like that, and tells when each of them was, counted from now.
    pub async fn until(&self, what: &str, within: Duration, is: impl Fn(&Simulated) -> bool) -> Vec<Duration> {
        let start = Instant::now();
        let mut missing: Vec<&Simulated> = self.nodes.iter().collect();
        let mut reached = Vec::with_capacity(missing.len());
        loop {
            missing.retain(|node| {
                let there = is(node);
                if there {
                    reached.push(start.elapsed());
                }
                !there
            });
            if missing.is_empty() {
                return reached;
            }
            let (count, all) = (missing.len(), self.nodes.len());
            assert!(start.elapsed() < within, "{count} of {all} nodes without {what} after {within:?}");
            sleep(LOOK).await;
        }
    }
}
