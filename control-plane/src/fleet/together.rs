//! The fleet as all control planes see it together: each knows the nodes that are connected to it, and tells the others.
//!
//! Once a second it writes what changed of its own nodes, counts those of the others (shares of limits depend on how many
//! there are in all), and delivers the orders that operators gave elsewhere. While the database is away, what is known
//! holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::kernel::ids::{BootId, Epoch, NodeId, Revision};
use shared::runtime::shutdown::Shutdown;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use super::nodes::{NodeFacts, NodePulse, NodeRejection, NodeStatus, Nodes};
use super::orders::Order;
use crate::store::nodes::NodeRow;
use crate::store::standings::{ControlPlaneRow, StandingRow, Teller, ToldStanding};
use crate::store::{Store, StoreError};

/// How often control planes tell each other.
const TELL: Duration = Duration::from_secs(1);
/// How long an order may take to the control plane that the node is connected to.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(5);
/// How often to look whether it is there.
const LOOK: Duration = Duration::from_millis(100);
/// How many rejections of a node the others are told of.
const MOST_REJECTIONS: usize = 100;

/// One control plane among others. Clones share everything.
#[derive(Debug, Clone)]
pub struct Together {
    id: Uuid,
    started: DateTime<Utc>,
    store: Store,
    nodes: Nodes,
}

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It is connected.
    Live,
    /// It was let in, and is connected nowhere.
    Away,
    /// It is shut out.
    Revoked,
}

impl MemberState {
    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Away => "away",
            Self::Revoked => "revoked",
        }
    }
}

impl std::str::FromStr for MemberState {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::Live, Self::Away, Self::Revoked].into_iter().find(|state| state.as_str() == word).ok_or(())
    }
}

/// One node, from all that is known of it anywhere.
#[derive(Debug, Clone)]
pub struct Member {
    /// Which.
    pub id: Uuid,
    /// How it stands.
    pub state: MemberState,
    /// When it was last heard.
    pub last_seen: DateTime<Utc>,
    /// What it said, where it was connected within a day.
    pub status: Option<NodeStatus>,
    /// The control plane that it is, or was, connected to.
    pub control_plane: Option<Uuid>,
    /// Its certificate, where it has one.
    pub enrolled: Option<NodeRow>,
}

/// The whole fleet.
#[derive(Debug, Clone)]
pub struct FleetView {
    /// The control plane that tells.
    pub control_plane: Uuid,
    /// Every control plane that lives.
    pub control_planes: Vec<ControlPlaneRow>,
    /// Every node, by id.
    pub members: Vec<Member>,
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is on its way to the node.
    Delivered,
    /// The node is connected nowhere, or does not keep up.
    Away,
}

impl Together {
    /// One more control plane.
    #[must_use]
    pub fn new(store: Store, nodes: Nodes) -> Self {
        Self { id: Uuid::now_v7(), started: Utc::now(), store, nodes }
    }

    /// Tells and listens until the process stops.
    pub fn start(&self, shutdown: &Shutdown) {
        let (together, ending) = (self.clone(), shutdown.clone());
        shutdown.spawn("fleet view", async move {
            let mut tick = interval(TELL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut failing = false;
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    () = ending.stopping() => break,
                }
                let done = together.exchange(failing).await;
                if let (Err(error), false) = (&done, failing) {
                    tracing::warn!(
                        error = error as &dyn std::error::Error,
                        "control planes cannot tell each other of their nodes"
                    );
                }
                failing = done.is_err();
            }
            if let Err(error) = together.store.tell_end(together.id).await {
                tracing::debug!(%error, "the others learn of this end by silence");
            }
        });
    }

    /// One round; after a failed one everything is told again.
    async fn exchange(&self, again: bool) -> Result<(), StoreError> {
        let told: Vec<ToldStanding> = self.nodes.changed(again).iter().map(told).collect();
        let teller = Teller { id: self.id, build: env!("CARGO_PKG_VERSION"), started: self.started };
        self.store.tell_standings(teller, &told).await?;
        self.nodes.set_elsewhere(self.store.connected_elsewhere(self.id).await?);
        if let Some(revision) = self.store.confirmed_revision().await? {
            self.nodes.confirm(revision);
        }
        let here = self.nodes.connected();
        if here.is_empty() {
            return Ok(());
        }
        for order in self.store.waiting_orders(&here).await? {
            let node = NodeId::from_uuid(order.node);
            let Ok(command) = serde_json::from_value::<Order>(order.command) else { continue };
            if self.store.claim_order(order.id).await? && !self.nodes.order(node, command) {
                tracing::warn!(%node, "an order reached a node that has just gone");
            }
        }
        Ok(())
    }

    /// Whether there is, or lately was, such a node.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn knows(&self, node: NodeId) -> Result<bool, StoreError> {
        Ok(self.view().await?.members.iter().any(|member| member.id == node.uuid()))
    }

    /// Asks something of a node, wherever it is connected.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn order(&self, node: NodeId, order: Order) -> Result<Delivery, StoreError> {
        if self.nodes.order(node, order.clone()) {
            return Ok(Delivery::Delivered);
        }
        if !self.store.connected_elsewhere(self.id).await?.contains(&node.uuid()) {
            return Ok(Delivery::Away);
        }
        let command = serde_json::to_value(&order).unwrap_or_default();
        let id = self.store.hand_over_order(node, &command).await?;
        let until = Instant::now() + HANDED_OVER_WITHIN;
        while Instant::now() < until {
            if self.store.is_delivered(id).await? {
                return Ok(Delivery::Delivered);
            }
            sleep(LOOK).await;
        }
        // Nobody shall find it later, when the operator believes that nothing came of it.
        Ok(if self.store.take_back_order(id).await? { Delivery::Away } else { Delivery::Delivered })
    }

    /// Lets nodes lose more than half of their routers or keys by getting to this revision, which the caller has noted in
    /// the database for the other control planes.
    pub fn confirm(&self, revision: Revision) {
        self.nodes.confirm(revision);
    }

    /// The whole fleet.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn view(&self) -> Result<FleetView, StoreError> {
        let elsewhere = self.store.standings_elsewhere(self.id).await?;
        let enrolled = self.store.enrolled_nodes().await?;
        let mut control_planes = self.store.control_planes().await?;
        control_planes.sort_by_key(|plane| plane.id);
        let members = members(self.id, self.nodes.list(), elsewhere, enrolled);
        Ok(FleetView { control_plane: self.id, control_planes, members })
    }
}

/// Puts together what is known of each node.
fn members(here: Uuid, own: Vec<NodeStatus>, elsewhere: Vec<StandingRow>, enrolled: Vec<NodeRow>) -> Vec<Member> {
    let mut known: BTreeMap<Uuid, (NodeStatus, Uuid)> = BTreeMap::new();
    let own = own.into_iter().map(|status| (status, here));
    let others = elsewhere.into_iter().filter_map(|row| {
        let control_plane = row.control_plane;
        status(row).map(|status| (status, control_plane))
    });
    for (status, plane) in own.chain(others) {
        let newer = |old: &NodeStatus| (status.connected, status.last_seen) > (old.connected, old.last_seen);
        let id = status.facts.node.uuid();
        if known.get(&id).is_none_or(|(old, _)| newer(old)) {
            known.insert(id, (status, plane));
        }
    }
    let mut enrolled: BTreeMap<Uuid, NodeRow> = enrolled.into_iter().map(|row| (row.id, row)).collect();
    let all: BTreeSet<Uuid> = known.keys().chain(enrolled.keys()).copied().collect();
    let member = |id: Uuid| {
        let (known, enrolled) = (known.remove(&id), enrolled.remove(&id));
        let (status, control_plane) = known.map_or((None, None), |(status, plane)| (Some(status), Some(plane)));
        let state = match (&status, &enrolled) {
            (_, Some(row)) if row.revoked.is_some() => MemberState::Revoked,
            (Some(status), _) if status.connected => MemberState::Live,
            _ => MemberState::Away,
        };
        let times = [status.as_ref().map(|status| status.last_seen), enrolled.as_ref().map(|row| row.last_seen)];
        let last_seen = times.into_iter().flatten().max().unwrap_or_default();
        Member { id, state, last_seen, status, control_plane, enrolled }
    };
    all.into_iter().map(member).collect()
}

/// The part of a node's status that has no column of its own.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Standing {
    boot: Uuid,
    build: String,
    labels: BTreeMap<String, String>,
    group: String,
    local: bool,
    since: DateTime<Utc>,
    acknowledged: Option<(Uuid, u64)>,
    acknowledged_at: Option<DateTime<Utc>>,
    rejected: Vec<Rejection>,
    stopped: Option<String>,
    revision: u64,
    in_flight: u64,
    config_age_ms: u64,
    usage_backlog: u64,
    drained: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Rejection {
    kind: String,
    id: Uuid,
    version: u64,
    code: String,
    text: String,
}

fn told(status: &NodeStatus) -> ToldStanding {
    let rejected = status.rejected.iter().take(MOST_REJECTIONS).map(|one| Rejection {
        kind: one.kind.clone(),
        id: one.id,
        version: one.version,
        code: one.code.clone(),
        text: one.text.clone(),
    });
    let standing = Standing {
        boot: status.facts.boot.uuid(),
        build: status.facts.build.clone(),
        labels: status.facts.labels.clone(),
        group: status.facts.group.clone(),
        local: status.facts.local,
        since: status.since,
        acknowledged: status.acknowledged.map(|(epoch, revision)| (epoch.uuid(), revision.0)),
        acknowledged_at: status.acknowledged_at,
        rejected: rejected.collect(),
        stopped: status.stopped.clone(),
        revision: status.pulse.revision,
        in_flight: status.pulse.in_flight,
        config_age_ms: u64::try_from(status.pulse.config_age.as_millis()).unwrap_or(u64::MAX),
        usage_backlog: status.pulse.usage_backlog,
        drained: status.pulse.drained,
    };
    ToldStanding {
        node: status.facts.node.uuid(),
        connected: status.connected,
        last_seen: status.last_seen,
        // Postgres keeps no NUL in its JSON, and what nodes say is theirs to choose.
        standing: serde_json::to_value(standing).map(without_nul).unwrap_or_default(),
    }
}

fn without_nul(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    let clean = |text: String| text.replace('\0', "\u{fffd}");
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(all) => Value::Array(all.into_iter().map(without_nul).collect()),
        Value::Object(all) => {
            Value::Object(all.into_iter().map(|(name, value)| (clean(name), without_nul(value))).collect())
        }
        other => other,
    }
}

/// What another control plane told; nothing when it is of a later version and cannot be read.
fn status(row: StandingRow) -> Option<NodeStatus> {
    let standing: Standing = serde_json::from_value(row.standing).ok()?;
    let rejected = standing.rejected.into_iter().map(|one| NodeRejection {
        kind: one.kind,
        id: one.id,
        version: one.version,
        code: one.code,
        text: one.text,
    });
    Some(NodeStatus {
        facts: NodeFacts {
            node: NodeId::from_uuid(row.node),
            boot: BootId::from_uuid(standing.boot),
            build: standing.build,
            labels: standing.labels,
            group: standing.group,
            local: standing.local,
        },
        connected: row.connected,
        since: standing.since,
        last_seen: row.last_seen,
        acknowledged: standing.acknowledged.map(|(epoch, revision)| (Epoch::from_uuid(epoch), Revision(revision))),
        acknowledged_at: standing.acknowledged_at,
        rejected: rejected.collect(),
        stopped: standing.stopped,
        pulse: NodePulse {
            revision: standing.revision,
            in_flight: standing.in_flight,
            config_age: Duration::from_millis(standing.config_age_ms),
            usage_backlog: standing.usage_backlog,
            drained: standing.drained,
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use chrono::TimeDelta;

    use super::*;

    fn node(id: u128, connected: bool, seconds_ago: i64) -> NodeStatus {
        let at = Utc::now() - TimeDelta::seconds(seconds_ago);
        NodeStatus {
            facts: NodeFacts {
                node: NodeId::from_uuid(Uuid::from_u128(id)),
                boot: BootId::from_uuid(Uuid::from_u128(id)),
                build: "1".into(),
                labels: [("rack".to_owned(), "a\0b".to_owned())].into(),
                group: "edge".into(),
                local: false,
            },
            connected,
            since: at,
            last_seen: at,
            acknowledged: Some((Epoch::from_uuid(Uuid::nil()), Revision(7))),
            acknowledged_at: Some(at),
            rejected: vec![],
            stopped: None,
            pulse: NodePulse { revision: 7, in_flight: 3, ..NodePulse::default() },
        }
    }

    fn elsewhere(status: &NodeStatus, plane: u128) -> StandingRow {
        let told = told(status);
        StandingRow {
            node: told.node,
            control_plane: Uuid::from_u128(plane),
            connected: told.connected,
            last_seen: told.last_seen,
            standing: told.standing,
        }
    }

    fn enrolled(id: u128, revoked: bool) -> NodeRow {
        let now = Utc::now();
        NodeRow {
            id: Uuid::from_u128(id),
            node_group: "edge".into(),
            facts: Default::default(),
            not_after: now,
            enrolled: now,
            last_seen: now - TimeDelta::hours(1),
            revoked: revoked.then_some(now),
        }
    }

    #[test]
    fn where_a_node_is_connected_counts_and_then_who_saw_it_last() {
        let here = Uuid::from_u128(100);
        let own = vec![node(1, false, 1), node(2, true, 5), node(3, false, 50)];
        let others = vec![
            elsewhere(&node(1, true, 9), 200),
            elsewhere(&node(3, false, 10), 200),
            elsewhere(&node(4, true, 1), 200),
        ];
        let members = members(here, own, others, vec![enrolled(2, false), enrolled(4, true), enrolled(5, false)]);
        let told: Vec<_> = members
            .iter()
            .map(|one| (one.id.as_u128(), one.state.as_str(), one.control_plane.map(|plane| plane.as_u128())))
            .collect();
        assert_eq!(
            told,
            [
                (1, "live", Some(200)),
                (2, "live", Some(100)),
                (3, "away", Some(200)),
                (4, "revoked", Some(200)),
                (5, "away", None)
            ]
        );
        let first = members[0].status.as_ref().unwrap();
        assert_eq!((first.pulse.in_flight, first.facts.labels["rack"].as_str()), (3, "a\u{fffd}b"));
    }
}
