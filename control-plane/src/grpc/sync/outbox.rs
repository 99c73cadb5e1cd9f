//! Messages on their way to one node: cut into chunks, stamped with fleet time, never queued beyond a few.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;
use shared::catalog::Ref;
use shared::proto::{Chunk, Commit, ControlMessage, Revoke, control_message};
use shared::wire::{CHUNK_BYTES, kind_to_wire, ref_to_wire};
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{broadcast, mpsc};
use tonic::Status;

use crate::snapshot::{Diff, Revocation};

/// A connection that takes no message for so long is dead.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// About what a reference weighs on the wire.
const REF_BYTES: usize = 24;

/// The way to one node.
pub(super) struct Outbox {
    sender: mpsc::Sender<Result<ControlMessage, Status>>,
    fast_lane: broadcast::Receiver<Arc<Revocation>>,
}

impl Outbox {
    pub(super) const fn new(
        sender: mpsc::Sender<Result<ControlMessage, Status>>,
        fast_lane: broadcast::Receiver<Arc<Revocation>>,
    ) -> Self {
        Self { sender, fast_lane }
    }

    /// Sends one message, as soon as the connection takes it.
    pub(super) async fn send(&self, message: control_message::Message) -> Result<(), Status> {
        let stamped = ControlMessage { control_unix_us: fleet_time(), message: Some(message) };
        match self.sender.send_timeout(Ok(stamped), SEND_WITHIN).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                Err(Status::deadline_exceeded("the node takes no messages"))
            }
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Status::cancelled("the node is gone")),
        }
    }

    /// Sends what a node must be told, then its commit. Revocations go between the chunks.
    pub(super) async fn tell(&mut self, diff: &Diff, commit: Commit) -> Result<(), Status> {
        let mut chunk = Chunk::default();
        let mut bytes = 0;
        for upsert in &diff.upserts {
            let resource = upsert.to_wire();
            bytes += resource.encoded_len();
            chunk.upserts.push(resource);
            self.flush_at(CHUNK_BYTES, &mut chunk, &mut bytes).await?;
        }
        for reference in &diff.deletes {
            bytes += REF_BYTES;
            chunk.deletes.push(ref_to_wire(*reference));
            self.flush_at(CHUNK_BYTES, &mut chunk, &mut bytes).await?;
        }
        self.flush_at(1, &mut chunk, &mut bytes).await?;
        self.send(control_message::Message::Commit(commit)).await
    }

    async fn flush_at(&mut self, limit: usize, chunk: &mut Chunk, bytes: &mut usize) -> Result<(), Status> {
        if *bytes < limit {
            return Ok(());
        }
        *bytes = 0;
        self.send(control_message::Message::Chunk(std::mem::take(chunk))).await?;
        loop {
            match self.fast_lane.try_recv() {
                Ok(revocation) => self.revoke(&revocation).await?,
                // What was missed is in the batch.
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
            }
        }
    }

    /// The next revocation, or nothing when the node went away. May be dropped at any time.
    pub(super) async fn next_revocation(&mut self) -> Option<Arc<Revocation>> {
        loop {
            let received = tokio::select! {
                received = self.fast_lane.recv() => received,
                () = self.sender.closed() => return None,
            };
            match received {
                Ok(revocation) => return Some(revocation),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => {
                    self.sender.closed().await;
                    return None;
                }
            }
        }
    }

    /// Sends a revocation, one message for each kind.
    pub(super) async fn revoke(&self, revocation: &Revocation) -> Result<(), Status> {
        let mut references: Vec<Ref> = revocation.references.clone();
        references.sort_unstable();
        for of_kind in references.chunk_by(|one, two| one.kind == two.kind) {
            let Some(first) = of_kind.first() else { continue };
            let ids = of_kind.iter().map(|reference| reference.id.as_bytes().to_vec()).collect();
            let message = Revoke { kind: kind_to_wire(first.kind), ids, at_revision: revocation.at.0 };
            self.send(control_message::Message::Revoke(message)).await?;
        }
        Ok(())
    }
}

/// The clock that nodes follow.
fn fleet_time() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
