//! Providers: upstreams of a router. Their credential goes in and never comes out.

mod body;
mod object;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use shared::catalog::Kind;
use shared::catalog::kinds::UnknownWord;
use shared::kernel::ids::{ProviderId, SecretId};
use utoipa_axum::routes;

use super::body::Body;
use super::context::{Admin, Context};
use super::create::{Begun, Creation};
use super::error::ApiError;
use super::query::{At, Query};
use super::reply::{self, ListObject};
use super::{AppState, Routes};
use crate::domain::{self, CredentialSpec, Lookup, Noun, Patch, ProviderSpec};
use crate::store::providers::{self, CredentialChange, ProviderFilter, ProviderRow};
use crate::store::routers::{self, RouterRow};
use crate::store::snapshot::seal_context;
use crate::store::{CatalogTx, Sort, StoreError};
use crate::vault::KeyRing;
use body::{ProviderBody, unreadable};
use object::{ProviderObject, spec_of};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list, create)).routes(routes!(read, change, replace, remove))
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
pub(super) fn subject(row: &ProviderRow) -> String {
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
    let row = lock(&mut tx, Some(context), at).await?;
    let kept = keep.then_some(Lookup::Id(row.router_id));
    let router = router(&mut tx, std::mem::take(&mut body.router_id).required("router_id", kept)?).await?;
    let present = spec_of(&row)?;
    let (spec, given) = body.apply(&router, keep.then_some(&present))?;
    let credential = credential_change(&state.vault, (ProviderId::from_uuid(row.id), &spec), Some(&row), given)?;
    let Some(changed) = write(&mut tx, &row, (&spec, &router), &credential).await? else {
        return Ok(reply::object(StatusCode::OK, row.version, &ProviderObject::from(&row)));
    };
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, changed.version, &ProviderObject::from(&changed)))
}

/// Changes the fields that `change` names, as a request would; answers whether that is any change.
pub(super) async fn amend(
    tx: &mut CatalogTx,
    vault: &KeyRing,
    row: &ProviderRow,
    change: &[u8],
) -> Result<bool, ApiError> {
    let mut body = ProviderBody::parse(change)?;
    let kept = Some(Lookup::Id(row.router_id));
    let router = router(tx, std::mem::take(&mut body.router_id).required("router_id", kept)?).await?;
    let (spec, given) = body.apply(&router, Some(&spec_of(row)?))?;
    let credential = credential_change(vault, (ProviderId::from_uuid(row.id), &spec), Some(row), given)?;
    Ok(write(tx, row, (&spec, &router), &credential).await?.is_some())
}

/// Makes a provider what another row of it says; `sealed` is the envelope of a credential that the row names and that is
/// not there yet.
pub(super) async fn become_like(
    tx: &mut CatalogTx,
    row: &ProviderRow,
    other: &ProviderRow,
    sealed: Option<Vec<u8>>,
) -> Result<(), ApiError> {
    let router = router(tx, Lookup::Id(row.router_id)).await?;
    let spec = spec_of(other)?;
    spec.check(router.kind.parse().map_err(|error: UnknownWord| unreadable("routers", router.id, &error))?)?;
    let same = (row.secret_id, &row.credential_reference) == (other.secret_id, &other.credential_reference);
    let credential = match (other.secret_id, &other.credential_reference, sealed) {
        (Some(id), _, Some(sealed)) => CredentialChange::Sealed { id: SecretId::from_uuid(id), sealed },
        _ if same => CredentialChange::Keep,
        (None, Some(reference), _) => CredentialChange::Reference(reference.clone()),
        _ => CredentialChange::Remove,
    };
    write(tx, row, (&spec, &router), &credential).await?;
    Ok(())
}

/// The row after the change, with its line for the audit table; absent when nothing changes.
async fn write(
    tx: &mut CatalogTx,
    row: &ProviderRow,
    (spec, router): (&ProviderSpec, &RouterRow),
    credential: &CredentialChange,
) -> Result<Option<ProviderRow>, ApiError> {
    let keeps = matches!(credential, CredentialChange::Keep);
    if *spec == spec_of(row)? && keeps {
        return Ok(None);
    }
    let changed = providers::update(tx, row, spec, credential).await.map_err(|error| refusal(error, spec, router))?;
    let (before, after) = (ProviderObject::from(row), ProviderObject::from(&changed));
    let operation = if keeps { "update" } else { "update_credential" };
    reply::audit(tx, operation, (Kind::Provider, row.id, &subject(&changed)), Some(&before), Some(&after))?;
    Ok(Some(changed))
}

/// Remove a provider with its credential.
#[utoipa::path(delete, path = "/v1/admin/providers/{id}", tag = "providers", params(("id" = i64, Path)),
    responses((status = 200, body = ProviderObject)))]
async fn remove(State(state): State<AppState>, Admin(context): Admin, At(at): At) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, Some(&context), at).await?;
    providers::delete(&mut tx, &row).await?;
    let object = ProviderObject::from(&row);
    reply::audit(&mut tx, "delete", (Kind::Provider, row.id, &subject(&row)), Some(&object), None)?;
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, row.version, &object))
}

/// The provider that is to be changed, unless a configuration file owns it.
pub(super) async fn lock(tx: &mut CatalogTx, context: Option<&Context>, at: Lookup) -> Result<ProviderRow, ApiError> {
    let found = providers::lock(tx, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Provider, at))?;
    context.map_or(Ok(()), |context| context.check_version(row.version))?;
    match &row.owner_file {
        Some(file) => Err(domain::Error::owned_by_file(Noun::Provider, &subject(&row), file).into()),
        None => Ok(row),
    }
}
