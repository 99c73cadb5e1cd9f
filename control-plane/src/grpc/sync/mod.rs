//! `ConfigSync.Sync`: one long stream per node, by which it learns the catalog.
//!
//! 1. The node says who it is and what it holds (`Hello`).
//! 2. It is told what is missing: everything, or what changed; nothing counts before `Commit`.
//! 3. It answers with `Ack`, naming what it could not apply, or `Nack`. While it has not answered it is told nothing more:
//!    a slow node is brought from what it holds to the newest state, never through each state between.
//! 4. After a `Nack` it gets everything once; after another it is left alone, and that is an alarm.
//! 5. Revocations overtake all of this.

mod outbox;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use shared::kernel::ids::{BootId, Epoch, NodeId, Revision};
use shared::proto::config_sync_server::{ConfigSync, ConfigSyncServer};
use shared::proto::{ControlMessage, Hello, NodeMessage, node_message};
use shared::runtime::shutdown::Shutdown;
use shared::wire::{MESSAGE_LIMIT, SCHEMA_MAX, SCHEMA_MIN, digest_from_wire};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::peer::Peer;
use crate::fleet::nodes::{NodeFacts, Nodes};
use crate::snapshot::{Held, Publisher, Resumes, Seals, View};
use session::Session;

/// How long a node may take to say who it is.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Messages that wait for a slow connection; the rest waits as a difference of two snapshots.
const QUEUE: usize = 4;
/// How many nodes are sent everything at the same time.
const FULL_SENDS: usize = 16;
/// Labels beyond this are no labels,
const MOST_LABELS: usize = 64;
/// nor are characters beyond this.
const LONGEST_LABEL: usize = 256;
/// What a node has to say is short: the longest is what it could not apply, and of that a thousand are told.
const NODE_MESSAGE: usize = 1024 * 1024;

/// What the sessions share.
struct Parts {
    publisher: Publisher,
    seals: Seals,
    resumes: Resumes,
    nodes: Nodes,
    full_sends: Semaphore,
    shutdown: Shutdown,
}

/// The service. Clones share everything.
#[derive(Clone)]
pub struct SyncService {
    parts: Arc<Parts>,
}

impl SyncService {
    /// Over the published snapshots.
    #[must_use]
    pub fn new(publisher: Publisher, seals: Seals, resumes: Resumes, nodes: Nodes, shutdown: Shutdown) -> Self {
        let full_sends = Semaphore::new(FULL_SENDS);
        Self { parts: Arc::new(Parts { publisher, seals, resumes, nodes, full_sends, shutdown }) }
    }

    /// As a tonic service with the limits of the protocol.
    #[must_use]
    pub fn into_server(self) -> ConfigSyncServer<Self> {
        ConfigSyncServer::new(self).max_decoding_message_size(NODE_MESSAGE).max_encoding_message_size(MESSAGE_LIMIT)
    }

    /// What is published to the nodes.
    #[must_use]
    pub fn publisher(&self) -> &Publisher {
        &self.parts.publisher
    }
}

#[tonic::async_trait]
impl ConfigSync for SyncService {
    type SyncStream = Pin<Box<dyn Stream<Item = Result<ControlMessage, Status>> + Send>>;

    async fn sync(&self, request: Request<Streaming<NodeMessage>>) -> Result<Response<Self::SyncStream>, Status> {
        let peer = Peer::of(&request)?;
        let messages = request.into_inner();
        let (sender, receiver) = mpsc::channel(QUEUE);
        let parts = Arc::clone(&self.parts);
        // The answer must begin before the node speaks: it waits for the headers.
        self.parts.shutdown.spawn("config sync", async move {
            if let Err(status) = serve(parts, &peer, messages, sender.clone()).await {
                // A node that is gone does not hear why.
                let _ = sender.send_timeout(Err(status), Duration::from_secs(1)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

async fn serve(
    parts: Arc<Parts>,
    peer: &Peer,
    mut messages: Streaming<NodeMessage>,
    sender: mpsc::Sender<Result<ControlMessage, Status>>,
) -> Result<(), Status> {
    let first = tokio::time::timeout(HELLO_WITHIN, messages.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no Hello within 10 seconds"))??;
    let Some(NodeMessage { message: Some(node_message::Message::Hello(hello)) }) = first else {
        return Err(Status::failed_precondition("the first message must be Hello"));
    };
    let (facts, held) = read(hello, peer)?;
    tracing::info!(
        node = %facts.node, boot = %facts.boot, build = facts.build, group = facts.group,
        resumes = held.as_ref().map(|held| held.revision.0), "a node connected"
    );
    let node = facts.node;
    peer.speaks_for(node)?;
    let view = View::of(facts.group.clone(), facts.labels.clone());
    let registered = parts.nodes.connect(facts);
    let ended = tokio::select! {
        ended = Session::new(parts, view, registered, sender, held).run(messages) => ended,
        status = peer.out() => Err(status),
    };
    match &ended {
        Ok(()) => tracing::info!(%node, "a node disconnected"),
        Err(status) => tracing::warn!(%node, code = ?status.code(), reason = status.message(), "a node's stream ended"),
    }
    ended
}

/// A label is remembered for a day, so nobody gets to write novels in it.
fn short_label((name, value): (String, String)) -> (String, String) {
    let short = |text: String| match text.char_indices().nth(LONGEST_LABEL) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    };
    (short(name), short(value))
}

/// Checks what a node says of itself.
fn read(hello: Hello, peer: &Peer) -> Result<(NodeFacts, Option<Held>), Status> {
    if hello.schema_min > SCHEMA_MAX || hello.schema_max < SCHEMA_MIN {
        return Err(Status::failed_precondition(format!(
            "the node reads schemas {} to {}, this control plane writes {SCHEMA_MIN} to {SCHEMA_MAX}",
            hello.schema_min, hello.schema_max
        )));
    }
    let bad =
        |field: &str, length: usize| Status::invalid_argument(format!("{field}: 16 bytes are expected, got {length}"));
    let facts = NodeFacts {
        node: NodeId::from_bytes(&hello.node_id).map_err(|_| bad("node_id", hello.node_id.len()))?,
        boot: BootId::from_bytes(&hello.boot_id).map_err(|_| bad("boot_id", hello.boot_id.len()))?,
        build: hello.build.chars().take(64).collect(),
        // In order first, so that the same ones are taken each time.
        labels: BTreeMap::from_iter(hello.labels).into_iter().take(MOST_LABELS).map(short_label).collect(),
        group: peer.group().to_owned(),
        local: peer.is_local(),
    };
    // What cannot be read is as good as nothing: the node gets everything.
    let held = hello.resume.and_then(|resume| {
        Some(Held {
            epoch: Epoch::from_bytes(&resume.epoch).ok()?,
            revision: Revision(resume.revision),
            digest: digest_from_wire(&resume.digest.unwrap_or_default())?,
            seal: resume.seal,
        })
    });
    Ok((facts, held))
}
