//! Candidates: changes that some nodes are told first, to be widened, promoted or withdrawn.

mod body;
mod object;
mod stage;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use utoipa_axum::routes;

use super::body::Body;
use super::context::Admin;
use super::create::{Begun, Creation};
use super::error::ApiError;
use super::query::{At, Query};
use super::reply::{self, ListObject};
use super::{AppState, Routes};
use crate::domain::{self, Noun};
use crate::fleet::nodes::NodeStatus;
use crate::store::candidates::{self, CandidateEntry, CandidateRow};
use crate::store::{CatalogTx, Listed};
use body::{CandidateBody, SelectionBody};
use object::CandidateObject;

pub(crate) use stage::{NewCandidate, create as stage, promote, widen, withdraw};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list, create)).routes(routes!(read, change, remove)).routes(routes!(promotion))
}

/// The candidates with how far each has come.
async fn shown(
    state: &AppState,
    rows: &[CandidateRow],
    entries: &[CandidateEntry],
) -> Result<Vec<CandidateObject>, ApiError> {
    let members = state.fleet.view().await?.members;
    let nodes: Vec<NodeStatus> = members.into_iter().filter_map(|member| member.status).collect();
    let epoch = state.store.head().await?.epoch;
    let object = |row| Ok(CandidateObject::new(row, entries)?.among(row, entries, &nodes, epoch));
    rows.iter().map(object).collect()
}

/// Stage a change: publish it to the nodes whose labels hold all that the selector names, and to nobody else. It is checked
/// as a change of each resource would be.
#[utoipa::path(post, path = "/v1/admin/candidates", tag = "candidates", request_body = CandidateBody,
    responses((status = 201, body = CandidateObject)))]
async fn create(State(state): State<AppState>, Admin(context): Admin, body: Body) -> Result<Response, ApiError> {
    let new = CandidateBody::parse(&body.0)?;
    let mut creation = match Creation::begin(&state, &context, &body.0).await? {
        Begun::Replay(response) => return Ok(response),
        Begun::New(creation) => creation,
    };
    let row = stage(&mut creation.tx, &state.vault, new).await?;
    let entries = candidates::entries(creation.tx.connection(), &[row.id]).await?;
    creation.finish(row.version, &CandidateObject::new(&row, &entries)?).await
}

/// List candidates, newest first.
#[utoipa::path(get, path = "/v1/admin/candidates", tag = "candidates",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = ListObject<CandidateObject>)))]
async fn list(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let window = query.window()?;
    let mut connection = state.store.acquire().await?;
    let Listed { total, rows } = candidates::list(&mut connection, window).await?;
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let entries = candidates::entries(&mut connection, &ids).await?;
    drop(connection);
    let rows = shown(&state, &rows, &entries).await?;
    Ok(reply::window(Listed { total, rows }, window, |object| object))
}

/// Read a candidate: how many of the connected nodes are told it, and how many of those have said that they hold it.
#[utoipa::path(get, path = "/v1/admin/candidates/{id}", tag = "candidates", params(("id" = i64, Path)),
    responses((status = 200, body = CandidateObject)))]
async fn read(State(state): State<AppState>, _: Admin, At(at): At) -> Result<Response, ApiError> {
    let mut connection = state.store.acquire().await?;
    let found = candidates::get(&mut connection, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Candidate, at))?;
    let entries = candidates::entries(&mut connection, &[row.id]).await?;
    drop(connection);
    answer(&state, row, &entries).await
}

async fn answer(state: &AppState, row: CandidateRow, entries: &[CandidateEntry]) -> Result<Response, ApiError> {
    let objects = shown(state, std::slice::from_ref(&row), entries).await?;
    Ok(reply::object(StatusCode::OK, row.version, &objects.first()))
}

async fn commit(state: &AppState, mut tx: CatalogTx, row: CandidateRow) -> Result<Response, ApiError> {
    let entries = candidates::entries(tx.connection(), &[row.id]).await?;
    tx.commit().await?;
    answer(state, row, &entries).await
}

/// Choose other nodes for a candidate: more of them, or fewer.
#[utoipa::path(patch, path = "/v1/admin/candidates/{id}", tag = "candidates", params(("id" = i64, Path)),
    request_body = SelectionBody, responses((status = 200, body = CandidateObject)))]
async fn change(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    let selector = SelectionBody::parse(&body.0)?;
    let mut tx = state.store.begin(context.actor()).await?;
    let row = widen(&mut tx, Some(&context), at, &selector).await?;
    commit(&state, tx, row).await
}

/// Promote a candidate: what it changes is changed for every node. Refused with 409 when one of its resources was changed
/// since it was staged.
#[utoipa::path(post, path = "/v1/admin/candidates/{id}/promote", tag = "candidates", params(("id" = i64, Path)),
    responses((status = 200, body = CandidateObject)))]
async fn promotion(State(state): State<AppState>, Admin(context): Admin, At(at): At) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = promote(&mut tx, Some(&context), at).await?;
    commit(&state, tx, row).await
}

/// Withdraw a candidate: its nodes are told the catalog again.
#[utoipa::path(delete, path = "/v1/admin/candidates/{id}", tag = "candidates", params(("id" = i64, Path)),
    responses((status = 200, body = CandidateObject)))]
async fn remove(State(state): State<AppState>, Admin(context): Admin, At(at): At) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = withdraw(&mut tx, Some(&context), at).await?;
    commit(&state, tx, row).await
}
