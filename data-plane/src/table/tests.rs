//! Who gets in, what a name means, what a bad resource does, and how little a delta touches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use shared::catalog::*;
use shared::kernel::clock::FleetTime;
use shared::kernel::ids::{Epoch, Revision, RouterId, SecretId};
use shared::kernel::virtual_key::generate;
use shared::wire::RejectCode;
use uuid::Uuid;

use super::fixture::*;
use super::*;

const NOW: FleetTime = FleetTime::from_unix_millis(1_000_000);

fn refusal(table: &Table, token: &str) -> AuthRefusal {
    table.authenticate(token, NOW).unwrap_err()
}

fn member(world: &World, table: &Table) -> Principal {
    table.authenticate(world.member_key.text.expose(), NOW).unwrap()
}

fn names(table: &Table, principal: &Principal) -> Vec<String> {
    table.routers_for(principal).iter().map(|router| router.noun.name.clone()).collect()
}

fn codes(table: &Table) -> Vec<RejectCode> {
    table.rejections().map(|rejection| rejection.code).collect()
}

fn digest_of(resources: &[Resource]) -> Digest {
    let mut digest = Digest::default();
    resources.iter().for_each(|one| digest.add(one.kind(), one.id, one.version));
    digest
}

#[test]
fn an_empty_table_lets_nobody_in() {
    let key = generate().unwrap();
    assert_eq!(refusal(&Table::empty(), key.text.expose()), AuthRefusal::Unknown);
    assert_eq!(refusal(&Table::empty(), ""), AuthRefusal::Unknown);
}

#[test]
fn the_right_secret_alone_lets_in() {
    let world = world();
    let table = world.table();
    let principal = member(&world, &table);
    assert_eq!((principal.key.uuid(), principal.user.unwrap().uuid()), (MEMBER_KEY, MEMBER));
    assert_eq!(principal.organization.unwrap().uuid(), ORGANIZATION);
    assert_eq!(principal.role.unwrap().uuid(), MEMBERS);
    assert!(!principal.master && &*principal.key_name == "k");
    assert_eq!(refusal(&table, generate().unwrap().text.expose()), AuthRefusal::Unknown);
    assert_eq!(refusal(&table, "sk-gw-"), AuthRefusal::Unknown);
    assert_eq!(refusal(&table, &"x".repeat(30_000)), AuthRefusal::Unknown);
    assert!(codes(&table).is_empty(), "{:?}", table.rejections().collect::<Vec<_>>());
    assert_eq!(*table.digest(), digest_of(&world.resources));
}

#[test]
fn a_key_of_another_system_is_found_by_its_digest() {
    let world = world();
    let table = delta(&world.table(), &[foreign_key(Uuid::from_u128(0x42), Some(MEMBER), "sk-litellm-1")], &[]);
    assert_eq!(table.authenticate("sk-litellm-1", NOW).unwrap().key.uuid(), Uuid::from_u128(0x42));
    assert_eq!(refusal(&table, "sk-litellm-2"), AuthRefusal::Unknown);
    let gone = delta(&table, &[], &[parent(Kind::Key, Uuid::from_u128(0x42))]);
    assert_eq!(refusal(&gone, "sk-litellm-1"), AuthRefusal::Unknown);
}

#[test]
fn the_master_key_calls_inference_only_where_a_setting_says_so() {
    let world = world();
    let table = delta(&world.table(), &[foreign_key(Uuid::nil(), None, "master")], &[]);
    let master = table.authenticate("master", NOW).unwrap();
    assert!(master.master && names(&table, &master).is_empty());
    let setting = Setting { name: "auth_master_key_inference".into(), value_json: "true".into() };
    let open = delta(&table, &[resource(Uuid::from_u128(0xa0), vec![], Item::Setting(setting))], &[]);
    assert_eq!(names(&open, &master), ["global", "other"]);
}

#[test]
fn blocked_and_expired_are_said_only_to_the_right_secret() {
    let world = world();
    let table = world.table();
    for id in [MEMBER_KEY, MEMBER, MEMBERS, ORGANIZATION] {
        let blocked = delta(&table, &[Resource { version: 2, blocked: true, ..world.get(id) }], &[]);
        assert_eq!(refusal(&blocked, world.member_key.text.expose()), AuthRefusal::Blocked, "{id}");
        assert!(blocked.authenticate(world.admin_key.text.expose(), NOW).is_ok());
        let past = Resource { version: 2, expires: Some(at(999_999)), ..world.get(id) };
        let expired = if id == MEMBER_KEY { AuthRefusal::KeyExpired } else { AuthRefusal::AccountExpired };
        assert_eq!(refusal(&delta(&table, &[past], &[]), world.member_key.text.expose()), expired, "{id}");
        let future = Resource { version: 2, expires: Some(at(1_000_001)), ..world.get(id) };
        assert!(delta(&table, &[future], &[]).authenticate(world.member_key.text.expose(), NOW).is_ok());
        let mut wrong = world.member_key.text.expose().to_owned();
        wrong.replace_range(20..21, if wrong.as_bytes()[20] == b'a' { "b" } else { "a" });
        assert_eq!(refusal(&blocked, &wrong), AuthRefusal::Unknown);
    }
}

#[test]
fn a_rotated_secret_lives_until_its_grace_ends() {
    let world = world();
    let new = generate().unwrap();
    let mut rotated = world.get(MEMBER_KEY);
    let Item::Key(item) = &mut rotated.item else { panic!("not a key") };
    let Item::Key(fresh) = key(MEMBER_KEY, MEMBER, &new).item else { panic!("not a key") };
    item.verifiers[0].not_after = Some(at(1_000_001));
    item.verifiers.extend(fresh.verifiers);
    rotated.version = 2;
    let table = delta(&world.table(), &[rotated], &[]);
    assert!(table.authenticate(world.member_key.text.expose(), NOW).is_ok());
    assert_eq!(table.authenticate(world.member_key.text.expose(), at(1_000_001)).unwrap_err(), AuthRefusal::Unknown);
}

#[test]
fn without_its_pepper_a_key_is_closed_not_wrong() {
    let world = world();
    let table = delta(&world.table(), &[], &[parent(Kind::Secret, Uuid::from_u128(1))]);
    assert_eq!(refusal(&table, world.member_key.text.expose()), AuthRefusal::Closed);
}

#[test]
fn names_resolve_to_the_organizations_own_router_first() {
    let world = world();
    let shadow = router(Uuid::from_u128(0x53), Some(ORGANIZATION), "global", &[]);
    let table = world.table();
    let (caller, admin) = (member(&world, &table), table.authenticate(world.admin_key.text.expose(), NOW).unwrap());
    assert_eq!(table.resolve(&caller, "global").unwrap().id.uuid(), GLOBAL);
    assert_eq!(table.resolve(&caller, "g").unwrap().id.uuid(), GLOBAL);
    assert!(table.resolve(&caller, "Global").is_none() && table.resolve(&caller, "global ").is_none());
    assert!(table.resolve(&admin, "mine").is_none());
    assert_eq!(names(&table, &caller), ["global", "mine"]);
    assert_eq!(names(&table, &admin), ["global", "other"]);
    let shadowed = delta(&table, &[shadow], &[]);
    assert_eq!(shadowed.resolve(&caller, "global").unwrap().id.uuid(), Uuid::from_u128(0x53));
    assert_eq!(shadowed.resolve(&caller, "g").unwrap().id.uuid(), GLOBAL);
    assert_eq!(shadowed.resolve(&admin, "global").unwrap().id.uuid(), GLOBAL);
    assert_eq!(names(&shadowed, &caller), ["mine"]);
}

#[test]
fn names_may_be_exchanged_in_one_change() {
    let world = world();
    let swap = [
        Resource { version: 2, ..router(GLOBAL, None, "other", &["g"]) },
        Resource { version: 2, ..router(OTHER, None, "global", &[]) },
    ];
    let table = delta(&world.table(), &swap, &[]);
    let admin = table.authenticate(world.admin_key.text.expose(), NOW).unwrap();
    assert_eq!(table.resolve(&admin, "global").unwrap().id.uuid(), OTHER);
    assert!(codes(&table).is_empty());
    let taken = delta(&table, &[Resource { version: 3, ..router(OTHER, None, "g", &["new"]) }], &[]);
    assert_eq!(codes(&taken), [RejectCode::Conflict]);
    assert_eq!(taken.resolve(&admin, "g").unwrap().id.uuid(), GLOBAL);
    assert_eq!(taken.resolve(&admin, "new").unwrap().id.uuid(), OTHER);
    let healed = delta(&taken, &[Resource { version: 4, ..router(OTHER, None, "global", &[]) }], &[]);
    assert!(codes(&healed).is_empty());
}

#[test]
fn all_four_limits_open_a_router_and_a_zero_shuts_it() {
    let world = world();
    let table = world.table();
    let caller = member(&world, &table);
    let may = |table: &Table| table.may_use(&caller, &table.resolve(&caller, "mine").unwrap());
    assert!(may(&table));
    let zero = limit(Uuid::from_u128(0x92), MEMBERS, OWNED, LimitUnit::Tokens, Window::Minute, Some(0));
    assert!(!may(&delta(&table, &[zero], &[])));
    assert!(!may(&delta(&table, &[], &[parent(Kind::Limit, Uuid::from_u128(0x93))])));
    let null = limit(Uuid::from_u128(0x93), MEMBERS, OWNED, LimitUnit::Tokens, Window::Day, None);
    assert!(may(&delta(&table, &[null], &[])));
    let mut everything = world.get(MEMBERS);
    everything.item = Item::Role(Role { name: "m".into(), permissions: vec![], all_routers: true });
    everything.version = 2;
    let open = delta(&table, &[everything], &[parent(Kind::Limit, Uuid::from_u128(0x93))]);
    assert!(may(&open) && names(&open, &caller) == ["global", "mine", "other"]);
}

#[test]
fn a_key_may_be_narrower_than_its_role_never_wider() {
    let world = world();
    let mut narrow = world.get(MEMBER_KEY);
    let Item::Key(item) = &mut narrow.item else { panic!("not a key") };
    item.allowed_routers = Some(vec![RouterId::from_uuid(GLOBAL), RouterId::from_uuid(OTHER)]);
    narrow.version = 2;
    let table = delta(&world.table(), &[narrow], &[]);
    assert_eq!(names(&table, &member(&world, &table)), ["global"]);
}

#[test]
fn routers_without_a_provider_or_blocked_are_not_listed() {
    let world = world();
    let table = world.table();
    let caller = member(&world, &table);
    let empty = delta(&table, &[], &[parent(Kind::Provider, PROVIDER)]);
    assert_eq!(names(&empty, &caller), ["mine"]);
    assert!(empty.resolve(&caller, "global").is_some());
    let off = delta(&table, &[Resource { version: 2, blocked: true, ..world.get(PROVIDER) }], &[]);
    assert_eq!(names(&off, &caller), ["mine"]);
    let gone = delta(&table, &[Resource { version: 2, blocked: true, ..world.get(GLOBAL) }], &[]);
    assert!(gone.resolve(&caller, "global").is_none());
}

#[test]
fn a_bad_update_closes_whoever_it_would_have_restricted() {
    let world = world();
    let table = world.table();
    for id in [MEMBER_KEY, MEMBER, MEMBERS, ORGANIZATION] {
        let bad = Resource { version: 2, ..world.get(id) };
        let closed = delta_with_bad(&table, &bad);
        assert_eq!(refusal(&closed, world.member_key.text.expose()), AuthRefusal::Closed, "{id}");
        assert!(closed.authenticate(world.admin_key.text.expose(), NOW).is_ok());
        assert_eq!(codes(&closed), [RejectCode::BadBody]);
        let expected: Vec<_> =
            world.resources.iter().map(|one| if one.id == id { bad.clone() } else { one.clone() }).collect();
        assert_eq!(*closed.digest(), digest_of(&expected));
        let blocked = delta_with_bad(&table, &Resource { blocked: true, ..bad.clone() });
        assert_eq!(refusal(&blocked, world.member_key.text.expose()), AuthRefusal::Blocked);
        let healed = delta(&closed, &[Resource { version: 3, ..bad.clone() }], &[]);
        assert!(healed.authenticate(world.member_key.text.expose(), NOW).is_ok() && codes(&healed).is_empty());
        let deleted = delta(&closed, &[], &[parent(bad.kind(), id)]);
        assert!(deleted.authenticate(world.member_key.text.expose(), NOW).is_err());
        assert!(!codes(&deleted).contains(&RejectCode::BadBody));
    }
}

#[test]
fn a_bad_limit_closes_its_role_for_its_router_alone() {
    let world = world();
    let table = world.table();
    let bad = limit(Uuid::from_u128(0x99), MEMBERS, OWNED, LimitUnit::Requests, Window::Hour, Some(1));
    let closed = delta_with_bad(&table, &bad);
    let caller = member(&world, &closed);
    let access = |name| closed.access(&caller, &closed.resolve(&caller, name).unwrap());
    assert_eq!((access("mine"), access("global")), (Access::Closed, Access::Allowed));
    let healed = delta(&closed, &[], &[bad.reference()]);
    assert_eq!(healed.access(&caller, &healed.resolve(&caller, "mine").unwrap()), Access::Allowed);
}

#[test]
fn a_policy_of_a_kind_that_this_build_does_not_apply_closes_what_it_is_for() {
    let world = world();
    let mut wire = shared::wire::encode(&world.get(OWNED));
    wire.kind = shared::wire::kind_to_wire(Kind::Budget);
    wire.id = Uuid::from_u128(0xb0).as_bytes().to_vec();
    wire.parents = vec![shared::wire::ref_to_wire(parent(Kind::User, MEMBER))];
    let mut draft = Draft::delta(world.table(), Revision(2)).unwrap();
    draft.upsert(shared::wire::decode(&wire));
    let table = Arc::new(draft.finish());
    assert_eq!(refusal(&table, world.member_key.text.expose()), AuthRefusal::Closed);
    let healed = delta(&table, &[], &[parent(Kind::Budget, Uuid::from_u128(0xb0))]);
    assert!(healed.authenticate(world.member_key.text.expose(), NOW).is_ok());
    assert_eq!(*healed.digest(), digest_of(&world.resources));
}

#[test]
fn a_bad_router_provider_or_setting_keeps_its_last_good_version() {
    let world = world();
    let table = world.table();
    let caller = member(&world, &table);
    for id in [GLOBAL, PROVIDER, SECRET] {
        let kept = delta_with_bad(&table, &Resource { version: 2, ..world.get(id) });
        let router = kept.resolve(&caller, "global").unwrap();
        assert_eq!(router.providers[0].authorization.as_ref().unwrap(), "Bearer sk-upstream");
        assert_eq!(codes(&kept), [RejectCode::BadBody]);
        let off = delta_with_bad(&table, &Resource { version: 2, blocked: true, ..world.get(id) });
        assert_eq!(names(&off, &caller).contains(&"global".to_owned()), id == SECRET);
        let gone = delta(&kept, &[], &[parent(world.get(id).kind(), id)]);
        assert!(!codes(&gone).contains(&RejectCode::BadBody));
    }
    let unknown = Setting { name: "colour".into(), value_json: "1".into() };
    let odd = delta(&table, &[resource(Uuid::from_u128(0xa1), vec![], Item::Setting(unknown))], &[]);
    assert_eq!((codes(&odd), odd.settings()), (vec![RejectCode::UnknownValue], table.settings()));
}

#[test]
fn credentials_follow_their_secret_and_never_print() {
    let world = world();
    let table = world.table();
    let caller = member(&world, &table);
    let rotated = Resource { version: 2, ..secret(SECRET, SecretPurpose::ProviderCredential, b"sk-new\n") };
    let new = delta(&table, &[rotated], &[]);
    let router = new.resolve(&caller, "global").unwrap();
    assert_eq!(router.providers[0].authorization.as_ref().unwrap(), "Bearer sk-new");
    assert!(!format!("{router:?}{new:?}").contains("sk-new"));
    // The other routers are the same objects still.
    assert!(Arc::ptr_eq(&table.resolve(&caller, "mine").unwrap(), &new.resolve(&caller, "mine").unwrap()));
}

#[test]
fn a_reference_is_resolved_by_the_node() {
    let world = world();
    let table = world.table();
    let caller = member(&world, &table);
    let path = std::env::temp_dir().join(format!("gatewright-credential-{}", Uuid::now_v7()));
    let reference = Credential::Reference(format!("file:{}", path.display()));
    let by_file = Resource { version: 2, ..provider(PROVIDER, GLOBAL, reference) };
    let missing = delta(&table, std::slice::from_ref(&by_file), &[]);
    assert_eq!(codes(&missing), [RejectCode::SecretUnavailable]);
    let authorization =
        |table: &Table| table.resolve(&caller, "global").unwrap().providers[0].authorization.clone().unwrap();
    assert_eq!(authorization(&missing), "Bearer sk-upstream");
    std::fs::write(&path, "from-a-file\n").unwrap();
    // The next change of anything tries again.
    let healed = delta(&missing, &[Resource { version: 2, ..world.get(OTHER) }], &[]);
    assert_eq!((authorization(&healed).to_str().unwrap(), codes(&healed).len()), ("Bearer from-a-file", 0));
    std::fs::remove_file(&path).unwrap();
    for odd in ["file:relative", "vault:x", "env:GATEWRIGHT_NOT_SET_ANYWHERE"] {
        assert!(resolve_reference(odd).is_err(), "{odd}");
    }
}

#[test]
fn children_wait_for_their_parents() {
    let world = world();
    let orphan = provider(
        Uuid::from_u128(0x63),
        Uuid::from_u128(0x54),
        Credential::Sealed(SecretId::from_uuid(Uuid::from_u128(0x71))),
    );
    let table = delta(&world.table(), &[orphan], &[]);
    assert_eq!(codes(&table), [RejectCode::SecretUnavailable]);
    let half = delta(&table, &[secret(Uuid::from_u128(0x71), SecretPurpose::ProviderCredential, b"s")], &[]);
    assert_eq!(codes(&half), [RejectCode::MissingParent]);
    let whole = delta(&half, &[router(Uuid::from_u128(0x54), None, "late", &[])], &[]);
    assert!(codes(&whole).is_empty());
    let admin = whole.authenticate(world.admin_key.text.expose(), NOW).unwrap();
    assert!(names(&whole, &admin).contains(&"late".to_owned()));
    let stranger = generate().unwrap();
    let early = delta(&whole, &[key(Uuid::from_u128(0x43), Uuid::from_u128(0x32), &stranger)], &[]);
    assert_eq!(codes(&early), [RejectCode::MissingParent]);
    assert_eq!(refusal(&early, stranger.text.expose()), AuthRefusal::Closed);
    let healed = delta(&early, &[user(Uuid::from_u128(0x32), MEMBERS, None)], &[]);
    assert!(codes(&healed).is_empty() && healed.authenticate(stranger.text.expose(), NOW).is_ok());
}

#[test]
fn a_revocation_holds_until_its_revision_is_in() {
    let world = world();
    let table = world.table();
    let revoked = |kind, id, at| Arc::new(table.with_revoked([parent(kind, id)], Revision(at)));
    assert_eq!(refusal(&revoked(Kind::Key, MEMBER_KEY, 3), world.member_key.text.expose()), AuthRefusal::Unknown);
    assert_eq!(refusal(&revoked(Kind::User, MEMBER, 3), world.member_key.text.expose()), AuthRefusal::Blocked);
    assert_eq!(
        refusal(&revoked(Kind::Organization, ORGANIZATION, 3), world.member_key.text.expose()),
        AuthRefusal::Blocked
    );
    let early = delta(&revoked(Kind::Key, MEMBER_KEY, 3), &[], &[]);
    assert_eq!(early.revision(), Revision(2));
    assert!(early.authenticate(world.member_key.text.expose(), NOW).is_err());
    let there = delta(&early, &[], &[]);
    assert!(there.authenticate(world.member_key.text.expose(), NOW).is_ok());
    assert_eq!(there.revoked().count(), 0);
    let mut other_lineage = Draft::full(early, Epoch::generate(), Revision(1));
    world.resources.iter().for_each(|one| other_lineage.upsert(Ok(one.clone())));
    assert!(other_lineage.finish().authenticate(world.member_key.text.expose(), NOW).is_ok());
}

#[test]
fn a_stale_table_lets_nobody_in() {
    let world = world();
    let stale = world.table().with_stale(true);
    assert_eq!(refusal(&stale, world.member_key.text.expose()), AuthRefusal::Closed);
}

#[test]
fn a_full_table_forgets_what_is_not_told_and_shares_what_did_not_change() {
    let world = world();
    let table = world.table();
    let kept: Vec<_> = world.resources.iter().filter(|one| one.id != ADMIN_KEY).cloned().collect();
    let again = full(Arc::clone(&table), 2, &kept);
    assert_eq!(refusal(&again, world.admin_key.text.expose()), AuthRefusal::Unknown);
    assert!(again.authenticate(world.member_key.text.expose(), NOW).is_ok());
    assert_eq!(*again.digest(), digest_of(&kept));
    assert!(Arc::ptr_eq(table.keys.get(&MEMBER_KEY).unwrap(), again.keys.get(&MEMBER_KEY).unwrap()));
}

#[test]
fn one_key_among_a_hundred_thousand_touches_few_arrays() {
    let world = world();
    let template = generate().unwrap();
    let many = (0..100_000_u128).map(|number| {
        let mut one = key(Uuid::from_u128(0x1_0000_0000 + number), MEMBER, &template);
        let Item::Key(item) = &mut one.item else { panic!("not a key") };
        item.public_id = format!("{number:012}");
        one
    });
    let mut draft = Draft::delta(world.table(), Revision(2)).unwrap();
    many.for_each(|one| draft.upsert(Ok(one)));
    let table = Arc::new(draft.finish());
    assert_eq!((table.key_count(), codes(&table).len()), (100_002, 0));
    let began = std::time::Instant::now();
    let next = delta(&table, &[Resource { version: 2, blocked: true, ..world.get(MEMBER_KEY) }], &[]);
    let took = began.elapsed();
    assert_eq!(refusal(&next, world.member_key.text.expose()), AuthRefusal::Blocked);
    assert_eq!((next.keys.unshared_with(&table.keys), next.by_public_id.unshared_with(&table.by_public_id)), (1, 1));
    assert_eq!(next.users.unshared_with(&table.users) + next.grants.unshared_with(&table.grants), 0);
    assert!(Arc::ptr_eq(&next.routing, &table.routing));
    assert!(took.as_millis() < 50, "{took:?}");
}
