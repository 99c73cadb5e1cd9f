//! Routers: public model names.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use shared::catalog::{BalanceStrategy, Kind, ProviderKind, RouterKind};
use shared::kernel::ids::{OrganizationId, RouterId};
use shared::kernel::money::{Amount, Prices};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::body::{Body, Fields, Word};
use super::context::{Admin, Context};
use super::create::{Begun, Creation};
use super::error::ApiError;
use super::query::{At, Query};
use super::reply::{self, ListObject};
use super::users::organization;
use super::{AppState, Routes};
use crate::domain::{self, Lookup, Noun, Patch, RouterSpec};
use crate::store::routers::{self, RouterFilter, RouterOrigin, RouterRow};
use crate::store::{CatalogTx, Sort, StoreError, providers};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list, create)).routes(routes!(read, change, replace, remove))
}

/// Fields of a router that a request may set.
#[derive(Debug, ToSchema)]
struct RouterBody {
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
}

const READ_ONLY: &[&str] =
    &["id", "object", "user_id", "providers", "source", "created", "updated", "version", "number", "owner_file"];

impl RouterBody {
    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
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
        };
        fields.finish(READ_ONLY)?;
        Ok(body)
    }

    async fn apply(self, tx: &mut CatalogTx, kept: Option<&RouterSpec>) -> Result<RouterSpec, ApiError> {
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
        };
        spec.check()?;
        Ok(spec)
    }
}

/// A router.
#[derive(Debug, Serialize, ToSchema)]
struct RouterObject {
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
            source: row.owner_file.clone(),
            created: row.created.timestamp(),
            updated: row.updated.timestamp(),
        }
    }
}

fn spec_of(row: &RouterRow) -> Result<RouterSpec, ApiError> {
    let unknown = |error: shared::catalog::kinds::UnknownWord| {
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
    })
}

/// Names that another router of the same owner has.
async fn check_names(tx: &mut CatalogTx, spec: &RouterSpec, but: Option<uuid::Uuid>) -> Result<(), ApiError> {
    let names: Vec<String> = std::iter::once(&spec.name).chain(&spec.aliases).cloned().collect();
    let taken = routers::taken(tx.connection(), spec.organization, &names, but).await?;
    if taken.is_empty() {
        return Ok(());
    }
    let detail = if taken.iter().any(|(name, _)| *name == spec.name) {
        format!("Router {} already exists.", spec.name)
    } else {
        let names: Vec<String> = taken.iter().map(|(name, _)| format!("'{name}'")).collect();
        format!("Following aliases already exist: '[{}]'", names.join(", "))
    };
    Err(domain::Error::conflict("already_exists", detail).into())
}

fn refusal(error: StoreError, name: &str) -> ApiError {
    match error.duplicate() {
        // Made by somebody else between the look and the insert.
        Some(_) => domain::Error::conflict("already_exists", format!("Router {name} already exists.")).into(),
        None => error.into(),
    }
}

/// Create a router.
#[utoipa::path(post, path = "/v1/admin/routers", tag = "routers", request_body = RouterBody,
    responses((status = 201, body = RouterObject)))]
async fn create(State(state): State<AppState>, Admin(context): Admin, body: Body) -> Result<Response, ApiError> {
    let parsed = RouterBody::parse(&body.0)?;
    let mut creation = match Creation::begin(&state, &context, &body.0).await? {
        Begun::Replay(response) => return Ok(response),
        Begun::New(creation) => creation,
    };
    let spec = parsed.apply(&mut creation.tx, None).await?;
    check_names(&mut creation.tx, &spec, None).await?;
    let origin = RouterOrigin { user: context.caller.user().map(|user| user.id), owner_file: None };
    let inserted = routers::insert(&mut creation.tx, &spec, &origin).await;
    let row = inserted.map_err(|error| refusal(error, &spec.name))?;
    let object = RouterObject::from(&row);
    reply::audit(&mut creation.tx, "create", (Kind::Router, row.id, &row.name), None, Some(&object))?;
    creation.finish(row.version, &object).await
}

/// List routers.
#[utoipa::path(get, path = "/v1/admin/routers", tag = "routers",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query), ("sort_by" = Option<String>, Query),
        ("sort_order" = Option<String>, Query), ("name" = Option<String>, Query, description = "Part of the name."),
        ("type" = Option<String>, Query), ("organization_id" = Option<i64>, Query)),
    responses((status = 200, body = ListObject<RouterObject>)))]
async fn list(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let page = query.page(&[
        ("id", Sort::Number),
        ("name", Sort::Name),
        ("created", Sort::Created),
        ("updated", Sort::Updated),
    ])?;
    let kind: Option<RouterKind> = query.parsed("type", &format!("one of: {}", RouterKind::expected()))?;
    let filter = RouterFilter {
        name: query.text("name").map(str::to_owned),
        kind: kind.map(|kind| kind.as_str().to_owned()),
        organization: query.lookup("organization_id", "organization")?,
        owner_file: None,
    };
    let listed = routers::list(&mut *state.store.acquire().await?, &filter, page).await?;
    Ok(reply::list(listed, page, |row| RouterObject::from(&row)))
}

/// Read a router.
#[utoipa::path(get, path = "/v1/admin/routers/{id}", tag = "routers", params(("id" = i64, Path)),
    responses((status = 200, body = RouterObject)))]
async fn read(State(state): State<AppState>, _: Admin, At(at): At) -> Result<Response, ApiError> {
    let found = routers::get(&mut *state.store.acquire().await?, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Router, at))?;
    Ok(reply::object(StatusCode::OK, row.version, &RouterObject::from(&row)))
}

/// Change the fields named.
#[utoipa::path(patch, path = "/v1/admin/routers/{id}", tag = "routers", params(("id" = i64, Path)),
    request_body = RouterBody, responses((status = 200, body = RouterObject)))]
async fn change(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    update(&state, &context, at, RouterBody::parse(&body.0)?, true).await
}

/// Replace every field; absent ones get their defaults.
#[utoipa::path(put, path = "/v1/admin/routers/{id}", tag = "routers", params(("id" = i64, Path)),
    request_body = RouterBody, responses((status = 200, body = RouterObject)))]
async fn replace(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    update(&state, &context, at, RouterBody::parse(&body.0)?, false).await
}

async fn update(
    state: &AppState,
    context: &Context,
    at: Lookup,
    body: RouterBody,
    keep: bool,
) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, context, at).await?;
    let present = spec_of(&row)?;
    let spec = body.apply(&mut tx, keep.then_some(&present)).await?;
    if spec == present {
        return Ok(reply::object(StatusCode::OK, row.version, &RouterObject::from(&row)));
    }
    check_names(&mut tx, &spec, Some(row.id)).await?;
    if spec.kind != present.kind {
        check_providers(&mut tx, &row, spec.kind).await?;
    }
    let changed = routers::update(&mut tx, row.id, &spec).await.map_err(|error| refusal(error, &spec.name))?;
    let (before, after) = (RouterObject::from(&row), RouterObject::from(&changed));
    reply::audit(&mut tx, "update", (Kind::Router, row.id, &changed.name), Some(&before), Some(&after))?;
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, changed.version, &after))
}

/// A router may not become of a kind that one of its providers cannot serve.
async fn check_providers(tx: &mut CatalogTx, row: &RouterRow, kind: RouterKind) -> Result<(), ApiError> {
    for provider in providers::of_router(tx.connection(), RouterId::from_uuid(row.id)).await? {
        let serves = provider.kind.parse::<ProviderKind>().is_ok_and(|provider| provider.serves(kind));
        if !serves {
            let detail = format!("Invalid model provider type {} for {kind} router.", provider.kind);
            return Err(domain::Error::refused("provider_type_mismatch", "type", detail).into());
        }
    }
    Ok(())
}

/// Remove a router with its providers and the limits on it.
#[utoipa::path(delete, path = "/v1/admin/routers/{id}", tag = "routers", params(("id" = i64, Path)),
    responses((status = 200, body = RouterObject)))]
async fn remove(State(state): State<AppState>, Admin(context): Admin, At(at): At) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, &context, at).await?;
    routers::delete(&mut tx, row.id).await?;
    let object = RouterObject::from(&row);
    reply::audit(&mut tx, "delete", (Kind::Router, row.id, &row.name), Some(&object), None)?;
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, row.version, &object))
}

async fn lock(tx: &mut CatalogTx, context: &Context, at: Lookup) -> Result<RouterRow, ApiError> {
    let found = routers::lock(tx, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Router, at))?;
    context.check_version(row.version)?;
    match &row.owner_file {
        Some(file) => Err(domain::Error::owned_by_file(Noun::Router, &row.name, file).into()),
        None => Ok(row),
    }
}
