//! Follows the catalog: says what this node holds, takes revisions and revocations, answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::catalog::{Kind, Ref};
use shared::kernel::clock::{FleetClock, FleetTime};
use shared::kernel::ids::{ProviderId, Revision};
use shared::proto::config_sync_client::ConfigSyncClient;
use shared::proto::{
    Ack, ControlMessage, Hello, Nack, NodeHeartbeat, NodeMessage, Revoke, UpstreamHealth, command, control_message, node_message,
};
use shared::runtime::readiness::Condition;
use shared::runtime::shutdown::Shutdown;
use shared::wire::{HEARTBEAT, MESSAGE_LIMIT, SCHEMA_MAX, SCHEMA_MIN, digest_to_wire, kind_from_wire};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::apply::{Built, Held, Refusal, Transfer};
use super::backoff::Backoff;
use super::connect::{Connection, Dialer};
use super::identity::Identity;
use super::last_good::{LastGood, LastGoodOptions, Loaded};
use super::precise;
use crate::table::{Handle, Table};

/// Answers that wait for a slow connection.
const QUEUE: usize = 16;
/// How long a control plane may take to answer a new stream.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A control plane that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(35);
/// How often ages are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often the copy on disk is told that it is the newest, at least.
const OFTEN_ENOUGH: Duration = Duration::from_secs(600);
/// A stream that lasted so long was a good one: the next try comes quickly.
const GOOD_STREAM: Duration = Duration::from_secs(10);
/// Messages are older than they say by their way here; the clock is set back only for more than that.
const WAY: Duration = Duration::from_secs(2);

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
    /// Takes another log filter.
    pub log_level: Arc<dyn Fn(&str) + Send + Sync>,
}

/// The following of one control plane after another.
pub struct Link {
    dialer: Dialer,
    options: LinkOptions,
    table: Handle,
    clock: FleetClock,
    catalog: Condition,
    shutdown: Shutdown,
    held: Option<Held>,
    /// When the table was last known to be the newest.
    fresh: Instant,
    connected: bool,
    head: u64,
    copy: Option<LastGood>,
    /// When the copy on disk was last told that it is the newest.
    copy_fresh: Instant,
}

/// Why a stream is over.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the control plane ended the stream")]
    Closed,
    #[error("the control plane is silent")]
    Silent,
    #[error("the control plane sent something out of order: {0}")]
    Protocol(&'static str),
    #[error("the copy on disk has a gap; everything is asked for again")]
    Gap,
    #[error("{}", .0.message())]
    Status(#[from] Status),
}

impl Link {
    /// Over a table that is empty or came from the last run.
    #[must_use]
    pub fn new(dialer: Dialer, options: LinkOptions, table: Handle, clock: FleetClock, catalog: Condition, shutdown: Shutdown) -> Self {
        let now = Instant::now();
        Self {
            dialer,
            options,
            table,
            clock,
            catalog,
            shutdown,
            held: None,
            fresh: now,
            connected: false,
            head: 0,
            copy: None,
            copy_fresh: now,
        }
    }

    /// Starts following; ends with the process.
    pub fn start(mut self) {
        self.gauges();
        let shutdown = self.shutdown.clone();
        shutdown.clone().spawn("link", async move {
            self.open_copy().await;
            tokio::select! {
                () = self.follow() => {}
                () = shutdown.stopping() => {}
            }
            if let Some(copy) = &self.copy {
                copy.flush().await;
            }
        });
    }

    /// Puts the catalog of the last run in place. A copy that cannot be used leaves the node waiting for a control plane.
    async fn open_copy(&mut self) {
        let Some(options) = self.options.last_good.clone() else { return };
        let folder = options.folder.clone();
        match tokio::task::spawn_blocking(move || LastGood::open(options)).await {
            Ok(Ok((copy, loaded))) => {
                self.copy = Some(copy);
                if let Some(loaded) = loaded {
                    self.put_back(loaded);
                }
            }
            Ok(Err(error)) => tracing::error!(%error, folder = %folder.display(), "there is no copy of the catalog on disk"),
            Err(_) => tracing::error!(folder = %folder.display(), "reading the catalog's copy failed"),
        }
    }

    fn put_back(&mut self, loaded: Loaded) {
        let age = self.clock.now().since(loaded.fresh);
        tracing::info!(revision = loaded.held.revision.0, ?age, "serving from the catalog's copy on disk");
        self.fresh = Instant::now().checked_sub(age).unwrap_or(self.fresh);
        self.table.swap(loaded.table);
        self.held = Some(loaded.held);
        self.look();
        self.gauges();
        self.catalog.set(true);
    }

    async fn follow(&mut self) {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            match self.dialer.dial().await {
                Ok(connection) => {
                    let ended = self.stream(connection).await;
                    self.disconnected(&ended);
                    if began.elapsed() > GOOD_STREAM {
                        backoff.reset();
                    } else {
                        self.dialer.give_up();
                    }
                }
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "no control plane; serving what is held"),
            }
            let pause = backoff.next();
            // Ages move on while nobody is there.
            let until = Instant::now() + pause;
            while Instant::now() < until {
                self.look();
                sleep(TICK.min(until.saturating_duration_since(Instant::now()))).await;
            }
        }
    }

    /// One stream, from Hello to its end.
    async fn stream(&mut self, connection: Connection) -> Ended {
        let (sender, receiver) = mpsc::channel(QUEUE);
        if sender.try_send(self.hello()).is_err() {
            return Ended::Closed;
        }
        let mut client = ConfigSyncClient::new(connection).max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
        let messages = match timeout(ANSWER_WITHIN, client.sync(ReceiverStream::new(receiver))).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Ended::Status(status),
            Err(_) => return Ended::Silent,
        };
        match self.exchange(messages, &sender).await {
            Ok(()) => Ended::Closed,
            Err(ended) => ended,
        }
    }

    async fn exchange(&mut self, mut messages: Streaming<ControlMessage>, sender: &mpsc::Sender<NodeMessage>) -> Result<(), Ended> {
        let mut transfer: Option<Transfer> = None;
        let (mut beat, mut tick) = (interval(HEARTBEAT), interval(TICK));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                // Revocations and chunks before what could be done later.
                biased;
                message = messages.message() => {
                    let Some(message) = message? else { return Ok(()) };
                    heard = Instant::now();
                    self.connected(message.control_unix_us);
                    if let Some(message) = message.message {
                        self.take(message, &mut transfer).await?;
                    }
                }
                built = built(&mut transfer) => {
                    let revision = transfer.take().map_or(0, |transfer| transfer.revision());
                    let answer = match built {
                        Ok(built) => self.put_in_place(built),
                        Err(refusal) => refused(revision, &refusal),
                    };
                    say(sender, answer).await?;
                }
                _ = beat.tick() => say(sender, self.heartbeat()).await?,
                _ = tick.tick() => {
                    self.look();
                    if heard.elapsed() > SILENCE {
                        return Err(Ended::Silent);
                    }
                    if transfer.is_none() && self.copy.as_ref().is_some_and(LastGood::wants_everything) {
                        self.held = None;
                        return Err(Ended::Gap);
                    }
                }
            }
        }
    }

    async fn take(&mut self, message: control_message::Message, transfer: &mut Option<Transfer>) -> Result<(), Ended> {
        match message {
            control_message::Message::Begin(begin) => {
                if transfer.is_some() {
                    return Err(Ended::Protocol("a revision before the last one was answered"));
                }
                let copy = self.copy.clone().map(|copy| (copy, self.clock.now()));
                *transfer = Some(Transfer::begin(self.table.load(), begin, copy));
            }
            control_message::Message::Chunk(chunk) => match transfer {
                Some(transfer) => transfer.chunk(chunk).await,
                None => return Err(Ended::Protocol("a chunk of no revision")),
            },
            control_message::Message::Commit(commit) => match transfer {
                Some(transfer) => transfer.commit(commit).await,
                None => return Err(Ended::Protocol("a commit of no revision")),
            },
            control_message::Message::Revoke(revoke) => self.revoke(&revoke),
            control_message::Message::Heartbeat(heartbeat) => {
                self.head = heartbeat.head_revision;
                self.look();
            }
            control_message::Message::Command(command) => match command.command {
                Some(command::Command::Drain(_)) => {
                    tracing::info!("drained by the control plane");
                    self.shutdown.begin();
                }
                Some(command::Command::LogLevel(level)) => (self.options.log_level)(&level.filter),
                // The control plane sends everything by itself.
                Some(command::Command::Resync(_)) | None => {}
            },
        }
        Ok(())
    }

    /// Swaps once. Revocations that came while the table was built hold on.
    fn put_in_place(&mut self, built: Built) -> NodeMessage {
        let Built { table, held, full, began, recording } = built;
        let current = self.table.load();
        let later: Vec<(Ref, Revision)> = match current.epoch() == table.epoch() {
            true => current.revoked().filter(|(_, at)| *at > table.revision()).collect(),
            false => Vec::new(),
        };
        let table = later.into_iter().fold(table, |table, (reference, at)| table.with_revoked([reference], at));
        count_rejections(&current, &table);
        let table = Arc::new(table);
        let ack = Ack {
            revision: table.revision().0,
            digest: Some(digest_to_wire(table.digest())),
            rejected: table.rejections().cloned().map(Into::into).collect(),
            applied_unix_ms: self.clock.now().unix_millis(),
            epoch: held.epoch.to_bytes(),
        };
        let old = self.table.swap(Arc::clone(&table));
        if let Some((copy, recording)) = self.copy.as_ref().zip(recording) {
            copy.keep(recording, ack.rejected.is_empty());
        }
        // The last owner of a million keys should not be a call.
        drop(current);
        tokio::task::spawn_blocking(move || drop(old));
        self.catalog.set(true);
        self.head = self.head.max(table.revision().0);
        self.held = Some(held);
        self.fresh = Instant::now();
        metrics::histogram!(super::APPLY).record(began.elapsed());
        metrics::gauge!(super::REVISION).set(precise(table.revision().0));
        metrics::gauge!(super::STANDING).set(precise(ack.rejected.len() as u64));
        tracing::info!(revision = ack.revision, full, rejected = ack.rejected.len(), took = ?began.elapsed(), "catalog applied");
        NodeMessage { message: Some(node_message::Message::Ack(ack)) }
    }

    fn revoke(&self, revoke: &Revoke) {
        let Some(kind) = kind_from_wire(revoke.kind) else { return };
        let table = self.table.load();
        let at = Revision(revoke.at_revision);
        if at <= table.revision() {
            return;
        }
        let references = revoke.ids.iter().filter_map(|id| Uuid::from_slice(id).ok()).map(|id| Ref { kind, id });
        self.table.swap(Arc::new(table.with_revoked(references, at)));
        if let Some(copy) = &self.copy {
            copy.revoke(revoke);
        }
        tracing::info!(%kind, count = revoke.ids.len(), at_revision = at.0, "revoked ahead of the catalog");
    }

    fn hello(&self) -> NodeMessage {
        let hello = Hello {
            node_id: self.options.identity.node.to_bytes(),
            boot_id: self.options.identity.boot.to_bytes(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            schema_min: SCHEMA_MIN,
            schema_max: SCHEMA_MAX,
            labels: self.options.labels.clone(),
            resume: self.held.as_ref().map(Held::to_resume),
        };
        NodeMessage { message: Some(node_message::Message::Hello(hello)) }
    }

    fn heartbeat(&self) -> NodeMessage {
        let pulse = (self.options.pulse)();
        let upstreams = pulse.upstreams.into_iter().map(|upstream| UpstreamHealth {
            provider_id: upstream.provider.to_bytes(),
            in_flight: upstream.in_flight,
            successes: upstream.successes,
            failures: upstream.failures,
        });
        let table = self.table.load();
        let heartbeat = NodeHeartbeat {
            revision: table.revision().0,
            in_flight: pulse.in_flight,
            config_age_ms: u64::try_from(self.age().as_millis()).unwrap_or(u64::MAX),
            usage_backlog: pulse.usage_backlog,
            upstreams: upstreams.collect(),
            epoch: table.epoch().map(|epoch| epoch.to_bytes()).unwrap_or_default(),
        };
        NodeMessage { message: Some(node_message::Message::Heartbeat(heartbeat)) }
    }

    /// A message was heard: the node is connected, and knows the time.
    fn connected(&mut self, control_unix_us: i64) {
        if !std::mem::replace(&mut self.connected, true) {
            tracing::info!("connected to a control plane");
            self.gauges();
        }
        let control = FleetTime::from_unix_micros(control_unix_us);
        let now = self.clock.now();
        if control_unix_us > 0 && (control > now || now.since(control) > WAY) {
            self.clock.adjust(control);
        }
    }

    fn disconnected(&mut self, ended: &Ended) {
        self.look();
        self.connected = false;
        self.gauges();
        match ended {
            Ended::Status(status) => tracing::warn!(code = ?status.code(), reason = status.message(), "the stream of the catalog ended"),
            ended => tracing::warn!(reason = %ended, "the stream of the catalog ended"),
        }
    }

    /// How long ago the table was known to be the newest.
    fn age(&self) -> Duration {
        self.fresh.elapsed()
    }

    /// What follows from the passing of time.
    fn look(&mut self) {
        let table = self.table.load();
        if self.connected && self.head <= table.revision().0 && table.epoch().is_some() {
            self.fresh = Instant::now();
            self.note_freshness();
        }
        metrics::gauge!(super::AGE).set(if table.epoch().is_some() { self.age().as_secs_f64() } else { 0.0 });
        let stale = self.options.max_stale.is_some_and(|bound| self.age() > bound);
        if stale != table.is_stale() {
            tracing::warn!(age = ?self.age(), stale, "the age of the catalog passed its bound");
            self.table.swap(Arc::new(table.with_stale(stale)));
        }
    }

    /// Where age decides, the copy on disk learns that the catalog is the newest, from time to time.
    fn note_freshness(&mut self) {
        let Some((copy, bound)) = self.copy.as_ref().zip(self.options.max_stale) else { return };
        if self.copy_fresh.elapsed() > (bound / 10).clamp(TICK, OFTEN_ENOUGH) {
            self.copy_fresh = Instant::now();
            copy.fresh(self.clock.now());
        }
    }

    fn gauges(&self) {
        metrics::gauge!(super::CONNECTED).set(if self.connected { 1.0 } else { 0.0 });
        metrics::gauge!(super::REVISION).set(precise(self.table.load().revision().0));
        metrics::gauge!(super::AGE).set(0.0);
    }
}

/// The revision under way, once it is built; for ever when there is none.
async fn built(transfer: &mut Option<Transfer>) -> Result<Built, Refusal> {
    match transfer {
        Some(transfer) => transfer.built().await,
        None => std::future::pending().await,
    }
}

fn refused(revision: u64, refusal: &Refusal) -> NodeMessage {
    metrics::counter!(super::REFUSED).increment(1);
    tracing::error!(revision, reason = %refusal, "a catalog was refused; the last one stays in use");
    NodeMessage { message: Some(node_message::Message::Nack(Nack { revision, reason: refusal.to_string() })) }
}

async fn say(sender: &mpsc::Sender<NodeMessage>, message: NodeMessage) -> Result<(), Ended> {
    sender.send(message).await.map_err(|_| Ended::Closed)
}

/// Counts and logs what was not rejected before.
fn count_rejections(old: &Table, new: &Table) {
    let known: BTreeMap<(i32, Uuid), u64> = old.rejections().map(|one| ((one.kind, one.id), one.version)).collect();
    for one in new.rejections().filter(|one| known.get(&(one.kind, one.id)) != Some(&one.version)) {
        let kind = kind_from_wire(one.kind).map_or("unknown", Kind::as_str);
        metrics::counter!(super::REJECTED, "kind" => kind, "code" => one.code.as_str()).increment(1);
        tracing::warn!(kind, id = %one.id, version = one.version, code = %one.code, text = one.text, "a resource cannot be applied");
    }
}
