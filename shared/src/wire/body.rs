//! The bodies of resources, one pair of functions for each noun.

use std::str::FromStr;
use std::time::Duration;

use prost::Message;
use uuid::Uuid;

use super::RejectCode;
use crate::catalog::{
    CarbonFacts, Credential, Item, Kind, Limit, LimitMode, LimitUnit, OnStoreFailure, Organization, Permission,
    Provider, Ref, Role, Router, SecretPurpose, SecretValue, Setting, User, Verifier, VerifierScheme, VirtualKey,
    Window,
};
use crate::kernel::clock::FleetTime;
use crate::kernel::ids::{RouterId, SecretId};
use crate::kernel::money::{Amount, Prices};
use crate::kernel::secret::SecretBytes;
use crate::proto;

type Refusal = (RejectCode, String);

/// Writes the noun of a resource.
pub(super) fn encode_body(item: &Item) -> Vec<u8> {
    match item {
        Item::Organization(organization) => proto::Organization { name: organization.name.clone() }.encode_to_vec(),
        Item::Role(role) => encode_role(role),
        Item::User(user) => encode_user(user),
        Item::Key(key) => encode_key(key),
        Item::Router(router) => encode_router(router),
        Item::Provider(provider) => encode_provider(provider),
        Item::Limit(limit) => encode_limit(limit),
        Item::Secret(secret) => encode_secret(secret),
        Item::Setting(setting) => {
            proto::Setting { name: setting.name.clone(), value_json: setting.value_json.clone() }.encode_to_vec()
        }
    }
}

/// Reads the noun of a resource; `parents` complete what the body alone does not say.
pub(super) fn decode_body(kind: Kind, body: &[u8], parents: &[Ref]) -> Result<Item, Refusal> {
    Ok(match kind {
        Kind::Organization => Item::Organization(Organization { name: message::<proto::Organization>(body)?.name }),
        Kind::Role => Item::Role(decode_role(&message(body)?)?),
        Kind::User => Item::User(decode_user(message(body)?)),
        Kind::Key => Item::Key(decode_key(message(body)?)?),
        Kind::Router => Item::Router(decode_router(message(body)?)?),
        Kind::Provider => Item::Provider(decode_provider(message(body)?, parents)?),
        Kind::Limit => Item::Limit(decode_limit(&message(body)?)?),
        Kind::Secret => Item::Secret(decode_secret(message(body)?)?),
        Kind::Setting => {
            let setting: proto::Setting = message(body)?;
            Item::Setting(Setting { name: setting.name, value_json: setting.value_json })
        }
        Kind::Project | Kind::Budget | Kind::Guardrail => {
            return Err((RejectCode::UnknownKind, format!("resources of kind `{kind}` are not applied by this build")));
        }
    })
}

fn message<M: Message + Default>(body: &[u8]) -> Result<M, Refusal> {
    M::decode(body).map_err(|error| (RejectCode::BadBody, error.to_string()))
}

fn word<W: FromStr<Err = crate::catalog::kinds::UnknownWord>>(field: &str, text: &str) -> Result<W, Refusal> {
    text.parse().map_err(|error| (RejectCode::UnknownValue, format!("{field}: {error}")))
}

fn unspecified(field: &str, number: i32) -> Refusal {
    (RejectCode::UnknownValue, format!("{field}: {number} is not a value that this build knows"))
}

// === Role ===

fn encode_role(role: &Role) -> Vec<u8> {
    let permissions = role.permissions.iter().map(|permission| match permission {
        Permission::Admin => proto::Permission::Admin,
        Permission::CreatePublicCollection => proto::Permission::CreatePublicCollection,
        Permission::ReadMetric => proto::Permission::ReadMetric,
        Permission::ProvideModels => proto::Permission::ProvideModels,
    });
    proto::Role {
        name: role.name.clone(),
        permissions: permissions.map(|one| one as i32).collect(),
        all_routers: role.all_routers,
    }
    .encode_to_vec()
}

fn decode_role(role: &proto::Role) -> Result<Role, Refusal> {
    let permission = |number: &i32| match proto::Permission::try_from(*number) {
        Ok(proto::Permission::Admin) => Ok(Permission::Admin),
        Ok(proto::Permission::CreatePublicCollection) => Ok(Permission::CreatePublicCollection),
        Ok(proto::Permission::ReadMetric) => Ok(Permission::ReadMetric),
        Ok(proto::Permission::ProvideModels) => Ok(Permission::ProvideModels),
        Ok(proto::Permission::Unspecified) | Err(_) => Err(unspecified("permissions", *number)),
    };
    Ok(Role {
        name: role.name.clone(),
        permissions: role.permissions.iter().map(permission).collect::<Result<_, _>>()?,
        all_routers: role.all_routers,
    })
}

// === User ===

fn encode_user(user: &User) -> Vec<u8> {
    proto::User { email: user.email.clone(), name: user.name.clone(), priority: user.priority, number: user.number }
        .encode_to_vec()
}

fn decode_user(user: proto::User) -> User {
    User { email: user.email, name: user.name, priority: user.priority, number: user.number }
}

// === VirtualKey ===

fn encode_key(key: &VirtualKey) -> Vec<u8> {
    let verifiers = key.verifiers.iter().map(|verifier| proto::Verifier {
        scheme: match verifier.scheme {
            VerifierScheme::HmacSha256 => proto::VerifierScheme::HmacSha256,
            VerifierScheme::Sha256 => proto::VerifierScheme::Sha256,
        } as i32,
        pepper_version: verifier.pepper_version,
        digest: verifier.digest.clone(),
        not_after_unix_ms: verifier.not_after.map(FleetTime::unix_millis),
    });
    proto::VirtualKey {
        public_id: key.public_id.clone(),
        name: key.name.clone(),
        verifiers: verifiers.collect(),
        allowed_routers: key
            .allowed_routers
            .as_ref()
            .map(|routers| proto::RouterSet { router_ids: routers.iter().map(|router| router.to_bytes()).collect() }),
        master: key.master,
        compatibility: key.compatibility.clone(),
        number: key.number,
    }
    .encode_to_vec()
}

fn decode_key(key: proto::VirtualKey) -> Result<VirtualKey, Refusal> {
    let verifier = |verifier: proto::Verifier| {
        let scheme = match proto::VerifierScheme::try_from(verifier.scheme) {
            Ok(proto::VerifierScheme::HmacSha256) => VerifierScheme::HmacSha256,
            Ok(proto::VerifierScheme::Sha256) => VerifierScheme::Sha256,
            Ok(proto::VerifierScheme::Unspecified) | Err(_) => {
                return Err(unspecified("verifiers.scheme", verifier.scheme));
            }
        };
        if verifier.digest.len() != 32 {
            return Err((
                RejectCode::BadBody,
                format!("verifiers.digest: 32 bytes are expected, got {}", verifier.digest.len()),
            ));
        }
        Ok(Verifier {
            scheme,
            pepper_version: verifier.pepper_version,
            digest: verifier.digest,
            not_after: verifier.not_after_unix_ms.map(FleetTime::from_unix_millis),
        })
    };
    let router = |bytes: &Vec<u8>| {
        RouterId::from_bytes(bytes).map_err(|error| (RejectCode::BadBody, format!("allowed_routers: {error}")))
    };
    Ok(VirtualKey {
        public_id: key.public_id,
        name: key.name,
        verifiers: key.verifiers.into_iter().map(verifier).collect::<Result<_, _>>()?,
        allowed_routers: key
            .allowed_routers
            .map(|set| set.router_ids.iter().map(router).collect::<Result<_, _>>())
            .transpose()?,
        master: key.master,
        compatibility: key.compatibility,
        number: key.number,
    })
}

// === Router ===

fn encode_router(router: &Router) -> Vec<u8> {
    proto::Router {
        name: router.name.clone(),
        kind: router.kind.as_str().to_owned(),
        aliases: router.aliases.clone(),
        strategy: router.strategy.as_str().to_owned(),
        prices: Some(proto::Prices {
            prompt_per_million: router.prices.prompt.map(Amount::billionths),
            completion_per_million: router.prices.completion.map(Amount::billionths),
            cached_prompt_per_million: router.prices.cached_prompt.map(Amount::billionths),
            revision: router.prices.revision,
        }),
        owned_by: router.owned_by.clone(),
        created_unix_s: router.created_unix_s,
        max_context_length: router.max_context_length,
        max_output_tokens: router.max_output_tokens,
        vector_size: router.vector_size,
        number: router.number,
    }
    .encode_to_vec()
}

fn decode_router(router: proto::Router) -> Result<Router, Refusal> {
    let prices = router.prices.unwrap_or_default();
    Ok(Router {
        kind: word("kind", &router.kind)?,
        strategy: word("strategy", &router.strategy)?,
        name: router.name,
        aliases: router.aliases,
        prices: Prices {
            prompt: prices.prompt_per_million.map(Amount::from_billionths),
            completion: prices.completion_per_million.map(Amount::from_billionths),
            cached_prompt: prices.cached_prompt_per_million.map(Amount::from_billionths),
            revision: prices.revision,
        },
        owned_by: router.owned_by,
        created_unix_s: router.created_unix_s,
        max_context_length: router.max_context_length,
        max_output_tokens: router.max_output_tokens,
        vector_size: router.vector_size,
        number: router.number,
    })
}

// === Provider ===

fn encode_provider(provider: &Provider) -> Vec<u8> {
    proto::Provider {
        kind: provider.kind.as_str().to_owned(),
        url: provider.url.clone(),
        upstream_model: provider.upstream_model.clone(),
        timeout_ms: u64::try_from(provider.timeout.as_millis()).unwrap_or(u64::MAX),
        credential_reference: match &provider.credential {
            Credential::Reference(reference) => reference.clone(),
            Credential::None | Credential::Sealed(_) => String::new(),
        },
        carbon: Some(proto::Carbon {
            zone: provider.carbon.zone.clone(),
            total_params_billions: provider.carbon.total_params,
            active_params_billions: provider.carbon.active_params,
        }),
        weight: provider.weight,
        drain_on_disconnect: provider.drain_on_disconnect,
        number: provider.number,
    }
    .encode_to_vec()
}

fn decode_provider(provider: proto::Provider, parents: &[Ref]) -> Result<Provider, Refusal> {
    let sealed: Option<Uuid> = parents.iter().find(|parent| parent.kind == Kind::Secret).map(|parent| parent.id);
    let credential = match (sealed, provider.credential_reference) {
        (Some(secret), _) => Credential::Sealed(SecretId::from_uuid(secret)),
        (None, reference) if reference.is_empty() => Credential::None,
        (None, reference) => Credential::Reference(reference),
    };
    let carbon = provider.carbon.unwrap_or_default();
    Ok(Provider {
        kind: word("kind", &provider.kind)?,
        url: provider.url,
        upstream_model: provider.upstream_model,
        timeout: Duration::from_millis(provider.timeout_ms),
        credential,
        carbon: CarbonFacts {
            zone: carbon.zone,
            total_params: carbon.total_params_billions,
            active_params: carbon.active_params_billions,
        },
        weight: provider.weight,
        drain_on_disconnect: provider.drain_on_disconnect,
        number: provider.number,
    })
}

// === Limit ===

fn encode_limit(limit: &Limit) -> Vec<u8> {
    proto::Limit {
        unit: match limit.unit {
            LimitUnit::Requests => proto::LimitUnit::Requests,
            LimitUnit::Tokens => proto::LimitUnit::Tokens,
            LimitUnit::Concurrency => proto::LimitUnit::Concurrency,
        } as i32,
        window: match limit.window {
            Window::Second => proto::Window::Second,
            Window::Minute => proto::Window::Minute,
            Window::Hour => proto::Window::Hour,
            Window::Day => proto::Window::Day,
            Window::Week => proto::Window::Week,
            Window::Month => proto::Window::Month,
        } as i32,
        amount: limit.amount,
        mode: match limit.mode {
            LimitMode::Enforce => proto::LimitMode::Enforce,
            LimitMode::Shadow => proto::LimitMode::Shadow,
        } as i32,
        on_store_failure: match limit.on_store_failure {
            OnStoreFailure::LocalShare => proto::OnStoreFailure::LocalShare,
            OnStoreFailure::Open => proto::OnStoreFailure::Open,
            OnStoreFailure::Closed => proto::OnStoreFailure::Closed,
        } as i32,
    }
    .encode_to_vec()
}

fn decode_limit(limit: &proto::Limit) -> Result<Limit, Refusal> {
    Ok(Limit {
        unit: match limit.unit() {
            proto::LimitUnit::Requests => LimitUnit::Requests,
            proto::LimitUnit::Tokens => LimitUnit::Tokens,
            proto::LimitUnit::Concurrency => LimitUnit::Concurrency,
            proto::LimitUnit::Unspecified => return Err(unspecified("unit", limit.unit)),
        },
        window: match limit.window() {
            proto::Window::Second => Window::Second,
            proto::Window::Minute => Window::Minute,
            proto::Window::Hour => Window::Hour,
            proto::Window::Day => Window::Day,
            proto::Window::Week => Window::Week,
            proto::Window::Month => Window::Month,
            proto::Window::Unspecified => return Err(unspecified("window", limit.window)),
        },
        amount: limit.amount,
        mode: match limit.mode() {
            proto::LimitMode::Enforce => LimitMode::Enforce,
            proto::LimitMode::Shadow => LimitMode::Shadow,
            proto::LimitMode::Unspecified => return Err(unspecified("mode", limit.mode)),
        },
        on_store_failure: match limit.on_store_failure() {
            proto::OnStoreFailure::LocalShare => OnStoreFailure::LocalShare,
            proto::OnStoreFailure::Open => OnStoreFailure::Open,
            proto::OnStoreFailure::Closed => OnStoreFailure::Closed,
            proto::OnStoreFailure::Unspecified => return Err(unspecified("on_store_failure", limit.on_store_failure)),
        },
    })
}

// === Secret ===

fn encode_secret(secret: &SecretValue) -> Vec<u8> {
    proto::SecretValue {
        purpose: match secret.purpose {
            SecretPurpose::ProviderCredential => proto::SecretPurpose::ProviderCredential,
            SecretPurpose::Pepper => proto::SecretPurpose::Pepper,
        } as i32,
        generation: secret.generation,
        value: secret.value.expose().to_vec(),
    }
    .encode_to_vec()
}

fn decode_secret(secret: proto::SecretValue) -> Result<SecretValue, Refusal> {
    let purpose = match proto::SecretPurpose::try_from(secret.purpose) {
        Ok(proto::SecretPurpose::ProviderCredential) => SecretPurpose::ProviderCredential,
        Ok(proto::SecretPurpose::Pepper) => SecretPurpose::Pepper,
        Ok(proto::SecretPurpose::Unspecified) | Err(_) => return Err(unspecified("purpose", secret.purpose)),
    };
    Ok(SecretValue { purpose, generation: secret.generation, value: SecretBytes::new(secret.value) })
}
