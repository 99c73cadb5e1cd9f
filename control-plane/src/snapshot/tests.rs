//! Snapshots share what did not change, differences are exact, and a node that comes back gets no more than it needs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use parking_lot::Mutex;
use shared::catalog::{Digest, Item, Kind, Organization, PEPPER_ID, Ref, Resource, SecretPurpose, SecretValue};
use shared::kernel::ids::{Epoch, Revision};
use shared::kernel::secret::{Secret, SecretBytes};
use uuid::Uuid;

use super::*;
use crate::store::Head;
use crate::vault::KeyRing;

const EPOCH: Epoch = Epoch::from_uuid(Uuid::from_u128(0xe));

fn head(revision: u64) -> Head {
    Head { epoch: EPOCH, revision: Revision(revision) }
}

fn resource(id: u128, version: u64) -> Resource {
    Resource {
        id: Uuid::from_u128(id),
        version,
        parents: vec![],
        blocked: false,
        expires: None,
        requires: vec![],
        item: Item::Organization(Organization { name: format!("o{id}") }),
    }
}

/// The pepper: the one secret that is told without anybody who uses it.
fn secret(version: u64) -> Resource {
    let value =
        SecretValue { purpose: SecretPurpose::ProviderCredential, generation: 1, value: SecretBytes::new(vec![1]) };
    Resource { id: PEPPER_ID, item: Item::Secret(value), ..resource(0, version) }
}

fn name(id: u128) -> Ref {
    Ref { kind: Kind::Organization, id: Uuid::from_u128(id) }
}

fn upserts(resources: Vec<Resource>) -> Edit {
    Edit { upserts: resources, ..Edit::default() }
}

fn view() -> View {
    View::of("default".into(), std::collections::BTreeMap::new())
}

fn told(diff: &Diff) -> (Vec<u128>, Vec<u128>) {
    let id = |wire: shared::proto::Resource| Uuid::from_slice(&wire.id).unwrap().as_u128();
    let mut upserts: Vec<_> = diff.upserts.iter().map(|one| id(one.to_wire())).collect();
    upserts.sort_unstable();
    (upserts, diff.deletes.iter().map(|one| one.id.as_u128()).collect())
}

fn ring() -> Arc<KeyRing> {
    Arc::new(KeyRing::parse(&Secret::new("r".repeat(64))).unwrap())
}

#[test]
fn a_snapshot_counts_and_differs_exactly() {
    let first = Snapshot::empty(head(1)).edited(head(1), upserts(vec![resource(2, 1), resource(3, 1), secret(1)]));
    assert_eq!((first.len(), told(&Diff::full(&first, &view())).0), (3, vec![1, 2, 3]));
    let edit =
        Edit { upserts: vec![resource(3, 2), resource(2, 1), secret(2)], deletes: vec![name(9)], ..Edit::default() };
    let second = first.edited(head(2), edit);
    let diff = Diff::between(&first, &second, &view());
    assert_eq!(told(&diff), (vec![1, 3], vec![]));
    let third = second.replaced(head(3), upserts(vec![resource(3, 2), secret(2)]));
    assert_eq!(told(&Diff::between(&second, &third, &view())), (vec![], vec![2]));
    let mut digest = Digest::default();
    digest.add(Kind::Organization, Uuid::from_u128(3), 2);
    digest.add(Kind::Secret, PEPPER_ID, 2);
    assert_eq!(view().digest(&third), digest);
    assert!(Diff::between(&third, &third, &view()).is_empty());
}

#[test]
fn encoding_is_done_once_for_a_version() {
    let first = Snapshot::empty(head(1)).edited(head(1), upserts(vec![resource(1, 1), resource(2, 1)]));
    let second = first.replaced(head(2), upserts(vec![resource(1, 1), resource(2, 2)]));
    let body = |snapshot: &Snapshot, id| snapshot.resources().get(&name(id)).unwrap().wire.body.as_ptr();
    assert_eq!(body(&first, 1), body(&second, 1));
    let sent = Diff::of(&second, &view(), [name(1)]).upserts[0].to_wire();
    assert_eq!(sent.body.as_ptr(), body(&second, 1));
}

#[test]
fn an_unreadable_row_is_closed_not_left_out() {
    let first = Snapshot::empty(head(1)).edited(head(1), upserts(vec![resource(1, 4)]));
    let closed = first.replaced(head(2), Edit { unreadable: vec![name(1), name(2)], ..Edit::default() });
    let wire = Diff::of(&closed, &view(), [name(1)]).upserts[0].to_wire();
    let refused = shared::wire::decode(&wire).unwrap_err();
    assert_eq!((refused.0.code, closed.len()), (shared::wire::RejectCode::MissingFeature, 2));
    let router = Ref { kind: Kind::Router, id: Uuid::from_u128(7) };
    assert_eq!(closed.edited(head(3), Edit { unreadable: vec![router], ..Edit::default() }).len(), 2);
    let healed = closed.edited(head(4), upserts(vec![resource(1, 4)]));
    assert_eq!(told(&Diff::between(&closed, &healed, &view())).0, [1]);
}

#[tokio::test]
async fn those_who_lose_access_are_told_first() {
    let publisher = Publisher::new();
    let mut lane = publisher.fast_lane();
    let first = Snapshot::empty(head(1)).edited(head(1), upserts(vec![resource(1, 1), resource(2, 1), resource(3, 1)]));
    let blocked = Resource { blocked: true, ..resource(1, 2) };
    let edit = Edit { upserts: vec![blocked, resource(3, 2)], deletes: vec![name(2)], ..Edit::default() };
    let second = first.edited(head(2), edit);
    publisher.publish(first);
    publisher.publish(second);
    let mut revocation = Vec::clone(&lane.recv().await.unwrap().references);
    revocation.sort();
    assert_eq!(revocation, [name(1), name(2)]);
    assert!(lane.try_recv().is_err());
    assert_eq!(publisher.at(EPOCH, Revision(1)).unwrap().len(), 3);
    assert!(publisher.at(EPOCH, Revision(9)).is_none());
}

#[test]
fn roots_change_their_version_with_their_value() {
    let of = |pepper: &str, master: &str| {
        let roots = Roots::new(SecretBytes::new(pepper.into()), Some(&Secret::new(master.into())));
        roots.resources().iter().map(|one| (one.kind(), one.id, one.version)).collect::<Vec<_>>()
    };
    let (one, two, three) = (of("p", "m"), of("p", "n"), of("q", "m"));
    assert_eq!(one[0], two[0]);
    assert_ne!(one[1], two[1]);
    assert!(one.iter().zip(&three).all(|(one, three)| one != three));
    assert_eq!(Roots::new(SecretBytes::new(vec![1]), None).resources().len(), 1);
}

/// A database at some head, with a log that reaches back to some revision.
struct Played {
    head: Mutex<Head>,
    log: Option<Vec<Ref>>,
}

#[tonic::async_trait]
impl Log for Played {
    async fn head(&self) -> Result<Head, LogError> {
        Ok(*self.head.lock())
    }
    async fn end_epoch(&self, epoch: Epoch) -> Result<Head, LogError> {
        let mut head = self.head.lock();
        if head.epoch == epoch {
            head.epoch = Epoch::generate();
        }
        Ok(*head)
    }
    async fn changes_since(&self, _: Revision) -> Result<Option<Vec<Ref>>, LogError> {
        Ok(self.log.clone())
    }
}

struct Scene {
    log: Arc<Played>,
    resumes: Resumes,
    seals: Seals,
    publisher: Publisher,
}

fn scene(database: u64, log: Option<Vec<Ref>>) -> Scene {
    let (seals, publisher) = (Seals::new(ring()), Publisher::new());
    let log = Arc::new(Played { head: Mutex::new(head(database)), log });
    let resumes = Resumes::new(seals.clone(), publisher.clone(), Arc::clone(&log) as Arc<dyn Log>);
    Scene { log, resumes, seals, publisher }
}

impl Scene {
    fn held(&self, snapshot: &Snapshot) -> Held {
        let Head { epoch, revision } = snapshot.head();
        Held { epoch, revision, digest: view().digest(snapshot), seal: self.seals.of(snapshot, &view()) }
    }

    async fn base(&self, held: &Held, current: &Arc<Snapshot>) -> Base {
        self.resumes.base(held, &view(), current).await
    }
}

fn at(revision: u64, versions: &[u64]) -> Snapshot {
    let resources = (1..).zip(versions).map(|(id, version)| resource(id, *version)).collect();
    Snapshot::empty(head(revision)).edited(head(revision), upserts(resources))
}

#[tokio::test]
async fn a_node_resumes_from_what_it_holds() {
    let scene = scene(5, Some(vec![name(2)]));
    let current = Arc::new(at(5, &[1, 2]));
    let same = scene.held(&current);
    assert!(matches!(scene.base(&same, &current).await, Base::Snapshot(base) if Arc::ptr_eq(&base, &current)));
    // Kept in memory.
    scene.publisher.publish(at(4, &[1, 1]));
    assert!(
        matches!(scene.base(&scene.held(&at(4, &[1, 1])), &current).await, Base::Snapshot(base) if base.head() == head(4))
    );
    // Known to the log alone: what changed, and the roots that are in no log.
    let Base::Log(Revision(3), changed) = scene.base(&scene.held(&at(3, &[1])), &current).await else {
        panic!("no log")
    };
    assert_eq!((changed.len(), changed.contains(&name(2))), (3, true));
    // A seal of somebody else, or none.
    let forged = Held { seal: vec![0; 52], ..same.clone() };
    assert!(matches!(scene.base(&forged, &current).await, Base::Nothing));
    let other = Held { revision: Revision(4), ..same.clone() };
    assert!(matches!(scene.base(&other, &current).await, Base::Nothing));
    // With other labels it holds what somebody else is told: no reason to doubt the database.
    let labelled = View::of("default".into(), [("canary".to_owned(), "true".to_owned())].into());
    assert!(matches!(scene.resumes.base(&same, &labelled, &current).await, Base::OtherView));
    assert_eq!(scene.log.head.lock().epoch, EPOCH);
}

#[tokio::test]
async fn a_log_that_was_pruned_gives_everything() {
    let scene = scene(5, None);
    assert!(matches!(scene.base(&scene.held(&at(3, &[1])), &Arc::new(at(5, &[1, 2]))).await, Base::Nothing));
}

#[tokio::test]
async fn a_database_that_was_set_back_begins_a_new_epoch() {
    // Beyond the head of the database.
    let behind = scene(5, None);
    let current = Arc::new(at(5, &[1, 2]));
    assert!(matches!(behind.base(&behind.held(&at(9, &[7])), &current).await, Base::Undecided));
    assert_ne!(behind.log.head.lock().epoch, EPOCH);
    // Another content at the same revision, now and in memory.
    let forked = scene(5, None);
    assert!(matches!(forked.base(&forked.held(&at(5, &[7])), &current).await, Base::Undecided));
    assert_ne!(forked.log.head.lock().epoch, EPOCH);
    let remembered = scene(5, None);
    remembered.publisher.publish(at(4, &[1]));
    assert!(matches!(remembered.base(&remembered.held(&at(4, &[7])), &current).await, Base::Undecided));
    assert_ne!(remembered.log.head.lock().epoch, EPOCH);
    // Only this replica is behind: it waits.
    let late = scene(9, None);
    assert!(matches!(late.base(&late.held(&at(9, &[7])), &current).await, Base::Undecided));
    assert_eq!(late.log.head.lock().epoch, EPOCH);
    // Another pepper file is no other lineage.
    let rotated = scene(5, None);
    let other = Snapshot::empty(head(5)).edited(head(5), upserts(vec![resource(1, 1), resource(2, 2), secret(9)]));
    assert!(matches!(rotated.base(&rotated.held(&other), &current).await, Base::Nothing));
    assert_eq!(rotated.log.head.lock().epoch, EPOCH);
}

#[test]
fn one_change_among_a_hundred_thousand_is_one_small_message() {
    use prost::Message;
    let many = (1..=100_000).map(|id| resource(id, 1)).collect();
    let first = Snapshot::empty(head(1)).edited(head(1), upserts(many));
    let began = std::time::Instant::now();
    let second = first.edited(head(2), upserts(vec![resource(50, 2)]));
    let diff = Diff::between(&first, &second, &view());
    let took = began.elapsed();
    assert_eq!(told(&diff), (vec![50], vec![]));
    assert!(diff.upserts[0].to_wire().encoded_len() < 2048);
    assert_eq!(second.resources().unshared_with(first.resources()), 1);
    assert!(took.as_millis() < 50, "{took:?}");
}
