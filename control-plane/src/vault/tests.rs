//! Tests of the key ring.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use shared::catalog::{Digest, Kind};
use shared::kernel::ids::{Epoch, Revision};
use uuid::Uuid;

use super::*;

const OLD: &str = "0000000000000000000000000000000000000000000000000000000000000001";
const NEW: &str = "0000000000000000000000000000000000000000000000000000000000000002";

fn ring(lines: &[&str]) -> KeyRing {
    KeyRing::parse(&Secret::new(lines.join("\n"))).unwrap()
}

#[test]
fn what_was_sealed_opens_in_its_place_only() {
    let ring = ring(&[OLD]);
    let sealed = ring.seal(b"row 1", b"canary").unwrap();
    assert!(!sealed.windows(6).any(|window| window == b"canary"));
    assert_eq!(ring.open(b"row 1", &sealed).unwrap().expose(), b"canary");
    assert_eq!(ring.open(b"row 2", &sealed).unwrap_err(), VaultError::Mismatch);
    assert_ne!(sealed, ring.seal(b"row 1", b"canary").unwrap(), "nonces differ");
    assert_eq!(ring.open(b"", &ring.seal(b"", b"").unwrap()).unwrap().expose(), b"");
}

#[test]
fn damage_is_noticed_at_every_byte() {
    let ring = ring(&[OLD]);
    let sealed = ring.seal(b"row", b"value").unwrap();
    for at in 0..sealed.len() {
        let mut damaged = sealed.clone();
        damaged[at] ^= 1;
        assert!(ring.open(b"row", &damaged).is_err(), "byte {at}");
        assert!(ring.open(b"row", &sealed[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_ring_rotates_without_losing_what_was_sealed() {
    let (old, both, new) = (ring(&[OLD]), ring(&[NEW, "", OLD]), ring(&[NEW]));
    let sealed = old.seal(b"row", b"value").unwrap();
    assert_eq!(both.open(b"row", &sealed).unwrap().expose(), b"value");
    let missing = new.open(b"row", &sealed).unwrap_err();
    assert_eq!(missing, VaultError::UnknownKey { key: old.active() });
    assert!(missing.to_string().contains(&old.active().to_string()));
    assert!(both.is_stale(&sealed).unwrap() && !old.is_stale(&sealed).unwrap());
    let rewrapped = both.rewrap(b"row", &sealed).unwrap().unwrap();
    assert_eq!(new.open(b"row", &rewrapped).unwrap().expose(), b"value");
    assert_eq!(both.rewrap(b"row", &rewrapped).unwrap(), None);
}

#[test]
fn the_key_id_is_the_start_of_its_sha256() {
    let hash = shared::kernel::virtual_key::sha256_digest(OLD);
    let hex: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(ring(&[OLD]).active().to_string(), hex);
}

#[test]
fn a_bad_ring_is_refused_by_line() {
    let parse = |text: &str| KeyRing::parse(&Secret::new(text.to_owned())).unwrap_err();
    assert_eq!(parse(" \n\n"), VaultError::Empty);
    assert_eq!(parse(&format!("{OLD}\nshort")), VaultError::Short { line: 2, minimum: 32 });
    assert!(matches!(parse(&format!("{OLD}\n{OLD}")), VaultError::Repeated { line: 2, .. }));
    assert!(!format!("{:?}", ring(&[OLD])).contains(OLD));
}

#[test]
fn a_commit_seal_holds_for_its_commit_only() {
    let (old, both) = (ring(&[OLD]), ring(&[NEW, OLD]));
    let (epoch, revision) = (Epoch::from_uuid(Uuid::from_u128(7)), Revision(9));
    let mut digest = Digest::default();
    digest.add(Kind::Key, Uuid::from_u128(1), 1);
    let view = [3; 16];
    let seal = old.seal_of_commit(epoch, revision, &digest, view);
    assert_eq!(old.verify_commit(epoch, revision, &digest, &seal), Some(view));
    assert_eq!(both.verify_commit(epoch, revision, &digest, &seal), Some(view), "an older key still counts");
    assert_eq!(ring(&[NEW]).verify_commit(epoch, revision, &digest, &seal), None);
    assert_eq!(old.verify_commit(epoch, Revision(10), &digest, &seal), None);
    assert_eq!(old.verify_commit(Epoch::from_uuid(Uuid::from_u128(8)), revision, &digest, &seal), None);
    assert_eq!(old.verify_commit(epoch, revision, &Digest::default(), &seal), None);
    assert_eq!(old.verify_commit(epoch, revision, &digest, b""), None);
    let mut elsewhere = seal;
    elsewhere[5] ^= 1;
    assert_eq!(old.verify_commit(epoch, revision, &digest, &elsewhere), None, "another view");
}
