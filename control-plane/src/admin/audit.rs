//! The audit table, for administrators: who did what, when, from where.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::context::Admin;
use super::error::ApiError;
use super::query::Query;
use super::reply::{self, ListObject};
use super::{AppState, Routes};
use crate::store::audit::{self, AuditFilter, AuditRow};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list))
}

/// One line of the audit table.
#[derive(Debug, Serialize, ToSchema)]
struct AuditObject {
    /// Always `audit`.
    object: &'static str,
    /// Rises with time.
    id: i64,
    /// Unix seconds.
    created: i64,
    /// The revision of the catalog that it made; null when the catalog did not change.
    revision: Option<i64>,
    /// Who did it.
    actor: ActorObject,
    /// What was done: `create`, `update`, `delete`, `login`, …
    operation: String,
    /// To which sort of thing.
    kind: String,
    /// To which one.
    subject_id: Option<Uuid>,
    /// Its name.
    subject: String,
    /// How it was.
    before: Option<Value>,
    /// How it became.
    after: Option<Value>,
    /// The request that asked for it.
    request_id: String,
    /// Where that came from.
    address: String,
}

/// Who did something.
#[derive(Debug, Serialize, ToSchema)]
struct ActorObject {
    /// `master`, `user`, `file`, `system` or `anonymous`.
    kind: String,
    /// The user, where it was one.
    id: Option<Uuid>,
    /// For people.
    name: String,
}

impl From<AuditRow> for AuditObject {
    fn from(row: AuditRow) -> Self {
        Self {
            object: "audit",
            id: row.id,
            created: row.at.timestamp(),
            revision: row.revision,
            actor: ActorObject { kind: row.actor_kind, id: row.actor_id, name: row.actor_name },
            operation: row.operation,
            kind: row.kind,
            subject_id: row.subject_id,
            subject: row.subject,
            before: row.before,
            after: row.after,
            request_id: row.request_id,
            address: row.address,
        }
    }
}

/// List what was done, newest first.
#[utoipa::path(get, path = "/v1/admin/audit", tag = "audit",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query), ("sort_order" = Option<String>, Query),
        ("kind" = Option<String>, Query), ("subject_id" = Option<Uuid>, Query), ("actor" = Option<String>, Query),
        ("operation" = Option<String>, Query), ("request_id" = Option<String>, Query),
        ("start_time" = Option<i64>, Query), ("end_time" = Option<i64>, Query)),
    responses((status = 200, body = ListObject<AuditObject>)))]
async fn list(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let (offset, limit) = query.window()?;
    let oldest_first = query.descending()?.is_some_and(|descending| !descending);
    let filter = AuditFilter {
        kind: query.text("kind").map(str::to_owned),
        subject_id: query.parsed("subject_id", "a UUID is expected")?,
        actor: query.text("actor").map(str::to_owned),
        operation: query.text("operation").map(str::to_owned),
        request_id: query.text("request_id").map(str::to_owned),
        start: query.time("start_time")?,
        end: query.time("end_time")?,
    };
    let mut connection = state.store.acquire().await?;
    let listed = audit::list(&mut connection, &filter, offset, limit, oldest_first).await?;
    Ok(reply::window(listed, (offset, limit), AuditObject::from))
}
