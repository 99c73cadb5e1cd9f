//! Every noun survives the wire; what cannot be read is rejected alone.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::catalog::*;
use crate::kernel::clock::FleetTime;
use crate::kernel::ids::{RouterId, SecretId};
use crate::kernel::money::{Amount, Prices};
use crate::kernel::secret::SecretBytes;

fn resource(item: Item, parents: Vec<Ref>) -> Resource {
    Resource {
        id: Uuid::now_v7(),
        version: 42,
        parents,
        blocked: true,
        expires: Some(FleetTime::from_unix_millis(9)),
        requires: vec![],
        item,
    }
}

fn every_noun() -> Vec<Resource> {
    let secret = Uuid::now_v7();
    let carbon = CarbonFacts { zone: "FRA".into(), total_params: Some(8.0), active_params: None };
    let key = VirtualKey {
        public_id: "abc".into(),
        name: "k".into(),
        verifiers: vec![Verifier {
            scheme: VerifierScheme::Sha256,
            pepper_version: 3,
            digest: vec![7; 32],
            not_after: None,
        }],
        allowed_routers: Some(vec![RouterId::generate()]),
        master: false,
        compatibility: "native".into(),
        number: 5,
    };
    let router = Router {
        name: "r".into(),
        kind: RouterKind::TextGeneration,
        aliases: vec!["a".into()],
        strategy: BalanceStrategy::LeastBusy,
        prices: Prices { prompt: Some(Amount::from_billionths(0)), completion: None, cached_prompt: None, revision: 4 },
        owned_by: "o".into(),
        created_unix_s: 1,
        max_context_length: Some(2),
        max_output_tokens: None,
        vector_size: None,
        number: 6,
    };
    let provider = Provider {
        kind: ProviderKind::Vllm,
        url: "http://x".into(),
        upstream_model: "m".into(),
        timeout: Duration::from_secs(300),
        credential: Credential::Sealed(SecretId::from_uuid(secret)),
        carbon,
        weight: None,
        drain_on_disconnect: true,
        number: 7,
    };
    let limit = Limit {
        unit: LimitUnit::Tokens,
        window: Window::Day,
        amount: None,
        mode: LimitMode::Shadow,
        on_store_failure: OnStoreFailure::Closed,
    };
    vec![
        resource(Item::Organization(Organization { name: "o".into() }), vec![]),
        resource(
            Item::Role(Role { name: "r".into(), permissions: Permission::ALL.to_vec(), all_routers: true }),
            vec![],
        ),
        resource(
            Item::User(User { email: "e".into(), name: "n".into(), priority: -1, number: 0 }),
            vec![Ref { kind: Kind::Role, id: Uuid::now_v7() }],
        ),
        resource(Item::Key(key), vec![]),
        resource(Item::Router(router), vec![]),
        resource(Item::Provider(provider), vec![Ref { kind: Kind::Secret, id: secret }]),
        resource(Item::Limit(limit), vec![]),
        resource(
            Item::Secret(SecretValue {
                purpose: SecretPurpose::Pepper,
                generation: 1,
                value: SecretBytes::new(vec![1, 2]),
            }),
            vec![],
        ),
        resource(Item::Setting(Setting { name: "s".into(), value_json: "1".into() }), vec![]),
    ]
}

#[test]
fn every_noun_survives_the_wire() {
    for original in every_noun() {
        assert_eq!(decode(&encode(&original)).map_err(|refused| refused.0), Ok(original));
    }
}

#[test]
fn a_bad_body_is_rejected_with_its_envelope() {
    for original in every_noun() {
        let mut wire = encode(&original);
        wire.body = vec![0xff; 7].into();
        let (rejection, envelope) = *decode(&wire).unwrap_err();
        assert_eq!(rejection.code, RejectCode::BadBody);
        assert_eq!((rejection.id, rejection.version), (original.id, 42));
        assert_eq!(envelope.unwrap().reference, original.reference());
    }
}

#[test]
fn what_a_build_does_not_know_is_rejected() {
    let original = every_noun().remove(0);
    let code = |change: fn(&mut crate::proto::Resource)| {
        let mut wire = encode(&original);
        change(&mut wire);
        decode(&wire).unwrap_err().0.code
    };
    assert_eq!(code(|wire| wire.kind = 99), RejectCode::UnknownKind);
    assert_eq!(code(|wire| wire.kind = 0), RejectCode::UnknownKind);
    assert_eq!(code(|wire| wire.id = vec![1]), RejectCode::BadEnvelope);
    assert_eq!(code(|wire| wire.requires = vec!["time-travel".into()]), RejectCode::MissingFeature);
}

#[test]
fn digests_survive_the_wire() {
    let mut digest = Digest::default();
    for one in every_noun() {
        digest.add(one.kind(), one.id, one.version);
    }
    assert_eq!(digest_from_wire(&digest_to_wire(&digest)), Some(digest));
}
