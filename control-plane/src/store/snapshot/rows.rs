//! From rows to resources, one at a time: a row that this build does not understand is left out alone.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::catalog::{
    CarbonFacts, Credential, Item, Kind, Limit, Organization, Permission, Provider, Ref, Resource, Role, Router,
    Setting, User, Verifier, VirtualKey,
};
use shared::kernel::clock::FleetTime;
use shared::kernel::ids::{ProviderId, RouterId, SecretId};
use shared::kernel::money::{Amount, Prices};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::SealedSecret;
use crate::store::StoreError;

/// Why one row cannot be read.
pub(super) struct RowError(pub(super) String);

impl<E: std::error::Error> From<E> for RowError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

pub(super) fn bad(table: &'static str, id: Uuid, error: &dyn std::error::Error) -> StoreError {
    StoreError::BadRow { table, id: id.to_string(), reason: error.to_string() }
}

fn time(at: DateTime<Utc>) -> FleetTime {
    FleetTime::from_unix_micros(at.timestamp_micros())
}

fn count(value: Option<i64>) -> Option<u64> {
    value.and_then(|value| u64::try_from(value).ok())
}

/// Id, version and item in an envelope without parents.
fn resource(row: &PgRow, item: Item) -> Result<Resource, RowError> {
    let version: i64 = row.try_get("version")?;
    Ok(Resource {
        id: row.try_get("id")?,
        version: u64::try_from(version)?,
        parents: Vec::new(),
        blocked: false,
        expires: None,
        requires: Vec::new(),
        item,
    })
}

fn parents<const N: usize>(of: [(Kind, Option<Uuid>); N]) -> Vec<Ref> {
    of.into_iter().filter_map(|(kind, id)| id.map(|id| Ref { kind, id })).collect()
}

pub(super) fn organization(row: &PgRow) -> Result<Resource, RowError> {
    let item = Item::Organization(Organization { name: row.try_get("name")? });
    Ok(Resource { blocked: row.try_get("blocked")?, ..resource(row, item)? })
}

pub(super) fn role(row: &PgRow) -> Result<Resource, RowError> {
    let words: Vec<String> = row.try_get("permissions")?;
    let permissions = words.iter().map(|word| word.parse()).collect::<Result<Vec<Permission>, _>>()?;
    let item = Item::Role(Role { name: row.try_get("name")?, permissions, all_routers: row.try_get("all_routers")? });
    resource(row, item)
}

pub(super) fn user(row: &PgRow) -> Result<Resource, RowError> {
    let item = Item::User(User {
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        priority: row.try_get("priority")?,
        number: row.try_get("number")?,
    });
    Ok(Resource {
        parents: parents([
            (Kind::Role, Some(row.try_get("role_id")?)),
            (Kind::Organization, row.try_get("organization_id")?),
        ]),
        blocked: row.try_get("blocked")?,
        expires: row.try_get::<Option<DateTime<Utc>>, _>("expires")?.map(time),
        ..resource(row, item)?
    })
}

pub(super) fn key(row: &PgRow) -> Result<Resource, RowError> {
    let schemes: Option<Vec<String>> = row.try_get("schemes")?;
    let peppers: Option<Vec<i32>> = row.try_get("peppers")?;
    let digests: Option<Vec<Vec<u8>>> = row.try_get("digests")?;
    let ends: Option<Vec<Option<DateTime<Utc>>>> = row.try_get("ends")?;
    let rest = peppers.into_iter().flatten().zip(digests.into_iter().flatten()).zip(ends.into_iter().flatten());
    let verifiers = schemes
        .into_iter()
        .flatten()
        .zip(rest)
        .map(|(scheme, ((pepper, digest), end))| {
            Ok(Verifier {
                scheme: scheme.parse()?,
                pepper_version: u32::try_from(pepper)?,
                digest,
                not_after: end.map(time),
            })
        })
        .collect::<Result<Vec<_>, RowError>>()?;
    let allowed: Option<Vec<Uuid>> = row.try_get("allowed_routers")?;
    let item = Item::Key(VirtualKey {
        public_id: row.try_get::<Option<String>, _>("public_id")?.unwrap_or_default(),
        name: row.try_get("name")?,
        verifiers,
        allowed_routers: allowed.map(|ids| ids.into_iter().map(RouterId::from_uuid).collect()),
        master: false,
        compatibility: String::new(),
        number: row.try_get("number")?,
    });
    Ok(Resource {
        parents: parents([(Kind::User, Some(row.try_get("user_id")?))]),
        blocked: row.try_get("blocked")?,
        expires: row.try_get::<Option<DateTime<Utc>>, _>("expires")?.map(time),
        ..resource(row, item)?
    })
}

pub(super) fn router(row: &PgRow) -> Result<Resource, RowError> {
    let price = |column: &str| -> Result<Option<Amount>, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(Amount::from_billionths))
    };
    let item = Item::Router(Router {
        name: row.try_get("name")?,
        kind: row.try_get::<&str, _>("kind")?.parse()?,
        aliases: row.try_get("aliases")?,
        strategy: row.try_get::<&str, _>("strategy")?.parse()?,
        prices: Prices {
            prompt: price("prompt_price")?,
            completion: price("completion_price")?,
            cached_prompt: price("cached_prompt_price")?,
            revision: u64::try_from(row.try_get::<i64, _>("price_revision")?)?,
        },
        owned_by: row.try_get("owned_by")?,
        created_unix_s: row.try_get::<DateTime<Utc>, _>("created")?.timestamp(),
        max_context_length: count(row.try_get("max_context_length")?),
        max_output_tokens: count(row.try_get("max_output_tokens")?),
        vector_size: count(row.try_get("vector_size")?),
        number: row.try_get("number")?,
    });
    Ok(Resource {
        parents: parents([(Kind::Organization, row.try_get("organization_id")?)]),
        blocked: row.try_get("blocked")?,
        ..resource(row, item)?
    })
}

pub(super) fn provider(row: &PgRow) -> Result<Resource, RowError> {
    let secret: Option<Uuid> = row.try_get("secret_id")?;
    let reference: Option<String> = row.try_get("credential_reference")?;
    let credential = match (secret, reference) {
        (Some(id), _) => Credential::Sealed(SecretId::from_uuid(id)),
        (None, Some(reference)) => Credential::Reference(reference),
        (None, None) => Credential::None,
    };
    let item = Item::Provider(Provider {
        kind: row.try_get::<&str, _>("kind")?.parse()?,
        url: row.try_get("url")?,
        upstream_model: row.try_get("upstream_model")?,
        timeout: Duration::from_millis(u64::try_from(row.try_get::<i64, _>("timeout_ms")?)?),
        credential,
        carbon: CarbonFacts {
            zone: row.try_get("carbon_zone")?,
            total_params: row.try_get("total_params")?,
            active_params: row.try_get("active_params")?,
        },
        weight: row.try_get::<Option<i32>, _>("weight")?.map(u32::try_from).transpose()?,
        drain_on_disconnect: row.try_get("drain_on_disconnect")?,
        number: row.try_get("number")?,
    });
    Ok(Resource {
        parents: parents([(Kind::Router, Some(row.try_get("router_id")?)), (Kind::Secret, secret)]),
        blocked: row.try_get("blocked")?,
        ..resource(row, item)?
    })
}

pub(super) fn limit(row: &PgRow) -> Result<Resource, RowError> {
    let item = Item::Limit(Limit {
        unit: row.try_get::<&str, _>("unit")?.parse()?,
        window: row.try_get::<&str, _>("period")?.parse()?,
        amount: row.try_get("amount")?,
        mode: row.try_get::<&str, _>("mode")?.parse()?,
        on_store_failure: row.try_get::<&str, _>("on_store_failure")?.parse()?,
    });
    Ok(Resource {
        parents: parents([
            (Kind::Role, Some(row.try_get("role_id")?)),
            (Kind::Router, Some(row.try_get("router_id")?)),
        ]),
        ..resource(row, item)?
    })
}

pub(super) fn setting(row: &PgRow) -> Result<Resource, RowError> {
    let value: Value = row.try_get("value")?;
    resource(row, Item::Setting(Setting { name: row.try_get("name")?, value_json: value.to_string() }))
}

pub(super) fn secret(row: &PgRow) -> Result<SealedSecret, RowError> {
    #[derive(FromRow)]
    struct Columns {
        id: Uuid,
        version: i64,
        purpose: String,
        generation: i32,
        sealed: Vec<u8>,
        provider_id: Uuid,
        url: String,
    }
    let columns = Columns::from_row(row)?;
    Ok(SealedSecret {
        id: SecretId::from_uuid(columns.id),
        version: u64::try_from(columns.version)?,
        purpose: columns.purpose.parse()?,
        generation: u32::try_from(columns.generation)?,
        sealed: columns.sealed,
        provider: ProviderId::from_uuid(columns.provider_id),
        url: columns.url,
    })
}
