//! Revisions: what each changed, what lies between two, and taking them back.

mod object;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use shared::catalog::Kind;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::body::{Body, Fields};
use super::context::Admin;
use super::error::ApiError;
use super::query::{At, Query};
use super::reply::{self, ListObject};
use super::{AppState, Routes};
use crate::domain::{self, Noun, Patch};
use crate::revisions::{self, RevisionError, Rollback, Selection};
use crate::store::revisions::RevisionFilter;
use object::{DifferenceObject, RevisionDetailObject, RevisionObject, RollbackObject};

/// Longest reason, in characters.
const REASON: usize = 1_000;

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list)).routes(routes!(diff)).routes(routes!(rollback)).routes(routes!(read))
}

impl From<RevisionError> for ApiError {
    fn from(error: RevisionError) -> Self {
        match error {
            RevisionError::Domain(error) => error.into(),
            RevisionError::Store(error) => error.into(),
            RevisionError::Vault(error) => error.into(),
        }
    }
}

/// List the revisions that are kept, newest first, with the resources that each changed.
#[utoipa::path(get, path = "/v1/admin/revisions", tag = "revisions",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query),
        ("kind" = Option<String>, Query, description = "That changed a resource of this kind."),
        ("id" = Option<Uuid>, Query, description = "That changed this resource.")),
    responses((status = 200, body = ListObject<RevisionObject>)))]
async fn list(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let window = query.window()?;
    let filter = RevisionFilter {
        kind: query.parsed("kind", &format!("one of: {}", Kind::expected()))?,
        id: query.parsed("id", "a UUID is expected")?,
    };
    let listed = revisions::list(&state.store, &filter, window).await?;
    Ok(reply::window(listed, window, RevisionObject::from))
}

/// Read a revision with what was before and after it; credentials are not shown.
#[utoipa::path(get, path = "/v1/admin/revisions/{id}", tag = "revisions", params(("id" = i64, Path)),
    responses((status = 200, body = RevisionDetailObject)))]
async fn read(State(state): State<AppState>, _: Admin, At(at): At) -> Result<Response, ApiError> {
    let number = at.number().and_then(|number| u64::try_from(number).ok());
    let number = number.ok_or_else(|| domain::Error::not_found(Noun::Revision, at))?;
    let revision = revisions::get(&state.store, number).await?;
    Ok(reply::json(StatusCode::OK, &RevisionDetailObject::from(revision)))
}

/// Compare the catalog at two revisions: the net change of each resource. `to` is the newest revision unless named.
#[utoipa::path(get, path = "/v1/admin/revisions/diff", tag = "revisions",
    params(("from" = u64, Query), ("to" = Option<u64>, Query), ("offset" = Option<i64>, Query),
        ("limit" = Option<i64>, Query)),
    responses((status = 200, body = DifferenceObject)))]
async fn diff(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let window = query.window()?;
    let expected = "the number of a revision is expected";
    let (from, to) = (query.required("from", expected)?, query.parsed("to", expected)?);
    let difference = revisions::diff(&state.store, from, to, window).await?;
    Ok(reply::json(StatusCode::OK, &DifferenceObject::new(difference, window)))
}

/// Which revisions are to be taken back: `from` (and `to`), or `revisions`.
#[derive(Debug, ToSchema)]
struct RollbackBody {
    /// The first revision that is taken back.
    #[schema(value_type = u64, required = false)]
    from: Patch<u64>,
    /// The last one; the newest unless named.
    #[schema(value_type = u64, required = false)]
    to: Patch<u64>,
    /// These, in place of `from` and `to`.
    #[schema(value_type = Vec<u64>, required = false)]
    revisions: Patch<Vec<u64>>,
    /// Take back also what later revisions changed again, and what was made later below something that goes.
    #[schema(value_type = bool, default = false, required = false)]
    force: Patch<bool>,
    /// Only tell what would happen.
    #[schema(value_type = bool, default = false, required = false)]
    dry_run: Patch<bool>,
    /// Why, for the audit table.
    #[schema(value_type = String, required = false)]
    reason: Patch<String>,
}

impl RollbackBody {
    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(bytes)?;
        let body = Self {
            from: fields.take("from"),
            to: fields.take("to"),
            revisions: fields.take("revisions"),
            force: fields.take("force"),
            dry_run: fields.take("dry_run"),
            reason: fields.take("reason"),
        };
        fields.finish(&["object", "reverted", "left_out", "overridden"])?;
        Ok(body)
    }

    fn wanted(self) -> Result<Rollback, domain::Error> {
        let selection = match (self.from.value(), self.to.value(), self.revisions.value()) {
            (Some(from), to, None) => Selection::Range { from, to },
            (None, None, Some(revisions)) => Selection::Each(revisions),
            (None, ..) => return Err(domain::Error::missing("from")),
            (Some(_), _, Some(_)) => {
                let detail = "Either `from` (and `to`) or `revisions` is expected, not both.";
                return Err(domain::Error::refused("ambiguous", "revisions", detail));
            }
        };
        let reason = self.reason.value();
        if let Some(reason) = reason.as_ref().filter(|reason| reason.chars().count() > REASON) {
            return Err(domain::Error::invalid("reason", reason, format!("at most {REASON} characters are expected")));
        }
        Ok(Rollback {
            selection,
            force: self.force.defaulted(None, false),
            dry_run: self.dry_run.defaulted(None, false),
            reason,
        })
    }
}

/// Take revisions back: the resources that they touched become what they were before, as one new revision. Users, keys and
/// what was spent stay as they are.
#[utoipa::path(post, path = "/v1/admin/revisions/rollback", tag = "revisions", request_body = RollbackBody,
    responses((status = 200, body = RollbackObject)))]
async fn rollback(State(state): State<AppState>, Admin(context): Admin, body: Body) -> Result<Response, ApiError> {
    let wanted = RollbackBody::parse(&body.0)?.wanted()?;
    let done = revisions::rollback(&state.store, Some(&state.vault), context.actor(), &wanted).await?;
    Ok(reply::json(StatusCode::OK, &RollbackObject::new(done, wanted.dry_run)))
}
