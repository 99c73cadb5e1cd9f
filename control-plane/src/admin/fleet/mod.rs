//! The fleet: every data plane that is or may be connected to any control plane, and what operators ask of them.

mod join_tokens;
mod node;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use shared::kernel::ids::{NodeId, Revision};
use shared::runtime::logs::parse_level;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::{Body, Fields};
use super::context::Admin;
use super::error::ApiError;
use super::query::{At, Query};
use super::reply;
use super::{AppState, Routes};
use crate::domain::{self, Noun, Patch};
use crate::fleet::{self, Delivery, MemberState, Order};
use crate::store::AuditEntry;
use crate::store::standings::ControlPlaneRow;
use node::{EnrolledNodeObject, NodeObject};

/// How long a node logs by another filter unless told otherwise.
const LOG_SECONDS: u64 = 3_600;
/// And at most.
const MOST_LOG_SECONDS: u64 = 7 * 24 * 3_600;
/// Longest log filter.
const FILTER: usize = 500;

pub(super) fn routes() -> Routes {
    Routes::default()
        .routes(routes!(nodes))
        .routes(routes!(revoke_node))
        .routes(routes!(command))
        .routes(routes!(confirm))
        .merge(join_tokens::routes())
}

/// A control plane.
#[derive(Debug, Serialize, ToSchema)]
struct ControlPlaneObject {
    /// Its id, at this start of it.
    id: Uuid,
    /// Its version.
    build: String,
    /// Unix seconds.
    started: i64,
    /// Unix seconds when the others last heard of it.
    last_seen: i64,
}

impl From<ControlPlaneRow> for ControlPlaneObject {
    fn from(row: ControlPlaneRow) -> Self {
        Self { id: row.id, build: row.build, started: row.started.timestamp(), last_seen: row.seen.timestamp() }
    }
}

/// The fleet, as all control planes see it together.
#[derive(Debug, Serialize, ToSchema)]
struct FleetObject {
    /// Always `fleet`.
    object: &'static str,
    /// The lineage of the database.
    epoch: Uuid,
    /// The newest revision of the catalog.
    revision: u64,
    /// The control plane that answers.
    control_plane: Uuid,
    /// Every control plane that is up.
    control_planes: Vec<ControlPlaneObject>,
    /// How many nodes are connected to any of them.
    live: usize,
    /// How many nodes there are in all.
    total: usize,
    /// How many were left out before these.
    offset: i64,
    /// Most on a page.
    limit: i64,
    /// The nodes of the page.
    data: Vec<NodeObject>,
}

/// List the data planes: those that are connected to any control plane, or were within a day, and those that have a
/// certificate with which they can come back.
#[utoipa::path(get, path = "/v1/admin/fleet", tag = "fleet",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query),
        ("state" = Option<String>, Query, description = "`live`, `away` or `revoked`.")),
    responses((status = 200, body = FleetObject)))]
async fn nodes(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let (offset, limit) = query.window()?;
    let wanted: Option<MemberState> = query.parsed("state", "one of: live, away, revoked")?;
    let head = state.store.head().await?;
    let view = state.fleet.view().await?;
    let (skip, take) = (usize::try_from(offset).unwrap_or(usize::MAX), usize::try_from(limit).unwrap_or(0));
    let live = view.members.iter().filter(|member| member.state == MemberState::Live).count();
    let mut members = view.members;
    members.retain(|member| wanted.is_none_or(|wanted| member.state == wanted));
    let fleet = FleetObject {
        object: "fleet",
        epoch: head.epoch.uuid(),
        revision: head.revision.0,
        control_plane: view.control_plane,
        control_planes: view.control_planes.into_iter().map(ControlPlaneObject::from).collect(),
        live,
        total: members.len(),
        offset,
        limit,
        data: members.into_iter().skip(skip).take(take).map(|node| NodeObject::new(node, head)).collect(),
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
/// what they have. The other control planes learn of it within about a second.
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
    tx.confirm_revision(Revision(revision)).await?;
    tx.audit(AuditEntry {
        operation: "confirm",
        kind: "revision",
        id: None,
        subject: revision.to_string(),
        before: None,
        after: serde_json::to_value(&object).ok(),
    });
    tx.commit().await?;
    state.fleet.confirm(Revision(revision));
    Ok(reply::json(StatusCode::CREATED, &object))
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
    Ok(reply::json(StatusCode::OK, &EnrolledNodeObject::from(row)))
}

/// What a node is to do.
#[derive(Debug, ToSchema)]
struct CommandBody {
    /// `drain`: fail readiness and go on serving, so that balancers send no more; `undrain`: be ready again; `resync`: take
    /// the whole catalog anew; `log_level`: log by another filter.
    #[schema(value_type = String, required = true)]
    command: Patch<String>,
    /// For `log_level`: DEBUG, INFO, WARNING, ERROR, or a filter such as `info,data_plane=debug`; null is the one that the
    /// node started with.
    #[schema(value_type = String, required = false)]
    filter: Patch<String>,
    /// For `log_level`: after how long the node goes back to the filter that it started with.
    #[schema(value_type = u64, default = 3600, required = false)]
    for_seconds: Patch<u64>,
}

/// A command that is on its way.
#[derive(Debug, Serialize, ToSchema)]
struct CommandObject {
    /// Always `fleet.command`.
    object: &'static str,
    /// The node.
    node: Uuid,
    /// What it is to do.
    command: &'static str,
    /// The log filter.
    filter: Option<String>,
    /// For how long it counts.
    for_seconds: Option<u64>,
}

impl CommandBody {
    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(bytes)?;
        let body = Self {
            command: fields.take("command"),
            filter: fields.take("filter"),
            for_seconds: fields.take("for_seconds"),
        };
        fields.finish(&["object", "node"])?;
        Ok(body)
    }

    fn order(self) -> Result<Order, domain::Error> {
        let command = self.command.required("command", None)?;
        if command != "log_level" {
            for (field, named) in [("filter", self.filter.is_named()), ("for_seconds", self.for_seconds.is_named())] {
                if named {
                    let detail = format!("`{field}` is for the command `log_level` alone.");
                    return Err(domain::Error::refused("unexpected_field", field, detail));
                }
            }
        }
        match command.as_str() {
            "drain" => Ok(Order::Drain),
            "undrain" => Ok(Order::Undrain),
            "resync" => Ok(Order::Resync),
            "log_level" => {
                let filter = self.filter.value().unwrap_or_default();
                if !filter.is_empty() && (filter.len() > FILTER || parse_level(&filter).is_err()) {
                    let expected =
                        "DEBUG, INFO, WARNING, ERROR or a filter such as `info,data_plane=debug` is expected";
                    return Err(domain::Error::invalid("filter", filter, expected));
                }
                let for_seconds = self.for_seconds.defaulted(None, LOG_SECONDS);
                if !(1..=MOST_LOG_SECONDS).contains(&for_seconds) {
                    let expected = format!("1 to {MOST_LOG_SECONDS} seconds are expected");
                    return Err(domain::Error::invalid("for_seconds", for_seconds, expected));
                }
                Ok(Order::LogLevel { filter, for_seconds })
            }
            other => {
                let expected = "one of: drain, undrain, resync, log_level";
                Err(domain::Error::invalid("command", other, expected))
            }
        }
    }
}

/// Ask something of a node, whichever control plane it is connected to.
#[utoipa::path(post, path = "/v1/admin/fleet/nodes/{id}/commands", tag = "fleet", params(("id" = Uuid, Path)),
    request_body = CommandBody, responses((status = 200, body = CommandObject)))]
async fn command(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    let order = CommandBody::parse(&body.0)?.order()?;
    let missing = || domain::Error::not_found(Noun::Node, at);
    let id = at.id().ok_or_else(missing)?;
    if !state.fleet.knows(NodeId::from_uuid(id)).await? {
        return Err(missing().into());
    }
    let (filter, for_seconds) = match &order {
        Order::LogLevel { filter, for_seconds } => (Some(filter.clone()), Some(*for_seconds)),
        Order::Drain | Order::Undrain | Order::Resync => (None, None),
    };
    let object = CommandObject { object: "fleet.command", node: id, command: order.as_str(), filter, for_seconds };
    let mut tx = state.store.begin(context.actor()).await?;
    tx.audit(AuditEntry {
        operation: "command",
        kind: "node",
        id: Some(id),
        subject: id.to_string(),
        before: None,
        after: serde_json::to_value(&object).ok(),
    });
    tx.commit().await?;
    match state.fleet.order(NodeId::from_uuid(id), order).await? {
        Delivery::Delivered => Ok(reply::json(StatusCode::OK, &object)),
        Delivery::Away => {
            let detail = format!("Node {id} is connected to no control plane, or takes no orders at this moment.");
            Err(domain::Error::conflict("node_away", detail).into())
        }
    }
}
