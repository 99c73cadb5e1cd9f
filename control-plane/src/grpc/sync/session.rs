//! One connected node: what it holds, what it is being told, and what it answers.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use shared::kernel::ids::Revision;
use shared::proto::{
    Ack, Begin, Command, Commit, ControlHeartbeat, ControlMessage, Drain, LogLevel, NodeHeartbeat, NodeMessage, Resync,
    SyncMode, Undrain, command, control_message, node_message,
};
use shared::wire::{HEARTBEAT, digest_from_wire, digest_to_wire, kind_from_wire};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::Parts;
use super::outbox::Outbox;
use crate::fleet::nodes::{NodePulse, NodeRejection, NodeSession, Order};
use crate::grpc::{SENT, untrue};
use crate::snapshot::{Base, Diff, Held, Snapshot, View};

/// How often a session looks whether something is due.
const TICK: Duration = Duration::from_secs(1);
/// A node that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(35);
/// A node that does not answer a commit for so long is broken; it may connect again.
const ANSWER_WITHIN: Duration = Duration::from_secs(180);
/// How long one node may keep others waiting for their turn to be sent everything; a slower one goes on beside them.
const TURN: Duration = Duration::from_secs(5);
/// How long a node may take everything together.
const TAKEN_WITHIN: Duration = Duration::from_secs(600);
/// Messages of one node between two looks. It has an answer to each revision to say, and ten signs of life in a minute.
const MOST_MESSAGES: u32 = 500;
/// How often a node that refused twice is tried again, provided that the catalog changed.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// What the node holds.
enum Holds {
    /// What it said when it connected; not looked at yet.
    Resumes(Held),
    /// Nothing that anything could build on.
    Nothing,
    /// What it acknowledged.
    Snapshot(Arc<Snapshot>),
}

enum Flow {
    /// It can be told something.
    Idle,
    /// It has been told, and has not answered.
    Waiting { target: Arc<Snapshot>, since: Instant },
    /// It refused twice.
    Stopped { since: Instant, refused: Revision },
}

pub(super) struct Session {
    parts: Arc<Parts>,
    view: View,
    node: NodeSession,
    outbox: Outbox,
    current: watch::Receiver<Option<Arc<Snapshot>>>,
    confirmed: watch::Receiver<Revision>,
    holds: Holds,
    /// What it acknowledged last: where a new try begins after refusals.
    acknowledged: Option<Arc<Snapshot>>,
    flow: Flow,
    /// It refused once since it last acknowledged.
    nacked: bool,
    /// An operator wants it to get everything, whatever it holds.
    resync: bool,
    /// Messages since the last look.
    messages: u32,
    /// It said something that cannot be true.
    doubted: bool,
    heard: Instant,
    beaten: Instant,
}

impl Session {
    pub(super) fn new(
        parts: Arc<Parts>,
        view: View,
        node: NodeSession,
        sender: mpsc::Sender<Result<ControlMessage, Status>>,
        held: Option<Held>,
    ) -> Self {
        let (current, confirmed) = (parts.publisher.subscribe(), parts.nodes.confirmed());
        let outbox = Outbox::new(sender, parts.publisher.fast_lane());
        Self {
            parts,
            view,
            node,
            outbox,
            current,
            confirmed,
            holds: held.map_or(Holds::Nothing, Holds::Resumes),
            acknowledged: None,
            flow: Flow::Idle,
            nacked: false,
            resync: false,
            messages: 0,
            doubted: false,
            heard: Instant::now(),
            beaten: Instant::now(),
        }
    }

    /// Serves the node until it goes, is silent, is replaced by another connection of it, or the process ends.
    pub(super) async fn run(mut self, mut messages: Streaming<NodeMessage>) -> Result<(), Status> {
        let shutdown = self.parts.shutdown.clone();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.beat().await?;
        loop {
            self.tell_what_is_new().await?;
            tokio::select! {
                message = messages.message() => match message? {
                    Some(NodeMessage { message: Some(message) }) => self.take(message)?,
                    Some(NodeMessage { message: None }) => {}
                    None => return Ok(()),
                },
                changed = self.current.changed() => changed.map_err(|_| Status::unavailable("the control plane ends"))?,
                revocation = self.outbox.next_revocation() => match revocation {
                    Some(revocation) => self.outbox.revoke(&revocation).await?,
                    None => return Ok(()),
                },
                _ = self.confirmed.changed() => self.try_again(),
                order = self.node.orders.recv() => match order {
                    Some(order) => self.order(order).await?,
                    None => return Err(Status::aborted("another connection of this node took over")),
                },
                _ = tick.tick() => self.look().await?,
                () = shutdown.closing() => return Err(Status::unavailable("this control plane ends; another one may serve")),
            }
        }
    }

    /// Brings an idle node from what it holds to the current snapshot.
    async fn tell_what_is_new(&mut self) -> Result<(), Status> {
        let current = self.current.borrow_and_update().clone();
        let (Flow::Idle, Some(target)) = (&self.flow, current) else { return Ok(()) };
        let base = match &self.holds {
            Holds::Snapshot(held) if Arc::ptr_eq(held, &target) => return Ok(()),
            Holds::Snapshot(held) if held.head().epoch == target.head().epoch => Base::Snapshot(Arc::clone(held)),
            Holds::Snapshot(_) | Holds::Nothing => Base::Nothing,
            Holds::Resumes(held) => self.parts.resumes.base(held, &self.view, &target).await,
        };
        if matches!(base, Base::Undecided) {
            return Ok(());
        }
        self.tell(base, target).await
    }

    async fn tell(&mut self, base: Base, target: Arc<Snapshot>) -> Result<(), Status> {
        let parts = Arc::clone(&self.parts);
        let (mode, base_revision) = match &base {
            Base::Snapshot(held) => (SyncMode::Delta, held.head().revision),
            Base::Log(revision, _) => (SyncMode::Delta, *revision),
            Base::Nothing | Base::OtherView | Base::Undecided => (SyncMode::Full, Revision::default()),
        };
        let other_view = matches!(base, Base::OtherView);
        let mut permit = match mode {
            SyncMode::Full => {
                Some(parts.full_sends.acquire().await.map_err(|_| Status::unavailable("the control plane ends"))?)
            }
            _ => None,
        };
        let (view, snapshot) = (self.view.clone(), Arc::clone(&target));
        let diff = match base {
            Base::Snapshot(held) => Diff::between(&held, &target, &view),
            Base::Log(_, references) => Diff::of(&target, &view, references),
            Base::Nothing | Base::OtherView | Base::Undecided => {
                tokio::task::spawn_blocking(move || Diff::full(&snapshot, &view))
                    .await
                    .map_err(|_| Status::internal("the catalog could not be gathered"))?
            }
        };
        let head = target.head();
        let confirmed = *self.confirmed.borrow();
        let begin = Begin {
            epoch: head.epoch.to_bytes(),
            revision: head.revision.0,
            mode: mode.into(),
            base_revision: base_revision.0,
            total: diff.len() as u64,
            // Whoever gave the node another Group or other labels meant it.
            confirmed: other_view || (base_revision < confirmed && confirmed <= head.revision),
        };
        let commit = Commit {
            revision: head.revision.0,
            digest: Some(digest_to_wire(&self.view.digest(&target))),
            seal: parts.seals.of(&target, &self.view),
        };
        metrics::counter!(SENT, "mode" => if mode == SyncMode::Full { "full" } else { "delta" }).increment(1);
        let outbox = &mut self.outbox;
        let telling = timeout(TAKEN_WITHIN, async {
            outbox.send(control_message::Message::Begin(begin)).await?;
            outbox.tell(&diff, commit).await
        });
        let mut telling = pin!(telling);
        let told = tokio::select! {
            told = &mut telling => told,
            () = sleep(TURN), if permit.is_some() => {
                permit = None;
                telling.await
            }
        };
        told.map_err(|_| Status::deadline_exceeded("the node takes the catalog too slowly"))??;
        drop(permit);
        self.flow = Flow::Waiting { target, since: Instant::now() };
        Ok(())
    }

    fn take(&mut self, message: node_message::Message) -> Result<(), Status> {
        self.heard = Instant::now();
        self.messages = self.messages.saturating_add(1);
        if self.messages > MOST_MESSAGES {
            self.untrue("flood");
            return Err(Status::resource_exhausted("more messages than a node has to say"));
        }
        match message {
            node_message::Message::Hello(_) => return Err(Status::failed_precondition("a second Hello")),
            node_message::Message::Heartbeat(pulse) => self.pulse(&pulse),
            node_message::Message::Nack(nack) => {
                let is_answer =
                    matches!(&self.flow, Flow::Waiting { target, .. } if target.head().revision.0 == nack.revision);
                if is_answer {
                    self.refused(&nack.reason);
                } else {
                    self.untrue("nack");
                }
            }
            node_message::Message::Ack(ack) => self.answered(ack),
        }
        Ok(())
    }

    /// A node cannot decide by a revision that it was not told and did not bring along. Of another lineage nobody here
    /// can say.
    fn pulse(&mut self, heartbeat: &NodeHeartbeat) {
        let mut pulse = read_pulse(heartbeat);
        let acknowledged = self.acknowledged.as_ref().map_or(0, |held| held.head().revision.0);
        let told = match (&self.flow, &self.holds) {
            (Flow::Waiting { target, .. }, _) => target.head().revision.0,
            (Flow::Stopped { refused, .. }, _) => refused.0,
            (Flow::Idle, Holds::Resumes(held)) => held.revision.0,
            (Flow::Idle, _) => 0,
        };
        let epoch = self.current.borrow().as_ref().map(|current| current.head().epoch);
        let same_lineage = epoch.is_some_and(|epoch| heartbeat.epoch == epoch.uuid().as_bytes());
        if pulse.revision > acknowledged.max(told) {
            if same_lineage {
                self.untrue("heartbeat");
            }
            pulse.revision = acknowledged;
        }
        self.node.seen(pulse);
    }

    fn answered(&mut self, ack: Ack) {
        let Flow::Waiting { target, since } = &self.flow else { return self.untrue("ack") };
        let (target, since) = (Arc::clone(target), *since);
        let head = target.head();
        if ack.revision != head.revision.0 || ack.epoch != head.epoch.uuid().as_bytes() {
            return self.untrue("ack");
        }
        let digest = digest_from_wire(&ack.digest.unwrap_or_default());
        if digest != Some(self.view.digest(&target)) {
            self.refused("its digest differs from what was sent");
            return;
        }
        let rejected: Vec<NodeRejection> = ack.rejected.into_iter().map(read_rejection).collect();
        for one in rejected.iter().take(10) {
            tracing::warn!(kind = one.kind, id = %one.id, code = one.code, text = one.text, "a node could not apply a resource");
        }
        self.node.acknowledged(head.epoch, head.revision, rejected, since.elapsed());
        self.acknowledged = Some(Arc::clone(&target));
        self.holds = if std::mem::take(&mut self.resync) { Holds::Nothing } else { Holds::Snapshot(target) };
        self.flow = Flow::Idle;
        self.nacked = false;
    }

    /// Counts what cannot be true. Told once for each connection: who lies does so often.
    fn untrue(&mut self, what: &'static str) {
        untrue(what);
        if !std::mem::replace(&mut self.doubted, true) {
            tracing::warn!(node = %self.node.id(), what, "a node said something that cannot be true; it is ignored");
        }
    }

    /// Everything once, then nothing more.
    fn refused(&mut self, reason: &str) {
        let reason: String = reason.chars().take(500).collect();
        let Flow::Waiting { target, .. } = &self.flow else { return };
        let refused = target.head().revision;
        self.node.refused();
        if std::mem::replace(&mut self.nacked, true) {
            tracing::error!(revision = refused.0, reason, "a node refused the catalog again; it is not sent any more");
            self.node.stopped(&reason);
            self.flow = Flow::Stopped { since: Instant::now(), refused };
        } else {
            tracing::warn!(revision = refused.0, reason, "a node refused the catalog; it is sent everything");
            self.holds = Holds::Nothing;
            self.flow = Flow::Idle;
        }
    }

    /// A node that refused twice gets one more chance.
    fn try_again(&mut self) {
        if matches!(self.flow, Flow::Stopped { .. }) {
            self.holds = self.acknowledged.clone().map_or(Holds::Nothing, Holds::Snapshot);
            self.flow = Flow::Idle;
        }
    }

    async fn order(&mut self, order: Order) -> Result<(), Status> {
        let command = match order {
            Order::Drain => command::Command::Drain(Drain {}),
            Order::Undrain => command::Command::Undrain(Undrain {}),
            Order::LogLevel { filter, for_seconds } => command::Command::LogLevel(LogLevel { filter, for_seconds }),
            Order::Resync => {
                self.nacked = false;
                match self.flow {
                    Flow::Waiting { .. } => self.resync = true,
                    Flow::Idle | Flow::Stopped { .. } => (self.holds, self.flow) = (Holds::Nothing, Flow::Idle),
                }
                command::Command::Resync(Resync {})
            }
        };
        self.outbox.send(control_message::Message::Command(Command { command: Some(command) })).await
    }

    /// What is due by the clock.
    async fn look(&mut self) -> Result<(), Status> {
        self.messages = 0;
        if self.heard.elapsed() > SILENCE {
            return Err(Status::deadline_exceeded("the node is silent"));
        }
        match &self.flow {
            Flow::Waiting { since, .. } if since.elapsed() > ANSWER_WITHIN => {
                return Err(Status::deadline_exceeded("the node does not answer a commit"));
            }
            Flow::Stopped { since, refused } if since.elapsed() > TRY_AGAIN && self.is_newer_than(*refused) => {
                self.try_again()
            }
            _ => {}
        }
        if self.beaten.elapsed() >= HEARTBEAT { self.beat().await } else { Ok(()) }
    }

    fn is_newer_than(&self, refused: Revision) -> bool {
        self.current.borrow().as_ref().is_some_and(|current| current.head().revision != refused)
    }

    async fn beat(&mut self) -> Result<(), Status> {
        self.beaten = Instant::now();
        let head_revision = self.current.borrow().as_ref().map_or(0, |current| current.head().revision.0);
        let live_nodes = u32::try_from(self.parts.nodes.live()).unwrap_or(u32::MAX);
        self.outbox.send(control_message::Message::Heartbeat(ControlHeartbeat { head_revision, live_nodes })).await
    }
}

const fn read_pulse(pulse: &NodeHeartbeat) -> NodePulse {
    NodePulse {
        revision: pulse.revision,
        in_flight: pulse.in_flight,
        config_age: Duration::from_millis(pulse.config_age_ms),
        usage_backlog: pulse.usage_backlog,
        drained: pulse.drained,
    }
}

fn read_rejection(rejection: shared::proto::Rejection) -> NodeRejection {
    NodeRejection {
        kind: kind_from_wire(rejection.kind).map_or_else(|| rejection.kind.to_string(), |kind| kind.to_string()),
        id: Uuid::from_slice(&rejection.id).unwrap_or_default(),
        version: rejection.version,
        code: rejection.code.chars().take(64).collect(),
        text: rejection.text.chars().take(500).collect(),
    }
}
