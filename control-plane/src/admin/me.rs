//! What users may see and change of themselves: their account and their own keys.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::Utc;
use http::StatusCode;
use serde::Serialize;
use shared::catalog::{Kind, Permission};
use shared::kernel::ids::UserId;
use shared::kernel::money::Amount;
use shared::kernel::secret::Secret;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::body::{Body, Fields};
use super::context::{Account, Context, Current};
use super::create::{Begun, Creation};
use super::error::ApiError;
use super::keys::{self as admin_keys, KeyObject, SORTS};
use super::query::{At, Query};
use super::reply::{self, ListObject};
use super::roles::LimitObject;
use super::users::{self as admin_users, hashed};
use super::{AppState, Routes};
use crate::domain::{self, KeyNoun, KeySpec, Lookup, Noun, Patch, key_expiry};
use crate::store::keys::{self, KeyFilter};
use crate::store::{roles, users};

pub(super) fn routes() -> Routes {
    Routes::default()
        .routes(routes!(info, change_info))
        .routes(routes!(list, create))
        .routes(routes!(read, remove))
        // The same under their newer names.
        .route("/v1/me", get(info).patch(change_info))
        .route("/v1/keys", get(list).post(create))
        .route("/v1/keys/{id}", get(read).delete(remove))
}

/// The caller's account.
#[derive(Debug, Serialize, ToSchema)]
struct AccountObject {
    /// Always `userInfo`.
    object: &'static str,
    /// Their id; 0 is the master.
    id: i64,
    /// Their e-mail address.
    email: String,
    /// For display.
    name: String,
    /// Their organization.
    organization: Option<i64>,
    /// Their organization, by its newer name.
    organization_id: Option<i64>,
    /// Null is no bound.
    budget: Option<f64>,
    /// What they may do on the management side.
    permissions: Vec<String>,
    /// On routers; those without access are left out.
    limits: Vec<LimitObject>,
    /// Unix seconds; null is never.
    expires: Option<i64>,
    /// Place in a queue.
    priority: i32,
    /// Unix seconds.
    created: i64,
    /// Unix seconds.
    updated: i64,
}

/// Read one's own account; allowed also when it has expired.
#[utoipa::path(get, path = "/v1/me/info", tag = "me", responses((status = 200, body = AccountObject)))]
async fn info(State(state): State<AppState>, Account(context): Account) -> Result<Response, ApiError> {
    let permissions = context.caller.permissions().map(|permission| permission.as_str().to_owned());
    let Some(user) = context.caller.user() else {
        let master = AccountObject {
            object: "userInfo",
            id: 0,
            email: context.caller.name().to_owned(),
            name: context.caller.name().to_owned(),
            organization: None,
            organization_id: None,
            budget: None,
            permissions: Permission::ALL.iter().map(|permission| permission.as_str().to_owned()).collect(),
            limits: Vec::new(),
            expires: None,
            priority: 0,
            created: 0,
            updated: 0,
        };
        return Ok(reply::json(StatusCode::OK, &master));
    };
    let mut connection = state.store.acquire().await?;
    let at = Lookup::Id(user.id.uuid());
    let row = users::get(&mut connection, at).await?.ok_or_else(|| domain::Error::not_found(Noun::User, at))?;
    let role = roles::get(&mut connection, Lookup::Id(row.role_id)).await?;
    let limits = role.map(|role| LimitObject::of(&role.limits)).unwrap_or_default();
    let account = AccountObject {
        object: "userInfo",
        id: row.number,
        email: row.email.clone(),
        name: row.name.clone(),
        organization: row.organization_number,
        organization_id: row.organization_number,
        budget: row.budget().map(Amount::to_f64),
        permissions: permissions.collect(),
        limits: limits.into_iter().filter(LimitObject::is_open).collect(),
        expires: row.expires.map(|at| at.timestamp()),
        priority: row.priority,
        created: row.created.timestamp(),
        updated: row.updated.timestamp(),
    };
    Ok(reply::object(StatusCode::OK, row.version, &account))
}

/// What users may change of their account, and nothing else.
#[derive(Debug, ToSchema)]
struct AccountBody {
    /// For display.
    #[schema(value_type = String, required = false)]
    name: Patch<String>,
    /// Unique without regard to case.
    #[schema(value_type = String, required = false)]
    email: Patch<String>,
    /// Needed to set a new password.
    #[schema(value_type = Option<String>, required = false)]
    current_password: Patch<Secret>,
    /// 8 to 1024 bytes.
    #[schema(value_type = Option<String>, required = false)]
    password: Patch<Secret>,
}

const OTHERS: &[&str] = &[
    "id",
    "object",
    "role",
    "role_id",
    "organization",
    "organization_id",
    "budget",
    "permissions",
    "limits",
    "expires",
    "priority",
    "blocked",
    "sub",
    "iss",
    "created",
    "updated",
    "version",
    "number",
    "external_id",
];

/// Change one's own name, e-mail address or password.
#[utoipa::path(patch, path = "/v1/me/info", tag = "me", request_body = AccountBody, responses((status = 204)))]
async fn change_info(
    State(state): State<AppState>,
    Current(context): Current,
    body: Body,
) -> Result<Response, ApiError> {
    let id = context.caller.require_user()?.id;
    let mut fields = Fields::parse(&body.0)?;
    let body = AccountBody {
        name: fields.take("name"),
        email: fields.take("email"),
        current_password: fields.take("current_password"),
        password: fields.take("password"),
    };
    fields.finish(OTHERS)?;
    let password = new_password(&state, id, body.current_password, body.password).await?;
    let mut tx = state.store.begin(context.actor()).await?;
    let at = Lookup::Id(id.uuid());
    let row = users::lock(&mut tx, at).await?.ok_or_else(|| domain::Error::not_found(Noun::User, at))?;
    context.check_version(row.version)?;
    let present = admin_users::spec_of(&row);
    let mut spec = present.clone();
    spec.name = body.name.defaulted(Some(present.name.clone()), String::new());
    spec.email = body.email.required("email", Some(present.email.clone()))?;
    if state.access.is_reserved(&spec.email) {
        return Err(domain::Error::forbidden("reserved_email", "Reserved email.").into());
    }
    spec.check()?;
    if spec != present {
        let updated = users::update(&mut tx, row.id, &spec).await;
        let changed = updated.map_err(|error| admin_users::refusal(error, &spec.email, None))?;
        let shown = |name: &str, email: &str| serde_json::json!({ "name": name, "email": email });
        let (before, after) = (shown(&row.name, &row.email), shown(&changed.name, &changed.email));
        reply::audit(&mut tx, "update", (Kind::User, row.id, &changed.email), Some(&before), Some(&after))?;
    }
    if let Some(hash) = password {
        admin_users::set_password(&mut tx, id, &spec.email, Some(&hash)).await?;
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A new password needs the current one: a key that leaked must not take over the account.
async fn new_password(
    state: &AppState,
    user: UserId,
    current: Patch<Secret>,
    wanted: Patch<Secret>,
) -> Result<Option<String>, ApiError> {
    if matches!(wanted, Patch::Null) {
        return Err(domain::Error::invalid("password", "null", "a password is expected").into());
    }
    match (current.value(), wanted.is_named()) {
        (None, false) => Ok(None),
        (None, true) => {
            let detail = "A new password needs the current one as `current_password`.";
            Err(domain::Error::refused("current_password_required", "current_password", detail).into())
        }
        (Some(current), _) => {
            let stored = users::password(&mut *state.store.acquire().await?, user.uuid()).await?;
            state.access.check_current_password(current, stored).await?;
            Ok(hashed(state, wanted).await?.value())
        }
    }
}

/// Fields of one's own key.
#[derive(Debug, ToSchema)]
struct OwnKeyBody {
    /// Not unique; 1 to 255 characters.
    #[schema(value_type = String, required = true)]
    name: Patch<String>,
    /// Unix seconds, in the future; null is the longest that the operator allows.
    #[schema(value_type = Option<i64>, required = false)]
    expires: Patch<i64>,
}

/// A key of one's own that was just made: its text is shown once, under both names.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewKeyObject {
    /// Its text.
    key: String,
    /// The key, with its text as `value`.
    #[serde(flatten)]
    object: KeyObject,
}

impl NewKeyObject {
    /// Shows the text.
    pub(super) fn new(object: KeyObject, text: &Secret) -> Self {
        Self { key: text.expose().to_owned(), object: object.in_clear(text.expose()) }
    }
}

/// Create a key of one's own.
#[utoipa::path(post, path = "/v1/me/keys", tag = "me", request_body = OwnKeyBody,
    responses((status = 201, body = NewKeyObject)))]
async fn create(State(state): State<AppState>, Current(context): Current, body: Body) -> Result<Response, ApiError> {
    let user = context.caller.require_user()?;
    let mut fields = Fields::parse(&body.0)?;
    let parsed = OwnKeyBody { name: fields.take("name"), expires: fields.take("expires") };
    fields.finish(&["id", "object", "value", "key", "user", "user_id", "allowed_routers", "session", "blocked"])?;
    let longest = state.settings.key_max_expiration;
    let named = matches!(parsed.expires, Patch::Value(_));
    let wanted = key_expiry(KeyNoun::Key, parsed.expires.value(), longest, Utc::now())?;
    let spec = KeySpec {
        name: parsed.name.required("name", None)?,
        user: user.id,
        // A narrowed key makes keys that are as narrow.
        allowed_routers: user.allowed_routers.clone(),
        expires: user.expiry_of_new_key(wanted, named)?,
        blocked: false,
    };
    spec.check()?;
    let mut creation = match Creation::begin(&state, &context, &body.0).await? {
        Begun::Replay(response) => return Ok(response),
        Begun::New(creation) => creation,
    };
    let (row, text) = admin_keys::make(&state, &mut creation.tx, &spec).await?;
    creation.finish(row.version, &NewKeyObject::new(KeyObject::from(&row), &text)).await
}

/// List one's own keys.
#[utoipa::path(get, path = "/v1/me/keys", tag = "me",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query), ("sort_by" = Option<String>, Query),
        ("sort_order" = Option<String>, Query)),
    responses((status = 200, body = ListObject<KeyObject>)))]
async fn list(State(state): State<AppState>, Current(context): Current, query: Query) -> Result<Response, ApiError> {
    let page = query.page(SORTS)?;
    // The master key has none: a user id that nobody has.
    let user = owner(&context).unwrap_or_else(|| UserId::from_uuid(uuid::Uuid::nil()));
    let filter = KeyFilter { user: Some(Lookup::Id(user.uuid())), name: None };
    let listed = keys::list(&mut *state.store.acquire().await?, &filter, page).await?;
    Ok(reply::list(listed, page, |row| KeyObject::from(&row)))
}

fn owner(context: &Context) -> Option<UserId> {
    context.caller.user().map(|user| user.id)
}

/// Read a key of one's own.
#[utoipa::path(get, path = "/v1/me/keys/{id}", tag = "me", params(("id" = i64, Path)),
    responses((status = 200, body = KeyObject)))]
async fn read(State(state): State<AppState>, Current(context): Current, At(at): At) -> Result<Response, ApiError> {
    let user = context.caller.require_user()?.id;
    // Somebody else's key is looked for as one that does not exist: the answers are the same.
    let found = keys::get(&mut *state.store.acquire().await?, at, Some(user)).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Key, at))?;
    Ok(reply::object(StatusCode::OK, row.version, &KeyObject::from(&row)))
}

/// Revoke a key of one's own.
#[utoipa::path(delete, path = "/v1/me/keys/{id}", tag = "me", params(("id" = i64, Path)),
    responses((status = 200, body = KeyObject)))]
async fn remove(State(state): State<AppState>, Current(context): Current, At(at): At) -> Result<Response, ApiError> {
    let user = context.caller.require_user()?.id;
    let mut tx = state.store.begin(context.actor()).await?;
    let found = keys::lock(&mut tx, at, Some(user)).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Key, at))?;
    context.check_version(row.version)?;
    admin_keys::unmake(&mut tx, &row).await?;
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, row.version, &KeyObject::from(&row)))
}
