//! Usage records on their way to the ledger: taken from where they are kept, and forgotten there when they are durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shared::kernel::ids::{BootId, NodeId};
use shared::proto::usage_client::UsageClient;
use shared::proto::{UsageAck, UsageBatch};
use shared::runtime::shutdown::Shutdown;
use shared::wire::MESSAGE_LIMIT;
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::backoff::Backoff;
use super::connect::Dialer;
use super::precise;
use crate::spool::{Batch, RecordSource};

/// Most records of one batch.
const BATCH: usize = 500;
/// How long the first record of a batch waits for others.
const GATHER: Duration = Duration::from_millis(200);
/// Batches on their way without an acknowledgement.
const WINDOW: usize = 8;
/// Without any acknowledgement for so long, the stream is dead.
const ACK_WITHIN: Duration = Duration::from_secs(60);
/// How long a control plane may take to answer a new stream.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Starts carrying records away; when the process ends, until none is left or time is up.
pub(crate) fn start(source: impl RecordSource, dialer: Dialer, node: NodeId, shutdown: &Shutdown) {
    let arrivals = source.arrivals();
    let source: Arc<Mutex<dyn RecordSource>> = Arc::new(Mutex::new(source));
    let carrier = Carrier { source, arrivals, dialer, node, shutdown: shutdown.clone() };
    carrier.gauge();
    shutdown.spawn("usage report", carrier.run());
}

/// Carries batches over one stream after another.
struct Carrier {
    source: Arc<Mutex<dyn RecordSource>>,
    arrivals: Arc<Notify>,
    dialer: Dialer,
    node: NodeId,
    shutdown: Shutdown,
}

/// A stream speaks for one start of the node.
struct Stream {
    boot: BootId,
    sender: mpsc::Sender<UsageBatch>,
    acks: Streaming<UsageAck>,
    /// Numbers that are on their way.
    open: VecDeque<u64>,
    /// What comes next belongs to another start.
    over: bool,
    /// More was there than fitted.
    more: bool,
    /// Until when records gather that have arrived since.
    gathering: Option<Instant>,
    /// Until when something must be acknowledged.
    until: Instant,
}

/// What a stream waits for.
enum News {
    Acknowledged(u64),
    Arrived,
    Gathered,
    Stopping,
}

impl Carrier {
    async fn run(self) {
        let mut backoff = Backoff::default();
        let mut told = false;
        while self.wait_for_records().await {
            let before = self.backlog();
            let ended = self.stream().await;
            self.with_source(|source| source.rewind()).await;
            self.gauge();
            if ended.is_ok() || self.backlog() < before {
                backoff.reset();
                told = false;
            }
            if let Err(reason) = ended {
                let backlog = self.backlog();
                if backlog > 0 && !std::mem::replace(&mut told, true) {
                    tracing::warn!(reason, backlog, "usage cannot be reported; it is kept and sent again");
                }
                self.dialer.give_up();
                sleep(backoff.next()).await;
            }
        }
    }

    /// False when the process ends and nothing is left.
    async fn wait_for_records(&self) -> bool {
        while self.backlog() == 0 {
            tokio::select! {
                () = self.arrivals.notified() => {}
                () = self.shutdown.stopping() => return self.backlog() > 0,
            }
        }
        true
    }

    /// Reports until the stream breaks or has nothing more to say.
    async fn stream(&self) -> Result<(), String> {
        let Some(first) = self.next_batch().await else {
            // Only calls that are still open: their records come later.
            tokio::select! {
                () = self.arrivals.notified() => {}
                () = sleep(GATHER) => {}
            }
            return Ok(());
        };
        let connection = self.dialer.dial().await.map_err(|error| error.to_string())?;
        let (sender, receiver) = mpsc::channel(WINDOW);
        let mut client = UsageClient::new(connection).max_encoding_message_size(MESSAGE_LIMIT);
        let (boot, mut open) = (first.boot, VecDeque::new());
        self.send(&sender, &mut open, first).await?;
        let answer = timeout(ANSWER_WITHIN, client.report(ReceiverStream::new(receiver))).await;
        let acks = answer.map_err(|_| "no answer".to_owned())?.map_err(|status| described(&status))?.into_inner();
        let mut stream = Stream {
            boot,
            sender,
            acks,
            open,
            over: false,
            more: true,
            gathering: None,
            until: Instant::now() + ACK_WITHIN,
        };
        loop {
            // What arrives while others are on their way waits to be joined by more.
            if stream.more || self.shutdown.is_stopping() {
                self.fill(&mut stream).await?;
            }
            if stream.open.is_empty() && (stream.over || (self.shutdown.is_stopping() && self.backlog() == 0)) {
                return Ok(());
            }
            match self.news(&mut stream).await? {
                News::Acknowledged(seq) => self.acknowledge(&mut stream, seq).await,
                News::Arrived => stream.gathering = Some(Instant::now() + GATHER),
                News::Gathered => (stream.gathering, stream.more) = (None, true),
                News::Stopping => {}
            }
        }
    }

    /// Sends what fits into the window.
    async fn fill(&self, stream: &mut Stream) -> Result<(), String> {
        while !stream.over && stream.open.len() < WINDOW {
            match self.next_batch().await {
                Some(batch) if batch.boot == stream.boot => {
                    let partial = batch.records.len() < BATCH;
                    self.send(&stream.sender, &mut stream.open, batch).await?;
                    if partial {
                        // What follows is looked for when it had time to gather.
                        stream.more = false;
                        stream.gathering.get_or_insert_with(|| Instant::now() + GATHER);
                        break;
                    }
                }
                Some(_) => stream.over = true,
                None => {
                    stream.more = false;
                    break;
                }
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        sender: &mpsc::Sender<UsageBatch>,
        open: &mut VecDeque<u64>,
        batch: Batch,
    ) -> Result<(), String> {
        let Batch { boot, seq, records } = batch;
        open.push_back(seq);
        let batch = UsageBatch { node_id: self.node.to_bytes(), boot_id: boot.to_bytes(), seq, records };
        // The window is no larger than the channel, so this does not wait.
        sender.send(batch).await.map_err(|_| "the control plane ended the stream".to_owned())
    }

    async fn acknowledge(&self, stream: &mut Stream, seq: u64) {
        while stream.open.pop_front_if(|open| *open <= seq).is_some() {}
        stream.until = Instant::now() + ACK_WITHIN;
        let boot = stream.boot;
        self.with_source(move |source| source.acknowledge(boot, seq)).await;
        self.gauge();
    }

    async fn news(&self, stream: &mut Stream) -> Result<News, String> {
        let idle = stream.open.is_empty();
        if idle {
            stream.until = Instant::now() + ACK_WITHIN;
        }
        let acks = &mut stream.acks;
        let (until, gathering) = (stream.until, stream.gathering);
        let answer = async move {
            // An idle stream may be silent for ever.
            if idle { Ok(acks.message().await) } else { timeout_at(until, acks.message()).await }
        };
        tokio::select! {
            answer = answer => match answer {
                Ok(Ok(Some(ack))) => Ok(News::Acknowledged(ack.seq)),
                Ok(Ok(None)) => Err("the control plane ended the stream".to_owned()),
                Ok(Err(status)) => Err(described(&status)),
                Err(_) => Err("a batch is not acknowledged".to_owned()),
            },
            () = self.arrivals.notified(), if gathering.is_none() => Ok(News::Arrived),
            () = sleep_until(gathering.unwrap_or(until)), if gathering.is_some() => {
                self.gauge();
                Ok(News::Gathered)
            }
            () = self.shutdown.stopping(), if !self.shutdown.is_stopping() => Ok(News::Stopping),
        }
    }

    async fn next_batch(&self) -> Option<Batch> {
        self.with_source(|source| source.next_batch(BATCH)).await.flatten()
    }

    /// The source may read files. Nothing when it panicked.
    async fn with_source<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn RecordSource) -> R + Send + 'static,
    ) -> Option<R> {
        let source = Arc::clone(&self.source);
        spawn_blocking(move || work(&mut *source.lock())).await.ok()
    }

    fn backlog(&self) -> u64 {
        self.source.lock().backlog()
    }

    fn gauge(&self) {
        metrics::gauge!(super::BACKLOG).set(precise(self.backlog()));
    }
}

fn described(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
