//! A provider as the API shows it, which is without its credential.

use std::time::Duration;

use serde::Serialize;
use shared::catalog::CarbonFacts;
use shared::catalog::kinds::UnknownWord;
use shared::kernel::ids::RouterId;
use utoipa::ToSchema;

use super::body::unreadable;
use crate::admin::error::ApiError;
use crate::domain::ProviderSpec;
use crate::store::providers::ProviderRow;

/// A provider, without its credential.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProviderObject {
    /// Always `provider`.
    object: &'static str,
    /// Its id.
    id: i64,
    /// The router that it serves.
    router_id: i64,
    /// Who made it; 0 is the master or a configuration file.
    user_id: i64,
    /// Its dialect.
    #[serde(rename = "type")]
    kind: String,
    /// Its address.
    url: String,
    /// `stored`, a reference such as `env:NAME`, or null for none.
    credential: Option<String>,
    /// Seconds for one attempt.
    timeout: u64,
    /// The name that the upstream knows.
    model_name: String,
    /// Where it runs.
    model_hosting_zone: String,
    /// Billions of parameters.
    model_total_params: Option<f64>,
    /// Billions of parameters active for one token.
    model_active_params: Option<f64>,
    /// Not built yet.
    qos_metric: Option<String>,
    /// Not built yet.
    qos_limit: Option<f64>,
    /// Share among its siblings.
    weight: Option<i32>,
    /// Read the answer to its end when the client leaves.
    drain_on_disconnect: bool,
    /// Switched off.
    blocked: bool,
    /// The configuration file that owns it; null is this API.
    source: Option<String>,
    /// Unix seconds.
    created: i64,
    /// Unix seconds.
    updated: i64,
}

impl From<&ProviderRow> for ProviderObject {
    fn from(row: &ProviderRow) -> Self {
        let stored = row.secret_id.map(|_| "stored".to_owned());
        Self {
            object: "provider",
            id: row.number,
            router_id: row.router_number,
            user_id: row.user_number.unwrap_or(0),
            kind: row.kind.clone(),
            url: row.url.clone(),
            credential: stored.or_else(|| row.credential_reference.clone()),
            timeout: u64::try_from(row.timeout_ms / 1_000).unwrap_or(0),
            model_name: row.upstream_model.clone(),
            model_hosting_zone: row.carbon_zone.clone(),
            model_total_params: row.total_params,
            model_active_params: row.active_params,
            qos_metric: None,
            qos_limit: None,
            weight: row.weight,
            drain_on_disconnect: row.drain_on_disconnect,
            blocked: row.blocked,
            source: row.owner_file.clone(),
            created: row.created.timestamp(),
            updated: row.updated.timestamp(),
        }
    }
}

pub(super) fn spec_of(row: &ProviderRow) -> Result<ProviderSpec, ApiError> {
    Ok(ProviderSpec {
        router: RouterId::from_uuid(row.router_id),
        kind: row.kind.parse().map_err(|error: UnknownWord| unreadable("providers", row.id, &error))?,
        url: row.url.clone(),
        upstream_model: row.upstream_model.clone(),
        timeout: Duration::from_millis(u64::try_from(row.timeout_ms).unwrap_or(0)),
        carbon: CarbonFacts {
            zone: row.carbon_zone.clone(),
            total_params: row.total_params,
            active_params: row.active_params,
        },
        weight: row.weight.and_then(|weight| u32::try_from(weight).ok()),
        drain_on_disconnect: row.drain_on_disconnect,
        blocked: row.blocked,
    })
}
