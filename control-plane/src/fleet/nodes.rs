//! Which data planes are connected to this control plane, what they hold, and what they refused.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use shared::kernel::ids::{BootId, Epoch, NodeId, Revision};
use shared::runtime::metrics::{Family, FamilyKind};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

pub use super::orders::Order;

/// How long a node that went away is still shown.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// How many nodes are remembered at most.
const MOST: usize = 10_000;
/// How many orders may wait for one node.
const ORDERS: usize = 8;
/// How many rejections of one node are kept; a node with more is broken as a whole.
const MOST_REJECTIONS: usize = 1_000;

const CONNECTED: &str = "gatewright_fleet_nodes";
const STOPPED: &str = "gatewright_fleet_stopped_nodes";
const REJECTED: &str = "gatewright_fleet_rejected_resources";
const NACKS: &str = "gatewright_fleet_nacks_total";
const ENFORCED: &str = "gatewright_fleet_enforced_seconds";

/// What this room measures.
pub const FAMILIES: &[Family] = &[
    Family {
        name: CONNECTED,
        kind: FamilyKind::Gauge,
        labels: &[],
        help: "Data planes connected to this control plane.",
    },
    Family {
        name: STOPPED,
        kind: FamilyKind::Gauge,
        labels: &[],
        help: "Connected data planes that refused the catalog twice and are no longer sent it. Anything but 0 is an alarm.",
    },
    Family {
        name: REJECTED,
        kind: FamilyKind::Gauge,
        labels: &[],
        help: "Resources that connected data planes could not apply.",
    },
    Family {
        name: NACKS,
        kind: FamilyKind::Counter,
        labels: &[],
        help: "Times that a data plane refused the catalog as a whole.",
    },
    Family {
        name: ENFORCED,
        kind: FamilyKind::Histogram,
        labels: &[],
        help: "Time from sending a revision to a data plane to its acknowledgement.",
    },
];

/// What a node says of itself when it connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Stable for a node.
    pub node: NodeId,
    /// New at each of its starts.
    pub boot: BootId,
    /// Its version.
    pub build: String,
    /// Region, rack, features.
    pub labels: BTreeMap<String, String>,
    /// The Group that its credential is for.
    pub group: String,
    /// The plane beside this one, in the same process.
    pub local: bool,
}

/// A resource that a node could not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRejection {
    /// Its kind, or the kind's number where this build has no word for it.
    pub kind: String,
    /// Its id.
    pub id: Uuid,
    /// The version that was refused.
    pub version: u64,
    /// Why, from a closed list.
    pub code: String,
    /// Why, in words.
    pub text: String,
}

/// What a node last said of how it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodePulse {
    /// The revision it decides by.
    pub revision: u64,
    /// Calls in flight.
    pub in_flight: u64,
    /// Since it last knew that it was up to date.
    pub config_age: Duration,
    /// Usage records not acknowledged yet.
    pub usage_backlog: u64,
    /// Drained by an operator: it serves and is not ready.
    pub drained: bool,
}

/// One node as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// What it said of itself.
    pub facts: NodeFacts,
    /// Whether it is connected here, now.
    pub connected: bool,
    /// When it connected last.
    pub since: DateTime<Utc>,
    /// When it was last heard.
    pub last_seen: DateTime<Utc>,
    /// The lineage and revision that it acknowledged last.
    pub acknowledged: Option<(Epoch, Revision)>,
    /// When it acknowledged.
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// What it could not apply at that revision.
    pub rejected: Vec<NodeRejection>,
    /// Why it is no longer sent the catalog, if it is not.
    pub stopped: Option<String>,
    /// How it is.
    pub pulse: NodePulse,
}

/// All nodes of this replica. Clones share them.
#[derive(Clone)]
pub struct Nodes {
    inner: Arc<Mutex<HashMap<NodeId, Entry>>>,
    confirmed: watch::Sender<Revision>,
    /// Nodes that are connected to other control planes.
    elsewhere: Arc<Mutex<HashSet<NodeId>>>,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { inner: Arc::default(), confirmed: watch::Sender::new(Revision::default()), elsewhere: Arc::default() }
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").field("live", &self.live()).finish_non_exhaustive()
    }
}

struct Entry {
    status: NodeStatus,
    /// Of the connection that speaks for the node: a later one takes over.
    session: u64,
    orders: mpsc::Sender<Order>,
    /// Something changed that other control planes have not been told.
    changed: bool,
}

/// The connection of one node; dropped, the node is gone.
pub struct NodeSession {
    nodes: Nodes,
    node: NodeId,
    session: u64,
    /// What operators ask of the node; closed when another connection took over.
    pub orders: mpsc::Receiver<Order>,
}

impl Nodes {
    /// Notes that a node connected. An earlier connection of it is told to end.
    #[must_use]
    pub fn connect(&self, facts: NodeFacts) -> NodeSession {
        let (sender, orders) = mpsc::channel(ORDERS);
        let now = Utc::now();
        let mut nodes = self.inner.lock();
        forget(&mut nodes, now);
        let old = nodes.remove(&facts.node);
        let session = old.as_ref().map_or(0, |old| old.session) + 1;
        let node = facts.node;
        let kept = old.map(|old| old.status).filter(|old| old.facts.boot == facts.boot);
        let status = NodeStatus {
            facts,
            connected: true,
            since: now,
            last_seen: now,
            acknowledged: kept.as_ref().and_then(|kept| kept.acknowledged),
            acknowledged_at: kept.as_ref().and_then(|kept| kept.acknowledged_at),
            rejected: kept.map(|kept| kept.rejected).unwrap_or_default(),
            stopped: None,
            pulse: NodePulse::default(),
        };
        nodes.insert(node, Entry { status, session, orders: sender, changed: true });
        gauges(&nodes);
        NodeSession { nodes: self.clone(), node, session, orders }
    }

    /// Every node that is or lately was connected, by id.
    #[must_use]
    pub fn list(&self) -> Vec<NodeStatus> {
        let mut list: Vec<NodeStatus> = self.inner.lock().values().map(|entry| entry.status.clone()).collect();
        list.sort_by_key(|status| status.facts.node);
        list
    }

    /// How many are connected, here or to another control plane.
    #[must_use]
    pub fn live(&self) -> usize {
        let nodes = self.inner.lock();
        let here = |node: &NodeId| nodes.get(node).is_some_and(|entry| entry.status.connected);
        let elsewhere = self.elsewhere.lock().iter().filter(|node| !here(node)).count();
        elsewhere + nodes.values().filter(|entry| entry.status.connected).count()
    }

    /// Those that are connected here.
    pub(super) fn connected(&self) -> Vec<Uuid> {
        let nodes = self.inner.lock();
        nodes.values().filter(|entry| entry.status.connected).map(|entry| entry.status.facts.node.uuid()).collect()
    }

    /// Those of which something changed since this was asked last; or all of them.
    pub(super) fn changed(&self, all: bool) -> Vec<NodeStatus> {
        let mut nodes = self.inner.lock();
        let changed = nodes.values_mut().filter_map(|entry| {
            let changed = std::mem::take(&mut entry.changed) || all;
            changed.then(|| entry.status.clone())
        });
        changed.collect()
    }

    /// Notes which nodes are connected to other control planes.
    pub(super) fn set_elsewhere(&self, nodes: impl IntoIterator<Item = Uuid>) {
        *self.elsewhere.lock() = nodes.into_iter().map(NodeId::from_uuid).collect();
    }

    /// Lets nodes that hold an earlier revision lose more than half of their routers or keys by getting to this one.
    pub fn confirm(&self, revision: Revision) {
        self.confirmed.send_if_modified(|confirmed| {
            let higher = revision > *confirmed;
            *confirmed = revision.max(*confirmed);
            higher
        });
    }

    /// Follows the highest confirmed revision.
    #[must_use]
    pub fn confirmed(&self) -> watch::Receiver<Revision> {
        self.confirmed.subscribe()
    }

    /// Asks something of a node; false when it is not connected here or does not keep up.
    #[must_use]
    pub fn order(&self, node: NodeId, order: Order) -> bool {
        let nodes = self.inner.lock();
        nodes.get(&node).is_some_and(|entry| entry.status.connected && entry.orders.try_send(order).is_ok())
    }
}

impl NodeSession {
    /// Which node it is.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.node
    }

    /// Notes a sign of life.
    pub fn seen(&self, pulse: NodePulse) {
        self.change(|status| status.pulse = pulse);
    }

    /// Notes that the node holds a revision, but for what it rejected.
    pub fn acknowledged(&self, epoch: Epoch, revision: Revision, mut rejected: Vec<NodeRejection>, took: Duration) {
        metrics::histogram!(ENFORCED).record(took);
        rejected.truncate(MOST_REJECTIONS);
        self.change(|status| {
            status.acknowledged = Some((epoch, revision));
            status.acknowledged_at = Some(Utc::now());
            status.rejected = rejected;
            status.stopped = None;
        });
    }

    /// Notes that the node refused the catalog.
    pub fn refused(&self) {
        metrics::counter!(NACKS).increment(1);
        self.change(|_| {});
    }

    /// Notes that the node is not sent the catalog any more.
    pub fn stopped(&self, reason: &str) {
        self.change(|status| status.stopped = Some(reason.to_owned()));
    }

    fn change(&self, change: impl FnOnce(&mut NodeStatus)) {
        let mut nodes = self.nodes.inner.lock();
        if let Some(entry) = nodes.get_mut(&self.node).filter(|entry| entry.session == self.session) {
            entry.status.last_seen = Utc::now();
            entry.changed = true;
            change(&mut entry.status);
            gauges(&nodes);
        }
    }
}

impl Drop for NodeSession {
    fn drop(&mut self) {
        self.change(|status| {
            status.connected = false;
            status.stopped = None;
        });
    }
}

fn forget(nodes: &mut HashMap<NodeId, Entry>, now: DateTime<Utc>) {
    let recent = |status: &NodeStatus| (now - status.last_seen).to_std().is_ok_and(|age| age < REMEMBERED);
    nodes.retain(|_, entry| entry.status.connected || recent(&entry.status));
    if nodes.len() >= MOST {
        nodes.retain(|_, entry| entry.status.connected);
    }
}

#[expect(clippy::cast_precision_loss, reason = "display only")]
fn gauges(nodes: &HashMap<NodeId, Entry>) {
    let connected = || nodes.values().map(|entry| &entry.status).filter(|status| status.connected);
    metrics::gauge!(CONNECTED).set(connected().count() as f64);
    metrics::gauge!(STOPPED).set(connected().filter(|status| status.stopped.is_some()).count() as f64);
    metrics::gauge!(REJECTED).set(connected().map(|status| status.rejected.len()).sum::<usize>() as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(node: u128, boot: u128) -> NodeFacts {
        NodeFacts {
            node: NodeId::from_uuid(Uuid::from_u128(node)),
            boot: BootId::from_uuid(Uuid::from_u128(boot)),
            build: "1".into(),
            labels: BTreeMap::new(),
            group: "default".into(),
            local: false,
        }
    }

    #[test]
    fn a_later_connection_of_a_node_takes_over() {
        let nodes = Nodes::default();
        let mut first = nodes.connect(facts(1, 1));
        first.acknowledged(Epoch::generate(), Revision(4), vec![], Duration::ZERO);
        let second = nodes.connect(facts(1, 1));
        assert!(first.orders.try_recv().is_err_and(|error| error == mpsc::error::TryRecvError::Disconnected));
        drop(first);
        let [status] = &nodes.list()[..] else { panic!("one node is expected") };
        assert!(status.connected && status.acknowledged.is_some());
        assert!(nodes.order(status.facts.node, Order::Resync));
        drop(second);
        assert_eq!(nodes.live(), 0);
        assert!(!nodes.order(status.facts.node, Order::Resync));
    }

    #[test]
    fn nodes_of_other_control_planes_count_once() {
        let nodes = Nodes::default();
        let here = nodes.connect(facts(1, 1));
        nodes.set_elsewhere([1, 2, 3].map(Uuid::from_u128));
        assert_eq!((nodes.live(), nodes.connected().len()), (3, 1));
        assert_eq!((nodes.changed(false).len(), nodes.changed(false).len(), nodes.changed(true).len()), (1, 0, 1));
        here.seen(NodePulse::default());
        assert_eq!(nodes.changed(false).len(), 1);
        drop(here);
        assert_eq!((nodes.live(), nodes.changed(false).len()), (3, 1));
    }

    #[test]
    fn a_new_start_of_a_node_has_acknowledged_nothing() {
        let nodes = Nodes::default();
        let first = nodes.connect(facts(1, 1));
        first.acknowledged(Epoch::generate(), Revision(4), vec![], Duration::ZERO);
        let _second = nodes.connect(facts(1, 2));
        assert!(nodes.list().iter().all(|status| status.acknowledged.is_none()));
    }
}
