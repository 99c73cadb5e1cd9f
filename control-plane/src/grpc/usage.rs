//! `Usage.Report`: batches in, acknowledgements out, in order; a batch that could not be stored is never acknowledged.

use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream::unfold;
use shared::kernel::ids::{BootId, NodeId};
use shared::proto::usage_server::Usage;
use shared::proto::{UsageAck, UsageBatch};
use tonic::{Request, Response, Status, Streaming};

use super::peer::Peer;
use super::untrue;
use crate::usage::{Ingest, IngestError, sender};

/// The service.
#[derive(Debug, Clone)]
pub struct UsageService {
    ingest: Ingest,
}

impl UsageService {
    /// Over the ledger.
    #[must_use]
    pub const fn new(ingest: Ingest) -> Self {
        Self { ingest }
    }
}

/// One stream of one node.
struct Report {
    peer: Peer,
    ingest: Ingest,
    batches: Streaming<UsageBatch>,
    /// Bound by the first batch: a stream cannot change whom it speaks for.
    sender: Option<(NodeId, BootId)>,
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
        if *self.sender.get_or_insert(from) != from {
            untrue("sender");
            return Err(Status::invalid_argument(
                "usage batch: node_id and boot_id must be those of the stream's first batch",
            ));
        }
        let seq = self.ingest.take(batch).await.map_err(status)?;
        Ok(Some(UsageAck { seq }))
    }
}

#[tonic::async_trait]
impl Usage for UsageService {
    type ReportStream = Pin<Box<dyn Stream<Item = Result<UsageAck, Status>> + Send>>;

    async fn report(&self, request: Request<Streaming<UsageBatch>>) -> Result<Response<Self::ReportStream>, Status> {
        let peer = Peer::of(&request)?;
        let report =
            Report { peer, ingest: self.ingest.clone(), batches: request.into_inner(), sender: None, over: false };
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
