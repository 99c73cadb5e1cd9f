//! The fleet as all control planes see it together: each knows the nodes that are connected to it, and tells the others.
//!
//! Once a second it writes what changed of its own nodes, counts those of the others (shares of limits depend on how many
//! there are in all), and delivers the orders that operators gave elsewhere. While the database is away, what is known
//! holds.

use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::kernel::ids::{NodeId, Revision};
use shared::runtime::shutdown::Shutdown;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use super::nodes::Nodes;
use super::orders::Order;
use super::standing::told;
use super::view::{FleetView, members};
use crate::store::standings::{Teller, ToldStanding};
use crate::store::{Store, StoreError};

/// How often control planes tell each other.
const TELL: Duration = Duration::from_secs(1);
/// How long an order may take to the control plane that the node is connected to.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(5);
/// How often to look whether it is there.
const LOOK: Duration = Duration::from_millis(100);

/// One control plane among others. Clones share everything.
#[derive(Debug, Clone)]
pub struct Together {
    id: Uuid,
    started: DateTime<Utc>,
    store: Store,
    nodes: Nodes,
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
