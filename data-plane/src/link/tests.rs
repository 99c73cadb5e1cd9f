//! A node against a control plane that the test plays by hand, over the line between the planes of one process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use shared::catalog::{Digest, Kind, Resource};
use shared::kernel::clock::FleetClock;
use shared::kernel::ids::{BootId, Epoch, NodeId};
use shared::kernel::secret::Secret;
use shared::proto::config_sync_server::{ConfigSync, ConfigSyncServer};
use shared::proto::usage_server::{Usage, UsageServer};
use shared::proto::{
    self, Begin, Chunk, Commit, ControlHeartbeat, ControlMessage, NodeMessage, Revoke, SyncMode, UsageAck, UsageBatch,
    control_message, node_message,
};
use shared::runtime::readiness::Readiness;
use shared::runtime::shutdown::{DrainTiming, Shutdown};
use shared::wire::{digest_to_wire, encode, kind_to_wire, ref_to_wire};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::*;
use crate::spool::{Batch, RecordSource};
use crate::table::fixture::{self, EPOCH, MEMBER_KEY, World, world};
use crate::table::{AuthRefusal, Handle};

type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// One stream of a node, in the hands of the test.
struct Peer<In, Out> {
    messages: Streaming<In>,
    answers: mpsc::Sender<Result<Out, Status>>,
}

type Peers<In, Out> = mpsc::Sender<Peer<In, Out>>;

#[derive(Clone)]
struct Played {
    syncs: Peers<NodeMessage, ControlMessage>,
    reports: Peers<UsageBatch, UsageAck>,
}

async fn hand_over<In, Out: Send + 'static>(
    to: &Peers<In, Out>,
    messages: Streaming<In>,
) -> Result<Response<Outgoing<Out>>, Status> {
    let (answers, outgoing) = mpsc::channel(16);
    to.send(Peer { messages, answers }).await.map_err(|_| Status::unavailable("the test is over"))?;
    Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
}

#[tonic::async_trait]
impl ConfigSync for Played {
    type SyncStream = Outgoing<ControlMessage>;
    async fn sync(&self, request: Request<Streaming<NodeMessage>>) -> Result<Response<Self::SyncStream>, Status> {
        hand_over(&self.syncs, request.into_inner()).await
    }
}

#[tonic::async_trait]
impl Usage for Played {
    type ReportStream = Outgoing<UsageAck>;
    async fn report(&self, request: Request<Streaming<UsageBatch>>) -> Result<Response<Self::ReportStream>, Status> {
        hand_over(&self.reports, request.into_inner()).await
    }
}

/// The control plane's side of the line.
struct Control {
    syncs: mpsc::Receiver<Peer<NodeMessage, ControlMessage>>,
    reports: mpsc::Receiver<Peer<UsageBatch, UsageAck>>,
    dialer: Dialer,
}

fn control() -> Control {
    let (dialer, line) = Dialer::local();
    let ((syncs, sync_peers), (reports, report_peers)) = (mpsc::channel(4), mpsc::channel(4));
    let played = Played { syncs, reports };
    let server = tonic::transport::Server::builder()
        .add_service(ConfigSyncServer::new(played.clone()))
        .add_service(UsageServer::new(played))
        .serve_with_incoming(ReceiverStream::new(line).map(Ok::<_, std::io::Error>));
    tokio::spawn(server);
    Control { syncs: sync_peers, reports: report_peers, dialer }
}

struct Node {
    table: Handle,
    readiness: Readiness,
    shutdown: Shutdown,
    clock: FleetClock,
}

fn quick_shutdown(readiness: &Readiness) -> Shutdown {
    let timing =
        DrainTiming { min_drain: Duration::ZERO, drain_timeout: Duration::ZERO, flush_timeout: Duration::from_secs(5) };
    Shutdown::new(readiness.clone(), timing)
}

fn node(dialer: Dialer, max_stale: Option<Duration>) -> Node {
    node_with_copy(dialer, max_stale, None)
}

fn node_with_copy(dialer: Dialer, max_stale: Option<Duration>, last_good: Option<LastGoodOptions>) -> Node {
    let readiness = Readiness::new();
    let shutdown = quick_shutdown(&readiness);
    let (table, clock) = (Handle::default(), FleetClock::from_wall_clock());
    let options = LinkOptions {
        identity: Identity::passing(),
        labels: HashMap::from([("region".into(), "eu".into())]),
        max_stale,
        last_good,
        pulse: Arc::new(Pulse::default),
        log_level: Arc::new(|_| {}),
    };
    Link::new(dialer, options, table.clone(), clock.clone(), readiness.condition("catalog"), shutdown.clone()).start();
    Node { table, readiness, shutdown, clock }
}

/// What the test tells a node.
struct Tell<'a> {
    peer: &'a mut Peer<NodeMessage, ControlMessage>,
}

impl Control {
    async fn sync(&mut self) -> Peer<NodeMessage, ControlMessage> {
        timeout(Duration::from_secs(10), self.syncs.recv()).await.expect("a node within 10 s").expect("a node")
    }
}

impl Peer<NodeMessage, ControlMessage> {
    /// The next message that is no sign of life.
    async fn hear(&mut self) -> node_message::Message {
        loop {
            let message =
                timeout(Duration::from_secs(10), self.messages.message()).await.expect("a message within 10 s");
            match message.unwrap().expect("an open stream").message.unwrap() {
                node_message::Message::Heartbeat(_) => {}
                message => return message,
            }
        }
    }

    async fn hello(&mut self) -> proto::Hello {
        match self.hear().await {
            node_message::Message::Hello(hello) => hello,
            other => panic!("no Hello but {other:?}"),
        }
    }

    async fn ack(&mut self) -> proto::Ack {
        match self.hear().await {
            node_message::Message::Ack(ack) => ack,
            other => panic!("no Ack but {other:?}"),
        }
    }

    async fn nack(&mut self) -> proto::Nack {
        match self.hear().await {
            node_message::Message::Nack(nack) => nack,
            other => panic!("no Nack but {other:?}"),
        }
    }

    fn tell(&mut self) -> Tell<'_> {
        Tell { peer: self }
    }
}

fn digest_of<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Digest {
    let mut digest = Digest::default();
    resources.into_iter().for_each(|one| digest.add(one.kind(), one.id, one.version));
    digest
}

impl Tell<'_> {
    async fn say(&self, message: control_message::Message) {
        let control_unix_us = 1_900_000_000_000_000;
        self.peer.answers.send(Ok(ControlMessage { control_unix_us, message: Some(message) })).await.unwrap();
    }

    async fn begin(&self, epoch: Epoch, revision: u64, base: Option<u64>) {
        let mode = if base.is_some() { SyncMode::Delta } else { SyncMode::Full };
        let begin = Begin {
            epoch: epoch.to_bytes(),
            revision,
            mode: mode.into(),
            base_revision: base.unwrap_or(0),
            total: 0,
            confirmed: false,
        };
        self.say(control_message::Message::Begin(begin)).await;
    }

    async fn chunk(&self, upserts: Vec<proto::Resource>, deletes: Vec<proto::Ref>) {
        self.say(control_message::Message::Chunk(Chunk { upserts, deletes })).await;
    }

    async fn commit(&self, revision: u64, digest: &Digest) {
        let commit = Commit { revision, digest: Some(digest_to_wire(digest)), seal: vec![7; 36] };
        self.say(control_message::Message::Commit(commit)).await;
    }

    async fn full(&self, revision: u64, resources: &[Resource]) {
        self.begin(EPOCH, revision, None).await;
        for half in resources.chunks(resources.len() / 2 + 1) {
            self.chunk(half.iter().map(encode).collect(), vec![]).await;
        }
        self.commit(revision, &digest_of(resources)).await;
    }

    async fn revoke(&self, kind: Kind, id: Uuid, at_revision: u64) {
        let revoke = Revoke { kind: kind_to_wire(kind), ids: vec![id.as_bytes().to_vec()], at_revision };
        self.say(control_message::Message::Revoke(revoke)).await;
    }
}

fn member(node: &Node, world: &World) -> Result<(), AuthRefusal> {
    node.table.load().authenticate(world.member_key.text.expose(), fixture::at(0)).map(|_| ())
}

#[tokio::test]
async fn nothing_counts_before_its_commit() {
    let (mut control, world) = (control(), world());
    let node = node(control.dialer.clone(), None);
    let mut peer = control.sync().await;
    let hello = peer.hello().await;
    assert!(hello.resume.is_none() && hello.labels.get("region").is_some_and(|region| region == "eu"));
    peer.tell().begin(EPOCH, 3, None).await;
    peer.tell().chunk(world.resources.iter().map(encode).collect(), vec![]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((member(&node, &world), node.readiness.unmet()), (Err(AuthRefusal::Unknown), vec!["catalog"]));
    peer.tell().commit(3, &digest_of(&world.resources)).await;
    let ack = peer.ack().await;
    assert_eq!((ack.revision, ack.rejected.len(), ack.epoch), (3, 0, EPOCH.to_bytes()));
    assert_eq!(ack.digest, Some(digest_to_wire(&digest_of(&world.resources))));
    assert_eq!((member(&node, &world), node.readiness.unmet().len()), (Ok(()), 0));
    // Fleet time is the control plane's.
    assert!(node.clock.now().unix_millis() >= 1_900_000_000_000);
}

#[tokio::test]
async fn what_is_held_is_said_again_and_built_upon() {
    let (mut control, world) = (control(), world());
    let node = node(control.dialer.clone(), None);
    let mut peer = control.sync().await;
    peer.hello().await;
    peer.tell().full(3, &world.resources).await;
    peer.ack().await;
    drop(peer);
    let mut peer = control.sync().await;
    let resume = peer.hello().await.resume.expect("a resume");
    assert_eq!((resume.epoch, resume.revision, resume.seal), (EPOCH.to_bytes(), 3, vec![7; 36]));
    assert_eq!(resume.digest, Some(digest_to_wire(&digest_of(&world.resources))));
    assert_eq!((member(&node, &world), node.readiness.unmet().len()), (Ok(()), 0));
    let kept: Vec<_> = world.resources.iter().filter(|one| one.id != MEMBER_KEY).cloned().collect();
    peer.tell().begin(EPOCH, 4, Some(3)).await;
    peer.tell().chunk(vec![], vec![ref_to_wire(world.get(MEMBER_KEY).reference())]).await;
    peer.tell().commit(4, &digest_of(&kept)).await;
    assert_eq!(peer.ack().await.revision, 4);
    assert_eq!(member(&node, &world), Err(AuthRefusal::Unknown));
}

#[tokio::test]
async fn a_revision_that_does_not_fit_is_refused_whole() {
    let (mut control, world) = (control(), world());
    let node = node(control.dialer.clone(), None);
    let mut peer = control.sync().await;
    peer.hello().await;
    let digest = digest_of(&world.resources);
    peer.tell().begin(EPOCH, 3, Some(2)).await;
    peer.tell().commit(3, &digest).await;
    assert!(peer.nack().await.reason.contains("a change from revision 2"));
    peer.tell().full(3, &world.resources).await;
    peer.ack().await;
    let blocked = Resource { version: 9, blocked: true, ..world.get(MEMBER_KEY) };
    let cases: [(u64, Option<u64>, &str); 3] =
        [(2, None, "older"), (5, Some(4), "revision 3 is held"), (4, Some(3), "digest")];
    for (revision, base, reason) in cases {
        peer.tell().begin(EPOCH, revision, base).await;
        peer.tell().chunk(vec![encode(&blocked)], vec![]).await;
        peer.tell().commit(revision, &digest).await;
        let nack = peer.nack().await;
        assert!(nack.revision == revision && nack.reason.contains(reason), "{}", nack.reason);
        assert_eq!((member(&node, &world), node.table.load().revision().0), (Ok(()), 3));
    }
    // Another lineage may begin anywhere.
    peer.tell().begin(Epoch::generate(), 1, None).await;
    peer.tell().chunk(world.resources.iter().map(encode).collect(), vec![]).await;
    peer.tell().commit(1, &digest).await;
    assert_eq!(peer.ack().await.revision, 1);
}

#[tokio::test]
async fn a_bad_resource_is_named_and_left_out_alone() {
    let (mut control, world) = (control(), world());
    let node = node(control.dialer.clone(), None);
    let mut peer = control.sync().await;
    peer.hello().await;
    let mut wire: Vec<_> = world.resources.iter().map(encode).collect();
    let bad = wire.iter_mut().find(|one| one.id == MEMBER_KEY.as_bytes()).unwrap();
    bad.body = vec![0xff; 9].into();
    peer.tell().begin(EPOCH, 1, None).await;
    peer.tell().chunk(wire, vec![]).await;
    peer.tell().commit(1, &digest_of(&world.resources)).await;
    let ack = peer.ack().await;
    assert_eq!((ack.rejected.len(), ack.rejected[0].code.as_str()), (1, "bad_body"));
    assert_eq!(ack.rejected[0].id, MEMBER_KEY.as_bytes());
    let table = node.table.load();
    assert!(table.authenticate(world.admin_key.text.expose(), fixture::at(0)).is_ok());
    assert_eq!(member(&node, &world), Err(AuthRefusal::Unknown));
}

#[tokio::test]
async fn a_revocation_overtakes_a_revision_and_survives_an_older_one() {
    let (mut control, world) = (control(), world());
    let node = node(control.dialer.clone(), None);
    let mut peer = control.sync().await;
    peer.hello().await;
    peer.tell().full(3, &world.resources).await;
    peer.ack().await;
    // Revision 4 is on its way, built on a table that knows nothing of the revocation at 5.
    peer.tell().begin(EPOCH, 4, Some(3)).await;
    peer.tell().revoke(Kind::Key, MEMBER_KEY, 5).await;
    timeout(Duration::from_secs(5), async {
        while member(&node, &world).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the revocation applies before the revision is committed");
    peer.tell().commit(4, &digest_of(&world.resources)).await;
    assert_eq!(peer.ack().await.revision, 4);
    assert_eq!(member(&node, &world), Err(AuthRefusal::Unknown));
    // What an older revision says again is over when its own is in.
    peer.tell().begin(EPOCH, 5, Some(4)).await;
    peer.tell().commit(5, &digest_of(&world.resources)).await;
    peer.ack().await;
    assert_eq!(member(&node, &world), Ok(()));
}

#[tokio::test]
async fn half_of_the_keys_do_not_vanish_without_a_word() {
    let (mut control, world) = (control(), world());
    let node = node(control.dialer.clone(), None);
    let mut peer = control.sync().await;
    peer.hello().await;
    let mut resources = world.resources.clone();
    resources.extend(
        (0..30).map(|n| fixture::foreign_key(Uuid::from_u128(0x1000 + n), Some(fixture::MEMBER), &format!("k{n}"))),
    );
    peer.tell().full(1, &resources).await;
    peer.ack().await;
    peer.tell().full(2, &world.resources).await;
    assert!(peer.nack().await.reason.contains("2 of 32 keys"));
    assert_eq!(node.table.load().key_count(), 32);
    let begin = Begin {
        epoch: EPOCH.to_bytes(),
        revision: 2,
        mode: SyncMode::Full.into(),
        base_revision: 0,
        total: 0,
        confirmed: true,
    };
    peer.tell().say(control_message::Message::Begin(begin)).await;
    peer.tell().chunk(world.resources.iter().map(encode).collect(), vec![]).await;
    peer.tell().commit(2, &digest_of(&world.resources)).await;
    assert_eq!(peer.ack().await.revision, 2);
}

#[tokio::test]
async fn a_catalog_of_unknown_age_is_refused_only_where_the_operator_says_so() {
    let (mut control, world) = (control(), world());
    let node = node(control.dialer.clone(), Some(Duration::from_millis(1_500)));
    let mut peer = control.sync().await;
    peer.hello().await;
    peer.tell().full(1, &world.resources).await;
    peer.ack().await;
    assert_eq!(member(&node, &world), Ok(()));
    drop(peer);
    control.syncs.close();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!((member(&node, &world), node.readiness.unmet().len()), (Err(AuthRefusal::Closed), 0));
}

#[tokio::test]
async fn being_told_that_nothing_changed_keeps_it_fresh() {
    let (mut control, world) = (control(), world());
    let node = node(control.dialer.clone(), Some(Duration::from_millis(1_500)));
    let mut peer = control.sync().await;
    peer.hello().await;
    peer.tell().full(1, &world.resources).await;
    peer.ack().await;
    for _ in 0..12 {
        let heartbeat = ControlHeartbeat { head_revision: 1, live_nodes: 1 };
        peer.tell().say(control_message::Message::Heartbeat(heartbeat)).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(member(&node, &world), Ok(()));
    }
}

#[tokio::test]
async fn a_node_starts_from_its_copy_and_builds_upon_it() {
    let (mut first, world) = (control(), world());
    let folder = std::env::temp_dir().join(format!("gatewright-link-{}", Uuid::now_v7()));
    let copy = LastGoodOptions { folder: folder.clone(), key: Secret::new("k".repeat(64)) };
    let before = node_with_copy(first.dialer.clone(), None, Some(copy.clone()));
    let mut peer = first.sync().await;
    peer.hello().await;
    peer.tell().full(3, &world.resources).await;
    peer.ack().await;
    peer.tell().begin(EPOCH, 4, Some(3)).await;
    let gone = world.get(fixture::ADMIN_KEY);
    peer.tell().chunk(vec![], vec![ref_to_wire(gone.reference())]).await;
    let kept: Vec<_> = world.resources.iter().filter(|one| one.id != gone.id).cloned().collect();
    peer.tell().commit(4, &digest_of(&kept)).await;
    peer.ack().await;
    peer.tell().revoke(Kind::Key, MEMBER_KEY, 6).await;
    // The process ends in order; what waited is written.
    tokio::time::sleep(Duration::from_millis(200)).await;
    before.shutdown.begin();
    before.shutdown.finished().await;
    // Nobody is there when it starts again.
    let mut second = control();
    let after = node_with_copy(second.dialer.clone(), None, Some(copy));
    timeout(Duration::from_secs(5), async {
        while !after.readiness.unmet().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it is ready by itself");
    let table = after.table.load();
    assert_eq!((table.revision().0, table.key_count()), (4, 1));
    assert_eq!(member(&after, &world), Err(AuthRefusal::Unknown));
    let mut peer = second.sync().await;
    let resume = peer.hello().await.resume.expect("a resume");
    assert_eq!((resume.revision, resume.digest), (4, Some(digest_to_wire(&digest_of(&kept)))));
    peer.tell().begin(EPOCH, 6, Some(4)).await;
    peer.tell().commit(6, &digest_of(&kept)).await;
    assert_eq!(peer.ack().await.revision, 6);
    assert_eq!(member(&after, &world), Ok(()));
    after.shutdown.begin();
    after.shutdown.finished().await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn the_age_of_a_copy_is_counted_from_when_it_was_the_newest() {
    let (mut first, world) = (control(), world());
    let folder = std::env::temp_dir().join(format!("gatewright-link-{}", Uuid::now_v7()));
    let copy = LastGoodOptions { folder: folder.clone(), key: Secret::new("k".repeat(64)) };
    let before = node_with_copy(first.dialer.clone(), None, Some(copy.clone()));
    let mut peer = first.sync().await;
    peer.hello().await;
    // Told in the past of this machine's clock.
    let control_unix_us = 1_600_000_000_000_000;
    let message = Some(control_message::Message::Heartbeat(ControlHeartbeat::default()));
    peer.answers.send(Ok(ControlMessage { control_unix_us, message })).await.unwrap();
    let begin = Begin { epoch: EPOCH.to_bytes(), revision: 1, mode: SyncMode::Full.into(), ..Begin::default() };
    let chunk = Chunk { upserts: world.resources.iter().map(encode).collect(), deletes: vec![] };
    let commit = Commit { revision: 1, digest: Some(digest_to_wire(&digest_of(&world.resources))), seal: vec![] };
    for message in [
        control_message::Message::Begin(begin),
        control_message::Message::Chunk(chunk),
        control_message::Message::Commit(commit),
    ] {
        peer.answers.send(Ok(ControlMessage { control_unix_us, message: Some(message) })).await.unwrap();
    }
    peer.ack().await;
    before.shutdown.begin();
    before.shutdown.finished().await;
    let (dialer, line) = Dialer::local();
    drop(line);
    let strict = node_with_copy(dialer.clone(), Some(Duration::from_secs(3600)), Some(copy.clone()));
    let lenient = node_with_copy(dialer, None, Some(copy));
    for (node, expected) in [(strict, Err(AuthRefusal::Closed)), (lenient, Ok(()))] {
        timeout(Duration::from_secs(5), async {
            while !node.readiness.unmet().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("it is ready");
        assert_eq!(member(&node, &world), expected);
        node.shutdown.begin();
        node.shutdown.finished().await;
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Numbered records of two starts of a node.
#[derive(Default)]
struct Records {
    all: Vec<Batch>,
    next: usize,
    acknowledged: Arc<Mutex<Vec<(BootId, u64)>>>,
    arrivals: Arc<Notify>,
}

impl RecordSource for Records {
    fn next_batch(&mut self, _most: usize) -> Option<Batch> {
        let batch = self.all.get(self.next).cloned()?;
        self.next += 1;
        Some(batch)
    }
    fn acknowledge(&mut self, boot: BootId, seq: u64) {
        let before = self.all.len();
        self.all.retain(|batch| batch.boot != boot || batch.seq > seq);
        self.next -= before - self.all.len();
        self.acknowledged.lock().push((boot, seq));
    }
    fn rewind(&mut self) {
        self.next = 0;
    }
    fn backlog(&self) -> u64 {
        self.all.len() as u64
    }
    fn arrivals(&self) -> Arc<Notify> {
        Arc::clone(&self.arrivals)
    }
}

#[tokio::test]
async fn records_are_sent_until_they_are_acknowledged() {
    let mut control = control();
    let (old, new) = (BootId::generate(), BootId::generate());
    let batch = |boot, seq| Batch { boot, seq, records: vec![bytes::Bytes::new()] };
    let source = Records { all: vec![batch(old, 4), batch(old, 6), batch(new, 1)], ..Records::default() };
    let acknowledged = Arc::clone(&source.acknowledged);
    let shutdown = quick_shutdown(&Readiness::new());
    report::start(source, control.dialer.clone(), NodeId::generate(), &shutdown);
    let mut next = async || timeout(Duration::from_secs(10), control.reports.recv()).await.unwrap().unwrap();
    // Both go out without waiting; the stream breaks after the first was acknowledged.
    let mut first = next().await;
    let seqs =
        [first.messages.message().await.unwrap().unwrap().seq, first.messages.message().await.unwrap().unwrap().seq];
    assert_eq!(seqs, [4, 6]);
    first.answers.send(Ok(UsageAck { seq: 4 })).await.unwrap();
    first.answers.send(Err(Status::unavailable("the ledger is away"))).await.unwrap();
    // The second comes again, and only it: what follows belongs to another start of the node.
    let mut second = next().await;
    assert_eq!(second.messages.message().await.unwrap().unwrap().seq, 6);
    second.answers.send(Ok(UsageAck { seq: 6 })).await.unwrap();
    let mut third = next().await;
    let last = third.messages.message().await.unwrap().unwrap();
    assert_eq!((last.seq, last.boot_id), (1, new.to_bytes()));
    // The end of the process waits for it.
    shutdown.begin();
    let ending = shutdown.clone();
    let ended = tokio::spawn(async move { ending.finished().await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!ended.is_finished());
    third.answers.send(Ok(UsageAck { seq: 1 })).await.unwrap();
    timeout(Duration::from_secs(3), ended).await.expect("it ends when all is acknowledged").unwrap();
    assert_eq!(*acknowledged.lock(), [(old, 4), (old, 6), (new, 1)]);
}

#[tokio::test]
async fn a_node_stops_with_its_process() {
    let control = control();
    let node = node(control.dialer.clone(), None);
    node.shutdown.begin();
    timeout(Duration::from_secs(3), node.shutdown.finished()).await.expect("it ends");
}
