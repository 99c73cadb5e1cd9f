//! Providers: upstreams of a router. Their credential goes in and never comes out.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use shared::catalog::{CarbonFacts, Kind, ProviderKind, RouterKind};
use shared::kernel::ids::{ProviderId, RouterId, SecretId};
use shared::kernel::secret::Secret;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::body::{Body, Fields, Word};
use super::context::{Admin, Context};
use super::create::{Begun, Creation};
use super::error::ApiError;
use super::query::{At, Query};
use super::reply::{self, ListObject};
use super::{AppState, Routes};
use crate::domain::{self, CredentialSpec, DEFAULT_TIMEOUT, Lookup, Noun, Patch, ProviderSpec, provider_url};
use crate::store::providers::{self, CredentialChange, ProviderFilter, ProviderRow};
use crate::store::routers::{self, RouterRow};
use crate::store::snapshot::seal_context;
use crate::store::{CatalogTx, Sort, StoreError};
use crate::vault::KeyRing;

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list, create)).routes(routes!(read, change, replace, remove))
}

/// Fields of a provider that a request may set.
#[derive(Debug, ToSchema)]
struct ProviderBody {
    /// The router that it serves; its older name is `router`.
    #[schema(value_type = i64, required = true)]
    router_id: Patch<Lookup>,
    /// Its dialect: `openai`, `vllm` or `mock`.
    #[schema(rename = "type", value_type = String, required = true)]
    kind: Patch<Word<ProviderKind>>,
    /// Scheme, host and port, with a path prefix where needed; optional for types that have an address of their own.
    #[schema(value_type = Option<String>, required = false)]
    url: Patch<String>,
    /// The credential, or `env:NAME` or `file:/path` for one that the data plane finds itself. Never returned; a
    /// replacement without it keeps it, unless the address changes.
    #[schema(value_type = Option<String>, required = false)]
    key: Patch<Secret>,
    /// Seconds for one attempt, 1 to 3600.
    #[schema(value_type = u64, default = 300, required = false)]
    timeout: Patch<u64>,
    /// The name that the upstream knows.
    #[schema(value_type = String, required = true)]
    model_name: Patch<String>,
    /// ISO 3166-1 alpha-3 code of where it runs.
    #[schema(value_type = String, default = "WOR", required = false)]
    model_hosting_zone: Patch<String>,
    /// Billions of parameters.
    #[schema(value_type = Option<f64>, required = false)]
    model_total_params: Patch<f64>,
    /// Billions of parameters active for one token.
    #[schema(value_type = Option<f64>, required = false)]
    model_active_params: Patch<f64>,
    /// Not built yet: only null is taken.
    #[schema(value_type = Option<String>, required = false)]
    qos_metric: Patch<String>,
    /// Not built yet: only null is taken.
    #[schema(value_type = Option<f64>, required = false)]
    qos_limit: Patch<f64>,
    /// Share among its siblings.
    #[schema(value_type = Option<u32>, required = false)]
    weight: Patch<u32>,
    /// When the client leaves, read the answer to its end instead of cancelling.
    #[schema(value_type = bool, default = false, required = false)]
    drain_on_disconnect: Patch<bool>,
    /// Switched off.
    #[schema(value_type = bool, default = false, required = false)]
    blocked: Patch<bool>,
}

const READ_ONLY: &[&str] =
    &["id", "object", "user_id", "credential", "source", "created", "updated", "version", "number", "secret_id"];

impl ProviderBody {
    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(bytes)?;
        fields.older("router", "router_id");
        fields.older("model_carbon_footprint_zone", "model_hosting_zone");
        fields.older("model_carbon_footprint_total_params", "model_total_params");
        fields.older("model_carbon_footprint_active_params", "model_active_params");
        let body = Self {
            router_id: fields.take("router_id"),
            kind: fields.take("type"),
            url: fields.take("url"),
            key: fields.take("key"),
            timeout: fields.take("timeout"),
            model_name: fields.take("model_name"),
            model_hosting_zone: fields.take("model_hosting_zone"),
            model_total_params: fields.take("model_total_params"),
            model_active_params: fields.take("model_active_params"),
            qos_metric: fields.take("qos_metric"),
            qos_limit: fields.take("qos_limit"),
            weight: fields.take("weight"),
            drain_on_disconnect: fields.take("drain_on_disconnect"),
            blocked: fields.take("blocked"),
        };
        fields.finish(READ_ONLY)?;
        let not_built = |field| domain::Error::invalid(field, "set", "null is expected: not built yet");
        if let Patch::Value(_) = body.qos_metric {
            return Err(not_built("qos_metric").into());
        }
        if let Patch::Value(_) = body.qos_limit {
            return Err(not_built("qos_limit").into());
        }
        Ok(body)
    }

    /// Everything but the credential; also checks the credential's form.
    fn apply(
        self,
        router: &RouterRow,
        kept: Option<&ProviderSpec>,
    ) -> Result<(ProviderSpec, Patch<CredentialSpec>), ApiError> {
        let credential = self.key.try_map(|key| CredentialSpec::read(key.expose()))?;
        let kind = self.kind.required("type", kept.map(|kept| Word(kept.kind)))?.0;
        let url = match (self.url, kept) {
            (Patch::Absent, Some(kept)) if kept.kind == kind => kept.url.clone(),
            (url, _) => provider_url(kind, url.value().as_deref())?,
        };
        let carbon = kept.map(|kept| kept.carbon.clone());
        let spec = ProviderSpec {
            router: RouterId::from_uuid(router.id),
            kind,
            url,
            upstream_model: self.model_name.required("model_name", kept.map(|kept| kept.upstream_model.clone()))?,
            timeout: Duration::from_secs(
                self.timeout.defaulted(kept.map(|kept| kept.timeout.as_secs()), DEFAULT_TIMEOUT.as_secs()),
            ),
            carbon: CarbonFacts {
                zone: self
                    .model_hosting_zone
                    .defaulted(carbon.as_ref().map(|carbon| carbon.zone.clone()), "WOR".to_owned()),
                total_params: self.model_total_params.nullable(carbon.as_ref().and_then(|carbon| carbon.total_params)),
                active_params: self
                    .model_active_params
                    .nullable(carbon.as_ref().and_then(|carbon| carbon.active_params)),
            },
            weight: self.weight.nullable(kept.and_then(|kept| kept.weight)),
            drain_on_disconnect: self.drain_on_disconnect.defaulted(kept.map(|kept| kept.drain_on_disconnect), false),
            blocked: self.blocked.defaulted(kept.map(|kept| kept.blocked), false),
        };
        spec.check(router.kind.parse::<RouterKind>().map_err(|error| unreadable("routers", router.id, &error))?)?;
        Ok((spec, credential))
    }
}

fn unreadable(table: &'static str, id: uuid::Uuid, error: &dyn std::error::Error) -> ApiError {
    StoreError::BadRow { table, id: id.to_string(), reason: error.to_string() }.into()
}

/// A provider, without its credential.
#[derive(Debug, Serialize, ToSchema)]
struct ProviderObject {
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

fn spec_of(row: &ProviderRow) -> Result<ProviderSpec, ApiError> {
    Ok(ProviderSpec {
        router: RouterId::from_uuid(row.router_id),
        kind: row
            .kind
            .parse()
            .map_err(|error: shared::catalog::kinds::UnknownWord| unreadable("providers", row.id, &error))?,
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

/// Whether a provider has a credential of any sort.
const fn has_credential(row: &ProviderRow) -> bool {
    row.secret_id.is_some() || row.credential_reference.is_some()
}

/// What becomes of the credential. A rotation keeps the secret's id; another address needs the credential again, since
/// whoever may edit an address must not be able to have the credential sent there.
fn credential_change(
    vault: &KeyRing,
    (id, spec): (ProviderId, &ProviderSpec),
    present: Option<&ProviderRow>,
    given: Patch<CredentialSpec>,
) -> Result<CredentialChange, ApiError> {
    match given {
        Patch::Absent => match present {
            Some(row) if row.url != spec.url && has_credential(row) => {
                let detail = "The URL changes, so the credential must be given again as `key`.";
                Err(domain::Error::refused("secret_required", "key", detail).into())
            }
            _ => Ok(CredentialChange::Keep),
        },
        Patch::Null | Patch::Value(CredentialSpec::None) => Ok(CredentialChange::Remove),
        Patch::Value(CredentialSpec::Reference(reference)) => Ok(CredentialChange::Reference(reference)),
        Patch::Value(CredentialSpec::Stored(credential)) => {
            let secret = present.and_then(|row| row.secret_id).map_or_else(SecretId::generate, SecretId::from_uuid);
            let sealed = vault.seal(&seal_context(secret, id, &spec.url), credential.expose().as_bytes())?;
            Ok(CredentialChange::Sealed { id: secret, sealed })
        }
    }
}

fn refusal(error: StoreError, spec: &ProviderSpec, router: &RouterRow) -> ApiError {
    match error.duplicate() {
        Some(_) => {
            let (model, url, id) = (&spec.upstream_model, &spec.url, router.number);
            let detail = format!("Model provider {model} for url {url} already exists for router {id}.");
            domain::Error::conflict("already_exists", detail).into()
        }
        None => error.into(),
    }
}

/// The router that a provider is to serve, kept from changing meanwhile.
async fn router(tx: &mut CatalogTx, at: Lookup) -> Result<RouterRow, ApiError> {
    let found = routers::lock(tx, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Router, at))?;
    match &row.owner_file {
        Some(file) => Err(domain::Error::owned_by_file(Noun::Router, &row.name, file).into()),
        None => Ok(row),
    }
}

/// Create a provider.
#[utoipa::path(post, path = "/v1/admin/providers", tag = "providers", request_body = ProviderBody,
    responses((status = 201, body = ProviderObject)))]
async fn create(State(state): State<AppState>, Admin(context): Admin, body: Body) -> Result<Response, ApiError> {
    let mut parsed = ProviderBody::parse(&body.0)?;
    let mut creation = match Creation::begin(&state, &context, &body.0).await? {
        Begun::Replay(response) => return Ok(response),
        Begun::New(creation) => creation,
    };
    let at = std::mem::take(&mut parsed.router_id).required("router_id", None)?;
    let router = router(&mut creation.tx, at).await?;
    let (spec, given) = parsed.apply(&router, None)?;
    let id = ProviderId::generate();
    let credential = match credential_change(&state.vault, (id, &spec), None, given)? {
        CredentialChange::Keep => CredentialChange::Remove,
        change => change,
    };
    let user = context.caller.user().map(|user| user.id);
    let inserted = providers::insert(&mut creation.tx, id, &spec, &credential, user).await;
    let row = inserted.map_err(|error| refusal(error, &spec, &router))?;
    let object = ProviderObject::from(&row);
    let subject = subject(&row);
    reply::audit(&mut creation.tx, "create", (Kind::Provider, row.id, &subject), None, Some(&object))?;
    creation.finish(row.version, &object).await
}

/// A provider has no name: its router's and its model's stand for it.
fn subject(row: &ProviderRow) -> String {
    format!("{} > {}", row.router_name, row.upstream_model)
}

/// List providers.
#[utoipa::path(get, path = "/v1/admin/providers", tag = "providers",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query), ("sort_by" = Option<String>, Query),
        ("sort_order" = Option<String>, Query), ("router_id" = Option<i64>, Query),
        ("model_name" = Option<String>, Query, description = "Part of the name.")),
    responses((status = 200, body = ListObject<ProviderObject>)))]
async fn list(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let page = query.page(&[
        ("id", Sort::Number),
        ("model_name", Sort::Name),
        ("name", Sort::Name),
        ("created", Sort::Created),
        ("updated", Sort::Updated),
    ])?;
    let filter = ProviderFilter {
        router: query.lookup("router_id", "router")?,
        upstream_model: query.text("model_name").map(str::to_owned),
    };
    let listed = providers::list(&mut *state.store.acquire().await?, &filter, page).await?;
    Ok(reply::list(listed, page, |row| ProviderObject::from(&row)))
}

/// Read a provider.
#[utoipa::path(get, path = "/v1/admin/providers/{id}", tag = "providers", params(("id" = i64, Path)),
    responses((status = 200, body = ProviderObject)))]
async fn read(State(state): State<AppState>, _: Admin, At(at): At) -> Result<Response, ApiError> {
    let found = providers::get(&mut *state.store.acquire().await?, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Provider, at))?;
    Ok(reply::object(StatusCode::OK, row.version, &ProviderObject::from(&row)))
}

/// Change the fields named.
#[utoipa::path(patch, path = "/v1/admin/providers/{id}", tag = "providers", params(("id" = i64, Path)),
    request_body = ProviderBody, responses((status = 200, body = ProviderObject)))]
async fn change(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    update(&state, &context, at, ProviderBody::parse(&body.0)?, true).await
}

/// Replace every field but the credential; absent ones get their defaults.
#[utoipa::path(put, path = "/v1/admin/providers/{id}", tag = "providers", params(("id" = i64, Path)),
    request_body = ProviderBody, responses((status = 200, body = ProviderObject)))]
async fn replace(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    update(&state, &context, at, ProviderBody::parse(&body.0)?, false).await
}

async fn update(
    state: &AppState,
    context: &Context,
    at: Lookup,
    mut body: ProviderBody,
    keep: bool,
) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, context, at).await?;
    let kept = keep.then_some(Lookup::Id(row.router_id));
    let router = router(&mut tx, std::mem::take(&mut body.router_id).required("router_id", kept)?).await?;
    let present = spec_of(&row)?;
    let (spec, given) = body.apply(&router, keep.then_some(&present))?;
    let id = ProviderId::from_uuid(row.id);
    let credential = credential_change(&state.vault, (id, &spec), Some(&row), given)?;
    if spec == present && matches!(credential, CredentialChange::Keep) {
        return Ok(reply::object(StatusCode::OK, row.version, &ProviderObject::from(&row)));
    }
    let updated = providers::update(&mut tx, &row, &spec, &credential).await;
    let changed = updated.map_err(|error| refusal(error, &spec, &router))?;
    let (before, after) = (ProviderObject::from(&row), ProviderObject::from(&changed));
    let operation = if matches!(credential, CredentialChange::Keep) { "update" } else { "update_credential" };
    let subject = subject(&changed);
    reply::audit(&mut tx, operation, (Kind::Provider, row.id, &subject), Some(&before), Some(&after))?;
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, changed.version, &after))
}

/// Remove a provider with its credential.
#[utoipa::path(delete, path = "/v1/admin/providers/{id}", tag = "providers", params(("id" = i64, Path)),
    responses((status = 200, body = ProviderObject)))]
async fn remove(State(state): State<AppState>, Admin(context): Admin, At(at): At) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, &context, at).await?;
    providers::delete(&mut tx, &row).await?;
    let object = ProviderObject::from(&row);
    reply::audit(&mut tx, "delete", (Kind::Provider, row.id, &subject(&row)), Some(&object), None)?;
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, row.version, &object))
}

async fn lock(tx: &mut CatalogTx, context: &Context, at: Lookup) -> Result<ProviderRow, ApiError> {
    let found = providers::lock(tx, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Provider, at))?;
    context.check_version(row.version)?;
    match &row.owner_file {
        Some(file) => Err(domain::Error::owned_by_file(Noun::Provider, &subject(&row), file).into()),
        None => Ok(row),
    }
}
