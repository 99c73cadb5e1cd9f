//! What was kept is found again, whatever happened to the files; what was not whole is never used.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use shared::catalog::{Digest, Item, Kind as ResourceKind, Ref, Resource};
use shared::proto::{self, Begin};
use shared::wire::{digest_to_wire, encode, kind_to_wire, ref_to_wire};
use uuid::Uuid;

use super::*;
use crate::table::Table;
use crate::table::fixture::{self, EPOCH, MEMBER_KEY, World, world};

const AT: FleetTime = FleetTime::from_unix_millis(1_700_000_000_000);

struct Place(LastGoodOptions);

impl Place {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("gatewright-copy-{}", Uuid::now_v7()));
        Self(LastGoodOptions { folder, key: Secret::new("n".repeat(64)) })
    }

    fn open(&self) -> (LastGood, Option<Loaded>) {
        LastGood::open(self.0.clone()).unwrap()
    }

    fn loaded(&self) -> Option<Loaded> {
        read::newest(&self.0.folder, &self.0.key)
    }

    fn files(&self) -> Vec<PathBuf> {
        read::generations(&self.0.folder).into_iter().map(|(_, path)| path).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0.folder);
    }
}

fn digest(resources: &[Resource]) -> Digest {
    let mut digest = Digest::default();
    resources.iter().for_each(|one| digest.add(one.kind(), one.id, one.version));
    digest
}

fn commit(revision: u64, resources: &[Resource]) -> Commit {
    Commit { revision, digest: Some(digest_to_wire(&digest(resources))), seal: vec![revision as u8; 36] }
}

/// A whole catalog, as a control plane would tell it.
fn keep_full(copy: &LastGood, revision: u64, resources: &[Resource]) {
    let begin = Begin { epoch: EPOCH.to_bytes(), revision, mode: SyncMode::Full.into(), ..Begin::default() };
    let mut recording = copy.record(&begin, AT);
    for some in resources.chunks(7) {
        recording.chunk(&Chunk { upserts: some.iter().map(encode).collect(), deletes: vec![] });
    }
    recording.commit(&commit(revision, resources));
    copy.keep(recording, true);
}

/// A change of one resource; `resources` is the catalog before and after it.
fn keep_change(copy: &LastGood, revision: u64, resources: &mut Vec<Resource>, change: Result<Resource, Ref>) {
    let (reference, chunk) = match &change {
        Ok(resource) => (resource.reference(), Chunk { upserts: vec![encode(resource)], deletes: vec![] }),
        Err(reference) => (*reference, Chunk { upserts: vec![], deletes: vec![ref_to_wire(*reference)] }),
    };
    resources.retain(|one| one.reference() != reference);
    resources.extend(change.ok());
    let (base_revision, mode) = (revision - 1, SyncMode::Delta.into());
    let begin = Begin { epoch: EPOCH.to_bytes(), revision, mode, base_revision, total: 1, confirmed: false };
    let mut recording = copy.record(&begin, AT);
    recording.chunk(&chunk);
    recording.commit(&commit(revision, resources));
    copy.keep(recording, true);
}

fn revoke(copy: &LastGood, id: Uuid, at_revision: u64) {
    copy.revoke(&Revoke { kind: kind_to_wire(ResourceKind::Key), ids: vec![id.as_bytes().to_vec()], at_revision });
}

fn lets_in(table: &Table, world: &World) -> bool {
    table.authenticate(world.member_key.text.expose(), fixture::at(0)).is_ok()
}

/// Few resources, so that every byte of their files can be tried.
fn small_world() -> World {
    let mut world = world();
    let kept =
        [fixture::ORGANIZATION, fixture::MEMBERS, fixture::MEMBER, MEMBER_KEY, fixture::ADMIN_KEY, Uuid::from_u128(1)];
    world.resources.retain(|one| kept.contains(&one.id));
    world
}

/// Base at 1, changes 2 and 3, a revocation at 9; returns the catalog at its end.
async fn story(copy: &LastGood, world: &World) -> Vec<Resource> {
    let mut resources = world.resources.clone();
    keep_full(copy, 1, &resources);
    keep_change(copy, 2, &mut resources, Ok(Resource { version: 2, ..world.get(fixture::ORGANIZATION) }));
    keep_change(copy, 3, &mut resources, Err(world.get(fixture::ADMIN_KEY).reference()));
    copy.flush().await;
    revoke(copy, MEMBER_KEY, 9);
    copy.flush().await;
    resources
}

#[tokio::test]
async fn what_was_kept_is_found_again() {
    let (place, world) = (Place::new(), world());
    let (copy, nothing) = place.open();
    assert!(nothing.is_none());
    let mut resources = story(&copy, &world).await;
    drop(copy);
    let (copy, loaded) = place.open();
    let loaded = loaded.unwrap();
    assert_eq!((loaded.table.revision().0, loaded.held.revision.0, loaded.fresh), (3, 3, AT));
    assert_eq!((loaded.held.epoch, loaded.held.seal.clone()), (EPOCH, vec![3; 36]));
    assert_eq!((loaded.table.digest(), loaded.table.key_count()), (&digest(&resources), 1));
    // The revocation outlives the process.
    assert!(!lets_in(&loaded.table, &world));
    // It goes on from here, up to the revision that says the same.
    for revision in 4..=9 {
        keep_change(&copy, revision, &mut resources, Ok(Resource { version: revision, ..world.get(fixture::OTHER) }));
    }
    copy.fresh(FleetTime::from_unix_millis(1_800_000_000_000));
    copy.flush().await;
    let again = place.loaded().unwrap();
    assert_eq!((again.table.revision().0, again.fresh.unix_millis()), (9, 1_800_000_000_000));
    assert!(lets_in(&again.table, &world));
    assert_eq!(place.files().len(), 1);
}

#[tokio::test]
async fn files_are_closed_to_others_and_tell_nothing() {
    let (place, world) = (Place::new(), world());
    let (copy, _) = place.open();
    story(&copy, &world).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place.0.folder), mode(&place.files()[0])), (0o700, 0o600));
    let bytes = std::fs::read(&place.files()[0]).unwrap();
    for secret in [b"sk-upstream".as_slice(), fixture::PEPPER, b"global"] {
        assert!(memchr::memmem::find(&bytes, secret).is_none());
    }
    // Under another key it is of no use, and stays for when the right one is back.
    assert!(read::newest(&place.0.folder, &Secret::new("x".repeat(64))).is_none());
    assert_eq!(place.loaded().unwrap().table.revision().0, 3);
}

#[tokio::test]
async fn cut_at_any_byte_it_holds_what_was_whole() {
    let (place, world) = (Place::new(), small_world());
    let (copy, _) = place.open();
    story(&copy, &world).await;
    drop(copy);
    let file = place.files()[0].clone();
    let whole = std::fs::read(&file).unwrap();
    let mut last = 0;
    for length in 0..whole.len() {
        std::fs::write(&file, &whole[..length]).unwrap();
        let loaded = place.loaded();
        let revision = loaded.as_ref().map_or(0, |loaded| loaded.table.revision().0);
        assert!(revision >= last, "revision {revision} after {last} at {length}");
        if let Some(loaded) = &loaded {
            // Before the revocation the key is good; no half of a change is there.
            assert!(lets_in(&loaded.table, &world));
            assert_eq!(loaded.table.key_count(), if revision == 3 { 1 } else { 2 });
            assert!(loaded.end.bytes <= length as u64);
        }
        last = revision;
    }
    assert_eq!(last, 3);
    // What was torn is cut away by the next change.
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let (copy, loaded) = place.open();
    assert_eq!(loaded.unwrap().table.revision().0, 3);
    revoke(&copy, MEMBER_KEY, 9);
    copy.flush().await;
    assert_eq!(std::fs::read(&file).unwrap().len(), whole.len());
    assert!(!lets_in(&place.loaded().unwrap().table, &world));
}

#[tokio::test]
async fn changed_at_any_byte_it_falls_back() {
    let (place, world) = (Place::new(), small_world());
    let (copy, _) = place.open();
    story(&copy, &world).await;
    keep_full(&copy, 4, &world.resources);
    copy.flush().await;
    let [new, old] = &place.files()[..] else { panic!("two generations are kept") };
    let whole = std::fs::read(new).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        std::fs::write(new, &damaged).unwrap();
        assert!(read::load(new, 2, &place.0.key).is_err(), "at {at}");
        if at % 50 == 0 {
            // The generation before it serves.
            assert_eq!(place.loaded().unwrap().table.revision().0, 3, "at {at}");
        }
    }
    std::fs::write(new, &whole).unwrap();
    assert_eq!(place.loaded().unwrap().table.revision().0, 4);
    let before = std::fs::read(old).unwrap();
    std::fs::remove_file(new).unwrap();
    for at in 0..before.len() {
        let mut damaged = before.clone();
        damaged[at] ^= 0x41;
        std::fs::write(old, &damaged).unwrap();
        if let Some(loaded) = place.loaded() {
            assert!((1..=3).contains(&loaded.table.revision().0));
        }
    }
}

#[tokio::test]
async fn a_third_base_replaces_the_first() {
    let (place, world) = (Place::new(), world());
    let (copy, _) = place.open();
    for revision in 1..=5 {
        keep_full(&copy, revision, &world.resources);
    }
    copy.flush().await;
    let names: Vec<_> = place.files().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["catalog.5", "catalog.4"]);
    // A revision that was never put in place leaves nothing.
    let begin = Begin { epoch: EPOCH.to_bytes(), revision: 6, mode: SyncMode::Full.into(), ..Begin::default() };
    drop(copy.record(&begin, AT));
    assert_eq!(std::fs::read_dir(&place.0.folder).unwrap().count(), 2);
}

#[tokio::test]
async fn many_changes_become_a_new_base() {
    let (place, world) = (Place::new(), world());
    let (copy, _) = place.open();
    let mut resources = world.resources.clone();
    keep_full(&copy, 1, &resources);
    revoke(&copy, MEMBER_KEY, 5_000);
    for revision in 2..=1_100 {
        let change = match revision {
            500 => Err(world.get(fixture::ADMIN_KEY).reference()),
            _ => Ok(Resource { version: revision, ..world.get(fixture::OTHER) }),
        };
        keep_change(&copy, revision, &mut resources, change);
    }
    copy.flush().await;
    let loaded = place.loaded().unwrap();
    // What follows the base is the revocation, which no revision has caught up with.
    assert_eq!((loaded.table.revision().0, loaded.end.generation, loaded.end.deltas), (1_100, 2, 1));
    assert_eq!((loaded.table.digest(), loaded.held.revision.0), (&digest(&resources), 1_100));
    assert!(!lets_in(&loaded.table, &world));
    keep_change(&copy, 1_101, &mut resources, Ok(Resource { version: 9_999, ..world.get(fixture::OTHER) }));
    copy.flush().await;
    assert_eq!(place.loaded().unwrap().table.digest(), &digest(&resources));
}

#[tokio::test]
async fn behind_a_gap_nothing_is_appended() {
    let (place, world) = (Place::new(), world());
    let (copy, _) = place.open();
    let mut resources = story(&copy, &world).await;
    std::fs::remove_dir_all(&place.0.folder).unwrap();
    keep_change(&copy, 4, &mut resources, Ok(Resource { version: 4, ..world.get(fixture::OTHER) }));
    copy.flush().await;
    keep_change(&copy, 5, &mut resources, Ok(Resource { version: 5, ..world.get(fixture::OTHER) }));
    copy.flush().await;
    assert!(place.loaded().is_none());
    let began = Instant::now();
    while !copy.wants_everything() {
        assert!(began.elapsed() < Duration::from_secs(20), "everything is asked for");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    keep_full(&copy, 5, &resources);
    copy.flush().await;
    assert_eq!(place.loaded().unwrap().table.revision().0, 5);
}

#[tokio::test]
#[ignore = "meant for an optimised build: cargo test --release -- --ignored back_quickly"]
async fn a_hundred_thousand_keys_are_back_quickly() {
    let (place, world) = (Place::new(), world());
    let (copy, _) = place.open();
    let mut resources = world.resources.clone();
    resources.extend((0..100_000_u128).map(|number| {
        let mut one = fixture::key(Uuid::from_u128(0x1_0000_0000 + number), fixture::MEMBER, &world.member_key);
        if let Item::Key(key) = &mut one.item {
            key.public_id = format!("{number:012}");
        }
        one
    }));
    let chunks: Vec<proto::Resource> = resources.iter().map(encode).collect();
    let begin = Begin { epoch: EPOCH.to_bytes(), revision: 1, mode: SyncMode::Full.into(), ..Begin::default() };
    let mut recording = copy.record(&begin, AT);
    for some in chunks.chunks(5_000) {
        recording.chunk(&Chunk { upserts: some.to_vec(), deletes: vec![] });
    }
    recording.commit(&commit(1, &resources));
    copy.keep(recording, true);
    copy.flush().await;
    let began = Instant::now();
    assert_eq!(place.loaded().unwrap().table.key_count(), 100_002);
    let took = began.elapsed();
    eprintln!("100 thousand keys from disk in {took:?}");
    assert!(cfg!(debug_assertions) || took < Duration::from_secs(2), "{took:?}");
}
