//! Follows the catalog: says what this node holds, takes revisions and revocations, answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::kernel::clock::FleetClock;
use shared::proto::config_sync_client::ConfigSyncClient;
use shared::proto::{
    ControlMessage, Hello, LogLevel, Nack, NodeHeartbeat, NodeMessage, UpstreamHealth, command, control_message,
    node_message,
};
use shared::runtime::readiness::Condition;
use shared::runtime::shutdown::Shutdown;
use shared::wire::{HEARTBEAT, MESSAGE_LIMIT, SCHEMA_MAX, SCHEMA_MIN};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::apply::{Built, Held, Refusal, Transfer};
use super::backoff::Backoff;
use super::connect::{Connection, Dialer};
use super::last_good::LastGood;
use super::options::LinkOptions;
use super::standing::Standing;
use crate::table::Handle;

/// Answers that wait for a slow connection.
const QUEUE: usize = 16;
/// How long a control plane may take to answer a new stream.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A control plane that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(35);
/// How often ages are looked at.
const TICK: Duration = Duration::from_secs(1);
/// A stream that lasted so long was a good one: the next try comes quickly.
const GOOD_STREAM: Duration = Duration::from_secs(10);

/// The following of one control plane after another.
pub struct Link {
    dialer: Dialer,
    options: LinkOptions,
    standing: Standing,
    shutdown: Shutdown,
    /// Not met while an operator has drained the node: it serves and is not ready.
    in_service: Condition,
    /// Sets the log filter back.
    log_reset: Option<JoinHandle<()>>,
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
    pub fn new(
        dialer: Dialer,
        options: LinkOptions,
        table: Handle,
        clock: FleetClock,
        catalog: Condition,
        shutdown: Shutdown,
    ) -> Self {
        let standing = Standing::new(table, clock, catalog, options.max_stale);
        let in_service = shutdown.readiness().condition("in_service");
        in_service.set(true);
        Self { dialer, options, standing, shutdown, in_service, log_reset: None }
    }

    /// Starts following; ends with the process.
    pub fn start(mut self) {
        self.standing.gauges();
        let shutdown = self.shutdown.clone();
        shutdown.clone().spawn("link", async move {
            if let Some(copy) = self.options.last_good.clone() {
                self.standing.open_copy(copy).await;
            }
            tokio::select! {
                () = self.follow() => {}
                () = shutdown.stopping() => {}
            }
            if let Some(copy) = &self.standing.copy {
                copy.flush().await;
            }
        });
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
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "no control plane; serving what is held")
                }
            }
            let pause = backoff.next();
            // Ages move on while nobody is there.
            let until = Instant::now() + pause;
            while Instant::now() < until {
                self.standing.look();
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
        let mut client = ConfigSyncClient::new(connection)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
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

    async fn exchange(
        &mut self,
        mut messages: Streaming<ControlMessage>,
        sender: &mpsc::Sender<NodeMessage>,
    ) -> Result<(), Ended> {
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
                    self.standing.connected(message.control_unix_us);
                    if let Some(message) = message.message {
                        let in_service = self.in_service.is_met();
                        self.take(message, &mut transfer).await?;
                        if self.in_service.is_met() != in_service {
                            // The operator is waiting to see it.
                            say(sender, self.heartbeat()).await?;
                        }
                    }
                }
                built = built(&mut transfer) => {
                    let revision = transfer.take().map_or(0, |transfer| transfer.revision());
                    let answer = match built {
                        Ok(built) => NodeMessage { message: Some(node_message::Message::Ack(self.standing.put_in_place(built))) },
                        Err(refusal) => refused(revision, &refusal),
                    };
                    say(sender, answer).await?;
                }
                _ = beat.tick() => say(sender, self.heartbeat()).await?,
                _ = tick.tick() => {
                    self.standing.look();
                    if heard.elapsed() > SILENCE {
                        return Err(Ended::Silent);
                    }
                    if transfer.is_none() && self.standing.copy.as_ref().is_some_and(LastGood::wants_everything) {
                        self.standing.held = None;
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
                let copy = self.standing.copy.clone().map(|copy| (copy, self.standing.clock.now()));
                *transfer = Some(Transfer::begin(self.standing.table.load(), begin, copy));
            }
            control_message::Message::Chunk(chunk) => match transfer {
                Some(transfer) => transfer.chunk(chunk).await,
                None => return Err(Ended::Protocol("a chunk of no revision")),
            },
            control_message::Message::Commit(commit) => match transfer {
                Some(transfer) => transfer.commit(commit).await,
                None => return Err(Ended::Protocol("a commit of no revision")),
            },
            control_message::Message::Revoke(revoke) => self.standing.revoke(&revoke),
            control_message::Message::Heartbeat(heartbeat) => {
                self.standing.head = heartbeat.head_revision;
                self.standing.look();
            }
            control_message::Message::Command(command) => match command.command {
                Some(command::Command::Drain(_)) => {
                    tracing::warn!("drained by an operator: not ready until that is taken back");
                    self.in_service.set(false);
                }
                Some(command::Command::Undrain(_)) => {
                    tracing::warn!("taken into service again by an operator");
                    self.in_service.set(true);
                }
                Some(command::Command::LogLevel(level)) => self.log_level(&level),
                // The control plane sends everything by itself.
                Some(command::Command::Resync(_)) | None => {}
            },
        }
        Ok(())
    }

    /// Logs by another filter, and after a while by the first one again.
    fn log_level(&mut self, level: &LogLevel) {
        tracing::warn!(filter = level.filter, for_seconds = level.for_seconds, "another log filter, by an operator");
        if let Some(earlier) = self.log_reset.take() {
            earlier.abort();
        }
        (self.options.log_level)(&level.filter);
        if level.for_seconds > 0 && !level.filter.is_empty() {
            let (set, after) = (Arc::clone(&self.options.log_level), Duration::from_secs(level.for_seconds));
            self.log_reset = Some(tokio::spawn(async move {
                sleep(after).await;
                set("");
            }));
        }
    }

    fn hello(&self) -> NodeMessage {
        let hello = Hello {
            node_id: self.options.identity.node.to_bytes(),
            boot_id: self.options.identity.boot.to_bytes(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            schema_min: SCHEMA_MIN,
            schema_max: SCHEMA_MAX,
            labels: self.options.labels.clone(),
            resume: self.standing.held.as_ref().map(Held::to_resume),
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
        let table = self.standing.table.load();
        let heartbeat = NodeHeartbeat {
            revision: table.revision().0,
            in_flight: pulse.in_flight,
            config_age_ms: u64::try_from(self.standing.age().as_millis()).unwrap_or(u64::MAX),
            usage_backlog: pulse.usage_backlog,
            upstreams: upstreams.collect(),
            epoch: table.epoch().map(|epoch| epoch.to_bytes()).unwrap_or_default(),
            drained: !self.in_service.is_met(),
        };
        NodeMessage { message: Some(node_message::Message::Heartbeat(heartbeat)) }
    }

    fn disconnected(&mut self, ended: &Ended) {
        self.standing.disconnected();
        match ended {
            Ended::Status(status) => {
                tracing::warn!(code = ?status.code(), reason = status.message(), "the stream of the catalog ended")
            }
            ended => tracing::warn!(reason = %ended, "the stream of the catalog ended"),
        }
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
