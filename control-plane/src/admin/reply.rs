//! How objects and lists are answered, and how a change is written down.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use shared::catalog::Kind;
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::ApiError;
use crate::store::{AuditEntry, CatalogTx, Listed, Page};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListObject<T: ToSchema> {
    /// Always `list`.
    object: &'static str,
    /// All that match.
    total: i64,
    /// How many were left out before these.
    offset: i64,
    /// Most on a page.
    limit: i64,
    /// The page.
    data: Vec<T>,
}

/// Answers a page of a list.
pub fn list<R, T: Serialize + ToSchema>(listed: Listed<R>, page: Page, object: impl Fn(R) -> T) -> Response {
    window(listed, (page.offset, page.limit), object)
}

/// Answers a page of a list that has no order to choose.
pub fn window<R, T: Serialize + ToSchema>(
    listed: Listed<R>,
    (offset, limit): (i64, i64),
    object: impl Fn(R) -> T,
) -> Response {
    let data = listed.rows.into_iter().map(object).collect();
    json(StatusCode::OK, &ListObject { object: "list", total: listed.total, offset, limit, data })
}

/// Answers an object with its version as entity tag.
pub fn object<T: Serialize>(status: StatusCode, version: i64, object: &T) -> Response {
    let mut response = json(status, object);
    if let Ok(tag) = HeaderValue::from_str(&entity_tag(version)) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Answers JSON.
pub fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response(),
        Err(error) => ApiError::Internal(error.into()).into_response(),
    }
}

/// The version of an object as an entity tag.
#[must_use]
pub fn entity_tag(version: i64) -> String {
    format!("\"{version}\"")
}

/// A change of an object of the catalog, for the audit table. The objects are those that the API shows, so they hold
/// nothing that must not be shown.
pub fn audit<T: Serialize>(
    tx: &mut CatalogTx,
    operation: &'static str,
    (kind, id, subject): (Kind, Uuid, &str),
    before: Option<&T>,
    after: Option<&T>,
) -> Result<(), ApiError> {
    let value = |object: Option<&T>| {
        object.map(serde_json::to_value).transpose().map_err(|error| ApiError::Internal(error.into()))
    };
    tx.audit(AuditEntry {
        operation,
        kind: kind.as_str(),
        id: Some(id),
        subject: subject.to_owned(),
        before: value(before)?,
        after: value(after)?,
    });
    Ok(())
}
