//! `Usage.Report`: batches in, acknowledgements out, in order; a batch that could not be stored is never acknowledged.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;
use parking_lot::Mutex;
use shared::kernel::ids::{BootId, NodeId};
use shared::proto::usage_server::Usage;
use shared::proto::{UsageAck, UsageBatch};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use super::peer::Peer;
use super::untrue;
use crate::usage::{Ingest, IngestError, sender};

/// Batches that are being stored at the same time: of the database's connections, most are for others.
const AT_ONCE: usize = 8;
/// Streams of one node. It needs one, and the last one may not have ended yet.
const MOST_STREAMS: usize = 4;

/// The service.
#[derive(Debug, Clone)]
pub struct UsageService {
    ingest: Ingest,
    turns: Arc<Semaphore>,
    streams: Streams,
}

/// How many streams each node has. Clones share them.
#[derive(Debug, Clone, Default)]
struct Streams {
    of: Arc<Mutex<HashMap<NodeId, usize>>>,
}

/// One of them; given back when it is dropped.
#[derive(Debug)]
struct Counted {
    streams: Streams,
    node: NodeId,
}

impl Streams {
    fn begin(&self, node: NodeId) -> Result<Counted, Status> {
        let mut of = self.of.lock();
        let count = of.entry(node).or_default();
        if *count >= MOST_STREAMS {
            return Err(Status::resource_exhausted(format!("node {node} reports over {MOST_STREAMS} streams already")));
        }
        *count += 1;
        Ok(Counted { streams: self.clone(), node })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut of = self.streams.of.lock();
        if let Some(count) = of.get_mut(&self.node) {
            *count -= 1;
            if *count == 0 {
                of.remove(&self.node);
            }
        }
    }
}

impl UsageService {
    /// Over the ledger.
    #[must_use]
    pub fn new(ingest: Ingest) -> Self {
        Self { ingest, turns: Arc::new(Semaphore::new(AT_ONCE)), streams: Streams::default() }
    }
}

/// One stream of one node.
struct Report {
    peer: Peer,
    service: UsageService,
    batches: Streaming<UsageBatch>,
    /// Bound by the first batch: a stream cannot change whom it speaks for.
    sender: Option<(NodeId, BootId)>,
    counted: Option<Counted>,
    over: bool,
}

impl Report {
    async fn next(&mut self) -> Result<Option<UsageAck>, Status> {
        let batch = tokio::select! {
            batch = self.batches.message() => batch?,
            status = self.peer.out() => return Err(status),
        };
        let Some(batch) = batch else { return Ok(None) };
        let from = sender(&batch).map_err(status)?;
        self.peer.speaks_for(from.0)?;
        if self.counted.is_none() {
            self.counted = Some(self.service.streams.begin(from.0)?);
        }
        if *self.sender.get_or_insert(from) != from {
            untrue("sender");
            return Err(Status::invalid_argument(
                "usage batch: node_id and boot_id must be those of the stream's first batch",
            ));
        }
        let turn = self.service.turns.acquire().await;
        let _turn = turn.map_err(|_| Status::unavailable("the control plane ends"))?;
        let seq = self.service.ingest.take(batch).await.map_err(status)?;
        Ok(Some(UsageAck { seq }))
    }
}

#[tonic::async_trait]
impl Usage for UsageService {
    type ReportStream = Pin<Box<dyn Stream<Item = Result<UsageAck, Status>> + Send>>;

    async fn report(&self, request: Request<Streaming<UsageBatch>>) -> Result<Response<Self::ReportStream>, Status> {
        let peer = Peer::of(&request)?;
        let report = Report {
            peer,
            service: self.clone(),
            batches: request.into_inner(),
            sender: None,
            counted: None,
            over: false,
        };
        let acks = unfold(report, |mut report| async move {
            if report.over {
                return None;
            }
            match report.next().await {
                Ok(Some(ack)) => Some((Ok(ack), report)),
                Ok(None) => None,
                // The node keeps what was not acknowledged and comes again.
                Err(status) => {
                    report.over = true;
                    Some((Err(status), report))
                }
            }
        });
        Ok(Response::new(Box::pin(acks)))
    }
}

fn status(error: IngestError) -> Status {
    match error {
        IngestError::Identity { .. } => Status::invalid_argument(error.to_string()),
        IngestError::TooMany { .. } => Status::resource_exhausted(error.to_string()),
        IngestError::Store(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a usage batch could not be stored; its node will send it again"
            );
            Status::unavailable("the usage ledger is not available")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_node_has_a_few_streams_and_others_have_theirs() {
        let (streams, node) = (Streams::default(), NodeId::generate());
        let mut open: Vec<Counted> = (0..MOST_STREAMS).map(|_| streams.begin(node).unwrap()).collect();
        assert_eq!(streams.begin(node).unwrap_err().code(), tonic::Code::ResourceExhausted);
        open.push(streams.begin(NodeId::generate()).unwrap());
        drop(open);
        assert!(streams.of.lock().is_empty());
    }
}
