//! What a request may set of a router.

use shared::catalog::{BalanceStrategy, RouterKind};
use shared::kernel::money::{Amount, Prices};
use utoipa::ToSchema;

use crate::admin::body::{Fields, Word};
use crate::admin::error::ApiError;
use crate::admin::users::organization;
use crate::domain::{Lookup, Patch, RouterSpec};
use crate::store::CatalogTx;

/// Fields of a router that a request may set.
#[derive(Debug, ToSchema)]
pub(super) struct RouterBody {
    /// Unique for its owner, among names and aliases together.
    #[schema(value_type = String, required = true)]
    name: Patch<String>,
    /// What it serves, such as `text-generation` or `text-embeddings-inference`.
    #[schema(rename = "type", value_type = String, required = true)]
    kind: Patch<Word<RouterKind>>,
    /// Other names for it, 1 to 64 characters each.
    #[schema(value_type = Vec<String>, required = false)]
    aliases: Patch<Vec<String>>,
    /// `shuffle` or `least_busy`.
    #[schema(value_type = String, default = "shuffle", required = false)]
    load_balancing_strategy: Patch<Word<BalanceStrategy>>,
    /// For one million tokens.
    #[schema(value_type = f64, default = 0, required = false)]
    cost_prompt_tokens: Patch<Amount>,
    /// For one million tokens.
    #[schema(value_type = f64, default = 0, required = false)]
    cost_completion_tokens: Patch<Amount>,
    /// For one million tokens that the provider served from its cache; null is as `cost_prompt_tokens`.
    #[schema(value_type = Option<f64>, required = false)]
    cost_cached_prompt_tokens: Patch<Amount>,
    /// The organization that owns the name; null is global.
    #[schema(value_type = Option<i64>, required = false)]
    organization_id: Patch<Lookup>,
    /// Shown to clients; null is the title of the application.
    #[schema(value_type = Option<String>, required = false)]
    owned_by: Patch<String>,
    /// Tokens of prompt and answer together.
    #[schema(value_type = Option<u64>, required = false)]
    max_context_length: Patch<u64>,
    /// Tokens of an answer.
    #[schema(value_type = Option<u64>, required = false)]
    max_output_tokens: Patch<u64>,
    /// Dimensions of an embedding.
    #[schema(value_type = Option<u64>, required = false)]
    vector_size: Patch<u64>,
    /// Switched off.
    #[schema(value_type = bool, default = false, required = false)]
    blocked: Patch<bool>,
    /// The Groups of data planes that serve it and hold its providers' credentials; none means all of them.
    #[schema(value_type = Vec<String>, required = false)]
    groups: Patch<Vec<String>>,
}

const READ_ONLY: &[&str] =
    &["id", "object", "user_id", "providers", "source", "created", "updated", "version", "number", "owner_file"];

impl RouterBody {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(bytes)?;
        fields.older("organization", "organization_id");
        let body = Self {
            name: fields.take("name"),
            kind: fields.take("type"),
            aliases: fields.take("aliases"),
            load_balancing_strategy: fields.take("load_balancing_strategy"),
            cost_prompt_tokens: fields.take("cost_prompt_tokens"),
            cost_completion_tokens: fields.take("cost_completion_tokens"),
            cost_cached_prompt_tokens: fields.take("cost_cached_prompt_tokens"),
            organization_id: fields.take("organization_id"),
            owned_by: fields.take("owned_by"),
            max_context_length: fields.take("max_context_length"),
            max_output_tokens: fields.take("max_output_tokens"),
            vector_size: fields.take("vector_size"),
            blocked: fields.take("blocked"),
            groups: fields.take("groups"),
        };
        fields.finish(READ_ONLY)?;
        Ok(body)
    }

    pub(super) async fn apply(self, tx: &mut CatalogTx, kept: Option<&RouterSpec>) -> Result<RouterSpec, ApiError> {
        let organization = match self.organization_id {
            Patch::Value(at) => Some(organization(tx, at).await?),
            Patch::Null => None,
            Patch::Absent => kept.and_then(|kept| kept.organization),
        };
        let prices = kept.map(|kept| kept.prices).unwrap_or_default();
        let strategy = self
            .load_balancing_strategy
            .defaulted(kept.map(|kept| Word(kept.strategy)), Word(BalanceStrategy::Shuffle));
        let spec = RouterSpec {
            name: self.name.required("name", kept.map(|kept| kept.name.clone()))?,
            kind: self.kind.required("type", kept.map(|kept| Word(kept.kind)))?.0,
            aliases: self.aliases.defaulted(kept.map(|kept| kept.aliases.clone()), Vec::new()),
            strategy: strategy.0,
            prices: Prices {
                prompt: Some(self.cost_prompt_tokens.defaulted(prices.prompt, Amount::ZERO)),
                completion: Some(self.cost_completion_tokens.defaulted(prices.completion, Amount::ZERO)),
                cached_prompt: self.cost_cached_prompt_tokens.nullable(prices.cached_prompt),
                revision: 0,
            },
            organization,
            owned_by: self.owned_by.defaulted(kept.map(|kept| kept.owned_by.clone()), String::new()),
            max_context_length: self.max_context_length.nullable(kept.and_then(|kept| kept.max_context_length)),
            max_output_tokens: self.max_output_tokens.nullable(kept.and_then(|kept| kept.max_output_tokens)),
            vector_size: self.vector_size.nullable(kept.and_then(|kept| kept.vector_size)),
            blocked: self.blocked.defaulted(kept.map(|kept| kept.blocked), false),
            groups: self.groups.defaulted(kept.map(|kept| kept.groups.clone()), Vec::new()),
        };
        spec.check()?;
        Ok(spec)
    }
}
