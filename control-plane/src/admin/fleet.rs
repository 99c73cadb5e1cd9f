//! The fleet: which data planes are connected here, and the join tokens that let them in.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use shared::kernel::ids::Revision;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::{Body, Fields};
use super::context::Admin;
use super::create::{Begun, Creation};
use super::error::ApiError;
use super::query::{At, Query};
use super::reply::{self, ListObject};
use super::{AppState, Routes};
use crate::domain::{self, Lookup, Noun, Patch};
use crate::fleet::nodes::NodeStatus;
use crate::fleet::{self, DEFAULT_GROUP, DEFAULT_LIFETIME, JoinTokenError, JoinTokens, NewJoinToken};
use crate::store::join_tokens::JoinTokenRow;
use crate::store::{AuditEntry, Listed};

pub(super) fn routes() -> Routes {
    Routes::default()
        .routes(routes!(nodes))
        .routes(routes!(revoke_node))
        .routes(routes!(confirm))
        .routes(routes!(list_tokens, create_token))
        .routes(routes!(read_token, revoke_token))
}

/// A data plane as this replica of the control plane sees it.
#[derive(Debug, Serialize, ToSchema)]
struct NodeObject {
    /// Always `fleet.node`.
    object: &'static str,
    /// Stable for a node.
    id: Uuid,
    /// New at each of its starts.
    boot_id: Uuid,
    /// Its version.
    build: String,
    /// Of the credential that it joined with.
    group: String,
    /// Region, rack, features.
    #[schema(value_type = Object)]
    labels: Value,
    /// In the same process as the control plane.
    local: bool,
    /// Whether it is connected here, now.
    connected: bool,
    /// Unix seconds of its last connection.
    connected_since: i64,
    /// Unix seconds.
    last_seen: i64,
    /// The revision that it acknowledged last.
    acknowledged_revision: Option<u64>,
    /// Unix seconds.
    acknowledged_at: Option<i64>,
    /// The revision that it decides by, as it last said.
    revision: u64,
    /// Whether that is the newest one.
    current: bool,
    /// What it could not apply.
    #[schema(value_type = Vec<Object>)]
    rejected: Vec<Value>,
    /// Why it is no longer sent the catalog.
    stopped: Option<String>,
    /// Calls in flight.
    in_flight: u64,
    /// Seconds since it last knew that it was up to date.
    config_age: u64,
    /// Usage records not acknowledged yet.
    usage_backlog: u64,
}

impl NodeObject {
    fn new(status: NodeStatus, head: u64) -> Self {
        let rejected = status.rejected.into_iter().map(
            |one| json!({ "kind": one.kind, "id": one.id, "version": one.version, "code": one.code, "text": one.text }),
        );
        let acknowledged = status.acknowledged.map(|(_, revision)| revision.0);
        Self {
            object: "fleet.node",
            id: status.facts.node.uuid(),
            boot_id: status.facts.boot.uuid(),
            build: status.facts.build,
            group: status.facts.group,
            labels: json!(status.facts.labels),
            local: status.facts.local,
            connected: status.connected,
            connected_since: status.since.timestamp(),
            last_seen: status.last_seen.timestamp(),
            acknowledged_revision: acknowledged,
            acknowledged_at: status.acknowledged_at.map(|at| at.timestamp()),
            // Before its first sign of life a node has only acknowledged.
            revision: status.pulse.revision.max(acknowledged.unwrap_or(0)),
            current: acknowledged.is_some_and(|revision| revision >= head),
            rejected: rejected.collect(),
            stopped: status.stopped,
            in_flight: status.pulse.in_flight,
            config_age: status.pulse.config_age.as_secs(),
            usage_backlog: status.pulse.usage_backlog,
        }
    }
}

/// The fleet as this replica sees it.
#[derive(Debug, Serialize, ToSchema)]
struct FleetObject {
    /// Always `fleet`.
    object: &'static str,
    /// The lineage of the database.
    epoch: Uuid,
    /// The newest revision of the catalog.
    revision: u64,
    /// How many nodes there are in all.
    total: usize,
    /// How many were left out before these.
    offset: i64,
    /// Most on a page.
    limit: i64,
    /// The nodes of the page.
    data: Vec<NodeObject>,
}

/// List the data planes that are, or within a day were, connected to this replica of the control plane.
#[utoipa::path(get, path = "/v1/admin/fleet", tag = "fleet",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = FleetObject)))]
async fn nodes(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let (offset, limit) = query.window()?;
    let head = state.store.head().await?;
    let all = state.nodes.list();
    let (skip, take) = (usize::try_from(offset).unwrap_or(usize::MAX), usize::try_from(limit).unwrap_or(0));
    let fleet = FleetObject {
        object: "fleet",
        epoch: head.epoch.uuid(),
        revision: head.revision.0,
        total: all.len(),
        offset,
        limit,
        data: all.into_iter().skip(skip).take(take).map(|node| NodeObject::new(node, head.revision.0)).collect(),
    };
    Ok(reply::json(StatusCode::OK, &fleet))
}

/// Which revision may take so much away.
#[derive(Debug, ToSchema)]
struct ConfirmationBody {
    /// At most the newest one.
    #[schema(value_type = u64, required = true)]
    revision: Patch<u64>,
}

/// A confirmed revision.
#[derive(Debug, Serialize, ToSchema)]
struct ConfirmationObject {
    /// Always `fleet.confirmation`.
    object: &'static str,
    /// The revision.
    revision: u64,
}

/// Confirm that a revision may remove more than half of all routers or keys. Without that, data planes refuse it and keep
/// what they have. It counts for the nodes that are connected to this replica of the control plane.
#[utoipa::path(post, path = "/v1/admin/fleet/confirmations", tag = "fleet", request_body = ConfirmationBody,
    responses((status = 201, body = ConfirmationObject)))]
async fn confirm(State(state): State<AppState>, Admin(context): Admin, body: Body) -> Result<Response, ApiError> {
    let mut fields = Fields::parse(&body.0)?;
    let body = ConfirmationBody { revision: fields.take("revision") };
    fields.finish(&["object"])?;
    let (revision, head) = (body.revision.required("revision", None)?, state.store.head().await?.revision);
    if revision == 0 || revision > head.0 {
        return Err(
            domain::Error::invalid("revision", revision, "a revision from 1 to the newest one is expected").into()
        );
    }
    let object = ConfirmationObject { object: "fleet.confirmation", revision };
    let mut tx = state.store.begin(context.actor()).await?;
    tx.audit(AuditEntry {
        operation: "confirm",
        kind: "revision",
        id: None,
        subject: revision.to_string(),
        before: None,
        after: serde_json::to_value(&object).ok(),
    });
    tx.commit().await?;
    state.nodes.confirm(Revision(revision));
    Ok(reply::json(StatusCode::CREATED, &object))
}

/// A node that was given a certificate.
#[derive(Debug, Serialize, ToSchema)]
struct EnrolledNodeObject {
    /// Always `fleet.enrolled_node`.
    object: &'static str,
    /// Its id.
    id: Uuid,
    /// The Group that its certificate is for.
    group: String,
    /// What it said of itself when it enrolled.
    #[schema(value_type = Object)]
    facts: Value,
    /// Unix seconds.
    enrolled: i64,
    /// Unix seconds when its last certificate ends.
    certificate_expires: i64,
    /// Unix seconds when it was last let in.
    last_seen: i64,
    /// Unix seconds since when it is shut out.
    revoked: Option<i64>,
}

/// Shut a node out: its certificate is refused from now on, and its open streams end within about a second. It can come
/// back only by enrolling anew with a join token.
#[utoipa::path(delete, path = "/v1/admin/fleet/nodes/{id}", tag = "fleet", params(("id" = Uuid, Path)),
    responses((status = 200, body = EnrolledNodeObject)))]
async fn revoke_node(State(state): State<AppState>, Admin(context): Admin, At(at): At) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = match at.id() {
        Some(id) => fleet::revoke_node(&mut tx, id).await?,
        None => None,
    };
    let row = row.ok_or_else(|| domain::Error::not_found(Noun::Node, at))?;
    tx.commit().await?;
    let object = EnrolledNodeObject {
        object: "fleet.enrolled_node",
        id: row.id,
        group: row.node_group,
        facts: json!(row.facts.0),
        enrolled: row.enrolled.timestamp(),
        certificate_expires: row.not_after.timestamp(),
        last_seen: row.last_seen.timestamp(),
        revoked: row.revoked.map(|at| at.timestamp()),
    };
    Ok(reply::json(StatusCode::OK, &object))
}

/// What a new join token is to be like.
#[derive(Debug, ToSchema)]
struct JoinTokenBody {
    /// To tell it from others; 1 to 64 characters.
    #[schema(value_type = String, required = true)]
    name: Patch<String>,
    /// The Group of the nodes that join with it.
    #[schema(value_type = String, default = "default", required = false)]
    group: Patch<String>,
    /// How long it lets nodes in.
    #[schema(value_type = u64, default = 86400, required = false)]
    expires_in_seconds: Patch<u64>,
    /// Whether it lets in one node alone; without TLS, where nodes show their token at each connection, such a token is refused.
    #[schema(value_type = bool, default = false, required = false)]
    single_use: Patch<bool>,
}

impl JoinTokenBody {
    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(bytes)?;
        let body = Self {
            name: fields.take("name"),
            group: fields.take("group"),
            expires_in_seconds: fields.take("expires_in_seconds"),
            single_use: fields.take("single_use"),
        };
        fields.finish(&["id", "object", "token", "expires", "used", "revoked", "created"])?;
        Ok(body)
    }

    fn into_new(self) -> Result<NewJoinToken, domain::Error> {
        Ok(NewJoinToken {
            single_use: self.single_use.defaulted(None, false),
            name: self.name.required("name", None)?,
            group: self.group.defaulted(None, DEFAULT_GROUP.to_owned()),
            lifetime: Duration::from_secs(self.expires_in_seconds.defaulted(None, DEFAULT_LIFETIME.as_secs())),
        })
    }
}

/// A join token.
#[derive(Debug, Serialize, ToSchema)]
struct JoinTokenObject {
    /// Always `fleet.join_token`.
    object: &'static str,
    /// Its id.
    id: Uuid,
    /// To tell it from others.
    name: String,
    /// The Group of the nodes that join with it.
    group: String,
    /// Whether it lets in one node alone.
    single_use: bool,
    /// Unix seconds.
    expires: i64,
    /// Unix seconds of its first use.
    used: Option<i64>,
    /// Unix seconds since when it lets nobody in.
    revoked: Option<i64>,
    /// Unix seconds.
    created: i64,
    /// The token itself: in the answer to its creation, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl JoinTokenObject {
    fn new(row: JoinTokenRow, token: Option<String>) -> Self {
        let seconds = |time: Option<DateTime<Utc>>| time.map(|time| time.timestamp());
        Self {
            object: "fleet.join_token",
            id: row.id,
            name: row.name,
            group: row.node_group,
            single_use: row.single_use,
            expires: row.expires.timestamp(),
            used: seconds(row.used),
            revoked: seconds(row.revoked),
            created: row.created.timestamp(),
            token,
        }
    }
}

/// Create a join token. Its text is in this answer and nowhere else.
#[utoipa::path(post, path = "/v1/admin/fleet/join-tokens", tag = "fleet", request_body = JoinTokenBody,
    responses((status = 201, body = JoinTokenObject)))]
async fn create_token(State(state): State<AppState>, Admin(context): Admin, body: Body) -> Result<Response, ApiError> {
    let new = JoinTokenBody::parse(&body.0)?.into_new()?;
    let mut creation = match Creation::begin(&state, &context, &body.0).await? {
        Begun::Replay(response) => return Ok(response),
        Begun::New(creation) => creation,
    };
    let (row, text) = JoinTokens::create_within(&mut creation.tx, &new).await.map_err(refusal)?;
    creation.finish(1, &JoinTokenObject::new(row, Some(text.expose().to_owned()))).await
}

/// List join tokens, newest first.
#[utoipa::path(get, path = "/v1/admin/fleet/join-tokens", tag = "fleet",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = ListObject<JoinTokenObject>)))]
async fn list_tokens(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let window = query.window()?;
    let (total, rows) = JoinTokens::new(state.store).list(window.0, window.1).await?;
    Ok(reply::window(Listed { total, rows }, window, |row| JoinTokenObject::new(row, None)))
}

/// Read a join token.
#[utoipa::path(get, path = "/v1/admin/fleet/join-tokens/{id}", tag = "fleet", params(("id" = Uuid, Path)),
    responses((status = 200, body = JoinTokenObject)))]
async fn read_token(State(state): State<AppState>, _: Admin, At(at): At) -> Result<Response, ApiError> {
    let row = match at.id() {
        Some(id) => JoinTokens::new(state.store).get(id).await?,
        None => None,
    };
    found(at, row)
}

/// Revoke a join token: it lets nobody in from now on. Nodes that are connected stay.
#[utoipa::path(delete, path = "/v1/admin/fleet/join-tokens/{id}", tag = "fleet", params(("id" = Uuid, Path)),
    responses((status = 200, body = JoinTokenObject)))]
async fn revoke_token(State(state): State<AppState>, Admin(context): Admin, At(at): At) -> Result<Response, ApiError> {
    let row = match at.id() {
        Some(id) => JoinTokens::new(state.store).revoke(context.actor(), id).await?,
        None => None,
    };
    found(at, row)
}

fn found(at: Lookup, row: Option<JoinTokenRow>) -> Result<Response, ApiError> {
    let row = row.ok_or_else(|| domain::Error::not_found(Noun::JoinToken, at))?;
    Ok(reply::json(StatusCode::OK, &JoinTokenObject::new(row, None)))
}

fn refusal(error: JoinTokenError) -> ApiError {
    match error {
        JoinTokenError::Invalid { field, value, expected } => domain::Error::invalid(field, value, expected).into(),
        JoinTokenError::Store(error) => error.into(),
        error @ JoinTokenError::Random => ApiError::Internal(error.into()),
    }
}
