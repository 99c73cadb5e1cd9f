//! A router as the API shows it.

use serde::Serialize;
use shared::catalog::kinds::UnknownWord;
use shared::kernel::ids::OrganizationId;
use shared::kernel::money::{Amount, Prices};
use utoipa::ToSchema;

use crate::admin::error::ApiError;
use crate::domain::RouterSpec;
use crate::store::StoreError;
use crate::store::routers::RouterRow;

/// A router.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RouterObject {
    /// Always `router`.
    object: &'static str,
    /// Its id.
    id: i64,
    /// Unique for its owner.
    name: String,
    /// Who made it; 0 is the master or a configuration file.
    user_id: i64,
    /// What it serves.
    #[serde(rename = "type")]
    kind: String,
    /// Other names for it.
    aliases: Vec<String>,
    /// How it picks a provider.
    load_balancing_strategy: String,
    /// Dimensions of an embedding.
    vector_size: Option<i64>,
    /// Tokens of prompt and answer together.
    max_context_length: Option<i64>,
    /// Tokens of an answer.
    max_output_tokens: Option<i64>,
    /// For one million tokens.
    cost_prompt_tokens: f64,
    /// For one million tokens.
    cost_completion_tokens: f64,
    /// For one million tokens; null is as `cost_prompt_tokens`.
    cost_cached_prompt_tokens: Option<f64>,
    /// The organization that owns the name; null is global.
    organization_id: Option<i64>,
    /// Shown to clients; null is the title of the application.
    owned_by: Option<String>,
    /// How many stand behind it.
    providers: i64,
    /// Switched off.
    blocked: bool,
    /// The Groups of data planes that serve it; none means all of them.
    groups: Vec<String>,
    /// The configuration file that owns it; null is this API.
    source: Option<String>,
    /// Unix seconds.
    created: i64,
    /// Unix seconds.
    updated: i64,
}

impl From<&RouterRow> for RouterObject {
    fn from(row: &RouterRow) -> Self {
        let prices = row.prices();
        Self {
            object: "router",
            id: row.number,
            name: row.name.clone(),
            user_id: row.user_number.unwrap_or(0),
            kind: row.kind.clone(),
            aliases: row.aliases.clone(),
            load_balancing_strategy: row.strategy.clone(),
            vector_size: row.vector_size,
            max_context_length: row.max_context_length,
            max_output_tokens: row.max_output_tokens,
            cost_prompt_tokens: prices.prompt.unwrap_or_default().to_f64(),
            cost_completion_tokens: prices.completion.unwrap_or_default().to_f64(),
            cost_cached_prompt_tokens: prices.cached_prompt.map(Amount::to_f64),
            organization_id: row.organization_number,
            owned_by: Some(row.owned_by.clone()).filter(|owner| !owner.is_empty()),
            providers: row.providers,
            blocked: row.blocked,
            groups: row.node_groups.clone(),
            source: row.owner_file.clone(),
            created: row.created.timestamp(),
            updated: row.updated.timestamp(),
        }
    }
}

pub(super) fn spec_of(row: &RouterRow) -> Result<RouterSpec, ApiError> {
    let unknown = |error: UnknownWord| {
        let id = row.id.to_string();
        StoreError::BadRow { table: "routers", id, reason: error.to_string() }
    };
    let size = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    let prices = row.prices();
    Ok(RouterSpec {
        name: row.name.clone(),
        kind: row.kind.parse().map_err(unknown)?,
        aliases: row.aliases.clone(),
        strategy: row.strategy.parse().map_err(unknown)?,
        prices: Prices {
            prompt: Some(prices.prompt.unwrap_or_default()),
            completion: Some(prices.completion.unwrap_or_default()),
            revision: 0,
            ..prices
        },
        organization: row.organization_id.map(OrganizationId::from_uuid),
        owned_by: row.owned_by.clone(),
        max_context_length: size(row.max_context_length),
        max_output_tokens: size(row.max_output_tokens),
        vector_size: size(row.vector_size),
        blocked: row.blocked,
        groups: row.node_groups.clone(),
    })
}
