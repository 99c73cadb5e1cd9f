//! The service against a node that the test plays by hand, over a connection of this machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use shared::catalog::{Digest, Item, Kind, Organization, Ref, Resource};
use shared::kernel::ids::{BootId, Epoch, NodeId, Revision};
use shared::kernel::secret::Secret;
use shared::proto::config_sync_client::ConfigSyncClient;
use shared::proto::{self, Ack, ControlMessage, Nack, NodeMessage, SyncMode, control_message, node_message};
use shared::runtime::readiness::Readiness;
use shared::runtime::shutdown::{DrainTiming, Shutdown};
use shared::wire::{digest_from_wire, digest_to_wire};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use super::*;
use crate::fleet::nodes::Order;
use crate::grpc::peer::PeerLayer;
use crate::snapshot::{Edit, Log, LogError, Snapshot};
use crate::store::Head;
use crate::vault::KeyRing;

const EPOCH: Epoch = Epoch::from_uuid(Uuid::from_u128(0xe));

struct NoLog;

#[tonic::async_trait]
impl Log for NoLog {
    async fn head(&self) -> Result<Head, LogError> {
        Ok(Head { epoch: EPOCH, revision: Revision(1) })
    }
    async fn end_epoch(&self, _: Epoch) -> Result<Head, LogError> {
        Ok(Head { epoch: Epoch::generate(), revision: Revision(1) })
    }
    async fn changes_since(&self, _: Revision) -> Result<Option<Vec<Ref>>, LogError> {
        Ok(None)
    }
}

struct Control {
    publisher: Publisher,
    nodes: Nodes,
    channel: Channel,
    shutdown: Shutdown,
}

fn snapshot(revision: u64, versions: &[u64]) -> Snapshot {
    let head = Head { epoch: EPOCH, revision: Revision(revision) };
    let resource = |(id, version): (u128, &u64)| Resource {
        id: Uuid::from_u128(id),
        version: *version,
        parents: vec![],
        blocked: *version == 99,
        expires: None,
        requires: vec![],
        item: Item::Organization(Organization { name: "o".repeat(if id == 1000 { 1 } else { 700 }) }),
    };
    let upserts = (1..).zip(versions).map(resource).collect();
    Snapshot::empty(head).edited(head, Edit { upserts, ..Edit::default() })
}

async fn control(checked: bool) -> Control {
    let (publisher, nodes) = (Publisher::new(), Nodes::default());
    let ring = Arc::new(KeyRing::parse(&Secret::new("r".repeat(64))).unwrap());
    let seals = Seals::new(ring);
    let resumes = Resumes::new(seals.clone(), publisher.clone(), Arc::new(NoLog));
    let timing =
        DrainTiming { min_drain: Duration::ZERO, drain_timeout: Duration::ZERO, flush_timeout: Duration::from_secs(5) };
    let shutdown = Shutdown::new(Readiness::new(), timing);
    let service = SyncService::new(publisher.clone(), seals, resumes, nodes.clone(), shutdown.clone()).into_server();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = format!("http://{}", incoming.local_addr().unwrap());
    if checked {
        tokio::spawn(Server::builder().layer(PeerLayer::local()).add_service(service).serve_with_incoming(incoming));
    } else {
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    }
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    Control { publisher, nodes, channel, shutdown }
}

struct Node {
    says: mpsc::Sender<NodeMessage>,
    hears: Streaming<ControlMessage>,
}

fn hello(resume: Option<proto::Resume>) -> Hello {
    Hello {
        node_id: NodeId::from_uuid(Uuid::from_u128(7)).to_bytes(),
        boot_id: BootId::from_uuid(Uuid::from_u128(8)).to_bytes(),
        build: "test".into(),
        schema_min: SCHEMA_MIN,
        schema_max: SCHEMA_MAX,
        labels: [("region".to_owned(), "eu".to_owned())].into(),
        resume,
    }
}

/// What a node was told in one revision.
#[derive(Debug)]
struct Told {
    mode: SyncMode,
    base: u64,
    revision: u64,
    confirmed: bool,
    versions: Vec<u64>,
    deletes: usize,
    chunks: usize,
    commit: proto::Commit,
}

impl Node {
    async fn connect(control: &Control, hello: Hello) -> Self {
        let (says, receiver) = mpsc::channel(16);
        let node = NodeMessage { message: Some(node_message::Message::Hello(hello)) };
        says.send(node).await.unwrap();
        let mut client = ConfigSyncClient::new(control.channel.clone());
        let hears = client.sync(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { says, hears }
    }

    /// The next message that is no sign of life.
    async fn hear(&mut self) -> Result<control_message::Message, Status> {
        loop {
            let message =
                timeout(Duration::from_secs(10), self.hears.message()).await.expect("a message within 10 s")?;
            let message = message.expect("an open stream");
            assert!(message.control_unix_us > 1_600_000_000_000_000);
            match message.message.unwrap() {
                control_message::Message::Heartbeat(_) => {}
                message => return Ok(message),
            }
        }
    }

    /// How the stream ended.
    async fn ended(&mut self) -> Code {
        self.hear().await.err().expect("an end").code()
    }

    async fn told(&mut self) -> Told {
        let begin = loop {
            match self.hear().await.unwrap() {
                control_message::Message::Begin(begin) => break begin,
                // Whatever is gone was revoked first.
                control_message::Message::Revoke(_) => {}
                _ => panic!("no Begin"),
            }
        };
        let (mut versions, mut deletes, mut chunks) = (vec![], 0, 0);
        loop {
            match self.hear().await.unwrap() {
                control_message::Message::Chunk(chunk) => {
                    chunks += 1;
                    deletes += chunk.deletes.len();
                    versions.extend(chunk.upserts.iter().map(|one| one.version));
                }
                control_message::Message::Commit(commit) => {
                    versions.sort_unstable();
                    assert_eq!(begin.total, (versions.len() + deletes) as u64);
                    return Told {
                        mode: begin.mode(),
                        base: begin.base_revision,
                        revision: begin.revision,
                        confirmed: begin.confirmed,
                        versions,
                        deletes,
                        chunks,
                        commit,
                    };
                }
                _ => panic!("neither chunk nor commit"),
            }
        }
    }

    async fn say(&self, message: node_message::Message) {
        self.says.send(NodeMessage { message: Some(message) }).await.unwrap();
    }

    async fn ack(&self, told: &Told) {
        let rejected =
            vec![proto::Rejection { kind: 6, id: vec![1; 16], version: 3, code: "bad_body".into(), text: "t".into() }];
        let ack = Ack {
            revision: told.revision,
            digest: told.commit.digest.clone(),
            rejected,
            applied_unix_ms: 1,
            epoch: EPOCH.to_bytes(),
        };
        self.say(node_message::Message::Ack(ack)).await;
    }

    async fn nack(&self, told: &Told) {
        self.say(node_message::Message::Nack(Nack { revision: told.revision, reason: "no".into() })).await;
    }

    async fn is_told_nothing(&mut self) {
        assert!(timeout(Duration::from_millis(1_500), self.hear()).await.is_err());
    }
}

fn resume(told: &Told) -> proto::Resume {
    proto::Resume {
        epoch: EPOCH.to_bytes(),
        revision: told.revision,
        digest: told.commit.digest.clone(),
        seal: told.commit.seal.clone(),
    }
}

#[tokio::test]
async fn everything_first_then_what_changed() {
    let control = control(true).await;
    let mut node = Node::connect(&control, hello(None)).await;
    node.is_told_nothing().await;
    control.publisher.publish(snapshot(1, &[1; 3_000]));
    let first = node.told().await;
    assert_eq!((first.mode, first.versions.len(), first.confirmed), (SyncMode::Full, 3_000, false));
    assert!(first.chunks >= 2, "2 MiB go in more than one chunk");
    let mut digest = Digest::default();
    (1..=3_000).for_each(|id| digest.add(Kind::Organization, Uuid::from_u128(id), 1));
    assert_eq!(digest_from_wire(first.commit.digest.as_ref().unwrap()), Some(digest));
    // Two more revisions while it does not answer: it is brought to the newest in one step.
    control.publisher.publish(snapshot(2, &[vec![2; 1], vec![1; 2_999]].concat()));
    control.publisher.publish(snapshot(3, &[vec![2; 2], vec![1; 2_997]].concat()));
    node.ack(&first).await;
    let second = node.told().await;
    assert_eq!((second.mode, second.base, second.revision), (SyncMode::Delta, 1, 3));
    assert_eq!((second.versions, second.deletes), (vec![2, 2], 1));
    let [status] = &control.nodes.list()[..] else { panic!("one node") };
    assert_eq!(status.acknowledged, Some((EPOCH, Revision(1))));
    assert_eq!((status.rejected[0].kind.as_str(), status.rejected[0].version), ("router", 3));
    assert_eq!((status.facts.labels.get("region").unwrap().as_str(), status.facts.local), ("eu", true));
}

#[tokio::test]
async fn a_node_that_comes_back_is_told_no_more_than_it_needs() {
    let control = control(true).await;
    control.publisher.publish(snapshot(1, &[1, 1, 1]));
    let mut node = Node::connect(&control, hello(None)).await;
    let first = node.told().await;
    node.ack(&first).await;
    drop(node);
    let mut again = Node::connect(&control, hello(Some(resume(&first)))).await;
    let nothing = again.told().await;
    assert_eq!((nothing.mode, nothing.base, nothing.versions.len()), (SyncMode::Delta, 1, 0));
    drop(again);
    control.publisher.publish(snapshot(2, &[1, 5, 1]));
    let mut later = Node::connect(&control, hello(Some(resume(&first)))).await;
    let delta = later.told().await;
    assert_eq!((delta.mode, delta.base, delta.versions), (SyncMode::Delta, 1, vec![5]));
    let forged = proto::Resume { seal: vec![1; 36], ..resume(&first) };
    let mut stranger = Node::connect(&control, hello(Some(forged))).await;
    assert_eq!(stranger.told().await.mode, SyncMode::Full);
}

#[tokio::test]
async fn after_a_refusal_everything_once_then_nothing() {
    let control = control(true).await;
    control.publisher.publish(snapshot(1, &[1, 1]));
    let mut node = Node::connect(&control, hello(None)).await;
    let first = node.told().await;
    node.ack(&first).await;
    control.publisher.publish(snapshot(2, &[2, 1]));
    let delta = node.told().await;
    // A digest that differs is a refusal as well.
    let digest = Some(digest_to_wire(&Digest::default()));
    let ack = Ack { revision: 2, digest, rejected: vec![], applied_unix_ms: 1, epoch: EPOCH.to_bytes() };
    assert_eq!(delta.mode, SyncMode::Delta);
    node.say(node_message::Message::Ack(ack)).await;
    let full = node.told().await;
    assert_eq!((full.mode, full.revision), (SyncMode::Full, 2));
    node.nack(&full).await;
    node.is_told_nothing().await;
    assert_eq!(control.nodes.list()[0].stopped.as_deref(), Some("no"));
    control.publisher.publish(snapshot(3, &[3, 1]));
    node.is_told_nothing().await;
    // An operator's word gives it another chance, from what it acknowledged.
    control.nodes.confirm(Revision(3));
    let confirmed = node.told().await;
    assert_eq!((confirmed.mode, confirmed.base, confirmed.confirmed), (SyncMode::Delta, 1, true));
    node.ack(&confirmed).await;
    assert!(control.nodes.order(NodeId::from_uuid(Uuid::from_u128(7)), Order::Resync));
    loop {
        match node.hear().await.unwrap() {
            control_message::Message::Command(_) => {}
            control_message::Message::Begin(begin) => break assert_eq!(begin.mode(), SyncMode::Full),
            _ => panic!("neither command nor begin"),
        }
    }
}

#[tokio::test]
async fn a_revocation_is_told_to_a_node_that_has_not_answered() {
    let control = control(true).await;
    control.publisher.publish(snapshot(1, &[1, 1]));
    let mut node = Node::connect(&control, hello(None)).await;
    node.told().await;
    control.publisher.publish(snapshot(2, &[99, 1]));
    let control_message::Message::Revoke(revoke) = node.hear().await.unwrap() else { panic!("no Revoke") };
    assert_eq!((revoke.kind, revoke.ids, revoke.at_revision), (1, vec![Uuid::from_u128(1).as_bytes().to_vec()], 2));
}

#[tokio::test]
async fn who_does_not_introduce_themselves_is_sent_away() {
    let control = control(true).await;
    control.publisher.publish(snapshot(1, &[1]));
    let bad = [
        Hello { node_id: vec![1], ..hello(None) },
        Hello { schema_min: SCHEMA_MAX + 1, schema_max: SCHEMA_MAX + 2, ..hello(None) },
    ];
    for hello in bad {
        let mut node = Node::connect(&control, hello).await;
        assert!(matches!(node.ended().await, Code::InvalidArgument | Code::FailedPrecondition));
    }
    let mut node = Node::connect(&control, hello(None)).await;
    node.told().await;
    let mut other = Node::connect(&control, hello(None)).await;
    other.told().await;
    assert_eq!(node.ended().await, Code::Aborted);
    control.shutdown.begin();
    control.shutdown.finished().await;
    assert_eq!(other.ended().await, Code::Unavailable);
}

#[tokio::test]
async fn without_the_check_of_peers_nobody_is_served() {
    let control = control(false).await;
    let (_says, receiver) = mpsc::channel::<NodeMessage>(1);
    let mut client = ConfigSyncClient::new(control.channel.clone());
    let refused = client.sync(ReceiverStream::new(receiver)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

/// The next version of a schema is served beside this one; what has nothing in common is told so.
#[tokio::test]
async fn schemas_that_overlap_are_served() {
    let control = control(true).await;
    control.publisher.publish(snapshot(1, &[1]));
    let older = Hello { schema_min: SCHEMA_MIN.saturating_sub(1), schema_max: SCHEMA_MIN, ..hello(None) };
    let newer = Hello { schema_min: SCHEMA_MAX, schema_max: SCHEMA_MAX + 1, ..hello(None) };
    for hello in [older, newer] {
        let mut node = Node::connect(&control, hello).await;
        assert_eq!(node.told().await.revision, 1);
    }
    let ended = Hello { schema_min: 0, schema_max: SCHEMA_MIN.saturating_sub(1), ..hello(None) };
    let mut node = Node::connect(&control, ended).await;
    let refused = loop {
        match node.hears.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let text = format!("this control plane writes {SCHEMA_MIN} to {SCHEMA_MAX}");
    assert!(refused.message().contains(&text), "{}", refused.message());
}
