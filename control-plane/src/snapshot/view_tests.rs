//! Groups are told what they serve and no more, staged changes reach whom they are for, and digests and differences agree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::catalog::{
    BalanceStrategy, CarbonFacts, Credential, Digest, Item, Kind, Limit, LimitMode, LimitUnit, OnStoreFailure,
    Organization, PEPPER_ID, Provider, ProviderKind, Ref, Resource, Router, RouterKind, SecretPurpose, SecretValue,
    Window,
};
use shared::kernel::ids::{Epoch, Revision, SecretId};
use shared::kernel::money::Prices;
use shared::kernel::secret::SecretBytes;
use shared::wire::kind_from_wire;
use uuid::Uuid;

use super::*;
use crate::domain::Selector;
use crate::store::Head;

/// A version that no row ever has.
const STAGED: u64 = 1 << 62;

fn head(revision: u64) -> Head {
    Head { epoch: Epoch::from_uuid(Uuid::from_u128(0xe)), revision: Revision(revision) }
}

fn name(kind: Kind, id: u128) -> Ref {
    Ref { kind, id: Uuid::from_u128(id) }
}

fn resource(id: u128, version: u64, parents: &[Ref], item: Item) -> Resource {
    let id = Uuid::from_u128(id);
    Resource { id, version, parents: parents.to_vec(), blocked: false, expires: None, requires: vec![], item }
}

fn router(id: u128, version: u64) -> Resource {
    let router = Router {
        name: format!("router-{id}"),
        kind: RouterKind::TextGeneration,
        aliases: vec![],
        strategy: BalanceStrategy::Shuffle,
        prices: Prices::default(),
        owned_by: String::new(),
        created_unix_s: 0,
        max_context_length: None,
        max_output_tokens: None,
        vector_size: None,
        number: 1,
    };
    resource(id, version, &[], Item::Router(router))
}

fn provider(id: u128, version: u64, of: u128, secret: u128) -> Resource {
    let provider = Provider {
        kind: ProviderKind::OpenAi,
        url: "http://upstream".into(),
        upstream_model: "m".into(),
        timeout: Duration::from_secs(1),
        credential: Credential::Sealed(SecretId::from_uuid(Uuid::from_u128(secret))),
        carbon: CarbonFacts { zone: "WOR".into(), total_params: None, active_params: None },
        weight: None,
        drain_on_disconnect: false,
        number: 1,
    };
    resource(id, version, &[name(Kind::Router, of), name(Kind::Secret, secret)], Item::Provider(provider))
}

fn secret(id: u128, version: u64) -> Resource {
    let value =
        SecretValue { purpose: SecretPurpose::ProviderCredential, generation: 1, value: SecretBytes::new(vec![7]) };
    resource(id, version, &[], Item::Secret(value))
}

fn limit(id: u128, of: u128) -> Resource {
    let limit = Limit {
        unit: LimitUnit::Requests,
        window: Window::Minute,
        amount: None,
        mode: LimitMode::Enforce,
        on_store_failure: OnStoreFailure::LocalShare,
    };
    resource(id, 1, &[name(Kind::Role, 900), name(Kind::Router, of)], Item::Limit(limit))
}

fn organization(id: u128) -> Resource {
    resource(id, 1, &[], Item::Organization(Organization { name: "o".into() }))
}

/// Router 10 with provider 11, secret 12 and limit 13 for `eu`; the same from 20 for `us`; from 30 for all.
fn three() -> Edit {
    let family = |first: u128| {
        [router(first, 1), provider(first + 1, 1, first, first + 2), secret(first + 2, 1), limit(first + 3, first)]
    };
    let mut upserts: Vec<Resource> = [10, 20, 30].into_iter().flat_map(family).collect();
    upserts.push(organization(900));
    upserts.push(secret(1, 1));
    let named = |id: u128, group: &[&str]| (Uuid::from_u128(id), group.iter().map(|one| (*one).to_owned()).collect());
    Edit { upserts, groups: vec![named(10, &["eu"]), named(20, &["us"]), named(30, &[])], ..Edit::default() }
}

fn groups(id: u128, groups: &[&str]) -> Vec<(Uuid, Vec<String>)> {
    vec![(Uuid::from_u128(id), groups.iter().map(|one| (*one).to_owned()).collect())]
}

fn view(group: &str, labels: &[(&str, &str)]) -> View {
    View::of(group.into(), labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
}

/// What a node holds: it takes what it is told, as the table does.
#[derive(Clone, Default, Debug, PartialEq)]
struct Node {
    held: BTreeMap<Ref, u64>,
}

impl Node {
    fn take(&mut self, diff: &Diff) {
        for upsert in &diff.upserts {
            let wire = upsert.to_wire();
            let kind = kind_from_wire(wire.kind).unwrap();
            self.held.insert(Ref { kind, id: Uuid::from_slice(&wire.id).unwrap() }, wire.version);
        }
        for gone in &diff.deletes {
            self.held.remove(gone);
        }
    }

    fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        self.held.iter().for_each(|(one, version)| digest.add(one.kind, one.id, *version));
        digest
    }

    fn ids(&self, kind: Kind) -> BTreeSet<u128> {
        self.held.keys().filter(|one| one.kind == kind).map(|one| one.id.as_u128()).collect()
    }
}

/// A node that was told everything.
fn told(snapshot: &Snapshot, view: &View) -> Node {
    let mut node = Node::default();
    node.take(&Diff::full(snapshot, view));
    assert_eq!(node.digest(), view.digest(snapshot), "a digest is that of what is told");
    node
}

/// Whatever way a node takes from one snapshot to another, it ends with the same.
fn check(old: &Snapshot, new: &Snapshot, log: &[Ref], view: &View) -> Node {
    let whole = told(new, view);
    let (mut stepped, mut logged) = (told(old, view), told(old, view));
    stepped.take(&Diff::between(old, new, view));
    logged.take(&Diff::of(new, view, log.iter().copied()));
    assert_eq!((&stepped, &logged), (&whole, &whole), "{view:?}");
    whole
}

#[test]
fn a_group_is_told_what_it_serves() {
    let first = Snapshot::empty(head(1)).edited(head(1), three());
    let (eu, us, other) = (view("eu", &[]), view("us", &[]), view("default", &[]));
    let node = told(&first, &eu);
    assert_eq!(node.ids(Kind::Router), [10, 30].into());
    assert_eq!(node.ids(Kind::Provider), [11, 31].into());
    assert_eq!(node.ids(Kind::Limit), [13, 33].into());
    assert_eq!(node.ids(Kind::Secret), [PEPPER_ID.as_u128(), 12, 32].into());
    assert_eq!(node.ids(Kind::Organization), [900].into());
    assert_eq!(told(&first, &other).ids(Kind::Router), [30].into());
    assert_eq!(told(&first, &us).ids(Kind::Secret), [1, 22, 32].into());
}

#[test]
fn a_router_moves_with_all_that_hangs_on_it() {
    let first = Snapshot::empty(head(1)).edited(head(1), three());
    let edit = Edit { upserts: vec![router(10, 2)], groups: groups(10, &["us"]), ..Edit::default() };
    let second = first.edited(head(2), edit);
    let log = [name(Kind::Router, 10)];
    let (eu, us) = (view("eu", &[]), view("us", &[]));
    assert_eq!(check(&first, &second, &log, &eu).ids(Kind::Secret), [1, 32].into());
    assert_eq!(check(&first, &second, &log, &us).ids(Kind::Secret), [1, 12, 22, 32].into());
    let diff = Diff::between(&first, &second, &eu);
    assert_eq!((diff.upserts.len(), diff.deletes.len()), (0, 4));
    assert!(Diff::between(&first, &second, &view("default", &[])).is_empty(), "nothing of theirs changed");
    // To everybody, and with a new provider at the same time.
    let upserts = vec![router(10, 3), provider(14, 1, 10, 15), secret(15, 1)];
    let third = second.edited(head(3), Edit { upserts, groups: groups(10, &[]), ..Edit::default() });
    let log = [name(Kind::Router, 10), name(Kind::Provider, 14), name(Kind::Secret, 15)];
    for view in [&eu, &us, &view("default", &[])] {
        assert!(check(&second, &third, &log, view).ids(Kind::Secret).is_superset(&[12, 15].into()));
    }
    // A provider that goes to another router takes its secret along, though that did not change.
    let fourth = third.edited(head(4), Edit { upserts: vec![provider(14, 2, 20, 15)], ..Edit::default() });
    assert!(!check(&third, &fourth, &[name(Kind::Provider, 14)], &eu).ids(Kind::Secret).contains(&15));
    // And a router that is removed is forgotten.
    let deletes = [(Kind::Router, 20), (Kind::Provider, 21), (Kind::Secret, 22), (Kind::Limit, 23)];
    let deletes: Vec<Ref> = deletes.into_iter().map(|(kind, id)| name(kind, id)).collect();
    let fifth = third.edited(head(4), Edit { deletes: deletes.clone(), ..Edit::default() });
    for view in [&eu, &us] {
        check(&third, &fifth, &deletes, view);
    }
    let sixth =
        fifth.edited(head(5), Edit { upserts: vec![router(20, 1)], groups: groups(20, &[]), ..Edit::default() });
    assert!(told(&sixth, &eu).ids(Kind::Router).contains(&20), "the old Groups are forgotten");
}

#[test]
fn a_secret_that_nobody_uses_is_told_to_nobody() {
    let edit = Edit { upserts: vec![secret(5, 1), secret(1, 1)], ..Edit::default() };
    let snapshot = Snapshot::empty(head(1)).edited(head(1), edit);
    assert_eq!(told(&snapshot, &view("default", &[])).ids(Kind::Secret), [1].into());
}

#[test]
fn what_is_read_anew_is_placed_as_before() {
    let first = Snapshot::empty(head(1)).edited(head(1), three());
    let second = first.replaced(head(2), three());
    for group in ["eu", "us", "default"] {
        assert!(Diff::between(&first, &second, &view(group, &[])).is_empty());
        assert_eq!(view(group, &[]).digest(&second), view(group, &[]).digest(&first));
    }
}

/// Provider 11 of router 10 as it will be, with another secret and without the present one.
fn staged(labels: &[(&str, &str)]) -> Vec<StagedChange> {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let next = provider(11, STAGED | 1, 10, 16);
    let versions = vec![
        StagedVersion { reference: next.reference(), base: Some(1), resource: Some(next) },
        StagedVersion { reference: name(Kind::Secret, 16), base: None, resource: Some(secret(16, STAGED | 2)) },
        StagedVersion { reference: name(Kind::Secret, 12), base: Some(1), resource: None },
    ];
    vec![StagedChange { selector: Selector::stored(labels), versions }]
}

#[test]
fn a_staged_change_is_told_to_whom_it_is_for() {
    let first = Snapshot::empty(head(1)).edited(head(1), three());
    let second = first.edited(head(2), Edit { staged: staged(&[("canary", "true")]), ..Edit::default() });
    let log = [name(Kind::Provider, 11), name(Kind::Secret, 16), name(Kind::Secret, 12)];
    let (plain, canary) = (view("eu", &[]), view("eu", &[("canary", "true"), ("rack", "2")]));
    let elsewhere = view("us", &[("canary", "true")]);
    let node = check(&first, &second, &log, &canary);
    assert_eq!(node.held[&name(Kind::Provider, 11)], STAGED | 1);
    assert_eq!(node.ids(Kind::Secret), [1, 16, 32].into());
    assert_eq!(check(&first, &second, &log, &plain), told(&first, &plain));
    assert_eq!(check(&first, &second, &log, &elsewhere), told(&first, &elsewhere), "another Group is not concerned");

    // Widened, then promoted: the catalog has it, at a version of its own.
    let third = second.edited(head(3), Edit { staged: staged(&[("rack", "2")]), ..Edit::default() });
    let racked = view("eu", &[("rack", "2")]);
    assert_eq!(check(&second, &third, &log, &racked).ids(Kind::Secret), [1, 16, 32].into());
    let upserts = vec![provider(11, 2, 10, 16), secret(16, 1)];
    let promoted = third.edited(head(4), Edit { upserts, deletes: vec![name(Kind::Secret, 12)], ..Edit::default() });
    for view in [&plain, &canary, &racked] {
        assert_eq!(check(&third, &promoted, &log, view).held[&name(Kind::Provider, 11)], 2);
    }
    // Withdrawn: everything is as before.
    let withdrawn = third.edited(head(4), Edit::default());
    assert_eq!(check(&third, &withdrawn, &log, &canary).held, told(&first, &canary).held);
}

#[test]
fn a_change_of_the_catalog_counts_before_what_was_staged_on_it() {
    let labels = [("canary", "true")];
    let first = Snapshot::empty(head(1)).edited(head(1), Edit { staged: staged(&labels), ..three() });
    let canary = view("eu", &labels);
    assert_eq!(told(&first, &canary).ids(Kind::Secret), [1, 16, 32].into());
    let edit = Edit { upserts: vec![provider(11, 2, 10, 12)], staged: staged(&labels), ..Edit::default() };
    let second = first.edited(head(2), edit);
    let node = check(&first, &second, &[name(Kind::Provider, 11)], &canary);
    assert_eq!(node.held[&name(Kind::Provider, 11)], 2);
    assert_eq!(node.ids(Kind::Secret), [1, 12, 32].into());
}

#[test]
fn views_are_told_apart() {
    let marks: BTreeSet<_> = [
        view("eu", &[]),
        view("us", &[]),
        view("eu", &[("a", "b")]),
        view("eu", &[("ab", "")]),
        view("eua", &[("b", "")]),
    ]
    .iter()
    .map(View::mark)
    .collect();
    assert_eq!(marks.len(), 5);
    assert_eq!(view("eu", &[("a", "b")]).mark(), view("eu", &[("a", "b")]).mark());
}

/// Ten thousand routers of ten Groups: one change costs a node next to nothing.
#[test]
fn one_change_among_many_routers_is_cheap_for_each_node() {
    let families = (0..10_000_u128).map(|number| 1_000 + number * 10);
    let mut first = Edit::default();
    for router_id in families {
        first.upserts.extend([router(router_id, 1), provider(router_id + 1, 1, router_id, router_id + 2)]);
        first.upserts.push(secret(router_id + 2, 1));
        first.groups.push((Uuid::from_u128(router_id), vec![format!("group-{}", router_id / 10 % 10)]));
    }
    let first = Snapshot::empty(head(1)).edited(head(1), first);
    let began = std::time::Instant::now();
    let edit = Edit { upserts: vec![router(1_000, 2)], groups: groups(1_000, &["group-3"]), ..Edit::default() };
    let second = first.edited(head(2), edit);
    let mut told = 0;
    for number in 0..1_000 {
        let view = view(&format!("group-{}", number % 10), &[]);
        told += Diff::between(&first, &second, &view).len();
        assert_ne!(view.digest(&second), Default::default());
    }
    let took = began.elapsed();
    assert_eq!(told, 100 * 3 + 100 * 3, "one Group loses three, another gains them");
    assert!(took < Duration::from_secs(2), "{took:?}");
}
