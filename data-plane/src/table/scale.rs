//! The table at the size it is made for. Ignored by default: `cargo test --release -p gatewright-data-plane -- --ignored scale`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::catalog::{Item, Resource, VerifierScheme, VirtualKey};
use shared::kernel::ids::Revision;
use shared::wire::{decode, encode};
use uuid::Uuid;

use super::fixture::{EPOCH, MEMBER, MEMBER_KEY, at, parent, resource, verifier, world};
use super::*;

const KEYS: u128 = 1_000_000;
const MIB: u64 = 1024 * 1024;

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// A key of its own digest, public id and name.
fn numbered(number: u128) -> Resource {
    let mut digest = [0; 32];
    digest.iter_mut().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
    let item = VirtualKey {
        public_id: format!("{number:012}"),
        name: format!("key {number}"),
        verifiers: vec![verifier(VerifierScheme::HmacSha256, digest)],
        allowed_routers: None,
        master: false,
        compatibility: String::new(),
        number: 1,
    };
    resource(Uuid::from_u128(number << 64 | number), vec![parent(shared::catalog::Kind::User, MEMBER)], Item::Key(item))
}

fn told(base: &Arc<Table>, revision: u64) -> Arc<Table> {
    let mut draft = Draft::full(Arc::clone(base), EPOCH, Revision(revision));
    for resource in &world().resources {
        draft.upsert(decode(&encode(resource)));
    }
    // Chunk by chunk, as they arrive.
    for number in 1..=KEYS {
        draft.upsert(decode(&encode(&numbered(number))));
    }
    Arc::new(draft.finish())
}

#[test]
#[ignore = "a minute, and a gigabyte"]
fn a_million_keys() {
    let world = world();
    let empty = resident();
    let began = Instant::now();
    let table = told(&Arc::new(Table::empty()), 1);
    let full = began.elapsed();
    let held = resident() - empty;
    let began = Instant::now();
    let again = told(&table, 2);
    let (second, both) = (began.elapsed(), resident() - empty);
    assert_eq!(again.key_count(), table.key_count());
    let mut draft = Draft::delta(Arc::clone(&again), Revision(3)).unwrap();
    for number in 1..=10 {
        draft.upsert(Ok(Resource { version: 2, blocked: true, ..numbered(number) }));
    }
    let began = Instant::now();
    let changed = draft.finish();
    let delta = began.elapsed();
    assert!(changed.authenticate(world.member_key.text.expose(), at(0)).is_err());
    let began = Instant::now();
    for _ in 0..100_000 {
        let _ = again.keys.get(&MEMBER_KEY);
        let _ = again.authenticate("sk-gw-unknown", at(0));
    }
    let look_ups = began.elapsed();
    eprintln!(
        "1 million keys: {} MiB, FULL {full:?}, again {second:?} with {} MiB in all, delta of 10 in {delta:?}, refusal {:?}",
        held / MIB,
        both / MIB,
        look_ups / 100_000,
    );
    assert!(held < 400 * MIB && both < 680 * MIB);
    if !cfg!(debug_assertions) {
        assert!(full < Duration::from_secs(5) && second < Duration::from_secs(5) && delta < Duration::from_millis(5));
    }
}
